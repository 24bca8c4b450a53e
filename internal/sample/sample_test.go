package sample_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/doorward/doorward/internal/sample"
)

// F-56: a flood of one word hides no other word, is bounded itself, and is counted.
func TestSampler_F_56(t *testing.T) {
	now := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	s := sample.Sampler{Now: func() time.Time { return now }}
	told, missed, rare := 0, 0, 0
	const flood = 100_000
	for i := range flood {
		now = now.Add(time.Millisecond)
		if _, n, due := s.Due(sample.Kind{Word: "flood", Place: fmt.Sprint(i)}); due {
			told, missed = told+1, missed+n
		}
		if i%10_000 == 0 {
			if _, _, due := s.Due(sample.Kind{Word: "rare", Place: "here"}); due {
				rare++
			}
		}
	}
	if rare != 10 {
		t.Errorf("%d of 10 of the other word were told", rare)
	}
	if told > 2*sample.PerMinute || told < sample.PerMinute {
		t.Errorf("%d of %d were told in 100 seconds", told, flood)
	}
	now = now.Add(time.Minute)
	for i := range 2000 { // the last one is of the rest, which has what was left out
		if _, n, due := s.Due(sample.Kind{Word: "flood", Place: fmt.Sprint("new ", i)}); due {
			told, missed = told+1, missed+n
		}
	}
	now = now.Add(time.Minute)
	for i := range 2000 {
		if _, n, due := s.Due(sample.Kind{Word: "flood", Place: fmt.Sprint("newer ", i)}); due {
			told, missed = told+1, missed+n
		}
	}
	if missed+told > flood+4000 {
		t.Errorf("%d told and %d left out are more than there were", told, missed)
	}
}

// Places that nobody speaks of any more make room: names that strangers made up blind nobody for ever.
func TestSampler_PlacesMakeRoom(t *testing.T) {
	now := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	s := sample.Sampler{Now: func() time.Time { return now }}
	for i := range 5000 {
		s.Due(sample.Kind{Word: "w", Place: fmt.Sprint(i)})
	}
	for range 2 {
		now = now.Add(time.Minute)
		for _, place := range []string{"a", "b"} {
			if _, _, due := s.Due(sample.Kind{Word: "w", Place: place}); !due {
				t.Errorf("%s is not told", place)
			}
		}
	}
}
