package redisguard_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doorward/doorward/internal/redisguard"
)

const timeout = 100 * time.Millisecond

var script = redis.NewScript("return {}")

// A fake stands between the guard and the network: what it does is what Redis answers.
type fake func(ctx context.Context, cmd redis.Cmder) error

func (f fake) DialHook(redis.DialHook) redis.DialHook {
	return func(context.Context, string, string) (net.Conn, error) { panic("a connection") }
}
func (f fake) ProcessHook(redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := f(ctx, cmd)
		cmd.SetErr(err)
		return err
	}
}
func (f fake) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// both runs test with a client that keeps deadlines itself, and with one that does not.
func both(t *testing.T, test func(*testing.T, func(*testing.T, fake) *redisguard.Guard)) {
	for _, kind := range []struct {
		name   string
		direct bool
	}{{"direct", true}, {"apart", false}} {
		t.Run(kind.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				test(t, func(t *testing.T, f fake) *redisguard.Guard { return guard(t, kind.direct, f) })
			})
		})
	}
}

func guard(t *testing.T, direct bool, f fake) *redisguard.Guard {
	t.Helper()
	client := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", ContextTimeoutEnabled: direct})
	client.AddHook(f)
	return of(t, client)
}

// of returns the guard of a client, in a bubble, in which all goroutines come to their end.
func of(t *testing.T, client *redis.Client) *redisguard.Guard {
	t.Helper()
	t.Cleanup(func() {
		_ = client.Close()
		time.Sleep(time.Hour)
	})
	g, err := redisguard.New("test", client, "", timeout)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func answer(_ context.Context, cmd redis.Cmder) error {
	cmd.(*redis.Cmd).SetVal([]any{"here"})
	return nil
}

func run(t *testing.T, g *redisguard.Guard) error {
	t.Helper()
	_, err := g.Run(t.Context(), script, nil)
	return err
}

func TestRun(t *testing.T) {
	both(t, func(t *testing.T, open func(*testing.T, fake) *redisguard.Guard) {
		g := open(t, answer)
		if v, err := g.Run(t.Context(), script, []string{"k"}, 1); err != nil || fmt.Sprint(v) != "[here]" {
			t.Errorf("got %v, %v", v, err)
		}
		if g.Tag() != "{dw}:" {
			t.Errorf("the tag is %q", g.Tag())
		}
	})
}

// ATK-D02: the deadline is the guard's, although the client would wait for seconds.
func TestDeadline_ATK_D02(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		g := guard(t, false, func(context.Context, redis.Cmder) error { <-release; return broken() })
		before := time.Now()
		if err := run(t, g); !errors.Is(err, redisguard.ErrMissed) {
			t.Errorf("got %v", err)
		}
		if took := time.Since(before); took != timeout {
			t.Errorf("it took %v, want %v", took, timeout)
		}
		close(release)
	})
}

// A client that keeps deadlines gets one that is at most the guard's and at least three quarters of it, in
// the caller's own context otherwise: hooks trace by its values.
func TestDeadline_Direct(t *testing.T) {
	type key struct{}
	synctest.Test(t, func(t *testing.T) {
		commands := 0
		g := guard(t, true, func(ctx context.Context, cmd redis.Cmder) error {
			commands++
			if end, ok := ctx.Deadline(); !ok || time.Until(end) > timeout || time.Until(end) < timeout*3/4 {
				t.Errorf("the deadline is in %v, want about %v", time.Until(end), timeout)
			}
			if ctx.Err() != nil || ctx.Value(key{}) != "here" {
				t.Errorf("got the value %v and %v", ctx.Value(key{}), ctx.Err())
			}
			if commands%7 == 0 {
				<-ctx.Done()
				return ctx.Err()
			}
			return answer(ctx, cmd)
		})
		ctx := context.WithValue(t.Context(), key{}, "here")
		for range 50 {
			before := time.Now()
			_, err := g.Run(ctx, script, nil)
			if err != nil && (!errors.Is(err, redisguard.ErrMissed) || !errors.Is(err, context.DeadlineExceeded)) {
				t.Errorf("got %v", err)
			}
			if took := time.Since(before); took > timeout || err != nil && took < timeout*3/4 {
				t.Errorf("it took %v, want about %v", took, timeout)
			}
			time.Sleep(13 * time.Millisecond)
		}
	})
}

func broken() error { return errors.New("i/o timeout") }

// ATK-D02: after 8 missed answers Redis is asked once per deadline, and believed at its first answer.
func TestBreaker_ATK_D02(t *testing.T) {
	both(t, func(t *testing.T, open func(*testing.T, fake) *redisguard.Guard) {
		var asked atomic.Int64
		var up atomic.Bool
		g := open(t, func(ctx context.Context, cmd redis.Cmder) error {
			asked.Add(1)
			if up.Load() {
				return answer(ctx, cmd)
			}
			<-ctx.Done()
			return ctx.Err()
		})
		for range 8 {
			_ = run(t, g)
		}
		if asked.Load() != 8 {
			t.Fatalf("asked %d times, want 8", asked.Load())
		}
		before := time.Now()
		for range 100 {
			if err := run(t, g); !errors.Is(err, redisguard.ErrMissed) {
				t.Errorf("open: got %v", err)
			}
		}
		if asked.Load() != 8 || time.Since(before) > 0 {
			t.Errorf("open: asked %d times and waited %v, want neither", asked.Load()-8, time.Since(before))
		}
		time.Sleep(timeout)
		var wait sync.WaitGroup
		for range 100 {
			wait.Go(func() { _ = run(t, g) })
		}
		wait.Wait()
		if asked.Load() != 9 {
			t.Errorf("after a rest: asked %d times, want once", asked.Load()-8)
		}
		up.Store(true)
		time.Sleep(timeout)
		for range 3 {
			if err := run(t, g); err != nil {
				t.Errorf("back: got %v", err)
			}
		}
		// Closed: it takes 8 in a row again.
		up.Store(false)
		for range 7 {
			_ = run(t, g)
		}
		up.Store(true)
		if err := run(t, g); err != nil {
			t.Errorf("7 missed: got %v", err)
		}
	})
}

// A refusal is an answer: Redis is there.
func TestBreaker_RefusalsAreAnswers(t *testing.T) {
	both(t, func(t *testing.T, open func(*testing.T, fake) *redisguard.Guard) {
		g := open(t, func(context.Context, redis.Cmder) error { return refusal("OOM over maxmemory") })
		for range 30 {
			if err := run(t, g); errors.Is(err, redisguard.ErrMissed) || !strings.Contains(err.Error(), "OOM") {
				t.Fatalf("got %v, want the refusal", err)
			}
		}
	})
}

type refusal string

func (r refusal) Error() string { return string(r) }
func (refusal) RedisError()     {}

// ATK-D12: clients that hang up neither open the breaker nor end the command, whose connection go-redis
// would close.
func TestHangUp_ATK_D12(t *testing.T) {
	both(t, func(t *testing.T, open func(*testing.T, fake) *redisguard.Guard) {
		var ended atomic.Int64
		g := open(t, func(ctx context.Context, cmd redis.Cmder) error {
			time.Sleep(timeout / 2)
			if ctx.Err() != nil {
				ended.Add(1)
			}
			return answer(ctx, cmd)
		})
		for range 30 {
			ctx, cancel := context.WithTimeout(t.Context(), timeout/4)
			if _, err := g.Run(ctx, script, nil); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v, want the end of the context", err)
			}
			cancel()
		}
		synctest.Wait()
		if err := run(t, g); err != nil {
			t.Errorf("afterwards: got %v", err)
		}
		if ended.Load() > 0 {
			t.Errorf("%d commands were ended with their callers", ended.Load())
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := g.Run(ctx, script, nil); !errors.Is(err, context.Canceled) {
			t.Errorf("ended before: got %v", err)
		}
	})
}

// ATK-D02: no pile: at most 256 commands are under way, and those that wait for a place leave in time.
func TestBound_ATK_D02(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var under, most atomic.Int64
		release := make(chan struct{})
		g := guard(t, false, func(context.Context, redis.Cmder) error {
			n := under.Add(1)
			for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
			}
			<-release // longer than the deadline
			under.Add(-1)
			return broken()
		})
		before := time.Now()
		var wait sync.WaitGroup
		hangUp, cancel := context.WithTimeout(t.Context(), timeout/2)
		defer cancel()
		for i := range 1000 {
			wait.Go(func() {
				ctx := t.Context()
				if i%2 == 0 {
					ctx = hangUp
				}
				if _, err := g.Run(ctx, script, nil); err == nil {
					t.Error("got no error")
				}
			})
		}
		wait.Wait()
		if most.Load() != 256 || time.Since(before) != timeout {
			t.Errorf("%d were under way and all took %v, want 256 and %v", most.Load(), time.Since(before), timeout)
		}
		close(release)
	})
}

// A panic of the client, or of a hook of its owner's, is an error of this command alone.
func TestPanic(t *testing.T) {
	both(t, func(t *testing.T, open func(*testing.T, fake) *redisguard.Guard) {
		g := open(t, func(context.Context, redis.Cmder) error { panic("hook") })
		if err := run(t, g); err == nil || !strings.Contains(err.Error(), "panicked: hook") {
			t.Errorf("got %v", err)
		}
	})
}

func TestNew_Refuses(t *testing.T) {
	client := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1"})
	defer func() { _ = client.Close() }()
	ring := redis.NewRing(&redis.RingOptions{})
	defer func() { _ = ring.Close() }()
	for _, test := range []struct {
		name    string
		client  redis.UniversalClient
		prefix  string
		timeout time.Duration
		says    string
	}{
		{"no client", nil, "", 0, "own: Config.Client: got nil, expected a *redis.Client"},
		{"nil *Client", (*redis.Client)(nil), "", 0, "got a nil *redis.Client"},
		{"nil *ClusterClient", (*redis.ClusterClient)(nil), "", 0, "got a nil *redis.ClusterClient"},
		{"ring", ring, "", 0, "got a *redis.Ring"},
		{"brace", client, "a{b", 0, `own: Config.Prefix: got "a{b", expected`},
		{"closing brace", client, "a}b", 0, "expected 1 to 64"},
		{"space", client, "a b", 0, "expected 1 to 64"},
		{"line end", client, "a\r\n", 0, `got "a\r\n", expected`},
		{"delete", client, "a\x7f", 0, "expected 1 to 64"},
		{"glob", client, "a*", 0, "expected 1 to 64"},
		{"not ASCII", client, "é", 0, "expected 1 to 64"},
		{"long", client, strings.Repeat("a", 65), 0, "expected 1 to 64"},
		{"negative timeout", client, "", -1, "got -1ns, expected 1ms to 10s"},
		{"no time at all", client, "", 999 * time.Microsecond, "got 999µs, expected 1ms to 10s"},
		{"too long", client, "", time.Minute, "own: Config.Timeout: got 1m0s, expected 1ms to 10s"},
	} {
		if g, err := redisguard.New("own", test.client, test.prefix, test.timeout); err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: got %v, %v, want an error with %q", test.name, g, err, test.says)
		}
	}
	if g, err := redisguard.New("own", client, "app:v1/x.y_z-0", time.Second); err != nil || g.Tag() != "{app:v1/x.y_z-0}:" {
		t.Errorf("got %v, %v", g, err)
	}
}

// Parts do not run together, and the text is what every release has made of them.
func TestHash(t *testing.T) {
	if h := redisguard.Hash("account:ada@example.com"); h != "20WuKyjdSo-XsO4UQPiAhp" { // computed with another program
		t.Errorf("got %s", h)
	}
	if redisguard.Hash("ab", "c") == redisguard.Hash("a", "bc") || redisguard.Hash("a") == redisguard.Hash("a", "") {
		t.Error("two lists of parts have one hash")
	}
}
