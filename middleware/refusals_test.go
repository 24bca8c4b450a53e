package middleware_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/cookies"
	"github.com/doorward/doorward/middleware"
	"github.com/doorward/doorward/tokens"
)

// logAt collects what goes to slog.Default from this level on.
func logAt(t testing.TB, level slog.Level) *bytes.Buffer {
	t.Helper()
	var b bytes.Buffer
	before := slog.Default()
	slog.SetDefault(slog.New(slog.NewJSONHandler(&b, &slog.HandlerOptions{Level: level})))
	t.Cleanup(func() { slog.SetDefault(before) })
	return &b
}

// line is what a log has of an event.
type line struct {
	Level string
	Event struct {
		Name, Outcome, Subject, Session, Addr, Route, Err string
		Missed                                            int
	}
}

func lines(t testing.TB, log *bytes.Buffer) (found []line) {
	t.Helper()
	for text := range strings.Lines(log.String()) {
		var l line
		if err := json.Unmarshal([]byte(text), &l); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		found = append(found, l)
	}
	return found
}

// observed collects what an observer is told.
type observed struct {
	mu   sync.Mutex
	told []auth.Event
}

func (o *observed) observe(_ context.Context, e auth.Event) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.told = append(o.told, e)
}

// issue makes a token of real tokens for an audience, by a clock that is ahead.
func issue(t testing.TB, ring *tokens.Keyring, audience string, ahead time.Duration) (*tokens.Tokens, string) {
	t.Helper()
	tok, err := tokens.New(tokens.Config{Keys: ring, Issuer: own, Audience: audience, Now: func() time.Time { return time.Now().Add(ahead) }})
	if err != nil {
		t.Fatal(err)
	}
	stamp, err := tok.Stamp(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	text, _, err := tok.Issue(stamp, &auth.Principal{Subject: "ann", Session: "sid-ann"})
	if err != nil {
		t.Fatal(err)
	}
	return tok, text
}

// F-56: each of the causes that operators look for longest is one line that names it, whether an application has
// configured something or not, and no line has a secret.
func TestRefusals_F_56_TheLogNamesTheCause(t *testing.T) {
	ring := tokens.NewKeyring(tokens.FromSecret([]byte("a secret of these tests, long enough")))
	tok, good := issue(t, ring, "api", 0)
	_, elsewhere := issue(t, ring, "reports", 0)
	_, ahead := issue(t, ring, "api", 5*time.Minute)
	csrf := newCSRF(t)
	guard := middleware.Chain(
		middleware.RequireAuth(auth.Bearer(tok), auth.Cookie(cookies.Jar{Name: "shop"}.Access, tok)),
		middleware.RequireCSRF(csrf),
	)
	for name, c := range map[string]struct {
		headers []string
		code    auth.Code
		names   []string
	}{
		"wrong audience": {[]string{"Authorization: Bearer " + elsewhere}, auth.TokenInvalid, []string{"audience", `"reports"`, `"api"`}},
		"a clock ahead":  {[]string{"Authorization: Bearer " + ahead}, auth.TokenInvalid, []string{"iat is 4m", "ahead of this clock", "at most 30s"}},
		"an origin": {
			[]string{"Cookie: __Host-shop-access=" + good, "Origin: https://www.example.com"},
			auth.CSRFFailed,
			[]string{`got "https://www.example.com"`, own},
		},
		"another jar's cookie": {
			[]string{"Cookie: __Host-access=" + good + "; theme=hunter2"},
			auth.CredentialsMissing,
			[]string{"no cookie __Host-shop-access came", `"__Host-access"`},
		},
		"another jar's cookie, unprefixed": {
			[]string{"Cookie: shop-access=" + good},
			auth.CredentialsMissing,
			[]string{"no cookie __Host-shop-access came", `"shop-access"`},
		},
	} {
		for outer, how := range map[string]struct {
			refusals []middleware.Middleware
			level    slog.Level // of slog.Default
			want     string     // level of the line
		}{
			"by default":          {nil, slog.LevelInfo, "INFO"},
			"by default at debug": {nil, slog.LevelDebug, "DEBUG"},
			"ObserveRefusals":     {[]middleware.Middleware{middleware.ObserveRefusals(middleware.Refusals{})}, slog.LevelInfo, "WARN"},
			"Debug":               {[]middleware.Middleware{middleware.ObserveRefusals(middleware.Refusals{Debug: true})}, slog.LevelInfo, "WARN"},
		} {
			t.Run(name+", "+outer, func(t *testing.T) {
				log := logAt(t, how.level)
				mux := http.NewServeMux()
				mux.Handle("POST /orders/{id}", guard(whoami))
				if how.refusals == nil { // each guard bounds its own lines
					mux = http.NewServeMux()
					mux.Handle("POST /orders/{id}", middleware.Chain(
						middleware.RequireAuth(auth.Bearer(tok), auth.Cookie(cookies.Jar{Name: "shop"}.Access, tok)),
						middleware.RequireCSRF(csrf),
					)(whoami))
				}
				server := httptest.NewServer(middleware.Chain(how.refusals...)(mux))
				r, err := http.NewRequestWithContext(t.Context(), "POST", server.URL+"/orders/7?code=hunter2", strings.NewReader("password=hunter2"))
				if err != nil {
					t.Fatal(err)
				}
				for _, h := range c.headers {
					name, value, _ := strings.Cut(h, ": ")
					r.Header.Add(name, value)
				}
				res, err := http.DefaultTransport.RoundTrip(r)
				if err != nil {
					t.Fatal(err)
				}
				_ = res.Body.Close()
				server.Close()
				if res.StatusCode != c.code.Status() {
					t.Errorf("answered %d", res.StatusCode)
				}
				got := lines(t, log)
				if len(got) != 1 {
					t.Fatalf("%d lines: %s", len(got), log)
				}
				e := got[0].Event
				if got[0].Level != how.want || e.Name != "refused" || e.Outcome != string(c.code) || e.Route != "POST /orders/{id}" || e.Addr != "127.0.0.1" {
					t.Errorf("got %+v", got[0])
				}
				for _, want := range c.names {
					if !strings.Contains(e.Err, want) {
						t.Errorf("%q is missing in %s", want, e.Err)
					}
				}
				for _, secret := range append(strings.Split(good+"."+elsewhere+"."+ahead, "."), "hunter2") {
					if strings.Contains(log.String(), secret) {
						t.Errorf("%q was logged: %s", secret, log)
					}
				}
			})
		}
	}
}

// Two jars that differ, seen from RefreshFromCookie. The codes that clients get stay what they were.
func TestRefusals_F_56_TwoJars(t *testing.T) {
	shop := cookies.Jar{Name: "shop"}
	same := func(*middleware.Refresh) {}
	for name, c := range map[string]struct {
		refresh func(*middleware.Refresh)
		jar     cookies.Jar // of the guard
		headers []string
		code    auth.Code
		names   []string
	}{
		"the guard has another": {
			same, shop, []string{"Cookie: __Host-access=ann; __Host-refresh=r1"},
			auth.CredentialsMissing, []string{"no cookie __Host-shop-access came", `"__Host-access"`},
		},
		"the guard has another, after a refresh": {
			same, shop, []string{"Cookie: __Host-refresh=r1"},
			auth.CredentialsMissing, []string{"no cookie __Host-shop-access came", `"__Host-access"`},
		},
		"the refresh has another": {
			func(c *middleware.Refresh) { c.Jar = shop }, cookies.Jar{}, []string{"Cookie: __Host-access=expired; __Host-refresh=r1"},
			auth.TokenExpired, []string{"at noon", "RefreshFromCookie", "no cookie __Host-shop-refresh came", `"__Host-refresh"`},
		},
		"in header, and a guard of cookies": {
			func(c *middleware.Refresh) { c.InHeader = true }, cookies.Jar{}, []string{"Cookie: __Host-refresh=r1"},
			auth.CredentialsMissing, []string{"RefreshFromCookie has put a token where this guard does not look"},
		},
		"an origin that is not configured": {
			same, cookies.Jar{}, []string{"Cookie: __Host-access=expired; __Host-refresh=r1", "Origin: https://www.example.com"},
			auth.TokenExpired, []string{"at noon", "RefreshFromCookie", "https://www.example.com", own},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var told observed
			headers := c.headers
			if !strings.HasPrefix(headers[len(headers)-1], "Origin") {
				headers = append(headers, "Sec-Fetch-Site: same-origin")
			}
			h := middleware.Chain(
				middleware.ObserveRefusals(middleware.Refusals{Observe: told.observe}),
				refreshing(t, &fakeSessions{}, c.refresh),
				middleware.RequireAuth(auth.Cookie(c.jar.Access, stub{})),
			)(whoami)
			want(t, serve(h, request("GET", "/", headers...)), c.code)
			if len(told.told) != 1 || told.told[0].Outcome != string(c.code) {
				t.Fatalf("told %v", told.told)
			}
			for _, text := range c.names {
				if got := told.told[0].Err.Error(); !strings.Contains(got, text) {
					t.Errorf("%q is missing in %s", text, got)
				}
			}
		})
	}
}

// Two refreshes for two jars in a row both work: a cookie of the other one is word for the log, not a decision.
func TestRefusals_TwoRefreshesInARow(t *testing.T) {
	first, second := &fakeSessions{}, &fakeSessions{}
	h := middleware.Chain(
		refreshing(t, first, func(c *middleware.Refresh) { c.Jar = cookies.Jar{Name: "shop"} }),
		refreshing(t, second),
		middleware.RequireAuth(auth.Cookie(cookies.Jar{}.Access, stub{})),
	)(whoami)
	w := serve(h, request("GET", "/", "Cookie: __Host-refresh=r1", "Sec-Fetch-Site: same-origin"))
	if w.Code != http.StatusOK || len(first.calls) != 0 || len(second.calls) != 1 {
		t.Errorf("got %d %s, calls %q and %q", w.Code, w.Body, first.calls, second.calls)
	}
}

func TestObserveRefusals(t *testing.T) {
	now := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	fails := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		middleware.WriteError(w, r, fmt.Errorf("%w: 10.1.2.3 refused", auth.StoreUnavailable))
	})
	teapot := middleware.OnError(func(w http.ResponseWriter, r *http.Request, err error) { middleware.WriteError(w, r, err) })
	guard := middleware.RequireAuth(bearer)
	for name, c := range map[string]struct {
		h       http.Handler
		headers []string
		want    string // outcome and subject, "" for no event
	}{
		"a guard":              {guard(whoami), []string{"Authorization: Bearer expired"}, "token_expired "},
		"a proven principal":   {middleware.Chain(guard, middleware.RequireRole("root"))(whoami), []string{"Authorization: Bearer ann"}, "role_missing ann"},
		"a handler":            {fails, nil, "store_unavailable "},
		"OnError":              {teapot(guard(whoami)), []string{"Authorization: Bearer revoked"}, "token_revoked "},
		"a broken guard":       {middleware.RequireRole("")(whoami), nil, "internal "},
		"a panic":              {guard(whoami), []string{"Authorization: Bearer panic"}, "internal "},
		"OptionalAuth":         {middleware.OptionalAuth(bearer)(whoami), []string{"Authorization: Bearer x"}, "token_invalid "},
		"nothing was shown":    {guard(whoami), nil, ""},
		"nothing was refused":  {guard(whoami), []string{"Authorization: Bearer ann"}, ""},
		"the inner one counts": {middleware.ObserveRefusals(middleware.Refusals{Observe: func(context.Context, auth.Event) {}})(fails), nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			log := logAt(t, slog.LevelDebug)
			var told observed
			h := middleware.ObserveRefusals(middleware.Refusals{Observe: told.observe, Now: func() time.Time { return now }})(c.h)
			serve(h, request("GET", "/", c.headers...))
			if log.Len() > 0 {
				t.Errorf("logged behind the back of the observer: %s", log)
			}
			if c.want == "" {
				if len(told.told) > 0 {
					t.Errorf("told %+v", told.told)
				}
				return
			}
			if len(told.told) != 1 {
				t.Fatalf("told %+v", told.told)
			}
			e := told.told[0]
			if e.Name != "refused" || e.Outcome+" "+e.Subject != c.want || e.Err == nil || string(auth.CodeOf(e.Err)) != e.Outcome || !e.Time.Equal(now) {
				t.Errorf("got %+v", e)
			}
			if (e.Session == "sid-ann") != (e.Subject == "ann") || !e.Client.Addr.IsValid() {
				t.Errorf("got %+v", e)
			}
		})
	}
	t.Run("a negative Every", func(t *testing.T) {
		log := captureLog(t)
		want(t, serve(middleware.ObserveRefusals(middleware.Refusals{Every: -1})(whoami), request("GET", "/")), auth.Internal)
		if !strings.Contains(log.String(), "expected 0 or more") {
			t.Errorf("logged %s", log)
		}
	})
	t.Run("an own function of OnError logs alone", func(t *testing.T) {
		log := captureLog(t)
		own := middleware.OnError(func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusTeapot) })
		serve(own(guard(whoami)), request("GET", "/", "Authorization: Bearer expired"))
		if log.Len() > 0 {
			t.Errorf("logged %s", log)
		}
	})
	t.Run("once, also where OnError answers by WriteError", func(t *testing.T) {
		log := logAt(t, slog.LevelDebug)
		var told observed
		h := middleware.ObserveRefusals(middleware.Refusals{Observe: told.observe, Debug: true})(teapot(guard(whoami)))
		serve(h, request("GET", "/", "Authorization: Bearer revoked"))
		if len(told.told) != 1 || log.Len() > 0 {
			t.Errorf("told %v, logged %s", told.told, log)
		}
	})
	t.Run("a handler by default", func(t *testing.T) {
		refused := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { middleware.WriteError(w, r, auth.CSRFFailed) })
		for level, n := range map[slog.Level]int{slog.LevelInfo: 0, slog.LevelDebug: 1} {
			log := logAt(t, level)
			serve(refused, request("POST", "/login"))
			if got := lines(t, log); len(got) != n {
				t.Errorf("level %s: %s", level, log)
			}
		}
	})
}

// What was left out is told by the next event of the same code and route, and of no other.
func TestRefusals_F_56_CountsWhatItLeavesOut(t *testing.T) {
	now := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	var told observed
	mux := http.NewServeMux()
	guard := middleware.RequireAuth(bearer)
	mux.Handle("GET /a/{id}", guard(whoami))
	mux.Handle("GET /b", guard(whoami))
	h := middleware.ObserveRefusals(middleware.Refusals{Observe: told.observe, Now: func() time.Time { return now }})(mux)
	refuse := func(path, credential string, times int) {
		for i := range times {
			serve(h, request("GET", strings.ReplaceAll(path, "#", fmt.Sprint(i)), "Authorization: Bearer "+credential))
		}
	}
	refuse("/a/#", "expired", 5) // one route, whatever the path
	refuse("/a/#", "revoked", 2)
	refuse("/b", "expired", 1)
	now = now.Add(9 * time.Second)
	refuse("/a/#", "expired", 3)
	now = now.Add(time.Second)
	refuse("/a/#", "expired", 1)
	refuse("/b", "expired", 1)
	now = now.Add(-time.Hour) // a clock that is set back silences nothing
	refuse("/b", "expired", 2)
	now = now.Add(time.Minute)
	refuse("/b", "expired", 1)
	var got []string
	for _, e := range told.told {
		got = append(got, fmt.Sprintf("%s %s %d", e.Route, e.Outcome, e.Missed))
	}
	want := []string{
		"GET /a/{id} token_expired 0", "GET /a/{id} token_revoked 0", "GET /b token_expired 0",
		"GET /a/{id} token_expired 7", "GET /b token_expired 0",
		"GET /b token_expired 0", "GET /b token_expired 1",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// F-56: a stranger decides neither how much is written nor how much is remembered.
func TestRefusals_F_56_AFloodIsBounded(t *testing.T) {
	quiet := middleware.OnError(func(http.ResponseWriter, *http.Request, error) {})
	for name, c := range map[string]struct {
		flood   int
		pattern func(int) string
		most    int // of 100 seconds: two minutes that have begun, and ten times ten seconds of one route
	}{
		"one route":         {1_000_000, func(int) string { return "GET /a" }, 10},
		"outside of routes": {100_000, func(int) string { return "" }, 10},
		"a hundred routes":  {100_000, func(i int) string { return fmt.Sprint("GET /", i%100) }, 120},
		"made-up patterns":  {100_000, func(i int) string { return fmt.Sprint("GET /", i) }, 120},
	} {
		t.Run(name, func(t *testing.T) {
			var told observed
			now, step := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC), 100*time.Second/time.Duration(c.flood)
			asked := 0 // by one goroutine at a time
			refusals := middleware.Refusals{Observe: told.observe, Now: func() time.Time {
				asked++
				now = now.Add(step)
				return now
			}}
			const workers = 4
			h := middleware.Chain(quiet, middleware.ObserveRefusals(refusals))(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				for i := range c.flood / workers {
					r.Pattern = c.pattern(i)
					middleware.WriteError(w, r, auth.TokenExpired)
				}
			}))
			var all sync.WaitGroup
			for range workers {
				all.Go(func() { serve(h, request("GET", "/")) })
			}
			all.Wait()
			missed := 0
			for _, e := range told.told {
				missed += e.Missed
			}
			if n := len(told.told); n > c.most || n < 2 || asked != c.flood || missed+n > c.flood {
				t.Errorf("%d events of %d refusals, at most %d; they count %d as left out", n, asked, c.most, missed)
			}
			// All but those since the last event. Of made-up patterns most share one count, or memory would have no bound.
			if name != "a hundred routes" && missed < c.flood/2 {
				t.Errorf("only %d of %d were counted as left out", missed, c.flood)
			}
		})
	}
}

// Debug shows what came by its name, and never what it says.
func TestRefusals_F_56_DebugShowsNoSecret(t *testing.T) {
	const secret = "hunter2hunter2hunter2hunter2hunter2hunter2hunter2"
	for name, c := range map[string]struct {
		headers []string
		want    string
	}{
		"nothing":                {nil, `credentials_missing; GET /things/1 came with Authorization [], cookies [], Origin [], Sec-Fetch-Site []`},
		"a bearer token":         {[]string{"Authorization: Bearer " + secret}, `Authorization ["bearer"]`},
		"basic":                  {[]string{"Authorization: Basic " + secret}, `Authorization ["basic"]`},
		"no scheme":              {[]string{"Authorization: " + secret}, `Authorization ["another scheme"]`},
		"a scheme of one's own":  {[]string{"Authorization: " + secret + " x"}, `Authorization ["another scheme"]`},
		"cookies":                {[]string{"Cookie: theme=" + secret + "; sid=" + secret}, `cookies ["theme" "sid"]`},
		"a nameless cookie":      {[]string{"Cookie: " + secret}, `cookies ["(no name)"]`},
		"an empty name":          {[]string{"Cookie: =" + secret}, `cookies ["(no name)"]`},
		"nameless, with padding": {[]string{"Cookie: " + secret + "=="}, `cookies ["(a name of 49 bytes)"]`},
		"nameless, as a jar's":   {[]string{"Cookie: " + secret + "-access"}, `cookies ["(no name)"]`},
		"many":                   {[]string{"Cookie: " + strings.Repeat("a=1; ", 1000)}, `"a" "..."]`},
		"where from":             {[]string{"Origin: https://evil.example", "Sec-Fetch-Site: cross-site"}, `Origin ["https://evil.example"], Sec-Fetch-Site ["cross-site"]`},
	} {
		t.Run(name, func(t *testing.T) {
			log := captureLog(t)
			h := middleware.Chain(
				middleware.ObserveRefusals(middleware.Refusals{Debug: true}),
				middleware.RequireAuth(auth.Cookie(cookies.Jar{}.Access, stub{})),
			)(whoami)
			for range 3 { // each is told
				want(t, serve(h, request("GET", "/things/1?token="+secret, c.headers...)), auth.CredentialsMissing)
			}
			got := lines(t, log)
			if len(got) != 3 || !strings.Contains(got[2].Event.Err, c.want) {
				t.Errorf("%q is missing in %s", c.want, log)
			}
			if strings.Contains(log.String(), secret) {
				t.Errorf("a secret was logged: %s", log)
			}
		})
	}
}

// The chain that an observer gets is whole, and the client gets none of it.
func TestObserveRefusals_ChainIsWhole(t *testing.T) {
	cause := errors.New("the cause")
	var told observed
	for _, debug := range []bool{false, true} {
		h := middleware.ObserveRefusals(middleware.Refusals{Observe: told.observe, Debug: debug})(
			middleware.RequireAuth(authFunc(func(*http.Request) (*auth.Principal, error) {
				return nil, fmt.Errorf("%w: %w", auth.TokenInvalid, cause)
			}))(whoami))
		w := serve(h, request("GET", "/"))
		want(t, w, auth.TokenInvalid)
		if len(told.told) == 0 || !errors.Is(told.told[len(told.told)-1].Err, cause) || strings.Contains(w.Body.String(), "cause") {
			t.Errorf("debug %v: told %v, answered %s", debug, told.told, w.Body)
		}
	}
}

// A good request pays for the observer what it pays for any value in its context, and without one nothing.
func TestObserveRefusals_Allocations(t *testing.T) {
	h := middleware.RequireAuth(oneAllocation{})(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	r, w := request("GET", "/things?page=2", "Authorization: Bearer ann"), discard{http.Header{}}
	without := testing.AllocsPerRun(1000, func() { h.ServeHTTP(w, r) })
	h = middleware.ObserveRefusals(middleware.Refusals{})(h)
	with := testing.AllocsPerRun(1000, func() { h.ServeHTTP(w, r) })
	if without > 3 || with > without+2 {
		t.Errorf("%v allocations without, %v with", without, with)
	}
}

// F-56: a flood of one code hides no other code, whatever number of routes it comes by.
func TestRefusals_F_56_AFloodHidesNoOtherCode(t *testing.T) {
	now := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	told := map[string]int{}
	mux := http.NewServeMux()
	for i := range 60 {
		mux.Handle(fmt.Sprintf("GET /%d", i), middleware.RequireAuth(bearer)(whoami))
	}
	mux.Handle("GET /alarm", middleware.RequireAuth(bearer)(whoami))
	h := middleware.ObserveRefusals(middleware.Refusals{
		Now:     func() time.Time { return now },
		Observe: func(_ context.Context, e auth.Event) { told[e.Outcome] += 1 + e.Missed },
	})(mux)
	for range 60 {
		for i := range 60 {
			serve(h, request("GET", fmt.Sprint("/", i), "Authorization: Bearer junk"))
		}
		for range 9 {
			now = now.Add(6 * time.Second)
			serve(h, request("GET", "/alarm", "Authorization: Bearer revoked"))
		}
		now = now.Add(6 * time.Second) // the next flood comes first in its minute
	}
	if told["token_revoked"] < 538 || told["token_invalid"] < 3540 {
		t.Errorf("of 540 revoked tokens and 3,600 others: told %v", told)
	}
}

// F-56: nor are lines of errors as many as strangers like, by a guard or by a handler, and one code hides no other.
func TestWriteError_F_56_LinesOfErrorsAreBounded(t *testing.T) {
	busy := fmt.Errorf("%w: the hasher's queue is full", auth.Busy)
	for name, h := range map[string]http.Handler{
		"a handler": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/down" {
				middleware.WriteError(w, r, auth.StoreUnavailable)
				return
			}
			middleware.WriteError(w, r, busy)
		}),
		"a guard": middleware.RequireAuth(authFunc(func(r *http.Request) (*auth.Principal, error) {
			if r.URL.Path == "/down" {
				return nil, auth.StoreUnavailable
			}
			return nil, busy
		}))(whoami),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log := captureLog(t)
				const flood = 500
				for range flood {
					want(t, serve(h, request("GET", "/")), auth.Busy)
				}
				want(t, serve(h, request("GET", "/down")), auth.StoreUnavailable)
				time.Sleep(10 * time.Second) // of the bubble
				serve(h, request("GET", "/"))
				got := strings.Split(strings.TrimSpace(log.String()), "\n")
				if len(got) != 3 || strings.Contains(got[0], "missed") || !strings.Contains(got[1], "store_unavailable") ||
					!strings.Contains(got[2], fmt.Sprintf(`"missed":%d`, flood-1)) || !strings.Contains(got[2], `"ERROR"`) {
					t.Errorf("got %d lines: %.2000s", len(got), log)
				}
			})
		})
	}
}
