package totp_test

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base32"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"math"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/auth/totp"
)

const (
	tenant  = "acme"
	subject = "ann"
	account = "ann@example.com"
)

// A kit is factors with a clock that stands still, a store that is looked into, and what was told.
type kit struct {
	*testing.T
	*totp.Factors
	store  *spy
	sealer *aead

	mu     sync.Mutex
	now    time.Time
	events []auth.Event
}

func newKit(t *testing.T, edit ...func(*totp.Config)) *kit {
	t.Helper()
	k := &kit{T: t, store: newSpy(totp.NewMemory()), sealer: newAEAD(), now: time.Date(2026, 3, 1, 12, 0, 10, 0, time.UTC)}
	c := totp.Config{Issuer: "Example", Store: k.store, Sealer: k.sealer, Now: k.clock, Observe: k.observe}
	for _, e := range edit {
		e(&c)
	}
	var err error
	if k.Factors, err = totp.New(c); err != nil {
		t.Fatal(err)
	}
	return k
}

func (k *kit) clock() time.Time {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.now
}

func (k *kit) pass(d time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.now = k.now.Add(d)
}

func (k *kit) observe(_ context.Context, e auth.Event) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.events = append(k.events, e)
}

// told returns what was told since the last time, as name and outcome.
func (k *kit) told() (events []string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, e := range k.events {
		events = append(events, e.Name+" "+e.Outcome)
	}
	k.events = nil
	return events
}

// begin begins ann's enrolment.
func (k *kit) begin() totp.Key {
	k.Helper()
	key, err := k.Begin(k.Context(), tenant, subject, account)
	if err != nil {
		k.Fatalf("Begin: %v", err)
	}
	return key
}

// enrol gives ann a factor and moves the clock on, so that the code of the step that is now is good.
func (k *kit) enrol() (totp.Key, []string) {
	k.Helper()
	key := k.begin()
	codes, err := k.Confirm(k.Context(), tenant, subject, k.code(key, 0))
	if err != nil {
		k.Fatalf("Confirm: %v", err)
	}
	k.pass(time.Minute)
	return key, codes.List()
}

// code is what the app shows so many steps from now.
func (k *kit) code(key totp.Key, steps int64) string {
	k.Helper()
	return codeOf(k.T, key.Secret(), k.clock().Unix()/30+steps)
}

// wrong is a code that fits nothing around now.
func (k *kit) wrong(key totp.Key) string {
	k.Helper()
	for n := 0; ; n++ {
		code := fmt.Sprintf("%06d", n)
		if code != k.code(key, -2) && code != k.code(key, -1) && code != k.code(key, 0) && code != k.code(key, 1) && code != k.code(key, 2) {
			return code
		}
	}
}

func (k *kit) verify(code string) error { return k.Verify(k.Context(), tenant, subject, code) }

// want demands nil, or an error that is this one.
func (k *kit) want(err, want error) {
	k.Helper()
	if !errors.Is(err, want) {
		k.Errorf("got %v, expected %v", err, want)
	}
}

func (k *kit) status() totp.Status {
	k.Helper()
	s, err := k.Status(k.Context(), tenant, subject)
	if err != nil {
		k.Fatalf("Status: %v", err)
	}
	return s
}

// codeOf is RFC 4226 section 5.3 once more, from the RFC and not from the library.
func codeOf(t testing.TB, secret string, step int64) string {
	t.Helper()
	return codeWith(t, secret, step, "SHA1", 6)
}

func codeWith(t testing.TB, secret string, step int64, algorithm string, digits int) string {
	t.Helper()
	raw, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(secret)
	if err != nil {
		t.Fatal(err)
	}
	mac := hmac.New(map[string]func() hash.Hash{"SHA1": sha1.New, "SHA256": sha256.New, "SHA512": sha512.New}[algorithm], raw)
	mac.Write(binary.BigEndian.AppendUint64(nil, uint64(step)))
	sum := mac.Sum(nil)
	at := sum[len(sum)-1] & 15
	mod := map[int]uint32{6: 1_000_000, 8: 100_000_000}[digits]
	return fmt.Sprintf("%0*d", digits, binary.BigEndian.Uint32(sum[at:])&math.MaxInt32%mod)
}

// A spy is a store that shows what it holds and can be broken.
type spy struct {
	totp.Store
	mu     sync.Mutex
	held   map[string][]byte
	writes int
	update func(ctx context.Context, tenant, subject string, change func([]byte) ([]byte, error)) error // instead
}

func newSpy(s totp.Store) *spy { return &spy{Store: s, held: map[string][]byte{}} }

func (s *spy) Update(ctx context.Context, tenant, subject string, change func([]byte) ([]byte, error)) error {
	if s.update != nil {
		return s.update(ctx, tenant, subject, change)
	}
	var before, after []byte
	err := s.Store.Update(ctx, tenant, subject, func(old []byte) ([]byte, error) {
		next, err := change(old)
		before, after = old, next
		return next, err
	})
	if err == nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.held[tenant+"/"+subject] = after
		if string(before) != string(after) {
			s.writes++
		}
	}
	return err
}

// dump is all that somebody sees who reads the store.
func (s *spy) dump() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var b strings.Builder
	for name, record := range s.held {
		b.WriteString(name + "\n" + string(record) + "\n")
	}
	return b.String()
}

// aead is a totp.Sealer as an application may have one: AES-256-GCM with what a record belongs to as associated data.
type aead struct {
	cipher.AEAD
	err error // instead
}

func newAEAD() *aead {
	key := make([]byte, 32)
	_, _ = rand.Read(key)
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err)
	}
	gcm, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic(err)
	}
	return &aead{AEAD: gcm}
}

func belongs(parts ...string) (b []byte) {
	for _, p := range parts {
		b = append(binary.BigEndian.AppendUint64(b, uint64(len(p))), p...)
	}
	return b
}

func (a *aead) Seal(_ context.Context, owner auth.Owner, purpose string, plain []byte) ([]byte, error) {
	return a.AEAD.Seal(nil, nil, plain, belongs(owner.Issuer, owner.Subject, purpose)), a.err
}

func (a *aead) Open(_ context.Context, owner auth.Owner, purpose string, sealed []byte) ([]byte, error) {
	if a.err != nil {
		return nil, a.err
	}
	return a.AEAD.Open(nil, nil, sealed, belongs(owner.Issuer, owner.Subject, purpose))
}
