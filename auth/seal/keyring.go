package seal

import (
	"bytes"
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync/atomic"

	"github.com/doorward/doorward/internal/derive"
)

const keyBytes = 32

// A Key is 32 random bytes and a name for them. It is immutable, and masked however it is printed.
//
// A key that cannot be used says so late: [NewKey] returns it, [NewKeyring] and [Keyring.Replace] refuse it.
type Key struct{ k *key }

// key has its secret behind a pointer, as Key has its key. Package fmt prints a Key in somebody's
// unexported field without asking its methods, and %s follows one pointer there.
type key struct {
	id     string
	secret *[keyBytes]byte
	bad    error
}

// NewKey takes 32 random bytes, such as those of "openssl rand 32", which it copies, and a name of 1 to 64
// characters of A-Za-z0-9_- that stands in every value, such as "2026-11". A name is never given to
// another key.
func NewKey(id string, secret []byte) Key {
	k := &key{id: id}
	switch {
	case !isKeyID(id):
		k.bad = fmt.Errorf("seal: got the key id %.64q, expected 1 to %d characters of A-Za-z0-9_-", id, maxKey)
	case len(secret) != keyBytes:
		k.bad = fmt.Errorf("seal: key %q: got %d bytes, expected %d random ones", id, len(secret), keyBytes)
	case repeats(secret):
		k.bad = fmt.Errorf("seal: key %q: got one part over and over, expected %d random bytes", id, keyBytes)
	default:
		k.secret = new([keyBytes]byte)
		copy(k.secret[:], secret)
	}
	return Key{k}
}

// repeats says whether the secret is one unit over and over, zeros included.
func repeats(secret []byte) bool {
	for n := 1; n <= len(secret)/2; n++ {
		if bytes.Equal(secret[n:], secret[:len(secret)-n]) {
			return true
		}
	}
	return false
}

// Format masks the key under every verb of package fmt.
func (k Key) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, "[key]") }

// MarshalText masks the key in JSON and every other encoding.
func (k Key) MarshalText() ([]byte, error) { return []byte("[key]"), nil }

// LogValue masks the key in package slog.
func (k Key) LogValue() slog.Value { return slog.StringValue("[key]") }

// A Keyring is a [KeySource] over keys of its own, for those who keep them apart from the secret of tokens:
// one current key and any number of accepted ones. It is safe for concurrent use, and masked however it is printed.
type Keyring struct{ state atomic.Pointer[ring] }

// A ring is one state of a keyring and never changes.
type ring struct {
	current *key
	byID    map[string]*key
}

// NewKeyring returns a ring that seals with the first key and opens with all of them.
func NewKeyring(current Key, accept ...Key) (*Keyring, error) {
	k := new(Keyring)
	return k, k.Replace(current, accept...)
}

// Replace changes the keys, all at once. The steps of a rotation, each deployed everywhere before the next:
//
//	keys.Replace(old, new) // add: opened everywhere, sealed with nowhere yet
//	keys.Replace(new, old) // promote; then reseal until nothing is left (see [Sealer.ResealAll])
//	keys.Replace(new)      // remove
//
// What a removed key sealed does not open from then on. On an error nothing has changed.
func (k *Keyring) Replace(current Key, accept ...Key) error {
	r := &ring{current: current.k, byID: map[string]*key{}}
	for _, key := range append([]Key{current}, accept...) {
		switch {
		case key.k == nil:
			return errors.New("seal: a zero Key; make it with NewKey")
		case key.k.bad != nil:
			return key.k.bad
		case r.byID[key.k.id] != nil:
			return fmt.Errorf("seal: two keys have the id %q", key.k.id)
		}
		r.byID[key.k.id] = key.k
	}
	k.state.Store(r)
	return nil
}

// Derive returns a key of 32 bytes for a salt and a purpose of the application, and the id of the key it comes from:
// HKDF-SHA-256 (RFC 5869). An empty id means the current key. An unknown or removed one is an error. Whatever the
// purpose says, it makes none of the keys of the kit.
//
// A type of an application's own that wraps or embeds the ring is asked by the kit through its Derive, for purposes that
// begin with "doorward/". Where it passes them on to the ring, they are an application's purposes like any other: the kit
// then works with other keys than the ring's own, and whoever may call Derive of the ring can make those keys.
func (k *Keyring) Derive(id, salt, purpose string) (usedID string, derived []byte, err error) {
	if purpose == "" {
		return "", nil, errors.New("seal: Derive: got an empty purpose, expected the name of what the key is for")
	}
	return k.derive(id, salt, "app/"+purpose)
}

// Kit returns the ring itself, by which the packages of the kit tell it from a type that embeds it.
func (k *Keyring) Kit() any { return k }

// DeriveFor is [Keyring.Derive] for the packages of the kit: it makes the kit's own keys, and asks for a use, not a text.
func (k *Keyring) DeriveFor(id, salt string, use derive.Use) (usedID string, derived []byte, err error) {
	return k.derive(id, salt, use.String())
}

func (k *Keyring) derive(id, salt, use string) (usedID string, derived []byte, err error) {
	if k == nil || k.state.Load() == nil {
		return "", nil, errors.New("seal: a nil or zero Keyring; make it with NewKeyring")
	}
	r := k.state.Load()
	if salt == "" {
		return "", nil, errors.New("seal: Derive: got an empty salt, expected the name of this installation")
	}
	from := r.current
	if id != "" {
		if from = r.byID[id]; from == nil {
			return "", nil, fmt.Errorf("no key %.64q in the ring", id)
		}
	}
	derived, err = hkdf.Key(sha256.New, from.secret[:], []byte(salt), "doorward "+use, keyBytes)
	return from.id, derived, err
}

// Format masks the ring under every verb of package fmt.
func (k *Keyring) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, "[keyring]") }

// MarshalText masks the ring in JSON and every other encoding.
func (k *Keyring) MarshalText() ([]byte, error) { return []byte("[keyring]"), nil }

// LogValue masks the ring in package slog.
func (k *Keyring) LogValue() slog.Value { return slog.StringValue("[keyring]") }
