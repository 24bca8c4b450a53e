package password

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/doorward/doorward/auth"
)

// retryAfter is what a refused client is told: a queue of the default length is worked off by then.
const retryAfter = 2 * time.Second

// busy refuses before a hash is begun.
type busy struct{ cause error }

func (b busy) Error() string             { return string(auth.Busy) + ": password: " + b.cause.Error() }
func (b busy) Unwrap() []error           { return []error{auth.Busy, b.cause} }
func (b busy) RetryAfter() time.Duration { return retryAfter }

// gate bounds how many hashes run, how many wait, and the memory of those that run or have run.
//
// x/crypto/argon2 allocates its memory in each call and leaves it to the garbage collector, which by
// default lets the heap double. So the memory of a finished hash stays counted until a collection has
// taken it: a sentinel object allocated after it, when collected, says so. While somebody waits for
// that memory the gate starts the collection itself.
type gate struct {
	slots, queue int
	budget       uint64 // KiB
	collect      func() // runtime.GC; tests replace it

	mu         sync.Mutex
	checks     int                 // that are inside or wait to be
	running    int                 // checks inside
	live       uint64              // KiB of hashes that run
	spent      uint64              // KiB of garbage, the sum of blocks
	blocks     map[*block]struct{} // what finished hashes left to the collector
	waiting    []*waiter           // first come, first served; those inside go first
	collecting bool
}

type block struct{ memory uint64 }

type waiter struct {
	memory  uint64
	inside  bool          // has a slot and wants memory again
	granted chan struct{} // closed under gate.mu
}

// sentinel is over 16 bytes: smaller objects share an allocation and may never be collected alone.
type sentinel struct{ _ [4]uint64 }

func newGate(slots, queue int, budget uint64) *gate {
	return &gate{slots: slots, queue: queue, budget: budget, collect: runtime.GC, blocks: map[*block]struct{}{}}
}

// slot is the right to run one hash after another, and the memory of the one that runs.
type slot struct {
	gate   *gate
	memory uint64 // 0 after settle
}

// enter waits for a slot and for memory KiB. The caller must leave. It fails with busy.
func (g *gate) enter(ctx context.Context, memory uint32) (*slot, error) {
	w := &waiter{memory: min(uint64(memory), g.budget)} // more than all runs alone
	if err := g.wait(ctx, w); err != nil {
		return nil, err
	}
	return &slot{g, w.memory}, nil
}

// more gives the memory of the last hash up and waits for memory KiB again, before all that queue.
func (s *slot) more(ctx context.Context, memory uint32) error {
	s.settle()
	w := &waiter{memory: min(uint64(memory), s.gate.budget), inside: true}
	if err := s.gate.wait(ctx, w); err != nil {
		return err
	}
	s.memory = w.memory
	return nil
}

func (s *slot) leave() {
	s.settle()
	g := s.gate
	g.mu.Lock()
	defer g.mu.Unlock()
	g.running--
	g.checks--
	g.admit()
}

// settle counts the memory of a finished hash as garbage, until it is collected.
//
// The sentinel is allocated after the hash has returned. A collection takes only what was garbage and
// allocated before it began, so one that takes the sentinel takes the hash's memory too.
func (s *slot) settle() {
	if s.memory == 0 {
		return
	}
	g, b := s.gate, &block{s.memory}
	s.memory = 0
	g.mu.Lock()
	g.live -= b.memory
	g.spent += b.memory
	g.blocks[b] = struct{}{}
	g.admit()
	g.mu.Unlock()
	runtime.AddCleanup(new(sentinel), func(b *block) {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.reclaim(b)
		g.admit()
	}, b)
}

// reclaim takes b off the garbage. Both the sentinel and forceCollect may say so.
func (g *gate) reclaim(b *block) {
	if _, ok := g.blocks[b]; ok {
		delete(g.blocks, b)
		g.spent -= b.memory
	}
}

func (g *gate) wait(ctx context.Context, w *waiter) error {
	if ctx.Err() != nil {
		return busy{context.Cause(ctx)}
	}
	w.granted = make(chan struct{})
	g.mu.Lock()
	switch {
	case w.inside:
		g.waiting = slices.Insert(g.waiting, 0, w)
	case g.checks >= g.slots+g.queue:
		g.mu.Unlock()
		return busy{fmt.Errorf("%d checks run or wait already", g.slots+g.queue)}
	default:
		g.checks++
		g.waiting = append(g.waiting, w)
	}
	g.admit()
	g.mu.Unlock()

	select {
	case <-w.granted:
		return nil
	case <-ctx.Done():
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if !w.inside {
		g.checks--
	}
	if i := slices.Index(g.waiting, w); i >= 0 {
		g.waiting = slices.Delete(g.waiting, i, i+1)
	} else { // granted meanwhile: give it back, nothing was allocated
		g.live -= w.memory
		if !w.inside {
			g.running--
		}
	}
	g.admit()
	return busy{errors.Join(errors.New("gave up waiting"), context.Cause(ctx))}
}

// admit lets in whom there is room for, in order.
func (g *gate) admit() {
	for len(g.waiting) > 0 {
		w := g.waiting[0]
		if !w.inside && g.running >= g.slots {
			return
		}
		if g.live+g.spent+w.memory > g.budget {
			g.forceCollect()
			return
		}
		g.waiting = slices.Delete(g.waiting, 0, 1)
		g.live += w.memory
		if !w.inside {
			g.running++
		}
		close(w.granted)
	}
}

// forceCollect starts a collection for somebody who waits for memory, when it is worth its cost: half
// of the budget is garbage, or nothing else will make any.
func (g *gate) forceCollect() {
	if g.collecting || g.spent == 0 || g.live > 0 && 2*g.spent < g.budget {
		return
	}
	g.collecting = true
	garbage := slices.Collect(maps.Keys(g.blocks))
	go func() {
		// It returns when everything that was garbage before is swept, so there is no need to
		// wait for the sentinels, which another package's blocked cleanup could hold up.
		g.collect()
		g.mu.Lock()
		defer g.mu.Unlock()
		for _, b := range garbage {
			g.reclaim(b)
		}
		g.collecting = false
		g.admit()
	}()
}
