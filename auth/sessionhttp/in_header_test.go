package sessionhttp_test

import (
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/doorward/doorward/auth"
)

// The access token comes in a header and never in a cookie, the refresh token the other way round, and no body has one.
func TestInHeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := setup(t)
		c := w.page()
		c.cookies["__Host-access"] = "of-the-cookie-mode"
		gives := func(rec *httptest.ResponseRecorder) {
			t.Helper()
			want(t, rec, 200, "expires_in")
			h := rec.Header()
			if h.Get("X-Access-Token") == "" || h.Get("X-CSRF-Token") == "" || len(c.cookies) != 1 || c.cookies["__Host-refresh"] == "" {
				t.Fatalf("got %v, cookies %v", h, c.cookies)
			}
			if strings.Contains(rec.Body.String(), "token") {
				t.Errorf("a token in the body: %s", rec.Body)
			}
			want(t, c.do("GET", "/session", ""), 200, "ann")
		}
		gives(c.do("POST", "/login", annLogin))
		want(t, c.do("GET", "/session", "", "Authorization", ""), 401, "credentials_missing")

		time.Sleep(time.Hour) // the bubble's
		want(t, c.do("GET", "/session", ""), 401, "token_expired")
		gives(c.byRefresh("/refresh")) // with the expired one, and the CSRF token
		time.Sleep(time.Hour)
		gives(c.do("POST", "/refresh", "", "Authorization", ""))
		time.Sleep(time.Hour)
		gives(c.do("POST", "/refresh", "", "Authorization", "", "X-CSRF-Token", "")) // a page that was just loaded
		time.Sleep(time.Minute)
		gives(c.do("POST", "/refresh", "", "X-CSRF-Token", "")) // one that still holds says enough
		want(t, c.byRefresh("/logout"), 204, "")
		want(t, c.do("GET", "/session", ""), 401, "token_revoked")
		if len(c.cookies) > 0 {
			t.Errorf("cookies: got %v", c.cookies)
		}
	})
}

// Two users in two tabs: the page of the first neither gets the second one's token nor ends his session, however it
// asks. Nothing is rotated for it, so that the second one's tab goes on.
func TestInHeaderTwoUsers(t *testing.T) {
	for name, c := range map[string]struct {
		after  time.Duration
		header []string
		code   string
	}{
		"a token that holds":              {time.Minute, nil, "csrf_failed"},
		"a token that holds, and no CSRF": {time.Minute, []string{"X-CSRF-Token", ""}, "csrf_failed"},
		"an expired one":                  {time.Hour, nil, "csrf_failed"},
		"an expired one, and no CSRF":     {time.Hour, []string{"X-CSRF-Token", ""}, "token_expired"},
		"none, and CSRF":                  {time.Minute, []string{"Authorization", ""}, "csrf_failed"},
		"another scheme, and CSRF":        {time.Minute, []string{"Authorization", "Basic YTpi"}, "csrf_failed"},
	} {
		for _, behind := range []bool{false, true} {
			if behind && strings.HasPrefix(name, "none") {
				continue // a page that shows no token gets one there, on any route
			}
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := setup(t)
					if behind {
						w.refreshing(true)
					}
					ann, bob := w.page(), w.page()
					ann.login("acme/ann")
					bob.login("acme/bob")
					time.Sleep(c.after) // the bubble's
					ann.cookies = bob.cookies
					for _, path := range []string{"/refresh", "/logout", "/refresh"} {
						before := bob.cookies["__Host-refresh"]
						rec := ann.do("POST", path, "", c.header...)
						if rec.Code/100 != 4 || !strings.Contains(rec.Body.String(), c.code) {
							t.Fatalf("%s: got %d %s, expected %s", path, rec.Code, rec.Body, c.code)
						}
						if rec.Header().Get("X-Access-Token") != "" || rec.Header().Get("X-CSRF-Token") != "" {
							t.Errorf("%s: got %v", path, rec.Header())
						}
						if !behind && bob.cookies["__Host-refresh"] != before {
							t.Errorf("%s: rotated", path)
						}
					}
					want(t, bob.byRefresh("/refresh"), 200, "")
					want(t, bob.do("GET", "/session", ""), 200, "bob")
				})
			})
		}
	}
	t.Run("ends her own", func(t *testing.T) {
		for _, path := range []string{"/sessions/", "/sessions"} {
			w := setup(t)
			ann, bob := w.page(), w.page()
			id := ann.login("acme/ann")
			bob.login("acme/bob")
			ann.cookies = bob.cookies
			if path == "/sessions/" {
				path += id
			}
			want(t, ann.do("DELETE", path, ""), 204, "")
			want(t, ann.do("GET", "/session", ""), 401, "token_revoked")
			if bob.cookies["__Host-refresh"] == "" {
				t.Error("the second one's cookie was cleared")
			}
			want(t, bob.byRefresh("/refresh"), 200, "")
		}
	})
}

// An outage is told by a refresh. A logout asks nobody whose session the cookie is of: neither an outage of the users table
// nor, U-25, a membership that is gone keeps anybody logged in. What is another's stays.
func TestInHeaderLogout_U_25(t *testing.T) {
	for name, c := range map[string]struct {
		err  error
		code int
		says string
	}{
		"no member":                   {auth.TenantForbidden, 403, "tenant_forbidden"},
		"an outage":                   {errOutage, 503, "store_unavailable"},
		"the subject is gone as well": {auth.LoginFailed, 401, "token_revoked"},
	} {
		t.Run(name, func(t *testing.T) {
			w := setup(t)
			ann, bob := w.page(), w.page()
			ann.login("acme/ann")
			old := ann.copied()
			bob.login("acme/bob")
			w.users.fail(c.err)
			if c.code != 401 { // which ends it
				want(t, ann.byRefresh("/refresh"), c.code, c.says)
				foreign := ann.copied()
				foreign.cookies = bob.copied().cookies
				want(t, foreign.byRefresh("/logout"), 403, "csrf_failed")
				want(t, foreign.do("POST", "/logout", "", "Authorization", ""), 403, "csrf_failed")
			}
			want(t, ann.byRefresh("/logout"), 204, "")
			if len(ann.cookies) > 0 {
				t.Errorf("kept %v", ann.cookies)
			}
			w.users.fail(nil)
			want(t, ann.do("GET", "/session", ""), 401, "token_revoked")
			want(t, old.byRefresh("/refresh"), 401, "token_revoked")
			want(t, bob.byRefresh("/refresh"), 200, "expires_in")
		})
	}
}

// A page whose cookie is of another's session that is over has its access token alone: a logout ends what that is of.
func TestInHeaderLogoutBesideDeadCookie(t *testing.T) {
	w := setup(t)
	ann, bob := w.page(), w.page()
	ann.login("acme/ann")
	bob.login("acme/bob")
	ann.cookies = bob.copied().cookies
	ok(t, w.sessions.EndAll(t.Context(), "bob"))
	want(t, ann.byRefresh("/logout"), 204, "")
	want(t, ann.do("GET", "/session", ""), 401, "token_revoked")
	if len(ann.cookies) > 0 {
		t.Errorf("kept %v", ann.cookies)
	}
}

// Ending one's own session clears one's own cookie, also during an outage of the users table.
func TestInHeaderEndDuringOutage(t *testing.T) {
	w := setup(t)
	ann, bob := w.page(), w.page()
	id := ann.login("acme/ann")
	foreign := ann.copied()
	bob.login("acme/bob")
	foreign.cookies = bob.copied().cookies
	w.users.fail(errOutage)
	want(t, ann.do("DELETE", "/sessions/"+id, ""), 204, "")
	if len(ann.cookies) > 0 {
		t.Errorf("kept %v", ann.cookies)
	}
	w.users.fail(nil)
	id = foreign.login("acme/ann")
	foreign.cookies = bob.copied().cookies
	w.users.fail(errOutage)
	want(t, foreign.do("DELETE", "/sessions/"+id, ""), 204, "")
	if len(foreign.cookies) != 1 {
		t.Error("the other's cookie was cleared, and nobody knew whether his session is over")
	}
}

// Behind RefreshFromCookie the endpoint rotates no second time, and the token comes from there.
func TestInHeaderBehindRefreshFromCookie(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := setup(t)
		w.refreshing(true)
		c := w.page()
		c.login("acme/ann")
		for range 3 {
			time.Sleep(time.Hour) // the bubble's
			old, tab := c.access, c.copied()
			want(t, c.byRefresh("/refresh"), 200, "expires_in")
			want(t, tab.byRefresh("/refresh"), 200, "expires_in")
			if c.access == old || tab.cookies["__Host-refresh"] != c.cookies["__Host-refresh"] {
				t.Fatal("no new access token, or two refresh tokens")
			}
			want(t, c.do("GET", "/session", ""), 200, "ann")
		}
		time.Sleep(time.Hour)
		rec := c.do("POST", "/login", `{"account":"acme/bob","password":"right"}`, "Authorization", "")
		want(t, rec, 200, "")
		if len(rec.Header()["X-Access-Token"]) != 1 {
			t.Errorf("got %v", rec.Header())
		}
		want(t, c.do("GET", "/session", ""), 200, "bob")
		time.Sleep(time.Hour)
		rec = c.byRefresh("/logout")
		want(t, rec, 204, "")
		if len(rec.Header()["X-Access-Token"]) > 0 || len(c.cookies) > 0 {
			t.Errorf("got %v, cookies %v", rec.Header(), c.cookies)
		}
	})
}
