package revocation

import (
	"fmt"
	"math/bits"
	"sync"
	"sync/atomic"
	"time"

	"github.com/doorward/doorward/auth"
)

// An index holds entries by name and says what they mean for a principal. Every request reads it, so readers take no
// lock and write to no memory that another reads: a table of plain words, without a pointer for the garbage
// collector to follow, that one writer at a time fills and replaces whole when it grows or is mostly over.
//
// A name stands in it as two random hashes, 128 bits. That two names have the same is less likely than a fault
// of the memory, and would refuse a token, not accept one.
type index struct {
	names *names
	start time.Time // entries end by the monotonic clock, counted from here
	slots atomic.Pointer[[]slot]
	kinds [3]atomic.Bool // whether there was ever an entry of this kind: else nobody looks

	mu      sync.Mutex // of writers
	used    int        // slots that are taken
	sweepAt time.Duration
}

// A slot is free while lo is 0. It is taken once, lo last, and never given back within its table.
type slot struct{ lo, hi, value, until atomic.Uint64 }

// sweepEvery is how often, at most, a writer looks for what is over.
const sweepEvery = time.Minute

// minSlots is the smallest table. One is at most three quarters full; a larger one is 4/3 to 2 times as
// large as what lives, 43 to 64 bytes an entry.
const minSlots = 64

func newIndex(n *names) *index {
	x := &index{names: n, start: time.Now(), sweepAt: sweepEvery}
	x.slots.Store(new(make([]slot, minSlots)))
	return x
}

// The values of entries. Two of one name merge by maximum: an ended session is more than a replaced one, and a
// minimum that comes late must not lower a newer one.
const (
	replaced = 0 // a session that a step-up replaced: its owner refreshes, and learns more
	ended    = 1
)

// put takes an entry in, or renews it, until so long after the index's start. Readers that begin after it see it.
func (x *index) put(name string, value int64, until time.Duration) {
	kind := kindOf(name)
	lo, hi := x.names.key(kind, name[2:])
	x.mu.Lock()
	defer x.mu.Unlock()
	t := *x.slots.Load()
	s, taken := find(t, lo, hi)
	if taken {
		s.value.Store(uint64(max(value, int64(s.value.Load()))))
		s.until.Store(uint64(max(until, time.Duration(s.until.Load()))))
		return
	}
	if (x.used+1)*4 > len(t)*3 {
		t = x.rebuild(time.Since(x.start))
		s, _ = find(t, lo, hi)
	}
	x.used++
	s.hi.Store(hi)
	s.value.Store(uint64(value))
	s.until.Store(uint64(until))
	s.lo.Store(lo)
	x.kinds[kind].Store(true)
}

// find returns the slot of a key, or the free one where it belongs, and which of the two it is: a free one may be another's by
// the time that a reader looks at it again. There always is a free one.
func find(t []slot, lo, hi uint64) (s *slot, taken bool) {
	i, _ := bits.Mul64(lo, uint64(len(t)))
	for {
		s := &t[i]
		switch l := s.lo.Load(); {
		case l == 0:
			return s, false
		case l == lo && s.hi.Load() == hi:
			return s, true
		}
		if i++; i == uint64(len(t)) {
			i = 0
		}
	}
}

// rebuild makes a table of what is alive, half full.
func (x *index) rebuild(now time.Duration) []slot {
	old, live := *x.slots.Load(), 0
	for i := range old {
		if old[i].lo.Load() != 0 && time.Duration(old[i].until.Load()) > now {
			live++
		}
	}
	t := make([]slot, max(minSlots, 2*live))
	for i := range old {
		if o := &old[i]; o.lo.Load() != 0 && time.Duration(o.until.Load()) > now {
			s, _ := find(t, o.lo.Load(), o.hi.Load())
			s.hi.Store(o.hi.Load())
			s.value.Store(o.value.Load())
			s.until.Store(o.until.Load())
			s.lo.Store(o.lo.Load())
		}
	}
	x.used = live
	x.slots.Store(&t)
	return t
}

// sweep drops what is over, when it is time and when that is a quarter of all or more.
func (x *index) sweep() {
	x.mu.Lock()
	defer x.mu.Unlock()
	now := time.Since(x.start)
	if now < x.sweepAt {
		return
	}
	x.sweepAt = now + sweepEvery
	over := 0
	t := *x.slots.Load()
	for i := range t {
		if t[i].lo.Load() != 0 && time.Duration(t[i].until.Load()) <= now {
			over++
		}
	}
	if over > 0 && over*4 >= x.used {
		x.rebuild(now)
	}
}

// len counts what is held, entries that are over and not yet swept included.
func (x *index) len() int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.used
}

// get returns the value under a key. It asks for the time only when there is an entry, since most requests find none.
func (x *index) get(lo, hi uint64) (int64, bool) {
	s, taken := find(*x.slots.Load(), lo, hi)
	if !taken || time.Since(x.start) >= time.Duration(s.until.Load()) {
		return 0, false
	}
	return int64(s.value.Load()), true
}

// Refusals without a detail are made once, so that a client who repeats a dead token costs no garbage.
var (
	errSession  = fmt.Errorf("%w: its session was ended", auth.TokenRevoked)
	errReplaced = fmt.Errorf("%w: its session was replaced by another", auth.TokenExpired)
	errToken    = fmt.Errorf("%w: the token was ended by its id", auth.TokenRevoked)
)

// check says what the entries mean for p, whose epoch is the index's. The order is that of [List].Check.
func (x *index) check(p *auth.Principal) error {
	var stale error
	if p.Session != "" && x.kinds[sessions].Load() {
		if value, hit := x.get(x.names.session(p)); hit && value != replaced {
			return errSession
		} else if hit {
			stale = errReplaced
		}
	}
	if p.TokenID != "" && x.kinds[tokens].Load() {
		if _, hit := x.get(x.names.token(p)); hit {
			return errToken
		}
	}
	if stale == nil && x.kinds[subjects].Load() {
		if least, hit := x.get(x.names.subject(p)); hit && p.Version < least {
			return fmt.Errorf("%w: its version %d is below %d", auth.TokenExpired, p.Version, least)
		}
	}
	return stale
}
