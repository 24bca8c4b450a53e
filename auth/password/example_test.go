package password_test

import (
	"context"
	"crypto/md5"
	"crypto/rand"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"log"
	"strings"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/auth/password"
	"github.com/doorward/doorward/auth/seal"
)

func Example() {
	hasher, err := password.New(password.Config{}) // argon2id, 64 MiB, 3 passes, 4 lanes
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()

	// Registration: store the text.
	stored, err := hasher.Hash(ctx, "correct horse battery staple")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(stored[:strings.LastIndex(stored[:40], "$")])

	// Login.
	rehash, err := hasher.Verify(ctx, stored, "correct horse battery staple")
	fmt.Println(rehash, err)
	_, err = hasher.Verify(ctx, stored, "Tr0ub4dor&3")
	fmt.Println(auth.CodeOf(err))

	// Output:
	// $argon2id$v=19$m=65536,t=3,p=4
	// false <nil>
	// login_failed
}

// A store that an older system filled: its hashes verify, and Verify says which should be replaced.
func ExampleHasher_Verify_olderSystem() {
	hasher, err := password.New(password.Config{})
	if err != nil {
		log.Fatal(err)
	}
	for _, old := range []struct{ system, stored, password string }{
		{"argon2-cffi", "$argon2id$v=19$m=65536,t=3,p=4$MIIRqgvgQbgj220jfp0MPA$YfwJSVjtjSU0zzV/P3S9nnQ/USre2wvJMjfCIjrTQbg", "correct horse battery staple"},
		{"passlib, bcrypt", "$2b$12$bIRGj4QPPoSUMWsJE.4Pk.T1qTpDWz7HhMnuiQhGzGinKPsx/HQdq", "password"},
	} {
		rehash, err := hasher.Verify(context.Background(), old.stored, old.password)
		fmt.Println(old.system, rehash, err)
	}

	// Output:
	// argon2-cffi false <nil>
	// passlib, bcrypt true <nil>
}

// A login against a store that an older system filled: the hash is replaced once, where it still stands.
func ExampleHasher_Upgrade() {
	hasher, err := password.New(password.Config{})
	if err != nil {
		log.Fatal(err)
	}
	stored := "$pbkdf2-sha256$29000$mjPGmPMeo/Q.55wTAuDc2w$55KixDUcK0OvNsphJKcPCf8eKnt/dg.mEllit22F5wk" // passlib's
	replace := func(_ context.Context, old, fresh string) error {
		if stored == old { // UPDATE users SET hash = $fresh WHERE id = $id AND hash = $old
			stored = fresh
		}
		return nil
	}
	fmt.Println(hasher.Upgrade(context.Background(), stored, "correct horse battery staple", replace))
	fmt.Println(stored[:30], hasher.NeedsRehash(stored))

	// Output:
	// <nil>
	// $argon2id$v=19$m=65536,t=3,p=4 false
}

// A pepper: a secret of its own that goes into every hash, by keys that are rotated.
func ExamplePepper() {
	secret := make([]byte, 32) // from a file that no backup of the store holds
	_, _ = rand.Read(secret)
	keys, err := seal.NewKeyring(seal.NewKey("2026-11", secret))
	if err != nil {
		log.Fatal(err)
	}
	hasher, err := password.New(password.Config{Pepper: password.Pepper{Keys: keys, Name: "example production"}})
	if err != nil {
		log.Fatal(err)
	}
	stored, err := hasher.Hash(context.Background(), "correct horse battery staple")
	fmt.Println(stored[:51], err)

	// Output:
	// $pepper$v=1,k=2026-11$argon2id$v=19$m=65536,t=3,p=4 <nil>
}

// salted reads md5$salt$digest, of Django's MD5PasswordHasher.
type salted struct{}

func (salted) Parse(hash string) (*password.Check, error) {
	rest, ok := strings.CutPrefix(hash, "md5$")
	if !ok {
		return nil, nil // of another scheme
	}
	salt, text, _ := strings.Cut(rest, "$")
	digest, err := hex.DecodeString(text)
	if err != nil || len(digest) != md5.Size {
		return nil, errors.New("not md5$salt$digest")
	}
	return &password.Check{Verify: func(password []byte) bool {
		sum := md5.Sum(append([]byte(salt), password...))
		return subtle.ConstantTimeCompare(sum[:], digest) == 1
	}}, nil
}

// A scheme of an older system that the package does not read, because it is weak: the application reads it, so that nobody
// has to reset a password, and each hash is replaced at the next login of its owner.
func ExampleScheme() {
	hasher, err := password.New(password.Config{Schemes: []password.Scheme{salted{}}})
	if err != nil {
		log.Fatal(err)
	}
	stored := "md5$seasalt$20165960c7b75f0c4670c4444b95825c        " // from a CHAR column
	rehash, err := hasher.Verify(context.Background(), stored, "p\u00e4ssw\u00f6rd \u9375")
	fmt.Println(rehash, err)
	_, err = hasher.Verify(context.Background(), stored, "another")
	fmt.Println(auth.CodeOf(err))

	// Output:
	// true <nil>
	// login_failed
}

// bcrypt, for a column that another system reads too.
func ExampleConfig_bcrypt() {
	hasher, err := password.New(password.Config{Bcrypt: 12})
	if err != nil {
		log.Fatal(err)
	}
	_, err = hasher.Hash(context.Background(), strings.Repeat("long ", 15))
	fmt.Println(errors.Is(err, password.ErrTooLong), err)

	// Output:
	// true validation_failed: the password is over 72 bytes and the hash is bcrypt
}
