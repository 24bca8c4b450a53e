package revocation

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/doorward/doorward/auth"
)

// A Replica is a [List] that answers from memory: it holds what is on its [Feed], follows it, and costs a request no
// round trip. When a call that ends something has returned nil, on any node, no Check that starts later accepts it.
//
// It answers from memory only while it holds a lease: for [Lease] after it last asked the feed and heard everything,
// by the monotonic and by the wall clock. Before the first load, and whenever a lease has run out, it asks the feed,
// as a node without a replica does. So the worst that a slow or broken feed does is what it does without one.
//
// Its memory is 43 to 64 bytes for each name that was ended in the last [Keep], or for as long as the feed keeps an entry.
type Replica struct {
	feed    Feed
	node    string
	observe func(context.Context, auth.Event)
	names   *names

	view   atomic.Pointer[view]            // what Check may believe; nil: nothing
	dead   atomic.Pointer[map[string]bool] // epochs that are over, for ever: ids are never used twice
	wake   chan struct{}
	stop   context.CancelFunc
	done   chan struct{}
	detach func()

	// mu orders the reader of the feed and what is heard from this process.
	mu     sync.Mutex
	index  *index // of the epoch of at: a new one for each
	at     Position
	epochs int // counts the epochs of at
	closed bool
	err    error     // the last, until the next lease
	leased time.Time // when the last lease began
	lapsed bool      // observers were told
	events []auth.Event
}

// A view is a lease: it says what the index holds, and until when that is all. It is never changed.
type view struct {
	epoch string
	index *index
	from  time.Time // before the feed was asked
}

// ReplicaConfig is what [NewReplica] takes. Only Feed is demanded.
type ReplicaConfig struct {
	Feed Feed

	// Observe is told "replica" with the outcome "leased" when it begins to answer from memory, "lapsed" with the cause
	// when a lease runs out, and "epoch" when the list has begun another epoch. It is called by the replica's goroutine, or by a call
	// that ends something, and must not block. nil: nobody is told.
	Observe func(context.Context, auth.Event)
}

const (
	renewEvery = 600 * time.Millisecond // three times within a lease
	retryEvery = 200 * time.Millisecond // after an error
	nudgeAfter = 50 * time.Millisecond  // so that a client with an odd token does not keep the feed busy
)

// NewReplica returns a replica that has begun to load. It may be used at once. Close it at the end.
func NewReplica(c ReplicaConfig) (*Replica, error) {
	if c.Feed == nil {
		return nil, errors.New("revocation: ReplicaConfig.Feed: got nil, expected one, such as *redisrev.List")
	}
	r := &Replica{feed: c.Feed, node: rand.Text(), observe: c.Observe, names: newNames(), wake: make(chan struct{}, 1), done: make(chan struct{})}
	r.index = newIndex(r.names)
	r.dead.Store(&map[string]bool{})
	r.detach = c.Feed.Attach(r.heard)
	ctx, stop := context.WithCancel(context.Background())
	r.stop = stop
	go r.follow(ctx)
	return r, nil
}

// Close ends the replica's goroutines and takes it off the feed's account. It may still be asked, and asks the
// feed. An error means that revokers wait [Lease] for it once, in vain.
func (r *Replica) Close() error {
	r.mu.Lock()
	again := r.closed
	r.closed = true
	r.view.Store(nil)
	r.mu.Unlock()
	r.stop()
	<-r.done
	if again {
		return nil
	}
	r.detach()
	ctx, cancel := context.WithTimeout(context.Background(), Lease)
	defer cancel()
	return r.feed.Leave(ctx, r.node)
}

// Unwrap returns the feed. Package session looks for it, to see that tokens and sessions share one list.
func (r *Replica) Unwrap() List { return r.feed }

// Check implements [List]. With a lease it does no I/O, allocates nothing to accept, and takes no lock.
func (r *Replica) Check(ctx context.Context, p *auth.Principal) error {
	if p == nil {
		return errNobody
	}
	if v := r.view.Load(); v != nil && v.holds(time.Now()) {
		switch {
		case p.Epoch == v.epoch:
			return v.index.check(p)
		case p.Epoch == "" || (*r.dead.Load())[p.Epoch]:
			return otherEpoch(p, v.epoch)
		}
		if time.Since(v.from) > nudgeAfter {
			r.nudge() // perhaps a new epoch, that others have heard of first
		}
	}
	return r.feed.Check(ctx, p)
}

// holds says whether the lease has not run out. Both clocks count: a process that was stopped is late by both, a
// machine that was suspended by its wall clock alone. A wall clock that was set back proves nothing any more.
func (v *view) holds(now time.Time) bool {
	wall := now.UnixNano() - v.from.UnixNano()
	return now.Sub(v.from) < Lease && wall >= 0 && wall < int64(Lease)
}

// Revoke implements [List], by the feed. This node is one of those that it waits for.
func (r *Replica) Revoke(ctx context.Context, rs ...auth.Revocation) error {
	return r.feed.Revoke(ctx, rs...)
}

// Epoch implements [List]. It asks the feed: what is stamped on a new token must not be a lease old.
func (r *Replica) Epoch(ctx context.Context) (string, error) { return r.feed.Epoch(ctx) }

// A Status is how a replica is, for a readiness probe and for metrics.
type Status struct {
	Leased  bool          // it answers from memory
	Age     time.Duration // since the lease was last renewed, or ran out of being so; 0 before the first
	At      Position      // how far it has read
	Entries int           // that it holds; some of them may be over
	Err     error         // why it has no lease, as far as it is known
}

// Status tells how the replica is. A node without a lease is slower, and as ready as its feed is.
func (r *Replica) Status() Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	v := r.view.Load()
	s := Status{Leased: v != nil && v.holds(now), At: r.at, Entries: r.index.len(), Err: r.err}
	if !r.leased.IsZero() {
		s.Age = now.Sub(r.leased)
	}
	return s
}

// heard takes in what a call of this process has added, or that it met an epoch. It comes from that call's
// goroutine, while the follower may be between asking and applying: both go through mu, so that an index that is
// believed later has it too.
func (r *Replica) heard(epoch string, added []Entry) {
	r.locked(func() {
		known := epoch == r.at.Epoch
		if r.closed || epoch == "" || !r.adopt(epoch) {
			return
		}
		r.apply(added)
		if !known || len(added) > 0 { // else the word may come from the follower's own question
			r.nudge()
		}
	})
}

// locked does something under mu, and tells afterwards what there is to tell.
func (r *Replica) locked(f func()) {
	r.mu.Lock()
	f()
	events := r.events
	r.events = nil
	r.mu.Unlock()
	for _, e := range events {
		r.observe(context.Background(), e)
	}
}

// adopt makes epoch the replica's, and says whether it is. One that is over does not come back. mu is held.
func (r *Replica) adopt(epoch string) bool {
	if epoch == r.at.Epoch {
		return true
	}
	dead := *r.dead.Load()
	if dead[epoch] {
		return false
	}
	// First no more belief, then the rest: a reader that has the old view keeps the old index with it.
	r.view.Store(nil)
	if old := r.at.Epoch; old != "" {
		next := map[string]bool{old: true}
		if len(dead) < 64 { // forgetting costs a question to the feed, no more
			for e := range dead {
				next[e] = true
			}
		}
		r.dead.Store(&next)
		r.tell("epoch", nil)
	}
	r.at, r.index, r.epochs = Position{Epoch: epoch}, newIndex(r.names), r.epochs+1
	return true
}

// revive takes back that an epoch is over.
func (r *Replica) revive(epoch string) {
	next := maps.Clone(*r.dead.Load())
	delete(next, epoch)
	r.dead.Store(&next)
}

// apply takes entries in. mu is held.
func (r *Replica) apply(entries []Entry) {
	now := time.Since(r.index.start)
	for _, e := range entries {
		if readable(e.Name) {
			r.index.put(e.Name, e.Value, now+min(e.Left, 2*Keep))
		}
	}
}

// take applies a batch that was asked for at from, when the replica had seen so many epochs, and says whether to ask again at once: there is more, or what
// was applied is to be acknowledged. The order is the protocol: apply, then believe, then acknowledge.
func (r *Replica) take(from time.Time, epochs int, b Batch) (again bool, err error) {
	for _, e := range b.Entries {
		if !readable(e.Name) {
			return false, fmt.Errorf("%w: %w: the feed gave an entry named %.80q", auth.StoreUnavailable, ErrUnreadable, e.Name)
		}
	}
	r.locked(func() { again = r.taken(from, epochs, b) })
	return again, nil
}

func (r *Replica) taken(from time.Time, epochs int, b Batch) (again bool) {
	if r.closed {
		return false
	}
	if (*r.dead.Load())[b.At.Epoch] && epochs == r.epochs {
		// Asked after the word of the present epoch, the feed answers with an earlier one: the word was late, and wrong.
		r.revive(b.At.Epoch)
	}
	if !r.adopt(b.At.Epoch) || r.at.Entry == "" && !b.Start {
		return true // the answer is older than an epoch that was heard of meanwhile; the next one is not
	}
	r.apply(b.Entries)
	r.index.sweep()
	r.at = b.At
	if !b.End {
		return true
	}
	if v := r.view.Load(); v == nil || !v.holds(time.Now()) {
		r.tell("leased", nil)
	}
	r.view.Store(&view{b.At.Epoch, r.index, from})
	r.leased, r.err, r.lapsed = from, nil, false
	return len(b.Entries) > 0
}

// failed notes why there may soon be no lease.
func (r *Replica) failed(err error) {
	r.locked(func() {
		r.err = err
		if v := r.view.Load(); !r.lapsed && (v == nil || !v.holds(time.Now())) {
			r.lapsed = true
			r.tell("lapsed", err)
		}
	})
}

// tell notes an event, for locked to tell of. mu is held.
func (r *Replica) tell(outcome string, err error) {
	if r.observe != nil {
		r.events = append(r.events, auth.Event{Name: "replica", Outcome: outcome, Time: time.Now(), Err: err})
	}
}

func (r *Replica) nudge() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// follow reads the feed until ctx ends: when it was told of news, and before a lease runs out.
func (r *Replica) follow(ctx context.Context) {
	defer close(r.done)
	ask, told := make(chan Position), make(chan error)
	var waiter sync.WaitGroup
	waiter.Go(func() {
		for at := range ask {
			select {
			case told <- r.feed.Wait(ctx, at):
			case <-ctx.Done():
			}
		}
	})
	defer waiter.Wait()
	defer close(ask)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for waiting := false; ctx.Err() == nil; {
		pause := renewEvery
		from := time.Now()
		at, epochs := r.position()
		// Not cancelled: what is under way when the replica is closed must not register it after it has left.
		b, failure := r.feed.Next(context.WithoutCancel(ctx), r.node, at)
		again := false
		if failure == nil {
			again, failure = r.take(from, epochs, b)
		}
		if failure != nil {
			r.failed(failure)
			pause = retryEvery
		} else if again {
			continue
		}
		timer.Reset(pause - time.Since(from))
		// After a failure there may be news all the time, such as an entry that nobody here can read.
		if !waiting && failure == nil {
			at, _ = r.position()
			ask <- at
			waiting = true
		}
		for idle := true; idle; {
			select {
			case <-ctx.Done():
				idle = false
			case <-timer.C:
				idle = false
			case <-r.wake:
				idle = false
			case err := <-told:
				waiting, idle = false, err != nil || failure != nil
			}
		}
	}
}

func (r *Replica) position() (at Position, epochs int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.at, r.epochs
}
