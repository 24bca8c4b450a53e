package redisrev_test

import (
	"context"
	"errors"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/internal/listtest"
	"github.com/doorward/doorward/internal/redistest"
	"github.com/doorward/doorward/revocation/redisrev"
)

// fake is a client whose every script is answered by answer; it needs no network, so that synctest's
// clock applies. Any other method is nil and panics.
type fake struct {
	redis.UniversalClient
	answer func(ctx context.Context) (any, error)
	asked  atomic.Int64
}

func (f *fake) EvalSha(ctx context.Context, _ string, _ []string, _ ...any) *redis.Cmd {
	f.asked.Add(1)
	cmd := redis.NewCmd(ctx)
	v, err := f.answer(ctx)
	cmd.SetVal(v)
	cmd.SetErr(err)
	return cmd
}

// refusal is an error that Redis itself has sent.
type refusal string

func (r refusal) Error() string { return string(r) }
func (refusal) RedisError()     {}

var (
	somebody = &auth.Principal{Issuer: "i", Subject: "u", Epoch: "AAAAAAAA"}
	good     = []any{"AAAAAAAA", nil}
)

// Whatever Redis or the network says instead of an answer, nobody gets in.
func TestErrors_ATK_D05(t *testing.T) {
	t.Parallel()
	for _, err := range []error{
		refusal("MOVED 3999 127.0.0.1:6381"), refusal("ASK 3999 127.0.0.1:6381"), redis.ErrCrossSlot,
		refusal("CLUSTERDOWN The cluster is down"), refusal("READONLY You can't write against a read only replica."),
		refusal("LOADING Redis is loading the dataset in memory"), refusal("OOM command not allowed when used memory > 'maxmemory'."),
		refusal("WRONGTYPE Operation against a key holding the wrong kind of value"), refusal("NOAUTH Authentication required."),
		refusal("NOPERM this user has no permissions"), refusal("NOREPLICAS Not enough good replicas to write."),
		refusal("TRYAGAIN Multiple keys request during rehashing of slot"), refusal("MASTERDOWN Link with MASTER is down"),
		refusal("MISCONF Redis is configured to save RDB snapshots"), refusal("BUSY Redis is busy running a script"),
		refusal("ERR user_script:7: attempt to concatenate a nil value"), redis.Nil,
		redis.ErrClosed, redis.ErrPoolTimeout, &net.OpError{Op: "dial", Err: errors.New("no such host")}, context.DeadlineExceeded,
	} {
		l := open(t, &fake{answer: func(context.Context) (any, error) { return nil, err }})
		got := l.Check(t.Context(), somebody)
		if auth.CodeOf(got) != auth.StoreUnavailable || !errors.Is(got, err) {
			t.Errorf("Check: got %v for %v, want store_unavailable that wraps it", got, err)
		}
		if got := l.Revoke(t.Context(), listtest.Below(somebody, 2)); auth.CodeOf(got) != auth.StoreUnavailable || !errors.Is(got, err) {
			t.Errorf("Revoke: got %v for %v, want store_unavailable that wraps it", got, err)
		}
		if ep, got := l.Epoch(t.Context()); auth.CodeOf(got) != auth.StoreUnavailable || !errors.Is(got, err) || ep != "" {
			t.Errorf("Epoch: got %q, %v for %v, want store_unavailable that wraps it", ep, got, err)
		}
	}
}

// Answers that no script of ours gives.
func TestErrors_ATK_D07_OddAnswers(t *testing.T) {
	t.Parallel()
	for _, v := range []any{
		nil, "AAAAAAAA", int64(1), []any{}, []any{nil}, []any{int64(1), nil}, []any{"AAAAAAAA"}, []any{"AAAAAAAA", nil, nil},
		[]any{"AAAAAAAA", []any{}}, []any{"AAAAAAAA", int64(2)}, []any{"AAAAAAA\n", nil}, []any{"AAAAAAAA", true},
	} {
		l := open(t, &fake{answer: func(context.Context) (any, error) { return v, nil }})
		if err := l.Check(t.Context(), somebody); auth.CodeOf(err) != auth.StoreUnavailable {
			t.Errorf("Check: got %v for %v, want store_unavailable", err, v)
		}
		if err := l.Revoke(t.Context(), listtest.Below(somebody, 2)); auth.CodeOf(err) != auth.StoreUnavailable {
			t.Errorf("Revoke: got %v for %v, want store_unavailable", err, v)
		}
		if err := l.Ready(t.Context()); err == nil {
			t.Errorf("Ready: nil for %v", v)
		}
	}
}

// Answers that are errors come from a Redis that is there: they do not open the breaker. Nor do
// misses with answers between them.
func TestBreaker_StaysClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		defer time.Sleep(2 * timeout) // the guard's workers go home
		var n int
		client := &fake{}
		client.answer = func(context.Context) (any, error) {
			if n++; n < 20 {
				return nil, refusal("READONLY You can't write against a read only replica.")
			}
			if n%8 != 0 {
				return nil, errors.New("connection reset")
			}
			return good, nil
		}
		l := open(t, client, short)
		for range 100 {
			_ = l.Check(t.Context(), somebody)
		}
		if n != 100 {
			t.Errorf("Redis was asked %d times of 100", n)
		}
	})
}

// The command that is to try whether Redis is back finds all places taken, and its caller hangs up: the
// next one must be allowed to try.
func TestBreaker_TryIsGivenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		defer time.Sleep(2 * timeout) // the guard's workers go home
		gone := make(chan struct{})
		l := open(t, &fake{answer: func(context.Context) (any, error) { <-gone; return good, nil }}, short)
		var all sync.WaitGroup
		for range 256 {
			all.Go(func() { _ = l.Check(t.Context(), somebody) })
		}
		all.Wait()
		time.Sleep(timeout)
		ctx, cancel := context.WithTimeout(t.Context(), timeout/10)
		defer cancel()
		if err := l.Check(ctx, somebody); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want the caller's own reason", err)
		}
		close(gone)
		synctest.Wait()
		if err := l.Check(t.Context(), somebody); err != nil {
			t.Errorf("Redis is back: %v", err)
		}
	})
}

// The same with go-redis itself in a black hole: what is left behind ends by the client's timeouts.
func TestBounded_ATK_D02_BlackHole(t *testing.T) {
	s := redistest.Start(t)
	proxy := redistest.NewProxy(t, s.Addr())
	client := redis.NewClient(&redis.Options{Addr: proxy.Addr(), ReadTimeout: time.Second, PoolSize: 10})
	t.Cleanup(func() { _ = client.Close() })
	l := open(t, client, func(c *redisrev.Config) { c.Timeout = 50 * time.Millisecond })
	redistest.Eventually(t, func() error { _, err := l.Epoch(t.Context()); return err })
	proxy.BlackHole()
	for range 10 {
		var all sync.WaitGroup
		for range 400 {
			all.Go(func() {
				if err := l.Check(t.Context(), somebody); auth.CodeOf(err) != auth.StoreUnavailable {
					t.Errorf("got %v, want store_unavailable", err)
				}
			})
		}
		all.Wait()
		if n := ours(); n > 256 {
			t.Errorf("%d goroutines of the list are left behind, want 256 at most", n)
		}
	}
	proxy.Heal()
	redistest.Eventually(t, func() error {
		if n := ours(); n > 0 {
			return errors.New("goroutines are left behind")
		}
		return nil
	})
}

// ours counts the goroutines that the list's guard has started.
func ours() int {
	buf := make([]byte, 4<<20)
	return strings.Count(string(buf[:runtime.Stack(buf, true)]), "created by github.com/doorward/doorward/internal/redisguard.(*Guard)")
}

// A panic in a client's hook ends the request, as it would without the list's goroutine, not the process.
func TestPanic(t *testing.T) {
	t.Parallel()
	l := open(t, &fake{answer: func(context.Context) (any, error) { panic("hook") }})
	if err := l.Check(t.Context(), somebody); auth.CodeOf(err) != auth.StoreUnavailable || !strings.Contains(err.Error(), "hook") {
		t.Errorf("got %v, want store_unavailable that names the panic", err)
	}
}
