package session_test

import (
	"context"
	"encoding/json"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/auth/session"
	"github.com/doorward/doorward/tokens"
)

// device is what an application keeps of one login; plan is what it says of the subject today.
type device struct {
	ID   string `json:"device_id,omitempty"`
	Type string `json:"device_type,omitempty"`
	Plan string `json:"plan,omitempty"`
}

// claims gives the world tokens with claims of the application's own.
func (w *world) claims(c tokens.Custom, change ...func(*session.Config)) {
	w.Helper()
	var err error
	w.tokens, err = tokens.New(tokens.Config{Keys: w.keys, Issuer: issuer, Audience: "api", List: w.store.Revocations(), Claims: c, Now: w.now})
	ok(w, err)
	cfg := session.Config{Store: w.store, Tokens: w.tokens, Subjects: w.users, Observe: w.observe}
	for _, f := range change {
		f(&cfg)
	}
	w.Sessions, err = session.New(cfg)
	ok(w, err)
}

// F-47: a login's own claims stand in each token of that login and of no other, beside what holds for the subject today.
func TestStart_F_47_ClaimsOfALogin(t *testing.T) {
	w := setup(t)
	w.claims(tokens.CustomClaims[device]())
	login := func(claims any) *auth.Pair {
		p := ann(1)
		p.Claims = claims
		return w.login(p)
	}
	want := func(pair *auth.Pair, want any) {
		t.Helper()
		if p := w.accepted(pair); p.Claims != want {
			t.Errorf("got the claims %+v, expected %+v", p.Claims, want)
		}
	}
	phone, laptop, none := login(device{ID: "d1", Type: "phone"}), login(device{ID: "d2", Plan: "stolen"}), login(nil)
	want(phone, device{ID: "d1", Type: "phone"})
	for plan := range slices.Values([]string{"free", "paid"}) {
		w.users.set("ann", func(s *session.Subject) { s.Claims = device{Plan: plan} })
		phone, laptop, none = w.refresh(phone.Refresh), w.refresh(laptop.Refresh), w.refresh(none.Refresh)
		want(phone, device{ID: "d1", Type: "phone", Plan: plan})
		want(laptop, device{ID: "d2", Plan: plan}) // today's wins: a login cannot keep a plan for itself
		want(none, device{Plan: plan})
	}
	lent, err := w.Lend(ctx, phone.Refresh, auth.Client{})
	ok(t, err)
	want(lent, device{ID: "d1", Type: "phone", Plan: "paid"})

	// A step-up keeps the login's own claims. The principal of a request carries today's too, which must not stay.
	step := w.accepted(phone)
	step.Methods = []string{"pwd", "otp"}
	phone = w.login(step)
	w.users.set("ann", func(s *session.Subject) { s.Claims = device{Plan: "free"} })
	phone = w.refresh(phone.Refresh)
	want(phone, device{ID: "d1", Type: "phone", Plan: "free"})

	// What cannot stand in a token is told at the login, and burns no rotation later.
	for name, claims := range map[string]any{"another type": 7, "too large": device{ID: strings.Repeat("x", 3<<10)}} {
		p := ann(1)
		p.Claims = claims
		if pair, err := w.Start(ctx, session.Login{Principal: p}); err == nil || pair != nil || auth.CodeOf(err) != auth.Internal {
			t.Errorf("%s: got %v", name, err)
		}
	}
	w.users.set("ann", func(s *session.Subject) { s.Claims = device{Plan: strings.Repeat("x", 8<<10)} })
	w.refused(phone.Refresh, auth.Internal)
	w.users.set("ann", func(s *session.Subject) { s.Claims = nil })
	want(w.refresh(phone.Refresh), device{ID: "d1", Type: "phone"})
}

// D-51: names that nobody knew at compile time.
func TestStart_D_51_ClaimsOfAnyName(t *testing.T) {
	w := setup(t)
	w.claims(tokens.CustomClaims[map[string]any]())
	p := ann(1)
	p.Claims = map[string]any{"device_id": "d1", "nested": map[string]any{"list": []any{"a", true}}}
	pair := w.login(p)
	w.users.set("ann", func(s *session.Subject) { s.Claims = map[string]any{"plan": "paid"} })
	for range 2 {
		pair = w.refresh(pair.Refresh)
		got, _ := json.Marshal(w.accepted(pair).Claims)
		if string(got) != `{"device_id":"d1","nested":{"list":["a",true]},"plan":"paid"}` {
			t.Errorf("got %s", got)
		}
	}
	for _, name := range []string{"sub", "roles", "Roles", "tenant", "ver", "sid"} {
		p := ann(1)
		p.Claims = map[string]any{name: "x"}
		if _, err := w.Start(ctx, session.Login{Principal: p}); err == nil {
			t.Errorf("a login wrote the claim %q", name)
		}
	}
}

// F-32: over one store there may be Sessions of several audiences. The refresh token of one makes nothing for another,
// and showing it there costs its owner nothing.
func TestRefresh_F_32_AnotherAudience(t *testing.T) {
	w := setup(t)
	w.users.member("ann", map[string][]string{"acme": {"admin"}})
	pair := w.login(ann(1))
	tok, err := tokens.New(tokens.Config{Keys: w.keys, Issuer: issuer, Audience: "admin", List: w.store.Revocations()})
	ok(t, err)
	// Its users are administrators alone: ann is nobody there, and that is no reason to end her session here.
	staff := &users{rows: map[string]session.Subject{"root": {Numbers: session.Numbers{Version: 1}}}}
	admin, err := session.New(session.Config{Store: w.store, Tokens: tok, Subjects: staff})
	ok(t, err)
	asked, loads := w.store.asked.Load(), staff.loads
	for name, call := range map[string]func(context.Context, string, auth.Client) (*auth.Pair, error){
		"Refresh": admin.Refresh, "RefreshCookie": admin.RefreshCookie, "Lend": admin.Lend,
		"Narrow": func(ctx context.Context, refresh string, from auth.Client) (*auth.Pair, error) {
			return admin.Narrow(ctx, refresh, "acme", from)
		},
	} {
		got, err := call(ctx, pair.Refresh, phone)
		if got != nil || auth.CodeOf(err) != auth.TokenExpired || session.Ended(err) {
			t.Errorf("%s: got %v, expected a 401 that ends nothing", name, err)
		}
	}
	if err := admin.Logout(ctx, pair.Refresh); auth.CodeOf(err) != auth.TokenExpired {
		t.Errorf("Logout: got %v", err)
	}
	if n, l := w.store.asked.Load()-asked, staff.loads-loads; n > 0 || l > 0 {
		t.Errorf("the store was asked %d times, the users %d times", n, l)
	}
	staff.rows["ann"] = session.Subject{Roles: []string{"admin"}, Numbers: session.Numbers{Version: 1}}
	step := ann(1)
	step.Session = pair.Session
	if _, err := admin.Start(ctx, session.Login{Principal: step}); err == nil {
		t.Error("a step-up has taken a session to another audience")
	}
	w.accepted(pair)
	w.accepted(w.refresh(pair.Refresh))
}

// member puts the subject into organisations, with roles there.
func (u *users) member(subject string, roles map[string][]string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.members == nil {
		u.members = map[string]map[string][]string{}
	}
	u.members[subject] = maps.Clone(roles)
}

// U-24, U-25: a login may be limited to one organisation, for its whole life.
func TestStart_U_24_LimitedToOneOrganisation(t *testing.T) {
	w := setup(t)
	w.users.member("ann", map[string][]string{"acme": {"admin"}, "club": {"treasurer"}})
	limited := func(tenant string) *auth.Principal {
		p := ann(1)
		p.Tenant = tenant
		return p
	}
	want := func(pair *auth.Pair, tenant string, roles ...string) {
		t.Helper()
		if p := w.accepted(pair); p.Tenant != tenant || !slices.Equal(p.Roles, roles) {
			t.Errorf("got the roles %q in %q, expected %q in %q", p.Roles, p.Tenant, roles, tenant)
		}
	}
	acme, club, free := w.login(limited("acme")), w.login(limited("club")), w.login(ann(1))
	want(acme, "acme", "admin")
	want(club, "club", "treasurer")
	want(free, "", "editor")
	w.users.member("ann", map[string][]string{"acme": {"owner"}, "club": {"treasurer"}})
	for range 2 {
		acme, club, free = w.refresh(acme.Refresh), w.refresh(club.Refresh), w.refresh(free.Refresh)
		want(acme, "acme", "owner")
		want(club, "club", "treasurer")
		want(free, "", "editor")
	}
	if _, err := w.Start(ctx, session.Login{Principal: limited("other")}); auth.CodeOf(err) != auth.TenantForbidden {
		t.Errorf("a login limited to an organisation that she is no member of: got %v", err)
	}

	// Membership gone: no grants, never wider ones. It may come back, so nothing ends.
	w.users.member("ann", map[string][]string{"club": {"treasurer"}})
	w.refused(acme.Refresh, auth.TenantForbidden)
	if _, err := w.RefreshCookie(ctx, acme.Refresh, phone); auth.CodeOf(err) != auth.TenantForbidden || session.Ended(err) {
		t.Errorf("got %v, expected one that ends nothing", err)
	}
	w.users.member("ann", map[string][]string{"acme": {"guest"}})
	want(w.refresh(acme.Refresh), "acme", "guest")

	// One owner: what ends ann ends her everywhere.
	if rows, err := w.List(ctx, "ann"); err != nil || len(rows) != 3 {
		t.Errorf("got %d sessions, %v, expected 3 of one subject", len(rows), err)
	}
	ok(t, w.EndAll(ctx, "ann"))
	w.wantDead(acme, club, free)
}

// A users table that forgets which organisation it was asked for would widen every limited login.
func TestLoad_U_24_GrantsOfAnotherOrganisation(t *testing.T) {
	w := setup(t)
	w.node(t, w.keys, func(c *session.Config) {
		c.Subjects = session.KeepVersions(w.memory, issuer, func(context.Context, string, string) (session.Subject, error) {
			return session.Subject{Roles: []string{"admin"}}, nil
		})
	})
	p := ann(0)
	p.Tenant = "acme"
	if pair, err := w.Start(ctx, session.Login{Principal: p}); pair != nil || auth.CodeOf(err) != auth.TenantForbidden {
		t.Errorf("global roles in a login limited to acme: got %v", err)
	}
	pair := w.login(ann(0))
	if narrow, err := w.Narrow(ctx, pair.Refresh, "acme", phone); narrow != nil || auth.CodeOf(err) != auth.TenantForbidden {
		t.Errorf("global roles in a narrowed token: got %v", err)
	}
	w.accepted(w.refresh(pair.Refresh))
}

// U-25: a program that acts in several organisations asks for a token of each. What is narrow stays so.
func TestNarrow_U_25(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := setup(t)
		w.T = t
		w.users.member("ann", map[string][]string{"acme": {"admin"}, "club": {"treasurer"}})
		pair := w.login(ann(1))
		for _, tenant := range []string{"acme", "club", "acme"} {
			narrow, err := w.Narrow(ctx, pair.Refresh, tenant, phone)
			ok(t, err)
			p := w.accepted(narrow)
			if p.Tenant != tenant || p.Session != pair.Session || narrow.Refresh != "" || len(p.Roles) != 1 || p.HasRole("editor") {
				t.Errorf("got %+v", p)
			}
			if left := time.Until(narrow.AccessExpires); left != 15*minute {
				t.Errorf("it lives for %s, expected an access token's life", left)
			}
			// It is no way to something wider: neither as a refresh token, nor as a login.
			if _, err := w.Narrow(ctx, narrow.Access, "club", phone); auth.CodeOf(err) != auth.TokenInvalid {
				t.Errorf("a narrowed token was taken to narrow: %v", err)
			}
			w.refused(narrow.Access, auth.TokenInvalid)
		}
		for tenant, want := range map[string]auth.Code{"other": auth.TenantForbidden, "": auth.ValidationFailed, strings.Repeat("x", 129): auth.ValidationFailed} {
			if _, err := w.Narrow(ctx, pair.Refresh, tenant, phone); auth.CodeOf(err) != want {
				t.Errorf("tenant %.10q: got %v, expected %s", tenant, err, want)
			}
		}
		if rows, _ := w.List(ctx, "ann"); len(rows) != 1 || rows[0].Generation != 1 {
			t.Errorf("narrowing has used the token up: %+v", rows)
		}
		// It is seen, and an old token is as at a refresh: who has copied one does not get a token a day from here unseen.
		w.told()
		if _, err := w.Narrow(ctx, pair.Refresh, "acme", auth.Client{UserAgent: "curl"}); err != nil {
			t.Error(err)
		}
		w.wantTold("narrow ok")
		stolen := w.login(ann(1))
		owners := w.refresh(w.refresh(stolen.Refresh).Refresh)
		if _, err := w.Narrow(ctx, stolen.Refresh, "acme", phone); auth.CodeOf(err) != auth.RefreshReused {
			t.Errorf("an old token: got %v, expected refresh_reused", err)
		}
		w.wantDead(owners)
		// It lives no longer than the session without a refresh.
		time.Sleep(7*day - minute)
		if late, err := w.Narrow(ctx, pair.Refresh, "acme", phone); err != nil || time.Until(late.AccessExpires) > minute {
			t.Errorf("a minute before the session's idle end: %v, lives until %v", err, late)
		}
		pair = w.login(ann(1))
		// A step-up from a narrowed token stays limited.
		p := w.accepted(must(w.Narrow(ctx, pair.Refresh, "club", phone)))
		p.Version, p.Methods = 1, []string{"pwd", "otp"}
		step := w.login(p)
		if got := w.accepted(w.refresh(step.Refresh)); got.Tenant != "club" || got.HasRole("editor") {
			t.Errorf("a step-up from a narrowed token got %+v", got)
		}
		if _, err := w.Narrow(ctx, step.Refresh, "acme", phone); auth.CodeOf(err) != auth.TenantForbidden {
			t.Errorf("a limited login narrowed to another organisation: %v", err)
		}
		back := w.accepted(step)
		back.Tenant = "acme"
		if _, err := w.Start(ctx, session.Login{Principal: back, Client: phone}); auth.CodeOf(err) != auth.TenantForbidden {
			t.Errorf("a step-up of a limited login to another organisation: %v", err)
		}
		back.Tenant = ""
		if step = w.login(back); w.accepted(step).Tenant != "club" {
			t.Error("a step-up has widened a limited login")
		}
		ok(t, w.EndAll(ctx, "ann"))
		if _, err := w.Narrow(ctx, step.Refresh, "club", phone); auth.CodeOf(err) != auth.TokenRevoked {
			t.Errorf("an ended session: got %v", err)
		}
	})
}

func must(pair *auth.Pair, err error) *auth.Pair {
	if err != nil {
		panic(err)
	}
	return pair
}

// F-31: a pair from claims that the caller gives, without a users table. The store keeps the numbers.
func TestStart_F_31_WithoutSubjects(t *testing.T) {
	w := setup(t)
	w.claims(tokens.CustomClaims[map[string]any](), func(c *session.Config) { c.Store, c.Subjects = w.memory, nil })
	p := &auth.Principal{Subject: "carol", Roles: []string{"editor"}, Competencies: []string{"sign"}, Claims: map[string]any{"email": "c@example.com"}}
	pair := w.login(p)
	for range 3 {
		got := w.accepted(pair)
		email, _ := got.Claims.(map[string]any)["email"].(string)
		if !slices.Equal(got.Roles, p.Roles) || !slices.Equal(got.Competencies, p.Competencies) || email != "c@example.com" {
			t.Errorf("got %+v", got)
		}
		pair = w.refresh(pair.Refresh)
	}
	before, err := w.Version(ctx, "carol")
	ok(t, err)
	ok(t, w.Renew(ctx, "carol"))
	w.wantAccess(pair, auth.TokenExpired)
	pair = w.refresh(pair.Refresh)
	ok(t, w.EndAll(ctx, "carol"))
	w.wantDead(pair)
	late := *p
	if late.Version = before; before == 0 {
		late.Version, err = 1, nil
	}
	if _, err = w.Start(ctx, session.Login{Principal: &late}); auth.CodeOf(err) != auth.LoginFailed {
		t.Errorf("a login that read its version before: got %v", err)
	}
	again := w.login(p) // 0 is the present one
	w.accepted(w.refresh(again.Refresh))
	in := *p
	in.Tenant = "acme"
	if _, err := w.Start(ctx, session.Login{Principal: &in}); err == nil {
		t.Error("a login was limited to an organisation that nobody can say the roles of")
	}
	if _, err := w.Narrow(ctx, again.Refresh, "acme", phone); auth.CodeOf(err) != auth.TenantForbidden {
		t.Errorf("Narrow: got %v", err)
	}
	if _, err := session.New(session.Config{Store: w.memory, Tokens: w.tokens}); err != nil {
		t.Errorf("a store that keeps numbers: %v", err)
	}
	if _, err := session.New(session.Config{Store: bare{w.memory}, Tokens: w.tokens}); err == nil || !strings.Contains(err.Error(), "Subjects") {
		t.Errorf("a store that keeps none: got %v", err)
	}
}

// bare is a store without numbers.
type bare struct{ session.Store }

// A remembered login has a life of its own, which somebody has to state.
func TestStart_Remember(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := setup(t)
		w.T = t
		p := ann(1)
		p.Methods = []string{"pwd", "otp"}
		if _, err := w.Start(ctx, session.Login{Principal: p, Remember: true}); err == nil || !strings.Contains(err.Error(), "Remembered") {
			t.Errorf("without Config.Remembered: got %v", err)
		}
		w.node(t, w.keys, func(c *session.Config) { c.Remembered = session.Life{Idle: 60 * day, Absolute: 90 * day} })
		pair, err := w.Start(ctx, session.Login{Principal: p, Remember: true, Client: phone})
		ok(t, err)
		plain := w.login(p)
		time.Sleep(50 * day)
		w.refused(plain.Refresh, auth.TokenRevoked)
		pair = w.refresh(pair.Refresh)
		if rows, _ := w.List(ctx, "ann"); len(rows) != 1 || !rows[0].Remember {
			t.Errorf("got %+v", rows)
		}
		if left := time.Until(pair.RefreshUntil); left != 40*day {
			t.Errorf("the refresh token lives for %s, expected to the absolute end", left)
		}
		time.Sleep(40 * day)
		w.refused(pair.Refresh, auth.TokenRevoked)
	})
	for _, life := range []session.Life{{Idle: day}, {Absolute: day}, {Idle: 2 * day, Absolute: day}, {Idle: day, Absolute: 401 * day}} {
		w := setup(t)
		c := session.Config{Store: w.store, Tokens: w.tokens, Subjects: w.users, Remembered: life}
		if _, err := session.New(c); err == nil {
			t.Errorf("%+v: no error", life)
		}
	}
}

// F-45, D-16, U-52: a refresh from another user agent or network is told once, with both clients. F-65: it ends the session
// where that was asked for. D-11: the place is that of the last refresh.
func TestRefresh_F_45_AnotherClient(t *testing.T) {
	w := setup(t)
	place := func(c *session.Config) {
		c.Place = func(a netip.Addr) string { return "at " + a.String() + "\n" + strings.Repeat("x", 200) }
	}
	w.node(t, w.keys, place)
	thief := auth.Client{Addr: netip.MustParseAddr("203.0.113.9"), UserAgent: "curl/8.5"}
	moving := auth.Client{Addr: netip.MustParseAddr("192.0.2.99"), UserAgent: phone.UserAgent} // the same /24
	pair := w.login(ann(1))
	pair, err := w.Refresh(ctx, pair.Refresh, moving)
	ok(t, err)
	w.wantTold("login ok", "refresh ok")
	pair, err = w.Refresh(ctx, pair.Refresh, thief)
	ok(t, err)
	if e := w.events; len(e) != 2 || e[0].Name != "moved" || e[0].Client.Addr != thief.Addr || e[0].Former.Addr != moving.Addr ||
		e[0].Former.UserAgent == "" || e[0].Session != pair.Session || e[0].Subject != "ann" || e[0].Issuer != issuer {
		t.Errorf("got %+v", e)
	}
	w.wantTold("moved ok", "refresh ok")
	if _, err = w.Refresh(ctx, pair.Refresh, thief); err != nil {
		t.Fatal(err)
	}
	w.wantTold("refresh ok")
	rows, err := w.List(ctx, "ann")
	if ok(t, err); len(rows[0].Place) > 128 || !strings.HasPrefix(rows[0].Place, `at 203.0.113.9\n`) {
		t.Errorf("got the place %q", rows[0].Place)
	}

	// Within the grace time of a swap the row has the former client still: that is told with the next swap, once.
	for range 10 {
		if _, err := w.RefreshCookie(ctx, pair.Refresh, phone); err != nil {
			t.Fatal(err)
		}
	}
	for _, told := range w.told() {
		if told != "refresh kept" && told != "refresh replayed" {
			t.Errorf("got %q", told)
		}
	}

	w.node(t, w.keys, func(c *session.Config) { c.EndOnOtherClient = true })
	pair = w.login(ann(1))
	w.told()
	if _, err := w.Lend(ctx, pair.Refresh, thief); auth.CodeOf(err) != auth.TokenExpired {
		t.Errorf("Lend: got %v", err)
	}
	w.accepted(pair)
	w.told()
	if _, err := w.Refresh(ctx, pair.Refresh, thief); auth.CodeOf(err) != auth.TokenRevoked {
		t.Errorf("got %v, expected token_revoked", err)
	}
	if e := w.events; len(e) != 1 || e[0].Former.Addr != phone.Addr || e[0].Err == nil {
		t.Errorf("got %+v", e)
	}
	w.wantTold("moved token_revoked")
	w.wantDead(pair)
}

// Back-channel logout: the sessions that came from one session, or one subject, of an identity provider.
func TestEndProvided(t *testing.T) {
	w := setup(t)
	from := func(p *auth.Principal, sid string) *auth.Pair {
		pair, err := w.Start(ctx, session.Login{Principal: p, Client: phone, Provider: session.Provider{Issuer: "https://idp.example", Subject: "u1", Session: sid}})
		ok(t, err)
		return pair
	}
	one, two, three, other := from(ann(1), "s1"), from(ann(1), "s2"), from(&auth.Principal{Subject: "bob", Version: 1}, "s1"), w.login(ann(1))
	w.told()
	n, err := w.EndProvided(ctx, session.Provider{Issuer: "https://idp.example", Session: "s1"})
	if err != nil || n != 2 {
		t.Errorf("got %d, %v, expected 2", n, err)
	}
	w.wantTold("end provider", "end provider")
	w.wantDead(one, three)
	w.accepted(two)
	if n, err = w.EndProvided(ctx, session.Provider{Issuer: "https://idp.example", Subject: "u1"}); err != nil || n != 1 {
		t.Errorf("got %d, %v, expected 1", n, err)
	}
	w.wantDead(two)
	w.accepted(other)
	four := from(ann(1), "s4")
	step := ann(1)
	step.Session = four.Session
	heir := w.login(step)
	if n, err = w.EndProvided(ctx, session.Provider{Issuer: "https://idp.example", Session: "s4"}); err != nil || n != 1 {
		t.Errorf("a session that was stepped up: got %d, %v", n, err)
	}
	w.wantDead(heir)
	elsewhere, err := tokens.New(tokens.Config{Keys: w.keys, Issuer: "https://other.example.com", Audience: "api", List: w.store.Revocations()})
	ok(t, err)
	others, err := session.New(session.Config{Store: w.store, Tokens: elsewhere, Subjects: w.users})
	ok(t, err)
	theirs, err := others.Start(ctx, session.Login{Principal: ann(1), Provider: session.Provider{Issuer: "https://idp.example", Session: "s9"}})
	ok(t, err)
	mine := from(ann(1), "s9")
	if n, err := w.EndProvided(ctx, session.Provider{Issuer: "https://idp.example", Session: "s9"}); err != nil || n != 1 {
		t.Errorf("over a store that two issuers share: got %d, %v, expected the own session", n, err)
	}
	w.wantDead(mine)
	if _, err := others.Refresh(ctx, theirs.Refresh, phone); err != nil {
		t.Errorf("the session of another issuer: %v", err)
	}
	for _, p := range []session.Provider{{}, {Issuer: "https://idp.example"}, {Session: "s1"}, {Issuer: strings.Repeat("x", 256), Session: "s1"}} {
		if _, err := w.EndProvided(ctx, p); auth.CodeOf(err) != auth.ValidationFailed {
			t.Errorf("%+v: got %v", p, err)
		}
		if p != (session.Provider{}) {
			if _, err := w.Start(ctx, session.Login{Principal: ann(1), Provider: p}); err == nil {
				t.Errorf("%+v: a login was taken", p)
			}
		}
	}
}

// PROTOCOLS 9: who clicks a step-up twice has the new session already.
func TestStart_ATK_S16_SteppedUpTwice(t *testing.T) {
	w := setup(t)
	old := w.login(ann(1))
	step := ann(1)
	step.Session, step.Methods = old.Session, []string{"pwd", "otp"}
	first := w.login(step)
	if _, err := w.Start(ctx, session.Login{Principal: step, Client: phone}); auth.CodeOf(err) != auth.TokenExpired {
		t.Errorf("the second click: got %v, expected token_expired", err)
	}
	w.accepted(w.refresh(first.Refresh))
}

// EndOthers that spares a session which was replaced a moment ago would end the one that has replaced it too.
func TestEndOthers_ATK_S16_OfAReplacedSession(t *testing.T) {
	w := setup(t)
	old, other := w.login(ann(1)), w.login(ann(1))
	step := ann(1)
	step.Session = old.Session
	heir := w.login(step)
	if err := w.EndOthers(ctx, "ann", old.Session); auth.CodeOf(err) != auth.TokenExpired {
		t.Errorf("got %v, expected token_expired", err)
	}
	w.accepted(heir)
	w.accepted(other)
	ok(t, w.EndOthers(ctx, "ann", heir.Session))
	w.accepted(w.refresh(heir.Refresh))
	w.wantDead(other)
	if err := w.EndOthers(ctx, "bob", heir.Session); auth.CodeOf(err) != auth.NotFound {
		t.Errorf("another's: got %v", err)
	}
}

// [EndAll raises the numbers, and the store fails: the row stands, and its owner calls EndOthers with it]
func TestEndOthers_ATK_S08_RevivesNothing(t *testing.T) {
	w := setup(t)
	thief := w.login(ann(1))
	w.store.err = unavailable()
	if err := w.EndAll(ctx, "ann"); auth.CodeOf(err) != auth.StoreUnavailable {
		t.Fatalf("got %v", err)
	}
	w.store.err = nil
	if _, err := w.Lend(ctx, thief.Refresh, phone); auth.CodeOf(err) != auth.TokenRevoked {
		t.Errorf("Lend: got %v", err)
	}
	if err := w.EndOthers(ctx, "ann", thief.Session); auth.CodeOf(err) != auth.TokenExpired {
		t.Errorf("EndOthers of an ended session: got %v", err)
	}
	w.refused(thief.Refresh, auth.TokenRevoked)
}

// A step-up keeps what the session is bound to, also where its principal is made anew.
func TestStart_ATK_S16_StepUpKeepsTheBinding(t *testing.T) {
	w := setup(t)
	device := auth.Bind(ctx, "device:d1")
	old, err := w.Start(device, session.Login{Principal: ann(1), Client: phone})
	ok(t, err)
	step := ann(1)
	step.Session = old.Session
	pair, err := w.Start(ctx, session.Login{Principal: step, Client: phone})
	ok(t, err)
	w.refused(pair.Refresh, auth.TokenExpired)
	if _, err := w.Refresh(device, pair.Refresh, phone); err != nil {
		t.Error(err)
	}
}

// ATK-D05: an ending is written past maxmemory and kept by every node for an hour, so what was never a session of the
// subject reaches no store. An id whose key was removed is looked for, and ended if it is there.
func TestEnd_ATK_D05_InventedIDs(t *testing.T) {
	w := setup(t)
	bob := w.login(&auth.Principal{Subject: "bob", Version: 1})
	pair := w.login(ann(1))
	asked := w.store.asked.Load()
	for i := range 1000 {
		id := []byte(pair.Session)
		id[i%33] ^= byte(1 + i%3)
		if i%7 == 0 {
			id = []byte(bob.Session)
		}
		if string(id) == pair.Session {
			continue
		}
		if err := w.End(ctx, "ann", string(id)); auth.CodeOf(err) != auth.NotFound {
			t.Fatalf("%q: got %v", id, err)
		}
	}
	if n := w.store.asked.Load() - asked; n > 0 {
		t.Errorf("invented ids reached the store %d times", n)
	}
	w.accepted(pair)

	ok(t, w.keys.Replace(tokens.FromSecret(secret2)))
	if rows, err := w.List(ctx, "ann"); err != nil || len(rows) != 1 {
		t.Fatalf("got %d sessions, %v", len(rows), err)
	}
	if err := w.End(ctx, "ann", strings.Repeat("A", 22)+pair.Session[22:]); auth.CodeOf(err) != auth.NotFound {
		t.Errorf("an invented id of a removed key: got %v", err)
	}
	ok(t, w.End(ctx, "ann", pair.Session)) // it still stands in her list, so she can end it
	if rows, err := w.List(ctx, "ann"); err != nil || len(rows) != 0 {
		t.Errorf("got %d sessions, %v", len(rows), err)
	}
}
