package middleware_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
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
	checks int            // how often a password was looked at
	resets map[string]time.Time
	fails  map[string]int
}

var users = map[string]string{"ann": "right", "bob": "secret", "ánn": "mine"}

// newLogin starts with a fresh memory; change is asked before the limit stands.
func newLogin(t testing.TB, change func(*login)) *login {
	t.Helper()
	a := &login{events: map[string]int{}, resets: map[string]time.Time{}, fails: map[string]int{}}
	devices, err := middleware.NewDevices(keys, cookies.Policy{}, func(_ context.Context, _, account string) (time.Time, error) {
		a.mu.Lock()
		defer a.mu.Unlock()
		return a.resets[account], nil
	})
	if err != nil {
		t.Fatal(err)
	}
	a.limit = middleware.LoginLimit{
		Limiter: ratelimit.NewMemory(0), Devices: devices, Failures: a,
		Observe: func(_ context.Context, e auth.Event) {
			a.mu.Lock()
			defer a.mu.Unlock()
			a.events[e.Outcome]++
			if e.Name != "limit" || e.Err == nil || !e.Client.Addr.IsValid() || e.Subject != "" {
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

// Add counts failures as a table would.
func (a *login) Add(_ context.Context, key string, n int) (int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.fails[key] = max(0, a.fails[key]+n)
	return a.fails[key], nil
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

// ATK-L03, STD-R09: an account that exists and one that does not answer the same, try for try, byte for byte.
func TestSTD_R09_ATK_L03_NothingTellsOfAccounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newLogin(t, nil)
		for i := range 12 {
			known := a.try(fmt.Sprintf("192.0.2.%d", i), "ann", "wrong")
			unknown := a.try(fmt.Sprintf("192.0.3.%d", i), "nobody", "wrong")
			if known.Code != unknown.Code || known.Body.String() != unknown.Body.String() || !maps.EqualFunc(known.Header(), unknown.Header(), slices.Equal) {
				t.Errorf("try %d: got %d %v %s and %d %v %s", i, known.Code, known.Header(), known.Body, unknown.Code, unknown.Header(), unknown.Body)
			}
			if code := problemCode(t, known.Body.Bytes()); (code == auth.RateLimited) != (i >= 5) {
				t.Errorf("try %d: got %s", i, code)
			}
		}
		// What is left of somebody's budget is not told to others: the fields are of the own network.
		b := newLogin(t, nil)
		b.try(home, "ann", "wrong")
		if q, window, r, _ := fields(t, b.try(attacker, "ann", "wrong").Header(), "login"); q != 20 || window != 900 || r != 19 {
			t.Errorf("got q=%d w=%d r=%d", q, window, r)
		}
	})
}

// STD-R06 to STD-R08, at a login: by the network, and by the account.
func TestSTD_R06_R07_R08_LoginAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newLogin(t, nil)
		for i := range 20 {
			w := a.try(attacker, "user"+strconv.Itoa(i), "wrong")
			if q, window, r, _ := fields(t, w.Header(), "login"); q != 20 || window != 900 || r != int64(19-i) || w.Header().Get("Cache-Control") != "no-store" {
				t.Errorf("try %d: got %v", i, w.Header())
			}
		}
		a.reached(5, "ann")
		for name, w := range map[string]*httptest.ResponseRecorder{
			"network": a.try(attacker, "another", "wrong"),
			"account": a.try(home, "ann", "right"),
		} {
			retry, err := strconv.Atoi(w.Header().Get("Retry-After"))
			_, _, r, reset := fields(t, w.Header(), "login")
			if w.Code != 429 || err != nil || retry < 1 || r != 0 || reset > int64(retry) || w.Header().Get("Cache-Control") != "no-store" {
				t.Errorf("%s: got %d %v", name, w.Code, w.Header())
			}
			if a.events[name] != 1 {
				t.Errorf("%s: events %v", name, a.events)
			}
		}
		// Not earlier: a second before, it is still refused.
		retry, _ := strconv.Atoi(a.try(home, "ann", "right").Header().Get("Retry-After"))
		time.Sleep(time.Duration(retry)*time.Second - time.Second - time.Millisecond)
		want(t, a.try(home, "ann", "right"), auth.RateLimited)
		time.Sleep(time.Second + time.Millisecond)
		want(t, a.try(home, "ann", "right"), "")
	})
}

func TestSTD_R02_SuccessGivesBack(t *testing.T) {
	t.Run("the account is new, the network keeps the failures", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a := newLogin(t, nil)
			for range 4 {
				want(t, a.try(home, "ann", "wrong"), auth.LoginFailed)
			}
			want(t, a.try(home, "ann", "right"), "")
			_, _, r, _ := fields(t, a.try(home, "bob", "wrong").Header(), "login")
			if r != 20-4-1 {
				t.Errorf("the network has %d left", r)
			}
			if n := a.reached(9, "ann"); n != 5 {
				t.Errorf("%d tries, want 5", n)
			}
		})
	})
	t.Run("many good logins from one office", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a := newLogin(t, nil)
			for range 120 { // above the 100 of a /48 too
				want(t, a.try("2001:db8::1", "ann", "right"), "")
			}
		})
	})
	t.Run("no report, no refund", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a := newLogin(t, nil)
			a.h = middleware.RateLimitLogin(a.limit)(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				a.checks++
				_, _ = io.WriteString(w, `{"error":"wrong password"}`) // a 200
			}))
			if n := a.reached(9, "ann"); n != 5 {
				t.Errorf("%d tries, want 5", n)
			}
		})
	})
	t.Run("an outage gives nothing back", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a := newLogin(t, nil)
			for range 5 {
				want(t, a.try(home, "ann", "outage"), auth.StoreUnavailable)
			}
			want(t, a.try(home, "ann", "right"), auth.RateLimited)
		})
	})
	t.Run("busy gives all back", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a := newLogin(t, nil)
			a.try(home, "ann", "wrong")
			for range 150 {
				want(t, a.try(home, "ann", "busy"), auth.Busy)
			}
			if n := a.reached(9, "ann"); n != 4 {
				t.Errorf("%d tries, want 4: busy gives back its own part only", n)
			}
			if highest := slices.Max(slices.Collect(maps.Values(a.fails))); highest != 5 {
				t.Errorf("%d failures are kept, want 5", highest)
			}
		})
	})
	t.Run("both of two limits in a row give back", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a := newLogin(t, nil)
			outer := a.limit
			outer.Limiter = ratelimit.NewMemory(0)
			a.h = middleware.RateLimitLogin(outer)(a.h)
			for range 30 {
				want(t, a.try(home, "ann", "right"), "")
				want(t, a.try(home, "ann", "busy"), auth.Busy)
			}
		})
	})
	t.Run("without an account only the own part", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a := newLogin(t, func(a *login) { a.limit.Field = "not the one that is read" })
			for range 4 {
				want(t, a.try(home, "bob", "wrong"), auth.LoginFailed)
			}
			want(t, a.try(home, "ann", "right"), "")
			want(t, a.try(home, "bob", "wrong"), auth.LoginFailed)
			want(t, a.try(home, "bob", "wrong"), auth.RateLimited)
		})
	})
	t.Run("of a known device, and of an account that a function names", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a := newLogin(t, nil)
			known := device(t, a.try(home, "ann", "right"))
			for range 4 {
				a.reached(4, "ann", known)
				want(t, a.try(home, "ann", "right", known), "")
			}
			b := newLogin(t, func(a *login) {
				a.limit.Devices = nil
				a.limit.Account = func(r *http.Request) (string, error) { return r.FormValue("account"), nil }
			})
			for range 4 {
				b.reached(4, "ann")
				want(t, b.try(home, "ann", "right"), "")
			}
		})
	})
	t.Run("the client has gone", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a := newLogin(t, func(a *login) { a.limit.Limiter = overNetwork{a.limit.Limiter} })
			for range 30 {
				ctx, cancel := context.WithCancel(t.Context())
				h := middleware.RateLimitLogin(a.limit)(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
					cancel()
					auth.LoginSucceeded(r.Context())
				}))
				want(t, serve(h, from(post(formType, "account=ann"), home).WithContext(ctx)), "")
			}
		})
	})
}

// A name that shares a victim's form gives its owner no tries at the victim's account. This application
// does not regard letter case, and does regard accents.
func TestSTD_R02_SuccessOfAnotherSpelling(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newLogin(t, func(a *login) { a.limit.Devices = nil })
		spellings := []string{"ann", "ANN", "Ann", "aNn", "anN", "AnN", "aNN", "ANn"}
		reached := 0
		for i := range 300 {
			addr := fmt.Sprintf("198.51.%d.7", i%250)
			if i%3 > 0 {
				a.try(addr, "ánn", []string{1: "wrong", 2: "mine"}[i%3]) // the attacker's own account
			} else if a.try(addr, spellings[i/3%len(spellings)], "wrong").Code == http.StatusUnauthorized {
				reached++
			}
		}
		if reached > 5 {
			t.Errorf("%d tries at the victim's account, want at most 5", reached)
		}
		if slices.Max(slices.Collect(maps.Values(a.fails))) < 4 {
			t.Errorf("the attacker's success has forgiven the failures at the victim's account: %v", a.fails)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		a := newLogin(t, nil)
		spellings := []string{"ann", "ANN", "Ann", "ánn", " ann ", "a\u200bnn", "ａｎｎ"}
		reached := 0
		for i := range 70 {
			reached += a.reached(1, spellings[i%len(spellings)])
		}
		if reached != 5 {
			t.Errorf("%d tries in all spellings, want 5", reached)
		}
	})
}

// STD-R03, ATK-L07: failing on purpose does not lock out whoever has logged in from the same browser before.
func TestSTD_R03_ATK_L07_KnownDevice(t *testing.T) {
	t.Run("has a budget of its own with the same limits", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a := newLogin(t, nil)
			known := device(t, a.try(home, "ann", "right"))
			a.reached(50, "ann")
			want(t, a.try(office, "ann", "right"), auth.RateLimited)
			want(t, a.try(home, "ann", "right", known), "")
			if n := a.reached(50, "ann", known); n != 5 {
				t.Errorf("%d tries with the cookie, want 5: it exempts from nothing", n)
			}
			// Its success is not the strangers': they still wait.
			time.Sleep(3 * time.Minute)
			want(t, a.try(home, "ann", "right", known), "")
			want(t, a.try(office, "ann", "wrong"), auth.LoginFailed)
			want(t, a.try(office, "ann", "right"), auth.RateLimited)
		})
	})
	t.Run("the network's limit holds for it", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a := newLogin(t, nil)
			known := device(t, a.try(home, "ann", "right"))
			for i := range 20 {
				a.try(home, "user"+strconv.Itoa(i), "wrong")
			}
			want(t, a.try(home, "ann", "right", known), auth.RateLimited)
		})
	})
	t.Run("ATK-L07 the delay is capped", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a := newLogin(t, nil)
			for range 10 {
				a.reached(200, "ann")
				w := a.try(home, "ann", "right")
				if retry, err := strconv.Atoi(w.Header().Get("Retry-After")); err != nil || retry > 180 {
					t.Fatalf("got %v", w.Header())
				}
			}
		})
	})
}

// STD-R01: GCRA forgets, 5 per 15 minutes are 480 a day; the count does not.
func TestSTD_R01_HundredFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newLogin(t, nil)
		known := device(t, a.try(home, "ann", "right"))
		reached, unknown := 0, 0
		for range 60 {
			reached += a.reached(7, "ann")
			unknown += a.reached(7, "nobody")
			time.Sleep(24 * time.Hour)
		}
		if reached != 100 || unknown != 100 {
			t.Errorf("%d and %d tries came to a password, want 100", reached, unknown)
		}
		// Off, also for the right password, in the words of every failure. ATK-L03: also for nobody.
		off, nobody := a.try(office, "ann", "right"), a.try(office, "nobody", "x")
		want(t, off, auth.LoginFailed)
		if off.Body.String() != nobody.Body.String() || off.Header().Get("Retry-After") != "" || a.events["off"] == 0 {
			t.Errorf("got %s and %s, header %v, events %v", off.Body, nobody.Body, off.Header(), a.events)
		}
		// Not on a known device. Its success does not turn it on for others.
		want(t, a.try(home, "ann", "right", known), "")
		want(t, a.try(office, "ann", "right"), auth.LoginFailed)
		// A reset turns it on.
		if err := a.limit.Reset(t.Context(), "", "Ann"); err != nil {
			t.Fatal(err)
		}
		want(t, a.try(office, "ann", "right"), "")
	})
	t.Run("in a row", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a := newLogin(t, func(a *login) { a.limit.Devices = nil })
			for range 60 {
				a.reached(4, "ann")
				want(t, a.try(home, "ann", "right"), "")
			}
		})
	})
	t.Run("a known device has a count, too", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a := newLogin(t, nil)
			known := device(t, a.try(home, "ann", "right"))
			reached := 0
			for range 40 {
				reached += a.reached(7, "ann", known)
				time.Sleep(24 * time.Hour)
			}
			if reached != 100 {
				t.Errorf("%d tries, want 100", reached)
			}
			want(t, a.try(home, "ann", "right"), "") // as from anywhere
		})
	})
	t.Run("parallel tries at the last one", func(t *testing.T) {
		a := newLogin(t, func(a *login) { a.limit.PerAccount = ratelimit.Rate{N: 1000, Per: time.Hour} })
		if n := a.parallel(300, "ann"); n != 100 {
			t.Errorf("%d tries, want 100", n)
		}
	})
}

// Reset gives the budget back as well.
func TestATK_L07_Reset(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newLogin(t, nil)
		a.reached(50, "ann")
		want(t, a.try(home, "ann", "right"), auth.RateLimited)
		if err := a.limit.Reset(t.Context(), "", "ann"); err != nil {
			t.Fatal(err)
		}
		want(t, a.try(home, "ann", "right"), "")
	})
	if err := (middleware.LoginLimit{}).Reset(t.Context(), "", "ann"); err == nil {
		t.Error("a limit without a Limiter was reset")
	}
	if err := (middleware.LoginLimit{Limiter: down}).Reset(t.Context(), "", "ann"); err == nil {
		t.Error("no error from a limiter that fails")
	}
}

// parallel tries n times at once, each from a network of its own, and returns how many came to the password.
func (a *login) parallel(n int, account string) int {
	var wait sync.WaitGroup
	for i := range n {
		wait.Go(func() { a.try(fmt.Sprintf("198.51.%d.%d", i/250, i%250), account, "wrong") })
	}
	wait.Wait()
	return a.checks
}

// STD-R10, ATK-L08: what comes at once gains nothing, nor does the edge of a window.
func TestSTD_R10_ATK_L08_Parallel(t *testing.T) {
	t.Run("1,000 at once", func(t *testing.T) {
		a := newLogin(t, nil)
		if n := a.parallel(1000, "ann"); n != 5 {
			t.Errorf("%d of 1,000 came to the password, want 5", n)
		}
	})
	t.Run("1,000 at once from one network at as many accounts", func(t *testing.T) {
		a := newLogin(t, nil)
		var wait sync.WaitGroup
		for i := range 1000 {
			wait.Go(func() { a.try(attacker, "user"+strconv.Itoa(i), "wrong") })
		}
		wait.Wait()
		if a.checks != 20 {
			t.Errorf("%d of 1,000 came to a password, want 20", a.checks)
		}
	})
	t.Run("edges", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a := newLogin(t, nil)
			n := a.reached(9, "ann")
			for range 4 {
				time.Sleep(15*time.Minute - time.Millisecond)
				n += a.reached(9, "ann")
			}
			if n > 5+4*5 {
				t.Errorf("%d tries in an hour, want at most 25", n)
			}
		})
	})
}

// ATK-L06: one password at 10,000 accounts, and one account's worth of tries from 10,000 addresses.
func TestATK_L06_SprayingAndStuffing(t *testing.T) {
	spray := func(t *testing.T, a *login, addr func(i int) string) {
		for i := range 10_000 {
			a.try(addr(i), "user"+strconv.Itoa(i), "Summer2026")
		}
	}
	t.Run("from one address", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a := newLogin(t, nil)
			spray(t, a, func(int) string { return attacker })
			if a.checks != 20 || a.events["network"] != 9980 {
				t.Errorf("%d came to a password, events %v", a.checks, a.events)
			}
		})
	})
	t.Run("ATK-L05 from one /48", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a := newLogin(t, nil)
			spray(t, a, func(i int) string { return fmt.Sprintf("2001:db8:1:%x::1", i) })
			if a.checks != 100 {
				t.Errorf("%d came to a password, want 100", a.checks)
			}
		})
	})
	t.Run("from 10,000 addresses", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a := newLogin(t, func(a *login) { a.limit.Overall = ratelimit.Rate{N: 1000, Per: time.Hour} })
			spray(t, a, func(i int) string { return netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}).String() })
			if a.events["overall"] != 9000 {
				t.Errorf("events %v, want 9,000 above the overall limit", a.events)
			}
			// The others are halved: 2 for an account, 10 for a network.
			if n := a.reached(9, "ann"); n != 2 {
				t.Errorf("%d tries at an account, want 2", n)
			}
			before := a.checks
			for i := range 30 {
				w := a.try(home, "one"+strconv.Itoa(i), "wrong")
				if q, _, _, _ := fields(t, w.Header(), "login"); q != 10 && w.Code != http.StatusTooManyRequests {
					t.Fatalf("q is %d", q)
				}
			}
			if n := a.checks - before; n != 10 {
				t.Errorf("%d tries from a network, want 10", n)
			}
			// And nobody is refused by it alone.
			want(t, a.try(office, "bob", "secret"), "")
			want(t, a.try(office, "bob", "secret"), "")
			// When it is over, so is this.
			time.Sleep(time.Hour)
			if n := a.reached(9, "ann"); n != 5 {
				t.Errorf("%d tries at an account afterwards, want 5", n)
			}
		})
	})
	t.Run("good logins do not use up the overall limit", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a := newLogin(t, func(a *login) { a.limit.Overall = ratelimit.Rate{N: 3, Per: time.Hour} })
			for range 30 {
				want(t, a.try(home, "ann", "right"), "")
			}
			if len(a.events) > 0 {
				t.Errorf("events %v", a.events)
			}
		})
	})
}

// ATK-L04: addresses that a client makes up open no new budget.
func TestATK_L04_LoginBehindProxy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newLogin(t, nil)
		h := middleware.ClientIP("X-Forwarded-For", proxies...)(a.h)
		send := func(peer, forwarded string, i int) {
			r := from(post(formType, "password=x&account=user"+strconv.Itoa(i)), peer)
			r.Header.Set("X-Forwarded-For", forwarded)
			serve(h, r)
		}
		for i := range 50 {
			send(attacker, fmt.Sprintf("192.0.2.%d", i), i)                   // not through the proxy
			send("10.0.0.1", fmt.Sprintf("192.0.2.%d, %s", i, attacker), i)   // through it
			send("10.0.0.1", fmt.Sprintf("192.0.2.%d, unknown", i), 1000+i)   // the proxy itself
			send("10.0.0.1", fmt.Sprintf("192.0.2.%d,, _x", i), 2000+i)       // the proxy itself
			send("10.0.0.1", strings.Repeat("192.0.2.1, ", i)+attacker, 50+i) // many hops
		}
		if a.checks != 40 {
			t.Errorf("%d came to a password, want 20 from each of 2 addresses", a.checks)
		}
	})
}

// ATK-S06: a foreign page can post a login form. The check of the origin stands outside of the limit, so that
// such a page neither logs its visitor in nor uses up tries.
func TestATK_S06_LoginCSRF(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newLogin(t, nil)
		csrf := newCSRF(t)
		h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if err := csrf.CheckOrigin(r); err != nil {
				middleware.WriteError(w, r, err)
				return
			}
			a.h.ServeHTTP(w, r)
		})
		for range 30 {
			r := from(post(formType, "account=bob&password=secret"), home)
			r.Header.Set("Origin", "https://evil.example")
			r.Header.Set("Sec-Fetch-Site", "cross-site")
			w := serve(h, r)
			want(t, w, auth.CSRFFailed)
			if len(w.Result().Cookies()) > 0 {
				t.Fatalf("got %v", w.Header())
			}
		}
		r := from(post(formType, "account=ann&password=right"), home)
		r.Header.Set("Origin", own)
		want(t, serve(h, r), "")
	})
}

// STD-R11: what cannot count lets nobody in. That the limiter of Redis falls back is its own affair.
func TestSTD_R11_LoginFailsClosed(t *testing.T) {
	captureLog(t)
	t.Run("the count of failures is down", func(t *testing.T) {
		a := newLogin(t, func(a *login) { a.limit.Failures = noFailures{} })
		for range 30 { // and its tries are given back
			want(t, a.try(home, "ann", "right"), auth.StoreUnavailable)
		}
		if a.checks != 0 {
			t.Error("a password was looked at")
		}
	})
	t.Run("the limiter is down when tries go back", func(t *testing.T) {
		l, calls := ratelimit.NewMemory(0), 0
		a := newLogin(t, func(a *login) {
			a.limit.Limiter = limiterFunc(func(costs []ratelimit.Cost) (ratelimit.Decision, error) {
				if calls++; calls > 1 {
					return ratelimit.Decision{}, errors.New("down")
				}
				return l.Take(t.Context(), costs...)
			})
		})
		want(t, a.try(home, "ann", "right"), "") // the login has succeeded all the same
		if a.events["kept"] != 1 {
			t.Errorf("events %v", a.events)
		}
	})
}

// overNetwork is a limiter that does nothing for whom nobody waits.
type overNetwork struct{ ratelimit.Limiter }

func (l overNetwork) Take(ctx context.Context, costs ...ratelimit.Cost) (ratelimit.Decision, error) {
	if ctx.Err() != nil {
		return ratelimit.Decision{}, ctx.Err()
	}
	return l.Limiter.Take(ctx, costs...)
}

type noFailures struct{}

func (noFailures) Add(context.Context, string, int) (int, error) { return 0, errors.New("down") }

// A try is one step of the limiter, a success without failures before it one more.
func TestLoginSteps(t *testing.T) {
	l, calls := ratelimit.NewMemory(0), 0
	a := newLogin(t, func(a *login) {
		a.limit.Overall = ratelimit.Rate{N: 100, Per: time.Hour}
		a.limit.Limiter = limiterFunc(func(costs []ratelimit.Cost) (ratelimit.Decision, error) {
			calls++
			return l.Take(t.Context(), costs...)
		})
	})
	for _, c := range []struct {
		password string
		steps    int
	}{{"right", 2}, {"wrong", 1}, {"right", 3}, {"busy", 2}} {
		calls = 0
		a.try(home, "ann", c.password)
		if calls != c.steps {
			t.Errorf("%s: %d steps, want %d", c.password, calls, c.steps)
		}
	}
}
