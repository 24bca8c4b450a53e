package middleware_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/cookies"
	"github.com/doorward/doorward/middleware"
	"github.com/doorward/doorward/ratelimit"
)

// login is an application with a users table, behind a login limit.
type login struct {
	limit middleware.LoginLimit
	h     http.Handler

	mu     sync.Mutex
	events map[string]int // by outcome
	decoys int            // how often a password was looked at that nobody has
	checks int            // how often a password was looked at
	resets map[string]time.Time
	fails  map[string]int // what the count of each key is
	decoy  error          // what it says
	counts middleware.MemoryFailures
}

var users = map[string]string{"ann": "right", "bob": "secret", "ánn": "mine"}

// newLogin starts with a fresh memory; change is asked before the limit stands.
func newLogin(t testing.TB, change func(*login)) *login {
	t.Helper()
	a := &login{events: map[string]int{}, resets: map[string]time.Time{}, fails: map[string]int{}}
	devices, err := middleware.NewDevices(keys, own, cookies.Policy{}, func(_ context.Context, account string) (time.Time, error) {
		a.mu.Lock()
		defer a.mu.Unlock()
		return a.resets[account], nil
	})
	if err != nil {
		t.Fatal(err)
	}
	a.limit = middleware.LoginLimit{
		Limiter: ratelimit.NewMemory(0), Issuer: own, Devices: devices, Failures: a, Keys: keys,
		Subject: func(_ context.Context, account string) (string, error) {
			if account = strings.ToLower(account); users[account] == "" {
				return "", nil
			}
			return "id of " + account, nil
		},
		Decoy: func(_ context.Context, account string) error {
			a.mu.Lock()
			defer a.mu.Unlock()
			a.decoys++
			return a.decoy
		},
		Observe: func(_ context.Context, e auth.Event) {
			a.mu.Lock()
			defer a.mu.Unlock()
			a.events[e.Outcome]++
			if e.Name != "limit" || e.Err == nil || !e.Client.Addr.IsValid() || e.Subject != "" || len(e.Account) != 23 || e.Account[0] != '#' {
				t.Errorf("event %+v", e)
			}
		},
	}
	if change != nil {
		change(a)
	}
	a.h = middleware.RateLimitLogin(a.limit)(http.HandlerFunc(a.check))
	return a
}

// Take, Give and Drop are those of a store that a test can look into.
func (a *login) Take(ctx context.Context, key string, most int, span time.Duration) (string, error) {
	taken, err := a.counts.Take(ctx, key, most, span)
	if taken != "" {
		a.count(key, 1)
	}
	return taken, err
}

func (a *login) Give(ctx context.Context, key, taken string) error {
	a.count(key, -1)
	return a.counts.Give(ctx, key, taken)
}

func (a *login) Drop(ctx context.Context, key string) error { return a.counts.Drop(ctx, key) }

func (a *login) count(key string, n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.fails[key] += n
}

func (a *login) check(w http.ResponseWriter, r *http.Request) {
	switch r.FormValue("password") {
	case "busy":
		middleware.WriteError(w, r, fmt.Errorf("no slot to hash: %w", auth.Busy))
		return
	case "outage":
		middleware.WriteError(w, r, auth.StoreUnavailable)
		return
	}
	a.mu.Lock()
	a.checks++
	a.mu.Unlock()
	account := strings.ToLower(r.FormValue("account"))
	if want, known := users[account]; !known || r.FormValue("password") != want {
		middleware.WriteError(w, r, auth.LoginFailed)
		return
	}
	auth.LoginSucceeded(r.Context())
	auth.LoginSucceeded(r.Context()) // declaring it twice gives nothing twice
	_, _ = io.WriteString(w, "welcome")
}

// try logs in from an address, with the cookies of a device.
func (a *login) try(addr, account, password string, device ...*http.Cookie) *httptest.ResponseRecorder {
	r := from(post(formType, url.Values{"account": {account}, "password": {password}}.Encode()), addr)
	for _, c := range device {
		r.AddCookie(c)
	}
	return serve(a.h, r)
}

// reached returns how many of n wrong tries came to the password, each from an address of its own.
func (a *login) reached(n int, account string, device ...*http.Cookie) int {
	before := a.checks
	for i := range n {
		a.try(fmt.Sprintf("198.51.%d.%d", i/250, i%250), account, "wrong", device...)
	}
	return a.checks - before
}

// device returns the cookie that an answer sets.
func device(t testing.TB, w *httptest.ResponseRecorder) *http.Cookie {
	t.Helper()
	set := w.Result().Cookies()
	if len(set) != 1 || set[0].Name != "__Host-device" {
		t.Fatalf("got cookies %v", set)
	}
	return set[0]
}

const home, office, attacker = "203.0.113.7", "203.0.113.80", "198.51.100.1"
