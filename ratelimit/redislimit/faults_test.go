package redislimit_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/internal/limittest"
	"github.com/doorward/doorward/internal/redistest"
	"github.com/doorward/doorward/ratelimit"
	"github.com/doorward/doorward/ratelimit/redislimit"
)

// timeout is the limiter's deadline where a test waits for it.
const timeout = 250 * time.Millisecond

// slack is what a busy machine may add to it. Each fault lasts longer than both.
const slack = 2 * time.Second

// Whatever is wrong with Redis: half the limit in the process, within the deadline, and an event. When it
// is back, it is as it was.
func TestOutage_STD_R11(t *testing.T) {
	for _, test := range []struct {
		name        string
		spoil, mend func(*redistest.Server, *redistest.Proxy)
	}{
		{"ATK-D01 refused", func(_ *redistest.Server, p *redistest.Proxy) { p.Cut() }, heal},
		{"ATK-D02 slow, 5 s", func(_ *redistest.Server, p *redistest.Proxy) { p.Delay(5 * time.Second) }, heal},
		{"ATK-D02 black hole", func(_ *redistest.Server, p *redistest.Proxy) { p.BlackHole() }, heal},
		{"ATK-D02 half-open", func(_ *redistest.Server, p *redistest.Proxy) { p.HalfOpen() }, heal},
		{"ATK-D02 process stopped", func(s *redistest.Server, _ *redistest.Proxy) { s.Pause() },
			func(s *redistest.Server, _ *redistest.Proxy) { s.Resume() }},
		{"ATK-D05 NOAUTH", func(s *redistest.Server, _ *redistest.Proxy) {
			s.Do("CONFIG", "SET", "requirepass", "x")
			s.Do("CLIENT", "KILL", "SKIPME", "yes", "TYPE", "normal")
		}, func(s *redistest.Server, _ *redistest.Proxy) { s.Do("CONFIG", "SET", "requirepass", "") }},
		{"ATK-D05 READONLY", func(s *redistest.Server, _ *redistest.Proxy) { s.Do("REPLICAOF", "127.0.0.1", "1") },
			func(s *redistest.Server, _ *redistest.Proxy) { s.Do("REPLICAOF", "NO", "ONE") }},
		{"ATK-D05 OOM", func(s *redistest.Server, _ *redistest.Proxy) { s.Do("CONFIG", "SET", "maxmemory", "1kb") },
			func(s *redistest.Server, _ *redistest.Proxy) { s.Do("CONFIG", "SET", "maxmemory", "0") }},
		{"ATK-D05 NOREPLICAS", func(s *redistest.Server, _ *redistest.Proxy) { s.Do("CONFIG", "SET", "min-replicas-to-write", "1") },
			func(s *redistest.Server, _ *redistest.Proxy) { s.Do("CONFIG", "SET", "min-replicas-to-write", "0") }},
	} {
		outage := func(t *testing.T, direct bool) {
			t.Parallel()
			server := redistest.Start(t)
			proxy := redistest.NewProxy(t, server.Addr())
			// Beside that go-redis's defaults: 5 s, 3 retries.
			client := redis.NewClient(&redis.Options{Addr: proxy.Addr(), ContextTimeoutEnabled: direct})
			t.Cleanup(func() { _ = client.Close() })
			told := new(events)
			l := open(t, client, func(c *redislimit.Config) { c.Timeout, c.Fallback, c.Observe = timeout, nil, told.observe })
			account := ratelimit.Cost{Key: "account", Rate: login}
			untouched := ratelimit.Cost{Key: "untouched", Rate: login, N: 4}
			limittest.Want(t, l, true, 4, account)
			if o := told.outcomes(); o != nil {
				t.Fatalf("told of %v, want nothing", o)
			}

			test.spoil(server, proxy)
			allowed := 0
			for i := range 12 {
				before := time.Now()
				d := limittest.Take(t, l, account)
				if took := time.Since(before); took > timeout+slack {
					t.Errorf("take %d took %v, want the deadline of %v", i, took, timeout)
				}
				if d.OK {
					allowed++
				}
				if d.Cost.Rate.N != 2 {
					t.Errorf("take %d: got %+v, want the half rate", i, d)
				}
			}
			if allowed != 2 {
				t.Errorf("%d were allowed, want 2, half the limit", allowed)
			}
			limittest.Want(t, l, true, 0, untouched) // more than the half is all of the half
			limittest.Want(t, l, true, 2, ratelimit.Cost{Key: "account", Rate: login, N: -5})
			if o := told.outcomes(); !slices.Equal(o, []string{"outage fallback"}) {
				t.Errorf("told of %v, want one outage", o)
			}

			test.mend(server, proxy)
			redistest.Eventually(t, func() error {
				if d := limittest.Take(t, l, ratelimit.Cost{Key: "probe", Rate: ratelimit.Rate{N: 1 << 20, Per: time.Hour}}); d.Cost.Rate.N != 1<<20 {
					return errors.New("the fallback answers yet")
				}
				return nil
			})
			// Those whose answers were lost may have been counted as well; none is forgotten.
			if n := limittest.Count(t, l, 10, account); n > 4 {
				t.Errorf("afterwards: got %d, want at most 4", n)
			}
			if o := told.outcomes(); !slices.Equal(o, []string{"outage ok"}) {
				t.Errorf("told of %v, want the end of the outage", o)
			}
		}
		t.Run(test.name, func(t *testing.T) { outage(t, false) })
		t.Run(test.name+", by a client that keeps deadlines", func(t *testing.T) { outage(t, true) })
	}
}

func heal(_ *redistest.Server, p *redistest.Proxy) { p.Heal() }

// ATK-L08 during an outage: exactly the half, however many at once.
func TestOutage_ATK_L08_Parallel(t *testing.T) {
	l := open(t, redis.NewClient(&redis.Options{Addr: "127.0.0.1:1"}), func(c *redislimit.Config) { c.Timeout, c.Fallback = timeout, nil })
	if n := limittest.Parallel(t, 1000, []ratelimit.Cost{{Key: "a", Rate: login}}, l); n != 2 {
		t.Errorf("got %d, want exactly 2", n)
	}
	limittest.Want(t, l, true, 0, ratelimit.Cost{Key: "one", Rate: ratelimit.Rate{N: 1, Per: time.Hour}})
	limittest.Want(t, l, false, 0, ratelimit.Cost{Key: "one", Rate: ratelimit.Rate{N: 1, Per: time.Hour}})
}

// ATK-D07, ATK-D05 WRONGTYPE: what nobody of ours has written is no budget, and no reason to let through.
func TestGarbage_ATK_D07(t *testing.T) {
	const key = "{dw}:r:Oxlv1JB77fUcMJDpg18vfL" // of the key "a", computed with another program
	s := redistest.Start(t)
	for _, test := range []struct {
		name  string
		write []any
	}{
		{"empty", []any{"SET", key, ""}},
		{"text", []any{"SET", key, "x"}},
		{"negative", []any{"SET", key, "-1"}},
		{"a fraction", []any{"SET", key, "1.5"}},
		{"an exponent", []any{"SET", key, "1e5"}},
		{"hexadecimal", []any{"SET", key, "0x10"}},
		{"not a number", []any{"SET", key, "nan"}},
		{"infinite", []any{"SET", key, "inf"}},
		{"spaces", []any{"SET", key, " 1 "}},
		{"too long", []any{"SET", key, strings.Repeat("9", 17)}},
		{"a line end", []any{"SET", key, "1\n"}},
		{"WRONGTYPE", []any{"HSET", key, "a", "b"}},
	} {
		s.Do("DEL", key)
		s.Do(test.write...)
		told := new(events)
		l := open(t, s.Client(), func(c *redislimit.Config) { c.Fallback, c.Observe = nil, told.observe })
		a := ratelimit.Cost{Key: "a", Rate: login}
		if n := limittest.Count(t, l, 10, a, ratelimit.Cost{Key: "b", Rate: login}); n != 2 {
			t.Errorf("%s: got %d, want 2, half the limit", test.name, n)
		}
		limittest.Want(t, l, true, 4, ratelimit.Cost{Key: "b" + test.name, Rate: login})
		// It comes and goes with every call: told of once in a while.
		limittest.Count(t, l, 5, a)
		if o := told.outcomes(); !slices.Equal(o, []string{"outage fallback", "outage ok"}) {
			t.Errorf("%s: told of %v, want one outage and its end", test.name, o)
		}
	}
	s.Do("DEL", key)
	if n := s.Do("EXISTS", "{dw}:r:XFNYXt2ewpb1U38B_55H4r"); n != int64(0) {
		t.Error("a part of a call that failed was done")
	}
}

// A caller's own fallback gets the costs as they are, and its failure is a refusal with a code.
func TestFallback_OfTheCaller(t *testing.T) {
	client := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", DialerRetries: 1, MaxRetries: -1})
	m := ratelimit.NewMemory(0)
	l := open(t, client, func(c *redislimit.Config) { c.Fallback = m })
	c := ratelimit.Cost{Key: "a", Rate: login}
	limittest.Want(t, l, true, 4, c)
	limittest.Want(t, m, true, 3, c)

	l = open(t, client, func(c *redislimit.Config) { c.Fallback = broken{} })
	d, err := l.Take(t.Context(), c)
	if d.OK || auth.CodeOf(err) != auth.StoreUnavailable || !errors.Is(err, errBroken) {
		t.Errorf("got %+v, %v, want a refusal, store_unavailable", d, err)
	}
}

var errBroken = errors.New("broken")

type broken struct{}

func (broken) Take(context.Context, ...ratelimit.Cost) (ratelimit.Decision, error) {
	return ratelimit.Decision{OK: true}, errBroken
}

// ATK-D12: a client that hangs up gets nothing, makes no outage, and does not get its try back.
func TestHangUp_ATK_D12(t *testing.T) {
	s := redistest.Start(t)
	told := new(events)
	l := open(t, s.Client(), func(c *redislimit.Config) { c.Observe = told.observe })
	c := ratelimit.Cost{Key: "a", Rate: login}
	limittest.Want(t, l, true, 4, c)

	s.Pause()
	for range 20 { // more than what opens the breaker
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
		if d, err := l.Take(ctx, c); d.OK || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %+v, %v, want the end of the context", d, err)
		}
		cancel()
	}
	s.Resume()
	limittest.Want(t, l, true, 4, ratelimit.Cost{Key: "b", Rate: login})
	redistest.Eventually(t, func() error {
		if d := limittest.Take(t, l, c); d.OK || d.Remaining > 0 {
			return fmt.Errorf("got %+v", d)
		}
		return nil
	})
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if d, err := l.Take(ended, ratelimit.Cost{Key: "c", Rate: login}); d.OK || !errors.Is(err, context.Canceled) {
		t.Errorf("got %+v, %v, want the end of the context", d, err)
	}
	if o := told.outcomes(); o != nil {
		t.Errorf("told of %v, want nothing", o)
	}
}

// ATK-D06: a client that reads from replicas counts on the master: a replica is behind.
func TestReads_ATK_D06_GoToTheMaster(t *testing.T) {
	master := redistest.Start(t)
	behind := redistest.StartReplica(t, master)
	client := redis.NewClusterClient(&redis.ClusterOptions{
		RouteRandomly: true,
		ClusterSlots: func(context.Context) ([]redis.ClusterSlot, error) {
			return []redis.ClusterSlot{{Start: 0, End: 16383, Nodes: []redis.ClusterNode{{Addr: master.Addr()}, {Addr: behind.Addr()}}}}, nil
		},
	})
	t.Cleanup(func() { _ = client.Close() })
	l := open(t, client)
	behind.Do("CONFIG", "RESETSTAT")
	if n := limittest.Count(t, l, 50, ratelimit.Cost{Key: "a", Rate: login}); n != 5 {
		t.Errorf("got %d, want 5", n)
	}
	if stats := behind.Do("INFO", "commandstats").(string); strings.Contains(stats, "cmdstat_eval") {
		t.Errorf("the replica was asked: %s", stats)
	}
}

// ATK-D01: Redis is not there at start.
func TestOutage_ATK_D01_DownAtStart(t *testing.T) {
	s := redistest.Start(t)
	s.Kill()
	l := open(t, s.Client(), func(c *redislimit.Config) { c.Timeout, c.Fallback = timeout, nil })
	c := ratelimit.Cost{Key: "a", Rate: login}
	if n := limittest.Count(t, l, 10, c); n != 2 {
		t.Errorf("got %d, want 2", n)
	}
	s.Restart()
	redistest.Eventually(t, func() error {
		if d := limittest.Take(t, l, c); d.Cost.Rate != login {
			return fmt.Errorf("got %+v, want the whole rate", d)
		}
		return nil
	})
}
