package middleware_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"

	"github.com/rs/cors"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/cookies"
	"github.com/doorward/doorward/middleware"
)

// In these examples exampleTokens stands where an application has its *tokens.Tokens, keys where it has its
// *tokens.Keyring, and exampleJar where it has a cookies.Jar. docs/middleware.md shows parts of them, and
// TestDocs compares.
type exampleTokens struct{}

func (exampleTokens) Verify(_ context.Context, text string) (*auth.Principal, error) {
	if text != "token-of-ann" {
		return nil, auth.TokenInvalid
	}
	return &auth.Principal{Subject: "ann", Session: "s1", Roles: []string{"editor"}, Competencies: []string{"sign"}}, nil
}

type exampleJar struct{}

func (exampleJar) Access(r *http.Request) (string, error) { return readCookie(r) }

// hello greets whoever came through the guard.
func hello(w http.ResponseWriter, r *http.Request) {
	p, ok := auth.FromContext(r.Context())
	if !ok {
		_, _ = fmt.Fprintln(w, "hello, whoever you are")
		return
	}
	_, _ = fmt.Fprintln(w, "hello", p.Subject)
}

// show prints the answer to a request with headers "Name: value".
func show(h http.Handler, method, target string, headers ...string) http.Header {
	w := serve(h, request(method, target, headers...))
	fmt.Println(strings.TrimSpace(fmt.Sprint(method, " ", target, " ", w.Code, " ", outcome(w))))
	return w.Header()
}

// outcome is the code of a problem, or the body.
func outcome(w *httptest.ResponseRecorder) string {
	var p struct{ Code string }
	if json.Unmarshal(w.Body.Bytes(), &p) == nil {
		return p.Code
	}
	return strings.TrimSpace(w.Body.String())
}

func Example() {
	var tok exampleTokens
	mux := http.NewServeMux()

	guard := middleware.RequireAuth(auth.Bearer(tok))
	mux.Handle("GET /hello", guard(http.HandlerFunc(hello)))

	show(mux, "GET", "/hello")
	show(mux, "GET", "/hello", "Authorization: Bearer forged")
	show(mux, "GET", "/hello", "Authorization: Bearer token-of-ann")
	// Output:
	// GET /hello 401 credentials_missing
	// GET /hello 401 token_invalid
	// GET /hello 200 hello ann
}

func ExampleOptionalAuth() {
	var tok exampleTokens
	mux := http.NewServeMux()

	mux.Handle("GET /news", middleware.OptionalAuth(auth.Bearer(tok))(http.HandlerFunc(hello)))

	show(mux, "GET", "/news")
	show(mux, "GET", "/news", "Authorization: Bearer token-of-ann")
	show(mux, "GET", "/news", "Authorization: Bearer forged")
	// Output:
	// GET /news 200 hello, whoever you are
	// GET /news 200 hello ann
	// GET /news 401 token_invalid
}

func ExampleRequireRole() {
	var tok exampleTokens
	mux := http.NewServeMux()
	publish, remove, sign := http.HandlerFunc(hello), http.HandlerFunc(hello), http.HandlerFunc(hello)

	guard := middleware.RequireAuth(auth.Bearer(tok))
	mux.Handle("POST /news", middleware.Chain(guard, middleware.RequireRole("editor", "admin"))(publish)) // any of them
	mux.Handle("DELETE /news", middleware.Chain(guard, middleware.RequireRole("admin"))(remove))
	mux.Handle("POST /letters", middleware.Chain(guard, middleware.RequireCompetency("sign", "write"))(sign)) // all of them

	show(mux, "POST", "/news", "Authorization: Bearer token-of-ann")
	show(mux, "DELETE", "/news", "Authorization: Bearer token-of-ann")
	show(mux, "POST", "/letters", "Authorization: Bearer token-of-ann")
	// Output:
	// POST /news 200 hello ann
	// DELETE /news 403 role_missing
	// POST /letters 403 competency_missing
}

func ExampleRequireCSRF() {
	var tok exampleTokens
	var jar exampleJar
	mux := http.NewServeMux()

	csrf, err := middleware.NewCSRF(keys, "https://app.example.com")
	if err != nil {
		log.Fatal(err)
	}
	guard := middleware.Chain(
		middleware.RequireAuth(auth.Bearer(tok), auth.Cookie(jar.Access, tok)),
		middleware.RequireCSRF(csrf),
	)
	mux.Handle("GET /me", guard(http.HandlerFunc(hello)))
	mux.Handle("DELETE /me", guard(http.HandlerFunc(hello)))

	h := show(mux, "GET", "/me", "Cookie: access=token-of-ann")
	const page = "Origin: https://app.example.com"
	show(mux, "DELETE", "/me", "Cookie: access=token-of-ann", page)
	show(mux, "DELETE", "/me", "Cookie: access=token-of-ann", "Origin: https://evil.example", "X-CSRF-Token: "+h.Get("X-CSRF-Token"))
	show(mux, "DELETE", "/me", "Cookie: access=token-of-ann", page, "X-CSRF-Token: "+h.Get("X-CSRF-Token"))
	show(mux, "DELETE", "/me", "Authorization: Bearer token-of-ann") // no cookie, no CSRF
	// Output:
	// GET /me 200 hello ann
	// DELETE /me 403 csrf_failed
	// DELETE /me 403 csrf_failed
	// DELETE /me 200 hello ann
	// DELETE /me 200 hello ann
}

func ExampleCSRF_CheckOrigin() {
	csrf, err := middleware.NewCSRF(keys, "https://app.example.com")
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()

	mux.HandleFunc("POST /login", func(w http.ResponseWriter, r *http.Request) {
		if err := csrf.CheckOrigin(r); err != nil {
			middleware.WriteError(w, r, err)
			return
		}
		token, err := csrf.Token(&auth.Principal{Session: "the id of the new session"})
		if err != nil {
			middleware.WriteError(w, r, err)
			return
		}
		w.Header().Set("X-CSRF-Token", token)
		w.Header().Set("Cache-Control", "no-store")
	})

	show(mux, "POST", "/login", "Origin: https://evil.example")
	fmt.Println(len(show(mux, "POST", "/login", "Origin: https://app.example.com").Get("X-CSRF-Token")) > 0)
	// Output:
	// POST /login 403 csrf_failed
	// POST /login 200
	// true
}

func ExampleClientIP() {
	peers := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = fmt.Fprintln(w, r.RemoteAddr) })

	proxies := netip.MustParsePrefix("10.0.0.0/8")
	handler := middleware.ClientIP("X-Forwarded-For", proxies)(peers)

	r := request("GET", "/", "X-Forwarded-For: 1.1.1.1, 203.0.113.9") // the left one is the client's own word
	r.RemoteAddr = "10.0.0.7:5000"
	fmt.Print(serve(handler, r).Body)
	r.RemoteAddr = "198.51.100.1:5000" // not one of our proxies
	fmt.Print(serve(handler, r).Body)
	// Output:
	// 203.0.113.9:0
	// 198.51.100.1:5000
}

func ExampleTrustUnixSocket() {
	peers := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = fmt.Fprintln(w, r.RemoteAddr) })

	handler := middleware.TrustUnixSocket("X-Forwarded-For")(peers)

	r := request("GET", "/", "X-Forwarded-For: 1.1.1.1, 203.0.113.9")
	r.RemoteAddr = "@" // what net/http knows of a peer on a Unix socket
	fmt.Print(serve(handler, r).Body)
	// Output:
	// 203.0.113.9:0
}

// branch is a claim of the application's own.
type branch struct{ City string }

func ExampleRequire() {
	mux := http.NewServeMux()
	guard := middleware.Chain() // stands where an application has RequireAuth

	inBerlin := middleware.Require(func(p *auth.Principal) error {
		if claims, ok := p.Claims.(branch); !ok || claims.City != "Berlin" {
			return fmt.Errorf("%w: a branch elsewhere", auth.RoleMissing)
		}
		return nil
	})
	mux.Handle("GET /berlin", middleware.Chain(guard, inBerlin)(http.HandlerFunc(hello)))

	for _, city := range []string{"Berlin", "Bonn"} {
		w := serve(mux, as(request("GET", "/berlin"), &auth.Principal{Subject: "ann", Claims: branch{city}}))
		fmt.Println(w.Code, outcome(w))
	}
	// Output:
	// 200 hello ann
	// 403 role_missing
}

func ExampleSecureHeaders() {
	mux := http.NewServeMux()

	mux.HandleFunc("GET /", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Security-Policy",
			"default-src 'self'; object-src 'none'; base-uri 'none'; frame-ancestors 'none'")
		_, _ = fmt.Fprintln(w, "<!doctype html><title>Home</title>")
	})
	handler := middleware.SecureHeaders()(mux)

	fmt.Println(serve(handler, request("GET", "/")).Header().Get("Referrer-Policy"))
	// Output: no-referrer
}

func ExampleOnError() {
	var tok exampleTokens
	mux := http.NewServeMux()
	mux.Handle("GET /hello", middleware.RequireAuth(auth.Bearer(tok))(http.HandlerFunc(hello)))

	pages := middleware.OnError(func(w http.ResponseWriter, r *http.Request, err error) {
		code := auth.CodeOf(err)
		if code.Status() >= http.StatusInternalServerError {
			slog.ErrorContext(r.Context(), "request failed", "err", err)
		}
		if strings.Contains(r.Header.Get("Accept"), "text/html") && code.Status() == http.StatusUnauthorized {
			http.Redirect(w, r, "/login", http.StatusSeeOther)
			return
		}
		auth.WriteProblem(w, err)
	})
	handler := pages(mux)

	fmt.Println(show(handler, "GET", "/hello", "Accept: text/html").Get("Location"))
	show(handler, "GET", "/hello", "Accept: application/json")
	// Output:
	// GET /hello 303 <a href="/login">See Other</a>.
	// /login
	// GET /hello 401 credentials_missing
}

func ExampleObserveRefusals() {
	var tok exampleTokens
	mux := http.NewServeMux()
	mux.Handle("GET /hello/{name}", middleware.RequireAuth(auth.Bearer(tok))(http.HandlerFunc(hello)))

	alarm := func(_ context.Context, e auth.Event) {
		fmt.Println(e.Name, e.Outcome, "on", e.Route, "and", e.Missed, "before:", e.Err)
	}
	refusals := middleware.ObserveRefusals(middleware.Refusals{Observe: alarm}) // nil is auth.Log(nil)
	handler := refusals(mux)

	show(handler, "GET", "/hello/ann", "Authorization: Bearer stolen")
	show(handler, "GET", "/hello/bob", "Authorization: Bearer stolen") // the same within 10 s: counted
	// Output:
	// refused token_invalid on GET /hello/{name} and 0 before: token_invalid
	// GET /hello/ann 401 token_invalid
	// GET /hello/bob 401 token_invalid
}

func ExampleRequireJSON() {
	mux := http.NewServeMux()

	mux.Handle("POST /notes", middleware.RequireJSON(64<<10)(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var note struct{ Text string }
		err := json.NewDecoder(r.Body).Decode(&note)
		switch {
		case auth.CodeOf(err) == auth.TooLarge:
			middleware.WriteError(w, r, err)
		case err != nil:
			middleware.WriteError(w, r, fmt.Errorf("%w: %w", auth.RequestMalformed, err))
		default:
			_, _ = fmt.Fprintln(w, note.Text)
		}
	})))

	for _, c := range []struct{ contentType, body string }{
		{"text/plain", `{"text":"hello"}`},
		{"application/json", `{"text":`},
		{"application/json", `{"text":"` + strings.Repeat("a", 64<<10) + `"}`},
		{"application/json", `{"text":"hello"}`},
	} {
		r := httptest.NewRequest("POST", "/notes", strings.NewReader(c.body))
		r.Header.Set("Content-Type", c.contentType)
		fmt.Println(outcome(serve(mux, r)))
	}
	// Output:
	// media_type
	// request_malformed
	// too_large
	// hello
}

// CORS lets the pages of one other origin read answers. It stands outside of the guards, because browsers ask
// first without any credential.
func Example_cors() {
	var tok exampleTokens
	var jar exampleJar
	csrf, err := middleware.NewCSRF(keys, "https://api.example.com", "https://app.example.com")
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	guard := middleware.Chain(middleware.RequireAuth(auth.Cookie(jar.Access, tok)), middleware.RequireCSRF(csrf))
	mux.Handle("/me", guard(http.HandlerFunc(hello)))

	crossOrigin := cors.New(cors.Options{
		AllowedOrigins:   []string{"https://app.example.com"}, // whole origins; never "*", and never a function that says yes
		AllowedMethods:   []string{"GET", "POST", "PUT", "PATCH", "DELETE"},
		AllowedHeaders:   []string{"Content-Type", "X-CSRF-Token"},
		ExposedHeaders:   []string{"X-CSRF-Token"}, // or the page cannot read it
		AllowCredentials: true,
		MaxAge:           600, // seconds
	})
	handler := middleware.Chain(middleware.SecureHeaders(), crossOrigin.Handler)(mux)

	for _, origin := range []string{"https://app.example.com", "https://evil.example", "null"} {
		h := show(handler, "OPTIONS", "/me", "Origin: "+origin, "Access-Control-Request-Method: DELETE", "Access-Control-Request-Headers: x-csrf-token")
		fmt.Printf("%q %q\n", h.Get("Access-Control-Allow-Origin"), h.Get("Access-Control-Allow-Headers"))
	}
	h := show(handler, "GET", "/me", "Origin: https://app.example.com", "Cookie: access=token-of-ann")
	fmt.Println(h.Get("Access-Control-Allow-Origin"), h.Get("Access-Control-Expose-Headers"))
	show(handler, "DELETE", "/me", "Origin: https://app.example.com", "Sec-Fetch-Site: same-site",
		"Cookie: access=token-of-ann", "X-CSRF-Token: "+h.Get("X-CSRF-Token"))
	show(handler, "DELETE", "/me", "Origin: https://evil.example", "Sec-Fetch-Site: cross-site",
		"Cookie: access=token-of-ann", "X-CSRF-Token: "+h.Get("X-CSRF-Token"))
	// Output:
	// OPTIONS /me 204
	// "https://app.example.com" "x-csrf-token"
	// OPTIONS /me 204
	// "" ""
	// OPTIONS /me 204
	// "" ""
	// GET /me 200 hello ann
	// https://app.example.com X-Csrf-Token
	// DELETE /me 200 hello ann
	// DELETE /me 403 csrf_failed
}

// Chain puts a whole site together: what holds for every answer stands outside, what belongs to a route inside.
func ExampleChain() {
	var tok exampleTokens
	var jar exampleJar
	csrf, err := middleware.NewCSRF(keys, "https://app.example.com")
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()

	site := middleware.Chain(
		middleware.SecureHeaders(), // outermost: on every answer, refusals included
		middleware.ClientIP("X-Forwarded-For", netip.MustParsePrefix("10.0.0.0/8")), // before whatever counts or logs
	)
	user := middleware.Chain(
		middleware.RequireAuth(auth.Bearer(tok), auth.Cookie(jar.Access, tok)), // who
		middleware.RequireCSRF(csrf),   // from our own pages
		middleware.RequireJSON(64<<10), // in our own form
	)
	admin := middleware.Chain(user, middleware.RequireRole("admin")) // and may they
	mux.Handle("GET /me", user(http.HandlerFunc(hello)))
	mux.Handle("DELETE /users/{id}", admin(http.HandlerFunc(hello)))
	handler := site(mux)

	show(handler, "GET", "/me", "Authorization: Bearer token-of-ann")
	show(handler, "DELETE", "/users/7", "Authorization: Bearer token-of-ann", "Content-Type: application/json")
	// Output:
	// GET /me 200 hello ann
	// DELETE /users/7 403 role_missing
}

// exampleSessions stands where an application has its *session.Sessions.
type exampleSessions struct{}

func (exampleSessions) RefreshCookie(_ context.Context, refresh string, _ auth.Client) (*auth.Pair, error) {
	if refresh != "refresh-of-ann" {
		return nil, auth.TokenRevoked
	}
	return &auth.Pair{Access: "token-of-ann", Refresh: "next-of-ann", Session: "s1"}, nil
}

func (exampleSessions) Lend(context.Context, string, auth.Client) (*auth.Pair, error) {
	return &auth.Pair{Access: "token-of-ann", Session: "s1"}, nil
}

func ExampleRefreshFromCookie() {
	var tok exampleTokens
	var sessions exampleSessions
	var jar cookies.Jar
	mux := http.NewServeMux()

	csrf, err := middleware.NewCSRF(keys, "https://app.example.com")
	if err != nil {
		log.Fatal(err)
	}
	refresh := middleware.RefreshFromCookie(middleware.Refresh{Sessions: sessions, Access: tok, Jar: jar, CSRF: csrf})
	guard := middleware.Chain(middleware.RequireAuth(auth.Cookie(jar.Access, tok)), middleware.RequireCSRF(csrf))
	mux.Handle("GET /hello", guard(http.HandlerFunc(hello)))
	handler := middleware.Chain(middleware.SecureHeaders(), refresh)(mux)

	const page, link = "Sec-Fetch-Site: same-origin", "Sec-Fetch-Site: cross-site"
	h := show(handler, "GET", "/hello", page, "Cookie: __Host-access=old; __Host-refresh=refresh-of-ann")
	fmt.Println(len(h["Set-Cookie"]), "cookies")
	h = show(handler, "GET", "/hello", link, "Sec-Fetch-Mode: navigate", "Cookie: __Host-access=old; __Host-refresh=refresh-of-ann")
	fmt.Println(len(h["Set-Cookie"]), "cookies")
	h = show(handler, "GET", "/hello", page, "Cookie: __Host-access=old; __Host-refresh=refresh-of-bob")
	fmt.Println(len(h["Set-Cookie"]), "cookies expired")
	// Output:
	// GET /hello 200 hello ann
	// 2 cookies
	// GET /hello 200 hello ann
	// 0 cookies
	// GET /hello 401 token_revoked
	// 2 cookies expired
}

func ExampleRefreshFromCookie_inHeader() {
	var tok exampleTokens
	var sessions exampleSessions
	mux := http.NewServeMux()

	csrf, err := middleware.NewCSRF(keys, "https://app.example.com")
	if err != nil {
		log.Fatal(err)
	}
	refresh := middleware.RefreshFromCookie(middleware.Refresh{Sessions: sessions, Access: tok, CSRF: csrf, InHeader: true})
	mux.Handle("GET /hello", middleware.RequireAuth(auth.Bearer(tok))(http.HandlerFunc(hello)))
	handler := refresh(mux)

	h := show(handler, "GET", "/hello", "Sec-Fetch-Site: same-origin", "Cookie: __Host-refresh=refresh-of-ann")
	fmt.Println(h.Get("X-Access-Token"))
	// Output:
	// GET /hello 200 hello ann
	// token-of-ann
}
