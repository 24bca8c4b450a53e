package tokens_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/tokens"
)

// FuzzVerify sends any text to a verifier: it never panics, refuses with a code, and accepts nothing but the one
// spelling of the one token that was made.
func FuzzVerify(f *testing.F) {
	tok, _ := setup(f)
	good := forge(goodHeader, claimsWith())
	for _, seed := range []string{
		good, "", ".", "..", "...", good + "\n", good + "=", strings.ToLower(good), respell(good), good[:len(good)-1],
		forge(`{"alg":"none","typ":"at+jwt","kid":"k1"}`, claimsWith()), forge(`{"alg":"HS256","typ":"at+jwt","kid":"k1","crit":["x"]}`, claimsWith()),
		forge(goodHeader, `null`), forge(goodHeader, claimsWith("exp", "1e308")), forge(goodHeader, claimsWith("ſub", `"x"`)),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		p, err := tok.Verify(context.Background(), raw)
		if err == nil && (raw != good || p.Subject != "ann") {
			t.Fatalf("accepted %q", raw)
		}
		if err != nil && auth.CodeOf(err) != auth.TokenInvalid {
			t.Fatalf("%q: %v", raw, err)
		}
		if _, err := tokens.DecodeUnverified(raw); err != nil && !errors.Is(err, tokens.ErrMalformed) {
			t.Fatalf("%q: %v", raw, err)
		}
	})
}

// FuzzClaims signs any header and any claims with the real key, so that the parser behind the signature is
// reached: it never panics, and what it accepts has every claim that is demanded.
func FuzzClaims(f *testing.F) {
	tok, _ := setup(f, func(c *tokens.Config) { c.Claims = tokens.CustomClaims[plan]() })
	for _, claims := range []string{
		claimsWith(), claimsWith("exp", "1.9"), claimsWith("exp", `"1"`), claimsWith("aud", `["api"]`), claimsWith("SUB", `"x"`), claimsWith("roles", `null`),
		claimsWith("x", `{"a":[[[[[[[[1]]]]]]]]}`), claimsWith("sub", `"\ud800"`), claimsWith("org_id", `1`), `null`, `[]`, "{}",
	} {
		f.Add(goodHeader, claims)
	}
	f.Add(`{"alg":"HS256","typ":"at+jwt","kid":"k1","jku":"http://127.0.0.1/"}`, claimsWith())
	f.Fuzz(func(t *testing.T, header, claims string) {
		p, err := tok.Verify(context.Background(), forge(header, claims))
		if err != nil {
			if p != nil || auth.CodeOf(err).Status() != 401 {
				t.Fatalf("%q %q: %v", header, claims, err)
			}
			return
		}
		if p.Issuer != issuer || p.Subject == "" || p.TokenID == "" || p.Expires.Before(noon) || !p.Expires.After(p.IssuedAt) {
			t.Fatalf("%q %q: accepted as %+v", header, claims, p)
		}
	})
}
