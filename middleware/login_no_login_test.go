package middleware_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/middleware"
	"github.com/doorward/doorward/ratelimit"
	"github.com/doorward/doorward/ratelimit/redislimit"
)

// U-40, PROTOCOLS 11: a body that is no login is 422 with its fields, in JSON and in a form, reaches neither the handler nor
// the count of failures, and takes from the network's budget alone. At d9addb9 an empty account came to the users table,
// and all of them shared one budget.
func TestLogin_U_40_NoLogin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newLogin(t, func(a *login) { a.limit.Required = []string{"password", "realm"} })
		all := map[string]string{"account": "required", "password": "required", "realm": "required"}
		for i, c := range []struct {
			contentType, body string
			fields            map[string]string
		}{
			{jsonType, `{}`, all},
			{jsonType, `{"account":"","password":"","realm":""}`, all},
			{jsonType, `{"account":null,"password":null,"realm":null}`, all},
			{jsonType, `{"account":" \u200b","password":" ","realm":" "}`, map[string]string{"account": "required"}},
			{jsonType, `{"account":7,"password":[],"realm":{}}`, map[string]string{"account": "wrong type", "password": "wrong type", "realm": "wrong type"}},
			{jsonType, `{"account":"ann","password":true,"realm":"x"}`, map[string]string{"password": "wrong type"}},
			{jsonType, `{"account":"ann","password":"wrong"}`, map[string]string{"realm": "required"}},
			{formType, ``, all},
			{formType, `account=&password=&realm=`, all},
			{formType, `account&password&realm`, all},
			{formType, `account=+&password=x&realm=x`, map[string]string{"account": "required"}},
			{formType, `account=ann&realm=x`, map[string]string{"password": "required"}},
			{"", ``, all},
		} {
			for j := range 2 {
				w := serve(a.h, from(post(c.contentType, c.body), fmt.Sprintf("198.51.%d.%d", i, j)))
				var body struct {
					Code   auth.Code
					Fields map[string]string
				}
				if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil || w.Code != 422 || body.Code != auth.ValidationFailed || !maps.Equal(body.Fields, c.fields) {
					t.Errorf("%s: got %d %s, want %v", c.body, w.Code, w.Body, c.fields)
				}
			}
		}
		if a.checks > 0 || len(a.fails) > 0 || len(a.events) > 0 {
			t.Errorf("%d checks, %v, %v", a.checks, a.fails, a.events)
		}
		send := func(addr, body string) int { return serve(a.h, from(post(formType, body), addr)).Code }
		for range 20 {
			send(attacker, "account=ann&realm=x")
		}
		if code := send(attacker, "account=ann&realm=x"); code != http.StatusTooManyRequests {
			t.Errorf("the network's 21st: got %d", code)
		}
		for range 5 { // ann's own are all there
			if code := send(home, "account=ann&password=wrong&realm=x"); code != http.StatusUnauthorized {
				t.Errorf("got %d", code)
			}
		}
		// What two readers could read differently is refused of the further fields too.
		for _, c := range []struct{ contentType, body string }{
			{jsonType, `{"account":"ann","password":"x","PassWord":"y","realm":"x"}`},
			{formType, "account=ann&password=x&Password=y&realm=x"},
			{formType, "account=ann&password=x&password=y&realm=x"},
		} {
			want(t, serve(a.h, post(c.contentType, c.body)), auth.RequestMalformed)
		}
	})
	// A function's "" and its 422 are no login either.
	for _, answer := range []error{nil, fmt.Errorf("%w: no pending login", auth.ValidationFailed)} {
		var k recorder
		h := middleware.RateLimitLogin(middleware.LoginLimit{
			Limiter: k.limiter(), Issuer: own, Account: func(*http.Request) (string, error) { return "", answer },
		})(whoami)
		want(t, serve(h, post(formType, "account=ann")), auth.ValidationFailed)
		if len(k.keys) != 1 || !strings.HasPrefix(k.keys[0], "login:net:") {
			t.Errorf("taken from %q", k.keys)
		}
	}
}

// While Redis is down the limiter counts at half the rate. At d9addb9 it gave back at the whole one what it had taken at the
// half: 40 of 40 tries at a victim's name were compared, where 5 are allowed, beside logins of an attacker's own account.
func TestSTD_R02_SuccessOfAnotherSpelling_RedisDown(t *testing.T) {
	client := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", MaxRetries: -1}) // nobody listens there
	t.Cleanup(func() { _ = client.Close() })
	l, err := redislimit.New(redislimit.Config{Client: client, Timeout: 20 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	for _, overall := range []ratelimit.Rate{{}, {N: 1, Per: 24 * time.Hour}} { // halved once more above it
		a := newLogin(t, func(a *login) {
			a.limit.Devices, a.limit.Failures, a.limit.Limiter, a.limit.Overall = nil, nil, l, overall
			a.limit.Issuer = fmt.Sprint("https://", overall.N, ".example")
		})
		spellings := []string{"ann", "Ann", "aNn", "anN", "ANn", "AnN", "aNN", "ANN", " ann", "ann ", " ann ", " Ann"}
		n := 0
		for i := range 40 {
			a.try(fmt.Sprintf("198.52.%d.9", i), "ánn", "mine")
			if a.try(fmt.Sprintf("198.51.%d.9", i), spellings[i%len(spellings)], "wrong").Code == http.StatusUnauthorized {
				n++
			}
		}
		if n > 2 {
			t.Errorf("%d tries at the victim's name, want 2, half of 5", n)
		}
	}
}

// Events say whose login was tried, so that one account's are found, and not what was typed: that may be a password.
func TestLoginEvents_TypedAccount(t *testing.T) {
	names := func(change func(*middleware.LoginLimit)) func(account string) string {
		var told string
		c := middleware.LoginLimit{
			Limiter: down, Issuer: own, Observe: func(_ context.Context, e auth.Event) { told = e.Account },
		}
		if change != nil {
			change(&c)
		}
		c.Limiter = limiterFunc(func(costs []ratelimit.Cost) (ratelimit.Decision, error) {
			return ratelimit.Decision{Cost: costs[0], RetryAfter: time.Minute}, nil
		})
		return func(account string) string {
			told = ""
			h := middleware.RateLimitLogin(c)(whoami) // anew, as each bounds its events
			w := serve(h, post(jsonType, string(must(json.Marshal(map[string]string{"account": account})))))
			if want(t, w, auth.RateLimited); told != must(c.Named(account)) {
				t.Errorf("told %q, Named says %q", told, must(c.Named(account)))
			}
			return told
		}
	}
	hashed := names(func(c *middleware.LoginLimit) { c.Keys = keys })
	ann := hashed("ann")
	if len(ann) != 23 || ann[0] != '#' || strings.Contains(ann, "ann") || hashed("ANN ") != ann || hashed("bob") == ann {
		t.Errorf("got %q, %q, %q", ann, hashed("ANN "), hashed("bob"))
	}
	if again := names(func(c *middleware.LoginLimit) { c.Keys = keys })("ann"); again != ann {
		t.Errorf("another node says %q, this one %q", again, ann)
	}
	for name, change := range map[string]func(*middleware.LoginLimit){
		"another secret": func(c *middleware.LoginLimit) { c.Keys = secrets{{"2026-11", "another"}} },
		"another issuer": func(c *middleware.LoginLimit) { c.Keys, c.Issuer = keys, "https://other.example" },
		"no secret":      nil,
	} {
		f := names(change)
		if got := f("ann"); got == ann || len(got) != 23 || f("ann") != got {
			t.Errorf("%s: got %q", name, got)
		}
	}
	typed := names(func(c *middleware.LoginLimit) { c.AllowTypedAccounts = true })
	if got := typed("Ann\r\n\x1b[31m\u202e"); got != `Ann\r\n\x1b[31m\u202e` {
		t.Errorf("got %q", got)
	}
	if got := typed(strings.Repeat("a", 1000)); len(got) > 140 {
		t.Errorf("%d bytes", len(got))
	}
	if got, err := (middleware.LoginLimit{}).Named(""); got != "" || err != nil {
		t.Errorf("got %q, %v of nothing", got, err)
	}
	// What an application has given to sessionhttp has no Issuer: it must hear so, and not find no events and reset nothing.
	bare := middleware.LoginLimit{Limiter: ratelimit.NewMemory(0)}
	if got, err := bare.Named("ann"); err == nil || got != "" || !strings.Contains(err.Error(), "sessionhttp") {
		t.Errorf("without an issuer: got %q, %v", got, err)
	}
	if err := bare.Reset(t.Context(), "ann"); err == nil || !strings.Contains(err.Error(), "sessionhttp") {
		t.Errorf("without an issuer: got %v", err)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
