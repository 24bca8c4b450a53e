package tokens_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/doorward/doorward/tokens"
)

var allAlgorithms = []string{"EdDSA", "ES256", "ES384", "PS256", "HS256", "HS384", "HS512"}

// No text makes ParseKeys, LoadKeys or the environment panic; what they take are keys that a ring takes, with
// ids a token can carry, and that come back from an export as they are.
func FuzzKeyText(f *testing.F) {
	for _, v := range vectors {
		f.Add([]byte(v.jwk))
		f.Add([]byte(`{"keys":[` + v.jwk + `]}`))
	}
	f.Add(must(tokens.ExportPrivate(oneOfEach(f)...)))
	f.Add([]byte(pkcs8(ed25519.NewKeyFromSeed(distinct(32))) + pkix(&rsa3072().PublicKey)))
	f.Add([]byte(pkcs8(must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader)))))
	f.Add([]byte(tokens.GenerateSecret() + "\r\n" + tokens.GenerateSecret()))
	for _, s := range []string{
		`{"kty":"oct","kid":"o","k":"` + octK + `","k":"AA"}`, `{"keys":[{"kty":"RSA","n":"AQ","e":"AQAB","d":"AQ","p":"AQ","q":"AQ"}]}`,
		`{"kty":"EC","crv":"P-256","x":"","y":""}`, `{"kty":"none"}`, `{"keys":[null]}`, "-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n",
		"{\"kty\":\"oct\",\"k\":\"\xff\"}", strings.Repeat("[", 100), `{"keys":[{}]}{}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		keys, err := tokens.ParseText(text, allAlgorithms...)
		if err != nil {
			if len(err.Error()) > 500 {
				t.Errorf("an error of %d bytes", len(err.Error()))
			}
			return
		}
		var exported []tokens.Key
		for _, k := range keys {
			k = k.AllowRSA2048()
			if why := whyBad(k); why != "" && !strings.Contains(why, "two keys have the id") {
				t.Errorf("a ring refuses what was parsed: %s", why)
			}
			if k.ID() == "" || len(k.ID()) > 64 || !slices.Contains(allAlgorithms, k.Algorithm()) {
				t.Errorf("got %q for %q", k.ID(), k.Algorithm())
			}
			if one, err := tokens.ExportPrivate(k); err == nil {
				again, err := tokens.ParseKeys(one, allAlgorithms...)
				if err != nil || len(again) != 1 || again[0].ID() != k.ID() || again[0].Algorithm() != k.Algorithm() {
					t.Errorf("it does not come back: %v", err)
				}
				exported = append(exported, k)
			}
		}
		if len(exported) == 0 {
			return
		}
		sig, err := tokens.SignWith(exported[0], "x", "access", issuer)
		if err == nil && tokens.VerifyWith(exported[0], "x", sig, "access", issuer) != nil {
			t.Error("it does not verify what it signs")
		}
	})
}

// Whatever another service publishes, a remote ring takes no key that signs and no HMAC key from it.
func FuzzRemoteSet(f *testing.F) {
	for _, v := range vectors {
		f.Add([]byte(`{"keys":[`+v.jwk+`]}`), "k")
	}
	public := must(tokens.GenerateKey("ES256"))
	o := &origin{status: 200}
	f.Add([]byte(`{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"a","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}`), "a")
	f.Add([]byte(`{"keys":[{"kty":"oct","kid":"a"},{"kty":"RSA","kid":"a","n":"AQ","e":"AQAB"}]}`), "a")
	f.Add([]byte(`{"keys":[{"kid":"`+public.ID()+`"}]}`), public.ID())
	f.Fuzz(func(t *testing.T, set []byte, id string) {
		o.set(http.StatusOK, string(set))
		ring := o.ring(t, algorithms("EdDSA", "ES256", "ES384", "RS256"))
		if _, err := tokens.RingFind(t.Context(), ring, id); err != nil {
			return
		}
		if id == "" {
			t.Error("a key without an id")
		}
		if _, err := tokens.ParseKeys(set, "HS256", "HS384", "HS512"); err == nil {
			t.Error("the set has an HMAC key")
		}
	})
}
