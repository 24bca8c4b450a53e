package tokens_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/asn1"
	"math/big"
	"testing"

	"github.com/doorward/doorward/tokens"
)

// One key for each algorithm, its id being the algorithm.
func oneOfEach(t testing.TB) []tokens.Key {
	t.Helper()
	_, ed, _ := ed25519.GenerateKey(nil)
	keys := []tokens.Key{
		tokens.NewKey("EdDSA", "EdDSA", ed),
		tokens.NewKey("ES256", "ES256", must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))),
		tokens.NewKey("ES384", "ES384", must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader))),
		tokens.NewKey("RS256", "RS256", rsa3072()),
		tokens.NewKey("PS256", "PS256", rsa3072()),
		tokens.NewKey("HS256", "HS256", distinct(64)),
		tokens.NewKey("HS384", "HS384", distinct(64)),
		tokens.NewKey("HS512", "HS512", distinct(64)),
	}
	for _, k := range keys {
		if why := whyBad(k); why != "" {
			t.Fatal(why)
		}
	}
	return keys
}

// STD-T02: with one RSA key, one HMAC secret, a signature of another algorithm of the family is refused.
func TestATK_J04_J06_OtherSignatures(t *testing.T) {
	keys := oneOfEach(t)
	for _, k := range keys {
		sig := must(tokens.SignWith(k, "text", "access", issuer))
		if err := tokens.VerifyWith(k, "text", sig, "access", issuer); err != nil {
			t.Fatalf("%s: %v", k.ID(), err)
		}
		for name, bad := range map[string][]byte{
			"nil": nil, "empty": {}, "truncated": sig[:len(sig)-1], "first byte missing": sig[1:], "doubled": append(bytes.Clone(sig), sig...),
			"trailing zero": append(bytes.Clone(sig), 0), "leading zero": append([]byte{0}, sig...), "zeros": make([]byte, len(sig)),
			"of another text": must(tokens.SignWith(k, "texT", "access", issuer)),
		} {
			if err := tokens.VerifyWith(k, "text", bad, "access", issuer); err == nil {
				t.Errorf("ATK-J06: %s took a signature: %s", k.ID(), name)
			}
		}
		for i := range sig {
			bad := bytes.Clone(sig)
			bad[i] ^= 0x40
			if err := tokens.VerifyWith(k, "text", bad, "access", issuer); err == nil {
				t.Errorf("ATK-J06: %s took a signature with byte %d changed", k.ID(), i)
			}
		}
		for _, other := range keys {
			if other.ID() == k.ID() {
				continue
			}
			if err := tokens.VerifyWith(other, "text", sig, "access", issuer); err == nil {
				t.Errorf("ATK-J04: %s took a signature by %s", other.ID(), k.ID())
			}
		}
	}
}

// STD-T25: an ECDSA signature is r and s, each of the curve's length, 0 < r, s < n.
func TestSTD_T25_ATK_J05_ECDSAForms(t *testing.T) {
	for alg, curve := range map[string]elliptic.Curve{"ES256": elliptic.P256(), "ES384": elliptic.P384()} {
		private := must(ecdsa.GenerateKey(curve, rand.Reader))
		k := tokens.NewKey("k", alg, private)
		good := must(tokens.SignWith(k, "text", "access", issuer))
		size := curve.Params().BitSize / 8
		if len(good) != 2*size {
			t.Errorf("%s: signed %d bytes", alg, len(good))
		}
		n := curve.Params().N
		num := func(i *big.Int) []byte { return i.FillBytes(make([]byte, size)) }
		r, s := new(big.Int).SetBytes(good[:size]), new(big.Int).SetBytes(good[size:])
		zero, one, more := new(big.Int), big.NewInt(1), new(big.Int).Add(n, big.NewInt(1))
		full := new(big.Int).Sub(new(big.Int).Lsh(one, uint(size*8)), one)
		for name, bad := range map[string][]byte{
			"r=s=0": append(num(zero), num(zero)...), "r=0": append(num(zero), num(s)...), "s=0": append(num(r), num(zero)...),
			"r=n": append(num(n), num(s)...), "s=n": append(num(r), num(n)...), "r=s=n": append(num(n), num(n)...),
			"r=n+1": append(num(more), num(s)...), "s=n+1": append(num(r), num(more)...),
			"r=s=1": append(num(one), num(one)...), "all bits": append(num(full), num(full)...),
			"one byte short": good[:2*size-1], "one byte long": append(bytes.Clone(good), 0), "two bytes long": append(append([]byte{0}, good[:size]...), append([]byte{0}, good[size:]...)...),
			"of the other curve's length": make([]byte, 2*(80-size)),
			"DER":                         must(asn1.Marshal(struct{ R, S *big.Int }{r, s})), "swapped": append(num(s), num(r)...),
		} {
			if err := tokens.VerifyWith(k, "text", bad, "access", issuer); err == nil {
				t.Errorf("%s took a signature: %s", alg, name)
			}
		}
		// The twin (r, n-s) holds in ECDSA. Revocation is by jti, so that it is no other token.
		twin := append(num(r), num(new(big.Int).Sub(n, s))...)
		if err := tokens.VerifyWith(k, "text", twin, "access", issuer); err != nil {
			t.Errorf("%s: the twin: %v", alg, err)
		}
	}
}

// RFC 7518 section 3.5: the salt is as long as the hash. golang-jwt's PS256 takes any.
func TestPS256Salt(t *testing.T) {
	k := tokens.NewKey("k", "PS256", rsa3072())
	sum := sha256.Sum256([]byte("text"))
	for _, salt := range []int{0, 20, 31, 33, 64} {
		sig := must(rsa.SignPSS(rand.Reader, rsa3072(), crypto.SHA256, sum[:], &rsa.PSSOptions{SaltLength: salt}))
		if err := tokens.VerifyWith(k, "text", sig, "access", issuer); err == nil {
			t.Errorf("took a salt of %d bytes", salt)
		}
	}
	sig := must(rsa.SignPSS(rand.Reader, rsa3072(), crypto.SHA256, sum[:], &rsa.PSSOptions{SaltLength: 32}))
	if err := tokens.VerifyWith(k, "text", sig, "access", issuer); err != nil {
		t.Error(err)
	}
}
