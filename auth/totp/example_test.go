package totp_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	library "github.com/pquerna/otp/totp"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/auth/totp"
)

// A user enrols an app, logs in with it, and comes back by a recovery code when the phone is gone.
func Example() {
	ctx := context.Background()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	var sealer totp.Sealer = newAEAD()
	factors, err := totp.New(totp.Config{
		Issuer: "https://app.example.com", ServiceName: "Example Ltd", Store: totp.NewMemory(), Sealer: sealer,
		Now: func() time.Time { return now },
	})
	if err != nil {
		log.Fatal(err)
	}
	key, err := factors.Begin(ctx, "ann", "ann@example.com")
	if err != nil {
		log.Fatal(err)
	}
	svg, err := key.SVG() // into the page, with key.Secret() beside it, for apps without a camera
	fmt.Println(len(svg) > 1000, len(key.Secret()), err)

	app := func() string { // the user's phone
		code, err := library.GenerateCode(key.Secret(), now)
		if err != nil {
			log.Fatal(err)
		}
		return code
	}
	codes, err := factors.Confirm(ctx, "ann", app())
	fmt.Println(len(codes.List()), "recovery codes,", err)

	now = now.Add(time.Hour)
	code := app()
	fmt.Println("a login:", factors.Verify(ctx, "ann", code))
	fmt.Println("again:", errors.Is(factors.Verify(ctx, "ann", code), totp.ErrWrong))

	left, err := factors.Recover(ctx, "ann", codes.List()[0])
	fmt.Println("recovery codes left:", left, err)
	fmt.Println("logged:", key, codes)
	// Output:
	// true 32 <nil>
	// 10 recovery codes, <nil>
	// a login: <nil>
	// again: true
	// recovery codes left: 9 <nil>
	// logged: [secret] [secret]
}

// A key's URI and QR code can say whose it is without an issuer.
func ExampleKey_Named() {
	bare, err := totp.ParseKey("GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ")
	if err != nil {
		log.Fatal(err)
	}
	key, err := bare.Named("", "ann@example.com")
	fmt.Println(key.URI(), err)
	// Output: otpauth://totp/ann%40example.com?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ <nil>
}

// users is an application's own table, which holds who needs a second factor and, from an older system, the secrets.
type users map[string]*struct {
	secondFactor bool
	pyotpSecret  string
}

// secondStep is what a login does after the password was right.
func (u users) secondStep(ctx context.Context, factors *totp.Factors, user, code string) error {
	row := u[user]
	if row == nil || !row.secondFactor {
		return auth.LoginFailed
	}
	if row.pyotpSecret != "" { // the first login since the move: the secret goes where it is sealed
		key, err := totp.ParseKey(row.pyotpSecret)
		if err != nil {
			return err
		}
		if err := factors.Import(ctx, user, key); err != nil && !errors.Is(err, totp.ErrActive) {
			return err
		}
		row.pyotpSecret = ""
	}
	return factors.Verify(ctx, user, code)
}

// Secrets of an older system go on working.
func ExampleParseKey() {
	table := users{"ann": {secondFactor: true, pyotpSecret: "gezd gnbv gy3t qojq gezd gnbv gy3t qojq"}}
	factors, err := totp.New(totp.Config{
		Issuer: "https://app.example.com", ServiceName: "Example Ltd", Store: totp.NewMemory(), Sealer: newAEAD(),
		Now: func() time.Time { return time.Unix(1111111109, 0) },
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(table.secondStep(context.Background(), factors, "ann", "081804"))
	fmt.Println(table.secondStep(context.Background(), factors, "bob", "081804"))
	// Output:
	// <nil>
	// login_failed
}
