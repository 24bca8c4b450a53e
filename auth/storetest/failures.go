package storetest

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/doorward/doorward/middleware"
)

// Failures runs the tests of a middleware.Failures, each on a store of its own from open. Stores may share a server as long
// as they share no keys. pass lets this much time go by for the store: it moves its clock, or ages its rows.
func Failures(t *testing.T, open func(t *testing.T) (store middleware.Failures, pass func(time.Duration))) {
	for _, test := range []struct {
		name string
		run  func(f *failures)
	}{
		{"STD-R01 so many and no more", failuresCounted},
		{"STD-R01 ATK-L08 200 at once, 100 pass", failuresRace},
		{"STD-R02 a success gives back its own, no more", failuresGiven},
		{"STD-R02 200 at once that all give back", failuresGivenRace},
		{"STD-R01 a new span begins anew", failuresSpan},
		{"STD-R01 off is off until dropped", failuresOff},
		{"dropped", failuresDropped},
		{"what was given for another count", failuresStale},
		{"keys are not confused", failuresKeys},
	} {
		t.Run(test.name, func(t *testing.T) {
			store, pass := open(t)
			test.run(&failures{t, store, pass})
		})
	}
}

// failures is a store under test.
type failures struct {
	*testing.T
	store middleware.Failures
	pass  func(time.Duration)
}

const (
	mostTries = 100
	triesSpan = 30 * 24 * time.Hour
)

// failureKey has the form that the contract promises.
func failureKey(name string) string {
	sum := sha256.Sum256([]byte(name))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// take takes one, and returns "" when there was none.
func (f *failures) take(name string) string {
	f.Helper()
	taken, err := f.store.Take(f.Context(), failureKey(name), mostTries, triesSpan)
	if err != nil {
		f.Fatalf("Take: %v", err)
	}
	return taken
}

func (f *failures) give(name, taken string) {
	f.Helper()
	if err := f.store.Give(f.Context(), failureKey(name), taken); err != nil {
		f.Fatalf("Give: %v", err)
	}
}

func (f *failures) drop(name string) {
	f.Helper()
	if err := f.store.Drop(f.Context(), failureKey(name)); err != nil {
		f.Fatalf("Drop: %v", err)
	}
}

// left demands that so many can be taken, and then none.
func (f *failures) left(name string, want int) {
	f.Helper()
	got := 0
	for got <= mostTries && f.take(name) != "" {
		got++
	}
	if got != want {
		f.Errorf("%s: got %d tries, expected %d", name, got, want)
	}
}

func failuresCounted(f *failures) {
	f.left("a", mostTries)
	for range 10 {
		f.left("a", 0)
	}
	f.left("b", mostTries)
}

func failuresRace(f *failures) {
	for i := range rounds(10) {
		name := fmt.Sprint("a", i)
		var passed atomic.Int64
		each(2*mostTries, func(int) {
			taken, err := f.store.Take(f.Context(), failureKey(name), mostTries, triesSpan)
			if err != nil {
				f.Error(err)
			}
			if taken != "" {
				passed.Add(1)
			}
		})
		if passed.Load() != mostTries {
			f.Fatalf("%d of %d passed, expected exactly %d", passed.Load(), 2*mostTries, mostTries)
		}
		f.left(name, 0)
	}
}

// A guesser who fails 99 times between two logins of the owner gains nothing by them.
func failuresGiven(f *failures) {
	for range 3 * mostTries {
		f.give("a", f.take("a"))
	}
	for range mostTries - 1 {
		f.take("a")
	}
	for range 3 {
		f.give("a", f.take("a"))
	}
	f.left("a", 1)
	f.left("a", 0)
	// The one that reached the number was the owner's: it is on again, for one.
	for range mostTries - 1 {
		f.take("b")
	}
	last := f.take("b")
	f.left("b", 0)
	f.give("b", last)
	f.left("b", 1)
}

func failuresGivenRace(f *failures) {
	for i := range rounds(10) {
		name := fmt.Sprint("a", i)
		for range 40 {
			f.take(name)
		}
		each(2*mostTries, func(int) {
			taken, err := f.store.Take(f.Context(), failureKey(name), mostTries, triesSpan)
			if err == nil && taken != "" {
				err = f.store.Give(f.Context(), failureKey(name), taken)
			}
			if err != nil {
				f.Error(err)
			}
		})
		f.left(name, mostTries-40)
	}
}

func failuresSpan(f *failures) {
	for range mostTries - 1 {
		f.take("a")
	}
	f.pass(triesSpan - time.Hour)
	for range 3 {
		f.give("a", f.take("a"))
	}
	f.pass(2 * time.Hour)
	f.left("a", mostTries)
	// The span begins with the first try, not with the last one.
	f.take("b")
	f.pass(triesSpan / 2)
	for range mostTries - 2 {
		f.take("b")
	}
	f.pass(triesSpan/2 + time.Hour)
	f.left("b", mostTries)
}

func failuresOff(f *failures) {
	f.left("a", mostTries)
	for range 3 {
		f.pass(2 * triesSpan)
		f.left("a", 0)
	}
	f.pass(366 * 24 * time.Hour)
	for i := range 2000 { // others' rows that come and go take nothing of it
		f.take(fmt.Sprint("other", i))
	}
	f.pass(2 * triesSpan)
	for i := range 2000 {
		f.take(fmt.Sprint("another", i))
	}
	f.left("a", 0)
	f.drop("a")
	f.left("a", mostTries)
}

func failuresDropped(f *failures) {
	f.drop("a")
	f.take("b")
	for range 2 {
		f.left("a", mostTries)
		f.drop("a")
	}
	f.drop("a")
	f.left("b", mostTries-1)
}

// failuresStale: what was taken from a count that is gone is not given to the one that came after it.
func failuresStale(f *failures) {
	old := f.take("a")
	f.drop("a")
	f.give("a", old) // there is none
	f.pass(time.Minute)
	f.take("a")
	f.give("a", old)
	f.left("a", mostTries-1)

	old = f.take("b")
	f.pass(triesSpan + time.Hour)
	f.take("b")
	f.give("b", old)
	f.left("b", mostTries-1)
}

func failuresKeys(f *failures) {
	for i := range 20 {
		f.take(fmt.Sprint("k", i))
	}
	for i := range 20 {
		f.left(fmt.Sprint("k", i), mostTries-1)
	}
}
