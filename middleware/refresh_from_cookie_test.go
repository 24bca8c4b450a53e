package middleware_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/cookies"
	"github.com/doorward/doorward/middleware"
)

// fakeSessions answers every refresh alike and remembers what it was asked.
type fakeSessions struct {
	err   error
	panic bool
	none  bool // neither a pair nor an error

	mu    sync.Mutex
	calls []string
}

func (f *fakeSessions) RefreshCookie(_ context.Context, refresh string, _ auth.Client) (*auth.Pair, error) {
	return f.answer("rotate "+refresh, &auth.Pair{
		Access: "ann", Refresh: "r2", Session: "sid-ann",
		AccessExpires: time.Now().Add(15 * time.Minute), RefreshUntil: time.Now().Add(time.Hour),
	})
}

func (f *fakeSessions) Lend(_ context.Context, refresh string, _ auth.Client) (*auth.Pair, error) {
	return f.answer("lend "+refresh, &auth.Pair{Access: "ann", Session: "sid-ann", AccessExpires: time.Now().Add(time.Minute)})
}

func (f *fakeSessions) answer(call string, p *auth.Pair) (*auth.Pair, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, call)
	switch {
	case f.panic:
		panic("secret-cause")
	case f.err != nil:
		return nil, f.err
	case f.none:
		return nil, nil
	}
	return p, nil
}

var (
	jar        cookies.Jar
	jarBrowser = auth.Cookie(jar.Access, stub{})
	sameOrigin = "Sec-Fetch-Site: same-origin"
)

const (
	stale     = "Cookie: __Host-access=expired; __Host-refresh=r1"
	noAccess  = "Cookie: __Host-refresh=r1"
	newAccess = "__Host-access=ann"
	newChild  = "__Host-refresh=r2"
)

func refreshing(t testing.TB, f *fakeSessions, change ...func(*middleware.Refresh)) middleware.Middleware {
	t.Helper()
	c := middleware.Refresh{Sessions: f, Access: stub{}, CSRF: newCSRF(t, "https://other.example")}
	for _, ch := range change {
		ch(&c)
	}
	return middleware.RefreshFromCookie(c)
}

func inHeader(c *middleware.Refresh) { c.InHeader = true }

// cookiesOf are the name=value parts of the answer's Set-Cookie lines, "name=" for a deletion.
func cookiesOf(h http.Header) (pairs []string) {
	for _, line := range h["Set-Cookie"] {
		pair, _, _ := strings.Cut(line, ";")
		pairs = append(pairs, pair)
	}
	slices.Sort(pairs)
	return pairs
}

var (
	both    = []string{newAccess, newChild}
	cleared = []string{"__Host-access=", "__Host-refresh="}
)

// What it has no part in, it leaves as it is: the very request, the very writer, no header.
func TestRefreshFromCookieLeavesAlone(t *testing.T) {
	for name, c := range map[string]struct {
		inHeader bool
		headers  []string
	}{
		"a valid access token":              {false, []string{"Cookie: __Host-access=ann; __Host-refresh=r1"}},
		"no cookies":                        {false, nil},
		"no refresh cookie":                 {false, []string{"Cookie: __Host-access=expired"}},
		"ATK-C06 another spelling":          {false, []string{"Cookie: __host-refresh=r1; refresh=r1"}},
		"ATK-C06 two access cookies":        {false, []string{"Cookie: __Host-access=expired; __Host-access=ann; __Host-refresh=r1"}},
		"the store is down, STD-S10":        {false, []string{"Cookie: __Host-access=down; __Host-refresh=r1"}},
		"the verifier panics":               {false, []string{"Cookie: __Host-access=panic; __Host-refresh=r1"}},
		"in header: a valid token":          {true, []string{noAccess, "Authorization: Bearer ann"}},
		"in header: another's bearer token": {true, []string{noAccess, "Authorization: Bearer api-key"}},
		"in header: another scheme":         {true, []string{noAccess, "Authorization: Basic YTpi"}},
		"in header: two headers":            {true, []string{noAccess, "Authorization: Bearer expired", "Authorization: Bearer ann"}},
	} {
		t.Run(name, func(t *testing.T) {
			f := &fakeSessions{}
			r, w := request("GET", "/", append(c.headers, sameOrigin)...), httptest.NewRecorder()
			before := maps.Clone(r.Header)
			noted := strings.HasPrefix(name, "ATK-C06 another spelling") // the guard's log says that another cookie came
			passed := false
			refreshing(t, f, func(rc *middleware.Refresh) { rc.InHeader = c.inHeader })(http.HandlerFunc(func(w2 http.ResponseWriter, r2 *http.Request) {
				passed = w2 == w && (r2 == r || noted) && maps.EqualFunc(before, r2.Header, slices.Equal)
			})).ServeHTTP(w, r)
			if !passed || len(f.calls) > 0 || len(w.Header()) > 0 {
				t.Errorf("passed as it came: %v; asked %q, header %v", passed, f.calls, w.Header())
			}
		})
	}
}

// The request that goes on carries the new tokens in the places of the old ones, and everything else as it came.
func TestRefreshFromCookieForwards(t *testing.T) {
	for name, c := range map[string]struct {
		inHeader      bool
		headers       []string
		cookie        string
		authorization string
	}{
		"expired": {false, []string{stale, sameOrigin}, newAccess + "; " + newChild, ""},
		"missing": {false, []string{noAccess, sameOrigin}, newAccess + "; " + newChild, ""},
		"garbage": {false, []string{"Cookie: __Host-access=garbage; __Host-refresh=r1", sameOrigin}, newAccess + "; " + newChild, ""},
		"revoked": {false, []string{"Cookie: __Host-access=revoked; __Host-refresh=r1", sameOrigin}, newAccess + "; " + newChild, ""},
		"empty":   {false, []string{noAccess + "; ", sameOrigin}, newAccess + "; " + newChild, ""},
		"others":  {false, []string{"Cookie: a=1; __Host-access=expired;b=\"2\"; __Host-accessory=3;__Host-refresh=r1; c", "Cookie: d=4", sameOrigin}, `a=1; b="2"; __Host-accessory=3; c; d=4; ` + newAccess + "; " + newChild, ""},
		"ATK-C06 a spelling that net/http reads as ours": {false, []string{stale + "; __Host-access =ann", sameOrigin}, newAccess + "; " + newChild, ""},
		"lent":               {false, []string{stale + "; a=1", "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate"}, "__Host-refresh=r1; a=1; " + newAccess, ""},
		"in header, expired": {true, []string{noAccess, "Authorization: Bearer " + of("sid-ann", "expired"), sameOrigin}, newChild, "Bearer ann"},
		"in header, revoked": {true, []string{noAccess, "Authorization: bearer " + of("sid-ann", "revoked"), sameOrigin}, newChild, "Bearer ann"},
		"in header, missing": {true, []string{noAccess, sameOrigin}, newChild, "Bearer ann"},
		"in header, lent":    {true, []string{noAccess, "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate"}, "__Host-refresh=r1", "Bearer ann"},
	} {
		t.Run(name, func(t *testing.T) {
			r := request("GET", "/", append(c.headers, "X-Other: 1")...)
			before := r.Header.Clone()
			var got http.Header
			h := refreshing(t, &fakeSessions{}, func(rc *middleware.Refresh) { rc.InHeader = c.inHeader })(http.HandlerFunc(
				func(_ http.ResponseWriter, r *http.Request) {
					got = r.Header
					// It lets nobody in by itself: a route without a guard sees no principal.
					if _, ok := auth.FromContext(r.Context()); ok {
						t.Error("a principal stands in the context")
					}
				}))
			h.ServeHTTP(httptest.NewRecorder(), r)
			if len(got["Cookie"]) != 1 || got.Get("Cookie") != c.cookie || got.Get("Authorization") != c.authorization || got.Get("X-Other") != "1" {
				t.Errorf("got %q, %q", got["Cookie"], got["Authorization"])
			}
			if !maps.EqualFunc(before, r.Header, slices.Equal) {
				t.Error("the request that came was changed")
			}
		})
	}
}

// A definite end: cookies go, once each; OptionalAuth sees nobody, RequireAuth says why.
func TestRefreshFromCookieEnds(t *testing.T) {
	for _, code := range []auth.Code{auth.TokenInvalid, auth.TokenRevoked, auth.RefreshReused, auth.LoginFailed} {
		f := &fakeSessions{err: fmt.Errorf("%w: secret-cause", code)}
		for name, c := range map[string]struct {
			guard   middleware.Middleware
			headers []string
			code    auth.Code
			set     []string
		}{
			"RequireAuth":            {middleware.RequireAuth(jarBrowser), []string{stale, sameOrigin}, code, cleared},
			"RequireAuth, no access": {middleware.RequireAuth(jarBrowser), []string{noAccess, sameOrigin}, code, cleared},
			"OptionalAuth":           {middleware.OptionalAuth(jarBrowser), []string{stale, sameOrigin}, "", cleared},
			"no guard":               {middleware.Chain(), []string{stale, sameOrigin}, "", cleared},
			"lent, RequireAuth":      {middleware.RequireAuth(jarBrowser), []string{stale, "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate"}, code, nil},
			"lent, OptionalAuth":     {middleware.OptionalAuth(jarBrowser), []string{stale, "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate"}, "", nil},
		} {
			t.Run(string(code)+" "+name, func(t *testing.T) {
				saw := ""
				h := middleware.Chain(refreshing(t, f), c.guard)(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					saw = r.Header.Get("Cookie")
					whoami(w, r)
				}))
				w := serve(h, request("GET", "/", append([]string{"Cookie: a=1"}, c.headers...)...))
				want(t, w, c.code)
				if got := cookiesOf(w.Header()); !slices.Equal(got, c.set) {
					t.Errorf("set %q, want %q", got, c.set)
				}
				for _, line := range w.Header()["Set-Cookie"] { // STD-C08
					if !strings.Contains(line, "Max-Age=0") || !strings.Contains(line, "Path=/") || !strings.Contains(line, "Secure") {
						t.Errorf("no deletion: %q", line)
					}
				}
				if c.code == "" && (w.Body.String() != "nobody" || saw != "a=1") {
					t.Errorf("somebody: %q with %q", w.Body, saw)
				}
				if c.set != nil && w.Header().Get("Cache-Control") != "no-store" {
					t.Errorf("Cache-Control: %q", w.Header().Get("Cache-Control"))
				}
			})
		}
	}
	t.Run("in header: who shows a token is told, STD-H09", func(t *testing.T) {
		f := &fakeSessions{err: auth.TokenRevoked}
		h := middleware.Chain(refreshing(t, f, inHeader), middleware.OptionalAuth(bearer))(whoami)
		w := serve(h, request("GET", "/", noAccess, sameOrigin, "Authorization: Bearer expired"))
		want(t, w, auth.TokenRevoked)
		if !slices.Equal(cookiesOf(w.Header()), cleared) {
			t.Errorf("set %q", cookiesOf(w.Header()))
		}
		want(t, serve(h, request("GET", "/", noAccess, sameOrigin)), "")
	})
}

// U-25: a login that is limited to an organisation opens nothing while its subject is no member there. It is a guest on
// public pages, and keeps its cookies for the day on which he is one again.
func TestOptionalAuth_U_25_NoMember(t *testing.T) {
	captureLog(t)
	f := &fakeSessions{err: fmt.Errorf("%w: no member", auth.TenantForbidden)}
	for name, c := range map[string]struct {
		guard   middleware.Middleware
		headers []string
		code    auth.Code
	}{
		"OptionalAuth":                       {middleware.OptionalAuth(jarBrowser), []string{stale}, ""},
		"OptionalAuth, no access":            {middleware.OptionalAuth(jarBrowser), []string{noAccess}, ""},
		"OptionalAuth, a further credential": {middleware.OptionalAuth(bearer, jarBrowser), []string{stale, "Authorization: Bearer expired"}, auth.TenantForbidden},
		"RequireAuth":                        {middleware.RequireAuth(jarBrowser), []string{stale}, auth.TenantForbidden},
		"RequireAuth, no access":             {middleware.RequireAuth(jarBrowser), []string{noAccess}, auth.TenantForbidden},
	} {
		t.Run(name, func(t *testing.T) {
			w := serve(middleware.Chain(refreshing(t, f), c.guard)(whoami), request("GET", "/", append(c.headers, sameOrigin)...))
			want(t, w, c.code)
			if c.code == "" && w.Body.String() != "nobody" {
				t.Errorf("somebody: %q", w.Body)
			}
			if got := cookiesOf(w.Header()); got != nil {
				t.Errorf("set %q", got)
			}
		})
	}
	t.Run("in header: who shows a token is told, STD-H09", func(t *testing.T) {
		h := middleware.Chain(refreshing(t, f, inHeader), middleware.OptionalAuth(bearer))(whoami)
		want(t, serve(h, request("GET", "/", noAccess, sameOrigin, "Authorization: Bearer expired")), auth.TenantForbidden)
		want(t, serve(h, request("GET", "/", noAccess, sameOrigin)), "")
	})
}

// A race, an outage, a fault: nothing is cleared, and guards say what is so. STD-S10, ATK-S16.
func TestRefreshFromCookieNotNow(t *testing.T) {
	captureLog(t)
	for name, c := range map[string]struct {
		f    *fakeSessions
		code auth.Code
	}{
		"late, another key, replaced by a step-up": {&fakeSessions{err: fmt.Errorf("%w: late", auth.TokenExpired)}, auth.TokenExpired},
		"STD-S10 the store is down":                {&fakeSessions{err: fmt.Errorf("%w: dial", auth.StoreUnavailable)}, auth.StoreUnavailable},
		"busy":                                     {&fakeSessions{err: auth.Busy}, auth.Busy},
		"rate limited":                             {&fakeSessions{err: auth.RateLimited}, auth.RateLimited},
		"no code":                                  {&fakeSessions{err: errors.New("secret-cause")}, auth.Internal},
		"context":                                  {&fakeSessions{err: context.Canceled}, auth.Internal},
		"a panic":                                  {&fakeSessions{panic: true}, auth.Internal},
		"neither":                                  {&fakeSessions{none: true}, auth.Internal},
		"a credential is called missing where there is": {&fakeSessions{err: auth.CredentialsMissing}, auth.CredentialsMissing},
	} {
		for _, cookie := range []string{stale, noAccess, "Cookie: __Host-access=revoked; __Host-refresh=r1"} {
			for _, from := range [][]string{{sameOrigin}, {"Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate"}} {
				t.Run(fmt.Sprint(name, " ", cookie, " ", from[0]), func(t *testing.T) {
					f := &fakeSessions{err: c.f.err, panic: c.f.panic, none: c.f.none}
					m := refreshing(t, f)
					r := request("GET", "/", append(from, cookie)...)
					for guard, code := range map[string]auth.Code{"require": c.code, "optional": c.code, "none": ""} {
						g := map[string]middleware.Middleware{
							"require": middleware.RequireAuth(jarBrowser), "optional": middleware.OptionalAuth(jarBrowser), "none": middleware.Chain(),
						}[guard]
						w := serve(middleware.Chain(m, g)(whoami), r)
						want(t, w, code)
						if len(w.Header()["Set-Cookie"]) > 0 {
							t.Errorf("%s: set %q", guard, w.Header()["Set-Cookie"])
						}
					}
				})
			}
		}
	}
}

// A refusal of another credential is not explained away, and a good one is none the worse.
func TestRefreshFromCookieOtherCredentials(t *testing.T) {
	captureLog(t)
	key := auth.Header("X-API-Key", stub{})
	h := middleware.Chain(refreshing(t, &fakeSessions{err: auth.StoreUnavailable}), middleware.RequireAuth(key, jarBrowser))(whoami)
	want(t, serve(h, request("GET", "/", stale, sameOrigin, "X-API-Key: nobody")), auth.TokenInvalid)
	want(t, serve(h, request("GET", "/", noAccess, sameOrigin, "X-API-Key: ann")), "")
	want(t, serve(h, request("GET", "/", noAccess, sameOrigin)), auth.StoreUnavailable)
}

// A refresh cookie that is not as it was set: guards answer 400 and expire both. One that cannot be read by this
// node's keys ends nothing.
func TestATK_C06_RefreshCookieMalformed(t *testing.T) {
	f := &fakeSessions{}
	for _, g := range []middleware.Middleware{middleware.RequireAuth(jarBrowser), middleware.OptionalAuth(jarBrowser)} {
		h := middleware.Chain(refreshing(t, f), g)(whoami)
		for _, cookie := range []string{stale + "; __Host-refresh=r0", noAccess + "; __Host-refresh=r1", "Cookie: __Host-refresh=\"r1\""} {
			w := serve(h, request("GET", "/", cookie, sameOrigin))
			want(t, w, auth.RequestMalformed)
			if !slices.Equal(slices.Compact(cookiesOf(w.Header())), cleared) { // two lines of one that came twice
				t.Errorf("%s: set %q", cookie, cookiesOf(w.Header()))
			}
		}
		want(t, serve(h, request("GET", "/", "Cookie: __Host-access=ann; __Host-refresh=r1; __Host-refresh=r0", sameOrigin)), "")
	}
	sealed := cookies.Jar{Seal: cookies.Seal{Keys: keys, Issuer: own}}
	h := middleware.Chain(refreshing(t, f, func(c *middleware.Refresh) { c.Jar = sealed }),
		middleware.RequireAuth(auth.Cookie(sealed.Access, stub{})))(whoami)
	w := serve(h, request("GET", "/", "Cookie: __Host-refresh=unknown.AAAA", sameOrigin))
	want(t, w, auth.CredentialsMissing)
	if len(w.Header()["Set-Cookie"]) > 0 || len(f.calls) > 0 {
		t.Errorf("set %q, asked %q", w.Header()["Set-Cookie"], f.calls)
	}
}

// The jar's settings hold for the cookies that are set, for the one of the header mode as well.
func TestRefreshFromCookieJar(t *testing.T) {
	for name, j := range map[string]cookies.Jar{
		"zero":   {},
		"named":  {Name: "shop"},
		"strict": {SameSite: http.SameSiteStrictMode},
		"cross":  {InsecureCrossSite: true},
		"sealed": {Seal: cookies.Seal{Keys: keys, Issuer: own}, Name: "shop"},
	} {
		for mode, header := range map[string]bool{"cookies": false, "header": true} {
			t.Run(name+" "+mode, func(t *testing.T) {
				had := httptest.NewRecorder()
				if err := j.Set(had, request("GET", "/"), &auth.Pair{Access: "expired", Refresh: "r1"}); err != nil {
					t.Fatal(err)
				}
				guard := middleware.RequireAuth(auth.Cookie(j.Access, stub{}))
				first := 0
				if header {
					guard, first = middleware.RequireAuth(bearer), 1
				}
				r := request("GET", "/", sameOrigin)
				for _, c := range had.Result().Cookies()[first:] {
					r.AddCookie(c)
				}
				h := middleware.Chain(refreshing(t, &fakeSessions{}, func(c *middleware.Refresh) { c.Jar, c.InHeader = j, header }), guard)(
					http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
						if child, err := j.Refresh(r); child != "r2" || err != nil {
							t.Errorf("the request that goes on: %q, %v", child, err)
						}
					}))
				w := serve(h, r)
				want(t, w, "")
				got, before := w.Result().Cookies(), had.Result().Cookies()[first:]
				if len(got) != len(before) {
					t.Fatalf("set %q", got)
				}
				for i, c := range got {
					b := before[i]
					if c.Name != b.Name || c.SameSite != b.SameSite || c.Path != b.Path || c.Secure != b.Secure || !c.HttpOnly || c.MaxAge < 3500 {
						t.Errorf("got %v, want the attributes of %v", c, b)
					}
				}
			})
		}
	}
}

// Put in twice it tries once: a second late showing would end the session.
func TestRefreshFromCookieTwice(t *testing.T) {
	for _, err := range []error{nil, auth.TokenExpired, auth.TokenRevoked} {
		f := &fakeSessions{err: err}
		m := refreshing(t, f)
		serve(middleware.Chain(m, m)(whoami), request("GET", "/", stale, sameOrigin))
		if len(f.calls) != 1 {
			t.Errorf("%v: asked %q", err, f.calls)
		}
	}
}

// PROTOCOLS 10, STD-F06: a POST with a stale pair is refreshed, and its CSRF token still holds.
func TestSTD_F06_RefreshKeepsCSRF(t *testing.T) {
	csrf := newCSRF(t)
	h := middleware.Chain(refreshing(t, &fakeSessions{}), middleware.RequireAuth(jarBrowser), middleware.RequireCSRF(csrf))(whoami)
	post := []string{stale, sameOrigin, "Origin: " + own}
	want(t, serve(h, request("POST", "/", append(post, "X-CSRF-Token: "+token(t, csrf, "sid-ann"))...)), "")
	want(t, serve(h, request("POST", "/", append(post, "X-CSRF-Token: "+token(t, csrf, "sid-bob"))...)), auth.CSRFFailed)
	want(t, serve(h, request("POST", "/", post...)), auth.CSRFFailed)
}

// What cannot work closes the routes and says so in the log.
func TestRefreshFromCookieMisconfigured(t *testing.T) {
	good := middleware.Refresh{Sessions: &fakeSessions{}, Access: stub{}, CSRF: newCSRF(t)}
	for name, c := range map[string]struct {
		change func(*middleware.Refresh)
		cause  string
	}{
		"no sessions":       {func(c *middleware.Refresh) { c.Sessions = nil }, "Sessions"},
		"no verifier":       {func(c *middleware.Refresh) { c.Access = nil }, "Access"},
		"no CSRF":           {func(c *middleware.Refresh) { c.CSRF = nil }, "CSRF"},
		"a CSRF of nobody":  {func(c *middleware.Refresh) { c.CSRF = &middleware.CSRF{} }, "CSRF"},
		"a jar's bad name":  {func(c *middleware.Refresh) { c.Jar.Name = "a b" }, "HTTP token"},
		"a jar's bad site":  {func(c *middleware.Refresh) { c.Jar.SameSite = http.SameSiteNoneMode }, "SameSite"},
		"loopback, not so":  {func(c *middleware.Refresh) { c.Jar.InsecureLoopback = true }, "InsecureLoopback"},
		"cookies too large": {func(c *middleware.Refresh) { c.Sessions = large{} }, "4096"},
	} {
		t.Run(name, func(t *testing.T) {
			log := captureLog(t)
			bad := good
			c.change(&bad)
			want(t, serve(middleware.RefreshFromCookie(bad)(whoami), request("GET", "/", stale, sameOrigin)), auth.Internal)
			if !strings.Contains(log.String(), c.cause) {
				t.Errorf("the log does not say why: %s", log)
			}
		})
	}
	captureLog(t)
	want(t, serve(middleware.RefreshFromCookie(good)(nil), request("GET", "/")), auth.Internal)
}

type large struct{ *fakeSessions }

func (large) RefreshCookie(context.Context, string, auth.Client) (*auth.Pair, error) {
	return &auth.Pair{Access: strings.Repeat("a", 5000), Refresh: "r2"}, nil
}
