package auth_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/doorward/doorward/auth"
)

// The table of DESIGN.md, written a second time on purpose.
var statuses = map[auth.Code]int{
	auth.CredentialsMissing: 401, auth.TokenExpired: 401, auth.TokenInvalid: 401, auth.TokenRevoked: 401,
	auth.APIKeyInvalid: 401, auth.APIKeyExpired: 401,
	auth.RefreshReused: 401, auth.StepUpRequired: 401, auth.LoginFailed: 401,
	auth.RoleMissing: 403, auth.CompetencyMissing: 403, auth.TenantForbidden: 403, auth.CSRFFailed: 403,
	auth.NotFound: 404, auth.RequestMalformed: 400, auth.TooLarge: 413, auth.MediaType: 415,
	auth.ValidationFailed: 422, auth.RateLimited: 429, auth.StoreUnavailable: 503, auth.Busy: 503, auth.Internal: 500,
}

func TestCodes(t *testing.T) {
	for code, status := range statuses {
		if code.Status() != status {
			t.Errorf("%s: got status %d, expected %d", code, code.Status(), status)
		}
		wrapped := fmt.Errorf("outer: %w", fmt.Errorf("%w: a reason", code))
		if auth.CodeOf(wrapped) != code || !errors.Is(wrapped, code) {
			t.Errorf("%s is not found in %q", code, wrapped)
		}
	}
	for _, err := range []error{nil, errors.New("x"), auth.Code("invented"), context.Canceled} {
		if got := auth.CodeOf(err); got != auth.Internal {
			t.Errorf("CodeOf(%v): got %s, expected internal", err, got)
		}
	}
	if auth.Code("invented").Status() != 500 {
		t.Error("a code outside the table is not a 500")
	}
}

type detailed struct{ error }

func (d detailed) Unwrap() error             { return d.error }
func (detailed) RetryAfter() time.Duration   { return 1500 * time.Millisecond }
func (detailed) Fields() map[string]string   { return map[string]string{"name": "too short"} }
func (detailed) ResponseHeader() http.Header { return http.Header{"Set-Cookie": {"a=; Max-Age=0"}} }

func problem(t *testing.T, err error) (*http.Response, map[string]any) {
	t.Helper()
	w := httptest.NewRecorder()
	w.Header().Set("Content-Length", "3")
	w.Header().Set("Cache-Control", "public")
	w.Header().Set("ETag", `"x"`)
	auth.WriteProblem(w, err)
	res := w.Result()
	text, _ := io.ReadAll(res.Body)
	var body map[string]any
	if err := json.Unmarshal(text, &body); err != nil {
		t.Fatalf("the body is no JSON: %q", text)
	}
	return res, body
}

// STD-H05, STD-H06, STD-H07, STD-H08: every code as a problem, without the cause.
func TestProblem(t *testing.T) {
	for code, status := range statuses {
		res, body := problem(t, fmt.Errorf("%w: dial tcp 10.0.0.7 password=hunter2", code))
		if res.StatusCode != status || body["status"] != float64(status) || body["code"] != string(code) {
			t.Errorf("%s: got status %d and %v", code, res.StatusCode, body)
		}
		if body["type"] != "about:blank" || body["title"] != http.StatusText(status) || body["detail"] == "" {
			t.Errorf("%s: got %v, expected type, title and detail of RFC 9457", code, body)
		}
		if text := fmt.Sprint(body); strings.Contains(text, "hunter2") || strings.Contains(text, "10.0.0.7") {
			t.Errorf("%s: the cause is in the answer: %s", code, text)
		}
		for name, want := range map[string]string{
			"Content-Type": "application/problem+json", "Cache-Control": "no-store",
			"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
			"Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
			"Content-Length":          "", "Etag": "",
		} {
			if got := res.Header.Get(name); got != want {
				t.Errorf("%s: %s: got %q, expected %q", code, name, got, want)
			}
		}
		if has := res.Header.Get("WWW-Authenticate") != ""; status == 401 && !has {
			t.Errorf("%s: 401 without WWW-Authenticate", code)
		}
		if has := res.Header.Get("Retry-After") != ""; status == 503 && !has {
			t.Errorf("%s: 503 without Retry-After", code)
		}
	}
}

// STD-H01, STD-H02.
func TestChallenge(t *testing.T) {
	for code, want := range map[auth.Code]string{
		auth.CredentialsMissing: `Bearer realm="api"`,
		auth.LoginFailed:        `Bearer realm="api"`,
		auth.TokenExpired:       `error="invalid_token"`,
		auth.TokenInvalid:       `error="invalid_token"`,
		auth.TokenRevoked:       `error="invalid_token"`,
		auth.RoleMissing:        `error="insufficient_scope"`,
		auth.CompetencyMissing:  `error="insufficient_scope"`,
		auth.RequestMalformed:   `error="invalid_request"`,
		auth.StepUpRequired:     `error="insufficient_user_authentication"`,
	} {
		res, _ := problem(t, code)
		got := res.Header.Get("WWW-Authenticate")
		if !strings.HasPrefix(got, `Bearer realm="api"`) || !strings.Contains(got, want) {
			t.Errorf("%s: got %q, expected %q", code, got, want)
		}
		if code == auth.CredentialsMissing && strings.Contains(got, "error") {
			t.Errorf("without credentials there must be no error attribute: %q", got)
		}
	}
	for _, code := range []auth.Code{auth.CSRFFailed, auth.NotFound, auth.RateLimited, auth.Internal} {
		if res, _ := problem(t, code); res.Header.Get("WWW-Authenticate") != "" {
			t.Errorf("%s has a challenge", code)
		}
	}
}

type challenging struct{ error }

func (c challenging) Unwrap() error { return c.error }
func (challenging) Challenge() map[string]string {
	return map[string]string{
		"max_age": "300", "acr_values": "a b", "quote": `a"b`, "slash": `a\b`, "line": "a\r\nSet-Cookie: x=y", "umlaut": "ä",
		"": "x", "a b": "x", "a=b": "x", "a,b": "x", "empty": "",
	}
}

// ATK-I08, RFC 9470 section 3: an error adds parameters to the challenge, and no header of its own.
func TestChallengeParams(t *testing.T) {
	res, _ := problem(t, challenging{auth.StepUpRequired})
	const want = `Bearer realm="api", error="insufficient_user_authentication", error_description="A more recent or stronger proof is required.", acr_values="a b", empty="", max_age="300"`
	if got := res.Header["Www-Authenticate"]; len(got) != 1 || got[0] != want {
		t.Errorf("got %q", got)
	}
	if res, _ := problem(t, challenging{auth.Busy}); res.Header.Get("WWW-Authenticate") != "" {
		t.Error("a 503 has a challenge")
	}
}

func TestProblemExtras(t *testing.T) {
	res, body := problem(t, fmt.Errorf("login: %w", detailed{auth.ValidationFailed}))
	if got := res.Header.Get("Retry-After"); got != "2" {
		t.Errorf("Retry-After: got %q, expected 1.5 s rounded up to 2", got)
	}
	if got := res.Header.Get("Set-Cookie"); got != "a=; Max-Age=0" {
		t.Errorf("Set-Cookie: got %q", got)
	}
	if got := fmt.Sprint(body["fields"]); got != "map[name:too short]" {
		t.Errorf("fields: got %s", got)
	}
}

// ATK-I05, STD-V07.
func TestPairIsMasked(t *testing.T) {
	pair := auth.Pair{Access: "hunter2", Refresh: "hunter2"}
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		fmt.Fprintf(&out, verb+verb+verb+"\n", pair, &pair, struct{ P auth.Pair }{pair})
	}
	log := slog.New(slog.NewTextHandler(&out, nil))
	log.Info("login", "pair", pair, "pointer", &pair, slog.Group("g", "pair", pair))
	slog.New(slog.NewJSONHandler(&out, nil)).Info("login", "pair", pair, "in", struct{ P auth.Pair }{pair})
	text, err := json.Marshal(map[string]any{"pair": pair, "pointer": &pair})
	if err != nil {
		t.Fatal(err)
	}
	out.Write(text)
	if strings.Contains(out.String(), "hunter2") || strings.Contains(out.String(), fmt.Sprintf("%x", "hunter2")) {
		t.Errorf("the secret is printed:\n%s", out.String())
	}
	if !strings.Contains(out.String(), "[secret]") {
		t.Errorf("no mask is printed:\n%s", out.String())
	}
}

// ATK-I05, STD-V07: also in a field that package fmt asks for no mask, by value and by pointer.
func TestSecretIsMasked(t *testing.T) {
	s := auth.NewSecret("hunter2")
	if s.Reveal() != "hunter2" || (auth.Secret{}).Reveal() != "" {
		t.Fatalf("got %q", s.Reveal())
	}
	hidden := struct {
		s auth.Secret
		p *auth.Secret
	}{s, &s}
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		_, _ = fmt.Fprintf(&out, verb+verb+verb+verb+"\n", s, &s, struct{ S auth.Secret }{s}, hidden)
	}
	slog.New(slog.NewTextHandler(&out, nil)).Info("made", "secret", s, "pointer", &s, slog.Group("g", "hidden", hidden))
	slog.New(slog.NewJSONHandler(&out, nil)).Info("made", "secret", s, "in", struct{ S auth.Secret }{s})
	text, err := json.Marshal(map[string]any{"secret": s, "pointer": &s})
	if err != nil {
		t.Fatal(err)
	}
	out.Write(text)
	if strings.Contains(out.String(), "hunter2") || strings.Contains(out.String(), fmt.Sprintf("%x", "hunter2")) {
		t.Errorf("the secret is printed:\n%s", out.String())
	}
	if !strings.Contains(out.String(), "[secret]") {
		t.Errorf("no mask is printed:\n%s", out.String())
	}
}

func TestRolesAndCompetencies(t *testing.T) {
	p := &auth.Principal{Roles: []string{"editor"}, Competencies: []string{"sign", "approve"}}
	for _, c := range []struct {
		name      string
		got, want bool
	}{
		{"has one of two", p.HasRole("admin", "editor"), true},
		{"has none", p.HasRole("admin"), false},
		{"none asked", p.HasRole(), false},
		{"nobody has a role", (*auth.Principal)(nil).HasRole("editor"), false},
		{"can both", p.Can("sign", "approve"), true},
		{"can one of two", p.Can("sign", "pay"), false},
		{"nothing asked", p.Can(), false},
		{"nobody can", (*auth.Principal)(nil).Can("sign"), false},
	} {
		if c.got != c.want {
			t.Errorf("%s: got %t", c.name, c.got)
		}
	}
}

func TestContext(t *testing.T) {
	ctx := context.Background()
	if p, ok := auth.FromContext(ctx); ok || p != nil {
		t.Error("an empty context has a principal")
	}
	if _, ok := auth.FromContext(auth.NewContext(ctx, nil)); ok {
		t.Error("a nil principal counts as one")
	}
	type plan struct{ Tier string }
	ctx = auth.NewContext(ctx, &auth.Principal{Subject: "ann", Claims: plan{"gold"}})
	if c, ok := auth.ClaimsFrom[plan](ctx); !ok || c.Tier != "gold" {
		t.Errorf("got %v, %t", c, ok)
	}
	if _, ok := auth.ClaimsFrom[string](ctx); ok {
		t.Error("claims of another type are found")
	}
}

func TestRevocationValidate(t *testing.T) {
	for _, c := range []struct {
		name string
		r    auth.Revocation
		ok   bool
	}{
		{"session", auth.Revocation{Owner: auth.Owner{Issuer: "i", Subject: "s"}, Session: "x"}, true},
		{"token", auth.Revocation{Owner: auth.Owner{Issuer: "i", Subject: "s"}, TokenID: "x"}, true},
		{"version", auth.Revocation{Owner: auth.Owner{Issuer: "i", Subject: "s"}, Below: 2}, true},
		{"nothing", auth.Revocation{Owner: auth.Owner{Issuer: "i", Subject: "s"}}, false},
		{"two things", auth.Revocation{Owner: auth.Owner{Issuer: "i", Subject: "s"}, Session: "x", Below: 2}, false},
		{"no issuer", auth.Revocation{Owner: auth.Owner{Subject: "s"}, Session: "x"}, false},
		{"no subject", auth.Revocation{Owner: auth.Owner{Issuer: "i"}, Session: "x"}, false},
		{"negative", auth.Revocation{Owner: auth.Owner{Issuer: "i", Subject: "s"}, Below: -1}, false},
	} {
		if err := c.r.Validate(); (err == nil) != c.ok {
			t.Errorf("%s: got %v", c.name, err)
		}
	}
}

func ExampleWriteProblem() {
	w := httptest.NewRecorder()
	auth.WriteProblem(w, fmt.Errorf("%w: version 3 is below 4", auth.TokenExpired))
	fmt.Println(w.Code, w.Header().Get("WWW-Authenticate"))
	fmt.Print(w.Body)
	// Output:
	// 401 Bearer realm="api", error="invalid_token", error_description="The access token has expired."
	// {"type":"about:blank","title":"Unauthorized","status":401,"detail":"The access token has expired.","code":"token_expired"}
}
