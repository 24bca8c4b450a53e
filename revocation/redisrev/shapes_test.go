package redisrev_test

import (
	"context"
	"errors"
	"fmt"
	"runtime/pprof"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/internal/listtest"
	"github.com/doorward/doorward/internal/redistest"
	"github.com/doorward/doorward/revocation"
	"github.com/doorward/doorward/revocation/redisrev"
)

// Replicas in every shape of Redis: what one node ends, the other refuses without asking.
func TestReplica_Shapes(t *testing.T) {
	t.Parallel()
	for name, shape := range map[string]func(t *testing.T) (client func() redis.UniversalClient, edit func(*redisrev.Config)){
		"Cluster": func(t *testing.T) (func() redis.UniversalClient, func(*redisrev.Config)) {
			c := redistest.StartCluster(t)
			return func() redis.UniversalClient { return c.Client() }, func(*redisrev.Config) {}
		},
		"TLS and an ACL user": func(t *testing.T) (func() redis.UniversalClient, func(*redisrev.Config)) {
			s := redistest.StartTLS(t)
			s.Do(append([]any{"ACL", "SETUSER", "kit", "on", ">secret"}, fields(smallestACL)...)...)
			return func() redis.UniversalClient {
				return s.Client(func(o *redis.Options) { o.Username, o.Password = "kit", "secret" })
			}, func(*redisrev.Config) {}
		},
		"Sentinel with WAIT": func(t *testing.T) (func() redis.UniversalClient, func(*redisrev.Config)) {
			args := []string{"--min-replicas-to-write", "1", "--min-replicas-max-lag", "2"}
			master := redistest.Start(t, args...)
			redistest.StartReplica(t, master, args...)
			sentinels := redistest.StartSentinels(t, master, 3)
			return func() redis.UniversalClient { return sentinels.Client() }, func(c *redisrev.Config) { c.Replicas, c.MaxLag = 1, 2*time.Second }
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client, edit := shape(t)
			a := leased(t, replicate(t, settled(t, client(), edit)))
			b := leased(t, replicate(t, settled(t, client(), edit)))
			for i := range 30 {
				p := listtest.Principal(t, a, fmt.Sprint("p", i))
				listtest.Want(t, b, p, "")
				listtest.Revoke(t, a, []auth.Revocation{listtest.Session(p), listtest.TokenID(p), listtest.Below(p, 2)}[i%3])
				want := []auth.Code{auth.TokenRevoked, auth.TokenRevoked, auth.TokenExpired}[i%3]
				listtest.Want(t, a, p, want)
				listtest.Want(t, b, p, want)
			}
			if err := errors.Join(a.Close(), b.Close()); err != nil {
				t.Error(err)
			}
		})
	}
}

// Where a replica of Redis may be promoted, an ending that it does not have is not confirmed.
func TestRevoke_ATK_D04_Replicated(t *testing.T) {
	t.Parallel()
	master := redistest.Start(t)
	standby := redistest.StartReplica(t, master)
	l := settled(t, master.Client(), func(c *redisrev.Config) { c.Replicas, c.MaxLag, c.Timeout = 1, time.Second, 2*time.Second })
	p, q := listtest.Principal(t, l, "p"), listtest.Principal(t, l, "q")
	listtest.Revoke(t, l, listtest.Session(p))
	if got := standby.Do("GET", "{dw}:s:"+p.Session); got != "1" {
		t.Errorf("confirmed, and the replica has %v", got)
	}
	standby.Pause()
	if err := l.Revoke(t.Context(), listtest.Session(q)); !errors.Is(err, revocation.ErrUnconfirmed) {
		t.Errorf("got %v, expected that it is not confirmed", err)
	}
	listtest.Want(t, l, q, auth.TokenRevoked) // the entry stands
	standby.Resume()
	redistest.Eventually(t, func() error { return l.Revoke(t.Context(), listtest.Session(q)) })
	if got := standby.Do("GET", "{dw}:s:"+q.Session); got != "1" {
		t.Errorf("confirmed, and the replica has %v", got)
	}
	if err := l.Ready(t.Context()); err == nil || !strings.Contains(err.Error(), "min-replicas-to-write") {
		t.Errorf("without min-replicas-to-write: Ready says %v", err)
	}
	if err := settled(t, master.Client()).Ready(t.Context()); err == nil || !strings.Contains(err.Error(), "Config.Replicas") {
		t.Errorf("with a replica that nobody waits for: Ready says %v", err)
	}
	master.Do("CONFIG", "SET", "min-replicas-to-write", "1")
	if err := l.Ready(t.Context()); err != nil {
		t.Errorf("as it should be: Ready says %v", err)
	}
}

// A replica whose Redis is away goes on for its lease, then denies, and comes back by itself.
func TestReplica_STD_S10_Outage(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]func(*redistest.Proxy){
		"ATK-D01 refused":    (*redistest.Proxy).Cut,
		"ATK-D02 black hole": (*redistest.Proxy).BlackHole,
		"ATK-D02 half-open":  (*redistest.Proxy).HalfOpen,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := redistest.Start(t)
			proxy := redistest.NewProxy(t, s.Addr())
			client := redis.NewClient(&redis.Options{Addr: proxy.Addr()})
			t.Cleanup(func() { _ = client.Close() })
			far := settled(t, client, short)
			r, near := leased(t, replicate(t, far)), settled(t, s.Client())
			p, q := listtest.Principal(t, near, "p"), listtest.Principal(t, near, "q")
			fault(proxy)
			listtest.Want(t, r, p, "")
			listtest.Revoke(t, near, listtest.Session(p)) // waits for the node's lease to run out
			for range 5 {
				begun := time.Now()
				listtest.Want(t, r, p, auth.StoreUnavailable)
				if took := time.Since(begun); took > timeout+slack {
					t.Errorf("the answer took %v", took)
				}
			}
			listtest.Want(t, revocation.IgnoreOutage(r), q, "")
			proxy.Heal()
			leased(t, r)
			listtest.Want(t, r, p, auth.TokenRevoked)
			listtest.Want(t, r, q, "")
		})
	}
}

// After Close nothing of the replica runs on, also where Redis does not answer.
func TestReplica_CloseLeavesNothing(t *testing.T) {
	s := redistest.Start(t)
	proxy := redistest.NewProxy(t, s.Addr())
	client := redis.NewClient(&redis.Options{Addr: proxy.Addr(), ReadTimeout: time.Second, MaxRetries: -1})
	t.Cleanup(func() { _ = client.Close() })
	for _, hole := range []bool{false, true} {
		var rs []*revocation.Replica
		patience := func(c *redisrev.Config) {
			if hole {
				c.Timeout = timeout
			}
		}
		for range 20 {
			rs = append(rs, leased(t, replicate(t, settled(t, client, patience))))
		}
		if hole {
			proxy.BlackHole()
		}
		for _, r := range rs {
			begun := time.Now()
			if err := r.Close(); (err != nil) != hole {
				t.Errorf("Close: %v", err)
			}
			if took := time.Since(begun); hole && took > 3*timeout+slack {
				t.Errorf("Close took %v", took)
			}
		}
		redistest.Eventually(t, func() error {
			var stacks strings.Builder
			_ = pprof.Lookup("goroutine").WriteTo(&stacks, 1)
			if n := strings.Count(stacks.String(), "revocation.(*Replica)") + strings.Count(stacks.String(), "redisrev.(*List)"); n > 0 {
				return fmt.Errorf("goroutines are left: %s", stacks.String())
			}
			return nil
		})
		proxy.Heal()
	}
}

// An ending that goes out while Redis forgets is written again, in the new epoch, and waits for leases of the old one.
func TestRevoke_STD_S11_ForgottenMeanwhile(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	l := settled(t, s.Client())
	p := listtest.Principal(t, l, "p")
	s.Do("HSET", "{dw}:nodes", "node-1", p.Epoch+" 0-0 7") // somebody to wait for
	done := make(chan error)
	begun := time.Now()
	go func() { done <- l.Revoke(context.Background(), listtest.Session(p)) }()
	redistest.Eventually(t, func() error {
		if s.Do("EXISTS", "{dw}:s:"+p.Session) != int64(1) {
			return errors.New("not yet written")
		}
		return nil
	})
	s.Do("FLUSHALL")
	forgot := time.Now()
	listtest.Principal(t, l, "somebody") // the new epoch
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if since := time.Since(forgot); since < revocation.Lease {
		t.Errorf("returned %v after the flush, %v after the call", since, time.Since(begun))
	}
	fresh := listtest.Principal(t, l, "p")
	listtest.Want(t, l, fresh, auth.TokenRevoked)
}
