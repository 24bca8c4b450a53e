package middleware_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dunglas/httpsfv"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/middleware"
	"github.com/doorward/doorward/ratelimit"
)

// from makes a request come from an address.
func from(r *http.Request, addr string) *http.Request {
	r.RemoteAddr = netip.AddrPortFrom(netip.MustParseAddr(addr), 4711).String()
	return r
}

// limiterFunc is a Limiter of one function.
type limiterFunc func(costs []ratelimit.Cost) (ratelimit.Decision, error)

func (f limiterFunc) Take(_ context.Context, costs ...ratelimit.Cost) (ratelimit.Decision, error) {
	return f(costs)
}

var down = limiterFunc(func([]ratelimit.Cost) (ratelimit.Decision, error) {
	return ratelimit.Decision{OK: true}, errors.New("dial 10.1.2.3:6379") // even one that says OK
})

// fields reads RateLimit-Policy and RateLimit of one policy as structured fields.
func fields(t testing.TB, h http.Header, name string) (q, w, r, reset int64) {
	t.Helper()
	parse := func(field string, params ...string) []int64 {
		list, err := httpsfv.UnmarshalList(h.Values(field))
		if err != nil {
			t.Fatalf("%s: %v", field, err)
		}
		for _, member := range list {
			item := member.(httpsfv.Item)
			if item.Value != name {
				continue
			}
			var values []int64
			for _, p := range params {
				v, ok := item.Params.Get(p)
				n, isInt := v.(int64)
				if !ok || !isInt || n < 0 {
					t.Fatalf("%s: %s is %v", field, p, v)
				}
				values = append(values, n)
			}
			return values
		}
		t.Fatalf("%s: got %q, want %q in it", field, h.Values(field), name)
		return nil
	}
	policy, limit := parse("RateLimit-Policy", "q", "w"), parse("RateLimit", "r", "t")
	return policy[0], policy[1], limit[0], limit[1]
}

func TestSTD_R06_R07_R08_RateLimitAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := middleware.RateLimit(ratelimit.NewMemory(0), ratelimit.Rate{N: 2, Per: 3 * time.Second}, nil)(whoami)
		for i := range 2 {
			w := serve(m, request("GET", "/"))
			want(t, w, "")
			if q, window, r, reset := fields(t, w.Header(), "2/3s"); q != 2 || window != 3 || r != int64(1-i) || reset != 2 {
				t.Errorf("take %d: got %v", i, w.Header())
			}
			if w.Header().Get("Retry-After") != "" || w.Header().Get("Cache-Control") != "no-store" {
				t.Errorf("take %d: got %v", i, w.Header())
			}
		}
		w := serve(m, request("GET", "/"))
		want(t, w, auth.RateLimited)
		retry, err := strconv.Atoi(w.Header().Get("Retry-After"))
		_, _, r, reset := fields(t, w.Header(), "2/3s")
		if err != nil || retry != 2 || r != 0 || reset > int64(retry) || w.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("refused: got %v", w.Header())
		}
		time.Sleep(1400 * time.Millisecond) // one comes each 1.5 s
		want(t, serve(m, request("GET", "/")), auth.RateLimited)
		time.Sleep(600 * time.Millisecond)
		want(t, serve(m, request("GET", "/")), "")
	})
}

// A renderer that does not know of limits answers with all that a client needs.
func TestSTD_R06_OwnRenderer(t *testing.T) {
	m := middleware.Chain(
		middleware.OnError(func(w http.ResponseWriter, _ *http.Request, err error) { w.WriteHeader(auth.CodeOf(err).Status()) }),
		middleware.RateLimit(ratelimit.NewMemory(0), ratelimit.Rate{N: 1, Per: time.Hour}, nil),
	)(whoami)
	serve(m, request("GET", "/"))
	w := serve(m, request("GET", "/"))
	if n, err := strconv.Atoi(w.Header().Get("Retry-After")); w.Code != 429 || err != nil || n < 3590 || n > 3600 || w.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("got %d %v", w.Code, w.Header())
	}
	fields(t, w.Header(), "1/1h0m0s")
}

// STD-R04, ATK-L04: what counts is what ClientIP found. STD-R05, ATK-L05: networks, not addresses.
func TestSTD_R04_R05_ATK_L04_L05_RateLimitNetworks(t *testing.T) {
	once := ratelimit.Rate{N: 1, Per: time.Hour}
	for _, c := range []struct {
		name          string
		first, second []string // peer, then X-Forwarded-For
		same          bool
	}{
		{"STD-R04 two peers", []string{"192.0.2.1"}, []string{"192.0.2.2"}, false},
		{"ATK-L04 a foreign peer makes addresses up", []string{"192.0.2.1", "1.1.1.1"}, []string{"192.0.2.1", "2.2.2.2"}, true},
		{"ATK-L04 a client makes hops up", []string{"10.0.0.1", "1.1.1.1, 192.0.2.1"}, []string{"10.0.0.1", "2.2.2.2, 192.0.2.1"}, true},
		{"ATK-L04 garbage is the proxy", []string{"10.0.0.1", "unknown"}, []string{"10.0.0.1", "_x"}, true},
		{"STD-R04 two clients of a proxy", []string{"10.0.0.1", "192.0.2.1"}, []string{"10.0.0.1", "192.0.2.2"}, false},
		{"STD-R05 within a /64", []string{"2001:db8:1:2::1"}, []string{"2001:db8:1:2:ffff::1"}, true},
		{"STD-R05 within a /48", []string{"2001:db8:1:2::1"}, []string{"2001:db8:1:3::1"}, false},
		{"STD-R05 mapped", []string{"::ffff:192.0.2.1"}, []string{"192.0.2.1"}, true},
		{"STD-R05 zone", []string{"fe80::1%a"}, []string{"fe80::1%b"}, true},
		{"ATK-L05 NAT64", []string{"64:ff9b::192.0.2.1"}, []string{"192.0.2.1"}, true},
		{"ATK-L05 6to4", []string{"2002:c000:201:1::1"}, []string{"192.0.2.1"}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := middleware.Chain(
				middleware.ClientIP("X-Forwarded-For", proxies...),
				middleware.RateLimit(ratelimit.NewMemory(0), once, nil),
			)(whoami)
			send := func(hop []string) *httptest.ResponseRecorder {
				r := from(request("GET", "/"), hop[0])
				if len(hop) > 1 {
					r.Header.Set("X-Forwarded-For", hop[1])
				}
				return serve(m, r)
			}
			want(t, send(c.first), "")
			code := auth.Code("")
			if c.same {
				code = auth.RateLimited
			}
			want(t, send(c.second), code)
		})
	}
	t.Run("ATK-L05 rotation within a /48", func(t *testing.T) {
		m := middleware.RateLimit(ratelimit.NewMemory(0), once, nil)(whoami)
		passed := 0
		for i := range 100 {
			if serve(m, from(request("GET", "/"), fmt.Sprintf("2001:db8:1:%x::1", i))).Code == http.StatusOK {
				passed++
			}
		}
		if passed != 5 {
			t.Errorf("%d passed, want 5", passed)
		}
	})
}

func TestRateLimitKeys(t *testing.T) {
	l := ratelimit.NewMemory(0)
	once, twice := ratelimit.Rate{N: 1, Per: time.Hour}, ratelimit.Rate{N: 2, Per: time.Hour}
	bySubject := middleware.RateLimit(l, once, func(r *http.Request) string { return r.Header.Get("Subject") })(whoami)
	want(t, serve(bySubject, request("GET", "/", "Subject: ann")), "")
	want(t, serve(bySubject, request("GET", "/", "Subject: bob")), "")
	want(t, serve(bySubject, request("GET", "/", "Subject: ann")), auth.RateLimited)
	want(t, serve(bySubject, request("GET", "/")), "")
	want(t, serve(bySubject, request("GET", "/")), auth.RateLimited) // no key is one key
	want(t, serve(middleware.RateLimit(l, twice, nil)(whoami), request("GET", "/")), "")
	want(t, serve(middleware.RateLimit(l, once, nil)(whoami), request("GET", "/")), "") // another rate, another budget
}

// Two limits in a row show both.
func TestRateLimitsInARow(t *testing.T) {
	l := ratelimit.NewMemory(0)
	m := middleware.Chain(
		middleware.RateLimit(l, ratelimit.Rate{N: 100, Per: time.Hour}, nil),
		middleware.RateLimit(l, ratelimit.Rate{N: 5, Per: time.Minute}, nil),
	)(whoami)
	h := serve(m, request("GET", "/")).Header()
	if q, _, r, _ := fields(t, h, "100/1h0m0s"); q != 100 || r != 99 {
		t.Errorf("got %v", h)
	}
	if q, _, r, _ := fields(t, h, "5/1m0s"); q != 5 || r != 4 {
		t.Errorf("got %v", h)
	}
}

// What cannot limit closes the route.
func TestRateLimitFailsClosed(t *testing.T) {
	log := captureLog(t)
	good := ratelimit.Rate{N: 1, Per: time.Hour}
	for name, c := range map[string]struct {
		m    middleware.Middleware
		code auth.Code
	}{
		"STD-R11 the limiter fails":     {middleware.RateLimit(down, good, nil), auth.StoreUnavailable},
		"no limiter":                    {middleware.RateLimit(nil, good, nil), auth.Internal},
		"no rate":                       {middleware.RateLimit(down, ratelimit.Rate{}, nil), auth.Internal},
		"login, limiter fails":          {middleware.RateLimitLogin(middleware.LoginLimit{Limiter: down, Issuer: own}), auth.StoreUnavailable},
		"login, no limiter":             {middleware.RateLimitLogin(middleware.LoginLimit{}), auth.Internal},
		"login, no rate":                {middleware.RateLimitLogin(middleware.LoginLimit{Limiter: down, Issuer: own, PerWide: ratelimit.Rate{N: -1, Per: 1}}), auth.Internal},
		"login, overall is no rate":     {middleware.RateLimitLogin(middleware.LoginLimit{Limiter: down, Issuer: own, Overall: ratelimit.Rate{N: 1}}), auth.Internal},
		"login, devices of no making":   {middleware.RateLimitLogin(middleware.LoginLimit{Limiter: down, Issuer: own, Devices: &middleware.Devices{}}), auth.Internal},
		"login, no issuer":              {middleware.RateLimitLogin(middleware.LoginLimit{Limiter: down}), auth.Internal},
		"login, failures of nobody":     {middleware.RateLimitLogin(middleware.LoginLimit{Limiter: down, Issuer: own, Failures: noFailures{}, Keys: keys}), auth.Internal},
		"login, failures without a key": {middleware.RateLimitLogin(middleware.LoginLimit{Limiter: down, Issuer: own, Failures: noFailures{}, Subject: nobodys}), auth.Internal},
		"login, failures, no decoy":     {middleware.RateLimitLogin(middleware.LoginLimit{Limiter: down, Issuer: own, Failures: noFailures{}, Subject: nobodys, Keys: keys}), auth.Internal},
		"login, a key without bytes":    {middleware.RateLimitLogin(middleware.LoginLimit{Limiter: down, Issuer: own, Keys: secrets{}}), auth.Internal},
		"login, a field without a name": {middleware.RateLimitLogin(middleware.LoginLimit{Limiter: down, Issuer: own, Required: []string{""}}), auth.Internal},
		"login, a field twice":          {middleware.RateLimitLogin(middleware.LoginLimit{Limiter: down, Issuer: own, Required: []string{"account"}}), auth.Internal},
		"login, field and account": {middleware.RateLimitLogin(middleware.LoginLimit{Limiter: down, Issuer: own, Field: "a",
			Account: func(*http.Request) (string, error) { return "", nil }}), auth.Internal},
	} {
		t.Run(name, func(t *testing.T) {
			log.Reset()
			w := serve(c.m(whoami), request("POST", "/"))
			want(t, w, c.code)
			if log.Len() == 0 || w.Header().Get("Cache-Control") != "no-store" {
				t.Errorf("log %q, header %v", log, w.Header())
			}
		})
	}
}

func nobodys(context.Context, string) (string, error) { return "", nil }

// What handlers do with their ResponseWriter works through the limits.
func TestRateLimitsStream(t *testing.T) {
	many := ratelimit.Rate{N: 1000, Per: time.Second}
	l := ratelimit.NewMemory(0)
	for name, m := range map[string]middleware.Middleware{
		"RateLimit": middleware.RateLimit(l, many, nil),
		"RateLimitLogin": middleware.RateLimitLogin(middleware.LoginLimit{Limiter: l, Issuer: own, PerAccount: many,
			Account: func(*http.Request) (string, error) { return "ann", nil }}),
	} {
		t.Run(name, func(t *testing.T) {
			next := make(chan struct{})
			mux := http.NewServeMux()
			mux.Handle("/events", events(next))
			mux.Handle("/upgrade", http.HandlerFunc(echo))
			mux.Handle("/controller", controller(t))
			s := httptest.NewServer(m(mux))
			t.Cleanup(s.Close)
			readEvents(t, s.URL+"/events", next)
			upgrade(t, s.URL+"/upgrade")
			if res := get(t, s.URL+"/controller"); res.StatusCode != http.StatusOK {
				t.Errorf("got %s", res.Status)
			}
		})
	}
}
