package middleware_test

import (
	"strings"
	"testing"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/middleware"
	"github.com/doorward/doorward/tokens"
)

func TestRequireService(t *testing.T) {
	guard := middleware.RequireService("billing", "reports")(whoami)
	for _, c := range []struct {
		name string
		p    *auth.Principal
		code auth.Code
	}{
		{"one of them", &auth.Principal{Subject: "billing", ClientID: "billing", Service: true}, ""},
		{"the other", &auth.Principal{Subject: "x", ClientID: "reports", Service: true}, ""},
		{"another service", &auth.Principal{Subject: "billing", ClientID: "mail", Service: true}, auth.RoleMissing},
		{"in capitals", &auth.Principal{Subject: "billing", ClientID: "Billing", Service: true}, auth.RoleMissing},
		{"no client", &auth.Principal{Subject: "billing", Service: true}, auth.RoleMissing},
		{"a person of that name", &auth.Principal{Subject: "billing", ClientID: "billing", Roles: []string{"billing"}}, auth.RoleMissing},
		{"an API key", &auth.Principal{Subject: "billing", TokenID: "billing"}, auth.RoleMissing},
		{"limited to an organisation", &auth.Principal{Subject: "billing", ClientID: "billing", Service: true, Tenant: "club"}, auth.TenantForbidden},
		{"nobody", nil, auth.CredentialsMissing},
	} {
		r := request("GET", "/")
		if c.p != nil {
			r = as(r, c.p)
		}
		w := serve(guard, r)
		if c.code == "" && w.Code != 200 || c.code != "" && problemCode(t, w.Body.Bytes()) != c.code {
			t.Errorf("%s: got %d %s, expected %q", c.name, w.Code, w.Body, c.code)
		}
	}
	judged := middleware.Chain(middleware.RequireTenant(auth.OwnTenant), middleware.RequireService("billing"))(whoami) // U-24
	want(t, serve(judged, as(request("GET", "/"), &auth.Principal{Subject: "billing", ClientID: "billing", Service: true, Tenant: "club"})), "")
	want(t, serve(middleware.RequireService("")(whoami), as(request("GET", "/"), ambient("s"))), auth.Internal)
	want(t, serve(middleware.RequireService("a", "")(whoami), as(request("GET", "/"), ambient("s"))), auth.Internal)
}

// ATK-J21, with real tokens: a service's opens no route for people, a person's none for services, nor one of another audience.
func TestRequireService_ATK_J21_RealTokens(t *testing.T) {
	ring := tokens.NewKeyring(tokens.FromSecret([]byte("u8Zq-3bXk9_Lr2Vd5Nf7Hs1Tg4Ym6Pc0Wj-a")))
	make := func(c tokens.Config) (*tokens.Tokens, string) {
		c.Keys, c.Issuer = ring, own
		tok, err := tokens.New(c)
		if err != nil {
			t.Fatal(err)
		}
		stamp, err := tok.Stamp(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		raw, _, err := tok.Issue(stamp, &auth.Principal{Subject: "billing", Competencies: []string{"invoices:read"}})
		if err != nil {
			t.Fatal(err)
		}
		return tok, raw
	}
	people, persons := make(tokens.Config{Audience: "api"})
	services, ours := make(tokens.Config{Audience: "internal", Type: tokens.Service})
	_, elsewhere := make(tokens.Config{Audience: "reports", Type: tokens.Service})
	internal := middleware.Chain(middleware.RequireAuth(auth.Bearer(services)), middleware.RequireService("billing"), middleware.RequireCompetency("invoices:read"))(whoami)
	public := middleware.RequireAuth(auth.Bearer(people))(whoami)
	call := func(raw string) string { return "Authorization: Bearer " + raw }
	want(t, serve(internal, request("GET", "/", call(ours))), "")
	want(t, serve(internal, request("GET", "/", call(persons))), auth.TokenInvalid)
	want(t, serve(internal, request("GET", "/", call(elsewhere))), auth.TokenInvalid)
	want(t, serve(public, request("GET", "/", call(persons))), "")
	want(t, serve(public, request("GET", "/", call(ours))), auth.TokenInvalid)
	if w := serve(middleware.RequireAuth(auth.Bearer(services))(middleware.RequireService("mail")(whoami)), request("GET", "/", call(ours))); w.Code != 403 ||
		!strings.Contains(w.Header().Get("WWW-Authenticate"), "insufficient_scope") {
		t.Errorf("got %d %q", w.Code, w.Header())
	}
}
