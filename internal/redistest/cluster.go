package redistest

import (
	"fmt"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
)

// A Cluster is three Redis masters that share the slots, without replicas.
type Cluster struct {
	t     testing.TB
	Nodes []*Server
}

const slots = 16384

// StartCluster runs three servers and waits until each says that the cluster is whole.
func StartCluster(t testing.TB) *Cluster {
	t.Helper()
	c := &Cluster{t: t}
	for range 3 {
		c.Nodes = append(c.Nodes, Start(t, "--cluster-enabled", "yes", "--cluster-node-timeout", "2000",
			"--cluster-port", fmt.Sprint(freePort(t))))
	}
	for i, n := range c.Nodes {
		n.Do("CLUSTER", "SET-CONFIG-EPOCH", i+1)
		n.Do("CLUSTER", "ADDSLOTSRANGE", i*slots/3, (i+1)*slots/3-1)
		for _, other := range c.Nodes[:i] {
			n.Do("CLUSTER", "MEET", "127.0.0.1", other.port, other.busPort())
		}
	}
	Eventually(t, func() error {
		for _, n := range c.Nodes {
			info := n.Do("CLUSTER", "INFO").(string)
			if !strings.Contains(info, "cluster_state:ok") || !strings.Contains(info, "cluster_known_nodes:3") {
				return fmt.Errorf("the cluster is not whole: %s", info)
			}
		}
		return nil
	})
	return c
}

func (s *Server) busPort() string {
	for i, a := range s.args {
		if a == "--cluster-port" {
			return s.args[i+1]
		}
	}
	return ""
}

// Client returns a client of the cluster, with go-redis's defaults and what edit changes.
func (c *Cluster) Client(edit ...func(*redis.ClusterOptions)) *redis.ClusterClient {
	o := new(redis.ClusterOptions)
	for _, n := range c.Nodes {
		o.Addrs = append(o.Addrs, n.Addr())
	}
	for _, e := range edit {
		e(o)
	}
	cl := redis.NewClusterClient(o)
	c.t.Cleanup(func() { _ = cl.Close() })
	return cl
}

// Owner returns the master of the key's slot, as the cluster was at its start.
func (c *Cluster) Owner(key string) *Server {
	c.t.Helper()
	slot := c.Nodes[0].Do("CLUSTER", "KEYSLOT", key).(int64)
	for i := range c.Nodes {
		if slot < int64((i+1)*slots/3) {
			return c.Nodes[i]
		}
	}
	return nil
}
