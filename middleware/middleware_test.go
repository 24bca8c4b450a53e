package middleware_test

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/middleware"
)

// What a constructor cannot guard with closes the route, and the log says why.
func TestBroken(t *testing.T) {
	var none *middleware.CSRF
	var noPointer *struct{ auth.Authenticator }
	net := netip.MustParsePrefix("10.0.0.0/8")
	for name, c := range map[string]struct {
		m     middleware.Middleware
		cause string
	}{
		"chain":                {middleware.Chain(middleware.SecureHeaders(), nil), "Chain was given a nil Middleware"},
		"auth":                 {middleware.RequireAuth(nil), "RequireAuth was given a nil"},
		"auth, second":         {middleware.RequireAuth(bearer, nil), "RequireAuth was given a nil"},
		"auth, nil pointer":    {middleware.RequireAuth(noPointer), "panicked"},
		"auth, nil verifier":   {middleware.RequireAuth(auth.Bearer(nil)), "nil Verifier"},
		"auth, nobody":         {middleware.RequireAuth(authFunc(func(*http.Request) (*auth.Principal, error) { return nil, nil })), "neither"},
		"auth, no subject":     {middleware.RequireAuth(authFunc(func(*http.Request) (*auth.Principal, error) { return &auth.Principal{}, nil })), "neither"},
		"optional auth":        {middleware.OptionalAuth(nil), "OptionalAuth was given a nil"},
		"role":                 {middleware.RequireRole(""), "empty role"},
		"role, second":         {middleware.RequireRole("admin", ""), "empty role"},
		"competency":           {middleware.RequireCompetency("read", ""), "empty competency"},
		"csrf, nil":            {middleware.RequireCSRF(none), "NewCSRF"},
		"csrf, loosened nil":   {middleware.RequireCSRF(none.AllowMissingToken()), "NewCSRF"},
		"csrf, zero":           {middleware.RequireCSRF(&middleware.CSRF{}), "NewCSRF"},
		"client ip, no header": {middleware.ClientIP("", net), "name of a header"},
		"client ip, no name":   {middleware.ClientIP("X Real", net), "name of a header"},
		"client ip, none":      {middleware.ClientIP("X-Real-IP"), "trusted proxies"},
		"client ip, invalid":   {middleware.ClientIP("X-Real-IP", net, netip.Prefix{}), "valid networks"},
		"json":                 {middleware.RequireJSON(0), "limit above 0"},
	} {
		t.Run(name, func(t *testing.T) {
			log := captureLog(t)
			reached := false
			h := c.m(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached = true }))
			want(t, serve(h, request("GET", "/", "Authorization: Bearer ann")), auth.Internal)
			if reached {
				t.Error("the handler was reached")
			}
			if !strings.Contains(log.String(), c.cause) {
				t.Errorf("the log lacks %q: %s", c.cause, log)
			}
		})
	}
}

// A nil handler behind a guard is told, not panicked about, and only to who comes through the guard.
func TestNilHandler(t *testing.T) {
	log := captureLog(t)
	h := middleware.RequireAuth(bearer)(nil)
	want(t, serve(h, request("GET", "/")), auth.CredentialsMissing)
	want(t, serve(h, request("GET", "/", "Authorization: Bearer ann")), auth.Internal)
	if !strings.Contains(log.String(), "handler behind a middleware is nil") {
		t.Errorf("the log lacks the cause: %s", log)
	}
}

func TestChain(t *testing.T) {
	var order []string
	mark := func(name string) middleware.Middleware {
		return func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				order = append(order, name)
				next.ServeHTTP(w, r)
			})
		}
	}
	m := []middleware.Middleware{mark("a"), mark("b"), mark("c")}
	chain := middleware.Chain(m...)
	m[0] = func(http.Handler) http.Handler { return nil } // a later change of the slice is not the chain's
	want(t, serve(chain(whoami), request("GET", "/")), "")
	if got := strings.Join(order, ""); got != "abc" {
		t.Errorf("got order %q, want abc: the first is outermost", got)
	}
	want(t, serve(middleware.Chain()(whoami), request("GET", "/")), "")
}

// Composable never means insecure: a guard that stands alone, before or without RequireAuth, closes the route.
func TestRouteTable_EachGuardAlone(t *testing.T) {
	csrf := newCSRF(t)
	guards := map[string]middleware.Middleware{
		"RequireAuth":                    middleware.RequireAuth(bearer),
		"RequireRole":                    middleware.RequireRole("admin"),
		"RequireCompetency":              middleware.RequireCompetency("read"),
		"RequireCSRF":                    middleware.RequireCSRF(csrf),
		"RequireCSRF, AllowMissingToken": middleware.RequireCSRF(csrf.AllowMissingToken()),
		"role before auth":               middleware.Chain(middleware.RequireRole("admin"), middleware.RequireAuth(bearer)),
		"csrf before auth":               middleware.Chain(middleware.RequireCSRF(csrf), middleware.RequireAuth(bearer)),
		"role behind optional":           middleware.Chain(middleware.OptionalAuth(browser), middleware.RequireRole("admin")),
		"csrf behind optional":           middleware.Chain(middleware.OptionalAuth(browser), middleware.RequireCSRF(csrf)),
	}
	mux := http.NewServeMux()
	for name, g := range guards {
		mux.Handle("/"+strings.ReplaceAll(name, " ", "_"), g(whoami))
	}
	for name := range guards {
		for _, method := range []string{"POST", "PUT", "PATCH", "DELETE", "TRACE", "BREW", "GET with upgrade"} {
			t.Run(name+"/"+method, func(t *testing.T) {
				headers := []string{"Origin: " + own, "X-CSRF-Token: " + token(t, csrf, "sid-ann")}
				if !strings.HasSuffix(name, "before auth") { // there a credential must not help
					headers = append(headers, "X-Other: 1")
				} else {
					headers = append(headers, "Authorization: Bearer ann")
				}
				verb, upgrade := strings.CutSuffix(method, " with upgrade")
				if upgrade {
					headers = append(headers, "Upgrade: websocket", "Connection: Upgrade")
				}
				want(t, serve(mux, request(verb, "/"+strings.ReplaceAll(name, " ", "_"), headers...)), auth.CredentialsMissing)
			})
		}
	}
}

// Header values that all answers share are copied by whoever adds to them: no answer changes another one.
func TestSharedHeaderValues(t *testing.T) {
	h := middleware.Chain(middleware.SecureHeaders(), middleware.RequireAuth(bearer))(whoami)
	https := func() *httptest.ResponseRecorder {
		return serve(h, request("GET", "/", "Authorization: Bearer ann", "X-Forwarded-Proto: https"))
	}
	first, second := https(), https()
	for _, name := range []string{"Cache-Control", "X-Content-Type-Options", "Content-Security-Policy", "Referrer-Policy",
		"Cross-Origin-Opener-Policy", "Strict-Transport-Security"} {
		first.Header().Add(name, "first")
		second.Header().Add(name, "second")
		if got := first.Header()[name]; len(got) != 2 || got[1] != "first" {
			t.Errorf("%s: got %q", name, got)
		}
	}
}

func TestRolesAndCompetencies(t *testing.T) {
	p := &auth.Principal{Subject: "ann", Roles: []string{"user"}, Competencies: []string{"read", "write"}}
	for name, c := range map[string]struct {
		m    middleware.Middleware
		code auth.Code
	}{
		"no such role":         {middleware.RequireRole("admin"), auth.RoleMissing},
		"none of two":          {middleware.RequireRole("admin", "root"), auth.RoleMissing},
		"other case":           {middleware.RequireRole("User"), auth.RoleMissing},
		"a competency is none": {middleware.RequireRole("read"), auth.RoleMissing},
		"one of two":           {middleware.RequireRole("admin", "user"), ""},
		"no such competency":   {middleware.RequireCompetency("sign"), auth.CompetencyMissing},
		"one of two needed":    {middleware.RequireCompetency("read", "sign"), auth.CompetencyMissing},
		"a role is none":       {middleware.RequireCompetency("user"), auth.CompetencyMissing},
		"all":                  {middleware.RequireCompetency("read", "write"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			want(t, serve(c.m(whoami), as(request("GET", "/"), p)), c.code)
		})
	}
}

// ATK-I08: a demand's own words never reach a header of the answer.
func TestATK_I08_RoleInChallenge(t *testing.T) {
	h := middleware.RequireRole("x\"\r\nSet-Cookie: a=b")(whoami)
	w := serve(h, as(request("GET", "/"), &auth.Principal{Subject: "ann"}))
	want(t, w, auth.RoleMissing)
	if got := w.Header().Get("WWW-Authenticate"); strings.ContainsAny(got, "\r\n") || strings.Contains(got, "Set-Cookie") {
		t.Errorf("the role stands in the challenge: %q", got)
	}
}
