package middleware_test

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/middleware"
)

// keyring is a verifier of API keys.
type keyring struct{}

func (keyring) Verify(_ context.Context, text string) (*auth.Principal, error) {
	if text != "key" {
		return nil, auth.APIKeyInvalid
	}
	return &auth.Principal{Subject: "ann", TokenID: "k", Competencies: []string{"read"}}, nil
}

// silentProof is an application's own authenticator, which says no challenge.
type silentProof struct{}

func (silentProof) Authenticate(*http.Request) (*auth.Principal, error) {
	return nil, auth.CredentialsMissing
}

// P-12: a 401 or 403 challenges for what the guard takes, and for that alone which was shown, also in the guards behind.
func TestChallenges_P_12(t *testing.T) {
	const (
		asBearer = `Bearer realm="api"`
		asKey    = `ApiKey realm="api", in="header", key_name="X-Api-Key"`
		aKey     = `ApiKey realm="api", in="header"` // of a guard behind, which does not know the header
		asCookie = `Cookie realm="api"`
		invalid  = `, error="invalid_token", error_description="The API key is not valid."`
		scope    = `, error="insufficient_scope", error_description="`
	)
	key := auth.Header("X-API-Key", keyring{})
	all := middleware.RequireAuth(bearer, key, silentProof{}, browser)
	for name, c := range map[string]struct {
		guard  middleware.Middleware
		header string
		code   auth.Code
		want   []string
	}{
		"nothing":                   {all, "", auth.CredentialsMissing, []string{asBearer, asKey, asCookie}},
		"nothing, a key alone":      {middleware.RequireAuth(key), "", auth.CredentialsMissing, []string{asKey}},
		"nothing, in another order": {middleware.RequireAuth(browser, bearer), "", auth.CredentialsMissing, []string{asCookie, asBearer}},
		"nothing, its own alone":    {middleware.RequireAuth(silentProof{}), "", auth.CredentialsMissing, []string{asBearer}},
		"a wrong key":               {all, "X-Api-Key: lock", auth.APIKeyInvalid, []string{asKey + invalid}},
		"a wrong key, optional":     {middleware.OptionalAuth(bearer, key), "X-Api-Key: lock", auth.APIKeyInvalid, []string{asKey + invalid}},
		"a role of a key":           {middleware.Chain(all, middleware.RequireRole("admin")), "X-Api-Key: key", auth.RoleMissing, []string{aKey + scope + `The required role is missing."`}},
		"a competency of a key":     {middleware.Chain(all, middleware.RequireCompetency("write")), "X-Api-Key: key", auth.CompetencyMissing, []string{aKey + scope + `A required competency is missing."`}},
		"a recent proof of a key": {middleware.Chain(all, middleware.RequireRecentAuth(time.Minute)), "X-Api-Key: key", auth.StepUpRequired,
			[]string{aKey + `, error="insufficient_user_authentication", error_description="A more recent or stronger proof is required.", max_age="60"`}},
		"a role of a token":      {middleware.Chain(all, middleware.RequireRole("another")), "Authorization: Bearer ann", auth.RoleMissing, []string{asBearer + scope + `The required role is missing."`}},
		"a role without a guard": {middleware.RequireRole("admin"), "X-Api-Key: key", auth.CredentialsMissing, []string{asBearer}},
	} {
		t.Run(name, func(t *testing.T) {
			r := request("GET", "/")
			if header, value, ok := strings.Cut(c.header, ": "); ok {
				r.Header.Set(header, value)
			}
			own := middleware.OnError(func(w http.ResponseWriter, _ *http.Request, err error) { auth.WriteProblem(w, err) })
			for how, outer := range map[string]middleware.Middleware{"by default": middleware.Chain(), "OnError": own} {
				w := serve(outer(c.guard(whoami)), r)
				want(t, w, c.code)
				if got := w.Header()["Www-Authenticate"]; !slices.Equal(got, c.want) {
					t.Errorf("%s: got  %q\nwant %q", how, got, c.want)
				}
			}
		})
	}
}
