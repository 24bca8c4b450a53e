// Package vectors_test holds the kit against test vectors that others have made: those of Project Wycheproof for JSON
// Web Signatures and JSON Web Keys.
//
// It stands in the module of the comparisons, so that no user has the vectors in their go.sum.
package vectors_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/c2sp/wycheproof"

	"github.com/doorward/doorward/tokens"
)

// A file of vectors is as its schema in the same module says: json_web_signature_schema.json.
type file struct {
	NumberOfTests int `json:"numberOfTests"`
	Groups        []struct {
		Comment string          `json:"comment"`
		Public  json.RawMessage `json:"public"`  // a JWK, or a set of them
		Private json.RawMessage `json:"private"` // the same, where there is no public one: HMAC
		Tests   []struct {
			ID      int    `json:"tcId"`
			Comment string `json:"comment"`
			JWS     string `json:"jws"`
			Result  string `json:"result"`
		} `json:"tests"`
	} `json:"testGroups"`
}

func read(t *testing.T, name string) (f file) {
	t.Helper()
	text, err := fs.ReadFile(wycheproof.TestVectors, name)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &f); err != nil {
		t.Fatal(err)
	}
	return f
}

// ours are all algorithms of package tokens. RS384, RS512, PS384, PS512 and ES512 are none of them.
var ours = []string{"HS256", "HS384", "HS512", "EdDSA", "ES256", "ES384", "PS256", "RS256"}

// A verifier verifies by the keys of a group, as a foreign issuer's: no typ is demanded, and no claims of ours.
func verifier(ring *tokens.Keyring) (*tokens.Tokens, error) {
	return tokens.New(tokens.Config{Keys: ring, Issuer: "https://vectors.example", Audience: "api", AllowForeign: true, AllowMissingType: true})
}

// verifiers returns those that take the keys: the ring of an own key file, and one of a set that another service
// publishes. None means that the keys themselves are refused.
func verifiers(t *testing.T, jwks json.RawMessage) (all []*tokens.Tokens) {
	t.Helper()
	if keys, err := tokens.ParseKeys(jwks, ours...); err == nil {
		for i := range keys {
			keys[i] = keys[i].AllowRSA2048()
		}
		if own, err := verifier(tokens.NewKeyring(keys[0], keys[1:]...)); err == nil {
			all = append(all, own)
		}
	}
	if !strings.Contains(string(jwks), `"keys"`) {
		jwks = json.RawMessage(`{"keys":[` + string(jwks) + `]}`)
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(jwks) }))
	t.Cleanup(s.Close)
	ring, err := tokens.NewRemoteKeyring(tokens.RemoteConfig{URL: s.URL, Algorithms: []string{"ES256", "ES384", "EdDSA", "RS256", "PS256"}, AllowRSA2048: true})
	if err != nil {
		t.Fatal(err)
	}
	remote, err := verifier(ring)
	if err != nil {
		t.Fatal(err)
	}
	return append(all, remote)
}

// accepts says whether a verifier found the form, the key and the signature of a JWS good. What is signed there are no
// claims, so every one is refused in the end; the claims are read last.
func accepts(t *testing.T, all []*tokens.Tokens, jws string) bool {
	t.Helper()
	for _, v := range all {
		_, err := v.Verify(t.Context(), jws)
		switch {
		case err == nil:
			t.Fatal("the payload passed for claims")
		case errors.Is(err, tokens.ErrMalformed) && strings.Contains(err.Error(), "claims: "):
			return true
		}
	}
	return false
}

// zeros is the key of one group, 32 bytes that are 0. The kit refuses it as no secret, so that group's vectors are
// put under another.
const zeros = `AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA`

func mac(key, text string) string {
	raw, _ := base64.RawURLEncoding.DecodeString(key)
	h := hmac.New(sha256.New, raw)
	_, _ = io.WriteString(h, text)
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}

// rekey replaces the HMAC of jws. What the vector did to it, at one place, is done to the new one; so is the signing of
// what a lenient reader makes of the text: one that skips a question mark, or the last bits of AB.
func rekey(t *testing.T, jws, from, to string) string {
	t.Helper()
	dot := strings.LastIndexByte(jws, '.')
	text, is := jws[:dot], jws[dot+1:]
	for _, signed := range []string{text, strings.Replace(text, "?", "", 1), strings.Replace(text, ".AB", ".AA", 1)} {
		old, sum := mac(from, signed), mac(to, signed)
		head, tail := 0, 0
		for head < min(len(is), len(old)) && is[head] == old[head] {
			head++
		}
		for tail < min(len(is), len(old))-head && is[len(is)-1-tail] == old[len(old)-1-tail] {
			tail++
		}
		if head+tail > len(old)/2 {
			return text + "." + sum[:head] + is[head:len(is)-tail] + sum[len(sum)-tail:]
		}
	}
	t.Errorf("%s has no HMAC by that key", jws)
	return jws
}

// STD-T24. All vectors of both files. Where our answer is not the file's, it is here, with the reason.
func TestSTD_T24_Wycheproof(t *testing.T) {
	for _, c := range []struct {
		name   string
		tests  int
		differ map[string][]int
	}{
		{"json_web_signature_test.json", 401, map[string][]int{
			"refused: RS384, RS512, PS384, PS512 and ES512 are no algorithms of ours": {
				264, 265, 266, 267, 268, 269, 270, 271, 320, 321, 322, 323, 325, 326, 327, 328, 347, 351},
			"refused: the key says PS256, the token PS384":                                 {346, 350},
			"refused: a token without claims":                                              {259, 272},
			"refused: a question mark is no base64url, in header or payload (RFC 8725bis)": {372, 373},
			"accepted: letter for letter the text of 357, which is valid":                  {367, 370},
		}},
		{"json_web_key_test.json", 26, map[string][]int{
			"accepted: an own key file may hold HMAC beside public keys; a published set may not": {1},
			"accepted: a key of a generator that is known to be weak (ROCA) is not looked for":    {7},
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			known := map[int]string{}
			for why, ids := range c.differ {
				for _, id := range ids {
					known[id] = why
				}
			}
			f, n := read(t, c.name), 0
			for _, g := range f.Groups {
				jwks, change := g.Public, func(jws string) string { return jws }
				if jwks == nil {
					jwks = g.Private
				}
				if strings.Contains(string(jwks), `"`+zeros+`"`) {
					const other = "-ebuDNsVZ2iJtoZ-akfXTSCt4UO2cruLCsbWlBinggE" // of another group
					jwks = json.RawMessage(strings.ReplaceAll(string(jwks), zeros, other))
					change = func(jws string) string { return rekey(t, jws, zeros, other) }
				}
				all := verifiers(t, jwks)
				for _, v := range g.Tests {
					n++
					_, differs := known[v.ID]
					if got := accepts(t, all, change(v.JWS)); got != (v.Result == "valid") != differs {
						t.Errorf("%s, %d, %s: %s by the file, accepted: %t, %s", g.Comment, v.ID, v.Comment, v.Result, got, known[v.ID])
					}
				}
			}
			if n != c.tests || f.NumberOfTests != n {
				t.Errorf("ran %d tests of %d, expected %d", n, f.NumberOfTests, c.tests)
			}
		})
	}
}
