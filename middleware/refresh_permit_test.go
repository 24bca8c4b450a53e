package middleware_test

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/middleware"
)

// PROTOCOLS 9: who may rotate, who is lent a principal, and who gets nothing.
func TestRefreshFromCookiePermission(t *testing.T) {
	const (
		navigate = "Sec-Fetch-Mode: navigate"
		cors     = "Sec-Fetch-Mode: cors"
		nocors   = "Sec-Fetch-Mode: no-cors"
		none     = "Sec-Fetch-Site: none"
		sameSite = "Sec-Fetch-Site: same-site"
		cross    = "Sec-Fetch-Site: cross-site"
		evil     = "Origin: https://evil.example"
		ws       = "Upgrade: websocket"
		purpose  = "Sec-Purpose: prefetch"
		mine     = "Origin: " + own
		trusted  = "Origin: https://other.example"
	)
	for name, c := range map[string]struct {
		method  string
		headers []string
		want    string
	}{
		"same-origin GET":                            {"GET", []string{sameOrigin, cors}, "rotate"},
		"same-origin HEAD":                           {"HEAD", []string{sameOrigin, cors}, "rotate"},
		"same-origin navigation":                     {"GET", []string{sameOrigin, navigate}, "rotate"},
		"same-origin POST":                           {"POST", []string{sameOrigin, mine}, "rotate"},
		"same-origin DELETE without Origin":          {"DELETE", []string{sameOrigin}, "rotate"},
		"same-origin form, null origin, ATK-C02":     {"POST", []string{sameOrigin, navigate, "Origin: null"}, "rotate"},
		"same-origin, foreign Origin":                {"POST", []string{sameOrigin, evil}, ""},
		"same-origin image":                          {"GET", []string{sameOrigin, nocors, "Sec-Fetch-Dest: image"}, "rotate"},
		"same-origin upgrade, ATK-C09":               {"GET", []string{sameOrigin, mine, ws}, "lend"},
		"same-origin CONNECT, ATK-C09":               {"CONNECT", []string{sameOrigin, mine}, "lend"},
		"cross-site CONNECT, ATK-C09":                {"CONNECT", []string{cross, evil}, ""},
		"neither, CONNECT":                           {"CONNECT", nil, ""},
		"same-origin prefetch":                       {"GET", []string{sameOrigin, nocors, purpose}, "lend"},
		"same-origin prefetch, older word":           {"GET", []string{sameOrigin, nocors, "Purpose: prefetch"}, "lend"},
		"none, navigation":                           {"GET", []string{none, navigate}, "rotate"},
		"none, prerender":                            {"GET", []string{none, navigate, "Sec-Purpose: prefetch;prerender"}, "lend"},
		"none, no navigation":                        {"GET", []string{none, cors}, ""},
		"none, POST navigation":                      {"POST", []string{none, navigate}, ""},
		"none, HEAD":                                 {"HEAD", []string{none, navigate}, ""},
		"none, upgrade":                              {"GET", []string{none, navigate, ws}, ""},
		"same-site navigation":                       {"GET", []string{sameSite, navigate}, "rotate"},
		"same-site navigation, prefetched":           {"GET", []string{sameSite, navigate, purpose}, "lend"},
		"same-site image":                            {"GET", []string{sameSite, nocors}, ""},
		"same-site GET without a mode":               {"GET", []string{sameSite}, ""},
		"same-site form":                             {"POST", []string{sameSite, navigate, "Origin: https://sub.example.com"}, ""},
		"same-site POST without Origin, ATK-C03":     {"POST", []string{sameSite, navigate}, ""},
		"same-site script of a configured origin":    {"POST", []string{sameSite, cors, trusted}, "rotate"},
		"same-site GET of a configured origin":       {"GET", []string{sameSite, cors, trusted}, "rotate"},
		"same-site upgrade of a configured origin":   {"GET", []string{sameSite, trusted, ws}, "lend"},
		"same-site upgrade of another":               {"GET", []string{sameSite, "Origin: https://sub.example.com", ws}, ""},
		"cross-site navigation":                      {"GET", []string{cross, navigate}, "lend"},
		"cross-site navigation, prefetched":          {"GET", []string{cross, navigate, purpose}, "lend"},
		"cross-site navigation, two modes":           {"GET", []string{cross, navigate, cors}, ""},
		"cross-site image":                           {"GET", []string{cross, nocors}, ""},
		"cross-site script":                          {"GET", []string{cross, cors, evil}, ""},
		"cross-site form":                            {"POST", []string{cross, navigate, evil}, ""},
		"cross-site form, null origin, ATK-C02":      {"POST", []string{cross, navigate, "Origin: null"}, ""},
		"cross-site form without Origin, ATK-C03":    {"POST", []string{cross, navigate}, ""},
		"cross-site HEAD":                            {"HEAD", []string{cross, navigate}, ""},
		"cross-site upgrade, ATK-C09":                {"GET", []string{cross, evil, ws}, ""},
		"cross-site upgrade without Origin, ATK-C09": {"GET", []string{cross, navigate, ws}, ""},
		"unknown word, ATK-C03":                      {"GET", []string{"Sec-Fetch-Site: Same-Origin", navigate}, ""},
		"unknown word, POST, ATK-C03":                {"POST", []string{"Sec-Fetch-Site: x", navigate}, ""},
		"two sites, ATK-C03":                         {"GET", []string{sameOrigin, cross, navigate}, ""},
		"two origins":                                {"GET", []string{sameOrigin, mine, mine}, ""},
		"no metadata, own Origin, GET":               {"GET", []string{mine}, "rotate"},
		"no metadata, own Origin, POST":              {"POST", []string{mine}, "rotate"},
		"no metadata, own Origin, upgrade":           {"GET", []string{mine, ws}, "lend"},
		"no metadata, own Origin, prefetch":          {"GET", []string{mine, purpose}, "lend"},
		"no metadata, foreign Origin":                {"POST", []string{evil}, ""},
		"no metadata, foreign Origin, GET":           {"GET", []string{evil}, ""},
		"no metadata, foreign upgrade, ATK-C09":      {"GET", []string{evil, ws}, ""},
		"no metadata, null Origin, ATK-C02":          {"POST", []string{"Origin: null"}, ""},
		"no metadata, http twin, ATK-C05":            {"POST", []string{"Origin: http://app.example.com"}, ""},
		"no metadata, other port, ATK-C05":           {"POST", []string{"Origin: https://app.example.com:444"}, ""},
		"neither, GET":                               {"GET", nil, "rotate"},
		"neither, HEAD":                              {"HEAD", nil, "rotate"},
		"neither, prefetch":                          {"GET", []string{purpose}, "lend"},
		"neither, upgrade":                           {"GET", []string{ws}, ""},
		"neither, POST, ATK-C04":                     {"POST", nil, ""},
		"neither, TRACE, ATK-C08":                    {"TRACE", nil, ""},
		"neither, unknown verb, ATK-C08":             {"BREW", nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			f := &fakeSessions{}
			h := middleware.Chain(refreshing(t, f), middleware.RequireAuth(jarBrowser))(whoami)
			w := serve(h, request(c.method, "/", append([]string{stale}, c.headers...)...))
			code, calls, set := auth.Code(""), []string(nil), []string(nil)
			switch c.want {
			case "":
				code = auth.TokenExpired
			case "lend":
				calls = []string{"lend r1"}
			case "rotate":
				calls, set = []string{"rotate r1"}, both
			}
			want(t, w, code)
			if !slices.Equal(f.calls, calls) || !slices.Equal(cookiesOf(w.Header()), set) {
				t.Errorf("asked %q, set %q", f.calls, cookiesOf(w.Header()))
			}
			// STD-F09: whatever was decided by these headers says so to caches.
			if v := w.Header().Get("Vary"); !strings.Contains(v, "Sec-Fetch-Site") || !strings.Contains(v, "Origin") {
				t.Errorf("Vary: %q", v)
			}
			if w.Header().Get("Cache-Control") != "no-store" {
				t.Errorf("Cache-Control: %q", w.Header().Get("Cache-Control"))
			}
		})
	}
}

// FuzzForwardedCookies: whatever stands in the Cookie header, the request that goes on has one pair of ours, for
// every reader, and all other cookies as they came.
func FuzzForwardedCookies(f *testing.F) {
	for _, s := range []string{
		"", "a=1", "a=1; a=2;;", `a="x;__Host-access=evil"`, "__Host-access =evil", " __Host-refresh\t=evil", "__Host-access", "__host-access=evil",
		strings.Repeat(";", 4000), "__Host-accessory=1", "=__Host-access", "a=\x00", strings.Repeat("a=1; ", 500), "__Host-access=evil; __Host-access=evil",
	} {
		f.Add(s)
	}
	h := refreshing(f, &fakeSessions{})
	f.Fuzz(func(t *testing.T, other string) {
		r := request("GET", "/", sameOrigin)
		r.Header["Cookie"] = []string{other, "__Host-access=expired; __Host-refresh=r1; z=1"}
		h(http.HandlerFunc(func(_ http.ResponseWriter, fwd *http.Request) {
			if fwd == r {
				return // it was malformed, and nothing was refreshed
			}
			if _, err := jar.Refresh(r); err != nil {
				return // likewise; the guard answers
			}
			access, err := jar.Access(fwd)
			if err != nil || access != "ann" {
				t.Fatalf("the jar reads %q, %v of %q", access, err, fwd.Header["Cookie"])
			}
			if child, err := jar.Refresh(fwd); err != nil || child != "r2" {
				t.Fatalf("the jar reads %q, %v of %q", child, err, fwd.Header["Cookie"])
			}
			var theirs, kept []string
			if strings.Count(other, ";") > 2_990 {
				return // net/http shows no cookie of a header with more than 3,000 parts, empty ones included; fewer are forwarded
			}
			for _, c := range r.Cookies() {
				if c.Name != "__Host-access" && c.Name != "__Host-refresh" {
					theirs = append(theirs, c.Name+"="+c.Value)
				}
			}
			for _, c := range fwd.Cookies() {
				switch c.Name {
				case "__Host-access", "__Host-refresh":
					if c.Value != "ann" && c.Value != "r2" {
						t.Fatalf("net/http reads %s=%s", c.Name, c.Value)
					}
				default:
					kept = append(kept, c.Name+"="+c.Value)
				}
			}
			if !slices.Equal(theirs, kept) {
				t.Fatalf("other cookies: got %q, want %q", kept, theirs)
			}
		})).ServeHTTP(httptest.NewRecorder(), r)
	})
}
