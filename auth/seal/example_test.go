package seal_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"iter"
	"log"
	"strings"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/auth/seal"
	"github.com/doorward/doorward/tokens"
)

// The seed of a second factor, under the secret that feeds the whole kit.
func Example() {
	keys := tokens.NewKeyring(tokens.FromSecret([]byte("0123456789abcdefghijklmnopqrstuv")))
	sealer, err := seal.New(seal.Config{Keys: keys, Issuer: "https://app.example.com"})
	if err != nil {
		log.Fatal(err)
	}

	// Store the value in ann's row.
	ann := seal.Place{Owner: auth.Owner{Issuer: "https://app.example.com", Subject: "ann"}, Purpose: "totp"}
	stored, err := sealer.Seal(ann, "JBSWY3DPEHPK3PXP")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(stored[:5], seal.Sealed(stored))

	// Read it. A stale value is under an older key: store sealer.Seal(ann, seed) in its place.
	seed, stale, err := sealer.Open(ann, stored)
	fmt.Println(seed, stale, err)

	// Copied into bob's row it is worth nothing.
	_, _, err = sealer.Open(seal.Place{Owner: auth.Owner{Issuer: "https://app.example.com", Subject: "bob"}, Purpose: "totp"}, stored)
	fmt.Println(errors.Is(err, seal.ErrOpen))

	// Output:
	// dws1. true
	// JBSWY3DPEHPK3PXP false <nil>
	// true
}

// Keys of their own, apart from the secret of tokens, and how one replaces another.
func ExampleKeyring() {
	old, next := seal.NewKey("2025-11", randomBytes()), seal.NewKey("2026-11", randomBytes())
	keys, err := seal.NewKeyring(old)
	if err != nil {
		log.Fatal(err)
	}
	sealer, err := seal.New(seal.Config{Keys: keys, Issuer: "https://app.example.com"})
	if err != nil {
		log.Fatal(err)
	}
	smtp := seal.Place{Owner: auth.Owner{Issuer: "https://app.example.com", Subject: "smtp"}, Purpose: "password"}
	stored, _ := sealer.Seal(smtp, "hunter2")

	_ = keys.Replace(old, next) // add, on every node
	_ = keys.Replace(next, old) // promote, on every node
	fresh, changed, err := sealer.Reseal(smtp, stored)
	fmt.Println(fresh[:13], changed, err)

	_ = keys.Replace(next) // remove: what was not resealed is gone
	_, _, err = sealer.Open(smtp, stored)
	fmt.Println(err)

	// Output:
	// dws1.2026-11. true <nil>
	// seal: the key of the value is not here: no key "2025-11" in the ring
}

// What a provider answered, as a map whose names stay readable.
func ExampleSealer_SealMap() {
	sealer := newExampleSealer()
	github := seal.Place{Owner: auth.Owner{Issuer: "https://app.example.com", Subject: "ann"}, Purpose: "oauth github"}
	stored, err := sealer.SealMap(github, map[string]string{"access_token": "gho_x", "refresh_token": "ghr_y"})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(stored), seal.Sealed(stored["access_token"]))

	texts, stale, err := sealer.OpenMap(github, stored)
	fmt.Println(texts["refresh_token"], stale, err)

	// Output:
	// 2 true
	// ghr_y false <nil>
}

// A job before a key is removed: it goes through a table and says what is left.
func ExampleSealer_ResealAll() {
	old, next := seal.NewKey("2025-11", randomBytes()), seal.NewKey("2026-11", randomBytes())
	keys, err := seal.NewKeyring(old)
	if err != nil {
		log.Fatal(err)
	}
	sealer, err := seal.New(seal.Config{Keys: keys, Issuer: "https://app.example.com"})
	if err != nil {
		log.Fatal(err)
	}
	users := map[string]string{} // SELECT id, totp FROM users
	place := func(id string) seal.Place {
		return seal.Place{Owner: auth.Owner{Issuer: "https://app.example.com", Subject: id}, Purpose: "totp"}
	}
	for _, id := range []string{"ann", "bob", "eve"} {
		users[id], _ = sealer.Seal(place(id), "seed of "+id)
	}
	_ = keys.Replace(next, old)

	var rows iter.Seq2[seal.Row, error] = func(yield func(seal.Row, error) bool) {
		for id, sealed := range users {
			if !yield(seal.Row{ID: id, Place: place(id), Sealed: sealed}, nil) {
				return
			}
		}
	}
	update := func(_ context.Context, row seal.Row, fresh string) (bool, error) {
		if users[row.ID] != row.Sealed { // UPDATE users SET totp = $fresh WHERE id = $id AND totp = $sealed
			return false, nil
		}
		users[row.ID] = fresh
		return true, nil
	}
	tally, err := sealer.ResealAll(context.Background(), rows, update)
	fmt.Printf("%+v %v\n", tally, err)
	if tally.Left == 0 && err == nil {
		err = keys.Replace(next)
	}
	fmt.Println(err)

	// Output:
	// {Current:0 Resealed:3 Left:0} <nil>
	// <nil>
}

// Values of an older system that used Fernet open with its keys, and are resealed when they are used.
func ExampleParseFernetKey() {
	old, err := seal.ParseFernetKey("9tEh4SJoZxapHlMtDg5s4PJde4aehtNYxovmGYE11qU=")
	if err != nil {
		log.Fatal(err)
	}
	keys, err := seal.NewKeyring(seal.NewKey("2026-11", randomBytes()))
	if err != nil {
		log.Fatal(err)
	}
	sealer, err := seal.New(seal.Config{Keys: keys, Issuer: "https://app.example.com", Fernet: []seal.FernetKey{old}})
	if err != nil {
		log.Fatal(err)
	}
	stored := "gAAAAABlU_EAkjqkV-9fE6YbkO2Bj15Mj7IB_ZMlsMYDybmKKICOgAKIRA_eD7phMKpC1995diKuOv8fwzYWUs6OUyEbmMx7apihVFL2Is9ygINtXFhSiII="
	ann := seal.Place{Owner: auth.Owner{Issuer: "https://app.example.com", Subject: "ann"}, Purpose: "totp"}

	seed, stale, err := sealer.Open(ann, stored)
	if err != nil {
		log.Fatal(err)
	}
	if stale {
		if stored, err = sealer.Seal(ann, seed); err != nil {
			log.Fatal(err)
		}
	}
	fmt.Println(seed, strings.HasPrefix(stored, "dws1.2026-11."), old)

	// Output:
	// JBSWY3DPEHPK3PXP true [key]
}

func randomBytes() []byte {
	b := make([]byte, 32)
	_, _ = rand.Read(b)
	return b
}

func newExampleSealer() *seal.Sealer {
	keys, err := seal.NewKeyring(seal.NewKey("2026-11", randomBytes()))
	if err != nil {
		log.Fatal(err)
	}
	s, err := seal.New(seal.Config{Keys: keys, Issuer: "https://app.example.com"})
	if err != nil {
		log.Fatal(err)
	}
	return s
}
