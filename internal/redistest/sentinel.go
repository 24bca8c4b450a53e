package redistest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
)

// Sentinels watch a master and promote one of its replicas when the master is down for a second.
type Sentinels struct {
	t     testing.TB
	Nodes []*Server
}

// MasterName is what the sentinels call the master.
const MasterName = "main"

// StartSentinels runs n sentinels, the majority of which decides, and waits until each knows the master, the
// replicas that are attached to it and the other sentinels. Start the replicas before.
//
// They are faster than Redis's own: what takes them 10 s of waiting for the next round takes a tenth here.
func StartSentinels(t testing.TB, master *Server, n int) *Sentinels {
	t.Helper()
	replicas := strings.Count(master.Do("INFO", "replication").(string), ",state=online,")
	s := &Sentinels{t: t}
	for range n {
		node := start(&Server{t: t, watch: fmt.Sprintf(`bind 127.0.0.1
sentinel monitor %[1]s 127.0.0.1 %[2]d %[3]d
sentinel down-after-milliseconds %[1]s 1000
sentinel failover-timeout %[1]s 4000
`, MasterName, master.port, n/2+1)})
		node.Do("SENTINEL", "DEBUG", "INFO-PERIOD", 500, "PING-PERIOD", 200, "ASK-PERIOD", 200, "PUBLISH-PERIOD", 200,
			"TILT-PERIOD", 3000, "MIN-LINK-RECONNECT-PERIOD", 500)
		s.Nodes = append(s.Nodes, node)
	}
	s.WaitSettled(replicas)
	return s
}

// WaitSettled waits until each sentinel sees one and the same master, this many replicas in step with it, and the
// other sentinels, all of them up. It returns the master's address.
func (s *Sentinels) WaitSettled(replicas int) (master string) {
	s.t.Helper()
	Eventually(s.t, func() error {
		master = s.Master()
		for _, n := range s.Nodes {
			m := fields(n.Do("SENTINEL", "MASTER", MasterName))
			if got := m["ip"] + ":" + m["port"]; got != master || m["flags"] != "master" {
				return fmt.Errorf("a sentinel has the master %s, which is %s; another has %s", got, m["flags"], master)
			}
			up := 0
			for _, r := range n.Do("SENTINEL", "REPLICAS", MasterName).([]any) {
				if r := fields(r); r["flags"] == "slave" && r["master-link-status"] == "ok" && r["master-port"] == m["port"] {
					up++
				}
			}
			others := 0
			for _, o := range n.Do("SENTINEL", "SENTINELS", MasterName).([]any) {
				if fields(o)["flags"] == "sentinel" {
					others++
				}
			}
			if up < replicas || others != len(s.Nodes)-1 {
				return fmt.Errorf("a sentinel sees %d replicas and %d other sentinels, expected %d and %d", up, others, replicas, len(s.Nodes)-1)
			}
		}
		return nil
	})
	return master
}

// Master is the host:port of the master as the first sentinel has it.
func (s *Sentinels) Master() string {
	s.t.Helper()
	a := s.Nodes[0].Do("SENTINEL", "GET-MASTER-ADDR-BY-NAME", MasterName).([]any)
	return fmt.Sprint(a[0], ":", a[1])
}

// Failover has a replica promoted while the master lives, and waits until all sentinels have the new master. The old one
// becomes a replica of it some time later.
func (s *Sentinels) Failover() {
	s.t.Helper()
	old := s.Master()
	Eventually(s.t, func() error { // refused while one is under way, or no replica is fit
		return s.Nodes[0].try("SENTINEL", "FAILOVER", MasterName)
	})
	s.WaitOther(old)
}

// WaitOther waits until all sentinels have one master, which is not old.
func (s *Sentinels) WaitOther(old string) {
	s.t.Helper()
	Eventually(s.t, func() error {
		for _, n := range s.Nodes {
			m := fields(n.Do("SENTINEL", "MASTER", MasterName))
			if got := m["ip"] + ":" + m["port"]; got == old || m["flags"] != "master" {
				return fmt.Errorf("a sentinel has the master %s, which is %s, expected another than %s", got, m["flags"], old)
			}
		}
		return nil
	})
}

// Addrs are the sentinels' addresses.
func (s *Sentinels) Addrs() (addrs []string) {
	for _, n := range s.Nodes {
		addrs = append(addrs, n.Addr())
	}
	return addrs
}

// Client returns a client of whatever is the master, with go-redis's defaults and what edit changes.
func (s *Sentinels) Client(edit ...func(*redis.FailoverOptions)) *redis.Client {
	o := &redis.FailoverOptions{MasterName: MasterName, SentinelAddrs: s.Addrs()}
	for _, e := range edit {
		e(o)
	}
	c := redis.NewFailoverClient(o)
	s.t.Cleanup(func() { _ = c.Close() })
	return c
}

// fields reads a flat list of names and values, or a map as RESP3 has it.
func fields(reply any) map[string]string {
	m := map[string]string{}
	switch r := reply.(type) {
	case []any:
		for i := 0; i+1 < len(r); i += 2 {
			m[fmt.Sprint(r[i])] = fmt.Sprint(r[i+1])
		}
	case map[any]any:
		for k, v := range r {
			m[fmt.Sprint(k)] = fmt.Sprint(v)
		}
	}
	return m
}

// config is the file that a sentinel reads at its start and then keeps what it learns in.
func (s *Server) config() string { return filepath.Join(s.dir, "sentinel.conf") }

// writeConfig writes a sentinel's file anew, for the port that was chosen.
func (s *Server) writeConfig() {
	s.t.Helper()
	if s.watch == "" {
		return
	}
	text := fmt.Sprintf("port %d\ndir %q\n%s", s.port, s.dir, s.watch)
	if err := os.WriteFile(s.config(), []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// try is Do for a command that may fail.
func (s *Server) try(args ...any) error {
	err := s.admin.Do(s.t.Context(), args...).Err()
	if errors.Is(err, redis.Nil) {
		return nil
	}
	return err
}
