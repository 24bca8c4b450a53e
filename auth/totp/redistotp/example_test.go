package redistotp_test

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"fmt"
	"log"

	"github.com/redis/go-redis/v9"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/auth/totp"
	"github.com/doorward/doorward/auth/totp/redistotp"
)

// newFactors puts the second factors together: one Redis holds the records of all users, for any number of processes.
func newFactors(client redis.UniversalClient, sealer totp.Sealer) (*totp.Factors, error) {
	store, err := redistotp.New(redistotp.Config{Client: client, Prefix: "app"})
	if err != nil {
		return nil, err
	}
	return totp.New(totp.Config{Issuer: "Example Ltd", Store: store, Sealer: sealer, Observe: auth.Log(nil)})
}

func Example() {
	key := make([]byte, 32) // from where the program's other secrets are
	_, _ = rand.Read(key)
	sealer, err := newSealer(key)
	if err != nil {
		log.Fatal(err)
	}
	factors, err := newFactors(redis.NewClient(&redis.Options{Addr: "redis:6379"}), sealer)
	fmt.Println(factors != nil, err)
	// Output: true <nil>
}

// A sealer is the least that a totp.Sealer can be: AES-256-GCM under one key.
type sealer struct{ aead cipher.AEAD }

func newSealer(key []byte) (totp.Sealer, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	return sealer{aead}, err
}

func (s sealer) Seal(_ context.Context, owner auth.Owner, purpose string, plaintext []byte) ([]byte, error) {
	return s.aead.Seal(nil, nil, plaintext, fmt.Appendf(nil, "%q %q %q", owner.Issuer, owner.Subject, purpose)), nil
}

func (s sealer) Open(_ context.Context, owner auth.Owner, purpose string, sealed []byte) ([]byte, error) {
	return s.aead.Open(nil, nil, sealed, fmt.Appendf(nil, "%q %q %q", owner.Issuer, owner.Subject, purpose))
}
