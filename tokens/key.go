package tokens

import (
	"bytes"
	"crypto/rsa"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// The algorithms a key can have, by their JOSE names (RFC 7518 section 3.1, RFC 8037 section 3.1).
const (
	algHS256 = "HS256"
	algHS384 = "HS384"
	algHS512 = "HS512"
	algEdDSA = "EdDSA"
	algES256 = "ES256"
	algES384 = "ES384"
	algPS256 = "PS256"
	algRS256 = "RS256"
)

// methods is the only list of algorithms: "none" is not in it, so that no key can have it.
var methods = map[string]jwt.SigningMethod{
	algHS256: jwt.SigningMethodHS256,
	algHS384: jwt.SigningMethodHS384,
	algHS512: jwt.SigningMethodHS512,
	algEdDSA: jwt.SigningMethodEdDSA,
	algES256: jwt.SigningMethodES256,
	algES384: jwt.SigningMethodES384,
	algRS256: jwt.SigningMethodRS256,
	// golang-jwt's own PS256 accepts a salt of any length; RFC 7518 section 3.5 demands that of the hash.
	algPS256: &jwt.SigningMethodRSAPSS{
		SigningMethodRSA: jwt.SigningMethodPS256.SigningMethodRSA,
		Options:          &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash},
	},
}

// keyMask is what a key looks like wherever it is printed.
const keyMask = "[key]"

// A Key signs or verifies tokens under one algorithm, which belongs to it and cannot be chosen by a
// token (RFC 8725 section 3.1). It is immutable, and masked however it is printed.
//
// A key that cannot be used says so late: its constructor returns it, [New] and [Keyring.Replace]
// refuse it with the reason.
type Key struct{ k *key }

// key has its secrets behind a pointer, as Key has its key. Package fmt prints a Key in somebody's
// unexported field without asking its methods, and %s follows one pointer there.
type key struct {
	id, alg string
	method  jwt.SigningMethod
	*halves       // nil for a root
	root    *root // of FromSecret: public and private are derived per use
	bits    int   // of an RSA key
	rsa2048 bool
	from    time.Time
	until   time.Time
	bad     error // why it is unusable
}

type halves struct {
	public  any // what method.Verify takes
	private any // what method.Sign takes; nil: accepts only
}

func badKey(id, alg string, format string, args ...any) Key {
	return Key{&key{id: id, alg: alg, bad: fmt.Errorf("tokens: key %.64q: "+format, append([]any{id}, args...)...)}}
}

// ID returns the key's id: the kid of the tokens it signs.
func (k Key) ID() string {
	if k.k == nil {
		return ""
	}
	return k.k.id
}

// Algorithm returns the key's algorithm by its JOSE name, such as "ES256".
func (k Key) Algorithm() string {
	if k.k == nil {
		return ""
	}
	return k.k.alg
}

// During returns the key with a window: it signs and is accepted from the first time, included, until
// the second, excluded. A zero time leaves that end open. The window replaces an earlier one.
//
// A retired key gets an end here, so that forgetting to remove it does no harm: the longest life of what
// was made under it from now, with [FromSecret] also of what its derived keys made (see [Keyring.Derive]).
// Tokens are judged by the verifier's clock.
func (k Key) During(from, until time.Time) Key {
	if k.k == nil || k.k.bad != nil {
		return k
	}
	c := *k.k
	c.from, c.until = from, until
	if !from.IsZero() && !until.IsZero() && !from.Before(until) {
		c.bad = fmt.Errorf("tokens: key %q: a window from %v until %v is never open", c.id, from, until)
	}
	return Key{&c}
}

// AllowRSA2048 returns the key with RSA of 2048 bits or more allowed, which RFC 7518 section 3.3 permits
// and many identity providers still use. Without it the kit asks for 3072 (ASVS 5.0 V11.2.3). Under 2048
// bits no key is accepted. Other keys are returned as they are.
func (k Key) AllowRSA2048() Key {
	if k.k == nil || k.k.bits == 0 {
		return k
	}
	c := *k.k
	c.rsa2048 = true
	return Key{&c}
}

// Format masks the key under every verb of package fmt.
func (k Key) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, keyMask) }

// MarshalText masks the key in JSON and every other encoding. [ExportPrivate] is the way out.
func (k Key) MarshalText() ([]byte, error) { return []byte(keyMask), nil }

// LogValue masks the key in package slog.
func (k Key) LogValue() slog.Value { return slog.StringValue(keyMask) }

// problem says why the key must not be used, nil when it may.
func (k Key) problem() error {
	switch {
	case k.k == nil:
		return errors.New("tokens: a zero Key; make one with FromSecret, GenerateKey or LoadKeys")
	case k.k.bad != nil:
		return k.k.bad
	case k.k.bits != 0 && k.k.bits < strongRSABits && !k.k.rsa2048:
		return fmt.Errorf("tokens: key %q: got RSA of %d bits, expected %d or more; AllowRSA2048 accepts 2048", k.k.id, k.k.bits, strongRSABits)
	}
	return nil
}

// sign returns the signature of a token's first two segments. use and issuer choose the key of a root;
// other keys have one for everything.
func (k *key) sign(signingString, use, issuer string) ([]byte, error) {
	if k.root != nil {
		derived, err := k.root.derive(issuer, use)
		if err != nil {
			return nil, err
		}
		return k.method.Sign(signingString, derived)
	}
	if k.private == nil {
		return nil, fmt.Errorf("tokens: key %q is a public key and cannot sign", k.id)
	}
	return k.method.Sign(signingString, k.private)
}

// verify says whether sig is this key's signature of signingString.
func (k *key) verify(signingString string, sig []byte, use, issuer string) error {
	if k.root != nil {
		derived, err := k.root.derive(issuer, use)
		if err != nil {
			return err
		}
		return k.method.Verify(signingString, sig, derived)
	}
	return k.method.Verify(signingString, sig, k.public)
}

// validAt says whether now is in the key's window.
func (k *key) validAt(now time.Time) bool {
	return (k.from.IsZero() || !now.Before(k.from)) && (k.until.IsZero() || now.Before(k.until))
}

func (k *key) windowed() bool { return !k.from.IsZero() || !k.until.IsZero() }

// canSign says whether the key has a private part.
func (k *key) canSign() bool { return k.root != nil || k.private != nil }

// checkID keeps key ids boring: they go into tokens, file names and logs.
func checkID(id string) error {
	if id == "" || len(id) > 64 {
		return fmt.Errorf("got an id of %d characters, expected 1 to 64", len(id))
	}
	for _, c := range []byte(id) {
		if !(c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '.' || c == '_' || c == '-') {
			return errors.New("an id may hold A-Z a-z 0-9 . _ - only")
		}
	}
	return nil
}

// FromSecret makes a root key from a secret of 32 bytes or more, such as one that [GenerateSecret]
// made. It is the key for most: everything in the kit that needs one derives its own from it by
// HKDF-SHA-256 (RFC 5869) with the issuer as salt and the use as label, so that one secret is all there
// is to keep, no key serves two uses, and staging's tokens are not production's.
//
// Its id is a fingerprint of the secret, so rotation needs no naming. Tokens are HS256. Nobody but this
// kit can verify them: to share a key with another implementation, use [HS256] or [NewKey].
//
// Short, repetitive and well-known secrets are refused.
func FromSecret(secret []byte) Key {
	if err := checkSecret(secret, derivedLen); err != nil {
		return badKey("from secret", algHS256, "%w", err)
	}
	r := &root{secret: bytes.Clone(secret)}
	id, err := r.keyID()
	if err != nil {
		return badKey("from secret", algHS256, "%w", err)
	}
	return Key{&key{id: id, alg: algHS256, method: methods[algHS256], root: r}}
}

// HS256 makes a key for HMAC-SHA-256 (RFC 7518 section 3.2) from at least 32 raw bytes that other
// implementations may share. No other keys can be derived from it: see [FromSecret].
func HS256(id string, secret []byte) Key { return NewKey(id, algHS256, secret) }

// NewKey makes a key for one algorithm: HS256, HS384, HS512, EdDSA (Ed25519), ES256, ES384, PS256 or
// RS256. Material is
//   - for HS*, a []byte of at least the hash's length (RFC 7518 section 3.2);
//   - for the others a private key (ed25519.PrivateKey, *ecdsa.PrivateKey, *rsa.PrivateKey; for EdDSA any
//     crypto.Signer that is safe for concurrent use), or a public key, which accepts and cannot sign.
//
// The id goes into every token as its kid: 1 to 64 of A-Z a-z 0-9 . _ -.
//
// RSA needs 3072 bits (see [Key.AllowRSA2048]). A public key in any form as an HMAC secret is refused:
// everybody knows it.
func NewKey(id, alg string, material any) Key {
	if err := checkID(id); err != nil {
		return badKey(id, alg, "%w", err)
	}
	return newKey(id, alg, material)
}

// newKey is NewKey for ids that were checked elsewhere, by the rules of a foreign key set.
func newKey(id, alg string, material any) Key {
	method, ok := methods[alg]
	if !ok {
		return badKey(id, alg, "got algorithm %.16q, expected one of HS256, HS384, HS512, EdDSA, ES256, ES384, PS256, RS256", alg)
	}
	k := &key{id: id, alg: alg, method: method, halves: new(halves)}
	if err := k.load(material); err != nil {
		return badKey(id, alg, "%s: %w", alg, err)
	}
	return Key{k}
}
