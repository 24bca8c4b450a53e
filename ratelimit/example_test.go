package ratelimit_test

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/doorward/doorward/ratelimit"
)

// A login takes from the account as typed and from the client's network before it looks at the
// password, and gives back when it was right.
func Example() {
	ctx := context.Background()
	limiter := ratelimit.NewMemory(100_000)

	network, _ := ratelimit.Network(netip.MustParseAddr("2001:db8:1:2::7"))
	perAccount := ratelimit.Cost{Key: "account:ada@example.com", Rate: ratelimit.Rate{N: 5, Per: 15 * time.Minute}, Hidden: true}
	perNetwork := ratelimit.Cost{Key: "network:" + network, Rate: ratelimit.Rate{N: 20, Per: 15 * time.Minute}}

	for range 6 {
		d, err := limiter.Take(ctx, perAccount, perNetwork)
		if err != nil {
			fmt.Println(err) // and refuse
			return
		}
		_, limit := d.Header("login")
		fmt.Println(d.OK, limit)
	}

	// The password is right: the account is as new, the network gets its own try back.
	perAccount.N, perNetwork.N = -perAccount.Rate.N, -1
	d, _ := limiter.Take(ctx, perAccount, perNetwork)
	fmt.Println(d.OK, d.Remaining)
	// Output:
	// true "login";r=19;t=855
	// true "login";r=18;t=810
	// true "login";r=17;t=765
	// true "login";r=16;t=720
	// true "login";r=15;t=675
	// false "login";r=0;t=180
	// true 16
}
