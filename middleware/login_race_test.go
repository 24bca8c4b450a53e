package middleware_test

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/middleware"
	"github.com/doorward/doorward/ratelimit"
)

// meeting is an attacker with an account, "ánn", that shares the form of the victim's: while one of its tries is at
// the point at which meet is called, another one logs in from beginning to end.
type meeting struct {
	*login
	armed bool
}

func (m *meeting) meet() {
	if m.armed {
		m.armed = false
		m.try(attacker, "ánn", "mine")
	}
}

// STD-R02, STD-R01: two tries of an attacker's own account at the same time give nothing of the victim's back.
func TestSTD_R02_R01_SuccessesThatMeet(t *testing.T) {
	much := ratelimit.Rate{N: 1_000_000, Per: 15 * time.Minute}
	rules := func(m *meeting, counted bool) func(*login) {
		return func(a *login) {
			m.login = a
			a.limit.Devices, a.limit.PerNetwork, a.limit.PerWide = nil, much, much
			if counted {
				a.limit.PerAccount = much
			} else {
				a.limit.Failures = nil
			}
		}
	}
	for _, test := range []struct {
		name    string
		counted bool // failures, not tries
		last    string
		change  func(*meeting)
	}{
		{"while budgets are given back", false, "mine", func(m *meeting) {
			l := m.limit.Limiter
			m.limit.Limiter = limiterFunc(func(costs []ratelimit.Cost) (ratelimit.Decision, error) {
				d, err := l.Take(context.Background(), costs...)
				if costs[0].N < 0 {
					m.meet()
				}
				return d, err
			})
		}},
		{"while the password is looked at", false, "mine", nil},
		{"while the password is looked at, failures", true, "mine", nil},
		{"before it is busy", false, "busy", nil},
		{"before it is busy, failures", true, "busy", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := &meeting{}
				a := newLogin(t, rules(m, test.counted))
				if test.change != nil {
					test.change(m)
				}
				a.h = middleware.RateLimitLogin(a.limit)(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if test.change == nil && r.FormValue("account") == "ánn" {
						m.meet()
					}
					a.check(w, r)
				}))
				reached, most := 0, 5
				if test.counted {
					most = 100
				}
				spellings := []string{"ann", "Ann", "aNn", "anN", "ANn", "AnN", "aNN", "ANN"}
				for i := range 3 * most {
					a.try(attacker, "ánn", "wrong")
					m.armed = true
					a.try(attacker, "ánn", test.last)
					m.armed = false
					before := a.checks
					a.try(fmt.Sprintf("198.51.%d.7", i%250), spellings[i%len(spellings)], "wrong")
					reached += a.checks - before
				}
				if reached > most {
					t.Errorf("%d tries at the victim's account, want at most %d", reached, most)
				}
			})
		})
	}
}

// STD-R01: the resets of an account that shares the form of another one turn nobody else's password on.
func TestSTD_R01_ResetOfAnotherSpelling(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newLogin(t, func(a *login) { a.limit.Devices = nil })
		reached := 0
		for range 40 {
			reached += a.reached(7, "ann")
			if err := a.limit.Reset(t.Context(), "ánn"); err != nil { // of its owner, as often as it likes
				t.Fatal(err)
			}
			time.Sleep(time.Hour)
		}
		if reached != 100 {
			t.Errorf("%d tries, want 100", reached)
		}
		want(t, a.try(home, "ann", "right"), auth.LoginFailed)
	})
}
