package apikey_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/auth/apikey"
	"github.com/doorward/doorward/middleware"
)

// ATK-S11, ATK-J28: two issuers with a subject "ann" each, over one store. A key of the one opens nothing at the other,
// and the other neither sees nor ends it.
func TestKeys_ATK_S11_ATK_J28_TwoIssuersInOneStore(t *testing.T) {
	w := setup(t)
	text, key := w.create()
	w.told()
	other := setup(t, func(c *apikey.Config) { c.Store, c.Issuer = w.store, "https://other.example.com" })

	compares, undo := apikey.CountCompares()
	gets := w.store.gets.Load()
	other.refused("another issuer's key", text, auth.APIKeyInvalid)
	if *compares < 4 || w.store.gets.Load() != gets+1 {
		t.Errorf("it costs %d comparisons and %d gets, expected what an unknown id costs", *compares, w.store.gets.Load()-gets)
	}
	undo()
	for _, e := range other.events {
		if e.Subject != "" {
			t.Errorf("the event names a subject of the other issuer: %+v", e)
		}
	}
	if list, err := other.List(ctx, "ann", ""); err != nil || len(list) > 0 {
		t.Errorf("listed at the other issuer: %v, %v", list, err)
	}
	if _, _, err := other.Rotate(ctx, "ann", "", key.ID, 0); auth.CodeOf(err) != auth.NotFound {
		t.Errorf("rotated by the other issuer: %v", err)
	}
	if err := other.Revoke(ctx, "ann", "", key.ID); auth.CodeOf(err) != auth.NotFound {
		t.Errorf("revoked by the other issuer: %v", err)
	}
	if err := other.RevokeAll(ctx, "ann"); err != nil {
		t.Error(err)
	}
	if p := w.verified(text); p.Owner() != (auth.Owner{Issuer: issuer, Subject: "ann"}) {
		t.Errorf("got %+v", p.Owner())
	}
}

// U-24, U-25: ann belongs to two organisations. She has one list of keys, each key works in its own organisation for its
// whole life, and one end.
func TestKeys_U_24_U_25_LimitedToOneOrganisation(t *testing.T) {
	// What she may do where, asked for at each use.
	may := map[string][]string{"acme": {"read", "write"}, "club": {"read", "found"}, "": {"read"}}
	w := setup(t, func(c *apikey.Config) {
		c.Validate = func(_ context.Context, p *auth.Principal) error {
			p.Competencies = may[p.Tenant]
			return nil
		}
	})
	in := func(tenant string) func(*apikey.Spec) {
		return func(s *apikey.Spec) { s.Tenant, s.Scopes = tenant, []string{"read", "write", "found"} }
	}
	texts := map[string]string{}
	for tenant, want := range may {
		text, key := w.create(in(tenant))
		texts[tenant] = text
		next := w.rotate(key.ID, time.Hour)
		for _, text := range []string{text, next} {
			if p := w.verified(text); p.Tenant != tenant || !slices.Equal(p.Competencies, want) {
				t.Errorf("limited to %q: got the tenant %q and %q, expected %q", tenant, p.Tenant, p.Competencies, want)
			}
		}
	}
	if may["acme"][0] != "read" || len(may["club"]) != 2 {
		t.Error("the kit changed the application's own slice")
	}
	list, err := w.List(ctx, "ann", "")
	if err != nil || len(list) != len(may) {
		t.Errorf("got %d keys, %v, expected one list of %d", len(list), err, len(may))
	}
	if err := w.RevokeAll(ctx, "ann"); err != nil {
		t.Fatal(err)
	}
	for tenant, text := range texts {
		w.refused("revoked, "+tenant, text, auth.APIKeyInvalid)
	}
}

// U-24: a key's own limits only cut, whatever the application's hook writes into the principal.
func TestValidate_U_24_NeverWidens(t *testing.T) {
	var hook func(*auth.Principal)
	w := setup(t, func(c *apikey.Config) {
		c.Validate = func(_ context.Context, p *auth.Principal) error { hook(p); return nil }
	})
	text, _ := w.create(func(s *apikey.Spec) { s.Scopes = []string{"read", "write"} })

	hook = func(p *auth.Principal) { p.Competencies = []string{"everything", "read", "delete"} } // all that the owner may do
	if p := w.verified(text); !slices.Equal(p.Competencies, []string{"read"}) {
		t.Errorf("got %q, expected what is both a scope and the owner's", p.Competencies)
	}
	hook = func(p *auth.Principal) { p.Competencies[0] = "everything" }
	if p := w.verified(text); !slices.Equal(p.Competencies, []string{"write"}) {
		t.Errorf("got %q: a scope was written over", p.Competencies)
	}
	hook = func(p *auth.Principal) { p.Claims = "gold" }
	if p := w.verified(text); p.Claims != "gold" {
		t.Errorf("got the claims %v", p.Claims)
	}
	for name, change := range map[string]func(*auth.Principal){
		"no tenant":      func(p *auth.Principal) { p.Tenant = "" },
		"another tenant": func(p *auth.Principal) { p.Tenant = "club" },
		"roles":          func(p *auth.Principal) { p.Roles = []string{"admin"} },
		"a session":      func(p *auth.Principal) { p.Session = "s" },
		"no token id":    func(p *auth.Principal) { p.TokenID = "" },
		"a subject":      func(p *auth.Principal) { p.Subject = "bob" },
		"an issuer":      func(p *auth.Principal) { p.Issuer = "https://other.example.com" },
		"a longer life":  func(p *auth.Principal) { p.Expires = p.Expires.Add(time.Hour) },
		"a proof":        func(p *auth.Principal) { p.Methods, p.AuthTime = []string{"pwd"}, w.at },
		"a service":      func(p *auth.Principal) { p.Service, p.ClientID = true, "billing" },
	} {
		hook = change
		w.refused(name, text, auth.Internal)
	}
}

// ATK-J28, U-24: a key that is limited to an organisation passes no guard that needs a role, a service or a recent proof.
func TestKeys_U_24_GuardsOfOtherThings(t *testing.T) {
	w := setup(t)
	text, _ := w.create(func(s *apikey.Spec) { s.Scopes = []string{"admin"} })
	for name, guard := range map[string]middleware.Middleware{
		"role": middleware.RequireRole("admin"), "service": middleware.RequireService("ann"), "recent": middleware.RequireRecentAuth(time.Hour),
	} {
		h := middleware.Chain(middleware.RequireAuth(auth.Header("X-API-Key", w.Keys)), guard)(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
			t.Errorf("%s: let in", name)
		}))
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("X-API-Key", text)
		h.ServeHTTP(httptest.NewRecorder(), r)
	}
	if _, _, err := w.Create(ctx, apikey.Spec{Subject: "ann", Tenant: "a\xff", Name: "x"}); err == nil || errors.Is(err, auth.ValidationFailed) {
		t.Errorf("a tenant of invalid UTF-8: got %v", err)
	}
}

// U-24, J-28: who asks with a credential of one organisation reaches that one's keys alone. A rotation hands out a secret, so
// that otherwise a token of a club would become all that its owner may do.
func TestKeys_U_24_ATK_J28_TheAskerIsLimitedToo(t *testing.T) {
	w := setup(t)
	made, texts := map[string]apikey.Key{}, map[string]string{}
	for _, tenant := range []string{"", "acme", "club"} {
		texts[tenant], made[tenant] = w.create(func(s *apikey.Spec) { s.Tenant = tenant })
	}
	w.told()
	for _, tenant := range []string{"", "acme"} {
		if _, _, err := w.Rotate(ctx, "ann", "club", made[tenant].ID, 0); auth.CodeOf(err) != auth.NotFound {
			t.Errorf("limited to club, a key of %q: rotated: %v", tenant, err)
		}
		if err := w.Revoke(ctx, "ann", "club", made[tenant].ID); auth.CodeOf(err) != auth.NotFound {
			t.Errorf("limited to club, a key of %q: revoked: %v", tenant, err)
		}
		w.verified(texts[tenant])
	}
	w.wantTold()
	for tenant, want := range map[string]int{"": 3, "acme": 1, "club": 1, "nowhere": 0} {
		list, err := w.List(ctx, "ann", tenant)
		if err != nil || len(list) != want || tenant != "" && want == 1 && list[0].Tenant != tenant {
			t.Errorf("limited to %q: listed %+v, %v, expected %d", tenant, list, err, want)
		}
	}
	next, key, err := w.Rotate(ctx, "ann", "club", made["club"].ID, 0)
	if err != nil || key.Tenant != "club" {
		t.Fatalf("his own: got %+v, %v", key, err)
	}
	if p := w.verified(next.Reveal()); p.Tenant != "club" {
		t.Errorf("got the tenant %q", p.Tenant)
	}
	if err := w.Revoke(ctx, "ann", "club", key.ID); err != nil {
		t.Error(err)
	}
	if err := w.Revoke(ctx, "ann", "club", key.ID); auth.CodeOf(err) != auth.NotFound {
		t.Errorf("twice: %v", err)
	}
	w.store.err = errors.New("down")
	if err := w.Revoke(ctx, "ann", "club", made["acme"].ID); auth.CodeOf(err) != auth.StoreUnavailable {
		t.Errorf("the store is down: %v", err)
	}
}
