package tokens

import (
	"bytes"
	"crypto/hkdf"
	"crypto/sha256"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
)

// Labels that no use of the kit has: the one of [root.keyID], and what stands before each purpose of an application, so
// that nobody gets hold of a key that signs tokens, of any kind.
const (
	labelKeyID  = "kid"
	application = "app/"
)

// derivedLen is the length of every derived key: that of HMAC-SHA-256's output (RFC 7518 section 3.2).
const derivedLen = 32

// maxDerived bounds the memo of a root. Salts and purposes come from configuration, so that a handful
// is normal; a caller that derives per tenant or per user costs time, not memory.
const maxDerived = 256

// A root is a secret that signs nothing itself: each use has a key of its own, derived from it.
type root struct {
	secret []byte
	mu     sync.Mutex                         // serialises writers of derived
	known  atomic.Pointer[map[derivation]any] // values are []byte, boxed once because golang-jwt takes keys as any
}

type derivation struct{ salt, use string }

// derive returns HKDF-SHA-256(secret, salt, "doorward "+use) as a boxed []byte that must not be changed.
// The salt is the issuer or the public origin, so that a secret that staging shares with production
// still makes other keys.
func (r *root) derive(salt, use string) (any, error) {
	d := derivation{salt, use}
	if m := r.known.Load(); m != nil {
		if k, ok := (*m)[d]; ok {
			return k, nil
		}
	}
	b, err := hkdf.Key(sha256.New, r.secret, []byte(salt), "doorward "+use, derivedLen)
	if err != nil {
		return nil, fmt.Errorf("tokens: key derivation: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	next := map[derivation]any{}
	if m := r.known.Load(); m != nil && len(*m) < maxDerived {
		next = maps.Clone(*m)
	}
	var k any = b
	next[d] = k
	r.known.Store(&next)
	return k, nil
}

// keyID is the fingerprint of the secret: the same in every process that holds it, so that rotation
// needs no naming, and 48 bits of an independent derivation, which tell nothing of the others.
func (r *root) keyID() (string, error) {
	b, err := hkdf.Key(sha256.New, r.secret, nil, "doorward "+labelKeyID, 6)
	return b64.EncodeToString(b), err
}

// derived is what leaves the package: a copy, because the memo is shared by all callers.
func (r *root) derived(salt, use string) ([]byte, error) {
	k, err := r.derive(salt, use)
	if err != nil {
		return nil, err
	}
	return bytes.Clone(k.([]byte)), nil
}
