package sessionhttp_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/auth/session"
	"github.com/doorward/doorward/auth/sessionhttp"
	"github.com/doorward/doorward/cookies"
	"github.com/doorward/doorward/middleware"
	"github.com/doorward/doorward/ratelimit"
	"github.com/doorward/doorward/revocation"
	"github.com/doorward/doorward/tokens"
)

const origin = "https://app.example.com"

var errOutage = errors.New("dial tcp 10.0.0.7: connection refused")

// users is an application's table: every password is "right".
type users struct {
	mu    sync.Mutex
	rows  map[string]session.Subject // by subject
	err   error                      // an outage
	tries int
}

func (u *users) Load(_ context.Context, subject, tenant string) (session.Subject, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	row, ok := u.rows[subject]
	if tenant != "" {
		row.Tenant, row.Roles = tenant, []string{"admin"} // ann founded a club
	}
	if u.err == nil && tenant != "" && (tenant != "club" || subject != "ann") {
		return row, auth.TenantForbidden
	}
	if u.err == nil && !ok {
		return row, auth.LoginFailed
	}
	return row, u.err
}

func (u *users) Raise(_ context.Context, subject string, end bool, except string) (int64, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	row := u.rows[subject]
	row.Version++
	if end {
		row.EndedBelow, row.Except = row.Version, except
	}
	u.rows[subject] = row
	return row.Version, u.err
}

// login takes "acme/ann" for the account of ann.
func (u *users) login(_ context.Context, account, password string) (*auth.Principal, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.tries++
	if u.err != nil {
		return nil, u.err
	}
	subject := strings.TrimPrefix(account, "acme/")
	row, ok := u.rows[subject]
	if !ok || password != "right" {
		return nil, auth.LoginFailed
	}
	return &auth.Principal{Subject: subject, Version: row.Version, Methods: []string{"pwd"}}, nil
}

func (u *users) fail(err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.err = err
}

func (u *users) reached() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.tries
}

// downStore is a store that can be switched off.
type downStore struct {
	session.Store
	down bool
}

func (s *downStore) End(ctx context.Context, o auth.Owner, ids ...string) ([]string, error) {
	if s.down {
		return nil, auth.StoreUnavailable
	}
	return s.Store.End(ctx, o, ids...)
}

func (s *downStore) Rotate(ctx context.Context, r session.Rotation) (session.Result, error) {
	if s.down {
		return session.Result{}, auth.StoreUnavailable
	}
	return s.Store.Rotate(ctx, r)
}

// world is an application: browsers at /auth, pages that keep the access token at /page, programs at /token.
type world struct {
	*testing.T
	http.Handler
	users    *users
	store    *downStore
	tokens   *tokens.Tokens
	sessions *session.Sessions
	csrf     *middleware.CSRF
	cookies  sessionhttp.Config
	header   sessionhttp.Config
	bearer   sessionhttp.Config

	mu     sync.Mutex
	events []auth.Event
}

func setup(t *testing.T, change ...func(*sessionhttp.Config)) *world {
	t.Helper()
	row := session.Subject{Roles: []string{"editor"}, Numbers: session.Numbers{Version: 1}}
	w := &world{
		T: t, store: &downStore{Store: session.NewMemory(revocation.NewMemory())},
		users: &users{rows: map[string]session.Subject{"ann": row, "bob": row, "umbrella/ann": row}},
	}
	keys := tokens.NewKeyring(tokens.FromSecret([]byte("u8Zq-3bXk9_Lr2Vd5Nf7Hs1Tg4Ym6Pc0Wj-a")))
	var err error
	w.tokens, err = tokens.New(tokens.Config{Keys: keys, Issuer: origin, Audience: "app", List: w.store.Revocations()})
	ok(t, err)
	w.sessions, err = session.New(session.Config{Store: w.store, Tokens: w.tokens, Subjects: w.users, Observe: w.observe})
	ok(t, err)
	w.csrf, err = middleware.NewCSRF(keys, origin)
	ok(t, err)
	w.cookies = sessionhttp.Config{
		Sessions: w.sessions, Access: w.tokens, Login: w.users.login, CSRF: w.csrf, Observe: w.observe,
		Limit: middleware.LoginLimit{Limiter: ratelimit.NewMemory(1000)},
	}
	w.header = w.cookies
	w.header.InHeader = true
	w.bearer = w.cookies
	w.bearer.CSRF, w.bearer.Bearer = nil, true
	for _, f := range change {
		f(&w.cookies)
		f(&w.header)
		f(&w.bearer)
	}
	browser, err := sessionhttp.New(w.cookies)
	ok(t, err)
	page, err := sessionhttp.New(w.header)
	ok(t, err)
	program, err := sessionhttp.New(w.bearer)
	ok(t, err)
	mux := http.NewServeMux()
	mux.Handle("/auth/", http.StripPrefix("/auth", browser))
	mux.Handle("/page/", http.StripPrefix("/page", page))
	mux.Handle("/token/", http.StripPrefix("/token", program))
	w.Handler = mux
	return w
}

func (w *world) observe(_ context.Context, e auth.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.events = append(w.events, e)
}

// told returns the events since the last call, as "name outcome".
func (w *world) told() (told []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range w.events {
		told = append(told, e.Name+" "+e.Outcome)
	}
	w.events = nil
	return told
}

// refreshing puts RefreshFromCookie before everything.
func (w *world) refreshing(inHeader bool) {
	refresh := middleware.RefreshFromCookie(middleware.Refresh{Sessions: w.sessions, Access: w.tokens, Jar: cookies.Jar{}, CSRF: w.csrf, InHeader: inHeader})
	w.Handler = refresh(w.Handler)
}

// client is a browser, with a prefix of /page one whose page keeps the access token, or with /token a program.
type client struct {
	w       *world
	prefix  string
	cookies map[string]string
	csrf    string
	access  string
	refresh string
}

func (w *world) browser() *client {
	return &client{w: w, prefix: "/auth", cookies: map[string]string{}}
}
func (w *world) page() *client {
	return &client{w: w, prefix: "/page", cookies: map[string]string{}}
}
func (w *world) program() *client { return &client{w: w, prefix: "/token"} }

// both runs f once for each mode, of which there are three.
func both(t *testing.T, f func(t *testing.T, w *world, c *client)) {
	t.Run("cookie", func(t *testing.T) {
		w := setup(t)
		f(t, w, w.browser())
	})
	t.Run("in header", func(t *testing.T) {
		w := setup(t)
		f(t, w, w.page())
	})
	t.Run("bearer", func(t *testing.T) {
		w := setup(t)
		f(t, w, w.program())
	})
}

// request is what the client would send; a header with an empty value is left out.
func (c *client) request(method, path, body string, header ...string) *http.Request {
	r := httptest.NewRequest(method, origin+c.prefix+path, strings.NewReader(body))
	r.Header.Set("User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0")
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	if c.cookies != nil {
		r.Header.Set("Sec-Fetch-Site", "same-origin")
		if method != "GET" {
			r.Header.Set("Origin", origin)
			r.Header.Set("X-CSRF-Token", c.csrf)
		}
		for name, value := range c.cookies {
			r.AddCookie(&http.Cookie{Name: name, Value: value})
		}
	}
	if c.access != "" {
		r.Header.Set("Authorization", "Bearer "+c.access)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
		if header[i+1] == "" {
			r.Header.Del(header[i])
		}
	}
	return r
}

// do sends it and keeps what the answer hands out.
func (c *client) do(method, path, body string, header ...string) *httptest.ResponseRecorder {
	rec := httptest.NewRecorder()
	c.w.ServeHTTP(rec, c.request(method, path, body, header...))
	c.keep(rec)
	return rec
}

func (c *client) keep(rec *httptest.ResponseRecorder) {
	for _, cookie := range rec.Result().Cookies() {
		if cookie.MaxAge < 0 {
			delete(c.cookies, cookie.Name)
		} else if c.cookies != nil {
			c.cookies[cookie.Name] = cookie.Value
		}
	}
	if token := rec.Header().Get("X-CSRF-Token"); token != "" {
		c.csrf = token
	}
	if token := rec.Header().Get("X-Access-Token"); token != "" {
		c.access = token
	}
	var in struct {
		Access  string `json:"access_token"`
		Refresh string `json:"refresh_token"`
	}
	if json.Unmarshal(rec.Body.Bytes(), &in) == nil && in.Access != "" {
		c.access, c.refresh = in.Access, in.Refresh
	}
}

const annLogin = `{"account":"acme/ann","password":"right"}`

// login logs in, and returns the session's id.
func (c *client) login(account string) string {
	c.w.Helper()
	rec := c.do("POST", "/login", `{"account":"`+account+`","password":"right"}`)
	want(c.w.T, rec, 200, "expires_in")
	return field(c.w.T, rec, "session")
}

// byRefresh calls refresh or logout with the refresh token, where this kind of client has it.
func (c *client) byRefresh(path string) *httptest.ResponseRecorder {
	if c.cookies != nil {
		return c.do("POST", path, "")
	}
	return c.do("POST", path, `{"refresh_token":"`+c.refresh+`"}`)
}

// copied is another client with the same tokens: a thief's, or another tab before the answer.
func (c *client) copied() *client {
	d := *c
	if c.cookies != nil {
		d.cookies = map[string]string{}
		for k, v := range c.cookies {
			d.cookies[k] = v
		}
	}
	return &d
}

func field(t *testing.T, rec *httptest.ResponseRecorder, name string) string {
	t.Helper()
	var in map[string]any
	ok(t, json.Unmarshal(rec.Body.Bytes(), &in))
	s, _ := in[name].(string)
	return s
}

// sessions is what GET sessions answers.
type listed struct {
	ID, Device, Address string
	Current             bool
	Created             time.Time
}

func (c *client) sessions() []listed {
	c.w.Helper()
	rec := c.do("GET", "/sessions", "")
	want(c.w.T, rec, 200, "")
	var in struct{ Sessions []listed }
	ok(c.w.T, json.Unmarshal(rec.Body.Bytes(), &in))
	return in.Sessions
}

// want demands the status, a part of the body, and what every answer has.
func want(t *testing.T, rec *httptest.ResponseRecorder, status int, says string) {
	t.Helper()
	if rec.Code != status || !strings.Contains(rec.Body.String(), says) {
		t.Fatalf("got %d %s, expected %d with %q", rec.Code, rec.Body, status, says)
	}
	if got := rec.Header().Get("Cache-Control"); got != "no-store" {
		t.Errorf("ATK-S14: got Cache-Control %q, expected no-store", got)
	}
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// keys is a secret for devices.
type keys struct{}

func (keys) Derive(id, _, _ string) (string, []byte, error) {
	if id == "" {
		id = "k"
	}
	return id, make([]byte, 32), nil
}

func noReset(context.Context, string) (time.Time, error) { return time.Time{}, nil }
