package sessionhttp_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/auth/sessionhttp"
	"github.com/doorward/doorward/ratelimit"
)

// inEach runs f in a bubble for each mode, so that no budget fills while a slow machine works.
func inEach(t *testing.T, f func(t *testing.T, w *world, c *client)) {
	for name, open := range map[string]func(*world) *client{"cookie": (*world).browser, "in header": (*world).page, "bearer": (*world).program} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := setup(t)
				f(t, w, open(w))
			})
		})
	}
}

// F-71: what is no token of ours costs the network: at d9addb9 200 of 200 junk refreshes were looked at. A refusal says when
// to come again, ends nothing and expires no cookie.
func TestRefresh_F_71_Junk(t *testing.T) {
	inEach(t, func(t *testing.T, w *world, c *client) {
		id := c.login("acme/ann")
		good := c.copied()
		junk := c.copied()
		codes := map[int]int{}
		for i := range 200 {
			if junk.refresh = fmt.Sprintf("dwr1.k%d.junk.junk", i); junk.cookies != nil {
				junk.cookies["__Host-refresh"] = junk.refresh
			}
			junk.access, junk.csrf = "", ""
			rec := junk.do("POST", "/refresh", map[bool]string{true: `{"refresh_token":"` + junk.refresh + `"}`}[c.cookies == nil], "X-CSRF-Token", "")
			codes[rec.Code]++
			if rec.Code != http.StatusTooManyRequests {
				continue
			}
			if after, err := strconv.Atoi(rec.Header().Get("Retry-After")); err != nil || after < 1 || len(rec.Header()["Set-Cookie"]) > 0 {
				t.Fatalf("got %v", rec.Header())
			}
		}
		if codes[http.StatusUnauthorized] != 60 || codes[http.StatusTooManyRequests] != 140 {
			t.Errorf("got %v, expected 60 looked at and 140 refused", codes)
		}
		// Tokens that are ours are not limited by what the network's others do.
		want(t, good.byRefresh("/refresh"), 200, id)
		want(t, w.browser().do("POST", "/refresh", ""), 401, "credentials_missing")
	})
}

// An office whose access tokens have all become stale at once, after a new epoch or a raised version, refreshes at once.
func TestRefresh_F_71_Office(t *testing.T) {
	w := setup(t, func(c *sessionhttp.Config) {
		c.Limit.PerNetwork = ratelimit.Rate{N: 10_000, Per: time.Hour}
		c.RefreshPerNetwork = ratelimit.Rate{N: 1, Per: time.Hour}
	})
	for i := range 100 {
		c := w.program()
		c.login([]string{"acme/ann", "acme/bob", "umbrella/ann"}[i%3])
		for range 2 {
			want(t, c.byRefresh("/refresh"), 200, "expires_in")
		}
	}
}

// One session is limited by itself, with so much room that no page of many tabs meets it. What is above ends nothing.
func TestRefresh_F_71_OneSession(t *testing.T) {
	inEach(t, func(t *testing.T, w *world, c *client) {
		c.login("acme/ann")
		tabs := 0
		for c.byRefresh("/refresh").Code == 200 {
			if tabs++; tabs > 400 {
				break
			}
		}
		if tabs != 300 {
			t.Errorf("%d refreshes, expected 300", tabs)
		}
		w.told()
		rec := c.byRefresh("/refresh")
		want(t, rec, 429, "rate_limited")
		if told := w.told(); len(told) > 0 || len(rec.Header()["Set-Cookie"]) > 0 {
			t.Errorf("told %v, set %v", told, rec.Header())
		}
		want(t, c.do("GET", "/session", ""), 200, `"subject":"ann"`)
		other := w.browser()
		other.login("acme/bob")
		want(t, other.byRefresh("/refresh"), 200, "expires_in")
		time.Sleep(time.Second)
		want(t, c.byRefresh("/refresh"), 200, "expires_in")
	})
}

// F-71, STD-S01: the budget of a session stops minting, never judging. A thief who keeps it empty is seen when the owner's
// old token comes: the session ends. While the budget was asked first, a day of that was 429 and no event.
func TestRefresh_F_71_STD_S01_TheftIsSeen(t *testing.T) {
	inEach(t, func(t *testing.T, w *world, c *client) {
		c.login("acme/ann")
		thief := c.copied()
		codes := map[int]int{}
		for i := range 1200 { // at once, and then faster than the budget fills
			codes[thief.byRefresh("/refresh").Code]++
			if i >= 310 {
				time.Sleep(time.Second / 2)
			}
		}
		if codes[200]+codes[429] != 1200 || codes[429] < 400 {
			t.Errorf("the thief got %v", codes)
		}
		for thief.byRefresh("/refresh").Code == 200 {
			continue
		}
		w.told()
		want(t, c.byRefresh("/refresh"), 401, "refresh_reused")
		if told := w.told(); !slices.Contains(told, "reuse refresh_reused") {
			t.Errorf("told %v", told)
		}
		want(t, thief.byRefresh("/refresh"), 401, "token_revoked")
		want(t, thief.do("GET", "/session", ""), 401, "")
	})
}

// F-71: who has a copy of the token of a bound session, and not the device, neither eats the session's budget nor, from the
// owner's own network, keeps the owner out. What he does costs the network.
func TestRefresh_F_71_BoundOwner(t *testing.T) {
	inEach(t, func(t *testing.T, w *world, c *client) {
		inner := w.Handler
		w.Handler = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Proof") != "" {
				r = r.WithContext(auth.Bind(r.Context(), "device:abc"))
			}
			inner.ServeHTTP(rw, r)
		})
		want(t, c.do("POST", "/login", annLogin, "Proof", "1"), 200, "")
		body := func(c *client, members string) string {
			if c.cookies != nil {
				return ""
			}
			return `{"refresh_token":"` + c.refresh + `"` + members + `}`
		}
		thief := c.copied()
		thief.access = "" // which is bound as well
		codes := map[int]int{}
		steal := func() {
			codes[thief.do("POST", "/refresh", body(thief, ""), "X-CSRF-Token", "").Code]++
			if c.cookies == nil {
				codes[thief.do("POST", "/narrow", body(thief, `,"tenant":"club"`)).Code]++
			}
		}
		for range 400 {
			steal()
		}
		for range 30 {
			for range 60 {
				time.Sleep(time.Second)
				steal()
			}
			want(t, c.do("POST", "/refresh", body(c, ""), "Proof", "1"), 200, "expires_in")
		}
		if codes[401] == 0 || codes[401] > 60+2*31*60/15 || len(codes) != 2 || codes[429] == 0 {
			t.Errorf("the thief got %v, expected 401 and 429 alone", codes)
		}
	})
}

// F-71: in an office all learn at once that their sessions are over, and every cookie goes, also where the network has nothing left.
func TestRefresh_F_71_OfficeEnded(t *testing.T) {
	w := setup(t, func(c *sessionhttp.Config) { c.RefreshPerNetwork = ratelimit.Rate{N: 1, Per: time.Hour} })
	office := []*client{}
	for i := range 30 {
		c := []func() *client{w.browser, w.page, w.program}[i%3]()
		c.login("acme/ann")
		office = append(office, c)
	}
	ok(t, w.sessions.EndAll(t.Context(), "ann"))
	junk := w.program()
	want(t, junk.do("POST", "/refresh", `{"refresh_token":"junk"}`), 401, "token_invalid")
	want(t, junk.do("POST", "/refresh", `{"refresh_token":"junk"}`), 429, "rate_limited")
	for _, c := range office {
		want(t, c.byRefresh("/refresh"), 401, "token_revoked")
		if len(c.cookies) > 0 {
			t.Errorf("kept %v", c.cookies)
		}
	}
}

// F-71: a page whose cookie is by now another's takes nothing from the other's budget.
func TestRefresh_F_71_InHeaderTwoUsers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := setup(t)
		ann, bob := w.page(), w.page()
		ann.login("acme/ann")
		bob.login("acme/bob")
		ann.cookies = bob.cookies
		codes := map[int]int{}
		for range 400 {
			codes[ann.byRefresh("/refresh").Code]++
		}
		if codes[403] != 60 || codes[429] != 340 {
			t.Errorf("got %v, expected 60 times 403 and then 429", codes)
		}
		want(t, bob.byRefresh("/refresh"), 200, "expires_in")
	})
}

// F-71: narrow has the limits of refresh, and its refusals name the refresh token.
func TestNarrow_F_71_Limits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := setup(t)
		c := w.program()
		c.login("acme/ann")
		narrow := func(token string) *httptest.ResponseRecorder {
			return w.program().do("POST", "/narrow", `{"refresh_token":"`+token+`","tenant":"club"}`)
		}
		rec := narrow("dwr1.junk.junk.junk")
		want(t, rec, 401, "refresh token")
		if got := rec.Header().Get("WWW-Authenticate"); !strings.Contains(got, "refresh token") {
			t.Errorf("WWW-Authenticate: %s", got)
		}
		codes := map[int]int{}
		for range 99 {
			codes[narrow("dwr1.junk.junk.junk").Code]++
		}
		if codes[401] != 59 || codes[429] != 40 {
			t.Errorf("junk: got %v, expected 60 in all and then 429", codes)
		}
		clear(codes)
		for range 400 {
			codes[narrow(c.refresh).Code]++
		}
		if codes[200] != 300 || codes[429] != 100 {
			t.Errorf("got %v, expected 300 and then 429", codes)
		}
		// A thief with a copy, who does not use the token up, must not keep the owner from rotating it: then his copy is old.
		stolen := c.refresh
		want(t, c.byRefresh("/refresh"), 200, "access_token")
		time.Sleep(11 * time.Second)
		w.told()
		want(t, narrow(stolen), 401, "refresh_reused")
		want(t, narrow(c.refresh), 401, "token_revoked")
	})
}

// A dead token of one's own has a good MAC. Who shows it again and again is told so each time, and costs neither a line of
// the log nor an exchange each.
func TestRefresh_F_71_ADeadToken(t *testing.T) {
	inEach(t, func(t *testing.T, w *world, c *client) {
		c.login("acme/ann")
		dead := c.copied()
		want(t, c.byRefresh("/logout"), 204, "")
		w.told()
		for range 500 {
			again := dead.copied()
			want(t, again.byRefresh("/refresh"), 401, "token_revoked")
			if len(again.cookies) > 0 && again.cookies["__Host-refresh"] != "" {
				t.Fatalf("the dead cookie stays: %v", again.cookies)
			}
		}
		if told := w.told(); len(told) > 5 {
			t.Errorf("500 showings of a dead token are %d events", len(told))
		}
	})
}

type noLimiter struct{}

func (noLimiter) Take(context.Context, ...ratelimit.Cost) (ratelimit.Decision, error) {
	return ratelimit.Decision{}, errors.New("down")
}

func TestRefresh_LimitFailsClosed(t *testing.T) {
	w := setup(t)
	c := w.program()
	c.login("acme/ann")
	config := w.bearer
	config.Limit.Limiter = noLimiter{}
	h, err := sessionhttp.New(config)
	ok(t, err)
	w.Handler = http.StripPrefix("/token", h)
	want(t, c.byRefresh("/refresh"), 503, "store_unavailable")
	for name, change := range map[string]func(*sessionhttp.Config){
		"a rate that cannot be": func(c *sessionhttp.Config) { c.RefreshPerSession = ratelimit.Rate{N: -1, Per: time.Hour} },
		"another":               func(c *sessionhttp.Config) { c.RefreshPerNetwork = ratelimit.Rate{N: 5} },
		"another issuer":        func(c *sessionhttp.Config) { c.Limit.Issuer = "https://other.example" },
		"further fields":        func(c *sessionhttp.Config) { c.Limit.Required = []string{"code"} },
	} {
		config := w.bearer
		change(&config)
		if _, err := sessionhttp.New(config); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	same := w.bearer
	same.Limit.Issuer = origin
	_, err = sessionhttp.New(same)
	ok(t, err)
}

// U-40: a login that lacks something, or whose members are no texts, is 422 with its fields. It comes to no users table and is
// no outage: over Redis an empty account was 503 and an event "outage" at d9addb9.
func TestLogin_U_40_Fields(t *testing.T) {
	both(t, func(t *testing.T, w *world, c *client) {
		for _, test := range []struct{ body, fields string }{
			{`{}`, `"fields":{"account":"required","password":"required"}`},
			{`{"account":"","password":"x"}`, `"fields":{"account":"required"}`},
			{`{"account":null,"password":"x"}`, `"fields":{"account":"required"}`},
			{`{"account":"acme/ann"}`, `"fields":{"password":"required"}`},
			{`{"account":"acme/ann","password":""}`, `"fields":{"password":"required"}`},
			{`{"account":7,"password":"x"}`, `"fields":{"account":"wrong type"}`},
			{`{"account":"acme/ann","password":7}`, `"fields":{"password":"wrong type"}`},
			{`{"account":[],"password":{}}`, `"fields":{"account":"wrong type","password":"wrong type"}`},
		} {
			want(t, c.do("POST", "/login", test.body), 422, test.fields)
		}
		if told := w.told(); w.users.reached() > 0 || len(told) > 0 {
			t.Errorf("%d came to the users table, told %v", w.users.reached(), told)
		}
	})
}

// A failed login's event says whose it was, by a keyed hash, or as it was typed where the application says so.
func TestLogin_EventNamesTypedAccount(t *testing.T) {
	for _, typed := range []bool{false, true} {
		w := setup(t, func(c *sessionhttp.Config) { c.Limit.AllowTypedAccounts = typed })
		accounts := func(account string) (said string) {
			w.program().do("POST", "/login", `{"account":"`+account+`","password":"wrong"}`)
			w.mu.Lock()
			defer w.mu.Unlock()
			e := w.events[len(w.events)-1]
			if e.Name != "login" || e.Outcome != string(auth.LoginFailed) {
				t.Fatalf("got %+v", e)
			}
			return e.Account
		}
		ann, same, bob := accounts("acme/ann"), accounts("Acme/ANN"), accounts("acme/bob\\u001b[31m")
		if typed && (ann != "acme/ann" || same != "Acme/ANN" || bob != `acme/bob\x1b[31m`) {
			t.Errorf("typed: got %q, %q, %q", ann, same, bob)
		}
		if !typed && (len(ann) != 23 || same != ann || bob == ann) {
			t.Errorf("hashed: got %q, %q, %q", ann, same, bob)
		}
	}
}
