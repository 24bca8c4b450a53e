//lint:file-ignore SA1019 the tests build keys that are broken

package tokens_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/internal/derive"
	"github.com/doorward/doorward/tokens"
)

// Slow to make, so made once.
var (
	rsa2048 = sync.OnceValue(func() *rsa.PrivateKey { return must(rsa.GenerateKey(rand.Reader, 2048)) })
	rsa3072 = sync.OnceValue(func() *rsa.PrivateKey { return must(rsa.GenerateKey(rand.Reader, 3072)) })
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

var rootSecret = []byte("vK2pX9-root-secret-for-tests-0a7Qe4")

// There is no way to a key whose algorithm is none, or one that the kit does not know.
func TestSTD_T04_NoKeyForNone(t *testing.T) {
	for _, alg := range []string{"none", "None", "NONE", "noNE", "none ", " none", "none\x00", "", "nοne", "HS1", "ES512", "RS512", "Ed25519", "hs256"} {
		t.Run(fmt.Sprintf("%q", alg), func(t *testing.T) {
			for _, material := range []any{nil, []byte{}, distinct(64), ed25519.PublicKey(distinct(32))} {
				wantBad(t, tokens.NewKey("k", alg, material), "got algorithm", nil)
			}
			if _, err := tokens.GenerateKey(alg); err == nil {
				t.Error("GenerateKey made one")
			}
			if _, err := tokens.ParseKeys([]byte(`{"kty":"oct","kid":"k","k":"`+b64(string(distinct(32)))+`"}`), alg); err == nil {
				t.Error("ParseKeys took the algorithm")
			}
			if _, err := tokens.ParseKeys([]byte(`{"kty":"oct","kid":"k","alg":"` + strings.Trim(alg, "\x00") + `x","k":"` + b64(string(distinct(32))) + `"}`)); err == nil {
				t.Error("ParseKeys took a JWK of it")
			}
			if _, err := tokens.NewRemoteKeyring(tokens.RemoteConfig{URL: "https://id.example.com/", Algorithms: []string{alg}}); err == nil {
				t.Error("NewRemoteKeyring took it")
			}
		})
	}
}

// RSA under 2048 bits is never taken, under 3072 only by name.
func TestSTD_T06_RSASize(t *testing.T) {
	modulus := func(bits int) *rsa.PublicKey { // odd and of the right size; whether it has two primes nobody can see
		n := new(big.Int).Lsh(big.NewInt(1), uint(bits-1))
		return &rsa.PublicKey{N: n.SetBit(n, 0, 1), E: 65537}
	}
	for _, alg := range []string{"RS256", "PS256"} {
		for _, c := range []struct {
			name  string
			key   tokens.Key
			words string
		}{
			{"1024", tokens.NewKey("k", alg, modulus(1024)), "expected an odd modulus of 2048"},
			{"1024 with AllowRSA2048", tokens.NewKey("k", alg, modulus(1024)).AllowRSA2048(), "expected an odd modulus of 2048"},
			{"2047 with AllowRSA2048", tokens.NewKey("k", alg, modulus(2047)).AllowRSA2048(), "expected an odd modulus of 2048"},
			{"2048", tokens.NewKey("k", alg, modulus(2048)), "AllowRSA2048"},
			{"3071", tokens.NewKey("k", alg, modulus(3071)), "AllowRSA2048"},
			{"2048 private", tokens.NewKey("k", alg, rsa2048()), "AllowRSA2048"},
			{"8193", tokens.NewKey("k", alg, modulus(8193)), "to 8192"},
			{"an exponent of 1", tokens.NewKey("k", alg, &rsa.PublicKey{N: modulus(3072).N, E: 1}), "exponent"},
			{"an exponent of 3", tokens.NewKey("k", alg, &rsa.PublicKey{N: modulus(3072).N, E: 3}), "exponent"},
			{"an even exponent", tokens.NewKey("k", alg, &rsa.PublicKey{N: modulus(3072).N, E: 65538}), "exponent"},
			{"an even modulus", tokens.NewKey("k", alg, &rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), 3071), E: 65537}), "odd modulus"},
			{"no modulus", tokens.NewKey("k", alg, &rsa.PublicKey{E: 65537}), "without a modulus"},
		} {
			t.Run(alg+" "+c.name, func(t *testing.T) { wantBad(t, c.key, c.words, nil) })
		}
		for name, key := range map[string]tokens.Key{
			"2048 allowed":         tokens.NewKey("k", alg, modulus(2048)).AllowRSA2048(),
			"2048 private allowed": tokens.NewKey("k", alg, rsa2048()).AllowRSA2048(),
			"3072":                 tokens.NewKey("k", alg, modulus(3072)),
		} {
			if why := whyBad(key); why != "" {
				t.Errorf("%s %s: %s", alg, name, why)
			}
		}
	}
}

// A key whose material is of another type, size or curve, or is nil, is refused without a panic.
func TestKeyMaterialThatDoesNotFit(t *testing.T) {
	p256, p384 := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)), must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader))
	_, ed, _ := ed25519.GenerateKey(nil)
	_, other, _ := ed25519.GenerateKey(nil)
	stranger := *p256
	stranger.PublicKey = must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)).PublicKey
	off := ecdsa.PublicKey{Curve: elliptic.P256(), X: big.NewInt(1), Y: big.NewInt(1)}
	mixed := *rsa3072()
	mixed.PublicKey.N = new(big.Int).Add(mixed.N, big.NewInt(2))
	for _, c := range []struct {
		name, alg string
		material  any
	}{
		{"nil", "HS256", nil}, {"nil", "EdDSA", nil}, {"nil", "ES256", nil}, {"nil", "RS256", nil},
		{"typed nil", "ES256", (*ecdsa.PrivateKey)(nil)}, {"typed nil public", "ES256", (*ecdsa.PublicKey)(nil)},
		{"typed nil", "RS256", (*rsa.PrivateKey)(nil)}, {"typed nil public", "PS256", (*rsa.PublicKey)(nil)},
		{"typed nil", "EdDSA", (*ed25519.PrivateKey)(nil)}, {"typed nil RSA", "EdDSA", (*rsa.PrivateKey)(nil)},
		{"zero", "ES256", &ecdsa.PrivateKey{}}, {"zero public", "ES256", &ecdsa.PublicKey{}}, {"zero", "RS256", &rsa.PrivateKey{}},
		{"curve alone", "ES256", &ecdsa.PrivateKey{PublicKey: ecdsa.PublicKey{Curve: elliptic.P256()}}},
		{"P-384", "ES256", p384}, {"P-256", "ES384", p256}, {"P-384 public", "ES256", &p384.PublicKey},
		{"a point off the curve", "ES256", &off}, {"halves of two keys", "ES256", &stranger},
		{"short", "EdDSA", ed[:63]}, {"shorter than a seed", "EdDSA", make(ed25519.PrivateKey, 10)}, {"short public", "EdDSA", ed25519.PublicKey(ed[:31])}, {"bytes", "EdDSA", []byte(ed)},
		{"halves of two keys", "EdDSA", ed25519.PrivateKey(append(ed.Seed(), other[32:]...))},
		{"an EC key", "EdDSA", p256}, {"an EC signer", "EdDSA", opaque{p256}}, {"Ed25519", "ES256", ed},
		{"an EC signer", "ES256", opaque{p256}}, {"an RSA signer", "PS256", opaque{rsa3072()}},
		{"an EC key", "RS256", p256}, {"value", "ES256", *p256}, {"bytes", "RS256", distinct(64)},
		{"halves of two keys", "RS256", &mixed}, {"no primes", "RS256", &rsa.PrivateKey{PublicKey: rsa3072().PublicKey, D: rsa3072().D}},
	} {
		t.Run(c.alg+" "+c.name, func(t *testing.T) { wantBad(t, tokens.NewKey("k", c.alg, c.material), c.alg, nil) })
	}
}

// opaque hides what a signer is, as a key service does.
type opaque struct{ crypto.Signer }

func TestKeyIDs(t *testing.T) {
	for _, id := range []string{"", strings.Repeat("x", 65), "../../dev/null", "a b", "a\n", "ä", "a\x00", "a:b", "' OR 1", "*"} {
		wantBad(t, tokens.HS256(id, rawKey), "id", nil)
	}
	for _, id := range []string{"a", "2026-11", "A.b_c-9", strings.Repeat("x", 64)} {
		if why := whyBad(tokens.HS256(id, rawKey)); why != "" {
			t.Error(why)
		}
	}
}

// A key is what it was when it was checked, whatever happens to the value it was made from.
func TestKeyIsACopy(t *testing.T) {
	secret, root := bytes.Clone(rawKey), bytes.Clone(rootSecret)
	_, ed, _ := ed25519.GenerateKey(nil)
	ec := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	r := *rsa3072()
	r.N, r.D = new(big.Int).Set(r.N), new(big.Int).Set(r.D)
	for _, c := range []struct {
		name  string
		key   tokens.Key
		spoil func()
	}{
		{"HMAC", tokens.HS256("k", secret), func() { clear(secret) }},
		{"root", tokens.FromSecret(root), func() { clear(root) }},
		{"EdDSA", tokens.NewKey("k", "EdDSA", ed), func() { clear(ed) }},
		{"ES256", tokens.NewKey("k", "ES256", ec), func() { ec.D.SetInt64(1); ec.X.SetInt64(1) }},
		{"RS256", tokens.NewKey("k", "RS256", &r), func() { r.N.SetInt64(15); r.D.SetInt64(1) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := must(tokens.SignWith(c.key, "text", "access", issuer))
			c.spoil()
			if err := tokens.VerifyWith(c.key, "text", before, "access", issuer); err != nil {
				t.Errorf("its own signature is refused: %v", err)
			}
			after := must(tokens.SignWith(c.key, "text", "access", issuer))
			if err := tokens.VerifyWith(c.key, "text", after, "access", issuer); err != nil {
				t.Errorf("it signs something else: %v", err)
			}
			if c.name != "root" {
				return
			}
			// A use that was not derived before.
			if got := must(tokens.SignWith(c.key, "text", "other", issuer)); !bytes.Equal(got, must(tokens.SignWith(tokens.FromSecret(rootSecret), "text", "other", issuer))) {
				t.Error("it derives from something else")
			}
		})
	}
}

func TestSTD_V07_ATK_I05_KeysAreMasked(t *testing.T) {
	type config struct {
		Name   string
		Key    tokens.Key
		hidden tokens.Key // package fmt prints it without asking its methods
		Ring   *tokens.Keyring
		ring   *tokens.Keyring
	}
	secret := []byte("Zq8-mask-me-Zq8-Tn4wRb7yLk2sVd9u")
	secrets := []string{string(secret), fmt.Sprintf("%x", secret), fmt.Sprint(secret), fmt.Sprintf("%v", []byte(secret)), b64(string(secret)), "Zq8", "5a7138"}
	for name, k := range map[string]tokens.Key{"root": tokens.FromSecret(secret), "HMAC": tokens.HS256("k", secret)} {
		ring := tokens.NewKeyring(k)
		if err := tokens.RingErr(ring); err != nil {
			t.Fatal(err)
		}
		_, _, _ = ring.Derive("", issuer, "csrf")
		c := config{"c", k, k, ring, ring}
		for _, v := range []any{k, &k, []tokens.Key{k}, map[string]tokens.Key{"k": k}, ring, c, &c} {
			var out strings.Builder
			for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
				fmt.Fprintf(&out, verb+"\n", v)
			}
			_ = json.NewEncoder(&out).Encode(v)
			slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "v", v)
			slog.New(slog.NewTextHandler(&out, nil)).Info("x", "v", v)
			for _, s := range secrets {
				if strings.Contains(out.String(), s) {
					t.Errorf("%s: %T shows %q in %s", name, v, s, out.String())
				}
			}
		}
		if got := fmt.Sprintf("%v %+v %#v %s", k, k, k, ring); got != "[key] [key] [key] [keyring]" {
			t.Errorf("got %s", got)
		}
	}
}

// A key signs and is accepted inside its window only.
func TestATK_J22_Window(t *testing.T) {
	k := tokens.HS256("k1", rawKey)
	for _, c := range []struct {
		name        string
		from, until time.Time
		ok          bool
	}{
		{"open", time.Time{}, time.Time{}, true},
		{"not yet active", noon.Add(time.Second), time.Time{}, false},
		{"active from now", noon, time.Time{}, true},
		{"retired now", time.Time{}, noon, false},
		{"retired in a second", time.Time{}, noon.Add(time.Second), true},
		{"both", noon.Add(-time.Second), noon.Add(time.Second), true},
	} {
		t.Run(c.name, func(t *testing.T) {
			tok, _ := setup(t, func(conf *tokens.Config) { conf.Keys = tokens.NewKeyring(k.During(c.from, c.until)) })
			good := forge(goodHeader, claimsWith())
			_, err := tok.Verify(t.Context(), good)
			if (err == nil) != c.ok {
				t.Errorf("verified with %v", err)
			}
			stamp := must(tok.Stamp(t.Context()))
			if _, _, err := tok.Issue(stamp, &auth.Principal{Subject: "ann"}); (err == nil) != c.ok {
				t.Errorf("issued with %v", err)
			}
		})
	}
	t.Run("retired while its tokens are remembered", func(t *testing.T) {
		tok, clk := setup(t, func(conf *tokens.Config) { conf.Keys = tokens.NewKeyring(k.During(time.Time{}, noon.Add(time.Minute))) })
		raw := issue(t, tok, auth.Principal{Subject: "ann"})
		accepted(t, tok, raw)
		clk.t = noon.Add(time.Minute)
		refused(t, tok, raw, tokens.ErrSignature)
	})
	t.Run("verify-only", func(t *testing.T) {
		_, ed, _ := ed25519.GenerateKey(nil)
		wantWords(t, tokens.RingErr(tokens.NewKeyring(tokens.NewKey("k", "EdDSA", ed.Public()))), "cannot sign")
		if _, err := tokens.SignWith(tokens.NewKey("k", "EdDSA", ed.Public()), "x", "access", issuer); err == nil {
			t.Error("a public key signed")
		}
	})
	wantBad(t, k.During(noon, noon), "never open", nil)
	wantBad(t, k.During(noon, noon.Add(-1)), "never open", nil)
}

func wantWords(t *testing.T, err error, words string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), words) {
		t.Errorf("got %v, expected words like %q", err, words)
	}
}

// PROTOCOLS 1, ATK-J21: the keys of one secret differ by use and by issuer, and are those of RFC 5869.
func TestFromSecretDerives(t *testing.T) {
	k := tokens.FromSecret(rootSecret)
	sig := must(tokens.SignWith(k, "text", "access", issuer))
	for name, err := range map[string]error{
		"another use":    tokens.VerifyWith(k, "text", sig, "one-time", issuer),
		"another issuer": tokens.VerifyWith(k, "text", sig, "access", "https://staging.example.com"),
		"the raw secret": tokens.VerifyWith(tokens.HS256("k", rootSecret), "text", sig, "access", issuer),
	} {
		if err == nil {
			t.Errorf("%s verifies", name)
		}
	}
	mac := func(key, text []byte) []byte {
		m := hmac.New(sha256.New, key)
		m.Write(text)
		return m.Sum(nil)
	}
	// HKDF with one block of output, by hand.
	hkdf := func(salt, info string) []byte { return mac(mac([]byte(salt), rootSecret), append([]byte(info), 1)) }
	if want := mac(hkdf(issuer, "doorward access"), []byte("text")); !bytes.Equal(sig, want) {
		t.Error("the access key is not HKDF-SHA-256(secret, issuer, \"doorward access\")")
	}
	if want := b64(string(hkdf("", "doorward kid")[:6])); k.ID() != want {
		t.Errorf("got the id %q, expected %q", k.ID(), want)
	}
	if _, key, err := tokens.NewKeyring(k).Derive("", issuer, "csrf"); err != nil || !bytes.Equal(key, hkdf(issuer, "doorward app/csrf")) {
		t.Errorf("the application's key is not HKDF-SHA-256(secret, issuer, \"doorward app/csrf\"): %v", err)
	}
	if _, key, err := derive.Key(tokens.NewKeyring(k), "", issuer, derive.CSRF); err != nil || !bytes.Equal(key, hkdf(issuer, "doorward csrf")) {
		t.Errorf("the csrf key is not HKDF-SHA-256(secret, issuer, \"doorward csrf\"): %v", err)
	}
	if other := tokens.FromSecret(append(bytes.Clone(rootSecret), '!')); other.ID() == k.ID() {
		t.Error("two secrets have one id")
	}
}

// A signer outside the process can serve EdDSA, the only algorithm for which golang-jwt takes one.
func TestOpaqueSigner(t *testing.T) {
	_, ed, _ := ed25519.GenerateKey(nil)
	k := tokens.NewKey("kms", "EdDSA", opaque{ed})
	tok, _ := setup(t, func(c *tokens.Config) { c.Keys = tokens.NewKeyring(k) })
	if p := accepted(t, tok, issue(t, tok, auth.Principal{Subject: "ann"})); p.Subject != "ann" {
		t.Errorf("got %+v", p)
	}
	failing := tokens.NewKey("kms", "EdDSA", broken{ed})
	if _, err := tokens.SignWith(failing, "x", "access", issuer); !errors.Is(err, errKMS) {
		t.Errorf("got %v", err)
	}
}

var errKMS = errors.New("key service: timeout")

type broken struct{ ed25519.PrivateKey }

func (b broken) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) { return nil, errKMS }

func TestGenerate(t *testing.T) {
	seen := map[string]bool{}
	for _, alg := range []string{"HS256", "HS384", "HS512", "EdDSA", "ES256", "ES384", "PS256", "RS256"} {
		for range 2 {
			k, err := tokens.GenerateKey(alg)
			if err != nil {
				t.Fatal(err)
			}
			if k.Algorithm() != alg || seen[k.ID()] || whyBad(k) != "" {
				t.Errorf("%s: got id %q for %s, %s", alg, k.ID(), k.Algorithm(), whyBad(k))
			}
			seen[k.ID()] = true
			if err := tokens.VerifyWith(k, "x", must(tokens.SignWith(k, "x", "access", issuer)), "access", issuer); err != nil {
				t.Error(err)
			}
		}
	}
	a, b := tokens.GenerateSecret(), tokens.GenerateSecret()
	if a == b || len(a) != 43 || whyBad(tokens.FromSecret([]byte(a))) != "" {
		t.Errorf("got secrets of %d characters", len(a))
	}
	if (tokens.Key{}).ID() != "" || (tokens.Key{}).Algorithm() != "" {
		t.Error("a zero key has a name")
	}
	wantBad(t, tokens.Key{}, "zero Key", nil)
	wantBad(t, tokens.Key{}.During(noon, noon).AllowRSA2048(), "zero Key", nil)
}
