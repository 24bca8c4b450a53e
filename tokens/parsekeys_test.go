package tokens_test

import (
	"bytes"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/doorward/doorward/tokens"
)

func pemOf(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

func pkcs8(key any) string { return pemOf("PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(key))) }
func pkix(key any) string  { return pemOf("PUBLIC KEY", must(x509.MarshalPKIXPublicKey(key))) }

// Pieces of keys for JWKs that are nearly right.
const (
	edX = `"x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"`
	edD = `"d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"`
	ecX = `"x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU"`
	ecY = `"y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"`
	ecD = `"d":"jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI"`
	okp = `"kty":"OKP","crv":"Ed25519"`
	ec  = `"kty":"EC","crv":"P-256"`
)

var octK = b64("3f7Kp0Zs9QxW2bVd8LmT5nRc1YhJ6gAe")

func TestKeyTextsThatAreRefused(t *testing.T) {
	_, ed, _ := ed25519.GenerateKey(nil)
	p256 := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	p521 := must(ecdsa.GenerateKey(elliptic.P521(), rand.Reader))
	x25519 := must(ecdh.X25519().GenerateKey(rand.Reader))
	good := pkcs8(ed)
	// What a decoder might quote: the parts of keys that no error may show.
	hidden := []string{octK, edD[5:20], ecD[5:20], "hunter2", "MC4CAQ"}
	oct := func(more string) string { return `{"kty":"oct","kid":"o","k":"` + octK + `"` + more + `}` }
	okpJWK := func(more string) string { return "{" + okp + "," + edX + more + "}" }
	set := func(keys ...string) string { return `{"keys":[` + strings.Join(keys, ",") + `]}` }
	rsaText := pkcs8(rsa3072())
	for _, c := range []struct {
		name, text string
		algs       []string
		words      string
	}{
		{"nothing", "", nil, "no key"},
		{"white space", " \n", nil, "no key"},
		{"an empty set", `{"keys":[]}`, nil, "no key for signatures"},
		{"keys null", `{"keys":null}`, nil, "neither a JWK (kty) nor"},
		{"no JWK", `{"a":1}`, nil, "neither a JWK (kty) nor"},
		{"a JWK and a set", `{"kty":"oct","keys":[]}`, nil, "neither a JWK (kty) nor"},
		{"a list", `[` + oct("") + `]`, nil, "no key"},
		{"more than 1 MiB", `{"keys":[]}` + strings.Repeat(" ", 1<<20), nil, "more than 1048576 bytes"},
		{"10,000 deep", `{"kty":"oct","x5c":` + strings.Repeat("[", 10001) + strings.Repeat("]", 10001) + "}", nil, "strict JSON"},

		{"ATK-J10 a member twice", oct(`,"k":"` + octK + `"`), nil, "strict JSON"},
		{"ATK-J10 an ignored member twice", oct(`,"x5t":"a","x5t":"b"`), nil, "strict JSON"},
		{"ATK-J11 an escaped member twice", oct(`,"\u006bty":"oct"`), nil, "strict JSON"},
		{"ATK-J11 a member in capitals", `{"KTY":"oct","kid":"o","k":"` + octK + `"}`, nil, "neither a JWK (kty) nor"},
		{"ATK-J12 something behind", oct("") + "{}", nil, "strict JSON"},
		{"ATK-J17 invalid UTF-8", oct(",\"x5t\":\"\xff\""), nil, "strict JSON"},
		{"ATK-J17 a BOM", "\xef\xbb\xbf" + oct(""), nil, "no key"},
		{"kty a number", `{"kty":1}`, nil, "strict JSON"},
		{"k a number", `{"kty":"oct","kid":"o","k":12345678}`, nil, "strict JSON"},
		{"k a list with the secret", `{"kty":"oct","kid":"o","k":["hunter2"]}`, nil, "strict JSON"},
		{"kid a number", `{"kty":"oct","kid":7,"k":"` + octK + `"}`, nil, "strict JSON"},
		{"key_ops a text", oct(`,"key_ops":"sign"`), nil, "strict JSON"},

		{"oct without kid", `{"kty":"oct","k":"` + octK + `"}`, nil, "without kid"},
		{"oct without k", `{"kty":"oct","kid":"o"}`, nil, "missing, malformed"},
		{"oct too short", `{"kty":"oct","kid":"o","k":"aHVudGVyMg"}`, nil, "got a secret of 7 bytes"},
		{"oct too short for its alg", oct(`,"alg":"HS512"`), nil, "expected 64"},
		{"oct with a PEM inside", `{"kty":"oct","kid":"o","k":"` + b64(good) + `"}`, nil, "public keys are no secrets"},
		{"base64 padding", `{"kty":"oct","kid":"o","k":"` + octK + `="}`, nil, "missing, malformed"},
		{"base64 with a line end", `{"kty":"oct","kid":"o","k":"` + octK[:8] + `\n` + octK[8:] + `"}`, nil, "missing, malformed"},
		{"base64 of the other alphabet", `{"kty":"oct","kid":"o","k":"` + octK[:8] + `+/` + octK[8:] + `"}`, nil, "missing, malformed"},
		{"base64 with spare bits", "{" + okp + `,"x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURp"}`, nil, "missing, malformed"},
		{"a kid of ours with a path", `{"kty":"oct","kid":"../k","k":"` + octK + `"}`, nil, "A-Z a-z 0-9"},
		{"two keys of one kid", set(oct(""), oct("")), nil, `two keys have the id "o"`},
		{"the same key twice", set(okpJWK(""), okpJWK("")), nil, "two keys have the id"},

		{"alg none", oct(`,"alg":"none"`), nil, "does not fit"},
		{"alg of another family", okpJWK(`,"alg":"HS256"`), nil, "does not fit"},
		{"alg of another curve", "{" + ec + "," + ecX + "," + ecY + `,"alg":"ES384"}`, nil, "does not fit"},
		{"alg that was not asked for", okpJWK(""), []string{"ES256"}, "not asked for"},
		{"HS512 where HS256 was asked for", oct(`,"alg":"HS512"`), []string{"HS256"}, "not asked for"},
		{"an unknown alg asked for", oct(""), []string{"none"}, "got algorithm"},
		{"unknown kty", `{"kty":"AKP","kid":"a"}`, nil, "expected OKP Ed25519"},
		{"kty in other case", `{"kty":"okp","crv":"Ed25519",` + edX + `}`, nil, "expected OKP Ed25519"},
		{"X25519", `{"kty":"OKP","crv":"X25519",` + edX + `}`, nil, "expected OKP Ed25519"},
		{"secp256k1", `{"kty":"EC","crv":"secp256k1",` + ecX + "," + ecY + `}`, nil, "expected OKP Ed25519"},
		{"only encryption keys", set(okpJWK(`,"use":"enc"`), okpJWK(`,"kid":"b","key_ops":["encrypt"]`)), nil, "no key for signatures"},

		{"Ed25519 without x", "{" + okp + "," + edD + "}", nil, "missing, malformed"},
		{"Ed25519 of 31 bytes", "{" + okp + `,"x":"` + b64(strings.Repeat("x", 31)) + `"}`, nil, "missing, malformed"},
		{"Ed25519 of two keys", "{" + okp + "," + edX + `,"d":"` + b64(strings.Repeat("x", 32)) + `"}`, nil, "does not belong"},
		{"EC off the curve", "{" + ec + "," + ecX + `,"y":"` + ecX[5:] + "}", nil, "missing, malformed"},
		{"EC at infinity", "{" + ec + `,"x":"` + b64(strings.Repeat("\x00", 32)) + `","y":"` + b64(strings.Repeat("\x00", 32)) + `"}`, nil, "missing, malformed"},
		{"EC with a short coordinate", "{" + ec + "," + ecX + `,"y":"` + b64(strings.Repeat("x", 31)) + `"}`, nil, "missing, malformed"},
		{"EC with a padded coordinate", "{" + ec + `,"x":"` + b64("\x00"+strings.Repeat("x", 32)) + `",` + ecY + "}", nil, "missing, malformed"},
		{"EC with d = 0", "{" + ec + "," + ecX + "," + ecY + `,"d":"` + b64(strings.Repeat("\x00", 32)) + `"}`, nil, "missing, malformed"},
		{"EC with d > n", "{" + ec + "," + ecX + "," + ecY + `,"d":"` + b64(strings.Repeat("\xff", 32)) + `"}`, nil, "missing, malformed"},
		{"EC of two keys", "{" + ec + "," + ecX + "," + ecY + `,"d":"` + b64(strings.Repeat("x", 32)) + `"}`, nil, "does not belong"},
		{"P-384 in name only", `{"kty":"EC","crv":"P-384",` + ecX + "," + ecY + "}", nil, "missing, malformed"},

		{"RSA not named", rsaText, nil, "not asked for"},
		{"RSA with both named", rsaText, []string{"RS256", "PS256"}, "name one of them only"},
		{"RSA without n", `{"kty":"RSA","e":"AQAB"}`, []string{"RS256"}, "missing, malformed"},
		{"RSA of 1 bit", `{"kty":"RSA","e":"AQAB","n":"AQ"}`, []string{"RS256"}, "expected an odd modulus"},
		{"RSA with a leading zero", `{"kty":"RSA","e":"AQAB","n":"` + b64("\x00"+strings.Repeat("x", 384)) + `"}`, []string{"RS256"}, "missing, malformed"},
		{"RSA with e = 1", `{"kty":"RSA","e":"AQ","n":"` + b64(strings.Repeat("y", 384)) + `"}`, []string{"RS256"}, "exponent"},
		{"RSA with a huge e", `{"kty":"RSA","e":"` + b64(strings.Repeat("y", 9)) + `","n":"` + b64(strings.Repeat("y", 384)) + `"}`, []string{"RS256"}, "missing, malformed"},
		{"RSA of a megabyte", `{"kty":"RSA","e":"AQAB","n":"` + b64(strings.Repeat("y", 1<<19)) + `"}`, []string{"RS256"}, "missing, malformed"},
		{"RSA without primes", `{"kty":"RSA","e":"AQAB","n":"` + b64(strings.Repeat("y", 384)) + `","d":"` + b64(strings.Repeat("y", 384)) + `"}`, []string{"RS256"}, "missing, malformed"},
		{"RSA with primes of another", `{"kty":"RSA","e":"AQAB","n":"` + b64(strings.Repeat("y", 384)) + `","d":"AQAB","p":"AQAB","q":"AQAB"}`, []string{"RS256"}, "does not fit"},
		{"RSA with more primes", `{"kty":"RSA","e":"AQAB","n":"` + b64(strings.Repeat("y", 384)) + `","d":"AQAB","p":"AQAB","q":"AQAB","oth":[]}`, []string{"RS256"}, "missing, malformed"},

		{"PEM cut off", good[:len(good)-12], nil, "of which 0 are whole"},
		{"PEM damaged before a whole one", strings.Replace(good, "M", "!", 1) + pkcs8(p256), nil, "of which 1 are whole"},
		{"PEM cut off behind a whole one", pkcs8(p256) + good[:len(good)-12], nil, "of which 1 are whole"},
		{"the same PEM twice", good + good, nil, "two keys have the id"},
		{"a key beside its public half", good + pkix(ed.Public()), nil, "two keys have the id"},
		{"a certificate", pemOf("CERTIFICATE", []byte{1}), nil, `got "CERTIFICATE"`},
		{"an encrypted key", pemOf("ENCRYPTED PRIVATE KEY", []byte{1}), nil, "unencrypted"},
		{"DER that is none", pemOf("PRIVATE KEY", []byte("hunter2")), nil, "PEM block 1"},
		{"DER with something behind", pemOf("PRIVATE KEY", append(must(x509.MarshalPKCS8PrivateKey(ed)), 0)), nil, "PEM block 1"},
		{"P-521", pkcs8(p521), nil, "expected OKP Ed25519"},
		{"X25519 in PEM", pkcs8(x25519), nil, "expected OKP Ed25519"},
		{"parameters alone", pemOf("EC PARAMETERS", []byte{1}), nil, "no key for signatures"},
		{"PEM that was not asked for", good, []string{"HS256"}, "not asked for"},
	} {
		t.Run(c.name, func(t *testing.T) {
			keys, err := tokens.ParseKeys([]byte(c.text), c.algs...)
			if err == nil || keys != nil || !strings.Contains(err.Error(), c.words) {
				t.Fatalf("got %d keys, %v; expected words like %q", len(keys), err, c.words)
			}
			for _, h := range hidden {
				if strings.Contains(err.Error(), h) {
					t.Errorf("the error shows %q: %v", h, err)
				}
			}
			if len(err.Error()) > 300 {
				t.Errorf("an error of %d bytes", len(err.Error()))
			}
		})
	}
}

func TestKeyTextsThatAreRead(t *testing.T) {
	_, ed, _ := ed25519.GenerateKey(nil)
	p256, p384 := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)), must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader))
	sec1 := pemOf("EC PRIVATE KEY", must(x509.MarshalECPrivateKey(p256)))
	for _, c := range []struct {
		name, text string
		algs       []string
		want       string // algorithms, small where the key cannot sign
	}{
		{"PKCS #8", pkcs8(ed) + pkcs8(p256) + pkcs8(p384), nil, "EdDSA ES256 ES384"},
		{"SEC 1 after its parameters", pemOf("EC PARAMETERS", []byte{6, 8, 42, 134, 72, 206, 61, 3, 1, 7}) + sec1, nil, "ES256"},
		{"PKCS #1", pemOf("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rsa3072())), []string{"PS256"}, "PS256"},
		{"PKCS #1 public", pemOf("RSA PUBLIC KEY", x509.MarshalPKCS1PublicKey(&rsa3072().PublicKey)), []string{"RS256"}, "rs256"},
		{"PKIX", pkix(ed.Public()) + pkix(&p256.PublicKey) + pkix(&rsa3072().PublicKey), []string{"RS256", "EdDSA", "ES256"}, "eddsa es256 rs256"},
		{"CRLF and words around", "Bag Attributes\r\n" + strings.ReplaceAll(pkcs8(ed), "\n", "\r\n") + "\r\nthe end", nil, "EdDSA"},
		{"a JWK", "{" + okp + "," + edX + "," + edD + "}", nil, "EdDSA"},
		{"a public JWK", "{" + ec + "," + ecX + "," + ecY + "}\n", nil, "es256"},
		{"a private EC JWK", "{" + ec + "," + ecX + "," + ecY + "," + ecD + "}", nil, "ES256"},
		{"a set, with what is not for signatures", `{"keys":[{"kty":"RSA","use":"enc","n":"AQ","e":"AQAB"},{` + okp + "," + edX + `,"key_ops":["verify"],"x5c":["a"],"x5t":"b"},` +
			`{"kty":"oct","kid":"o","use":"sig","k":"` + octK + `"}]}`, nil, "eddsa HS256"},
	} {
		t.Run(c.name, func(t *testing.T) {
			keys, err := tokens.ParseKeys([]byte(c.text), c.algs...)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, k := range keys {
				alg := k.Algorithm()
				if _, err := tokens.SignWith(k, "x", "access", issuer); err != nil {
					alg = strings.ToLower(alg)
				}
				got = append(got, alg)
				if why := whyBad(k); why != "" {
					t.Error(why)
				}
			}
			if strings.Join(got, " ") != c.want {
				t.Errorf("got %v, expected %v", got, c.want)
			}
		})
	}
	t.Run("RSA of 2048 bits waits for its permission", func(t *testing.T) {
		keys, err := tokens.ParseKeys([]byte(pkcs8(rsa2048())), "RS256")
		if err != nil || len(keys) != 1 {
			t.Fatal(err)
		}
		if whyBad(keys[0]) == "" || whyBad(keys[0].AllowRSA2048()) != "" {
			t.Errorf("got %q, %q", whyBad(keys[0]), whyBad(keys[0].AllowRSA2048()))
		}
	})
}

func TestExportPrivate(t *testing.T) {
	all := []string{"EdDSA", "ES256", "ES384", "RS256", "PS256", "HS256", "HS384", "HS512"}
	keys := oneOfEach(t)
	_, ed, _ := ed25519.GenerateKey(nil)
	public := tokens.NewKey("public", "EdDSA", ed.Public())
	text, err := tokens.ExportPrivate(append(keys, public)...)
	if err != nil {
		t.Fatal(err)
	}
	if !json.Valid(text) {
		t.Errorf("got %s", text)
	}
	back, err := tokens.ParseKeys(text, all...)
	if err != nil || len(back) != len(keys)+1 {
		t.Fatalf("read back %d keys: %v", len(back), err)
	}
	for i, k := range keys {
		sig := must(tokens.SignWith(back[i], "x", "access", issuer))
		if err := tokens.VerifyWith(k, "x", sig, "access", issuer); err != nil || back[i].ID() != k.ID() || back[i].Algorithm() != k.Algorithm() {
			t.Errorf("%s read back as %s: %v", k.ID(), back[i].ID(), err)
		}
	}
	if again := must(tokens.ExportPrivate(back...)); !bytes.Equal(again, text) {
		t.Error("exported again, it is another text")
	}
	for name, k := range map[string]tokens.Key{
		"from secret": tokens.FromSecret(rootSecret), "signer": tokens.NewKey("k", "EdDSA", opaque{ed}), "zero": {},
		"bad": tokens.HS256("k", nil), "window": keys[0].During(time.Time{}, noon),
	} {
		if text, err := tokens.ExportPrivate(keys[1], k); err == nil || text != nil {
			t.Errorf("%s: got %d bytes", name, len(text))
		}
	}
}

func TestLoadKeys(t *testing.T) {
	dir := t.TempDir()
	file := func(text string) string {
		name := filepath.Join(dir, fmt.Sprintf("%x", time.Now().UnixNano()))
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	one, two := tokens.GenerateSecret(), tokens.GenerateSecret()
	idOf := func(secret string) string { return tokens.FromSecret([]byte(secret)).ID() }
	for _, c := range []struct{ name, text, want string }{
		{"a secret", one, idOf(one)},
		{"with a newline", one + "\n", idOf(one)},
		{"with CRLF", one + "\r\n", idOf(one)},
		{"two, and empty lines", "\n" + one + "\r\n\n  " + two + " \n", idOf(one) + " " + idOf(two)},
		{"a sentence", "the quick brown fox, and 7 lazy dogs\n", idOf("the quick brown fox, and 7 lazy dogs")},
		{"a JWK set", ` {"keys":[{"kty":"oct","kid":"o","k":"` + octK + `"}]}`, "o"},
		{"PEM behind a comment", "# key of 2026\n" + pkcs8(ed25519.NewKeyFromSeed(distinct(32))), tokensID(t, pkcs8(ed25519.NewKeyFromSeed(distinct(32))))},
	} {
		t.Run(c.name, func(t *testing.T) {
			keys, err := tokens.LoadKeys(file(c.text))
			var got []string
			for _, k := range keys {
				got = append(got, k.ID())
			}
			if err != nil || strings.Join(got, " ") != c.want {
				t.Errorf("got %v, %v, expected %s", got, err, c.want)
			}
			fromText, err := tokens.ParseText([]byte(c.text))
			if err != nil || len(fromText) != len(keys) || fromText[0].ID() != keys[0].ID() {
				t.Errorf("as a text it is another: %v", err)
			}
		})
	}
	for _, c := range []struct {
		name, text string
		algs       []string
		words      string
	}{
		{"empty", "", nil, "no key"},
		{"empty lines", "\r\n \n", nil, "no key"},
		{"a short line", one + "\nhunter2\n", nil, "got a secret of 7 bytes"},
		{"raw bytes", one[:20] + "\x00\x80" + one[20:], nil, "printable ASCII"},
		{"a BOM", "\xef\xbb\xbf" + one, nil, "printable ASCII"},
		{"a tab inside", one[:20] + "\t" + one[20:], nil, "printable ASCII"},
		{"more than 1 MiB", strings.Repeat(one+"\n", 1<<15), nil, "more than 1048576 bytes"},
		{"secrets where EdDSA was asked for", one, []string{"EdDSA"}, "HS256"},
		{"an unknown algorithm", one, []string{"none"}, "got algorithm"},
		{"damaged PEM", "-----BEGIN PRIVATE KEY-----\nhunter2\n", nil, "of which 0 are whole"},
		{"damaged JSON", `{"keys":`, nil, "strict JSON"},
	} {
		t.Run("refused: "+c.name, func(t *testing.T) {
			name := file(c.text)
			keys, err := tokens.LoadKeys(name, c.algs...)
			if err == nil || keys != nil || !strings.Contains(err.Error(), c.words) {
				t.Fatalf("got %d keys, %v; expected words like %q", len(keys), err, c.words)
			}
			for _, secret := range []string{one, one[:20], "hunter2"} {
				if strings.Contains(err.Error(), secret) {
					t.Errorf("the error shows the secret: %v", err)
				}
			}
		})
	}
	for _, name := range []string{dir, filepath.Join(dir, "absent"), ""} {
		if _, err := tokens.LoadKeys(name); err == nil {
			t.Errorf("%q was read", name)
		}
	}
}

func tokensID(t *testing.T, text string) string {
	t.Helper()
	keys, err := tokens.ParseKeys([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return keys[0].ID()
}
