package middleware_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/middleware"
	"github.com/doorward/doorward/ratelimit"
)

// F-50, ATK-L07: a name that no account has is refused before anything is done with it, and costs the network alone. One name of
// 64 KiB took 40 to 80 ms of a processor to fold, also for a request that was refused.
func TestLoginLimit_ATK_L07_NamesAreBounded(t *testing.T) {
	jsonOf := func(account string) string {
		return string(must(json.Marshal(map[string]string{"account": account, "password": "x"})))
	}
	for name, c := range map[string]struct {
		kind, body string
		ok         bool
	}{
		"64 KiB that folds to 18 times":         {jsonType, jsonOf(strings.Repeat("\ufdfa", 21_000)), false},
		"1,025 bytes":                           {jsonType, jsonOf(strings.Repeat("a", 1025)), false},
		"1,024 bytes":                           {jsonType, jsonOf(strings.Repeat("a", 1024)), true},
		"NUL":                                   {jsonType, `{"account":"ann\u0000","password":"x"}`, false},
		"NUL in a form":                         {formType, "account=ann%00&password=x", false},
		"invalid UTF-8 in a form":               {formType, "account=ann%ff&password=x", false},
		"1,025 bytes in a form":                 {formType, url.Values{"account": {strings.Repeat("a", 1025)}, "password": {"x"}}.Encode(), false},
		"beyond ASCII":                          {jsonType, jsonOf("ánn@例え.jp"), true},
		"the replacement character is in order": {jsonType, jsonOf("a\ufffd"), true},
	} {
		t.Run(name, func(t *testing.T) {
			var taken []string
			var told []auth.Event
			l := ratelimit.NewMemory(0)
			h := middleware.RateLimitLogin(middleware.LoginLimit{
				Issuer: own, Required: []string{"password"},
				Limiter: limiterFunc(func(costs []ratelimit.Cost) (ratelimit.Decision, error) {
					for _, cost := range costs {
						taken = append(taken, cost.Key)
					}
					return l.Take(context.Background(), costs...)
				}),
				Observe: func(_ context.Context, e auth.Event) { told = append(told, e) },
			})(whoami)
			code := auth.ValidationFailed
			if c.ok {
				code = ""
			}
			w := serve(h, post(c.kind, c.body))
			want(t, w, code)
			if c.ok {
				return
			}
			if !strings.Contains(w.Body.String(), `"account"`) || len(taken) != 1 || !strings.HasPrefix(taken[0], "login:net:") {
				t.Errorf("got %s, took %.200q", w.Body, taken)
			}
			for range 20 {
				w = serve(h, post(c.kind, c.body))
			}
			if want(t, w, auth.RateLimited); len(told) != 1 || told[0].Outcome != "network" || told[0].Account != "" {
				t.Errorf("told %+v", told)
			}
		})
	}
	t.Run("what Account returns", func(t *testing.T) {
		h := middleware.RateLimitLogin(middleware.LoginLimit{Limiter: ratelimit.NewMemory(0), Issuer: own,
			Account: func(*http.Request) (string, error) { return strings.Repeat("a", 1025), nil }})(whoami)
		want(t, serve(h, post(jsonType, "{}")), auth.ValidationFailed)
	})
}

// A long name costs what a short one does, in processor time, whatever is answered: the bound stands before the folding.
func BenchmarkLoginLimit_LongNames(b *testing.B) {
	for _, n := range []int{3, 1023, 63_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			h := middleware.RateLimitLogin(middleware.LoginLimit{Limiter: ratelimit.NewMemory(0), Issuer: own})(whoami)
			body := `{"account":"` + strings.Repeat("\ufdfa", n/3) + `"}`
			for b.Loop() {
				serve(h, post(jsonType, body))
			}
		})
	}
}

// F-56: events of limits are as bounded as refusals are, and count what they leave out. 4,995 lines came of 5,000 posts.
func TestLoginLimit_F_56_EventsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		told, count := 0, 0
		h := middleware.RateLimitLogin(middleware.LoginLimit{
			Limiter: ratelimit.NewMemory(0), Issuer: own, Keys: keys,
			Observe: func(_ context.Context, e auth.Event) { told, count = told+1, count+1+e.Missed },
		})(whoami)
		for i := range 5000 {
			serve(h, post(jsonType, fmt.Sprintf(`{"account":"ann%d"}`, i%2)))
		}
		time.Sleep(10 * time.Second)
		for i := range 2 {
			serve(h, post(jsonType, fmt.Sprintf(`{"account":"ann%d"}`, i)))
		}
		if told > 8 || count != 5002-10 {
			t.Errorf("%d events, which count %d refusals of 4,992", told, count)
		}
	})
}

// ATK-L01: a try at a password that is off costs what a wrong one costs, or the time tells which names share the count of one
// user, and after a change of the secret which names exist.
func TestLoginLimit_ATK_L01_OffCostsAsMuch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newLogin(t, func(a *login) { a.limit.Devices = nil })
		for a.events["off"] == 0 {
			a.reached(7, "ann")
			time.Sleep(time.Hour)
		}
		a.decoys = 0
		w := a.try(home, "ANN", "right")
		if want(t, w, auth.LoginFailed); a.decoys != 1 {
			t.Errorf("the decoy was asked %d times", a.decoys)
		}
		a.decoy = fmt.Errorf("%w: no slot to hash", auth.Busy) // as a wrong password would have been answered, and given back
		for range 9 {
			want(t, a.try(office, "ANN", "right"), auth.Busy)
		}
		for _, says := range []error{auth.RateLimited, auth.StoreUnavailable} { // counts for nothing
			a.decoy = says
			want(t, a.try(office, "ANN", "right"), auth.LoginFailed)
		}
		if a.checks > 100 {
			t.Errorf("%d tries came to a password", a.checks)
		}
	})
}

// ATK-I04: a body that is no login is told of without the words in it: they may be a password.
func TestLoginLimit_ATK_I04_ParsersQuoteNothing(t *testing.T) {
	log := captureLog(t)
	for _, body := range []string{
		`{"account":"ann","password":"s3cr\qet"}`, `{"account":"ann","password":"x"ECRET}`, `{"account":"ann","password":SECRET}`,
		`{"account":"ann","hunter2":1,"hunter2":2}`, `{"account":"ann","password":"s3\ud800cret"}`, `SECRET`, `{"account":"ann"} SECRET`, `["SECRET"]`,
	} {
		h := middleware.RateLimitLogin(middleware.LoginLimit{Limiter: ratelimit.NewMemory(0), Issuer: own, Required: []string{"password"}})(whoami)
		want(t, serve(h, post(jsonType, body)), auth.RequestMalformed)
	}
	h := middleware.RateLimitLogin(middleware.LoginLimit{Limiter: ratelimit.NewMemory(0), Issuer: own})(whoami)
	want(t, serve(h, post(formType, "account=ann&password=100%secret")), auth.RequestMalformed)
	for _, quoted := range []string{"\\q", "ECRET", "'S'", "hunter2", "ud800", "%se"} {
		if strings.Contains(log.String(), quoted) {
			t.Errorf("%q was logged: %s", quoted, log)
		}
	}
	if n := strings.Count(log.String(), "\n"); n != 9 {
		t.Errorf("%d lines: %s", n, log)
	}
}
