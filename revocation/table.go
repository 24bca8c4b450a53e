package revocation

import (
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"
)

// A table maps keys to minimums with an end. It is cut into shards, because every request reads it: the
// counter of readers inside one lock would go back and forth between all processors.
type table[K comparable] struct {
	n      atomic.Int64 // how many entries; with none a reader touches nothing else
	seed   maphash.Seed // random, so that nobody can aim names at one shard
	shards [64]shard[K]
}

type shard[K comparable] struct {
	mu sync.RWMutex
	m  map[K]entry
	_  [128]byte // keeps neighbours off each other's cache lines
}

type entry struct {
	least int64
	until time.Duration // since the list's start, by the monotonic clock
}

func (t *table[K]) init() {
	t.seed = maphash.MakeSeed()
	for i := range t.shards {
		t.shards[i].m = make(map[K]entry)
	}
}

// shard picks by name, the most telling part of a key: hashing all of it here too would cost more
// than the lock.
func (t *table[K]) shard(name string) *shard[K] {
	return &t.shards[maphash.String(t.seed, name)%uint64(len(t.shards))]
}

// get asks for the time only when there is an entry, since most requests find none.
func (t *table[K]) get(name string, k K, start time.Time) (least int64, hit bool) {
	if t.n.Load() == 0 {
		return 0, false
	}
	s := t.shard(name)
	s.mu.RLock()
	e, ok := s.m[k]
	s.mu.RUnlock()
	if !ok || time.Since(start) >= e.until {
		return 0, false
	}
	return e.least, true
}

// put merges by maximum: a minimum that arrives late must not lower a newer one. That holds for the
// end as well, as another call may have read the clock later and come first.
func (t *table[K]) put(name string, k K, least int64, until time.Duration) {
	s := t.shard(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	old, ok := s.m[k]
	if !ok {
		t.n.Add(1)
	}
	s.m[k] = entry{max(least, old.least), max(until, old.until)}
}

// sweep drops what is over. A map never gives memory back, so one that is mostly over is made anew.
func (t *table[K]) sweep(now time.Duration) {
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		before := len(s.m)
		for k, e := range s.m {
			if now >= e.until {
				delete(s.m, k)
			}
		}
		if len(s.m) < before/2 {
			kept := make(map[K]entry, len(s.m))
			for k, e := range s.m {
				kept[k] = e
			}
			s.m = kept
		}
		t.n.Add(int64(len(s.m) - before))
		s.mu.Unlock()
	}
}
