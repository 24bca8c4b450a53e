package sessionhttp_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/auth/session"
	"github.com/doorward/doorward/auth/sessionhttp"
	"github.com/doorward/doorward/middleware"
)

// U-25: a program asks for an access token of one organisation. It gets that alone, and it opens that organisation alone.
func TestNarrow_U_25(t *testing.T) {
	w := setup(t)
	c := w.program()
	c.login("acme/ann")
	refresh := c.refresh
	ask := func(token, tenant string) *httptest.ResponseRecorder {
		return c.do("POST", "/narrow", `{"refresh_token":"`+token+`","tenant":"`+tenant+`"}`)
	}
	rec := ask(refresh, "club")
	want(t, rec, 200, "access_token")
	if strings.Contains(rec.Body.String(), "refresh_token") || len(rec.Header()["Set-Cookie"]) > 0 {
		t.Errorf("more than an access token: %s %v", rec.Body, rec.Header())
	}
	narrow := field(t, rec, "access_token")
	guard := middleware.Chain(middleware.RequireAuth(auth.Bearer(w.tokens)), middleware.RequireTenant(auth.PathTenant("org")), middleware.RequireRole("admin"))
	mux := http.NewServeMux()
	mux.Handle("GET /orgs/{org}", guard(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})))
	mux.Handle("GET /platform", middleware.Chain(middleware.RequireAuth(auth.Bearer(w.tokens)), middleware.RequireRole("admin"))(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})))
	for path, code := range map[string]int{"/orgs/club": 200, "/orgs/acme": 403, "/platform": 403} {
		r := httptest.NewRequest("GET", path, nil)
		r.Header.Set("Authorization", "Bearer "+narrow)
		got := httptest.NewRecorder()
		if mux.ServeHTTP(got, r); got.Code != code {
			t.Errorf("%s: got %d, expected %d", path, got.Code, code)
		}
	}
	want(t, ask(refresh, "other"), 403, "tenant_forbidden")
	want(t, ask(narrow, "club"), 401, "token_invalid")
	want(t, ask(refresh, ""), 422, `"tenant":"required"`)
	want(t, ask("", "club"), 422, `"refresh_token":"required"`)
	want(t, c.do("POST", "/narrow", `{"refresh_token":"`+refresh+`","tenant":["club"]}`), 422, `"tenant":"wrong type"`)
	want(t, w.browser().do("POST", "/narrow", `{"refresh_token":"`+refresh+`","tenant":"club"}`), 404, "not_found")
	c.refresh = refresh
	want(t, c.byRefresh("/refresh"), 200, "access_token") // it was not used up
}

// A login says that it is to be remembered, where somebody has stated how long that is.
func TestLogin_Remember(t *testing.T) {
	w := setup(t)
	body := strings.Replace(annLogin, "}", `,"remember":true}`, 1)
	want(t, w.browser().do("POST", "/login", body), 422, `"remember":"unknown"`)
	var err error
	w.sessions, err = session.New(session.Config{Store: w.store, Tokens: w.tokens, Subjects: w.users, Remembered: session.Life{Idle: 60 * 24 * time.Hour, Absolute: 90 * 24 * time.Hour}})
	ok(t, err)
	config := w.cookies
	config.Sessions = w.sessions
	h, err := sessionhttp.New(config)
	ok(t, err)
	r := httptest.NewRequest("POST", "/login", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Origin", origin)
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, r)
	want(t, rec, 200, "session")
	for _, cookie := range rec.Result().Cookies() {
		if left := time.Until(cookie.Expires) + time.Minute; cookie.MaxAge < 59*24*3600 && left < 59*24*time.Hour {
			t.Errorf("the cookie %s lives until %s, %d s", cookie.Name, cookie.Expires, cookie.MaxAge)
		}
	}
	rows, err := w.sessions.List(t.Context(), "ann")
	if err != nil || len(rows) != 1 || !rows[0].Remember {
		t.Errorf("got %+v, %v", rows, err)
	}
}

// ATK-D05: each login leaves an entry on the revocation list sooner or later, and so does each call that ends all sessions. So
// a subject has so many an hour. A logout is not among them, nor is anything of another subject's.
func TestLogins_ATK_D05_PerSubject(t *testing.T) {
	both(t, func(t *testing.T, w *world, c *client) {
		for range 59 {
			c.login("acme/ann")
		}
		want(t, c.do("DELETE", "/sessions?except=current", ""), 204, "")
		want(t, c.do("POST", "/login", annLogin), 429, "rate_limited")
		want(t, c.do("GET", "/sessions", ""), 401, "token_expired")
		want(t, c.byRefresh("/refresh"), 200, "expires_in")
		for _, path := range []string{"/sessions", "/sessions?except=current"} {
			rec := c.do("DELETE", path, "")
			want(t, rec, 429, "rate_limited")
			if rec.Header().Get("Retry-After") == "" {
				t.Errorf("%s: no Retry-After", path)
			}
		}
		other := c.copied()
		other.login("acme/bob")
		want(t, c.byRefresh("/logout"), 204, "")
	})
}
