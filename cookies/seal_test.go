package cookies_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/cookies"
)

// keyring is a KeySource as package tokens has one: the first id is the current key's.
type keyring []string

func newKeys(ids ...string) keyring { return ids }

const issuer = "https://app.example.com"

func sealWith(ids ...string) cookies.Seal { return cookies.Seal{Keys: newKeys(ids...), Issuer: issuer} }

func (k keyring) Derive(id, salt, purpose string) (string, []byte, error) {
	for _, known := range k {
		if id == "" || id == known {
			m := hmac.New(sha256.New, []byte("secret of "+known))
			fmt.Fprintf(m, "%q %q", salt, purpose)
			return known, m.Sum(nil), nil
		}
	}
	return "", nil, fmt.Errorf("no key %q", id)
}

// sealedLine is the Cookie header of a browser that the jar has given this access token.
func sealedLine(t testing.TB, jar cookies.Jar, access string) string {
	t.Helper()
	w := httptest.NewRecorder()
	if err := jar.Set(w, request(), &auth.Pair{Access: access}); err != nil {
		t.Fatal(err)
	}
	pair, _, _ := strings.Cut(lines(w)[0], ";")
	return pair
}

// jwt has a subject and an address in its claims, readable to whoever decodes base64.
var jwt = "eyJhbGciOiJIUzI1NiJ9." + base64.RawURLEncoding.EncodeToString([]byte(`{"sub":"ann-0815","email":"ann@example.com"}`)) + ".sig"

// STD-C10: sealed, nothing of a token can be read from the cookie, decoded or not; and no two are alike.
func TestSTD_C10_SealedShowsNothing(t *testing.T) {
	jar := cookies.Jar{Seal: sealWith("2026-11")}
	line := sealedLine(t, jar, jwt)
	if line == sealedLine(t, jar, jwt) {
		t.Error("the same token gives the same cookie twice")
	}
	rest, ok := strings.CutPrefix(line, "__Host-access=2026-11.")
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(rest)
	if !ok || err != nil {
		t.Fatalf("got %s: %v", line, err)
	}
	for _, part := range append(strings.Split(jwt, "."), "ann", "email", "sub") {
		if strings.Contains(line, part) || strings.Contains(string(sealed), part) {
			t.Errorf("%s can be read in %s", part, line)
		}
	}
	if v, err := jar.Access(request(line)); v != jwt || err != nil {
		t.Errorf("got %q, %v", v, err)
	}
}

// STD-C10: with a seal a policy may hold any text, since nothing of it is sent as it is.
func TestSTD_C10_SealedFreeText(t *testing.T) {
	p := cookies.Policy{Name: "x", Seal: sealWith("k1")}
	for _, text := range []string{"ann@example.com", "a;b, \"c\" \x00\xff\r\n", "é"} {
		w := httptest.NewRecorder()
		if err := p.Set(w, request(), text, time.Time{}); err != nil {
			t.Fatal(err)
		}
		pair, _, _ := strings.Cut(lines(w)[0], ";")
		if v, err := p.Get(request(pair)); v != text || err != nil {
			t.Errorf("got %q, %v, want %q", v, err, text)
		}
	}
	w := httptest.NewRecorder()
	refused(t, w, p.Set(w, request(), "", time.Time{}))
}

// A key is accepted while it is known; removed, its cookies die. None of it expires the cookie: the key may
// be one that this node does not know yet.
func TestSealFollowsTheKeyring(t *testing.T) {
	old, both, rotated := sealWith("k1"), sealWith("k2", "k1"), sealWith("k2")
	of := func(s cookies.Seal) string { return sealedLine(t, cookies.Jar{Seal: s}, "good") }
	for _, c := range []struct {
		name, line string
		reader     cookies.Seal
		ok         bool
	}{
		{"current", of(old), old, true},
		{"accepted", of(old), both, true},
		{"new one at a node that knows it", of(both), both, true},
		{"removed", of(old), rotated, false},
		{"not known yet", of(both), old, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			value, err := cookies.Jar{Seal: c.reader}.Access(request(c.line))
			if c.ok != (value == "good" && err == nil) {
				t.Errorf("got %q, %v", value, err)
			}
			if !c.ok {
				isInvalid(t, value, err)
			}
		})
	}
}

// Whatever is done to a sealed value, it does not open; nor does it in the place of another cookie.
func TestSealForged(t *testing.T) {
	jar := cookies.Jar{Seal: sealWith("k1")}
	_, good, _ := strings.Cut(sealedLine(t, jar, jwt), "=")
	_, body, _ := strings.Cut(good, ".")
	flip := func(i int) string {
		b := []byte(good)
		b[i] = map[bool]byte{true: 'B', false: 'A'}[b[i] == 'A']
		return string(b)
	}
	for _, c := range []struct{ name, value string }{
		{"in clear", jwt},
		{"in clear without a dot", "good"},
		{"no id", "." + body},
		{"id only", "k1."},
		{"other id", "k2." + body},
		{"id in other case", "K1." + body},
		{"id twice", "k1.k1." + body},
		{"nonce changed", flip(4)},
		{"text changed", flip(40)},
		{"tag changed", flip(len(good) - 3)},
		{"cut", good[:len(good)-4]},
		{"shorter than a nonce", "k1.AAAA"},
		{"a byte more", good + "AAAA"},
		{"not base64url", good[:len(good)-1] + "~"},
	} {
		t.Run(c.name, func(t *testing.T) {
			value, err := jar.Access(request("__Host-access=" + c.value))
			isInvalid(t, value, err)
		})
	}
	t.Run("another spelling of the last character", func(t *testing.T) {
		for pad := range 3 { // one of these has spare bits
			_, v, _ := strings.Cut(sealedLine(t, jar, strings.Repeat("v", 6+pad)), "=")
			for _, c := range "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_" {
				other := v[:len(v)-1] + string(c)
				if got, err := jar.Access(request("__Host-access=" + other)); err == nil && other != v {
					t.Errorf("%s opens as %q beside %s", other, got, v)
				}
			}
		}
	})
	t.Run("as the refresh cookie", func(t *testing.T) {
		value, err := jar.Refresh(request("__Host-refresh=" + good))
		isInvalid(t, value, err)
	})
	t.Run("in another jar", func(t *testing.T) {
		value, err := cookies.Jar{Name: "b", Seal: jar.Seal}.Access(request("__Host-b-access=" + good))
		isInvalid(t, value, err)
	})
}

// Two installations may have one secret; what one has sealed is nothing to the other.
func TestSealIsOfOneIssuer(t *testing.T) {
	keys := newKeys("k1")
	staging := cookies.Jar{Seal: cookies.Seal{Keys: keys, Issuer: "https://staging.example.com"}}
	production := cookies.Jar{Seal: cookies.Seal{Keys: keys, Issuer: "https://app.example.com"}}
	line := sealedLine(t, staging, jwt)
	if value, err := staging.Access(request(line)); value != jwt || err != nil {
		t.Errorf("at home: got %q, %v", value, err)
	}
	value, err := production.Access(request(line))
	isInvalid(t, value, err)
}

func isInvalid(t *testing.T, value string, err error) {
	t.Helper()
	if value != "" || auth.CodeOf(err) != auth.TokenInvalid {
		t.Fatalf("got %q, %v, want token_invalid", value, err)
	}
	w := httptest.NewRecorder()
	auth.WriteProblem(w, err)
	if len(lines(w)) != 0 {
		t.Errorf("expires %q", lines(w))
	}
}

// badKeys breaks the contract of KeySource in one way.
type badKeys struct {
	id  string
	key []byte
	err error
}

func (b badKeys) Derive(string, string, string) (string, []byte, error) { return b.id, b.key, b.err }

// A key source that fails, or gives a short key, seals nothing and opens nothing.
func TestSealBadKeySource(t *testing.T) {
	for name, keys := range map[string]badKeys{
		"error":           {"k1", make([]byte, 32), errors.New("no secret")},
		"AES-128":         {"k1", make([]byte, 16), nil},
		"no key":          {"k1", nil, nil},
		"no id":           {"", make([]byte, 32), nil},
		"id with a comma": {"k,1", make([]byte, 32), nil},
	} {
		t.Run(name, func(t *testing.T) {
			jar := cookies.Jar{Seal: cookies.Seal{Keys: keys, Issuer: issuer}}
			w := httptest.NewRecorder()
			err := jar.Set(w, request(), &auth.Pair{Access: "a"})
			refused(t, w, err)
			if auth.CodeOf(err) != auth.Internal {
				t.Errorf("got %v", err)
			}
			if name != "id with a comma" { // a matter of Set alone
				value, err := jar.Access(request(sealedLine(t, cookies.Jar{Seal: sealWith("k1")}, "a")))
				isInvalid(t, value, err)
			}
		})
	}
}
