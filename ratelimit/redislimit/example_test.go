package redislimit_test

import (
	"context"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/ratelimit"
	"github.com/doorward/doorward/ratelimit/redislimit"
)

// Nothing listens at this address: each process keeps half the limit by itself until Redis is back.
func Example() {
	client := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", ContextTimeoutEnabled: true})
	limiter, err := redislimit.New(redislimit.Config{
		Client: client,
		Observe: func(_ context.Context, e auth.Event) { // in a program: auth.Log(nil)
			fmt.Println("event:", e.Name, e.Outcome)
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	for range 3 {
		d, err := limiter.Take(context.Background(), ratelimit.Cost{
			Key:  "account:ada@example.com",
			Rate: ratelimit.Rate{N: 5, Per: 15 * time.Minute},
		})
		fmt.Println(d.OK, d.Cost.Rate.N, err)
	}
	// Output:
	// event: outage fallback
	// true 2 <nil>
	// true 2 <nil>
	// false 2 <nil>
}
