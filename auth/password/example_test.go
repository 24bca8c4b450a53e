package password_test

import (
	"context"
	"fmt"
	"log"
	"strings"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/auth/password"
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
