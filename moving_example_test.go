package doorward_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/auth/password"
	"github.com/doorward/doorward/auth/seal"
	"github.com/doorward/doorward/auth/totp"
	"github.com/doorward/doorward/middleware"
	"github.com/doorward/doorward/tokens"
)

// A row of the users table, as the older system left it.
type row struct {
	hash         string // of argon2-cffi
	tokenVersion int64
	totpSecret   string // of pyotp, encrypted by Fernet
}

// All that docs/migrating.md shows.
func Example_moving() {
	ctx := context.Background()
	var (
		user   = row{"$argon2id$v=19$m=102400,t=2,p=8$rR/Et6SMYARgcfulVy/rBA$b9o0ae8p84QmT6m7E//xNQ", 3, ""}
		secret = []byte("the SECRET_KEY of the FastAPI app, as it is")
		tok, _ = tokens.New(tokens.Config{Keys: tokens.NewKeyring(tokens.FromSecret([]byte(tokens.GenerateSecret()))), Issuer: "https://api.example.com", Audience: "api"})
	)

	// Tokens.
	legacy, err := tokens.NewLegacy(tokens.LegacyConfig{
		Key:    tokens.HS256("old", secret),
		Issuer: "https://api.example.com", // of the new tokens: a user is the same subject in both
		Until:  time.Date(2026, 12, 24, 0, 0, 0, 0, time.UTC),
		Version: func(ctx context.Context, subject string) (int64, error) {
			return user.tokenVersion, nil // SELECT token_version FROM users WHERE id = $1 AND active
		},
		Observe: auth.Log(nil), // no line for some days: delete it
	})
	if err != nil {
		log.Fatal(err)
	}
	guard := middleware.RequireAuth(auth.Bearer(legacy.Or(tok)))
	_ = guard

	// Passwords.
	hasher, err := password.New(password.Config{})
	if err != nil {
		log.Fatal(err)
	}
	err = hasher.Upgrade(ctx, user.hash, "password", func(ctx context.Context, old, fresh string) error {
		user.hash = fresh // UPDATE users SET hash = $fresh WHERE id = $id AND hash = $old
		return nil
	})
	fmt.Println(err, user.hash[:30])

	// Values under Fernet.
	fernet, err := seal.ParseFernetKey("cw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e4=")
	if err != nil {
		log.Fatal(err)
	}
	keys, err := seal.NewKeyring(seal.NewKey("2026-11", []byte("32 random bytes, of openssl rand")))
	if err != nil {
		log.Fatal(err)
	}
	sealer, err := seal.New(seal.Config{Keys: keys, Issuer: "https://api.example.com", Fernet: []seal.FernetKey{fernet}})
	if err != nil {
		log.Fatal(err)
	}
	at := seal.Place{Owner: auth.Owner{Issuer: "https://api.example.com", Subject: "42"}, Purpose: "oauth github refresh"}
	stored := "gAAAAAAdwJ6wAAECAwQFBgcICQoLDA0ODy021cpGVWKZ_eEwCGM4BLLF_5CV9dOPmrhuVUPgJobwOz7JcbmrR64jVmpU4IwqDA=="
	text, stale, err := sealer.Open(at, stored)
	if err == nil && stale {
		stored, err = sealer.Seal(at, text) // and store it
	}
	fmt.Println(text, stored[:13], err)

	// Second factors.
	factors, err := totp.New(totp.Config{Issuer: "Example", Store: totp.NewMemory(), Sealer: sealer.Bytes()})
	if err != nil {
		log.Fatal(err)
	}
	key, err := totp.ParseKey("JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP") // pyotp's secret, or an otpauth URI
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(factors.Import(ctx, "", "42", key))

	// Output:
	// <nil> $argon2id$v=19$m=65536,t=3,p=4
	// hello dws1.2026-11. <nil>
	// <nil>
}
