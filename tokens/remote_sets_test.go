package tokens_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/tokens"
)

// ATK-X04, STD-A09: what a set may not be. The keys known go on.
func TestATK_X04_SetsThatAreRefused(t *testing.T) {
	good, next := must(tokens.GenerateKey("ES256")), must(tokens.GenerateKey("ES256"))
	jwkOf := func(k tokens.Key) string {
		var set struct{ Keys []json.RawMessage }
		if err := json.Unmarshal(publicJWKS(t, tokens.NewKeyring(k)), &set); err != nil {
			t.Fatal(err)
		}
		return string(set.Keys[0])
	}
	set := func(keys ...string) string { return `{"keys":[` + strings.Join(append(keys, jwkOf(next)), ",") + `]}` }
	private := must(tokens.ExportPrivate(must(tokens.GenerateKey("EdDSA"))))
	many := make([]string, 100)
	for i := range many {
		many[i] = `{"kty":"OKP","use":"enc"}`
	}
	for _, c := range []struct {
		name  string
		serve func(*http.Request) (*http.Response, error)
		words string
	}{
		{"oct", body(set(`{"kty":"oct","kid":"o","k":"` + octK + `"}`)), "private or secret"},
		{"oct without k", body(set(`{"kty":"oct","kid":"o"}`)), "private or secret"},
		{"oct for encryption", body(set(`{"kty":"oct","kid":"o","use":"enc","k":"` + octK + `"}`)), "private or secret"},
		{"a private key", body(strings.Replace(string(private), `]}`, ","+jwkOf(next)+"]}", 1)), "private or secret"},
		{"a prime", body(set(`{"kty":"RSA","kid":"r","n":"AQ","e":"AQAB","p":"AQ"}`)), "private or secret"},
		{"a kid twice", body(set(jwkOf(next))), "two keys have the id"},
		{"a kid twice, of two keys", body(set(strings.Replace(jwkOf(good), good.ID(), next.ID(), 1))), "two keys have the id"},
		{"a kid twice, one of another algorithm", body(set(strings.Replace(jwkOf(next), "ES256", "RS256", 1))), "two keys have the id"},
		{"a kid twice, one of an unknown type", body(set(`{"kty":"AKP","alg":"ML-DSA-44","kid":"` + next.ID() + `"}`)), "two keys have the id"},
		{"a kid twice, one damaged", body(set(`{"kty":"OKP","crv":"Ed25519","x":"AA","kid":"` + next.ID() + `"}`)), "two keys have the id"},
		{"a kid twice, both of another algorithm", body(set(`{"kty":"RSA","kid":"r"},{"kty":"RSA","kid":"r"}`)), "two keys have the id"},
		{"duplicate members", body(strings.Replace(set(), `"kty"`, `"kty":"EC","kty"`, 1)), "strict JSON"},
		{"HTML", body("<html>hunter2</html>"), "strict JSON"},
		{"PEM", body("-----BEGIN PUBLIC KEY-----\n"), "strict JSON"},
		{"nothing", body(""), "strict JSON"},
		{"something behind", body(set() + "{}"), "strict JSON"},
		{"101 keys", body(set(many...)), "got 101 keys"},
		{"1 GiB", func(*http.Request) (*http.Response, error) {
			return respond(200, io.LimitReader(endless{}, 1<<30)), nil
		}, "more than 1048576 bytes"},
		{"1 MiB and a byte", body(set() + strings.Repeat(" ", 1<<20)), "more than 1048576 bytes"},
		{"404", func(*http.Request) (*http.Response, error) { return respond(404, strings.NewReader(set())), nil }, "got status 404"},
		{"203", func(*http.Request) (*http.Response, error) { return respond(203, strings.NewReader(set())), nil }, "got status 203"},
		{"a redirect", func(r *http.Request) (*http.Response, error) {
			if r.URL.Host != "id.example.com" {
				t.Errorf("it followed to %s", r.URL)
				return respond(200, strings.NewReader(set())), nil
			}
			res := respond(302, strings.NewReader(""))
			res.Header.Set("Location", "http://169.254.169.254/latest/meta-data/")
			return res, nil
		}, "got status 302"},
		{"a cut", func(*http.Request) (*http.Response, error) {
			return respond(200, io.MultiReader(strings.NewReader(set()), failing{})), nil
		}, "reset by peer"},
		{"no connection", func(*http.Request) (*http.Response, error) { return nil, errReset }, "reset by peer"},
		{"slow head", func(r *http.Request) (*http.Response, error) { <-r.Context().Done(); return nil, r.Context().Err() }, "deadline exceeded"},
		{"slow body", func(r *http.Request) (*http.Response, error) { return respond(200, &trickle{r.Context()}), nil }, "deadline exceeded"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := new(origin)
				o.publish(t, good)
				ring := o.ring(t)
				found := wantKey(t, ring, good.ID())
				o.mu.Lock()
				o.answer = c.serve
				o.mu.Unlock()
				time.Sleep(time.Minute)
				start := time.Now()
				wantCode(t, ring, next.ID(), auth.StoreUnavailable, c.words)
				if waited := time.Since(start); waited > 5*time.Second {
					t.Errorf("it took %v", waited)
				}
				if wantKey(t, ring, good.ID()) != found {
					t.Error("the known key is another one")
				}
			})
		})
	}
}

func body(s string) func(*http.Request) (*http.Response, error) {
	return func(*http.Request) (*http.Response, error) { return respond(200, strings.NewReader(s)), nil }
}

var errReset = errors.New("connection reset by peer")

type endless struct{}

func (endless) Read(p []byte) (int, error) { return copy(p, bytes.Repeat([]byte(" "), len(p))), nil }

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errReset }

// trickle gives a byte a second, as long as the request lives.
type trickle struct{ ctx context.Context }

func (s *trickle) Read(p []byte) (int, error) {
	select {
	case <-s.ctx.Done():
		return 0, s.ctx.Err()
	case <-time.After(time.Second):
		return copy(p, " "), nil
	}
}

// Keys that are not for us are left out, and a token of one is told why.
func TestRemoteKeysLeftOut(t *testing.T) {
	es, ed := must(tokens.GenerateKey("ES256")), must(tokens.GenerateKey("EdDSA"))
	small := tokens.NewKey("small", "RS256", rsa2048()).AllowRSA2048()
	set := func(keys ...string) string {
		jwks := string(publicJWKS(t, tokens.NewKeyring(es, ed, small)))
		return strings.Replace(jwks, "[", "["+strings.Join(append(keys, ""), ","), 1)
	}
	const x = `"x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"`
	for _, c := range []struct {
		name   string
		change func(*tokens.RemoteConfig)
		body   string
		id     string
		words  string // "" when the key is taken
	}{
		{"ES256 by default", algorithms(), set(), es.ID(), ""},
		{"EdDSA by default", algorithms(), set(), ed.ID(), ""},
		{"RS256 by default", algorithms(), set(), "small", "not asked for"},
		{"EdDSA not named", algorithms("ES256"), set(), ed.ID(), "not asked for"},
		{"RSA of 2048 bits", algorithms("RS256"), set(), "small", "AllowRSA2048"},
		{"RSA of 2048 bits, allowed", func(c *tokens.RemoteConfig) { c.Algorithms, c.AllowRSA2048 = []string{"RS256"}, true }, set(), "small", ""},
		{"an RSA key of RS256 for PS256", func(c *tokens.RemoteConfig) { c.Algorithms, c.AllowRSA2048 = []string{"PS256"}, true }, set(), "small", "not asked for"},
		{"RSA without alg", func(c *tokens.RemoteConfig) { c.Algorithms, c.AllowRSA2048 = []string{"RS256"}, true },
			strings.Replace(set(), `"alg":"RS256",`, "", 1), "small", ""},
		{"RSA without alg, two named", func(c *tokens.RemoteConfig) { c.Algorithms, c.AllowRSA2048 = []string{"RS256", "PS256"}, true },
			strings.Replace(set(), `"alg":"RS256",`, "", 1), "small", "name one of them only"},
		{"unknown types", algorithms(), set(`{"kty":"AKP","kid":"a","alg":"ML-DSA-44"}`), "a", "expected OKP"},
		{"for encryption", algorithms(), set(`{"kty":"OKP","crv":"Ed25519","kid":"a","use":"enc",` + x + `}`), "a", "unknown key id"},
		{"one of the same kid for encryption", algorithms(), set(`{"kty":"OKP","crv":"X25519","kid":"` + es.ID() + `","use":"enc",` + x + `}`), es.ID(), ""},
		{"two without kid", algorithms(), set(`{"kty":"OKP","crv":"Ed25519",` + x + `},{"kty":"OKP","crv":"Ed25519",` + x + `}`), es.ID(), ""},
		{"for key agreement", algorithms(), set(`{"kty":"OKP","crv":"Ed25519","kid":"a","key_ops":["deriveKey"],` + x + `}`), "a", "unknown key id"},
		{"without kid", algorithms(), set(`{"kty":"OKP","crv":"Ed25519",` + x + `}`), "", "got a kid of 0 bytes"},
		{"a kid with a newline", algorithms(), set(`{"kty":"OKP","crv":"Ed25519","kid":"a\nb",` + x + `}`), "a\nb", "printable ASCII"},
		{"a kid of 257 bytes", algorithms(), set(`{"kty":"OKP","crv":"Ed25519","kid":"` + strings.Repeat("k", 257) + `",` + x + `}`), strings.Repeat("k", 257), "got a kid of 257 bytes"},
		{"a kid as others write them", algorithms(), set(`{"kty":"OKP","crv":"Ed25519","kid":"public:a/b+c=",` + x + `}`), "public:a/b+c=", ""},
		{"a damaged key", algorithms(), set(`{"kty":"OKP","crv":"Ed25519","kid":"a","x":"AA"}`), "a", "malformed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := &origin{status: 200, body: c.body}
			ring := o.ring(t, c.change)
			if c.words == "" {
				wantKey(t, ring, c.id)
				return
			}
			wantCode(t, ring, c.id, auth.TokenInvalid, c.words)
		})
	}
}

// What was verified under a key stays verified through a refresh that brings the same key, and no other.
func TestRemoteRefreshKeepsKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		same, goes := must(tokens.GenerateKey("ES256")), must(tokens.GenerateKey("EdDSA"))
		o := new(origin)
		o.publish(t, same, goes)
		ring := o.ring(t)
		first, second := wantKey(t, ring, same.ID()), wantKey(t, ring, goes.ID())
		// Another key under the old one's id.
		text := string(must(tokens.ExportPrivate(must(tokens.GenerateKey("EdDSA")))))
		var set struct{ Keys []map[string]string }
		if err := json.Unmarshal([]byte(text), &set); err != nil {
			t.Fatal(err)
		}
		text = strings.Replace(text, set.Keys[0]["kid"], goes.ID(), 1)
		o.publish(t, same, must(tokens.ParseKeys([]byte(text)))[0])
		time.Sleep(10 * time.Minute)
		if tokens.RingHolds(ring, first) || tokens.RingHolds(ring, second) {
			t.Error("a set past its age is believed")
		}
		if wantKey(t, ring, same.ID()) != first || !tokens.RingHolds(ring, first) {
			t.Error("the unchanged key is another one")
		}
		if wantKey(t, ring, goes.ID()) == second || tokens.RingHolds(ring, second) {
			t.Error("the changed key is the old one")
		}
		if n := testing.AllocsPerRun(100, func() { tokens.RingHolds(ring, first) }); n > 0 {
			t.Errorf("holds: %v allocations", n)
		}
	})
}
