package redislimit_test

import (
	"context"
	"strconv"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doorward/doorward/internal/redistest"
	"github.com/doorward/doorward/ratelimit"
)

// What a decision costs beside a bare round trip of the same client to the same server.
func BenchmarkTake(b *testing.B) {
	client := redistest.Start(b).Client()
	l := open(b, client)
	rate := ratelimit.Rate{N: 1_000_000, Per: time.Second}
	take := func(costs ...ratelimit.Cost) func(context.Context, int) error {
		return func(ctx context.Context, i int) error {
			for j := range costs { // keys by the hundred, so that no budget is used up
				costs[j].Key = strconv.Itoa(j) + ":" + strconv.Itoa(i%100)
			}
			_, err := l.Take(ctx, costs...)
			return err
		}
	}
	empty := redis.NewScript("return {}")
	for _, bench := range []struct {
		name string
		do   func(context.Context, int) error
	}{
		{"GET", func(ctx context.Context, _ int) error {
			if err := client.Get(ctx, "none").Err(); err != redis.Nil {
				return err
			}
			return nil
		}},
		{"empty script", func(ctx context.Context, _ int) error { return empty.Run(ctx, client, nil).Err() }},
		{"one budget", take(ratelimit.Cost{Rate: rate})},
		{"login, 3 budgets", take(ratelimit.Cost{Rate: rate}, ratelimit.Cost{Rate: rate}, ratelimit.Cost{Rate: rate})},
	} {
		b.Run(bench.name, func(b *testing.B) {
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				if err := bench.do(b.Context(), i); err != nil {
					b.Fatal(err)
				}
				i++
			}
		})
	}
}
