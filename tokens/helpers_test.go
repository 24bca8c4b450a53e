package tokens_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/tokens"
)

const issuer, audience = "https://api.example.com", "api"

var (
	rawKey = []byte("0123456789abcdefghijklmnopqrstuvwxyz-raw-key")
	noon   = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
)

// clock is an injected clock that tests set.
type clock struct{ t time.Time }

func (c *clock) now() time.Time { return c.t }

// setup makes a Tokens under one raw HS256 key, so that tests can forge what they like, at noon.
func setup(t testing.TB, change ...func(*tokens.Config)) (*tokens.Tokens, *clock) {
	t.Helper()
	clk := &clock{noon}
	c := tokens.Config{
		Keys:   tokens.NewKeyring(tokens.HS256("k1", rawKey)),
		Issuer: issuer, Audience: audience, Now: clk.now,
	}
	for _, f := range change {
		f(&c)
	}
	tok, err := tokens.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return tok, clk
}

func issue(t testing.TB, tok *tokens.Tokens, p auth.Principal) string {
	t.Helper()
	stamp, err := tok.Stamp(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	raw, _, err := tok.Issue(stamp, &p)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func b64(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

func macOf(key []byte, signed string) string {
	m := hmac.New(sha256.New, key)
	m.Write([]byte(signed))
	return string(m.Sum(nil))
}

// forge signs any header and any payload with the real key: what a verifier must refuse although the
// signature holds.
func forge(header, payload string) string { return forgeWith(rawKey, header, payload) }

func forgeWith(key []byte, header, payload string) string {
	signed := b64(header) + "." + b64(payload)
	return signed + "." + b64(macOf(key, signed))
}

const goodHeader = `{"alg":"HS256","typ":"at+jwt","kid":"k1"}`

// claimsWith is the payload of a good token, with members replaced ("exp", "1e9"), dropped ("exp", "") or added.
func claimsWith(changes ...string) string {
	members := [][2]string{
		{"iss", `"` + issuer + `"`}, {"sub", `"ann"`}, {"aud", `"` + audience + `"`},
		{"exp", fmt.Sprint(noon.Add(10 * time.Minute).Unix())}, {"iat", fmt.Sprint(noon.Unix())},
		{"nbf", fmt.Sprint(noon.Unix())}, {"jti", `"one"`}, {"client_id", `"api"`},
	}
change:
	for i := 0; i < len(changes); i += 2 {
		for j := range members {
			if members[j][0] == changes[i] {
				members[j][1] = changes[i+1]
				continue change
			}
		}
		members = append(members, [2]string{changes[i], changes[i+1]})
	}
	var out []string
	for _, m := range members {
		if m[1] != "" {
			out = append(out, `"`+m[0]+`":`+m[1])
		}
	}
	return "{" + strings.Join(out, ",") + "}"
}

// refused demands that a token is refused for this reason: cold, and again, in case a cache remembered it.
func refused(t *testing.T, tok *tokens.Tokens, raw string, reason error) {
	t.Helper()
	for range 2 {
		p, err := tok.Verify(context.Background(), raw)
		if err == nil || p != nil {
			t.Fatalf("accepted %.200s as %+v", raw, p)
		}
		if !errors.Is(err, reason) {
			t.Fatalf("got %v, expected %v", err, reason)
		}
		if code := auth.CodeOf(err); code.Status() != 401 {
			t.Fatalf("got the code %s, expected a 401", code)
		}
	}
}

func accepted(t *testing.T, tok *tokens.Tokens, raw string) *auth.Principal {
	t.Helper()
	p, err := tok.Verify(context.Background(), raw)
	if err != nil {
		t.Fatalf("refused: %v", err)
	}
	return p
}
