package ratelimit

import (
	"context"
	"hash/maphash"
	"math/bits"
	"sync"
	"time"
)

// Memory is a [Limiter] of one process, of fixed size. Make it with [NewMemory].
//
// A budget that is full again needs no place. When there are more others than places, the one that is
// nearest to full makes room, so that no flood of keys pushes out a budget that is further from full than
// its own are. Nor is that one forgotten: every key without a place counts as having used as much as the
// most used of those that made room. So a flood makes the limit stricter, for keys that are new and while
// those budgets fill, and never gives anyone a try that was used.
type Memory struct {
	start time.Time    // of a monotonic clock: setting the wall clock gives nothing back
	seed  maphash.Seed // random: nobody can choose keys that meet in one set
	sets  []set
}

// A set has the places for the keys that one part of the hashes leads to. It is four cache lines.
type set struct {
	mu    sync.Mutex
	floor time.Duration // the latest full of the budgets that made room
	tags  [ways]uint64  // the hash of the key, never 0; 0 is a free place
	full  [ways]time.Duration
}

const (
	ways      = 15
	sparse    = 2 // places for each key: full sets are then rare, 1 of 200 with as many keys as asked for
	usualKeys = 100_000
	mostKeys  = 1 << 26
)

// NewMemory returns a Memory for about so many budgets that are not full at once; 0 or less means
// 100,000, and more than 67,108,864 are not kept. It takes 34 bytes for each, at once and for good, whatever
// the keys, and starts no goroutine. Its time is the monotonic clock's.
func NewMemory(maxKeys int) *Memory {
	if maxKeys <= 0 {
		maxKeys = usualKeys
	}
	n := (sparse*min(maxKeys, mostKeys) + ways - 1) / ways
	// A clock that begins after zero lets the zero value of a place be a budget that is full.
	return &Memory{start: time.Now().Add(-1), seed: maphash.MakeSeed(), sets: make([]set, n)}
}

// Take implements [Limiter] without allocating. It does not look at the context.
func (m *Memory) Take(_ context.Context, costs ...Cost) (Decision, error) {
	if err := Validate(costs); err != nil {
		return Decision{}, err
	}
	var (
		sets [maxCosts]uint64
		tags [maxCosts]uint64
		used [maxCosts]time.Duration
	)
	for i := range costs {
		sets[i], tags[i] = m.place(costs[i].Key)
	}
	held := sets
	locked := m.lock(held[:len(costs)])
	now := time.Since(m.start)
	for i := range costs {
		full, _ := costs[i].Spans()
		// A budget that was used at another rate may be further from full than this one can be.
		used[i] = min(max(0, m.sets[sets[i]].get(tags[i])-now), full)
	}
	d := Decide(costs, used[:len(costs)])
	if d.OK {
		for i := range costs {
			_, taken := costs[i].Spans()
			if after := max(0, used[i]+taken); after != used[i] {
				m.sets[sets[i]].put(tags[i], now+after)
			}
		}
	}
	for _, s := range locked {
		m.sets[s].mu.Unlock()
	}
	return d, nil
}

// place returns the set and the tag of a key. The tag has all bits but one of the hash, so that of a
// million keys two are taken for one another once in ten million processes.
func (m *Memory) place(key string) (set, tag uint64) {
	h := maphash.String(m.seed, key)
	set, _ = bits.Mul64(h, uint64(len(m.sets)))
	return set, h | 1
}

// lock locks the sets, each once and in order, so that no two calls wait for each other, and returns
// which it locked, in the same memory.
func (m *Memory) lock(sets []uint64) []uint64 {
	for i := 1; i < len(sets); i++ {
		for j := i; j > 0 && sets[j] < sets[j-1]; j-- {
			sets[j], sets[j-1] = sets[j-1], sets[j]
		}
	}
	n := 0
	for i, s := range sets {
		if i == 0 || s != sets[n-1] {
			m.sets[s].mu.Lock()
			sets[n], n = s, n+1
		}
	}
	return sets[:n]
}

// get returns when the budget is full, or was. The key of one that made room looks like a new one,
// so that each new one gets the floor.
func (s *set) get(tag uint64) time.Duration {
	for i, t := range s.tags {
		if t == tag {
			return s.full[i]
		}
	}
	return s.floor
}

// put keeps when the budget is full. Where all places are taken, the one of them and the new one that is
// full first goes without, most often one that has long been full: the floor then rises to a time
// that has passed, which is none.
func (s *set) put(tag uint64, full time.Duration) {
	first := 0
	for i, t := range s.tags {
		if t == tag {
			s.full[i] = full
			return
		}
		if s.full[i] < s.full[first] {
			first = i
		}
	}
	if full < s.full[first] {
		s.floor = max(s.floor, full)
		return
	}
	s.floor = max(s.floor, s.full[first])
	s.tags[first], s.full[first] = tag, full
}
