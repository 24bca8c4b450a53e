package session_test

import (
	"context"
	"fmt"
	"math"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/auth/session"
	"github.com/doorward/doorward/revocation"
	"github.com/doorward/doorward/tokens"
)

func TestStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := setup(t)
		declared := 0
		pair, err := w.Start(auth.OnLoginSuccess(ctx, func() { declared++ }), session.Login{Principal: ann(1), Client: phone})
		ok(t, err)
		p := w.accepted(pair)
		if p.Subject != "ann" || p.Tenant != "" || p.Version != 1 || p.Session != pair.Session || !slices.Equal(p.Roles, []string{"editor"}) {
			t.Errorf("got %+v", p)
		}
		if declared != 1 || time.Until(pair.AccessExpires) != 15*minute || time.Until(pair.RefreshUntil) != 7*day {
			t.Errorf("declared %d times, until %s and %s", declared, pair.AccessExpires, pair.RefreshUntil)
		}
	})
}

// A login that does not stand is not declared a success, and leaves no row.
func TestStartRefuses(t *testing.T) {
	w := setup(t)
	w.users.set("ann", func(s *session.Subject) { s.Version, s.EndedBelow = 5, 3 })
	long := strings.Repeat("x", 200)
	for _, c := range []struct {
		name string
		p    *auth.Principal
		code auth.Code
	}{
		{"STD-S08 ended since the password was read", ann(2), auth.LoginFailed},
		{"a version that Load has not seen", ann(6), auth.StoreUnavailable},
		{"unknown", &auth.Principal{Subject: "eve"}, auth.LoginFailed},
		{"no member of the tenant", &auth.Principal{Tenant: "other", Subject: "ann", Version: 5}, auth.TenantForbidden},
		{"nil", nil, auth.Internal}, {"nobody", &auth.Principal{}, auth.Internal}, {"a negative version", ann(-1), auth.Internal},
		{"ATK-J28 an API key's", &auth.Principal{Issuer: issuer, Subject: "ann", Version: 5, TokenID: "key"}, auth.LoginFailed},
		{"of another issuer", &auth.Principal{Issuer: "https://evil.example", Subject: "ann", Version: 5}, auth.Internal},
		{"too many methods", &auth.Principal{Subject: "ann", Version: 5, Methods: make([]string, 9)}, auth.Internal},
		{"a long method", &auth.Principal{Subject: "ann", Version: 5, Methods: []string{long}}, auth.Internal},
		{"a long client id", &auth.Principal{Subject: "ann", Version: 5, ClientID: long}, auth.Internal},
		{"a subject that no token holds", &auth.Principal{Subject: strings.Repeat("x", 800)}, auth.Internal},
	} {
		_, err := w.Start(auth.OnLoginSuccess(ctx, func() { t.Errorf("%s: declared a success", c.name) }), session.Login{Principal: c.p, Client: phone})
		if err == nil || auth.CodeOf(err) != c.code {
			t.Errorf("%s: got %v, expected %s", c.name, err, c.code)
		}
	}
	if n := w.memory.Rows(); n > 0 {
		t.Errorf("%d rows were made", n)
	}
	w.login(ann(3)) // roles changed since, nothing ended
}

// STD-S06, ATK-S05: nothing that is planted before a login gains by it.
func TestATK_S05_Fixation(t *testing.T) {
	w := setup(t)
	planted := w.login(&auth.Principal{Subject: "bob", Version: 1}) // the attacker's own session
	seen := map[string]bool{planted.Session: true, planted.Refresh: true}
	for range 100 {
		pair := w.login(ann(1))
		if seen[pair.Session] || seen[pair.Refresh] || len(pair.Session) < 26 { // 26 characters of base32: 130 bits
			t.Fatalf("the id %q is not new, or too short", pair.Session)
		}
		seen[pair.Session], seen[pair.Refresh] = true, true
	}
	if p := w.accepted(planted); p.Subject != "bob" {
		t.Errorf("the planted session is %s's", p.Subject)
	}
	for name, id := range map[string]string{"another's": planted.Session, "invented": strings.Repeat("A", 26), "no id": "x"} {
		p := ann(1)
		p.Session = id
		if _, err := w.Start(ctx, session.Login{Principal: p, Client: phone}); auth.CodeOf(err) != auth.TokenRevoked {
			t.Errorf("in place of %s: got %v", name, err)
		}
	}
	w.accepted(planted)
}

// STD-S06, ATK-S16: a step-up is a new session, and the old one is dead.
func TestATK_S16_StepUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := setup(t)
		old := w.login(ann(1))
		time.Sleep(minute)
		p := w.accepted(old)
		p.Methods, p.AuthTime = []string{"pwd", "otp"}, time.Time{}
		w.told()
		strong := w.login(p)
		w.wantTold("login ok", "end replaced")
		if strong.Session == old.Session {
			t.Error("the id is the old one")
		}
		if p := w.accepted(strong); len(p.Methods) != 2 || !p.AuthTime.Equal(time.Now()) {
			t.Errorf("got %+v", p)
		}
		w.wantAccess(old, auth.TokenExpired)
		_, err := w.RefreshCookie(ctx, old.Refresh, phone) // another tab of the browser: it must not lose the new cookies
		if auth.CodeOf(err) != auth.TokenExpired || session.Ended(err) {
			t.Errorf("within the grace time: got %v", err)
		}
		time.Sleep(10 * time.Second)
		w.refused(old.Refresh, auth.TokenRevoked)
		if end := time.Until(strong.RefreshUntil); end > hour {
			t.Errorf("elevated for %s", end)
		}
		time.Sleep(hour)
		w.wantDead(strong) // the elevation is not kept

		gone := w.login(ann(1))
		step := w.accepted(gone)
		ok(t, w.Logout(ctx, gone.Refresh))
		if _, err := w.Start(ctx, session.Login{Principal: step, Client: phone}); auth.CodeOf(err) != auth.TokenRevoked {
			t.Errorf("a step-up after logout: got %v", err)
		}
	})
}

// STD-S07: the tab that logs out may still hold the token of before the step-up. Within the grace time that ends
// the login; later the two are not known to belong together, as Logout says.
func TestStepUp_LogoutWithTheOldToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := setup(t)
		stepUp := func() (old, strong *auth.Pair) {
			old = w.login(ann(1))
			p := ann(1)
			p.Session = old.Session
			strong = w.login(p)
			w.told()
			return old, strong
		}
		old, strong := stepUp()
		ok(t, w.Logout(ctx, old.Refresh))
		w.wantTold("logout ok", "end ok")
		w.wantDead(strong)
		w.wantAccess(strong, auth.TokenRevoked)

		old, strong = stepUp()
		ok(t, w.End(ctx, "ann", old.Session))
		w.wantTold("end ok", "end ok")
		w.wantDead(strong)

		old, strong = stepUp()
		time.Sleep(10 * time.Second)
		ok(t, w.Logout(ctx, old.Refresh))
		w.accepted(strong)
	})
}

// ATK-S12: a login whose second factor is missing opens nothing here.
func TestATK_S12_PendingLogin(t *testing.T) {
	w := setup(t)
	pending, err := tokens.NewKind[struct{}](tokens.PendingLogin, 5*minute).Issue(w.tokens, "ann", struct{}{}, 0)
	ok(t, err)
	pair := w.login(ann(1))
	before := w.store.asked.Load()
	for name, raw := range map[string]string{"pending login": pending, "access": pair.Access} {
		for call, f := range map[string]func() error{
			"Refresh":       func() error { _, err := w.Refresh(ctx, raw, phone); return err },
			"RefreshCookie": func() error { _, err := w.RefreshCookie(ctx, raw, phone); return err },
			"Lend":          func() error { _, err := w.Lend(ctx, raw, phone); return err },
			"Logout":        func() error { return w.Logout(ctx, raw) },
		} {
			if err := f(); auth.CodeOf(err) != auth.TokenInvalid {
				t.Errorf("%s token at %s: got %v", name, call, err)
			}
		}
	}
	if _, err := w.tokens.Verify(ctx, pair.Refresh); auth.CodeOf(err) != auth.TokenInvalid {
		t.Errorf("a refresh token as an access token: got %v", err)
	}
	if n := w.store.asked.Load() - before; n > 0 {
		t.Errorf("the store was asked %d times", n)
	}
}

// ATK-S13: 10,000 logins leave 20 sessions.
func TestATK_S13_TenThousandLogins(t *testing.T) {
	w := setup(t)
	first := w.login(ann(1))
	for range 10_000 {
		w.login(ann(1))
	}
	rows, err := w.List(ctx, "ann")
	if err != nil || len(rows) != 20 || w.memory.Rows() != 20 {
		t.Errorf("got %d sessions and %d rows, %v", len(rows), w.memory.Rows(), err)
	}
	if told := w.told(); told[len(told)-1] != "end limit" {
		t.Errorf("got %q", told[len(told)-1])
	}
	w.wantDead(first)
}

// Sessions that nobody asks for again do not stay in memory.
func TestMemoryIsGivenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := session.NewMemory(revocation.NewMemory())
		epoch, _ := m.Revocations().Epoch(ctx)
		create := func(i int) {
			_, err := m.Create(ctx, session.Creation{Max: 20, Absolute: hour, Session: session.Session{
				Owner: auth.Owner{Issuer: issuer, Subject: fmt.Sprint("u", i)}, ID: fmt.Sprint("s", i), Epoch: epoch, Idle: minute}})
			ok(t, err)
		}
		const n = 5000
		for i := range n {
			create(i)
		}
		time.Sleep(hour)
		for i := range n {
			create(n + i)
		}
		runtime.GC()
		if rows := m.Rows(); rows > n+n/2 {
			t.Errorf("%d rows, %d of them live", rows, n)
		}
	})
}

// ATK-S15.
func TestATK_S15_UserAgents(t *testing.T) {
	w := setup(t)
	for _, agent := range []string{
		"<script>alert(1)</script>", "Mozilla/5.0 (Linux; Android 10; <img src=x onerror=alert(1)>) Chrome/126.0.0.0",
		"a\r\nSet-Cookie: x=1\x1b[2J\x00\u202e\u2028", strings.Repeat("Firefox/1 ", 1<<17), "\xff\xfe(" + strings.Repeat("ä", 600), "", `"'&;{{.}}%s`,
		"Mozilla/5.0 (Linux; Android 10; " + strings.Repeat("Model ", 60) + ") AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Mobile Safari/537.36",
	} {
		pair, err := w.Start(ctx, session.Login{Principal: ann(1), Client: auth.Client{UserAgent: agent}})
		ok(t, err)
		rows, err := w.List(ctx, "ann")
		ok(t, err)
		got := rows[slices.IndexFunc(rows, func(r session.Session) bool { return r.ID == pair.Session })]
		if got.Device == "" || len(got.Device) > 64 || strings.ContainsAny(got.Device, "<>&\"'{}%=;:\r\n\x00\x1b") {
			t.Errorf("%.40q: the label is %q", agent, got.Device)
		}
		if len(got.Client.UserAgent) > 4096 || strings.ContainsAny(got.Client.UserAgent, "\r\n\x00\x1b\u202e\u2028\ufffd") {
			t.Errorf("%.40q: the user agent is %.100q (%d bytes)", agent, got.Client.UserAgent, len(got.Client.UserAgent))
		}
	}
}

func TestNewRefuses(t *testing.T) {
	good := setup(t)
	list := revocation.NewMemory()
	made := func(change func(*tokens.Config)) *tokens.Tokens {
		c := tokens.Config{Keys: good.keys, Issuer: issuer, Audience: "api", List: good.memory.Revocations()}
		change(&c)
		tok, err := tokens.New(c)
		ok(t, err)
		return tok
	}
	for _, c := range []struct {
		name, says string
		change     func(*session.Config)
	}{
		{"no store", "Store", func(c *session.Config) { c.Store = nil }},
		{"no tokens", "Tokens", func(c *session.Config) { c.Tokens = nil }},
		{"no subjects", "Subjects", func(c *session.Config) { c.Subjects = nil }},
		{"tokens without a list", "List", func(c *session.Config) { c.Tokens = made(func(t *tokens.Config) { t.List = nil }) }},
		{"another list", "List", func(c *session.Config) { c.Tokens = made(func(t *tokens.Config) { t.List = list }) }},
		{"another list, wrapped", "List", func(c *session.Config) {
			c.Tokens = made(func(t *tokens.Config) { t.List = revocation.IgnoreOutage(list) })
		}},
		{"a store without a list", "List", func(c *session.Config) { c.Store = session.NewMemory(nil) }},
		{"service tokens", "svc+jwt", func(c *session.Config) { c.Tokens = made(func(t *tokens.Config) { t.Type = tokens.Service }) }},
		{"foreign tokens", "AllowForeign", func(c *session.Config) {
			c.Tokens = made(func(t *tokens.Config) { t.AllowForeign, t.List = true, nil })
		}},
		{"keys that derive none", "Keys", func(c *session.Config) { c.Keys = tokens.NewKeyring(tokens.HS256("k", secret)) }},
		{"idle below an access token's life", "Life", func(c *session.Config) { c.Life.Idle = minute }},
		{"negative", "Life", func(c *session.Config) { c.Life.Idle = -hour }},
		{"idle above absolute", "Life", func(c *session.Config) { c.Life = session.Life{Idle: 2 * hour, Absolute: hour} }},
		{"for ever", "Life", func(c *session.Config) { c.Life.Absolute = math.MaxInt64 }},
		{"strong", "Strong", func(c *session.Config) { c.Strong.Absolute = minute }},
		{"grace", "Grace", func(c *session.Config) { c.Grace = hour }},
		{"negative grace", "Grace", func(c *session.Config) { c.Grace = -1 }},
		{"max", "Max", func(c *session.Config) { c.Max = -1 }},
	} {
		conf := session.Config{Store: good.store, Tokens: good.tokens, Subjects: good.users}
		c.change(&conf)
		if _, err := session.New(conf); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: got %v, expected an error about %s", c.name, err, c.says)
		}
	}
	wrapped := made(func(t *tokens.Config) { t.List = revocation.IgnoreOutage(good.memory.Revocations()) })
	if _, err := session.New(session.Config{Store: good.store, Tokens: wrapped, Subjects: good.users}); err != nil {
		t.Errorf("the same list, wrapped: %v", err)
	}
}

func TestEnded(t *testing.T) {
	for code, want := range map[error]bool{
		auth.TokenInvalid: true, auth.TokenRevoked: true, auth.RefreshReused: true, auth.LoginFailed: true,
		auth.TokenExpired: false, auth.StoreUnavailable: false, auth.Busy: false, auth.Internal: false, context.Canceled: false,
	} {
		if session.Ended(fmt.Errorf("x: %w", code)) != want {
			t.Errorf("%v: got %t", code, !want)
		}
	}
	if session.Ended(nil) {
		t.Error("nil is an end")
	}
}
