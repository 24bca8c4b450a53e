package middleware_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/cookies"
	"github.com/doorward/doorward/middleware"
	"github.com/doorward/doorward/ratelimit"
)

func ExampleRateLimit() {
	mux := http.NewServeMux()
	limiter := ratelimit.NewMemory(0) // one for the whole program, or a redislimit.Limiter for all its nodes

	perMinute := ratelimit.Rate{N: 2, Per: time.Minute}
	mux.Handle("GET /search", middleware.RateLimit(limiter, perMinute, nil)(http.HandlerFunc(hello)))

	for range 3 {
		h := show(mux, "GET", "/search")
		fmt.Println(h["Ratelimit-Policy"], h["Ratelimit"], h["Retry-After"])
	}
	// Output:
	// GET /search 200 hello, whoever you are
	// ["2/1m0s";q=2;w=60] ["2/1m0s";r=1;t=30] []
	// GET /search 200 hello, whoever you are
	// ["2/1m0s";q=2;w=60] ["2/1m0s";r=0;t=30] []
	// GET /search 429 rate_limited
	// ["2/1m0s";q=2;w=60] ["2/1m0s";r=0;t=30] [30]
}

// exampleUsers stands where an application has its users table.
type exampleUsers map[string]string

// check returns auth.LoginFailed for a wrong password and for an unknown account alike, and takes as long for
// either: package auth/password has what that needs.
func (u exampleUsers) check(account, password string) error {
	if want, ok := u[account]; !ok || password != want {
		return auth.LoginFailed
	}
	return nil
}

func (exampleUsers) lastReset(context.Context, string) (time.Time, error) {
	return time.Time{}, nil
}

// subjectOf returns the id of a user, "" for an account that nobody has.
func (u exampleUsers) subjectOf(_ context.Context, account string) (string, error) {
	if _, ok := u[account]; !ok {
		return "", nil
	}
	return "id of " + account, nil
}

func ExampleFailures() {
	users := exampleUsers{"ann@example.com": "correct horse"}
	failures := &middleware.MemoryFailures{} // a database's, in an application of several processes
	limit := middleware.LoginLimit{Limiter: ratelimit.NewMemory(0), Issuer: "https://app.example.com"}

	limit.Failures, limit.Subject, limit.Keys = failures, users.subjectOf, keys
	limit.Decoy = func(_ context.Context, email string) error { return users.check(email, rand.Text()) } // crypto/rand

	h := middleware.RateLimitLogin(limit)(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		middleware.WriteError(w, r, auth.LoginFailed)
	}))
	r := httptest.NewRequest("POST", "/login", strings.NewReader(`{"account":"ann@example.com"}`))
	r.Header.Set("Content-Type", "application/json")
	w := serve(h, r)
	fmt.Println(w.Code, outcome(w))
	fmt.Println(limit.Reset(context.Background(), "ann@example.com")) // her password was reset
	// Output:
	// 401 login_failed
	// <nil>
}

func ExampleRateLimitLogin() {
	users := exampleUsers{"ann@example.com": "correct horse"}
	limiter := ratelimit.NewMemory(0)
	mux := http.NewServeMux()

	devices, err := middleware.NewDevices(keys, "https://app.example.com", cookies.Policy{}, users.lastReset)
	if err != nil {
		log.Fatal(err)
	}
	limit := middleware.LoginLimit{
		Limiter: limiter, Issuer: "https://app.example.com", Field: "email", Required: []string{"password"}, Devices: devices,
	}
	mux.Handle("POST /login", middleware.RateLimitLogin(limit)(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var in struct{ Email, Password string }
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil { // the limit has read the body and put it back
			middleware.WriteError(w, r, fmt.Errorf("%w: %w", auth.RequestMalformed, err))
			return
		}
		if err := users.check(in.Email, in.Password); err != nil {
			middleware.WriteError(w, r, err) // with auth.Busy, the try is given back
			return
		}
		auth.LoginSucceeded(r.Context()) // before anything is written; session.Start does it for you
		_, _ = fmt.Fprintln(w, "welcome")
	})))

	login := func(password string) {
		body := fmt.Sprintf(`{"email":"ann@example.com","password":%q}`, password)
		r := httptest.NewRequest("POST", "/login", strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		w := serve(mux, r)
		fmt.Println(w.Code, outcome(w), w.Header()["Retry-After"])
	}
	login("correct horse")
	for range 6 {
		login("a guess")
	}
	login("correct horse") // from a browser without the cookie
	// Output:
	// 200 welcome []
	// 401 login_failed []
	// 401 login_failed []
	// 401 login_failed []
	// 401 login_failed []
	// 401 login_failed []
	// 429 rate_limited [180]
	// 429 rate_limited [180]
}
