package revocation_test

import (
	"context"
	"fmt"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/revocation"
)

func Example() {
	ctx := context.Background()
	list := revocation.NewMemory()
	epoch, _ := list.Epoch(ctx) // package tokens asks for it when it issues, and checks when it verifies
	p := &auth.Principal{Issuer: "https://api.example.com", Subject: "ada", Session: "4711", Version: 3, Epoch: epoch}
	fmt.Println("in use:", list.Check(ctx, p))

	// Her roles changed: tokens of older versions are refreshed.
	_ = list.Revoke(ctx, auth.Revocation{Owner: p.Owner(), Below: 4})
	fmt.Println("older version:", list.Check(ctx, p))

	// She logs out.
	_ = list.Revoke(ctx, auth.Revocation{Owner: p.Owner(), Session: p.Session})
	fmt.Println("logged out:", list.Check(ctx, p))
	// Output:
	// in use: <nil>
	// older version: token_expired: its version 3 is below 4
	// logged out: token_revoked: its session was ended
}
