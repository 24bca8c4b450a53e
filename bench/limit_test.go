// Package bench_test compares the kit with other libraries, each comparison in one run on one server.
//
// It is a module of its own, so that the libraries that it compares with are in no user's go.sum.
package bench_test

import (
	"context"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-redis/redis_rate/v10"
	"github.com/redis/go-redis/v9"

	"github.com/doorward/doorward/internal/redistest"
	"github.com/doorward/doorward/ratelimit"
	"github.com/doorward/doorward/ratelimit/redislimit"
)

// A peer takes one from the budget of a key, and says whether there was one.
type peer struct {
	name string
	take func(ctx context.Context, key string, n int, per time.Duration) (bool, error)
}

// peers are both limiters over one client.
func peers(t testing.TB, client *redis.Client) []peer {
	t.Helper()
	theirs := redis_rate.NewLimiter(client)
	ours, err := redislimit.New(redislimit.Config{Client: client, Timeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	return []peer{
		{"redis_rate", func(ctx context.Context, key string, n int, per time.Duration) (bool, error) {
			r, err := theirs.Allow(ctx, key, redis_rate.Limit{Rate: n, Burst: n, Period: per})
			return err == nil && r.Allowed == 1, err
		}},
		{"redislimit", func(ctx context.Context, key string, n int, per time.Duration) (bool, error) {
			d, err := ours.Take(ctx, ratelimit.Cost{Key: key, Rate: ratelimit.Rate{N: n, Per: per}})
			return d.OK, err
		}},
	}
}

// Both do what is compared: of 200 at once, 5 pass.
func TestLimit(t *testing.T) {
	s := redistest.Start(t)
	for _, p := range peers(t, s.Client()) {
		var passed atomic.Int64
		var wait sync.WaitGroup
		for range 200 {
			wait.Go(func() {
				ok, err := p.take(t.Context(), "account:ada@example.com", 5, 15*time.Minute)
				if err != nil {
					t.Error(err)
				}
				if ok {
					passed.Add(1)
				}
			})
		}
		wait.Wait()
		if n := passed.Load(); n != 5 {
			t.Errorf("%s: %d passed, expected 5", p.name, n)
		}
	}
}

// Both limiters in turns, a batch each, so that whatever else the machine does is done to both. What is told are the
// medians of a call in nanoseconds, and ours as a part of theirs. With ContextTimeoutEnabled a client keeps
// deadlines itself.
func BenchmarkLimit(b *testing.B) {
	s := redistest.Start(b)
	for _, client := range []struct {
		name string
		edit func(*redis.Options)
	}{
		{"default", func(*redis.Options) {}},
		{"ContextTimeoutEnabled", func(o *redis.Options) { o.ContextTimeoutEnabled = true }},
	} {
		both := peers(b, s.Client(client.edit))
		for _, c := range []struct {
			name    string
			n       int
			per     time.Duration
			workers int
			want    bool
		}{
			{"allowed", 10_000, time.Second, 1, true}, // more than either can use up
			{"allowed, 16 at once", 10_000, time.Second, 16, true},
			{"refused", 1, time.Hour, 1, false},
			{"refused, 16 at once", 1, time.Hour, 16, false},
		} {
			b.Run(client.name+"/"+c.name, func(b *testing.B) {
				call := func(p peer, i int) (bool, error) { // a hundred keys of this benchmark alone
					return p.take(b.Context(), b.Name()+strconv.Itoa(i%100), c.n, c.per)
				}
				batch := func(p peer) time.Duration {
					const each = 50 // calls of a worker
					var wait sync.WaitGroup
					begin := time.Now()
					for w := range c.workers {
						wait.Go(func() {
							for i := range each {
								if ok, err := call(p, w*each+i); err != nil || ok != c.want {
									b.Errorf("%s: got %t, %v, expected %t", p.name, ok, err, c.want)
								}
							}
						})
					}
					wait.Wait()
					return time.Since(begin) / time.Duration(each*c.workers)
				}
				var took [2][]time.Duration
				for i := range 100 { // uses up what is to be refused
					for _, p := range both {
						if _, err := call(p, i); err != nil {
							b.Fatal(err)
						}
					}
				}
				for round := 0; b.Loop(); round++ {
					for i := range both {
						i = (i + round) % 2
						took[i] = append(took[i], batch(both[i]))
					}
				}
				b.ReportMetric(0, "ns/op")
				var medians [2]float64
				for i, p := range both {
					slices.Sort(took[i])
					medians[i] = float64(took[i][len(took[i])/2])
					b.ReportMetric(medians[i], p.name+"-ns")
				}
				b.ReportMetric(medians[1]/medians[0], "ratio")
			})
		}
	}
}
