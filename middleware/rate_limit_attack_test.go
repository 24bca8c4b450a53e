package middleware_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/middleware"
	"github.com/doorward/doorward/ratelimit"
)

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
			if a.checks != 20 || a.events["network"] != 60 {
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
			if a.events["overall"] != 60 { // in one minute
				t.Errorf("events %v, want 60 of 9,000 above the overall limit", a.events)
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

func (noFailures) Take(context.Context, string, int, time.Duration) (string, error) {
	return "", errors.New("down")
}
func (noFailures) Give(context.Context, string, string) error { return errors.New("down") }
func (noFailures) Drop(context.Context, string) error         { return errors.New("down") }

// A try is one step of the limiter, and giving back is two.
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
	}{{"right", 3}, {"wrong", 1}, {"right", 3}, {"busy", 3}} {
		calls = 0
		a.try(home, "ann", c.password)
		if calls != c.steps {
			t.Errorf("%s: %d steps, want %d", c.password, calls, c.steps)
		}
	}
}
