package tokens

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/internal/derive"
)

// errUnknownKey refuses a token whose kid names no key of the ring.
var errUnknownKey = fmt.Errorf("%w: unknown key id", auth.TokenInvalid)

// A Keyring holds one key that signs and any number of keys that are accepted. It is safe for concurrent
// use, and masked however it is printed.
//
// Where an EC or RSA key signs, add a key of [FromSecret] behind it, for all that the kit derives keys for: refresh
// tokens, CSRF tokens, sealed cookies. It is accepted for tokens too, so that one may change from a secret to keys.
//
// It is also a [net/http.Handler]: the public JWKS, for other services to verify with (RFC 7517 section 5).
type Keyring struct {
	state  atomic.Pointer[ring]
	remote *remote // nil for a local ring
}

// A ring is one state of a keyring and never changes: a reader sees the old keys or the new, no mixture.
type ring struct {
	sign    *key // nil: verifies only
	derives *key // the first of FromSecret; nil: none
	keys    []*key
	byID    map[string]*key
	err     error // why it is unusable; the rest is then empty
	remoteState
}

// NewKeyring returns a ring that signs with the first key and accepts them all. A key that cannot be
// used, two keys of one id, or a first key that cannot sign, are told by [New].
func NewKeyring(sign Key, accept ...Key) *Keyring {
	k := new(Keyring)
	r, err := newRing(sign, accept)
	if err != nil {
		r = &ring{err: err}
	}
	k.state.Store(r)
	return k
}

// Replace changes the keys, all at once. The steps of a rotation without downtime, each deployed
// everywhere before the next:
//
//	keys.Replace(old, new)                              // add: accepted everywhere, signs nowhere yet
//	keys.Replace(new, old)                              // promote
//	keys.Replace(new, old.During(time.Time{}, soon))    // retire: until the last token of old has expired
//	keys.Replace(new)                                   // remove
//
// The tokens of a removed key die at once, also those that were verified before. On an error nothing
// has changed. The ring of a remote key set refuses.
func (k *Keyring) Replace(sign Key, accept ...Key) error {
	if k.remote != nil {
		return errors.New("tokens: Replace: the keys of this ring are another service's; it fetches them by itself")
	}
	r, err := newRing(sign, accept)
	if err != nil {
		return err
	}
	k.state.Store(r)
	return nil
}

func newRing(sign Key, accept []Key) (*ring, error) {
	r, err := ringOf(append([]Key{sign}, accept...))
	if err != nil {
		return nil, err
	}
	if !sign.k.canSign() {
		return nil, fmt.Errorf("tokens: key %q is a public key and cannot sign; only accepted keys may be public", sign.k.id)
	}
	r.sign = sign.k
	return r, nil
}

// ringOf makes a ring that only verifies.
func ringOf(keys []Key) (*ring, error) {
	r := &ring{byID: make(map[string]*key, len(keys))}
	for _, k := range keys {
		if err := k.problem(); err != nil {
			return nil, err
		}
		if r.byID[k.k.id] != nil {
			return nil, fmt.Errorf("tokens: two keys have the id %q", k.k.id)
		}
		r.byID[k.k.id] = k.k
		r.keys = append(r.keys, k.k)
		if r.derives == nil && k.k.root != nil {
			r.derives = k.k
		}
	}
	return r, nil
}

// Derive returns a 32-byte key for a purpose of the application, and the id of the root it comes from:
// HKDF-SHA-256 (RFC 5869) of a secret given to [FromSecret], with the salt, which is the issuer or the
// public origin, and "doorward app/" and the purpose as label. The keys of the kit itself have other labels: whatever
// the purpose says, it makes none of them.
//
// A type of an application's own that wraps or embeds the ring is asked by the kit through its Derive, for purposes that
// begin with "doorward/". Where it passes them on to the ring, they are an application's purposes like any other: the kit
// then works with other keys than the ring's own, and whoever may call Derive of the ring can make those keys.
//
// An empty id means the first key of FromSecret in the ring, which is the signing key if that is one; to check what an
// earlier key made, pass the id that was returned then.
//
// It is cheap enough to call for every request. The slice is the caller's own. An unknown id, such as
// that of a removed key or of one that is not FromSecret's, and a key outside its window have the code
// [auth.TokenInvalid]. A ring without a key of FromSecret, an empty salt and an empty purpose are refused.
func (k *Keyring) Derive(id, salt, purpose string) (usedID string, key []byte, err error) {
	if purpose == "" {
		return "", nil, errors.New("tokens: Derive: got an empty purpose, expected the name of what the key is for")
	}
	return k.derive(id, salt, application+purpose)
}

// Kit returns the ring itself, by which the packages of the kit tell it from a type that embeds it.
func (k *Keyring) Kit() any { return k }

// DeriveFor is [Keyring.Derive] for the packages of the kit: it makes the kit's own keys, and asks for a use, not a text.
func (k *Keyring) DeriveFor(id, salt string, use derive.Use) (usedID string, key []byte, err error) {
	return k.derive(id, salt, use.String())
}

func (k *Keyring) derive(id, salt, use string) (usedID string, key []byte, err error) {
	if err := k.err(); err != nil {
		return "", nil, err
	}
	switch {
	case k.remote != nil:
		return "", nil, errors.New("tokens: Derive: the keys of this ring are another service's; use a ring of FromSecret")
	case salt == "":
		return "", nil, errors.New("tokens: Derive: got an empty salt, expected the issuer or the public origin")
	}
	r := k.state.Load()
	from := r.derives
	if id != "" {
		if from = r.byID[id]; from == nil || from.root == nil {
			return "", nil, errUnknownKey // the id is often a client's word
		}
	}
	if from == nil {
		return "", nil, fmt.Errorf("tokens: Derive: got a ring that signs with key %q (%s) and has no secret to derive keys from; add a key of FromSecret to it", r.sign.id, r.sign.alg)
	}
	if from.windowed() && !from.validAt(time.Now()) {
		return "", nil, fmt.Errorf("%w: key %q is outside its window", auth.TokenInvalid, from.id)
	}
	key, err = from.root.derived(salt, use)
	return from.id, key, err
}

// Format masks the ring under every verb of package fmt.
func (k *Keyring) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, "[keyring]") }

// MarshalText masks the ring in JSON and every other encoding.
func (k *Keyring) MarshalText() ([]byte, error) { return []byte("[keyring]"), nil }

// LogValue masks the ring in package slog.
func (k *Keyring) LogValue() slog.Value { return slog.StringValue("[keyring]") }

// err says why the ring is unusable; nil when it is fine.
func (k *Keyring) err() error {
	if k == nil || k.state.Load() == nil {
		return errors.New("tokens: a nil or zero Keyring; make one with NewKeyring")
	}
	return k.state.Load().err
}

// current returns the signing key.
func (k *Keyring) current() (*key, error) {
	if err := k.err(); err != nil {
		return nil, err
	}
	if r := k.state.Load(); r.sign != nil {
		return r.sign, nil
	}
	return nil, errors.New("tokens: the keys of this ring are another service's; it cannot sign")
}

// find returns the key of this id. A local ring looks into a map, whatever the id is; a remote one may
// fetch its set.
func (k *Keyring) find(ctx context.Context, id string) (*key, error) {
	if err := k.err(); err != nil {
		return nil, err
	}
	if k.remote != nil {
		return k.remote.find(ctx, &k.state, id)
	}
	if found := k.state.Load().byID[id]; found != nil {
		return found, nil
	}
	return nil, errUnknownKey
}

// holds says whether this very key is still in the ring, and may be believed without waiting. A remote
// ring that is due is renewed beside it: the tokens remembered may be all its traffic.
func (k *Keyring) holds(key *key) bool {
	r := k.state.Load()
	if k.remote != nil && !k.remote.believes(&k.state, r, k.remote.now()) {
		return false
	}
	return slices.Contains(r.keys, key)
}

// published lists the keys that other services may verify with now.
func (r *ring) published(now time.Time) []*key {
	var out []*key
	for _, k := range r.keys {
		if k.root != nil || !k.until.IsZero() && !now.Before(k.until) {
			continue
		}
		if _, secret := k.public.([]byte); !secret {
			out = append(out, k)
		}
	}
	return out
}
