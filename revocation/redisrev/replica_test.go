package redisrev_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/internal/listtest"
	"github.com/doorward/doorward/internal/redistest"
	"github.com/doorward/doorward/revocation"
	"github.com/doorward/doorward/revocation/redisrev"
)

// replicate returns a replica over the list.
func replicate(t testing.TB, l *redisrev.List) *revocation.Replica {
	t.Helper()
	r, err := revocation.NewReplica(revocation.ReplicaConfig{Feed: l})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

// leased waits until the replica answers from memory.
func leased(t testing.TB, r *revocation.Replica) *revocation.Replica {
	t.Helper()
	redistest.Eventually(t, func() error {
		if s := r.Status(); !s.Leased {
			return fmt.Errorf("no lease: %+v", s)
		}
		return nil
	})
	return r
}

// Whatever a list must do, a replica does: on the node that ends, on another one, and while it is loading.
func TestReplica(t *testing.T) {
	replica := func(t *testing.T, s *redistest.Server) *revocation.Replica {
		return leased(t, replicate(t, settled(t, s.Client())))
	}
	for name, open := range map[string]func(t *testing.T, s *redistest.Server) revocation.List{
		"one node": func(t *testing.T, s *redistest.Server) revocation.List { return replica(t, s) },
		"loading":  func(t *testing.T, s *redistest.Server) revocation.List { return replicate(t, settled(t, s.Client())) },
		"two nodes": func(t *testing.T, s *redistest.Server) revocation.List {
			return apart{replica(t, s), replica(t, s)}
		},
		"ends without a replica": func(t *testing.T, s *redistest.Server) revocation.List {
			return apart{settled(t, s.Client()), replica(t, s)}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := redistest.Start(t)
			listtest.Run(t, func(t *testing.T) revocation.List { return open(t, s) })
		})
	}
}

// apart ends on one node and asks on another.
type apart struct {
	revocation.List
	asked revocation.List
}

func (n apart) Check(ctx context.Context, p *auth.Principal) error { return n.asked.Check(ctx, p) }

// Counted on the wire: with a lease a check goes nowhere.
func TestReplica_RoundTrips(t *testing.T) {
	s := redistest.Start(t)
	proxy := redistest.NewProxy(t, s.Addr())
	client := redis.NewClient(&redis.Options{Addr: proxy.Addr()})
	t.Cleanup(func() { _ = client.Close() })
	direct := settled(t, s.Client())
	r := leased(t, replicate(t, settled(t, client)))
	live, ended, other := listtest.Principal(t, direct, "live"), listtest.Principal(t, direct, "ended"), listtest.Principal(t, direct, "other")
	listtest.Revoke(t, direct, listtest.Session(ended))
	other.Epoch = "AAAAAAAA"
	// EVALSHA is a check or a renewal, XREAD waits for news; checks are many more than renewals.
	proxy.Requests()
	for range 1000 {
		listtest.Want(t, r, live, "")
		listtest.Want(t, r, ended, auth.TokenRevoked)
	}
	if got := proxy.Requests(); len(got) > 20 {
		t.Errorf("2,000 checks: %d requests on the wire, expected none but renewals", len(got))
	}
	proxy.Requests()
	<-time.After(2 * time.Second) // idle: it renews, and waits for news
	if got := proxy.Requests(); len(got) < 3 || len(got) > 30 {
		t.Errorf("in 2 s %d requests on the wire, expected about ten", len(got))
	}
	for range 100 { // an epoch that this node does not know: only Redis can say
		listtest.Want(t, r, other, auth.TokenExpired)
	}
	if got := proxy.Requests(); len(got) < 100 {
		t.Errorf("100 checks of an unknown epoch: %d requests on the wire, expected as many", len(got))
	}
}

// A node that is dead is waited for once, and no longer than a lease.
func TestRevoke_DeadNode(t *testing.T) {
	t.Parallel()
	for name, registration := range map[string]string{
		"dead":     "%s 0-0 7",
		"epoch":    "AAAAAAAA 9999999999999-0 7", // an acknowledgement of another epoch is none
		"garbage":  "x",
		"no entry": "%s x 1",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := redistest.Start(t)
			l := settled(t, s.Client())
			p := listtest.Principal(t, l, name)
			if strings.Contains(registration, "%s") {
				registration = fmt.Sprintf(registration, p.Epoch)
			}
			s.Do("HSET", "{dw}:nodes", "node-1", registration)
			if took := timed(func() { listtest.Revoke(t, l, listtest.Session(p)) }); took < revocation.Lease {
				t.Errorf("returned after %v, while a lease may have been in use", took)
			}
			if n := s.Do("HLEN", "{dw}:nodes"); n != int64(0) {
				t.Errorf("the node is still registered")
			}
			if took := timed(func() { listtest.Revoke(t, l, listtest.TokenID(p)) }); took >= revocation.Lease {
				t.Errorf("the next one took %v, expected the dead node to be forgotten", took)
			}
		})
	}
}

// A node that joined while somebody waited for another may hold a lease: it stays on the account.
func TestRevoke_JoinedMeanwhile(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	l := settled(t, s.Client())
	p, q := listtest.Principal(t, l, "p"), listtest.Principal(t, l, "q")
	s.Do("HSET", "{dw}:nodes", "dead", p.Epoch+" 0-0 7")
	done := make(chan error)
	go func() { done <- l.Revoke(context.Background(), listtest.Session(p)) }()
	<-time.After(revocation.Lease)
	s.Do("HSET", "{dw}:nodes", "young", p.Epoch+" 0-0 8")
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if nodes := fmt.Sprint(s.Do("HKEYS", "{dw}:nodes")); nodes != "[young]" {
		t.Errorf("on the account: %s, expected the one that joined", nodes)
	}
	if took := timed(func() { listtest.Revoke(t, l, listtest.Session(q)) }); took < revocation.Lease/2 {
		t.Errorf("the next call did not wait for it: %v", took)
	}
}

func timed(f func()) time.Duration {
	begun := time.Now()
	f()
	return time.Since(begun)
}

// A deadline before the confirmation is told as what it is, and a call that does not want to wait does not.
func TestRevoke_Unconfirmed(t *testing.T) {
	s := redistest.Start(t)
	l := settled(t, s.Client())
	mine := leased(t, replicate(t, l))
	p, q := listtest.Principal(t, l, "p"), listtest.Principal(t, l, "q")
	s.Do("HSET", "{dw}:nodes", "node-1", p.Epoch+" 0-0 7")
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	err := l.Revoke(ctx, listtest.Session(p))
	if !errors.Is(err, revocation.ErrUnconfirmed) || auth.CodeOf(err) != auth.StoreUnavailable {
		t.Errorf("got %v, expected that it is written and not confirmed", err)
	}
	listtest.Want(t, l, p, auth.TokenRevoked)
	if took := timed(func() {
		if err := l.Revoke(revocation.WithoutWait(t.Context()), listtest.Session(q)); err != nil {
			t.Errorf("without wait: %v", err)
		}
		listtest.Want(t, mine, q, auth.TokenRevoked) // but this node knows
	}); took >= revocation.Lease {
		t.Errorf("without wait it took %v", took)
	}
}

// A flushed Redis does not know who holds a lease: whoever ends something then waits until nobody can.
func TestRevoke_NewEpoch(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	proxy := redistest.NewProxy(t, s.Addr())
	far := redis.NewClient(&redis.Options{Addr: proxy.Addr()})
	t.Cleanup(func() { _ = far.Close() })
	l := settled(t, s.Client())
	other := leased(t, replicate(t, settled(t, far, short)))
	p := listtest.Principal(t, l, "p")
	proxy.BlackHole() // the other node does not learn of it before its lease is over
	s.Do("FLUSHALL")
	took := timed(func() { listtest.Revoke(t, l, listtest.Session(p)) })
	if took < revocation.Lease {
		t.Errorf("returned after %v", took)
	}
	if err := other.Check(t.Context(), p); err == nil {
		t.Error("another node accepts it after the call has returned")
	}
}

// What is not the list's in the log: told, no lease, no acknowledgement, never a crash.
func TestReplica_ATK_D07_Garbage(t *testing.T) {
	t.Parallel()
	for _, line := range [][]any{
		{"x", "s:1"}, {"k", "s:1", "m"}, {"k", "s:1", "m", "2"}, {"k", "s:1", "m", "1", "n", "1"}, {"k", "j:1", "m", "0"}, {"k", "v:1"}, // a minimum of 1 is spelt out
		{"k", "v:1", "m", "0"}, {"k", "v:1", "m", "-1"}, {"k", "v:1", "m", "01"}, {"k", "v:1", "m", "9223372036854775808"}, {"k", "q:1"}, {"k", "s:"}, {"k", ""},
	} {
		if len(line)%2 != 0 {
			line = append(line, "")
		}
		t.Run(fmt.Sprint(line), func(t *testing.T) {
			t.Parallel()
			s := redistest.Start(t)
			l := settled(t, s.Client())
			var mu sync.Mutex
			var told []string
			r, err := revocation.NewReplica(revocation.ReplicaConfig{Feed: l, Observe: func(_ context.Context, e auth.Event) {
				mu.Lock()
				defer mu.Unlock()
				told = append(told, e.Outcome)
			}})
			if err != nil {
				t.Fatal(err)
			}
			p := listtest.Principal(t, l, "p")
			leased(t, r)
			s.Do(append([]any{"XADD", "{dw}:log", "*"}, line...)...)
			if slices.Equal(line, []any{"k", "v:1"}) {
				_ = r.Close()
				return
			}
			redistest.Eventually(t, func() error {
				if s := r.Status(); s.Leased || !errors.Is(s.Err, revocation.ErrUnreadable) {
					return fmt.Errorf("%v: %+v", line, s)
				}
				return nil
			})
			listtest.Want(t, r, p, "") // by asking
			listtest.Revoke(t, l, listtest.Session(p))
			listtest.Want(t, r, p, auth.TokenRevoked)
			redistest.Eventually(t, func() error {
				mu.Lock()
				defer mu.Unlock()
				if !slices.Equal(told, []string{"epoch", "leased", "lapsed"}) && !slices.Equal(told, []string{"leased", "lapsed"}) {
					return fmt.Errorf("%v: told %v", line, told)
				}
				return nil
			})
			if err := r.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// A log that was cut under a living epoch: the replica reads it from its start, and refuses what it knew.
func TestReplica_CursorAboveTheEnd(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	l := settled(t, s.Client())
	r := leased(t, replicate(t, l))
	p, q := listtest.Principal(t, l, "p"), listtest.Principal(t, l, "q")
	listtest.Revoke(t, l, listtest.Session(p))
	s.Do("DEL", "{dw}:log")
	s.Do("XADD", "{dw}:log", "5-1", "k", "s:"+q.Session)
	redistest.Eventually(t, func() error {
		if at := r.Status().At.Entry; at != "5-1" {
			return fmt.Errorf("it is at %s", at)
		}
		return nil
	})
	leased(t, r)
	listtest.Want(t, r, p, auth.TokenRevoked)
}

// Everything that a revocation and a replica need is in the ACL of the package comment.
func TestReplica_SmallestACL(t *testing.T) {
	s := redistest.Start(t)
	s.Do(append([]any{"ACL", "SETUSER", "kit", "on", ">secret"}, fields(smallestACL)...)...)
	client := s.Client(func(o *redis.Options) { o.Username, o.Password = "kit", "secret" })
	l := settled(t, client)
	r := leased(t, replicate(t, l))
	p := listtest.Principal(t, l, "p")
	listtest.Revoke(t, r, listtest.Session(p))
	listtest.Want(t, r, p, auth.TokenRevoked)
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if n := s.Do("HLEN", "{dw}:nodes"); n != int64(0) {
		t.Error("a closed node is still registered")
	}
	if log := s.Do("ACL", "LOG"); len(log.([]any)) > 0 {
		t.Errorf("denied: %v", log)
	}
}

// A question that the client sent twice runs late: it must not hide that the node has renewed since.
func TestReplica_LateQuestion(t *testing.T) {
	s := redistest.Start(t)
	l := settled(t, s.Client())
	at := revocation.Position{}
	for range 2 {
		b, err := l.Next(t.Context(), "node", at)
		if err != nil || !b.End {
			t.Fatalf("got %+v, %v", b, err)
		}
		at = b.At
	}
	second := s.Do("HGET", "{dw}:nodes", "node").(string)
	if !strings.HasSuffix(second, " 2") {
		t.Fatalf("registered as %q", second)
	}
	late := open(t, s.Client()) // its count begins at 1, as the first question's did
	if _, err := late.Next(t.Context(), "node", at); err != nil {
		t.Fatal(err)
	}
	if got := s.Do("HGET", "{dw}:nodes", "node"); got != second {
		t.Errorf("registered as %q after the late question, expected %q", got, second)
	}
}
