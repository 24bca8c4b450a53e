package middleware_test

import (
	"context"
	"encoding/base64"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/middleware"
)

// The header mode: the page gets the access token, the cookie stays the browser's.
func TestRefreshFromCookieInHeader(t *testing.T) {
	csrf := newCSRF(t)
	for name, c := range map[string]struct {
		method  string
		headers []string
		want    string
		code    auth.Code
	}{
		"a script":                        {"GET", []string{sameOrigin, "Sec-Fetch-Mode: cors", "Sec-Fetch-Dest: empty"}, "rotate r1", ""},
		"a script, older browser":         {"GET", []string{sameOrigin}, "rotate r1", ""},
		"an image":                        {"GET", []string{sameOrigin, "Sec-Fetch-Mode: no-cors", "Sec-Fetch-Dest: image"}, "lend r1", ""},
		"a page":                          {"GET", []string{"Sec-Fetch-Site: none", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document"}, "lend r1", ""},
		"a form":                          {"POST", []string{sameOrigin, "Sec-Fetch-Mode: navigate", "X-CSRF-Token: " + token(t, csrf, "sid-ann")}, "lend r1", ""},
		"a POST with the session's token": {"POST", []string{sameOrigin, "X-CSRF-Token: " + token(t, csrf, "sid-ann")}, "rotate r1", ""},
		// It was a cookie that proved it, whatever the guard finds in Authorization.
		"ATK-C04 a POST without a token": {"POST", []string{sameOrigin}, "rotate r1", auth.CSRFFailed},
		"a POST with another's token":    {"POST", []string{sameOrigin, "X-CSRF-Token: " + token(t, csrf, "sid-bob")}, "rotate r1", auth.CSRFFailed},
	} {
		t.Run(name, func(t *testing.T) {
			f := &fakeSessions{}
			h := middleware.Chain(refreshing(t, f, inHeader), middleware.RequireAuth(bearer), middleware.RequireCSRF(csrf))(whoami)
			w := serve(h, request(c.method, "/", append(c.headers, noAccess)...))
			want(t, w, c.code)
			access, set := "", []string(nil)
			if strings.HasPrefix(c.want, "rotate") {
				access, set = "ann", []string{newChild}
			}
			if !slices.Equal(f.calls, []string{c.want}) || w.Header().Get("X-Access-Token") != access || !slices.Equal(cookiesOf(w.Header()), set) {
				t.Errorf("asked %q, got %q and %q", f.calls, w.Header().Get("X-Access-Token"), cookiesOf(w.Header()))
			}
			if w.Header().Get("Cache-Control") != "no-store" { // STD-H07
				t.Errorf("Cache-Control: %q", w.Header().Get("Cache-Control"))
			}
		})
	}
}

// Another tab has logged somebody else in: the page of the session before gets neither that one's access token nor an
// answer for it, whatever the method. The browser gets the cookie, or the rotation would be lost.
func TestRefreshFromCookieInHeaderOtherSession(t *testing.T) {
	lent := []string{"Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate"}
	for name, c := range map[string]struct {
		token string
		code  auth.Code
		good  bool
	}{
		"its own session":          {of("sid-ann", "expired"), auth.TokenExpired, true},
		"its own session, revoked": {of("sid-ann", "revoked"), auth.TokenRevoked, true},
		"another session":          {of("sid-bob", "expired"), auth.TokenExpired, false},
		"another session, revoked": {of("sid-bob", "revoked"), auth.TokenRevoked, false},
		"no session":               {of("", "expired"), auth.TokenExpired, false},
		"no JWT":                   {"expired", auth.TokenExpired, false},
		"no base64":                {"e30.~.expired", auth.TokenExpired, false},
		"no JSON":                  {"e30.eA.expired", auth.TokenExpired, false},
		"sid twice":                {"e30." + base64.RawURLEncoding.EncodeToString([]byte(`{"sid":"sid-bob","sid":"sid-ann"}`)) + ".expired", auth.TokenExpired, false},
		"sid of another spelling":  {"e30." + base64.RawURLEncoding.EncodeToString([]byte(`{"SID":"sid-ann"}`)) + ".expired", auth.TokenExpired, false},
		"four parts":               {of("sid-ann", "x.expired"), auth.TokenExpired, false},
	} {
		for _, method := range []string{"GET", "POST"} {
			t.Run(name+" "+method, func(t *testing.T) {
				f := &fakeSessions{}
				h := middleware.Chain(refreshing(t, f, inHeader), middleware.RequireAuth(bearer))(whoami)
				show := []string{noAccess, "Authorization: Bearer " + c.token}
				w := serve(h, request(method, "/", append(show, sameOrigin)...))
				code, access := c.code, ""
				if c.good {
					code, access = "", "ann"
				}
				want(t, w, code)
				if got := w.Header().Get("X-Access-Token"); got != access || strings.Contains(w.Body.String(), "ann") != c.good {
					t.Errorf("got %q, %s", got, w.Body)
				}
				if !slices.Equal(cookiesOf(w.Header()), []string{newChild}) {
					t.Errorf("set %q", cookiesOf(w.Header()))
				}
				w = serve(h, request("GET", "/", append(show, lent...)...))
				want(t, w, code)
				if len(w.Header()["Set-Cookie"]) > 0 {
					t.Errorf("lent: set %q", cookiesOf(w.Header()))
				}
			})
		}
	}
}

// A Refresher that names no session has no token for a page that has had one.
func TestRefreshFromCookieInHeaderNoSession(t *testing.T) {
	m := middleware.RefreshFromCookie(middleware.Refresh{Sessions: nameless{}, Access: stub{}, CSRF: newCSRF(t), InHeader: true})
	w := serve(middleware.Chain(m, middleware.RequireAuth(bearer))(whoami), request("GET", "/", noAccess, sameOrigin, "Authorization: Bearer "+of("", "expired")))
	want(t, w, auth.TokenExpired)
	if len(w.Header()["X-Access-Token"]) > 0 {
		t.Errorf("got %v", w.Header())
	}
}

type nameless struct{ *fakeSessions }

func (nameless) RefreshCookie(context.Context, string, auth.Client) (*auth.Pair, error) {
	return &auth.Pair{Access: "ann", Refresh: "r2"}, nil
}

// A login or a logout behind it changes who is there: the access token of the session before must not reach the page
// beside the new cookie. A token that the login itself puts there stays.
func TestRefreshFromCookieInHeaderLogin(t *testing.T) {
	bob := &http.Cookie{Name: "__Host-refresh", Value: "bob", Path: "/", Secure: true, HttpOnly: true}
	for name, c := range map[string]struct {
		handler http.HandlerFunc
		access  []string
		cookie  string // the last one, which counts
	}{
		"a login": {func(w http.ResponseWriter, r *http.Request) { newerPair(t, w, r) }, nil, "newest"},
		"a login with its token": {func(w http.ResponseWriter, r *http.Request) {
			newerPair(t, w, r)
			w.Header().Set("X-Access-Token", "newer")
		}, []string{"newer"}, "newest"},
		"a login that adds its token": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Add("X-Access-Token", "newer")
			newerPair(t, w, r)
		}, []string{"newer"}, "newest"},
		"a login with net/http": {func(w http.ResponseWriter, _ *http.Request) { http.SetCookie(w, bob) }, nil, "bob"},
		"a login that writes": {func(w http.ResponseWriter, _ *http.Request) {
			http.SetCookie(w, bob)
			_, _ = w.Write([]byte("x"))
		}, nil, "bob"},
		"a login in a TimeoutHandler": {http.TimeoutHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.SetCookie(w, bob) }), time.Minute, "").ServeHTTP, nil, "bob"},
		"a logout":                    {func(w http.ResponseWriter, r *http.Request) { _ = jar.Clear(w, r) }, nil, ""},
		"a cookie of another name": {func(w http.ResponseWriter, _ *http.Request) {
			http.SetCookie(w, &http.Cookie{Name: "__Host-refreshed", Value: "1", Path: "/", Secure: true})
		}, []string{"ann"}, "r2"},
	} {
		t.Run(name, func(t *testing.T) {
			w := serve(refreshing(t, &fakeSessions{}, inHeader)(c.handler), request("POST", "/login", noAccess, sameOrigin))
			cookie := "none"
			for _, set := range w.Result().Cookies() {
				if set.Name == "__Host-refresh" {
					cookie = set.Value
				}
			}
			if got := w.Result().Header["X-Access-Token"]; !slices.Equal(got, c.access) || cookie != c.cookie {
				t.Errorf("got the token %q beside the cookie %q", got, cookie)
			}
		})
	}
}
