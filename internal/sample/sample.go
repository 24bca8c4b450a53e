// Package sample bounds how often something is told that strangers can cause as often as they like.
package sample

import (
	"sync"
	"time"
)

// The bounds that all parts of the kit have.
const (
	Every     = 10 * time.Second // the shortest time between two of one kind
	PerMinute = 60               // of one word, over all its places
	maxPlaces = 1024             // of one word that are counted apart
)

// A Kind is what is counted together.
type Kind struct {
	// Word is of a closed set, such as a code or an outcome: each has bounds of its own, so that a flood of one hides no
	// other.
	Word string

	// Place tells things of one word apart, such as a route or an account. Strangers may choose it.
	Place string
}

// A Sampler says which of many alike things are told, and counts the others. Its zero value is ready.
type Sampler struct {
	Every time.Duration    // 0 is the constant Every
	Now   func() time.Time // nil is time.Now

	mu    sync.Mutex
	words map[string]*word
}

type word struct {
	minute time.Time // when the present one began
	told   int       // in it
	swept  time.Time // when places were last looked through
	places map[string]*count
	rest   count // of the places that are too many
}

type count struct {
	last   time.Time // when it was told
	missed int       // since then
}

// Due says whether one of k is to be told now, and how many of k were not since the last that was. A clock that is set back
// silences nothing.
func (s *Sampler) Due(k Kind) (now time.Time, missed int, due bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now = time.Now()
	if s.Now != nil {
		now = s.Now() // under the lock, so that no goroutine sees time go back
	}
	every := s.Every
	if every == 0 {
		every = Every
	}
	w := s.words[k.Word]
	if w == nil {
		if s.words == nil {
			s.words = map[string]*word{}
		}
		w = &word{places: map[string]*count{}}
		s.words[k.Word] = w
	}
	c := w.at(k.Place, now, every)
	if !within(now, w.minute, time.Minute) {
		w.minute, w.told = now, 0
	}
	if within(now, c.last, every) || w.told >= PerMinute {
		c.missed++
		return now, 0, false
	}
	missed = c.missed
	*c = count{last: now}
	w.told++
	return now, missed, true
}

// at is the count of a place. Where there are too many, those that were not told of lately make room, and what was left out
// of them goes to the rest.
func (w *word) at(place string, now time.Time, every time.Duration) *count {
	c := w.places[place]
	if c != nil {
		return c
	}
	if len(w.places) >= maxPlaces && !within(now, w.swept, every) {
		w.swept = now
		for name, old := range w.places {
			if !within(now, old.last, every) {
				w.rest.missed += old.missed
				delete(w.places, name)
			}
		}
	}
	if len(w.places) >= maxPlaces {
		return &w.rest
	}
	c = &count{}
	w.places[place] = c
	return c
}

// within says whether now is less than d after begin. A clock that was set back is not.
func within(now, begin time.Time, d time.Duration) bool {
	since := now.Sub(begin)
	return since >= 0 && since < d
}
