package auth_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/doorward/doorward/auth"
)

// P-12: what a refusal says and challenges for is of the credential that was shown.
func TestRefusals_P_12_OfEachCredential(t *testing.T) {
	refuse := func(err error) auth.Verifier {
		return verifierFunc(func() (*auth.Principal, error) { return nil, err })
	}
	inCookie := func(err error) auth.Authenticator {
		return auth.Cookie(func(*http.Request) (string, error) { return "x", nil }, refuse(err))
	}
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("Authorization", "Bearer x")
	r.Header.Set("X-Api-Key", "x")
	const (
		bearer = `Bearer realm="api"`
		apiKey = `ApiKey realm="api", in="header", key_name="X-Api-Key"`
		cookie = `Cookie realm="api"`
	)
	for name, c := range map[string]struct {
		by                auth.Authenticator
		detail, challenge string
	}{
		"an access token":             {auth.Bearer(refuse(auth.TokenInvalid)), "The access token is not valid.", bearer},
		"an old access token":         {auth.Bearer(refuse(auth.TokenExpired)), "The access token has expired.", bearer},
		"an API key":                  {auth.Header("x-api-key", refuse(auth.APIKeyInvalid)), "The API key is not valid.", apiKey},
		"an old API key":              {auth.Header("x-api-key", refuse(auth.APIKeyExpired)), "The API key has expired.", apiKey},
		"an API key as Bearer":        {auth.Bearer(refuse(auth.APIKeyInvalid)), "The API key is not valid.", bearer},
		"an access token by a header": {auth.Header("x-api-key", refuse(auth.TokenInvalid)), "The access token is not valid.", apiKey},
		"a cookie":                    {inCookie(auth.TokenInvalid), "The session cookie is not valid.", cookie},
		"an old cookie":               {inCookie(auth.TokenExpired), "The session cookie has expired.", cookie},
		"a cookie of a dead session":  {inCookie(auth.TokenRevoked), "The session has ended.", cookie},
	} {
		_, err := c.by.Authenticate(r)
		res, body := problem(t, fmt.Errorf("guard: %w", err))
		got := res.Header["Www-Authenticate"]
		want := c.challenge + `, error="invalid_token", error_description="` + c.detail + `"`
		if body["detail"] != c.detail || len(got) != 1 || got[0] != want {
			t.Errorf("%s: got %v and %q, expected %q", name, body["detail"], got, want)
		}
	}
	for _, code := range []auth.Code{auth.StoreUnavailable, auth.Internal, auth.NotFound} {
		_, err := auth.Header("x-api-key", refuse(code)).Authenticate(r)
		if res, _ := problem(t, err); auth.CodeOf(err) != code || res.Header.Get("WWW-Authenticate") != "" {
			t.Errorf("%s: got %v, challenging for %q", code, err, res.Header.Get("WWW-Authenticate"))
		}
	}
}

func TestCredential_Refuse(t *testing.T) {
	if err := auth.RefreshToken.Refuse(nil, "X"); err != nil {
		t.Errorf("nil became %v", err)
	}
	cause := fmt.Errorf("%w: why", auth.TokenInvalid)
	err := auth.AccessToken.Refuse(fmt.Errorf("outer: %w", auth.RefreshToken.Refuse(cause)), "First", "Second")
	if !errors.Is(err, cause) || auth.CodeOf(err) != auth.TokenInvalid || !strings.Contains(err.Error(), "why") {
		t.Errorf("got %v", err)
	}
	res, body := problem(t, auth.Credential("").Refuse(err, "Third"))
	var schemes []string
	for _, c := range res.Header["Www-Authenticate"] {
		scheme, _, _ := strings.Cut(c, ",")
		schemes = append(schemes, scheme)
	}
	if body["detail"] != "The refresh token is not valid." || !slices.Equal(schemes, []string{"First", "Second"}) {
		t.Errorf("got %v and %q, expected what was said nearest to the cause", body["detail"], schemes)
	}
	for credential, want := range map[auth.Credential]string{
		auth.RefreshToken: `Bearer realm="api"`, auth.SessionCookie: `Cookie realm="api"`, "": `Bearer realm="api"`, "another": `Bearer realm="api"`,
	} {
		res, body := problem(t, credential.Refuse(auth.CredentialsMissing))
		if got := res.Header.Get("WWW-Authenticate"); got != want || body["detail"] != "Authentication is required." {
			t.Errorf("%q: got %q, %v", credential, got, body["detail"])
		}
	}
}

// ATK-I08: no name of a header makes a header of its own.
func TestHeader_ATK_I08_ChallengeOfOddNames(t *testing.T) {
	for _, name := range []string{"X\r\nSet-Cookie: a=b", `X"Y`, `X\Y`, "X Y", "", "Ä"} {
		a, _ := auth.Header(name, verifier("x")).(auth.Challenger)
		if c := a.Challenge(); strings.ContainsAny(c, "\r\n\\Ä") || strings.Count(c, `"`)%2 != 0 || !strings.HasPrefix(c, `ApiKey realm="api"`) {
			t.Errorf("%q: got %q", name, c)
		}
	}
}

// A principal knows what it was proven by, and asking an authenticator that finds nothing costs nothing.
func TestPrincipal_Challenge(t *testing.T) {
	bearer, header := auth.Bearer(verifier("x")), auth.Header("X-API-Key", verifier("x"))
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("X-Api-Key", "x")
	p, err := header.Authenticate(r)
	if err != nil || p.Challenge() != `ApiKey realm="api", in="header"` {
		t.Errorf("got %q, %v", p.Challenge(), err)
	}
	if none := (&auth.Principal{}).Challenge(); none != "" {
		t.Errorf("got %q", none)
	}
	if n := testing.AllocsPerRun(100, func() { _, _ = bearer.Authenticate(r) }); n != 0 {
		t.Errorf("%v allocations for a credential that is not there", n)
	}
	var once auth.Verifier = known{&auth.Principal{Subject: "ann"}}
	a := auth.Header("X-API-Key", once)
	if n := testing.AllocsPerRun(100, func() { _, _ = a.Authenticate(r) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

type known struct{ p *auth.Principal }

func (k known) Verify(context.Context, string) (*auth.Principal, error) { return k.p, nil }
