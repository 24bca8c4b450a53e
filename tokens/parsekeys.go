package tokens

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/go-json-experiment/json"
)

// maxKeyText bounds what is parsed as keys, of a file or of another service.
const maxKeyText = 1 << 20

// defaultAlgs are those that ParseKeys and LoadKeys give to keys unless told otherwise. RSA is missing:
// one RSA key serves two algorithms, and which one it is must be said.
var defaultAlgs = []string{algEdDSA, algES256, algES384, algHS256, algHS384, algHS512}

// GenerateKey makes a fresh key for one of the algorithms of [NewKey]. Its id is the first half of its
// RFC 7638 thumbprint, or random for HS*. RSA keys have 3072 bits. [ExportPrivate] writes it down.
func GenerateKey(alg string) (Key, error) {
	var material any
	var err error
	switch alg {
	case algHS256, algHS384, algHS512:
		secret := make([]byte, map[string]int{algHS256: 32, algHS384: 48, algHS512: 64}[alg])
		_, _ = rand.Read(secret) // never fails (crypto/rand)
		return NewKey("k-"+rand.Text(), alg, secret), nil
	case algEdDSA:
		_, material, err = ed25519.GenerateKey(nil)
	case algES256:
		material, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case algES384:
		material, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case algPS256, algRS256:
		material, err = rsa.GenerateKey(rand.Reader, strongRSABits)
	}
	if err != nil {
		return Key{}, fmt.Errorf("tokens: GenerateKey: %w", err)
	}
	k := thumbprinted(alg, material)
	return k, k.problem()
}

// GenerateSecret returns a fresh secret for [FromSecret]: 32 random bytes in base64url. Keep it out of
// the code, in an environment variable or a file that only the service reads.
func GenerateSecret() string {
	b := make([]byte, 32)
	_, _ = rand.Read(b) // never fails (crypto/rand)
	return b64.EncodeToString(b)
}

// thumbprinted makes a key that is named after itself.
func thumbprinted(alg string, material any) Key {
	k := newKey("unnamed", alg, material)
	if k.k.bad == nil {
		k.k.id = k.k.thumbprint() // nobody else has seen it yet
	}
	return k
}

// LoadKeys reads the keys of a file, such as a Docker or Kubernetes secret under /run/secrets: PEM or a
// JWK set as in [ParseKeys], or plain secrets of printable ASCII, one a line, each for [FromSecret].
// The first key is the one to sign with. White space around a line and empty lines are left out.
// A file of more than 1 MiB is refused.
//
// An error never shows what the file holds.
func LoadKeys(path string, algs ...string) ([]Key, error) {
	text, err := readKeys(path)
	if err != nil {
		return nil, fmt.Errorf("tokens: LoadKeys: %w", err)
	}
	keys, err := parseText(text, algs...)
	if err != nil {
		return nil, fmt.Errorf("tokens: LoadKeys: %s: %w", path, err)
	}
	return keys, nil
}

// readKeys reads one byte more than parseText takes, which then refuses.
func readKeys(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	return io.ReadAll(io.LimitReader(f, maxKeyText+1))
}

// isKeyText tells PEM and JWKS from plain secrets.
func isKeyText(text []byte) bool {
	t := bytes.TrimSpace(text)
	return bytes.HasPrefix(t, []byte("{")) || bytes.Contains(t, []byte("-----BEGIN "))
}

// parseText is what a file and an environment variable have in common.
func parseText(text []byte, algs ...string) ([]Key, error) {
	if len(text) > maxKeyText || isKeyText(text) {
		return ParseKeys(text, algs...)
	}
	allowed, err := checkAlgs(algs)
	if err != nil {
		return nil, err
	}
	if !slices.Contains(allowed, algHS256) {
		return nil, fmt.Errorf("got plain text, which makes keys for HS256, expected keys for %v", algs)
	}
	var keys []Key
	for line := range bytes.Lines(text) {
		line = bytes.TrimSpace(line)
		if len(line) == 0 {
			continue
		}
		// Raw bytes would be cut at each 0x0A, and trimmed: a shorter secret than the one that was made.
		if bytes.ContainsFunc(line, func(r rune) bool { return r < ' ' || r > '~' }) {
			return nil, errors.New("got a secret that is no printable ASCII; write raw bytes in base64")
		}
		k := FromSecret(line)
		if k.k.bad != nil {
			return nil, k.k.bad
		}
		keys = append(keys, k)
	}
	if len(keys) == 0 {
		return nil, errors.New("got no key")
	}
	return keys, nil
}

// ParseKeys reads keys from PEM (PKCS #8, PKCS #1, SEC 1 and PKIX; private or public, any number of blocks),
// from a JWK or from a JWK set (RFC 7517). The first is the one to sign with.
//
// Algs are the algorithms that keys may have: by default EdDSA, ES256, ES384 and HS*. RSA has to be
// named, "RS256" or "PS256"; where an RSA key does not say which, as in PEM, exactly one of the two. An
// RSA key of 2048 to 3071 bits needs [Key.AllowRSA2048] before it can be used.
//
// A key of a set that is not for signatures (use, key_ops) is left out. Anything else that does not fit
// is refused, duplicates too: a key that is silently missing shows itself as a lockout. Keys without an id get
// the first half of their RFC 7638 thumbprint. Errors never show key material.
func ParseKeys(pemOrJWKS []byte, algs ...string) ([]Key, error) {
	allowed, err := checkAlgs(algs)
	if err != nil {
		return nil, err
	}
	if len(pemOrJWKS) > maxKeyText {
		return nil, fmt.Errorf("tokens: ParseKeys: got more than %d bytes", maxKeyText)
	}
	parse := parsePEM
	if bytes.HasPrefix(bytes.TrimSpace(pemOrJWKS), []byte("{")) {
		parse = parseJWKs
	}
	keys, err := parse(pemOrJWKS, allowed)
	if err != nil {
		return nil, fmt.Errorf("tokens: ParseKeys: %w", err)
	}
	if len(keys) == 0 {
		return nil, errors.New("tokens: ParseKeys: got no key for signatures")
	}
	seen := map[string]bool{}
	for _, k := range keys {
		if k.k.bad != nil {
			return nil, k.k.bad
		}
		if seen[k.k.id] {
			return nil, fmt.Errorf("tokens: ParseKeys: two keys have the id %q", k.k.id)
		}
		seen[k.k.id] = true
	}
	return keys, nil
}

func checkAlgs(algs []string) ([]string, error) {
	if len(algs) == 0 {
		return defaultAlgs, nil
	}
	for _, alg := range algs {
		if methods[alg] == nil {
			return nil, fmt.Errorf("tokens: got algorithm %.16q, expected one of HS256, HS384, HS512, EdDSA, ES256, ES384, PS256, RS256", alg)
		}
	}
	return algs, nil
}

func parseJWKs(text []byte, allowed []string) ([]Key, error) {
	set, err := decodeJWKs(text)
	if err != nil {
		return nil, err
	}
	var keys []Key
	for i, j := range set {
		if !j.signs() {
			continue
		}
		alg, err := j.algorithm(allowed)
		if err != nil {
			return nil, fmt.Errorf("key %d: %w", i+1, err)
		}
		material, err := j.material()
		if err != nil {
			return nil, fmt.Errorf("key %d: %w", i+1, err)
		}
		switch {
		case j.Kid != "":
			keys = append(keys, NewKey(j.Kid, alg, material))
		case j.Kty == "oct":
			return nil, fmt.Errorf("key %d: got a secret key without kid", i+1) // its thumbprint would help to guess it
		default:
			keys = append(keys, thumbprinted(alg, material))
		}
	}
	return keys, nil
}

func parsePEM(text []byte, allowed []string) ([]Key, error) {
	var keys []Key
	blocks, rest := 0, text
	for {
		var b *pem.Block
		if b, rest = pem.Decode(rest); b == nil {
			break
		}
		blocks++
		if b.Type == "EC PARAMETERS" { // openssl writes them before an EC key; they are no key
			continue
		}
		material := parseBlock(b)
		if material == nil {
			return nil, fmt.Errorf("PEM block %d: got %.32q, expected an unencrypted PRIVATE KEY, EC PRIVATE KEY, RSA PRIVATE KEY or PUBLIC KEY", blocks, b.Type)
		}
		j := describe(material)
		alg, err := j.algorithm(allowed)
		if err != nil {
			return nil, fmt.Errorf("PEM block %d: %w", blocks, err)
		}
		keys = append(keys, thumbprinted(alg, material))
	}
	// pem.Decode leaps over a damaged block; the key in it may be the one that was to sign.
	if n := bytes.Count(text, []byte("-----BEGIN ")); n != blocks {
		return nil, fmt.Errorf("got %d beginnings of PEM blocks, of which %d are whole", n, blocks)
	}
	return keys, nil
}

// parseBlock returns nil for what it cannot read: the words of x509 add nothing that may be told.
func parseBlock(b *pem.Block) (material any) {
	// x509 reads some forms without a look at what follows them.
	if rest, err := asn1.Unmarshal(b.Bytes, new(asn1.RawValue)); err != nil || len(rest) > 0 {
		return nil
	}
	var err error
	switch b.Type {
	case "PRIVATE KEY":
		material, err = x509.ParsePKCS8PrivateKey(b.Bytes)
	case "EC PRIVATE KEY":
		material, err = x509.ParseECPrivateKey(b.Bytes)
	case "RSA PRIVATE KEY":
		material, err = x509.ParsePKCS1PrivateKey(b.Bytes)
	case "PUBLIC KEY":
		material, err = x509.ParsePKIXPublicKey(b.Bytes)
	case "RSA PUBLIC KEY":
		material, err = x509.ParsePKCS1PublicKey(b.Bytes)
	}
	if err != nil {
		return nil
	}
	return material
}

// describe gives the type and curve of a key in the words of JWK, empty for one of another kind.
func describe(material any) *jwk {
	switch m := material.(type) {
	case ed25519.PrivateKey, ed25519.PublicKey:
		return &jwk{Kty: "OKP", Crv: "Ed25519"}
	case *ecdsa.PrivateKey:
		return &jwk{Kty: "EC", Crv: m.Curve.Params().Name}
	case *ecdsa.PublicKey:
		return &jwk{Kty: "EC", Crv: m.Curve.Params().Name}
	case *rsa.PrivateKey, *rsa.PublicKey:
		return &jwk{Kty: "RSA"}
	}
	return &jwk{}
}

// ExportPrivate returns the keys as a JWK set with their secret parts, which [ParseKeys] reads back (with
// RSA algorithms named). Write it where only the service reads it. What a JWK set cannot say is refused:
// keys of FromSecret, whose form is the secret itself; signers outside the process; windows (During).
func ExportPrivate(keys ...Key) ([]byte, error) {
	set := struct {
		Keys []jwk `json:"keys"`
	}{Keys: []jwk{}}
	for _, k := range keys {
		if err := k.problem(); err != nil {
			return nil, err
		}
		if k.k.windowed() {
			return nil, fmt.Errorf("tokens: key %q: its window (During) would be lost, and the key good for ever", k.k.id)
		}
		j, err := k.k.privateJWK()
		if err != nil {
			return nil, err
		}
		set.Keys = append(set.Keys, j)
	}
	text, err := json.Marshal(set)
	if err != nil {
		return nil, fmt.Errorf("tokens: ExportPrivate: %w", err)
	}
	return append(text, '\n'), nil
}
