package middleware_test

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/middleware"
	"github.com/doorward/doorward/ratelimit"
)

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
		if err := a.limit.Reset(t.Context(), "ann"); err != nil {
			t.Fatal(err)
		}
		want(t, a.try(office, "ann", "right"), "")
	})
	// Good logins clear nothing: at d9addb9 all of a guesser's tries between two logins of the owner were compared.
	t.Run("a guesser between two logins of the owner", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a := newLogin(t, func(a *login) { a.limit.Devices = nil })
			guesses := 0
			for range 50 {
				guesses += a.reached(4, "ann")
				a.try(home, "ann", "right")
				time.Sleep(12 * time.Hour)
			}
			if guesses != 100 {
				t.Errorf("%d guesses in 25 days, want 100", guesses)
			}
			want(t, a.try(home, "ann", "right"), auth.LoginFailed)
		})
	})
	t.Run("good logins count nothing", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a := newLogin(t, func(a *login) { a.limit.Devices = nil })
			for range 250 {
				want(t, a.try(home, "ann", "right"), "")
				want(t, a.try(home, "ann", "busy"), auth.Busy)
			}
		})
	})
	t.Run("failures of more than 30 days ago do not count", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a := newLogin(t, func(a *login) { a.limit.Devices = nil })
			for range 6 {
				for range 19 { // 95 tries
					a.reached(5, "ann")
					time.Sleep(24 * time.Hour)
				}
				time.Sleep(12 * 24 * time.Hour)
			}
			want(t, a.try(home, "ann", "right"), "")
		})
	})
	t.Run("off outlasts the 30 days", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a := newLogin(t, func(a *login) { a.limit.Devices, a.limit.PerAccount = nil, ratelimit.Rate{N: 100, Per: time.Hour} })
			a.reached(100, "ann")
			time.Sleep(366 * 24 * time.Hour)
			want(t, a.try(home, "ann", "right"), auth.LoginFailed)
		})
	})
	t.Run("all spellings and names of one user share a count", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a := newLogin(t, func(a *login) {
				a.limit.Devices, a.limit.PerAccount = nil, ratelimit.Rate{N: 1000, Per: time.Hour}
				a.limit.Subject = func(context.Context, string) (string, error) { return "17", nil } // her address, her name
			})
			if n := a.reached(60, "ann") + a.reached(60, "ann@example.com") + a.reached(60, "ANN"); n != 100 {
				t.Errorf("%d tries, want 100", n)
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
	t.Run("200 at once", func(t *testing.T) {
		a := newLogin(t, func(a *login) { a.limit.PerAccount = ratelimit.Rate{N: 1000, Per: time.Hour} })
		if n := a.parallel(200, "ann"); n != 100 {
			t.Errorf("%d tries, want exactly 100", n)
		}
	})
	t.Run("200 at once, and as many good ones", func(t *testing.T) {
		a := newLogin(t, func(a *login) {
			much := ratelimit.Rate{N: 10_000, Per: time.Hour}
			a.limit.PerAccount, a.limit.PerNetwork, a.limit.Devices = much, much, nil
		})
		var wait sync.WaitGroup
		var guesses atomic.Int64
		for i := range 200 {
			wait.Go(func() {
				if w := a.try(fmt.Sprintf("198.51.%d.%d", i/250, i%250), "ann", "outage"); w.Code == http.StatusServiceUnavailable {
					guesses.Add(1) // it came to the password, and was not given back
				}
			})
			wait.Go(func() { a.try(home, "ann", "right") })
		}
		wait.Wait()
		if n := guesses.Load() + int64(a.reached(200, "ann")); n != 100 {
			t.Errorf("%d tries, want exactly 100", n)
		}
	})
}

// Names that nobody has share 65,536 counts, so that no stranger fills a disk, and take none of a user's tries.
func TestSTD_R01_ATK_L03_UnknownNames(t *testing.T) {
	much := ratelimit.Rate{N: 1_000_000, Per: time.Minute}
	a := newLogin(t, func(a *login) { a.limit.PerNetwork, a.limit.PerAccount, a.limit.Devices = much, much, nil })
	const names = 20_000
	for i := range names {
		a.try(attacker, fmt.Sprint("nobody-", i), "wrong")
	}
	// Of 20,000 names 17,200 counts are used on the average: 65,536 * (1 - (1 - 1/65,536)^20,000).
	if n := len(a.fails); n < 16_800 || n > 17_600 {
		t.Errorf("%d counts for %d names, want about 17,200: one of 65,536 for each", n, names)
	}
	for key := range a.fails {
		if len(key) != 43 || strings.Trim(key, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			t.Fatalf("key %q", key)
		}
	}
	want(t, a.try(home, "ann", "right"), "")
	// A reset of such a name turns nothing on for the others.
	if err := a.limit.Reset(t.Context(), "nobody-1"); err != nil {
		t.Fatal(err)
	}
}

// One Limiter and one store of failures serve two pools of users: "ann" of one is not "ann" of the other. At d9addb9 the
// logins of an attacker's own "ann" at one gave back 40 of 40 tries at the other one's.
func TestATK_S11_TwoIssuers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shared, counts := ratelimit.NewMemory(0), &middleware.MemoryFailures{}
		at := func(issuer string) *login {
			return newLogin(t, func(a *login) {
				a.limit.Limiter, a.limit.Failures, a.limit.Issuer, a.limit.Devices = shared, counts, issuer, nil
			})
		}
		prod, staging := at("https://a.example"), at("https://b.example")
		n := 0
		for range 40 {
			n += prod.reached(1, "ann")
			want(t, staging.try(office, "ann", "right"), "")
			if err := staging.limit.Reset(t.Context(), "ann"); err != nil {
				t.Fatal(err)
			}
		}
		if n != 5 {
			t.Errorf("%d tries, want 5", n)
		}
		for range 30 {
			time.Sleep(12 * time.Hour)
			prod.reached(5, "ann")
		}
		time.Sleep(time.Hour)
		want(t, prod.try(home, "ann", "right"), auth.LoginFailed)
		want(t, staging.try(office, "ann", "right"), "")
	})
}

// Reset gives the budget back as well.
func TestATK_L07_Reset(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newLogin(t, nil)
		a.reached(50, "ann")
		want(t, a.try(home, "ann", "right"), auth.RateLimited)
		if err := a.limit.Reset(t.Context(), "ann"); err != nil {
			t.Fatal(err)
		}
		want(t, a.try(home, "ann", "right"), "")
	})
	if err := (middleware.LoginLimit{}).Reset(t.Context(), "ann"); err == nil {
		t.Error("a limit without a Limiter was reset")
	}
	if err := (middleware.LoginLimit{Limiter: down, Issuer: own}).Reset(t.Context(), "ann"); err == nil {
		t.Error("no error from a limiter that fails")
	}
}
