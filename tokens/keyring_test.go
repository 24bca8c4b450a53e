package tokens_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/internal/derive"
	"github.com/doorward/doorward/tokens"
)

func TestRingsThatCannotBeUsed(t *testing.T) {
	good, public := tokens.HS256("a", rawKey), tokens.NewKey("p", "ES256", &must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)).PublicKey)
	short := tokens.HS256("b", []byte("short"))
	for _, c := range []struct {
		name   string
		sign   tokens.Key
		accept []tokens.Key
		words  string
	}{
		{"a bad signing key", short, []tokens.Key{good}, "got a secret of 5 bytes"},
		{"a bad accepted key", good, []tokens.Key{public, short}, "got a secret of 5 bytes"},
		{"a zero key", tokens.Key{}, nil, "zero Key"},
		{"a zero key accepted", good, []tokens.Key{{}}, "zero Key"},
		{"a public key to sign with", public, []tokens.Key{good}, "cannot sign"},
		{"two keys of one id", good, []tokens.Key{tokens.NewKey("a", "HS512", distinct(64))}, `two keys have the id "a"`},
		{"one key twice", good, []tokens.Key{good}, `two keys have the id "a"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			ring := tokens.NewKeyring(c.sign, c.accept...)
			wantWords(t, tokens.RingErr(ring), c.words)
			_, err := tokens.New(tokens.Config{Keys: ring, Issuer: issuer, Audience: audience})
			wantWords(t, err, c.words)
			_, err = tokens.RingFind(t.Context(), ring, "a")
			wantWords(t, err, c.words)
			_, _, err = ring.Derive("", issuer, "csrf")
			wantWords(t, err, c.words)
			w := httptest.NewRecorder()
			ring.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
			if w.Code != 500 || strings.Contains(w.Body.String(), c.words) {
				t.Errorf("published %d %s", w.Code, w.Body)
			}
			// A good state is not lost by a bad replacement, and a good replacement mends a bad state.
			ok := tokens.NewKeyring(tokens.HS256("old", rawKey))
			wantWords(t, ok.Replace(c.sign, c.accept...), c.words)
			if _, err := tokens.RingFind(t.Context(), ok, "old"); err != nil {
				t.Errorf("the old key is gone: %v", err)
			}
			if err := ring.Replace(good); err != nil || tokens.RingErr(ring) != nil {
				t.Errorf("%v, %v", err, tokens.RingErr(ring))
			}
		})
	}
	for name, ring := range map[string]*tokens.Keyring{"zero": new(tokens.Keyring), "nil": nil} {
		t.Run(name, func(t *testing.T) {
			_, _, err := ring.Derive("", issuer, "csrf")
			wantWords(t, err, "nil or zero Keyring")
			wantWords(t, tokens.RingErr(ring), "nil or zero Keyring")
		})
	}
}

// STD-T29: through add, promote, retire and remove, tokens live while their key is in the ring, and die
// with it, remembered or not.
func TestSTD_T29_Rotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		older, newer := tokens.FromSecret(rootSecret), tokens.FromSecret([]byte(tokens.GenerateSecret()))
		ring := tokens.NewKeyring(older)
		tok, _ := setup(t, func(c *tokens.Config) { c.Keys, c.Now = ring, nil })
		signedBy := func(raw string) string { return must(tokens.DecodeUnverified(raw)).KeyID }
		replace := func(sign tokens.Key, accept ...tokens.Key) {
			t.Helper()
			if err := ring.Replace(sign, accept...); err != nil {
				t.Fatal(err)
			}
		}
		first := issue(t, tok, auth.Principal{Subject: "ann"})
		accepted(t, tok, first)

		replace(older, newer) // add
		if id := signedBy(issue(t, tok, auth.Principal{Subject: "ann"})); id != older.ID() {
			t.Errorf("added: signed by %s", id)
		}
		accepted(t, tok, first)

		replace(newer, older) // promote
		second := issue(t, tok, auth.Principal{Subject: "ann"})
		if id := signedBy(second); id != newer.ID() {
			t.Errorf("promoted: signed by %s", id)
		}
		accepted(t, tok, first)
		accepted(t, tok, second)

		replace(newer, older.During(time.Time{}, time.Now().Add(time.Minute))) // retire
		accepted(t, tok, first)
		time.Sleep(time.Minute) // of the bubble
		refused(t, tok, first, tokens.ErrSignature)
		accepted(t, tok, second)

		replace(newer, older)
		accepted(t, tok, first)
		replace(newer) // remove
		refused(t, tok, first, tokens.ErrSignature)
		accepted(t, tok, second)
	})
}

// Verifications run on through replacements; each sees one state or the other (go test -race).
func TestReplaceWhileInUse(t *testing.T) {
	a, b := tokens.FromSecret(rootSecret), tokens.FromSecret([]byte(tokens.GenerateSecret()))
	ring := tokens.NewKeyring(a, b)
	tok, _ := setup(t, func(c *tokens.Config) { c.Keys = ring })
	raw := issue(t, tok, auth.Principal{Subject: "ann"})
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for i := range 200 {
				if _, err := tok.Verify(t.Context(), raw); err != nil {
					t.Error(err)
				}
				id, key, err := ring.Derive("", issuer, fmt.Sprint("use ", i%10))
				if err != nil || len(key) != 32 || id != a.ID() && id != b.ID() {
					t.Error(id, len(key), err)
				}
				clear(key)
			}
		})
	}
	for range 200 {
		if err := errors.Join(ring.Replace(b, a), ring.Replace(a, b)); err != nil {
			t.Error(err)
		}
	}
	group.Wait()
}

func TestDerive(t *testing.T) {
	older, newer := tokens.FromSecret(rootSecret), tokens.FromSecret([]byte(tokens.GenerateSecret()))
	ring := tokens.NewKeyring(newer, older, tokens.HS256("raw", rawKey))
	of := func(id, salt, purpose string) string {
		t.Helper()
		used, key, err := ring.Derive(id, salt, purpose)
		if err != nil || len(key) != 32 || id != "" && used != id || id == "" && used != newer.ID() {
			t.Fatalf("got %q, %d bytes, %v", used, len(key), err)
		}
		return string(key)
	}
	t.Run("no two uses share a key", func(t *testing.T) {
		seen := map[string]string{}
		for _, id := range []string{newer.ID(), older.ID()} {
			for _, salt := range []string{issuer, "https://staging.example.com"} {
				for _, purpose := range []string{"csrf", "refresh", "device", "seal"} {
					key := of(id, salt, purpose)
					if was := seen[key]; was != "" {
						t.Errorf("%s has the key of %s", purpose, was)
					}
					seen[key] = purpose
					if of(id, salt, purpose) != key {
						t.Error("the key is another the second time")
					}
				}
			}
		}
	})
	t.Run("no id is the signing key", func(t *testing.T) {
		if of("", issuer, "csrf") != of(newer.ID(), issuer, "csrf") {
			t.Error("it is another")
		}
	})
	t.Run("a caller cannot spoil it for others", func(t *testing.T) {
		before := of("", issuer, "csrf")
		_, key, _ := ring.Derive("", issuer, "csrf")
		clear(key)
		_ = append(key, 1)
		if of("", issuer, "csrf") != before {
			t.Error("the key has changed")
		}
	})
	t.Run("refused", func(t *testing.T) {
		for _, c := range []struct{ name, id, salt, purpose, words string }{
			{"no purpose", "", issuer, "", "empty purpose"},
			{"no salt", "", "", "csrf", "empty salt"},
		} {
			_, key, err := ring.Derive(c.id, c.salt, c.purpose)
			if err == nil || key != nil || !strings.Contains(err.Error(), c.words) {
				t.Errorf("%s: got %d bytes, %v", c.name, len(key), err)
			}
		}
	})
	t.Run("an unknown id, or that of a key that derives nothing", func(t *testing.T) {
		for _, id := range []string{"gone", "raw", "../../dev/null", strings.Repeat("x", 10<<10), "\x00"} {
			if _, _, err := ring.Derive(id, issuer, "csrf"); auth.CodeOf(err) != auth.TokenInvalid {
				t.Errorf("got %v", err)
			}
		}
	})
	t.Run("outside the window", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			ring := tokens.NewKeyring(newer, older.During(time.Time{}, time.Now().Add(time.Hour)))
			if _, _, err := ring.Derive(older.ID(), issuer, "csrf"); err != nil {
				t.Error(err)
			}
			time.Sleep(time.Hour) // of the bubble
			if _, _, err := ring.Derive(older.ID(), issuer, "csrf"); auth.CodeOf(err) != auth.TokenInvalid {
				t.Errorf("got %v", err)
			}
		})
	})
	t.Run("removed", func(t *testing.T) {
		ring := tokens.NewKeyring(older)
		if err := ring.Replace(newer); err != nil {
			t.Fatal(err)
		}
		if _, _, err := ring.Derive(older.ID(), issuer, "csrf"); auth.CodeOf(err) != auth.TokenInvalid {
			t.Errorf("got %v", err)
		}
	})
	t.Run("many salts stay right", func(t *testing.T) {
		first := of("", "https://0.example.com", "csrf")
		for i := range 1000 {
			of("", fmt.Sprintf("https://%d.example.com", i), "csrf")
		}
		if of("", "https://0.example.com", "csrf") != first {
			t.Error("the key has changed")
		}
		if n := tokens.Remembered(newer); n > 256 {
			t.Errorf("%d keys are kept", n)
		}
	})
	if n := testing.AllocsPerRun(100, func() { _, _, _ = derive.Key(ring, "", issuer, derive.CSRF) }); n > 1 {
		t.Errorf("%v allocations", n)
	}
}

// ATK-J07: whatever a kid is, a local ring looks into a map.
func TestATK_J07_FindIsALookup(t *testing.T) {
	ring := tokens.NewKeyring(tokens.HS256("k1", rawKey))
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for _, id := range []string{"", "../../dev/null", "/proc/self/environ", "' UNION SELECT", "$(id)", "*", "\x00", "K1", "k1 ", strings.Repeat("x", 10<<10)} {
		if _, err := tokens.RingFind(ended, ring, id); auth.CodeOf(err) != auth.TokenInvalid || len(id) > 1 && strings.Contains(err.Error(), id) {
			t.Errorf("%.20q: got %v", id, err)
		}
	}
	found, err := tokens.RingFind(ended, ring, "k1")
	if err != nil || !tokens.RingHolds(ring, found) {
		t.Errorf("got %v, %v", found, err)
	}
	if n := testing.AllocsPerRun(100, func() { tokens.RingHolds(ring, found) }); n > 0 {
		t.Errorf("holds: %v allocations", n)
	}
	// The same key made anew is another one: what it verified before it was replaced is verified again.
	if err := ring.Replace(tokens.HS256("k1", rawKey)); err != nil || tokens.RingHolds(ring, found) {
		t.Errorf("the ring holds a key that was replaced (%v)", err)
	}
}

func TestPublishedSet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		keys := oneOfEach(t)
		var asymmetric []tokens.Key
		for _, k := range keys {
			if !strings.HasPrefix(k.Algorithm(), "HS") {
				asymmetric = append(asymmetric, k)
			}
		}
		ed := must(tokens.GenerateKey("EdDSA"))
		retired := must(tokens.GenerateKey("ES256")).During(time.Time{}, time.Now().Add(time.Minute))
		coming := must(tokens.GenerateKey("ES384")).During(time.Now().Add(time.Hour), time.Time{})
		ring := tokens.NewKeyring(ed, append(keys, retired, coming, tokens.FromSecret(rootSecret))...)
		if err := tokens.RingErr(ring); err != nil {
			t.Fatal(err)
		}
		ids := func(body []byte) map[string]map[string]any {
			var set struct{ Keys []map[string]any }
			if err := json.Unmarshal(body, &set); err != nil {
				t.Fatal(err)
			}
			out := map[string]map[string]any{}
			for _, k := range set.Keys {
				out[k["kid"].(string)] = k
			}
			return out
		}
		body := publicJWKS(t, ring)
		got := ids(body)
		if len(got) != len(asymmetric)+3 || got[retired.ID()] == nil || got[coming.ID()] == nil || got[ed.ID()] == nil {
			t.Errorf("published %s", body)
		}
		for id, k := range got {
			for _, secret := range []string{"d", "k", "p", "q", "dp", "dq", "qi", "oth"} {
				if k[secret] != nil {
					t.Errorf("%s shows %q", id, secret)
				}
			}
			if k["kty"] == "oct" || k["use"] != "sig" || k["alg"] == nil {
				t.Errorf("published %v", k)
			}
		}
		for _, secret := range [][]byte{rootSecret, rawKey, distinct(64)} {
			if bytes.Contains(body, []byte(b64(string(secret)))) || bytes.Contains(body, secret) {
				t.Error("a secret is published")
			}
		}
		time.Sleep(time.Minute) // of the bubble
		if got := ids(publicJWKS(t, ring)); got[retired.ID()] != nil || got[coming.ID()] == nil {
			t.Error("the retired key is still published, or the coming one is not")
		}
		parsed, err := tokens.ParseKeys(body, "EdDSA", "ES256", "ES384", "RS256", "PS256")
		if err != nil || len(parsed) != len(got) {
			t.Fatalf("read back %d keys: %v", len(parsed), err)
		}
		for _, k := range asymmetric {
			sig := must(tokens.SignWith(k, "x", "access", issuer))
			for _, p := range parsed {
				if (tokens.VerifyWith(p, "x", sig, "access", issuer) == nil) != (p.ID() == k.ID()) {
					t.Errorf("%s read back as %s", k.ID(), p.ID())
				}
			}
		}
	})
}

func TestPublishedSetHTTP(t *testing.T) {
	ring := tokens.NewKeyring(must(tokens.GenerateKey("ES256")))
	for _, method := range []string{"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "get"} {
		w := httptest.NewRecorder()
		ring.ServeHTTP(w, httptest.NewRequest(method, "/jwks.json", nil))
		if method == "GET" || method == "HEAD" {
			for name, want := range map[string]string{
				"Content-Type": "application/jwk-set+json", "Cache-Control": "public, max-age=300", "X-Content-Type-Options": "nosniff",
			} {
				if got := w.Header().Get(name); got != want || w.Code != 200 {
					t.Errorf("%s: got %d, %s: %q", method, w.Code, name, got)
				}
			}
			continue
		}
		if w.Code != 405 || w.Header().Get("Allow") != "GET, HEAD" || w.Header().Get("Content-Type") != "application/problem+json" || strings.Contains(w.Body.String(), "keys") {
			t.Errorf("%s: got %d %v %s", method, w.Code, w.Header(), w.Body)
		}
	}
	if body := publicJWKS(t, tokens.NewKeyring(tokens.FromSecret(rootSecret), tokens.HS256("k", rawKey))); string(body) != `{"keys":[]}` {
		t.Errorf("a ring of secrets publishes %s", body)
	}
}
