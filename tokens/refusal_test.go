package tokens_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/tokens"
)

// F-56: an error of a clock says which claim, by how much and what would have been right, cold and from the cache.
func TestVerify_F_56_SaysByHowMuch(t *testing.T) {
	at := func(d time.Duration) string { return fmt.Sprint(noon.Add(d).Unix()) }
	for name, c := range map[string]struct {
		raw    string
		now    time.Duration // of this clock, behind noon
		reason error
		want   string
	}{
		"iat":       {forge(goodHeader, claimsWith("iat", at(5*time.Minute), "nbf", "")), 0, tokens.ErrNotYetValid, "iat is 5m0s ahead of this clock, expected at most 30s"},
		"nbf":       {forge(goodHeader, claimsWith("nbf", at(time.Minute))), 0, tokens.ErrNotYetValid, "nbf is 1m0s ahead"},
		"auth_time": {forge(goodHeader, claimsWith("auth_time", at(time.Hour))), 0, tokens.ErrNotYetValid, "auth_time is 1h0m0s ahead"},
		"exp":       {forge(goodHeader, claimsWith()), 12 * time.Minute, tokens.ErrExpired, "2m0s ago, leeway 0s"},
		"audience":  {forge(goodHeader, claimsWith("aud", `"reports"`)), 0, tokens.ErrAudience, `got ["reports"], expected "api"`},
		"issuer":    {forge(goodHeader, claimsWith("iss", `"https://other.example"`)), 0, tokens.ErrIssuer, `got "https://other.example", expected "` + issuer + `"`},
	} {
		t.Run(name, func(t *testing.T) {
			tok, clk := setup(t)
			clk.t = noon.Add(c.now)
			refused(t, tok, c.raw, c.reason)
			if _, err := tok.Verify(t.Context(), c.raw); !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
	t.Run("a clock that was set back, from the cache", func(t *testing.T) {
		tok, clk := setup(t)
		raw := issue(t, tok, auth.Principal{Subject: "ann"})
		accepted(t, tok, raw)
		clk.t = noon.Add(-10 * time.Minute)
		refused(t, tok, raw, tokens.ErrNotYetValid)
		if _, err := tok.Verify(t.Context(), raw); !strings.Contains(err.Error(), "10m0s ahead of this clock") {
			t.Errorf("got %v", err)
		}
	})
}
