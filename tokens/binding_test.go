package tokens_test

import (
	"context"
	"encoding/base64"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/tokens"
)

// A binding goes into cnf (RFC 7800 section 3.1) and comes out again; the kinds that are not known yet do not go in.
func TestBinding(t *testing.T) {
	tok, _ := setup(t)
	raw := issue(t, tok, auth.Principal{Subject: "ann", Binding: "device:AbC-_1"})
	if body := string(must(base64.RawURLEncoding.DecodeString(strings.Split(raw, ".")[1]))); !strings.Contains(body, `"cnf":{"device":"AbC-_1"}`) {
		t.Errorf("got %s", body)
	}
	for range 2 { // the second time it is remembered
		if p := accepted(t, tok, raw); p.Binding != "device:AbC-_1" {
			t.Errorf("got %q", p.Binding)
		}
	}
	if p := accepted(t, tok, issue(t, tok, auth.Principal{Subject: "ann"})); p.Binding != "" {
		t.Errorf("got %q", p.Binding)
	}
	stamp, err := tok.Stamp(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	for _, binding := range []string{"x", "device", "device:", ":x", "jkt:0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I", "Device:x", "device:" + strings.Repeat("x", 122)} {
		if _, _, err := tok.Issue(stamp, &auth.Principal{Subject: "ann", Binding: binding}); err == nil || !strings.Contains(err.Error(), "the binding") {
			t.Errorf("%.40q: got %v", binding, err)
		}
	}
	if got := accepted(t, tok, forge(goodHeader, claimsWith("cnf", `{"device":"x"}`))); got.Binding != "device:x" {
		t.Errorf("got %q", got.Binding)
	}
	// What is bound in a way that is not known here must not pass as unbound.
	for _, cnf := range []string{
		`{"jkt":"x"}`, `{"device":"x","jkt":"y"}`, `{"x5t#S256":"x"}`, `{}`, `null`, `"device:x"`, `["device"]`, `1`, `true`, `{"device":1}`, `{"device":""}`,
		`{"device":null}`, `{"device":{"x":"y"}}`, `{"Device":"x"}`, `{"device":"x","device":"y"}`,
	} {
		refused(t, tok, forge(goodHeader, claimsWith("cnf", cnf)), tokens.ErrMalformed)
	}
	refused(t, tok, forge(goodHeader, claimsWith("CNF", `{"device":"x"}`)), tokens.ErrMalformed)
}

// The token of another issuer that is bound to its holder is no bearer token: guards refuse it, unless the application
// has looked at the proof.
func TestBinding_Foreign(t *testing.T) {
	const header = `{"alg":"HS256","typ":"JWT","kid":"k1"}`
	looked := false
	tok, _ := setup(t, func(c *tokens.Config) {
		c.AllowForeign, c.Type = true, "JWT"
		c.Validate = func(_ context.Context, c *tokens.Claims) error {
			if looked {
				c.Binding = ""
			}
			return nil
		}
	})
	for _, cnf := range []string{`{"jkt":"0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}`, `{"x5t#S256":"x"}`, `{"device":"x"}`, `{}`, `null`, `1`} {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Authorization", "Bearer "+forge(header, claimsWith("cnf", cnf)))
		looked = false
		if p, err := auth.Bearer(tok).Authenticate(r); auth.CodeOf(err) != auth.TokenInvalid || p != nil {
			t.Errorf("%s: got %v, %v", cnf, p, err)
		}
		if p, err := auth.Bearer(tok).Authenticate(r.WithContext(auth.Bind(r.Context(), "device:x"))); err == nil {
			t.Errorf("%s: %+v was let in by a device", cnf, p)
		}
		looked = true
		if _, err := auth.Bearer(tok).Authenticate(r); err != nil {
			t.Errorf("%s, looked at: %v", cnf, err)
		}
	}
}

// Service tokens: a kind of their own, the client is the subject, there is no session, and no claim makes a person a service.
func TestServiceTokens(t *testing.T) {
	access, _ := setup(t)
	service, _ := setup(t, func(c *tokens.Config) { c.Type, c.Audience = tokens.Service, "internal" })
	raw := issue(t, service, auth.Principal{Subject: "billing", Competencies: []string{"invoices:read"}})
	p := accepted(t, service, raw)
	if !p.Service || p.ClientID != "billing" || p.Session != "" || !p.Can("invoices:read") {
		t.Errorf("got %+v", p)
	}
	if p := accepted(t, service, raw); !p.Service {
		t.Error("a remembered service token is no service's")
	}
	if p := accepted(t, service, issue(t, service, auth.Principal{Subject: "billing", ClientID: "billing-eu"})); p.ClientID != "billing-eu" {
		t.Errorf("got %+v", p)
	}
	if p := accepted(t, access, issue(t, access, auth.Principal{Subject: "ann"})); p.Service || p.ClientID != audience {
		t.Errorf("got %+v", p)
	}
	for _, claim := range []string{"service", "Service", "svc"} {
		if p := accepted(t, access, forge(goodHeader, claimsWith(claim, "true"))); p.Service {
			t.Errorf("the claim %q makes a service", claim)
		}
	}
	refused(t, access, raw, tokens.ErrKind)
	refused(t, service, issue(t, access, auth.Principal{Subject: "ann"}), tokens.ErrKind)
	other, _ := setup(t, func(c *tokens.Config) { c.Type, c.Audience = tokens.Service, "reports" })
	refused(t, other, raw, tokens.ErrAudience)
	stamp, err := service.Stamp(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := service.Issue(stamp, &auth.Principal{Subject: "billing", Session: "s"}); err == nil {
		t.Error("a service token with a session was made")
	}
	if c, _, err := tokens.NewKind[string](tokens.Invite, 60e9).Verify(context.Background(), service, must(tokens.NewKind[string](tokens.Invite, 60e9).Issue(service, "ann", "x", 0))); err != nil || c.Service {
		t.Errorf("an invitation: got %+v, %v", c, err)
	}
}
