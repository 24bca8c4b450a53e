package middleware_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/doorward/doorward/auth/storetest"
	"github.com/doorward/doorward/middleware"
)

func TestMemoryFailures_STD_R01_STD_R02(t *testing.T) {
	storetest.Failures(t, func(*testing.T) (middleware.Failures, func(time.Duration)) {
		var ahead time.Duration
		return &middleware.MemoryFailures{Now: func() time.Time { return time.Now().Add(ahead) }}, func(d time.Duration) { ahead += d }
	})
}

// The zero value counts, and nobody's try is taken for a request that has ended.
func TestMemoryFailures_Zero(t *testing.T) {
	var m middleware.MemoryFailures
	if err := m.Give(t.Context(), "k", "1"); err != nil {
		t.Error(err)
	}
	if err := m.Drop(t.Context(), "k"); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if taken, err := m.Take(ctx, "k", 1, time.Hour); taken != "" || err == nil {
		t.Errorf("got %q, %v under a context that has ended", taken, err)
	}
	for i, want := range []bool{true, false, false} {
		if taken, err := m.Take(t.Context(), "k", 1, time.Hour); err != nil || (taken != "") != want {
			t.Errorf("take %d: got %q, %v", i, taken, err)
		}
	}
}

// Counts that are over go: those of a month of guessing at many accounts do not stay for ever.
func BenchmarkMemoryFailures(b *testing.B) {
	now := time.Now()
	m := middleware.MemoryFailures{Now: func() time.Time { return now }}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		now = now.Add(time.Minute)
		if _, err := m.Take(b.Context(), fmt.Sprint(i), 100, 30*24*time.Hour); err != nil {
			b.Fatal(err)
		}
	}
}
