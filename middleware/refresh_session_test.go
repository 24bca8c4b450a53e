package middleware_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/auth/session"
)

const (
	past = 16 * time.Minute // the access token's life
	late = 11 * time.Second // the grace time
)

func TestRefreshFromCookieSessions(t *testing.T) {
	for name, f := range map[string]func(*house){
		"stays logged in past the access token's life, with today's roles": func(h *house) {
			b := h.login()
			if w := b.wants("/me", "", "ann user"); len(w.Header()["Set-Cookie"]) > 0 {
				h.Errorf("set %q", w.Header()["Set-Cookie"])
			}
			for range 10 {
				time.Sleep(past)
				h.set("admin", nil)
				before := b.cookies["__Host-refresh"]
				b.wants("/me", "", "ann admin")
				if b.cookies["__Host-refresh"] == before {
					h.Error("not rotated")
				}
			}
		},
		"ATK-S10 not past the idle limit": func(h *house) {
			b := h.login()
			time.Sleep(8 * 24 * time.Hour)
			b.wants("/me", auth.TokenRevoked, "")
			b.wants("/me", auth.CredentialsMissing, "")
		},
		"STD-F06 a POST with a stale pair keeps its CSRF token": func(h *house) {
			b := h.login()
			csrf := b.wants("/me", "", "ann user").Header().Get("X-CSRF-Token")
			time.Sleep(past)
			want(h, b.tab().send("POST", "/me", sameOrigin), auth.CSRFFailed)
			want(h, b.tab().send("POST", "/me", sameOrigin, "X-CSRF-Token: "+csrf), "")
			want(h, b.send("POST", "/me", "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate", "X-CSRF-Token: "+csrf), auth.TokenExpired)
		},
		"ATK-S03 a lost answer": func(h *house) {
			b := h.login()
			time.Sleep(past)
			lost := b.tab()
			lost.wants("/me", "", "ann user")
			time.Sleep(5 * time.Second)
			b.wants("/me", "", "ann user")
			if b.cookies["__Host-refresh"] != lost.cookies["__Host-refresh"] {
				h.Error("two children")
			}
		},
		"an idle tab, late once": func(h *house) {
			b := h.login()
			time.Sleep(past)
			idle := b.tab()
			b.wants("/me", "", "ann user")
			time.Sleep(late)
			before := len(idle.cookies)
			idle.wants("/me", auth.TokenExpired, "")
			if len(idle.cookies) != before {
				h.Error("its cookies were cleared")
			}
			b.wants("/me", "", "ann user")
		},
		"ATK-S01 late for more than a minute ends all": func(h *house) {
			b := h.login()
			time.Sleep(past)
			thief := b.tab()
			b.wants("/me", "", "ann user")
			time.Sleep(late)
			for range 3 {
				thief.wants("/me", auth.TokenExpired, "")
			}
			time.Sleep(time.Minute)
			thief.wants("/me", auth.RefreshReused, "")
			if len(thief.cookies) > 0 {
				h.Errorf("the thief still has %v", thief.cookies)
			}
			b.wants("/static", "", "nobody")
			b.wants("/me", auth.CredentialsMissing, "")
		},
		"ATK-S04 the grandparent ends all": func(h *house) {
			b := h.login()
			time.Sleep(past)
			thief := b.tab()
			b.wants("/me", "", "ann user")
			time.Sleep(past)
			b.wants("/me", "", "ann user")
			thief.wants("/news", "", "nobody")
			b.wants("/me", auth.TokenRevoked, "")
			if len(b.cookies)+len(thief.cookies) > 0 {
				h.Errorf("left: %v %v", b.cookies, thief.cookies)
			}
		},
		"ATK-S07 after a logout": func(h *house) {
			b := h.login()
			other := b.tab()
			if err := h.Logout(h.Context(), b.cookies["__Host-refresh"]); err != nil {
				h.Fatal(err)
			}
			b.wants("/me", auth.TokenRevoked, "")
			other.wants("/news", "", "nobody")
			other.wants("/news", "", "nobody")
			if len(b.cookies)+len(other.cookies) > 0 {
				h.Errorf("left: %v %v", b.cookies, other.cookies)
			}
		},
		"ATK-S16 another tab during a step-up": func(h *house) {
			b := h.login()
			old := b.tab()
			stepped := &auth.Principal{Subject: "ann", Session: b.session, Methods: []string{"pwd", "otp"}}
			if _, err := h.Start(h.Context(), session.Login{Principal: stepped}); err != nil {
				h.Fatal(err)
			}
			for _, path := range []string{"/me", "/news"} {
				old.wants(path, auth.TokenExpired, "") // not "log in": the browser has the new cookies, or is about to
			}
			if len(old.cookies) != 2 {
				h.Error("its cookies were cleared")
			}
			time.Sleep(late)
			old.wants("/me", auth.TokenRevoked, "")
		},
		"a request that cannot prove the device": func(h *house) { // a page's own navigation has no header to do it in
			site := h.Handler
			h.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				site.ServeHTTP(w, r.WithContext(auth.Bind(r.Context(), r.Header.Get("Device"))))
			})
			pair, err := h.Start(auth.Bind(h.Context(), "device:key-1"), session.Login{Principal: &auth.Principal{Subject: "ann"}})
			if err != nil {
				h.Fatal(err)
			}
			b := &browserTab{h, map[string]string{"__Host-access": pair.Access, "__Host-refresh": pair.Refresh}, pair.Session}
			time.Sleep(past)
			b.wants("/me", auth.TokenExpired, "")
			b.wants("/me", auth.TokenExpired, "", "Device: device:key-2")
			b.wants("/static", "", "nobody")
			if len(b.cookies) != 2 {
				h.Fatalf("its cookies were cleared: %v are left", b.cookies)
			}
			b.wants("/me", "", "ann user", "Device: device:key-1")
		},
		"STD-S10 an outage loses nothing": func(h *house) {
			captureLog(h)
			b := h.login()
			time.Sleep(past)
			h.set("", errors.New("dial 10.1.2.3:5432"))
			b.wants("/me", auth.StoreUnavailable, "")
			b.wants("/news", auth.StoreUnavailable, "")
			b.wants("/static", "", "nobody")
			h.set("user", nil)
			b.wants("/me", "", "ann user")
		},
		"ATK-S09 a user who is gone": func(h *house) {
			b := h.login()
			time.Sleep(past)
			h.set("", auth.LoginFailed)
			b.wants("/me", auth.TokenRevoked, "")
			b.wants("/news", "", "nobody")
		},
		"garbage": func(h *house) {
			b := &browserTab{h, map[string]string{"__Host-refresh": "garbage"}, ""}
			b.wants("/news", "", "nobody")
			if len(b.cookies) > 0 {
				h.Errorf("left: %v", b.cookies)
			}
		},
		"a link from another site": func(h *house) {
			b := h.login()
			time.Sleep(past)
			w := b.send("GET", "/me", "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate")
			want(h, w, "")
			if w.Body.String() != "ann user" || len(w.Header()["Set-Cookie"]) > 0 {
				h.Errorf("got %q, set %q", w.Body, w.Header()["Set-Cookie"])
			}
			b.wants("/me", "", "ann user")
		},
		"a link from another site, late": func(h *house) {
			b := h.login()
			time.Sleep(past)
			idle := b.tab()
			b.wants("/me", "", "ann user")
			time.Sleep(late)
			for range 5 { // another site must not be able to end a session
				want(h, idle.send("GET", "/me", "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate"), auth.TokenExpired)
			}
			b.wants("/me", "", "ann user")
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { f(newHouse(t)) })
		})
	}
}

// A page that keeps the access token in memory.
func TestRefreshFromCookieSessionsInHeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, inHeader)
		b := h.login()
		delete(b.cookies, "__Host-access")
		access := ""
		for range 3 {
			headers := []string{}
			if access != "" {
				headers = append(headers, "Authorization: Bearer "+access)
			}
			w := b.wants("/me", "", "ann user", headers...)
			if w.Header().Get("X-Access-Token") == "" || w.Header().Get("X-Access-Token") == access {
				t.Fatal("no new access token")
			}
			access = w.Header().Get("X-Access-Token")
			if w := b.wants("/me", "", "ann user", "Authorization: Bearer "+access); w.Header().Get("X-Access-Token") != "" || len(w.Header()["Set-Cookie"]) > 0 {
				t.Error("a valid token was refreshed")
			}
			time.Sleep(past)
		}
		if len(b.cookies) != 1 {
			t.Errorf("cookies: %v", b.cookies)
		}
	})
}

// ATK-S02, promise R: such a page has no access token at first, so what it sends before it has read one rotates. The
// request that left first and arrives last must not look like a thief's.
func TestRefreshFromCookieSessionsInHeader_ATK_S02_DelayedRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, inHeader)
		page := h.login()
		delete(page.cookies, "__Host-access")
		for range 3 {
			delayed, other := page.tab(), page.tab()
			before := page.cookies["__Host-refresh"]
			for _, tab := range []*browserTab{page, other, page, page, delayed, page} { // page again: with the cookie of the answer
				w := tab.wants("/me", "", "ann user")
				access := w.Header().Get("X-Access-Token")
				if p, err := h.tokens.Verify(t.Context(), access); err != nil || p.Session != page.session {
					t.Fatalf("the access token: %v", err)
				}
				if now := tab.cookies["__Host-refresh"]; now == before || now != page.cookies["__Host-refresh"] {
					t.Fatal("not one child for all")
				}
				time.Sleep(1500 * time.Millisecond) // all within the grace time
			}
			time.Sleep(late)
		}
		rows, err := h.List(t.Context(), "ann")
		if err != nil || len(rows) != 1 || rows[0].Generation != 4 {
			t.Errorf("got %v, %v; expected one session, swapped three times", rows, err)
		}
	})
}

// Two users in two tabs of one browser: the page of the first one neither acts as the second nor reads his data.
func TestRefreshFromCookieSessionsTwoUsers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, inHeader)
		ann := h.login()
		delete(ann.cookies, "__Host-access")
		shown := "Authorization: Bearer " + ann.wants("/me", "", "ann user").Header().Get("X-Access-Token")
		pair, err := h.Start(t.Context(), session.Login{Principal: &auth.Principal{Subject: "bob"}})
		if err != nil {
			t.Fatal(err)
		}
		ann.cookies["__Host-refresh"] = pair.Refresh
		for range 3 {
			time.Sleep(past)
			before := ann.cookies["__Host-refresh"]
			w := ann.wants("/me", auth.TokenExpired, "", shown)
			if w.Header().Get("X-Access-Token") != "" || ann.cookies["__Host-refresh"] == before {
				t.Errorf("got %v", w.Header())
			}
			want(t, ann.send("POST", "/me", sameOrigin, shown, "X-CSRF-Token: "+token(t, h.csrf, pair.Session)), auth.TokenExpired)
		}
		ann.wants("/me", "", "bob user") // a page that shows no token has none to be mixed with
	})
}

// ATK-S02: ten requests of one page with the same stale pair all succeed, and end with the same refresh cookie
// whatever answer comes last; every access cookie is good.
func TestATK_S02_TenAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		b := h.login()
		for range 20 {
			time.Sleep(past)
			tabs := make([]*browserTab, 10)
			var all sync.WaitGroup
			for i := range tabs {
				tabs[i] = b.tab()
				all.Go(func() {
					if w := tabs[i].send([]string{"GET", "HEAD"}[i%2], "/me", sameOrigin); w.Code != http.StatusOK {
						t.Errorf("got %d %s", w.Code, w.Body)
					}
				})
			}
			all.Wait()
			for _, tab := range tabs {
				if tab.cookies["__Host-refresh"] != tabs[0].cookies["__Host-refresh"] || tab.cookies["__Host-refresh"] == b.cookies["__Host-refresh"] {
					t.Fatal("not one child for all")
				}
				p, err := h.tokens.Verify(t.Context(), tab.cookies["__Host-access"])
				if err != nil || p.Session != b.session {
					t.Fatalf("an access cookie: %v", err)
				}
			}
			b = tabs[9]
		}
		rows, err := h.List(t.Context(), "ann")
		if err != nil || len(rows) != 1 || rows[0].Generation != 21 {
			t.Errorf("got %d sessions, %v, %v", len(rows), rows, err)
		}
	})
}

// What a real server adds: sockets, and a cookie jar of its own.
func TestRefreshFromCookieOnTheWire(t *testing.T) {
	h := newHouse(t)
	b := h.login()
	s := httptest.NewTLSServer(h)
	t.Cleanup(s.Close)
	res, err := func() (*http.Response, error) {
		r, err := http.NewRequestWithContext(t.Context(), "GET", s.URL+"/me", nil)
		if err != nil {
			return nil, err
		}
		r.Header = request("GET", "/", sameOrigin, "Cookie: __Host-refresh="+b.cookies["__Host-refresh"]).Header
		return s.Client().Do(r)
	}()
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	names := []string{}
	for _, c := range res.Cookies() {
		names = append(names, c.Name)
	}
	if res.StatusCode != http.StatusOK || !slices.Equal(names, []string{"__Host-access", "__Host-refresh"}) {
		t.Errorf("got %s, %q", res.Status, names)
	}
}
