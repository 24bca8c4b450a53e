package redisrev_test

import (
	"context"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/revocation"
	"github.com/doorward/doorward/revocation/redisrev"
)

// Nothing listens at this address, so that the example runs anywhere, and shows what an outage is.
func Example() {
	client := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1"})
	defer func() { _ = client.Close() }()
	list, err := redisrev.New(redisrev.Config{Client: client, Timeout: 50 * time.Millisecond})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx := context.Background()
	p := &auth.Principal{Issuer: "https://api.example.com", Subject: "ada", Session: "4711", Epoch: "EPOCHEPO"}
	err = list.Check(ctx, p)
	fmt.Println(auth.CodeOf(err), auth.CodeOf(err).Status())
	fmt.Println(revocation.IgnoreOutage(list).Check(ctx, p)) // for guards that may let it through
	// Output:
	// store_unavailable 503
	// <nil>
}
