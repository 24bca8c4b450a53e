package ratelimit_test

import (
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/doorward/doorward/ratelimit"
)

func BenchmarkMemory(b *testing.B) {
	for _, bench := range []struct {
		name  string
		costs []ratelimit.Cost
	}{
		{"hot key", []ratelimit.Cost{{Key: "account:ada@example.com", Rate: ratelimit.Rate{N: 1_000_000, Per: time.Second}}}},
		{"refused", []ratelimit.Cost{{Key: "account:ada@example.com", Rate: ratelimit.Rate{N: 1, Per: time.Hour}}}},
		{"login, 3 budgets", []ratelimit.Cost{
			{Key: "account:ada@example.com", Rate: ratelimit.Rate{N: 1_000_000, Per: time.Second}},
			{Key: "net:2001:db8:1:2::/64", Rate: ratelimit.Rate{N: 1_000_000, Per: time.Second}},
			{Key: "net:2001:db8:1::/48", Rate: ratelimit.Rate{N: 1_000_000, Per: time.Second}},
		}},
	} {
		b.Run(bench.name, func(b *testing.B) {
			m := ratelimit.NewMemory(0)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := m.Take(b.Context(), bench.costs...); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("hot key, parallel", func(b *testing.B) {
		m := ratelimit.NewMemory(0)
		c := ratelimit.Cost{Key: "account:ada@example.com", Rate: ratelimit.Rate{N: 1_000_000, Per: time.Second}}
		b.ReportAllocs()
		b.RunParallel(func(p *testing.PB) {
			for p.Next() {
				_, _ = m.Take(b.Context(), c)
			}
		})
	})
}

// A million keys: what the memory is for each, and what taking from one of them costs when none is hot.
func BenchmarkMemory_MillionKeys(b *testing.B) {
	const n = 1_000_000
	keys := make([]string, n)
	for i := range keys {
		keys[i] = "account:" + strconv.Itoa(i)
	}
	rate := ratelimit.Rate{N: 1000, Per: time.Hour}
	before := heap()
	m := ratelimit.NewMemory(n)
	for _, k := range keys {
		_, _ = m.Take(b.Context(), ratelimit.Cost{Key: k, Rate: rate})
	}
	perKey := float64(heap()-before) / n
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		i = (i + 7919) % n
		_, _ = m.Take(b.Context(), ratelimit.Cost{Key: keys[i], Rate: rate})
	}
	b.ReportMetric(perKey, "B/key")
}

func heap() int64 {
	runtime.GC()
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return int64(s.HeapAlloc)
}
