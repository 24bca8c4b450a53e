package middleware_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/middleware"
)

// site is a whole chain on a real server.
func site(t *testing.T, csrf *middleware.CSRF) *httptest.Server {
	t.Helper()
	outer := middleware.Chain(middleware.SecureHeaders(), middleware.ClientIP("X-Forwarded-For", proxies...))
	guard := middleware.Chain(middleware.RequireAuth(bearer, browser), middleware.RequireCSRF(csrf))
	mux := http.NewServeMux()
	mux.Handle("/me", guard(whoami))
	mux.Handle("POST /json", middleware.Chain(guard, middleware.RequireJSON(1000))(whoami))
	mux.Handle("/admin", middleware.Chain(guard, middleware.RequireRole("root"))(whoami))
	mux.Handle("/sign", middleware.Chain(guard, middleware.RequireCompetency("sign"))(whoami))
	mux.Handle("/public", middleware.OptionalAuth(bearer, browser)(whoami))
	s := httptest.NewServer(outer(mux))
	t.Cleanup(s.Close)
	return s
}

// STD-H01 to STD-H09 on the wire.
func TestAnswersOnTheWire(t *testing.T) {
	log := captureLog(t)
	csrf := newCSRF(t)
	s := site(t, csrf)
	const (
		plain     = `Bearer realm="api"`
		invalid   = `error="invalid_token"`
		scope     = `error="insufficient_scope"`
		malformed = `error="invalid_request"`
	)
	for name, c := range map[string]struct {
		method, path string
		headers      []string
		code         auth.Code
		challenge    string // what WWW-Authenticate holds; "" for none
	}{
		"STD-H01 nothing":               {"GET", "/me", nil, auth.CredentialsMissing, plain},
		"STD-H02 expired":               {"GET", "/me", []string{"Authorization: Bearer expired"}, auth.TokenExpired, invalid},
		"STD-H02 invalid":               {"GET", "/me", []string{"Authorization: Bearer nobody"}, auth.TokenInvalid, invalid},
		"STD-H02 revoked":               {"GET", "/me", []string{"Authorization: Bearer revoked"}, auth.TokenRevoked, invalid},
		"STD-H02 no role":               {"GET", "/admin", []string{"Authorization: Bearer ann"}, auth.RoleMissing, scope},
		"STD-H02 no competency":         {"GET", "/sign", []string{"Authorization: Bearer ann"}, auth.CompetencyMissing, scope},
		"STD-H03 header and cookie":     {"GET", "/me", []string{"Authorization: Bearer ann", "Cookie: access=ann"}, auth.RequestMalformed, malformed},
		"STD-H03 two headers":           {"GET", "/me", []string{"Authorization: Bearer ann", "Authorization: Bearer bob"}, auth.RequestMalformed, malformed},
		"STD-H03 header and query":      {"GET", "/me?access_token=ann", []string{"Authorization: Bearer ann"}, auth.RequestMalformed, malformed},
		"STD-H03 query alone":           {"GET", "/me?access_token=ann", nil, auth.RequestMalformed, malformed},
		"STD-H04 lower case":            {"GET", "/me", []string{"Authorization: bearer ann"}, "", ""},
		"STD-H04 upper case":            {"GET", "/me", []string{"Authorization: BEARER ann"}, "", ""},
		"STD-H04 empty":                 {"GET", "/me", []string{"Authorization: Bearer "}, auth.RequestMalformed, malformed},
		"STD-H04 tab":                   {"GET", "/me", []string{"Authorization: Bearer a\tb"}, auth.RequestMalformed, malformed},
		"STD-H04 comma":                 {"GET", "/me", []string{"Authorization: Bearer ann,bob"}, auth.RequestMalformed, malformed},
		"STD-H04 space":                 {"GET", "/me", []string{"Authorization: Bearer ann bob"}, auth.RequestMalformed, malformed},
		"STD-H04 alphabet":              {"GET", "/me", []string{"Authorization: Bearer \"ann\""}, auth.RequestMalformed, malformed},
		"STD-H06 panic":                 {"GET", "/me", []string{"Authorization: Bearer panic"}, auth.Internal, ""},
		"STD-H06 store":                 {"GET", "/me", []string{"Authorization: Bearer down"}, auth.StoreUnavailable, ""},
		"STD-H07 good":                  {"GET", "/me", []string{"Authorization: Bearer ann"}, "", ""},
		"STD-H07 optional, nobody":      {"GET", "/public", nil, "", ""},
		"STD-H07 optional, somebody":    {"GET", "/public", []string{"Cookie: access=ann"}, "", ""},
		"STD-H09 optional, expired":     {"GET", "/public", []string{"Cookie: access=expired"}, auth.TokenExpired, invalid},
		"STD-H09 optional, invalid":     {"GET", "/public", []string{"Authorization: Bearer nobody"}, auth.TokenInvalid, invalid},
		"a cookie without CSRF token":   {"POST", "/me", []string{"Cookie: access=ann"}, auth.CSRFFailed, ""},
		"a cookie of a foreign page":    {"POST", "/me", []string{"Cookie: access=ann", "Origin: https://evil.example"}, auth.CSRFFailed, ""},
		"a cookie and its token":        {"POST", "/me", []string{"Cookie: access=ann", "Origin: " + own, "X-CSRF-Token: " + token(t, csrf, "sid-ann")}, "", ""},
		"TRACE with a cookie":           {"TRACE", "/me", []string{"Cookie: access=ann"}, auth.CSRFFailed, ""},
		"no JSON":                       {"POST", "/json", []string{"Authorization: Bearer ann", "Content-Type: text/plain"}, auth.MediaType, ""},
		"JSON without a credential":     {"POST", "/json", []string{"Content-Type: application/json"}, auth.CredentialsMissing, plain},
		"ATK-C07 form with JSON, token": {"POST", "/json", []string{"Cookie: access=ann", "Origin: " + own, "X-CSRF-Token: " + token(t, csrf, "sid-ann"), "Content-Type: text/plain"}, auth.MediaType, ""},
	} {
		t.Run(name, func(t *testing.T) {
			log.Reset()
			r, err := http.NewRequest(c.method, s.URL+c.path, nil)
			if err != nil {
				t.Fatal(err)
			}
			for _, h := range c.headers {
				name, value, _ := strings.Cut(h, ": ")
				r.Header.Add(name, value)
			}
			res, err := http.DefaultTransport.RoundTrip(r)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = res.Body.Close() }()
			body, err := io.ReadAll(res.Body)
			if err != nil {
				t.Fatal(err)
			}
			if c.code == "" {
				if res.StatusCode != http.StatusOK {
					t.Fatalf("got %d %s", res.StatusCode, body)
				}
			} else {
				wantProblem(t, res, body, c.code, c.challenge)
			}
			// STD-H08: on each answer, whoever gave it.
			if h := res.Header; h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Referrer-Policy") != "no-referrer" ||
				!strings.Contains(h.Get("Content-Security-Policy"), "frame-ancestors 'none'") || len(h["Content-Security-Policy"]) != 1 {
				t.Errorf("headers are missing: %v", h)
			}
			// STD-H07: only what is for everybody may be kept.
			if public := c.path == "/public" && string(body) == "nobody"; (res.Header.Get("Cache-Control") == "no-store") == public {
				t.Errorf("Cache-Control: got %q", res.Header.Get("Cache-Control"))
			}
			if c.path == "/public" && res.Header.Get("Vary") != "Cookie, Authorization" {
				t.Errorf("Vary: got %q", res.Header.Get("Vary"))
			}
			// F-56: a fault of ours is an error, a refusal is news, in bounds; who has shown nothing is neither.
			text := log.String()
			switch {
			case c.code == "" || c.code == auth.CredentialsMissing:
				if text != "" {
					t.Errorf("%d: logged: %s", res.StatusCode, text)
				}
			case res.StatusCode >= 500 && !strings.Contains(text, `"level":"ERROR"`), res.StatusCode < 500 && text != "" && !strings.Contains(text, `"level":"INFO"`):
				t.Errorf("%d: logged: %s", res.StatusCode, text)
			}
		})
	}
}

// wantProblem checks a refusal (STD-H01, STD-H02, STD-H05, STD-H06).
func wantProblem(t *testing.T, res *http.Response, body []byte, code auth.Code, challenge string) {
	t.Helper()
	var p struct {
		Type, Title, Detail string
		Status              int
		Code                auth.Code
	}
	if err := json.Unmarshal(body, &p); err != nil || res.Header.Get("Content-Type") != "application/problem+json" {
		t.Fatalf("no problem: %v %s", err, body)
	}
	if p.Code != code || p.Status != res.StatusCode || res.StatusCode != code.Status() || p.Type == "" || p.Title == "" || p.Detail == "" {
		t.Errorf("got %d %+v, want %s", res.StatusCode, p, code)
	}
	got := res.Header.Get("WWW-Authenticate")
	if !strings.Contains(got, challenge) || challenge == "" && got != "" || code == auth.CredentialsMissing && strings.Contains(got, "error=") {
		t.Errorf("WWW-Authenticate: got %q, want %q", got, challenge)
	}
	if strings.Contains(string(body), "secret-cause") || strings.Contains(string(body), "10.1.2.3") {
		t.Errorf("the answer tells the cause: %s", body)
	}
}
