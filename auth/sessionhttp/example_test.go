package sessionhttp_test

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"strings"
	"sync"
	"time"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/auth/password"
	"github.com/doorward/doorward/auth/session"
	"github.com/doorward/doorward/auth/sessionhttp"
	"github.com/doorward/doorward/cookies"
	"github.com/doorward/doorward/middleware"
	"github.com/doorward/doorward/ratelimit"
	"github.com/doorward/doorward/revocation"
	"github.com/doorward/doorward/tokens"
)

// A table is an application's users, with the columns that sessions need. A real one stands in a database.
type table struct {
	hasher *password.Hasher
	mu     sync.Mutex
	rows   map[string]*row // by e-mail address, which is the id here
}

type row struct {
	hash                string
	roles               []string
	version, endedBelow int64
	except              string
	blocked             bool
}

func newTable(email, pw string, roles ...string) *table {
	hasher := must(password.New(password.Config{}))
	hash := must(hasher.Hash(context.Background(), pw))
	return &table{hasher: hasher, rows: map[string]*row{email: {hash: hash, roles: roles, version: time.Now().UnixMilli()}}}
}

// Load is SELECT roles, version, ended_below, except FROM users WHERE id = ? AND NOT blocked.
func (t *table) Load(_ context.Context, id, _ string) (session.Subject, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	u := t.rows[id]
	if u == nil || u.blocked {
		return session.Subject{}, auth.LoginFailed // gone for good, also for a refresh; any other error is an outage, and nothing is lost
	}
	return session.Subject{Roles: u.roles, Numbers: session.Numbers{Version: u.version, EndedBelow: u.endedBelow, Except: u.except}}, nil
}

// Raise is UPDATE users SET version = GREATEST(version + 1, the clock in ms), ... WHERE id = ? RETURNING version.
func (t *table) Raise(_ context.Context, id string, end bool, except string) (int64, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	u := t.rows[id]
	if u == nil {
		return 0, auth.LoginFailed
	}
	u.version = max(u.version+1, time.Now().UnixMilli())
	if end {
		u.endedBelow, u.except = u.version, except
	}
	return u.version, nil
}

// login reads the version in the same row as the hash: that decides the race with "log out everywhere".
func (t *table) login(ctx context.Context, email, pw string) (*auth.Principal, error) {
	t.mu.Lock()
	var u row
	if r := t.rows[email]; r != nil {
		u = *r
	}
	t.mu.Unlock()
	if _, err := t.hasher.Verify(ctx, u.hash, pw); err != nil { // the empty hash of an unknown user costs the same
		return nil, err
	}
	if u.blocked {
		return nil, auth.LoginFailed
	}
	return &auth.Principal{Subject: email, Version: u.version, Methods: []string{"pwd"}}, nil
}

// The server of a page: login, silent refresh, CSRF, logout, list of sessions. The page handles no token but the
// CSRF token.
func Example() {
	const origin = "https://app.example.com"
	users := newTable("ann@example.com", "correct horse battery staple", "editor")

	keys := tokens.NewKeyring(tokens.FromSecret([]byte("u8Zq-3bXk9_Lr2Vd5Nf7Hs1Tg4Ym6Pc0Wj-a"))) // from a file, never in the code
	store := session.NewMemory(revocation.NewMemory())
	tok := must(tokens.New(tokens.Config{Keys: keys, Issuer: origin, Audience: "spa", List: store.Revocations()}))
	sessions := must(session.New(session.Config{Store: store, Tokens: tok, Subjects: users}))
	csrf := must(middleware.NewCSRF(keys, origin))
	jar := cookies.Jar{}

	mux := http.NewServeMux()
	mux.Handle("/auth/", http.StripPrefix("/auth", must(sessionhttp.New(sessionhttp.Config{
		Sessions: sessions, Access: tok, Login: users.login, Jar: jar, CSRF: csrf,
		Limit: middleware.LoginLimit{Limiter: ratelimit.NewMemory(100_000)},
	}))))
	guard := middleware.Chain(middleware.RequireAuth(auth.Cookie(jar.Access, tok)), middleware.RequireCSRF(csrf))
	mux.Handle("GET /api/hello", guard(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p, _ := auth.FromContext(r.Context())
		fmt.Fprintln(w, "hello", p.Subject, p.Roles)
	})))
	refresh := middleware.RefreshFromCookie(middleware.Refresh{Sessions: sessions, Access: tok, Jar: jar, CSRF: csrf})
	server := httptest.NewTLSServer(middleware.Chain(middleware.SecureHeaders(), refresh)(mux))
	defer server.Close()

	// A browser.
	browser := server.Client()
	browser.Jar = must(cookiejar.New(nil))
	token := ""
	call := func(method, path, body string) string {
		r := must(http.NewRequest(method, server.URL+path, strings.NewReader(body)))
		r.Header.Set("Origin", origin)
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("X-CSRF-Token", token)
		res := must(browser.Do(r))
		defer res.Body.Close()
		token = cmp.Or(res.Header.Get("X-CSRF-Token"), token)
		return strings.TrimSpace(fmt.Sprint(res.StatusCode, " ", string(must(io.ReadAll(res.Body)))))
	}
	fmt.Println(call("POST", "/auth/login", `{"account":"ann@example.com","password":"Tr0ub4dor&3"}`)[:3])
	fmt.Println(call("POST", "/auth/login", `{"account":"ann@example.com","password":"correct horse battery staple"}`)[:3])
	fmt.Println(call("GET", "/api/hello", ""))
	fmt.Println(call("DELETE", "/auth/sessions/of-somebody-else", "")[:3])
	fmt.Println(call("POST", "/auth/logout", ""))
	fmt.Println(call("GET", "/api/hello", "")[:3])
	// Output:
	// 401
	// 200
	// 200 hello ann@example.com [editor]
	// 404
	// 204
	// 401
}

// An application with users and routes of its own takes the parts alone: the limit, the sessions, the guards.
func Example_ownRoutes() {
	const issuer = "https://api.example.com"
	users := newTable("root@example.com", "correct horse battery staple", "admin")
	keys := tokens.NewKeyring(tokens.FromSecret([]byte("u8Zq-3bXk9_Lr2Vd5Nf7Hs1Tg4Ym6Pc0Wj-a"))) // from a file, never in the code
	store := session.NewMemory(revocation.NewMemory())
	tok := must(tokens.New(tokens.Config{Keys: keys, Issuer: issuer, Audience: "api", List: store.Revocations()}))
	sessions := must(session.New(session.Config{Store: store, Tokens: tok, Subjects: users}))

	mux := http.NewServeMux()
	limit := middleware.RateLimitLogin(middleware.LoginLimit{Limiter: ratelimit.NewMemory(100_000), Issuer: "https://app.example.com", Field: "email"})
	mux.Handle("POST /login", limit(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// The limit has read the body and put it back.
		p, err := users.login(r.Context(), r.PostFormValue("email"), r.PostFormValue("password"))
		if err != nil {
			middleware.WriteError(w, r, err)
			return
		}
		pair, err := sessions.Start(r.Context(), session.Login{Principal: p, Client: auth.ClientOf(r)}) // gives the try back
		if err != nil {
			middleware.WriteError(w, r, err)
			return
		}
		fmt.Fprint(w, pair.Access)
	})))
	admin := middleware.Chain(middleware.RequireAuth(auth.Bearer(tok)), middleware.RequireRole("admin"))
	mux.Handle("DELETE /users/{id}/sessions", admin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := sessions.EndAll(r.Context(), r.PathValue("id")); err != nil {
			middleware.WriteError(w, r, err)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})))

	call := func(method, path, body, token string) (int, string) {
		r := httptest.NewRequest(method, path, strings.NewReader(body))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, r)
		return w.Code, w.Body.String()
	}
	status, token := call("POST", "/login", "email=root@example.com&password=correct+horse+battery+staple", "")
	fmt.Println(status)
	for range 2 {
		status, _ = call("DELETE", "/users/root@example.com/sessions", "", token)
		fmt.Println(status)
	}
	// Output:
	// 200
	// 204
	// 401
}

func must[T any](v T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return v
}
