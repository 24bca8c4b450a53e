package redisrev_test

import (
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/internal/listtest"
	"github.com/doorward/doorward/internal/redistest"
	"github.com/doorward/doorward/revocation"
)

// One cluster for all of it, as starting one takes seconds. The last tests leave it changed.
func TestCluster(t *testing.T) {
	t.Parallel()
	c := redistest.StartCluster(t)
	client := c.Client()
	t.Run("conformance", func(t *testing.T) {
		listtest.Run(t, func(*testing.T) revocation.List { return settled(t, client) })
	})
	t.Run("round trips", func(t *testing.T) { clusterRoundTrips(t, c) })
	t.Run("ATK-D05 the wrong client", func(t *testing.T) { clusterWrongClient(t, c) })
	t.Run("STD-S10 a node down", func(t *testing.T) { clusterNodeDown(t, c) })
	t.Run("ATK-D05 a slot moves", func(t *testing.T) { clusterSlotMoves(t, c) })
}

// On Cluster the servers are asked how many scripts they ran, as each announces its own address.
func clusterRoundTrips(t *testing.T, c *redistest.Cluster) {
	l := settled(t, c.Client())
	p := listtest.Principal(t, l, "x")
	listtest.Want(t, l, p, "")
	listtest.Revoke(t, l, listtest.Session(p))
	for _, n := range c.Nodes {
		n.Do("CONFIG", "RESETSTAT")
	}
	listtest.Want(t, l, p, auth.TokenRevoked)
	listtest.Revoke(t, l, listtest.TokenID(p), listtest.Below(p, 2))
	for _, n := range c.Nodes {
		stats, want := n.Do("INFO", "commandstats").(string), "cmdstat_evalsha:calls=2,"
		if n == c.Owner("{dw}") {
			if !strings.Contains(stats, want) {
				t.Errorf("one check and one revocation: want %s in %s", want, stats)
			}
		} else if strings.Contains(stats, "cmdstat_eval") {
			t.Errorf("a node that does not own the slot was asked: %s", stats)
		}
	}
}

// A slot that moves takes the entries along, and not the server that the epoch was begun on. On the
// way the keys are on two nodes, where a script finds some of them missing.
func clusterSlotMoves(t *testing.T, c *redistest.Cluster) {
	from := c.Owner("{dw}")
	to := c.Nodes[0]
	if to == from {
		to = c.Nodes[1]
	}
	l := open(t, c.Client(func(o *redis.ClusterOptions) { o.MaxRedirects = 5 }))
	ended, live := listtest.Principal(t, l, "moved-ended"), listtest.Principal(t, l, "moved-live")
	listtest.Revoke(t, l, listtest.Session(ended), listtest.TokenID(ended), listtest.Below(ended, 2))

	id := func(s *redistest.Server) string { return s.Do("CLUSTER", "MYID").(string) }
	slot := from.Do("CLUSTER", "KEYSLOT", "{dw}")
	to.Do("CLUSTER", "SETSLOT", slot, "IMPORTING", id(from))
	from.Do("CLUSTER", "SETSLOT", slot, "MIGRATING", id(to))
	host, port := address(to)
	for _, key := range from.Do("CLUSTER", "GETKEYSINSLOT", slot, 100).([]any) {
		from.Do("MIGRATE", host, port, key, 0, 5000)
		if err := l.Check(t.Context(), ended); err == nil {
			t.Errorf("with %v on its way, what was ended is accepted", key)
		}
	}
	for _, n := range []*redistest.Server{to, from} {
		n.Do("CLUSTER", "SETSLOT", slot, "NODE", id(to))
	}
	listtest.Want(t, l, ended, auth.TokenExpired)
	listtest.Want(t, l, live, auth.TokenExpired)
	listtest.Want(t, l, listtest.Principal(t, l, "moved-live"), "")
	listtest.Want(t, l, listtest.Principal(t, l, "moved-ended"), auth.TokenRevoked)
}

// The node that has the list is gone, and comes back without its memory.
func clusterNodeDown(t *testing.T, c *redistest.Cluster) {
	l := open(t, c.Client(), short)
	p := listtest.Principal(t, l, "x")
	listtest.Revoke(t, l, listtest.Session(p))
	owner := c.Owner("{dw}")
	owner.Kill()
	s := &scene{t: t, server: owner, list: l, ended: p, live: stranger(p)}
	s.unavailable()
	owner.Restart()
	s.recovered(auth.TokenExpired, auth.TokenExpired)
}

// stranger is another principal of the same epoch, made without asking the list.
func stranger(p *auth.Principal) *auth.Principal {
	q := *p
	q.Subject, q.Session, q.TokenID = q.Subject+"2", q.Session+"2", q.TokenID+"2"
	return &q
}

// One node's client where Cluster's was needed: an error, never "not revoked".
func clusterWrongClient(t *testing.T, c *redistest.Cluster) {
	for _, n := range c.Nodes {
		l := open(t, n.Client())
		err := l.Ready(t.Context())
		switch {
		case n == c.Owner("{dw}"):
			if err != nil {
				t.Errorf("the owner: %v", err)
			}
		case auth.CodeOf(err) != auth.StoreUnavailable || !strings.Contains(err.Error(), "MOVED"):
			t.Errorf("another node: got %v, want store_unavailable and MOVED", err)
		}
	}
}
