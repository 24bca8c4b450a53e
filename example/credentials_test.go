package main

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	library "github.com/pquerna/otp/totp"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/auth/session"
	"github.com/doorward/doorward/tokens"
)

// An answer is what a route says, in part.
type answer struct {
	Secret   string
	Key, ID  string
	Link     string
	Recovery []string `json:"recovery_codes"`
}

func (b *browser) post(t *testing.T, path, body string, status int, says string) (a answer) {
	t.Helper()
	_, text := b.want(t, "POST", path, body, status, says)
	if strings.HasPrefix(text, "{") {
		if err := json.Unmarshal([]byte(text), &a); err != nil {
			t.Fatal(err)
		}
	}
	return a
}

// code is what the user's phone shows in the n-th step from now. That of the next one is good already, and still is when this
// one ends meanwhile.
func code(t *testing.T, secret string, n time.Duration) string {
	t.Helper()
	text, err := library.GenerateCode(secret, time.Now().Add(n*30*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func withCode(name, code string) string {
	return `{"account":"` + name + `","password":"password of ` + name + `","code":"` + code + `"}`
}

// A user enrols a second factor, logs in with it and by a recovery code, and gets at what is dangerous by it alone. Other
// sessions end at each change.
func TestSecondFactor_STD_O09_ATK_O05(t *testing.T) {
	stores(t, func(t *testing.T) {
		url := start(t)
		root, elsewhere := newBrowser(t, url), newBrowser(t, url)
		for _, b := range []*browser{root, elsewhere} {
			b.post(t, "/auth/login", withCode("root", ""), 200, "session")
		}
		root.post(t, "/admin/shred", "", 401, "step_up_required") // a password alone, however recent
		root.post(t, "/factor/confirm", `{"code":"123456"}`, 422, "validation_failed")
		secret := root.post(t, "/factor", "", 200, "otpauth://").Secret
		root.post(t, "/factor/confirm", `{"code":"000000"}`, 422, "validation_failed")
		first := code(t, secret, 0)
		codes := root.post(t, "/factor/confirm", `{"code":"`+first+`"}`, 200, "recovery_codes").Recovery
		root.post(t, "/factor", "", 422, "validation_failed") // there is one
		root.post(t, "/factor/confirm", `{"code":"123456"}`, 422, "validation_failed")
		root.post(t, "/factor/remove", `{"code":"`+first+`"}`, 401, "login_failed") // used, so nothing changes
		elsewhere.want(t, "GET", "/me", "", 401, "token_revoked")

		// The password is half of it from now on.
		elsewhere.post(t, "/auth/login", withCode("root", ""), 401, "second_factor_required")
		elsewhere.want(t, "GET", "/me", "", 401, "")
		elsewhere.post(t, "/auth/login", withCode("root", first), 401, "login_failed") // used
		elsewhere.post(t, "/auth/login", withCode("root", code(t, secret, 1)), 200, "session")
		elsewhere.post(t, "/admin/shred", "", 200, "everything")
		root.post(t, "/admin/shred", "", 401, "step_up_required") // its own login was without

		// The phone is gone. A recovery code logs in, once, and is no code of the app.
		root.post(t, "/auth/login", withCode("root", codes[0]), 200, "session")
		root.post(t, "/admin/shred", "", 401, "step_up_required")
		elsewhere.want(t, "GET", "/me", "", 401, "token_revoked")
		elsewhere.post(t, "/auth/login", withCode("root", codes[0]), 401, "login_failed")
		root.post(t, "/factor/remove", `{"code":"`+codes[1]+`"}`, 204, "")
		elsewhere.post(t, "/auth/login", withCode("root", ""), 200, "session")
		elsewhere.post(t, "/admin/shred", "", 401, "step_up_required")
	})
}

// A key for a script opens what it was made for, as long as its owner may.
func TestKeys(t *testing.T) {
	stores(t, func(t *testing.T) {
		url := start(t)
		ann := newBrowser(t, url)
		ann.want(t, "GET", "/report", "", 401, "credentials_missing")
		ann.post(t, "/auth/login", annLogin, 200, "session")
		ann.post(t, "/keys", `{"name":"cron","scopes":["everything"]}`, 403, "competency_missing")
		ann.post(t, "/keys", `{"name":"cron","scopes":[]}`, 403, "competency_missing")
		made := ann.post(t, "/keys", `{"name":"cron","scopes":["report:read"]}`, 200, "dwk_")
		ann.want(t, "GET", "/keys", "", 200, made.ID)

		script := func(path string, status int, says string) {
			t.Helper()
			res, text := call{"GET", url + path, "", map[string]string{"X-API-Key": made.Key}}.do(t, http.DefaultClient)
			want(t, res, text, status, says)
		}
		script("/report", 200, "all is well")
		script("/me", 401, "credentials_missing") // for people
		script("/auth/sessions", 401, "credentials_missing")

		root := newBrowser(t, url)
		root.post(t, "/auth/login", withCode("root", ""), 200, "session")
		root.want(t, "DELETE", "/keys/"+made.ID, "", 404, "not_found")
		script("/report", 200, "all is well")
		ann.want(t, "DELETE", "/keys/"+made.ID, "", 204, "")
		script("/report", 401, "api_key_invalid")
	})
}

// Whoever has the link chooses a password that is good enough, once, and is what the link says.
func TestInvite(t *testing.T) {
	stores(t, func(t *testing.T) {
		origin := start(t)
		root, guest := newBrowser(t, origin), newBrowser(t, origin)
		root.post(t, "/auth/login", withCode("root", ""), 200, "session")
		root.post(t, "/admin/invites", `{"account":"ann","role":"editor"}`, 404, "not_found") // there is one
		root.post(t, "/admin/invites", `{"account":"eve","role":"owner"}`, 422, "validation_failed")
		link, err := url.Parse(root.post(t, "/admin/invites", `{"account":"eve","role":"editor"}`, 200, "/invite#token=").Link)
		if err != nil {
			t.Fatal(err)
		}
		ann := newBrowser(t, origin)
		ann.post(t, "/auth/login", annLogin, 200, "session")
		ann.post(t, "/admin/invites", `{"account":"eve","role":"admin"}`, 403, "role_missing")

		guest.want(t, "GET", "/invite", "", 200, "<form")
		join := func(pw string) (int, string) {
			form := url.Values{"token": {strings.TrimPrefix(link.Fragment, "token=")}, "password": {pw}, "role": {"admin"}}
			res, text := call{"POST", origin + "/invite", form.Encode(), map[string]string{"Content-Type": "application/x-www-form-urlencoded", "Origin": origin}}.do(t, &http.Client{
				CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
			})
			return res.StatusCode, text
		}
		if status, text := join("short"); status != 422 || !strings.Contains(text, "password.too_short") {
			t.Errorf("got %d %s", status, text)
		}
		if status, text := join("a good one, for a guest"); status != 303 {
			t.Fatalf("got %d %s", status, text)
		}
		if status, text := join("a second one, for a thief"); status != 401 {
			t.Errorf("again: got %d %s", status, text)
		}
		guest.post(t, "/auth/login", `{"account":"eve","password":"a good one, for a guest"}`, 200, "session")
		guest.want(t, "GET", "/me", "", 200, `"roles":["editor"]`)
	})
}

// proven is a login of ann's halfway: she has a factor, and her password was right. recovery is a code of hers.
func proven(t *testing.T, users *users, instead ...session.Subjects) (a *app, p *auth.Principal, recovery string) {
	t.Helper()
	a, err := newApp(t, users, instead...)
	if err != nil {
		t.Fatal(err)
	}
	key, err := a.factors.Begin(t.Context(), "ann", "ann")
	if err != nil {
		t.Fatal(err)
	}
	codes, err := a.factors.Confirm(t.Context(), "ann", code(t, key.Secret(), 0))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := users.swapFactor("ann", active); err != nil {
		t.Fatal(err)
	}
	if p, err = users.login(t.Context(), "ann", "password of ann"); err != nil {
		t.Fatal(err)
	}
	return a, p, codes.List()[0]
}

// A login whose password somebody has changed meanwhile stays dead, also by a recovery code.
func TestRecovery_ATK_S15_EndedMeanwhile(t *testing.T) {
	users := demo(t)
	a, p, recovery := proven(t, users)
	if err := a.sessions.EndAll(t.Context(), "ann"); err != nil { // the owner's, with a new password
		t.Fatal(err)
	}
	if err := a.secondFactor(t.Context(), p, recovery); auth.CodeOf(err) != auth.LoginFailed {
		t.Errorf("got %v", err)
	}
	// And what is asked of a user who is gone is refused, not skipped.
	if err := a.secondFactor(t.Context(), &auth.Principal{Subject: "eve"}, ""); auth.CodeOf(err) != auth.LoginFailed {
		t.Errorf("got %v", err)
	}
}

// between is a users table in which somebody else ends or changes something just before or after a recovery's own ending.
type between struct {
	*users
	before, after func()
}

func (b *between) Raise(ctx context.Context, name string, end bool, except string) (int64, error) {
	b.before()
	version, err := b.users.Raise(ctx, name, end, except)
	b.after()
	return version, err
}

// PROTOCOLS 2: a raise goes to the clock, so that a table from an older copy gives no number twice, and a recovery knows its own
// ending all the same. Another ending refuses it, whenever it came; a change of roles does not.
func TestRecovery_ATK_S15_ATK_D13_OwnEnding(t *testing.T) {
	ended := func(u *users) func() { return func() { _, _ = u.Raise(context.Background(), "ann", true, "") } }
	renewed := func(u *users) func() { return func() { _, _ = u.Raise(context.Background(), "ann", false, "") } }
	for name, c := range map[string]struct {
		before, after func(*users) func()
		code          auth.Code
	}{
		"alone":             {nil, nil, ""},
		"ended before":      {ended, nil, auth.LoginFailed},
		"ended after":       {nil, ended, auth.LoginFailed},
		"renewed before":    {renewed, nil, ""},
		"renewed after":     {nil, renewed, ""},
		"ended and renewed": {ended, renewed, auth.LoginFailed},
	} {
		t.Run(name, func(t *testing.T) {
			users, b := demo(t), &between{before: func() {}, after: func() {}}
			b.users = users
			a, p, recovery := proven(t, users, b)
			if c.before != nil {
				b.before = c.before(users)
			}
			if c.after != nil {
				b.after = c.after(users)
			}
			err := a.secondFactor(t.Context(), p, recovery)
			if c.code != "" && auth.CodeOf(err) != c.code || c.code == "" && err != nil {
				t.Fatalf("got %v, expected %q", err, c.code)
			}
			if err == nil {
				if _, err := a.sessions.Start(t.Context(), session.Login{Principal: p}); err != nil {
					t.Errorf("the login did not begin: %v", err)
				}
			}
		})
	}
}

// ATK-D13: a new user begins at the clock, and each raise is there or above.
func TestUsers_ATK_D13_VersionsByClock(t *testing.T) {
	before := time.Now().UnixMilli()
	users := demo(t)
	row, _ := users.read("ann")
	if row.numbers.Version < before {
		t.Errorf("a new user has version %d, expected the clock's, %d or more", row.numbers.Version, before)
	}
	users.rows["ann"].numbers.Version = 7 // an older copy
	for last := before - 1; last < before+2; {
		version, err := users.Raise(t.Context(), "ann", true, "")
		if err != nil || version <= last {
			t.Fatalf("got %d, %v after %d", version, err, last)
		}
		last = version
	}
}

// A crash between the two writes of an enrolment or a removal leaves nobody without a factor and nobody locked out.
func TestFactor_BetweenTwoWrites(t *testing.T) {
	users := demo(t)
	a, err := newApp(t, users)
	if err != nil {
		t.Fatal(err)
	}
	login := func(code string) auth.Code {
		p, err := users.login(t.Context(), "ann", "password of ann")
		if err != nil {
			t.Fatal(err)
		}
		if err := a.secondFactor(t.Context(), p, code); err != nil {
			return auth.CodeOf(err)
		}
		return ""
	}
	if _, err := users.swapFactor("ann", changing); err != nil {
		t.Fatal(err)
	}
	key, err := a.factors.Begin(t.Context(), "ann", "ann")
	if err != nil {
		t.Fatal(err)
	}
	if got := login(""); got != "" {
		t.Errorf("begun: %q", got)
	}
	if _, err := a.factors.Confirm(t.Context(), "ann", code(t, key.Secret(), 0)); err != nil {
		t.Fatal(err)
	}
	if got := login(""); got != auth.SecondFactorRequired {
		t.Errorf("confirmed, and the server died: %q", got)
	}
	if err := a.factors.Remove(t.Context(), "ann", code(t, key.Secret(), 1)); err != nil {
		t.Fatal(err)
	}
	if got := login(""); got != "" {
		t.Errorf("removed, and the server died: %q", got)
	}
}

// A refused change leaves the users table as it was: what is asked for at a login does not hang on the store of factors after it.
func TestFactor_RefusedChange(t *testing.T) {
	users := demo(t)
	a, err := newApp(t, users)
	if err != nil {
		t.Fatal(err)
	}
	p := &auth.Principal{Subject: "ann", Session: "s"}
	for _, before := range []string{"", active} {
		if _, err := users.swapFactor("ann", before); err != nil {
			t.Fatal(err)
		}
		for _, change := range []route{a.confirm, a.remove} {
			if _, err := change(httptest.NewRequest("POST", "/", strings.NewReader(`{"code":"123456"}`)), p); err == nil {
				t.Error("a wrong code has changed something")
			}
			if row, _ := users.read("ann"); row.factor != before {
				t.Errorf("the table says %q, before it said %q", row.factor, before)
			}
		}
	}
}

// newApp is the application without its routes. Its sessions ask users, or what is instead of them.
func newApp(t *testing.T, users *users, instead ...session.Subjects) (*app, error) {
	t.Helper()
	subjects := append(instead, users)[0]
	const origin = "http://127.0.0.1:8080"
	keys := tokens.NewKeyring(tokens.FromSecret([]byte(tokens.GenerateSecret())))
	s, err := newStores()
	if err != nil {
		return nil, err
	}
	tok, err := tokens.New(tokens.Config{Keys: keys, Issuer: origin, Audience: "example", List: s.list})
	if err != nil {
		return nil, err
	}
	sessions, err := session.New(session.Config{Store: s.sessions, Tokens: tok, Subjects: subjects})
	if err != nil {
		return nil, err
	}
	a := &app{users: users, sessions: sessions}
	return a, a.credentials(origin, keys, tok, s, auth.Log(nil))
}

// Two changes of one factor at once, a right code and a wrong one: what the users table says afterwards is what is so.
func TestFactor_TwoChangesAtOnce(t *testing.T) {
	users := demo(t)
	a, err := newApp(t, users)
	if err != nil {
		t.Fatal(err)
	}
	p := &auth.Principal{Subject: "ann", Session: "s"}
	send := func(change route, code string) {
		_, _ = change(httptest.NewRequest("POST", "/", strings.NewReader(`{"code":"`+code+`"}`)), p)
	}
	both := func(change route, right string) {
		var all sync.WaitGroup
		all.Go(func() { send(change, "000000") })
		all.Go(func() { send(change, right) })
		all.Wait()
	}
	for range 50 {
		key, err := a.factors.Begin(t.Context(), "ann", "ann")
		if err != nil {
			t.Fatal(err)
		}
		for _, step := range []struct {
			change route
			n      time.Duration
		}{{a.confirm, 0}, {a.remove, 1}} {
			both(step.change, code(t, key.Secret(), step.n))
			status, err := a.factors.Status(t.Context(), "ann")
			if err != nil {
				t.Fatal(err)
			}
			if row, _ := users.read("ann"); row.factor != map[bool]string{true: active, false: ""}[status.Active] {
				t.Fatalf("the table says %q, and a factor is there: %t", row.factor, status.Active)
			}
		}
		_ = a.factors.Reset(t.Context(), "ann") // where the right code came last and was refused
		if _, err := users.swapFactor("ann", ""); err != nil {
			t.Fatal(err)
		}
	}
}
