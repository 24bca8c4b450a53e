package tokens

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/golang-jwt/jwt/v5"
)

const (
	minRSABits     = 2048  // RFC 7518 section 3.3
	strongRSABits  = 3072  // ASVS 5.0 V11.2.3
	maxRSABits     = 8192  // a verification that costs more is an attack, not a key
	minRSAExponent = 65537 // FIPS 186-5 section 5.1
)

// load checks that material fits the key's algorithm, and copies it: what the caller does to its own
// value later must not change a key that was checked.
func (k *key) load(material any) error {
	switch k.alg {
	case algHS256, algHS384, algHS512:
		return k.loadHMAC(material)
	case algEdDSA:
		return k.loadEd25519(material)
	case algES256:
		return k.loadECDSA(material, elliptic.P256())
	case algES384:
		return k.loadECDSA(material, elliptic.P384())
	default:
		return k.loadRSA(material)
	}
}

func (k *key) loadHMAC(material any) error {
	secret, ok := material.([]byte)
	if !ok {
		return fmt.Errorf("got %T, expected []byte", material)
	}
	if err := checkSecret(secret, k.method.(*jwt.SigningMethodHMAC).Hash.Size()); err != nil {
		return err
	}
	secret = bytes.Clone(secret)
	k.public, k.private = secret, secret
	return nil
}

func (k *key) loadEd25519(material any) error {
	switch m := material.(type) {
	case ed25519.PrivateKey:
		if len(m) != ed25519.PrivateKeySize {
			return fmt.Errorf("got a private key of %d bytes, expected %d", len(m), ed25519.PrivateKeySize)
		}
		// Signing hashes the public half in (RFC 8032 section 5.1.6): with another key's, two signatures
		// give the private half away.
		own := ed25519.NewKeyFromSeed(m.Seed())
		if !own.Equal(m) {
			return errors.New("the private key does not belong to its public half")
		}
		k.private, k.public = own, own.Public()
		return nil
	case ed25519.PublicKey:
		if len(m) != ed25519.PublicKeySize {
			return fmt.Errorf("got a public key of %d bytes, expected %d", len(m), ed25519.PublicKeySize)
		}
		k.public = slices.Clone(m)
		return nil
	case *ecdsa.PrivateKey, *rsa.PrivateKey, *ed25519.PrivateKey:
	case crypto.Signer:
		public, ok := m.Public().(ed25519.PublicKey)
		if !ok || len(public) != ed25519.PublicKeySize {
			return fmt.Errorf("got a signer (%T) of another kind, expected one for Ed25519", material)
		}
		k.private, k.public = m, slices.Clone(public)
		return nil
	}
	return fmt.Errorf("got %T, expected an ed25519.PrivateKey or PublicKey, or a crypto.Signer for Ed25519", material)
}

func (k *key) loadECDSA(material any, curve elliptic.Curve) error {
	switch m := material.(type) {
	case *ecdsa.PrivateKey:
		//lint:ignore SA1019 a half-empty key makes the methods of the key panic
		if m == nil || m.Curve != curve || m.D == nil || m.X == nil || m.Y == nil {
			return fmt.Errorf("got another key, expected one on %s", curve.Params().Name)
		}
		d, err := m.Bytes()
		if err != nil {
			return errors.New("the private key is not one of its curve")
		}
		own, err := ecdsa.ParseRawPrivateKey(curve, d)
		if err != nil || !own.PublicKey.Equal(&m.PublicKey) {
			return errors.New("the private key does not belong to its public half")
		}
		k.private, k.public = own, &own.PublicKey
		return nil
	case *ecdsa.PublicKey:
		//lint:ignore SA1019 a half-empty key makes the methods of the key panic
		if m == nil || m.Curve != curve || m.X == nil || m.Y == nil {
			return fmt.Errorf("got another key, expected one on %s", curve.Params().Name)
		}
		point, err := m.Bytes()
		if err != nil {
			return errors.New("the public key is not a point of its curve")
		}
		own, err := ecdsa.ParseUncompressedPublicKey(curve, point)
		if err != nil {
			return errors.New("the public key is not a point of its curve")
		}
		k.public = own
		return nil
	}
	return fmt.Errorf("got %T, expected *ecdsa.PrivateKey or *ecdsa.PublicKey (golang-jwt signs with no other)", material)
}

func (k *key) loadRSA(material any) error {
	switch m := material.(type) {
	case *rsa.PrivateKey:
		if m == nil || len(m.Primes) != 2 {
			return errors.New("expected a private key of two primes")
		}
		own, err := rsaPrivate(&m.PublicKey, m.D, m.Primes[0], m.Primes[1])
		if err != nil {
			return err
		}
		k.private, k.public, k.bits = own, &own.PublicKey, own.N.BitLen()
		return nil
	case *rsa.PublicKey:
		own, err := rsaPublic(m)
		if err != nil {
			return err
		}
		k.public, k.bits = own, own.N.BitLen()
		return nil
	}
	return fmt.Errorf("got %T, expected *rsa.PrivateKey or *rsa.PublicKey (golang-jwt signs with no other)", material)
}

// rsaPublic returns a checked copy. A modulus under 3072 bits passes: [Key.problem] judges it, because
// AllowRSA2048 is called after the key is made.
func rsaPublic(m *rsa.PublicKey) (*rsa.PublicKey, error) {
	if m == nil || m.N == nil {
		return nil, errors.New("an RSA key without a modulus")
	}
	if n := m.N.BitLen(); n < minRSABits || n > maxRSABits || m.N.Sign() < 0 || m.N.Bit(0) == 0 {
		return nil, fmt.Errorf("got RSA of %d bits, expected an odd modulus of %d to %d", n, minRSABits, maxRSABits)
	}
	if m.E < minRSAExponent || m.E > 1<<31-1 || m.E%2 == 0 {
		return nil, fmt.Errorf("got an RSA exponent of %d, expected an odd one from %d", m.E, minRSAExponent)
	}
	return &rsa.PublicKey{N: new(big.Int).Set(m.N), E: m.E}, nil
}

func rsaPrivate(m *rsa.PublicKey, d, p, q *big.Int) (*rsa.PrivateKey, error) {
	public, err := rsaPublic(m)
	if err != nil {
		return nil, err
	}
	for _, n := range []*big.Int{d, p, q} {
		if n == nil || n.Sign() <= 0 || n.BitLen() > public.N.BitLen() {
			return nil, errors.New("an RSA key whose private part does not fit its public half")
		}
	}
	own := &rsa.PrivateKey{PublicKey: *public, D: new(big.Int).Set(d), Primes: []*big.Int{new(big.Int).Set(p), new(big.Int).Set(q)}}
	own.Precompute()
	if own.Validate() != nil { // its words may hold numbers of the key
		return nil, errors.New("an RSA key whose private part does not fit its public half")
	}
	return own, nil
}

// wellKnown are secrets that examples show and people keep. Those under 32 bytes need no mention.
var wellKnown = []string{
	"a-string-secret-at-least-256-bits-long",                                  // jwt.io
	"a-valid-string-secret-that-is-at-least-384-bits-long",                    // jwt.io
	"a-valid-string-secret-that-is-at-least-512-bits-long-which-is-very-long", // jwt.io
	"09d25e094faa6ca2556c818166b7a9563b93f7099f6f0f4caa6cf63b88e8d3e7",        // FastAPI's tutorial
}

// minDistinct is how many different bytes a secret has at least. 32 random bytes have fewer with a
// probability under 2^-100; keys of one repeated byte and other fillers have fewer for certain.
const minDistinct = 8

// checkSecret refuses secrets that somebody could guess. Its errors never show the secret.
func checkSecret(secret []byte, atLeast int) error {
	if len(secret) < atLeast {
		return fmt.Errorf("got a secret of %d bytes, expected %d or more of random data", len(secret), atLeast)
	}
	if slices.Contains(wellKnown, strings.TrimSpace(string(secret))) {
		return errors.New("the secret is one that documentation shows; make one with GenerateSecret")
	}
	var seen [256]bool
	distinct := 0
	for _, b := range secret {
		if !seen[b] {
			seen[b] = true
			distinct++
		}
	}
	if distinct < minDistinct || repeats(secret) {
		return errors.New("the secret repeats itself; make one with GenerateSecret")
	}
	if looksLikeKey(secret) {
		return errors.New("the secret is a key of another algorithm, and public keys are no secrets; use ParseKeys")
	}
	return nil
}

// repeats says whether the secret is one unit over and over ("changeme-changeme-changeme-…").
func repeats(secret []byte) bool {
	for n := 1; n <= len(secret)/2; n++ {
		if bytes.Equal(secret[n:], secret[:len(secret)-n]) {
			return true
		}
	}
	return false
}

// looksLikeKey finds a PEM, DER, SSH or JWK key among would-be secrets. HMAC with a public key as the
// secret is the classic forgery (RFC 8725 section 2.1): everybody has the key.
func looksLikeKey(b []byte) bool {
	t := bytes.TrimSpace(b)
	if bytes.HasPrefix(t, []byte("-----BEGIN")) || bytes.HasPrefix(t, []byte("ssh-")) || bytes.HasPrefix(t, []byte("ecdsa-sha2-")) {
		return true
	}
	if len(t) > 0 && t[0] == '{' {
		var jwk struct {
			Type string           `json:"kty"`
			Keys []map[string]any `json:"keys"`
		}
		if json.Unmarshal(t, &jwk) == nil && (jwk.Type != "" || len(jwk.Keys) > 0) {
			return true
		}
	}
	if isDER(b) {
		return true
	}
	// The body of a PEM file without its first and last line.
	body := bytes.Join(bytes.Fields(t), nil)
	for _, enc := range []*base64.Encoding{base64.StdEncoding, base64.RawStdEncoding, base64.URLEncoding, base64.RawURLEncoding} {
		if der, err := enc.DecodeString(string(body)); err == nil && isDER(der) {
			return true
		}
	}
	return false
}

func isDER(b []byte) bool {
	if len(b) == 0 || b[0] != 0x30 { // all of them are an ASN.1 SEQUENCE
		return false
	}
	parsers := []func([]byte) error{
		func(b []byte) error { _, err := x509.ParsePKIXPublicKey(b); return err },
		func(b []byte) error { _, err := x509.ParsePKCS1PublicKey(b); return err },
		func(b []byte) error { _, err := x509.ParsePKCS8PrivateKey(b); return err },
		func(b []byte) error { _, err := x509.ParsePKCS1PrivateKey(b); return err },
		func(b []byte) error { _, err := x509.ParseECPrivateKey(b); return err },
		func(b []byte) error { _, err := x509.ParseCertificate(b); return err },
	}
	return slices.ContainsFunc(parsers, func(parse func([]byte) error) bool { return parse(b) == nil })
}
