package sessionhttp_test

import (
	"database/sql"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/auth/session"
	"github.com/doorward/doorward/auth/sessionhttp"
	"github.com/doorward/doorward/cookies"
	"github.com/doorward/doorward/middleware"
	"github.com/doorward/doorward/ratelimit"
)

// Every route, in both modes, as a client uses it.
func TestStory(t *testing.T) {
	both(t, func(t *testing.T, w *world, c *client) {
		want(t, c.do("GET", "/session", ""), 401, "credentials_missing")
		id := c.login("acme/ann")
		rec := c.do("GET", "/session", "")
		want(t, rec, 200, `"roles":["editor"]`)
		if field(t, rec, "session") != id || field(t, rec, "subject") != "ann" || field(t, rec, "tenant") != "" {
			t.Errorf("who am I: got %s", rec.Body)
		}
		was := c.copied()
		want(t, c.byRefresh("/refresh"), 200, "expires_in")
		if was.refresh+was.cookies["__Host-refresh"] == c.refresh+c.cookies["__Host-refresh"] || was.access+was.cookies["__Host-access"] == c.access+c.cookies["__Host-access"] {
			t.Error("not a new pair")
		}
		want(t, c.do("GET", "/session", ""), 200, id)

		phone := c.copied()
		phone.cookies = map[string]string{}
		if c.cookies == nil {
			phone.cookies = nil
		}
		phone.login("acme/ann")
		list := c.sessions()
		if len(list) != 2 || list[0].Current == list[1].Current || list[0].Device != "Firefox on Linux" || list[0].Address != "192.0.2.1" {
			t.Fatalf("sessions: got %+v", list)
		}
		want(t, c.byRefresh("/logout"), 204, "")
		if len(c.cookies) > 0 {
			t.Errorf("cookies after the logout: %v", c.cookies)
		}
		if list := phone.sessions(); len(list) != 1 || !list[0].Current {
			t.Errorf("sessions after the logout: got %+v", list)
		}
		if got := w.told(); !slices.Contains(got, "login ok") || !slices.Contains(got, "logout ok") {
			t.Errorf("events: got %q", got)
		}
	})
}

// Cookie mode never puts a token into a body, bearer mode never sets a cookie.
func TestTokensStayWhereTheyBelong(t *testing.T) {
	both(t, func(t *testing.T, w *world, c *client) {
		for _, rec := range []interface {
			Result() *http.Response
		}{
			c.do("POST", "/login", annLogin), c.byRefresh("/refresh"), c.do("GET", "/session", ""), c.do("GET", "/sessions", ""),
			c.do("POST", "/login", `{"account":"acme/ann","password":"wrong"}`), c.byRefresh("/logout"),
		} {
			res := rec.Result()
			body := make([]byte, 4096)
			n, _ := res.Body.Read(body)
			text := string(body[:n])
			if c.cookies == nil && len(res.Cookies()) > 0 {
				t.Errorf("bearer: got cookies %v", res.Header["Set-Cookie"])
			}
			if c.cookies != nil && (strings.Contains(text, "eyJ") || strings.Contains(text, "dwr1.")) {
				t.Errorf("cookie: got a token in %s", text)
			}
		}
	})
}

// TestATK_S14_NothingIsKept: every answer, refusals included, is no-store and varies on what proved it.
func TestATK_S14_NothingIsKept(t *testing.T) {
	both(t, func(t *testing.T, w *world, c *client) {
		vary := "Authorization"
		if c.cookies != nil {
			vary = "Cookie"
		}
		if c.prefix == "/page" {
			vary = "Authorization, Cookie"
		}
		c.login("acme/ann")
		for _, route := range [][2]string{
			{"GET", "/session"}, {"GET", "/sessions"}, {"POST", "/login"}, {"POST", "/refresh"}, {"DELETE", "/sessions/x"},
			{"GET", "/nothing"}, {"GET", "/"}, {"PUT", "/session"}, {"DELETE", "/sessions"}, {"POST", "/logout"}, {"GET", "/session"},
		} {
			rec := c.do(route[0], route[1], "")
			h := rec.Header()
			if h.Get("Cache-Control") != "no-store" || !slices.Contains(h["Vary"], vary) || h.Get("X-Content-Type-Options") != "nosniff" ||
				!strings.Contains(h.Get("Content-Security-Policy"), "frame-ancestors 'none'") || h.Get("Referrer-Policy") != "no-referrer" {
				t.Errorf("%v: got %d with %v", route, rec.Code, h)
			}
		}
	})
}

// TestSTD_F11_GETChangesNothing: a link or a prefetch neither logs out nor ends nor refreshes.
func TestSTD_F11_GETChangesNothing(t *testing.T) {
	both(t, func(t *testing.T, w *world, c *client) {
		id := c.login("acme/ann")
		w.told()
		for _, method := range []string{"GET", "HEAD", "OPTIONS", "PUT", "PATCH", "TRACE", "LOGOUT"} {
			for _, path := range []string{"/login", "/logout", "/refresh", "/sessions/" + id} {
				rec := c.do(method, path, "")
				if rec.Code != 404 || len(rec.Result().Cookies()) > 0 {
					t.Errorf("%s %s: got %d", method, path, rec.Code)
				}
			}
		}
		if got := w.told(); len(got) > 0 {
			t.Errorf("events: got %q", got)
		}
		want(t, c.do("GET", "/session", ""), 200, id)
	})
}

func TestBodies(t *testing.T) {
	for _, c := range []struct {
		name, path, body, media string
		status                  int
		says                    string
	}{
		{"STD-F08 text/plain", "/login", annLogin, "text/plain", 415, "media_type"},
		{"STD-F08 form", "/login", "account=acme/ann&password=right", "application/x-www-form-urlencoded", 415, "media_type"},
		{"STD-F08 multipart", "/login", annLogin, "multipart/form-data; boundary=x", 415, "media_type"},
		{"STD-F08 none", "/login", annLogin, "", 415, "media_type"},
		{"STD-F08 parameter", "/login", annLogin, "application/json;x=y", 415, "media_type"},
		{"ATK-L18 a role", "/login", `{"account":"acme/ann","password":"right","role":"admin"}`, "application/json", 422, `"fields":{"role":"unknown"}`},
		{"ATK-L18 a tenant", "/login", `{"tenant_id":"umbrella","account":"acme/ann","password":"right"}`, "application/json", 422, "validation_failed"},
		{"ATK-L18 other letter case", "/login", `{"account":"acme/ann","password":"wrong","Password":"right"}`, "application/json", 400, "request_malformed"},
		{"ATK-L18 account in other letter case", "/login", `{"Account":"acme/ann","password":"right"}`, "application/json", 400, "request_malformed"},
		{"account twice", "/login", `{"account":"acme/bob","account":"acme/ann","password":"right"}`, "application/json", 400, "request_malformed"},
		{"password twice", "/login", `{"account":"acme/ann","password":"wrong","password":"right"}`, "application/json", 400, "request_malformed"},
		{"password is no string", "/login", `{"account":"acme/ann","password":["right"]}`, "application/json", 422, `"password":"wrong type"`},
		{"two values", "/login", annLogin + annLogin, "application/json", 400, "request_malformed"},
		{"a list", "/login", `[1]`, "application/json", 400, "request_malformed"},
		{"no JSON", "/login", `{`, "application/json", 400, "request_malformed"},
		{"nothing", "/login", "", "application/json", 400, "request_malformed"},
		{"invalid UTF-8", "/login", "{\"account\":\"acme/ann\",\"password\":\"\xff\"}", "application/json", 400, "request_malformed"},
		{"ATK-L09 too large", "/login", `{"account":"acme/ann","password":"` + strings.Repeat("a", 16<<10) + `"}`, "application/json", 413, "too_large"},
	} {
		t.Run(c.name, func(t *testing.T) {
			both(t, func(t *testing.T, w *world, client *client) {
				want(t, client.do("POST", c.path, c.body, "Content-Type", c.media), c.status, c.says)
				if w.users.reached() > 0 {
					t.Error("the password was looked at")
				}
			})
		})
	}
	for _, c := range []struct {
		name, body, media string
		status            int
		says              string
	}{
		{"STD-F08", `{"refresh_token":"x"}`, "text/plain", 415, "media_type"},
		{"STD-F08 nothing", "", "", 415, "media_type"},
		{"ATK-L18", `{"refresh_token":"x","sid":"y"}`, "application/json", 422, "validation_failed"},
		{"no token", `{}`, "application/json", 422, `"refresh_token":"required"`},
		{"a list", `[]`, "application/json", 400, "request_malformed"},
		{"too large", `{"refresh_token":"` + strings.Repeat("a", 16<<10) + `"}`, "application/json", 413, "too_large"},
	} {
		t.Run("bearer "+c.name, func(t *testing.T) {
			p := setup(t).program()
			for _, path := range []string{"/refresh", "/logout"} {
				want(t, p.do("POST", path, c.body, "Content-Type", c.media), c.status, c.says)
			}
		})
	}
}

// TestATK_L01_OneAnswer: an unknown account and a wrong password answer alike, headers included.
func TestATK_L01_OneAnswer(t *testing.T) {
	both(t, func(t *testing.T, w *world, c *client) {
		wrong := c.do("POST", "/login", `{"account":"acme/ann","password":"wrong"}`)
		unknown := c.do("POST", "/login", `{"account":"acme/eve","password":"wrong"}`)
		want(t, wrong, 401, "login_failed")
		want(t, unknown, 401, "login_failed")
		if wrong.Body.String() != unknown.Body.String() {
			t.Errorf("bodies: got %s and %s", wrong.Body, unknown.Body)
		}
		for name := range wrong.Header() {
			if name != "Ratelimit" && !slices.Equal(wrong.Header()[name], unknown.Header()[name]) { // RateLimit counts the network's tries
				t.Errorf("%s: got %q and %q", name, wrong.Header()[name], unknown.Header()[name])
			}
		}
		if len(wrong.Header()) != len(unknown.Header()) {
			t.Errorf("headers: got %v and %v", wrong.Header(), unknown.Header())
		}
		if got := w.told(); !slices.Equal(got, []string{"login login_failed", "login login_failed"}) {
			t.Errorf("events: got %q", got)
		}
	})
}

// TestATK_L08_TheLimitBites: the sixth try does not reach the password; a success gives the tries back.
func TestATK_L08_TheLimitBites(t *testing.T) {
	both(t, func(t *testing.T, w *world, c *client) {
		for range 3 {
			for range 4 {
				want(t, c.do("POST", "/login", `{"account":"acme/bob","password":"wrong"}`), 401, "login_failed")
			}
			c.login("acme/bob")
		}
		for range 5 {
			want(t, c.do("POST", "/login", `{"account":"acme/ann","password":"wrong"}`), 401, "login_failed")
		}
		before := w.users.reached()
		rec := c.do("POST", "/login", annLogin)
		want(t, rec, 429, "rate_limited")
		if rec.Header().Get("Retry-After") == "" || w.users.reached() != before {
			t.Errorf("got Retry-After %q, and %d more tries at the password", rec.Header().Get("Retry-After"), w.users.reached()-before)
		}
		if got := w.told(); got[len(got)-1] != "limit account" {
			t.Errorf("events: got %q", got)
		}
	})
}

// TestATK_S06_LoginCSRF: another site logs nobody in, and uses up nobody's tries.
func TestATK_S06_LoginCSRF(t *testing.T) {
	w := setup(t, func(c *sessionhttp.Config) { c.Limit.PerAccount = ratelimit.Rate{N: 1, Per: time.Hour} })
	c := w.browser()
	for name, header := range map[string][]string{
		"Origin":                    {"Origin", "https://evil.example"},
		"Origin alone":              {"Origin", "https://evil.example", "Sec-Fetch-Site", ""},
		"Sec-Fetch-Site":            {"Origin", "", "Sec-Fetch-Site", "cross-site"},
		"a sibling":                 {"Origin", "", "Sec-Fetch-Site", "same-site"},
		"null":                      {"Origin", "null", "Sec-Fetch-Site", "cross-site"},
		"http of the same host":     {"Origin", "http://app.example.com"},
		"an own one with a suffix":  {"Origin", origin + ".evil.example"},
		"null without a word on it": {"Origin", "null", "Sec-Fetch-Site", ""},
	} {
		for _, path := range []string{"/login", "/refresh", "/logout"} {
			t.Run(name+" "+path, func(t *testing.T) {
				rec := c.do("POST", path, annLogin, header...)
				want(t, rec, 403, "csrf_failed")
				if len(rec.Result().Cookies()) > 0 || w.users.reached() > 0 {
					t.Error("it came through")
				}
			})
		}
	}
	c.login("acme/ann")
}

// TestATK_C04_Silence: with cookies but without a word of where it comes from, nothing is refreshed or ended.
func TestATK_C04_Silence(t *testing.T) {
	w := setup(t)
	c := w.browser()
	c.login("acme/ann")
	for _, path := range []string{"/refresh", "/logout"} {
		want(t, c.do("POST", path, "", "Origin", "", "Sec-Fetch-Site", ""), 403, "csrf_failed")
	}
	for _, path := range []string{"/sessions", "/sessions/x"} {
		want(t, c.do("DELETE", path, "", "X-CSRF-Token", ""), 403, "csrf_failed")
		want(t, c.do("DELETE", path, "", "X-CSRF-Token", c.csrf+"x"), 403, "csrf_failed")
		want(t, c.do("DELETE", path, "", "Origin", "https://evil.example"), 403, "csrf_failed")
	}
	want(t, c.do("GET", "/session", ""), 200, "ann")
}

// TestSTD_F06_ANewLoginNeedsANewToken: the CSRF token of the session before is refused, that of before a refresh is not.
func TestSTD_F06_ANewLoginNeedsANewToken(t *testing.T) {
	w := setup(t)
	c := w.browser()
	c.login("acme/ann")
	first := c.csrf
	c.login("acme/ann")
	want(t, c.do("DELETE", "/sessions/x", "", "X-CSRF-Token", first), 403, "csrf_failed")
	second := c.csrf
	want(t, c.byRefresh("/refresh"), 200, "")
	want(t, c.do("DELETE", "/sessions/x", "", "X-CSRF-Token", second), 404, "not_found")
}

// TestATK_S05_Fixation: a login makes a session of its own and ends the one whose cookies stood there.
func TestATK_S05_Fixation(t *testing.T) {
	w := setup(t)
	planted := w.browser()
	old := planted.login("acme/bob")
	victim := planted.copied()
	if victim.login("acme/ann") == old {
		t.Error("the session's id was kept")
	}
	want(t, planted.do("GET", "/session", ""), 401, "token_revoked")
	want(t, planted.byRefresh("/refresh"), 401, "token_revoked")
	want(t, victim.do("GET", "/session", ""), 200, `"ann"`)
}

// TestSTD_S07_Logout: both tokens are dead on any copy, and a second logout is still 204.
func TestSTD_S07_Logout(t *testing.T) {
	both(t, func(t *testing.T, w *world, c *client) {
		c.login("acme/ann")
		copied := c.copied()
		want(t, c.byRefresh("/logout"), 204, "")
		want(t, c.byRefresh("/logout"), 204, "")
		want(t, copied.do("GET", "/session", ""), 401, "token_revoked")
		want(t, copied.copied().byRefresh("/refresh"), 401, "token_revoked")
		want(t, copied.byRefresh("/logout"), 204, "")
	})
}

// TestSTD_S07_LogoutAfterExpiry: an access token that has expired does not keep anybody from logging out.
func TestSTD_S07_LogoutAfterExpiry(t *testing.T) {
	both := map[string]func(*world) *client{"cookie": (*world).browser, "in header": (*world).page, "bearer": (*world).program}
	for name, make := range both {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := setup(t)
				c := make(w)
				c.login("acme/ann")
				time.Sleep(time.Hour) // the bubble's
				want(t, c.do("GET", "/session", ""), 401, "token_expired")
				copied := c.copied()
				want(t, c.byRefresh("/logout"), 204, "")
				want(t, copied.byRefresh("/refresh"), 401, "token_revoked")
			})
		})
	}
}

// What is shown at a logout decides what it may say: 204 is a promise.
func TestLogoutShows(t *testing.T) {
	t.Run("nothing", func(t *testing.T) {
		w := setup(t)
		want(t, w.browser().do("POST", "/logout", ""), 204, "")
	})
	t.Run("garbage", func(t *testing.T) {
		w := setup(t)
		c := w.browser()
		c.cookies["__Host-refresh"] = "dwr1.x.y.z"
		want(t, w.program().do("POST", "/logout", `{"refresh_token":"garbage"}`), 204, "")
		c.cookies["__Host-refresh"] = "garbage"
		want(t, c.do("POST", "/logout", ""), 204, "")
		if len(c.cookies) > 0 {
			t.Errorf("got cookies %v", c.cookies)
		}
	})
	t.Run("the access token alone", func(t *testing.T) {
		w := setup(t)
		c := w.browser()
		c.login("acme/ann")
		copied := c.copied()
		delete(c.cookies, "__Host-refresh")
		want(t, c.do("POST", "/logout", ""), 204, "")
		want(t, copied.do("GET", "/session", ""), 401, "token_revoked")
		want(t, copied.byRefresh("/refresh"), 401, "token_revoked")
		delete(copied.cookies, "__Host-refresh")
		want(t, copied.do("POST", "/logout", ""), 204, "")
	})
	t.Run("a key that is not known here", func(t *testing.T) {
		both(t, func(t *testing.T, w *world, c *client) {
			c.login("acme/ann")
			token := c.refresh + c.cookies["__Host-refresh"]
			parts := strings.Split(token, ".")
			parts[1] = "another"
			token = strings.Join(parts, ".")
			if c.refresh = token; c.cookies != nil {
				c.cookies["__Host-refresh"] = token
			}
			want(t, c.byRefresh("/logout"), 401, "token_expired")
			if c.cookies != nil && c.cookies["__Host-refresh"] != token {
				t.Error("the cookie was cleared")
			}
		})
	})
	t.Run("two refresh cookies", func(t *testing.T) {
		w := setup(t)
		c := w.browser()
		c.login("acme/ann")
		want(t, c.do("POST", "/logout", "", "Cookie", "__Host-refresh=a; __Host-refresh=b"), 400, "request_malformed")
	})
	t.Run("to a store that is down", func(t *testing.T) {
		both(t, func(t *testing.T, w *world, c *client) {
			c.login("acme/ann")
			w.store.down = true
			want(t, c.byRefresh("/logout"), 503, "store_unavailable")
			w.store.down = false
			want(t, c.do("GET", "/session", ""), 200, "ann") // the cookies are still there
			want(t, c.byRefresh("/logout"), 204, "")
		})
	})
}

// TestATK_S11_AnothersSession: the session of another subject or tenant is not there, as is one that never was.
func TestATK_S11_AnothersSession(t *testing.T) {
	for _, other := range []string{"acme/bob", "umbrella/ann"} {
		both(t, func(t *testing.T, w *world, c *client) {
			stranger := c.copied()
			if c.cookies != nil {
				stranger.cookies = map[string]string{}
			}
			id := stranger.login(other)
			c.login("acme/ann")
			foreign := c.do("DELETE", "/sessions/"+id, "")
			unknown := c.do("DELETE", "/sessions/ABCDEFGHIJKLMNOPQRSTUVWXYZ", "")
			malformed := c.do("DELETE", "/sessions/%2e%2e%00", "")
			for _, rec := range []interface{ Result() *http.Response }{foreign, unknown, malformed} {
				if res := rec.Result(); res.StatusCode != 404 {
					t.Errorf("got %d", res.StatusCode)
				}
			}
			if foreign.Body.String() != unknown.Body.String() || len(foreign.Header()) != len(unknown.Header()) {
				t.Errorf("another's: got %s, unknown: %s", foreign.Body, unknown.Body)
			}
			want(t, stranger.do("GET", "/session", ""), 200, id)
			// STD-S13: nor does anybody see it, or end it with all of his own.
			if list := c.sessions(); len(list) != 1 || list[0].ID == id {
				t.Errorf("sessions: got %+v", list)
			}
			want(t, c.do("DELETE", "/sessions", ""), 204, "")
			want(t, stranger.do("GET", "/session", ""), 200, id)
		})
	}
}

// TestSTD_S13_OwnSessions: one, the others, all.
func TestSTD_S13_OwnSessions(t *testing.T) {
	both(t, func(t *testing.T, w *world, c *client) {
		another := func() *client {
			d := c.copied()
			if c.cookies != nil {
				d.cookies = map[string]string{}
			}
			d.login("acme/ann")
			return d
		}
		c.login("acme/ann")
		phone := another()
		id := phone.sessions()[0].ID
		want(t, c.do("DELETE", "/sessions/"+id, ""), 204, "")
		want(t, phone.do("GET", "/session", ""), 401, "token_revoked")
		want(t, c.do("DELETE", "/sessions/"+id, ""), 404, "not_found")
		want(t, c.do("GET", "/session", ""), 200, "")

		phone, tablet := another(), another()
		want(t, c.do("DELETE", "/sessions?except=me", ""), 400, "request_malformed")
		want(t, c.do("DELETE", "/sessions?except=current&", ""), 400, "request_malformed")
		want(t, c.do("DELETE", "/sessions?except=current", ""), 204, "")
		for _, d := range []*client{phone, tablet} {
			want(t, d.do("GET", "/session", ""), 401, "token_")
			want(t, d.byRefresh("/refresh"), 401, "token_revoked")
		}
		want(t, c.do("GET", "/session", ""), 401, "token_expired")
		want(t, c.byRefresh("/refresh"), 200, "")
		if list := c.sessions(); len(list) != 1 || !list[0].Current {
			t.Errorf("sessions: got %+v", list)
		}

		phone = another()
		want(t, c.do("DELETE", "/sessions", ""), 204, "")
		if len(c.cookies) > 0 {
			t.Errorf("cookies: got %v", c.cookies)
		}
		want(t, phone.do("GET", "/session", ""), 401, "token_")
		want(t, phone.byRefresh("/refresh"), 401, "token_revoked")

		c.login("acme/ann")
		want(t, c.do("DELETE", "/sessions/"+c.sessions()[0].ID, ""), 204, "")
		if len(c.cookies) > 0 {
			t.Errorf("cookies: got %v", c.cookies)
		}
	})
}

// TestATK_S04_TheEndpointIsStrict: an old refresh token ends the session, in cookie mode too, and clears the cookies.
func TestATK_S04_TheEndpointIsStrict(t *testing.T) {
	for name, make := range map[string]func(*world) *client{"cookie": (*world).browser, "in header": (*world).page, "bearer": (*world).program} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := setup(t)
				c := make(w)
				c.login("acme/ann")
				thief := c.copied()
				time.Sleep(time.Minute) // the bubble's
				want(t, c.byRefresh("/refresh"), 200, "")
				time.Sleep(time.Minute)
				want(t, thief.byRefresh("/refresh"), 401, "refresh_reused")
				if len(thief.cookies) > 0 {
					t.Errorf("cookies: got %v", thief.cookies)
				}
				want(t, c.do("GET", "/session", ""), 401, "token_revoked")
				want(t, c.byRefresh("/refresh"), 401, "token_revoked")
			})
		})
	}
}

// ATK-S02, promise R: a browser that is opened again loads several tabs at once, and each of them calls refresh. A tab
// that was slow shows what two others have left behind meanwhile. For a program, which keeps its token itself, ATK-S04
// holds to the letter.
func TestATK_S02_SlowTab(t *testing.T) {
	for name, make := range map[string]func(*world) *client{"cookie": (*world).browser, "in header": (*world).page, "bearer": (*world).program} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := setup(t)
				c := make(w)
				c.login("acme/ann")
				time.Sleep(time.Hour) // the bubble's
				c.access = ""         // of the page that was closed
				slow := c.copied()
				want(t, c.byRefresh("/refresh"), 200, "")
				next := c.copied()
				next.access = ""
				time.Sleep(5 * time.Second)
				want(t, next.byRefresh("/refresh"), 200, "")
				if c.cookies == nil {
					want(t, slow.byRefresh("/refresh"), 401, "refresh_reused")
					return
				}
				want(t, slow.byRefresh("/refresh"), 200, "")
				for name, tab := range map[string]*client{"slow": slow, "next": next} {
					if tab.cookies["__Host-refresh"] != c.cookies["__Host-refresh"] {
						t.Errorf("the %s tab has another refresh token", name)
					}
					want(t, tab.do("GET", "/session", ""), 200, "ann")
				}
			})
		})
	}
}

// An outage or a race never clears the cookies.
func TestRefreshKeepsTheCookies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := setup(t)
		c := w.browser()
		c.login("acme/ann")
		time.Sleep(time.Minute) // the bubble's
		w.store.down = true
		want(t, c.byRefresh("/refresh"), 503, "store_unavailable")
		w.store.down = false
		w.users.fail(errOutage)
		want(t, c.byRefresh("/refresh"), 503, "store_unavailable")
		w.users.fail(nil)
		want(t, c.byRefresh("/refresh"), 200, "")
	})
}

// Behind RefreshFromCookie the endpoint does not rotate once more: a parallel request with the same stale pair would
// show a grandparent then, and the session would end.
func TestBehindRefreshFromCookie(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := setup(t)
		w.refreshing(false)
		c := w.browser()
		c.login("acme/ann")
		time.Sleep(time.Hour) // the bubble's: the access token has expired
		tabs := make([]*client, 10)
		for i := range tabs {
			tabs[i] = c.copied()
			want(t, tabs[i].byRefresh("/refresh"), 200, "expires_in")
			want(t, tabs[i].do("GET", "/session", ""), 200, "ann")
			if tabs[i].cookies["__Host-refresh"] != tabs[0].cookies["__Host-refresh"] {
				t.Fatalf("tab %d has another refresh token", i)
			}
		}
		time.Sleep(time.Hour)
		c = tabs[3]
		want(t, c.byRefresh("/logout"), 204, "")
		if len(c.cookies) > 0 {
			t.Errorf("cookies: got %v", c.cookies)
		}
		want(t, c.do("GET", "/session", ""), 401, "credentials_missing")
		want(t, tabs[4].do("GET", "/session", ""), 401, "token_revoked")
	})
}

// An outage of the users table is 503, whatever error says so; busy is busy.
func TestLoginOutage(t *testing.T) {
	both(t, func(t *testing.T, w *world, c *client) {
		w.users.fail(errOutage)
		want(t, c.do("POST", "/login", annLogin), 503, "store_unavailable")
		w.users.fail(auth.Busy)
		for range 6 { // busy gives the try back
			want(t, c.do("POST", "/login", annLogin), 503, "busy")
		}
		w.users.fail(nil)
		c.login("acme/ann")
		if got := w.told(); got[0] != "outage login" || got[1] != "login busy" {
			t.Errorf("events: got %q", got)
		}
	})
}

// ATK-L01, STD-R09: whatever a users table says of an account but "busy" and "down" is the one answer "no".
func TestATK_L01_LoginErrorsTellNothing(t *testing.T) {
	both(t, func(t *testing.T, w *world, c *client) {
		var first string
		for _, err := range []error{
			auth.LoginFailed, fmt.Errorf("query: %w", sql.ErrNoRows), auth.NotFound, auth.RoleMissing, auth.TokenInvalid, auth.CredentialsMissing, auth.ValidationFailed,
		} {
			w.users.fail(err)
			res := c.do("POST", "/login", annLogin)
			want(t, res, 401, "login_failed")
			challenge := res.Header().Get("WWW-Authenticate")
			if first == "" {
				first = challenge
			}
			if challenge != first {
				t.Errorf("%v: got the challenge %q, others get %q", err, challenge, first)
			}
			w.users.fail(nil)
			c.login("acme/ann") // a success gives the tries back
		}
	})
}

// A login that ends in no usable cookie leaves no session behind.
func TestLoginThatCannotBeGiven(t *testing.T) {
	w := setup(t)
	w.users.rows["ann"] = session.Subject{Roles: slices.Repeat([]string{strings.Repeat("r", 60)}, 60), Numbers: session.Numbers{Version: 1}}
	want(t, w.browser().do("POST", "/login", annLogin), 500, "internal")
	rows, err := w.sessions.List(t.Context(), "ann")
	if err != nil || len(rows) > 0 {
		t.Errorf("got %d sessions, %v", len(rows), err)
	}
}

func TestConfig(t *testing.T) {
	w := setup(t)
	devices, err := middleware.NewDevices(keys{}, origin, cookies.Policy{}, noReset)
	ok(t, err)
	for _, c := range []struct {
		name   string
		change func(c *sessionhttp.Config)
		bearer bool
		says   string
	}{
		{"no Sessions", func(c *sessionhttp.Config) { c.Sessions = nil }, false, "Config.Sessions: got nil, expected"},
		{"no Access", func(c *sessionhttp.Config) { c.Access = nil }, false, "Config.Access: got nil, expected"},
		{"no Login", func(c *sessionhttp.Config) { c.Login = nil }, false, "Config.Login: got nil, expected"},
		{"no limit", func(c *sessionhttp.Config) { c.Limit.Limiter = nil }, true, "Config.Limit.Limiter: got nil, expected"},
		{"another field", func(c *sessionhttp.Config) { c.Limit.Field = "email" }, false, `got "email", expected`},
		{"no CSRF", func(c *sessionhttp.Config) { c.CSRF = nil }, false, "Config.CSRF: got"},
		{"a CSRF by hand", func(c *sessionhttp.Config) { c.CSRF = new(middleware.CSRF) }, false, "Config.CSRF: got"},
		{"a jar that contradicts itself", func(c *sessionhttp.Config) { c.Jar.SameSite = http.SameSiteNoneMode }, false, "Config.Jar: got"},
		{"bearer with CSRF", func(c *sessionhttp.Config) { c.CSRF = w.csrf }, true, "Config.Bearer: got"},
		{"bearer with a jar", func(c *sessionhttp.Config) { c.Jar.Name = "shop" }, true, "Config.Bearer: got"},
		{"bearer in header", func(c *sessionhttp.Config) { c.InHeader = true }, true, "Config.InHeader: got"},
		{"bearer with devices", func(c *sessionhttp.Config) { c.Limit.Devices = devices }, true, "Config.Limit.Devices: got"},
	} {
		t.Run(c.name, func(t *testing.T) {
			config := w.cookies
			if c.bearer {
				config = w.bearer
			}
			c.change(&config)
			h, err := sessionhttp.New(config)
			if err == nil || h != nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, expected %q", err, c.says)
			}
		})
	}
	w.cookies.Jar.InsecureLoopback, w.cookies.Limit.Devices = true, devices
	if _, err := sessionhttp.New(w.cookies); err != nil {
		t.Error(err)
	}
}

// ATK-I04: what is wrong with a body is told without its words, which may be parts of a token or a password.
func TestBodies_ATK_I04_NothingIsQuoted(t *testing.T) {
	w := setup(t)
	var cause error
	h := middleware.OnError(func(rw http.ResponseWriter, _ *http.Request, err error) {
		cause = err
		auth.WriteProblem(rw, err)
	})(w.Handler)
	for _, path := range []string{"/refresh", "/logout", "/narrow", "/login"} {
		for _, body := range []string{
			`{"refresh_token":"dwr1.\ud800hunter2"}`, `{"refresh_token":"hunter2","refresh_token":"hunter2"}`, `{"refresh_token":"hunter2` + "\x01" + `"}`, `hunter2`,
			`{"refresh_token":hunter2}`, `"hunter2"`, `["hunter2"]`, `{"refresh_token":"x"} hunter2`, `{"refresh_token":"hunter2`,
		} {
			cause = nil
			rec := httptest.NewRecorder()
			h.ServeHTTP(rec, w.program().request("POST", path, body))
			if rec.Code/100 != 4 || cause == nil || strings.Contains(cause.Error(), "hunt") || strings.Contains(rec.Body.String(), "hunt") {
				t.Errorf("%s %s: got %d %s, cause %v", path, body, rec.Code, rec.Body, cause)
			}
		}
	}
}
