package password_test

import (
	"context"
	"errors"
	"net/http/httptest"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/auth/password"
)

// stage is a Hasher whose argon2 stands still until it is told to go on.
type stage struct {
	*password.Hasher
	counts *password.Counts
	step   chan struct{}
	most   atomic.Int64 // KiB in use and left to the collector, at most
}

func newStage(t *testing.T, c password.Config) *stage {
	s := &stage{Hasher: newHasher(t, c), step: make(chan struct{})}
	s.counts = s.Observe(func(uint32, uint32, uint8) []byte {
		_, _, live, spent := s.Load()
		for now := int64(live + spent); ; {
			if old := s.most.Load(); now <= old || s.most.CompareAndSwap(old, now) {
				break
			}
		}
		<-s.step
		return nil
	})
	return s
}

// until waits for the gate to reach a state.
func (s *stage) until(t *testing.T, running, waiting int) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; runtime.Gosched() {
		r, w, _, _ := s.Load()
		if r == running && w == waiting {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d run and %d wait, want %d and %d", r, w, running, waiting)
		}
	}
}

// check runs one Verify and sends its error.
func (s *stage) check(ctx context.Context, hash string) <-chan error {
	done := make(chan error, 1)
	go func() {
		_, err := s.Verify(ctx, hash, "password")
		done <- err
	}()
	return done
}

// STD-P14, ATK-L20: Slots hash, Queue wait, and whoever comes then is refused at once with Busy and
// Retry-After, without a hash.
func TestGate_STD_P14_ATK_L20_Busy(t *testing.T) {
	c := cheap
	c.Slots, c.Queue = 2, 3
	s := newStage(t, c)
	var running []<-chan error
	for range 5 {
		running = append(running, s.check(t.Context(), ""))
	}
	s.until(t, 2, 3)
	for range 100 {
		_, err := s.Verify(t.Context(), "", "password")
		var wait interface{ RetryAfter() time.Duration }
		if auth.CodeOf(err) != auth.Busy || !errors.As(err, &wait) || wait.RetryAfter() < time.Second {
			t.Fatalf("got %v", err)
		}
		if _, err := s.Hash(t.Context(), "password"); auth.CodeOf(err) != auth.Busy {
			t.Fatalf("Hash: got %v", err)
		}
		rec := httptest.NewRecorder()
		auth.WriteProblem(rec, err)
		if rec.Code != 503 || rec.Header().Get("Retry-After") != "2" {
			t.Fatalf("got %d, Retry-After %q", rec.Code, rec.Header().Get("Retry-After"))
		}
	}
	close(s.step)
	for _, done := range running {
		if err := <-done; auth.CodeOf(err) != auth.LoginFailed {
			t.Errorf("got %v", err)
		}
	}
	if n := s.counts.Argon2.Load(); n != 5 {
		t.Errorf("%d hashes, want 5", n)
	}
	s.until(t, 0, 0)
	if _, err := s.Verify(t.Context(), "", "password"); auth.CodeOf(err) != auth.LoginFailed {
		t.Errorf("afterwards: got %v", err)
	}
}

// Below 0, Queue is none: whoever finds no slot is refused.
func TestGate_NoQueue(t *testing.T) {
	c := cheap
	c.Slots, c.Queue = 1, -1
	s := newStage(t, c)
	first := s.check(t.Context(), "")
	s.until(t, 1, 0)
	if _, err := s.Verify(t.Context(), "", "password"); auth.CodeOf(err) != auth.Busy {
		t.Errorf("got %v", err)
	}
	close(s.step)
	<-first
	// What the first has left to the collector is waited for; it is no slot.
	if _, err := s.Verify(t.Context(), "", "password"); auth.CodeOf(err) != auth.LoginFailed {
		t.Errorf("afterwards: got %v", err)
	}
}

// ATK-L20: whoever waits leaves when its request is cancelled, without a hash, and its place is free.
func TestGate_ATK_L20_Cancel(t *testing.T) {
	c := cheap
	c.Slots, c.Queue = 1, 2
	s := newStage(t, c)
	first := s.check(t.Context(), "")
	s.until(t, 1, 0)
	ctx, cancel := context.WithCancel(t.Context())
	second, third := s.check(ctx, ""), s.check(ctx, "")
	s.until(t, 1, 2)
	cancel()
	for _, done := range []<-chan error{second, third} {
		if err := <-done; auth.CodeOf(err) != auth.Busy || !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	}
	s.until(t, 1, 0)
	fourth := s.check(t.Context(), "")
	s.until(t, 1, 1)
	close(s.step)
	<-first
	if err := <-fourth; auth.CodeOf(err) != auth.LoginFailed {
		t.Errorf("got %v", err)
	}
	if n := s.counts.Argon2.Load(); n != 2 {
		t.Errorf("%d hashes, want 2", n)
	}
}

// ATK-L20: a request cancelled while it hashes does not go on to the levelling hash.
func TestGate_ATK_L20_CancelBeforeLevel(t *testing.T) {
	s := newStage(t, cheap)
	ctx, cancel := context.WithCancel(t.Context())
	done := s.check(ctx, "$argon2id$v=19$m=512,t=1,p=1$MIIRqgvgQbgj220jfp0MPA$YfwJSVjtjSU0zzV/P3S9nnQ/USre2wvJMjfCIjrTQbg")
	s.until(t, 1, 0)
	cancel()
	s.step <- struct{}{}
	if err := <-done; auth.CodeOf(err) != auth.LoginFailed {
		t.Errorf("got %v", err)
	}
	s.until(t, 0, 0)
	if n := s.counts.Argon2.Load(); n != 1 {
		t.Errorf("%d hashes, want 1", n)
	}
}

// STD-P14: the budget is memory, not a number. A stored hash of twice the memory takes two places, one
// larger than the budget runs alone, and garbage counts until it is collected.
func TestGate_STD_P14_Weights(t *testing.T) {
	c := cheap
	c.Slots, c.Queue = 3, 10
	s := newStage(t, c)
	budget := int64(3 * cheap.Memory)
	stored := func(m string) string {
		return "$argon2id$v=19$m=" + m + ",t=3,p=1$MIIRqgvgQbgj220jfp0MPA$YfwJSVjtjSU0zzV/P3S9nnQ/USre2wvJMjfCIjrTQbg"
	}
	var all []<-chan error
	all = append(all, s.check(t.Context(), stored("24576")), s.check(t.Context(), ""))
	s.until(t, 2, 0)
	all = append(all, s.check(t.Context(), "")) // there is a slot, but no memory
	s.until(t, 2, 1)
	all = append(all, s.check(t.Context(), stored("262144")))
	s.until(t, 2, 2)
	for range 6 {
		all = append(all, s.check(t.Context(), ""))
	}
	s.until(t, 2, 8)
	close(s.step)
	for _, done := range all {
		if err := <-done; auth.CodeOf(err) != auth.LoginFailed {
			t.Errorf("got %v", err)
		}
	}
	if got := s.most.Load(); got > budget {
		t.Errorf("%d KiB at most, want %d or less", got, budget)
	}
	s.until(t, 0, 0)
	if _, _, live, _ := s.Load(); live != 0 {
		t.Errorf("%d KiB counted as live when nothing runs", live)
	}
}

// ATK-L20: hashes that need little or no memory take a slot all the same.
func TestGate_ATK_L20_SlotsOfCheapHashes(t *testing.T) {
	c := cheap
	c.Slots = 2
	s := newStage(t, c)
	for range 5 {
		s.check(t.Context(), "$argon2id$v=19$m=512,t=1,p=1$MIIRqgvgQbgj220jfp0MPA$YfwJSVjtjSU0zzV/P3S9nnQ/USre2wvJMjfCIjrTQbg")
	}
	s.until(t, 2, 3)
	close(s.step)
	s.until(t, 0, 0)
}

// STD-P14: memory that finished hashes have left is not used again before a collection has ended, and a
// collection is asked for when somebody waits for it and not before.
func TestGate_STD_P14_WaitsForCollector(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // no collection but the one that is asked for
	c := cheap
	c.Slots, c.Queue = 2, 10
	h := newHasher(t, c)
	n := h.Observe(noWork)
	asked, finish := make(chan struct{}), make(chan struct{})
	h.SetCollect(func() { asked <- struct{}{}; <-finish })
	for range 2 {
		if _, err := h.Verify(t.Context(), "", "password"); auth.CodeOf(err) != auth.LoginFailed {
			t.Fatal(err)
		}
	}
	if _, _, live, spent := h.Load(); live != 0 || spent != 2*uint64(c.Memory) {
		t.Fatalf("%d KiB live, %d garbage after two hashes", live, spent)
	}
	s := &stage{Hasher: h}
	third := s.check(t.Context(), "")
	select {
	case <-asked:
	case err := <-third:
		t.Fatalf("got %v before the garbage was collected", err)
	}
	if got := n.Argon2.Load(); got != 2 {
		t.Errorf("%d hashes before the garbage was collected, want 2", got)
	}
	close(finish)
	if err := <-third; auth.CodeOf(err) != auth.LoginFailed {
		t.Errorf("got %v", err)
	}
	if _, _, _, spent := h.Load(); spent != uint64(c.Memory) {
		t.Errorf("%d KiB garbage after the third, want %d", spent, c.Memory)
	}
}

// A collection that the runtime runs by itself gives the memory back too, without one being forced.
func TestGate_NaturalCollection(t *testing.T) {
	c := cheap
	c.Slots = 2
	h := newHasher(t, c)
	h.Observe(noWork)
	h.SetCollect(func() { t.Error("a collection was forced") })
	for range 2 {
		if _, err := h.Verify(t.Context(), "", "password"); auth.CodeOf(err) != auth.LoginFailed {
			t.Fatal(err)
		}
	}
	for deadline := time.Now().Add(10 * time.Second); ; runtime.GC() {
		if _, _, _, spent := h.Load(); spent == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the garbage is still counted")
		}
	}
}

// lateEnd is a context that ends after its first look, so that a check may be let in and cancelled at
// the same moment.
type lateEnd struct {
	context.Context
	looks *atomic.Int64
}

func (c lateEnd) Err() error {
	if c.looks.Add(1) == 1 {
		return nil
	}
	return c.Context.Err()
}

// ATK-L20: a check that is let in while it leaves gives back what it was given.
func TestGate_ATK_L20_CancelWhenGranted(t *testing.T) {
	h := newHasher(t, cheap)
	n := h.Observe(noWork)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	left := 0
	for range 200 {
		if _, err := h.Verify(lateEnd{ended, new(atomic.Int64)}, "", "password"); auth.CodeOf(err) == auth.Busy {
			left++
		}
	}
	if running, waiting, live, _ := h.Load(); running+waiting != 0 || live != 0 || left == 0 || n.Argon2.Load() != int64(200-left) {
		t.Errorf("%d left, %d hashed; %d run, %d wait, %d KiB live", left, n.Argon2.Load(), running, waiting, live)
	}
	if _, err := h.Verify(t.Context(), "", "password"); auth.CodeOf(err) != auth.LoginFailed {
		t.Errorf("afterwards: got %v", err)
	}
}

// Many at once, with cancels, for the race detector and for lost slots: afterwards all is given back.
func TestGate_Storm(t *testing.T) {
	c := cheap
	c.Slots, c.Queue = 3, 20
	h := newHasher(t, c)
	h.Observe(noWork)
	var wg sync.WaitGroup
	for i := range 500 {
		wg.Go(func() {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			hash := ""
			switch i % 5 {
			case 1:
				hash = "$argon2id$v=19$m=512,t=1,p=1$MIIRqgvgQbgj220jfp0MPA$YfwJSVjtjSU0zzV/P3S9nnQ/USre2wvJMjfCIjrTQbg"
			case 2:
				hash = "$argon2id$v=19$m=65536,t=1,p=1$MIIRqgvgQbgj220jfp0MPA$YfwJSVjtjSU0zzV/P3S9nnQ/USre2wvJMjfCIjrTQbg"
			case 3:
				go cancel()
			}
			if _, err := h.Verify(ctx, hash, "password"); auth.CodeOf(err) != auth.LoginFailed && auth.CodeOf(err) != auth.Busy {
				t.Errorf("got %v", err)
			}
		})
	}
	wg.Wait()
	if running, waiting, live, _ := h.Load(); running+waiting != 0 || live != 0 {
		t.Errorf("%d run, %d wait, %d KiB live", running, waiting, live)
	}
}
