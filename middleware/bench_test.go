package middleware_test

import (
	"bytes"
	"net/http"
	"testing"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/middleware"
)

// BenchmarkRequireAuth is the guard's own cost on the warm path: the authenticator allocates what a cache hit
// of package tokens allocates, the principal's copy.
func BenchmarkRequireAuth(b *testing.B) {
	h := middleware.RequireAuth(oneAllocation{})(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	r := request("GET", "/things?page=2", "Authorization: Bearer ann")
	w := discard{http.Header{}}
	b.ReportAllocs()
	for b.Loop() {
		h.ServeHTTP(w, r)
	}
}

// warmCSRF has its key at hand, as *tokens.Keyring has.
func warmCSRF(b *testing.B) *middleware.CSRF {
	_, key, err := keys.Derive("", own, "doorward/csrf")
	if err != nil {
		b.Fatal(err)
	}
	c, err := middleware.NewCSRF(derive(func(string, string, string) (string, []byte, error) { return "2026-11", bytes.Clone(key), nil }), own)
	if err != nil {
		b.Fatal(err)
	}
	return c
}

// BenchmarkCSRFCheck is an unsafe request with its token.
func BenchmarkCSRFCheck(b *testing.B) {
	c := warmCSRF(b)
	r := as(request("POST", "/", "Origin: "+own, "Sec-Fetch-Site: same-origin", "X-CSRF-Token: "+token(b, c, "sid-ann")), ambient("sid-ann"))
	b.ReportAllocs()
	for b.Loop() {
		if err := c.Check(r); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkCSRFToken is what RequireCSRF adds to a safe request of a browser.
func BenchmarkCSRFToken(b *testing.B) {
	c := warmCSRF(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Token(&auth.Principal{Session: "sid-ann"}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkRefreshFromCookie is what it adds to a request whose access token holds, beside the verification of
// that token, which a guard behind does once more.
func BenchmarkRefreshFromCookie(b *testing.B) {
	for name, cookie := range map[string]string{
		"no cookies":   "Cookie: theme=dark",
		"valid access": "Cookie: theme=dark; __Host-access=ann; __Host-refresh=r1",
	} {
		b.Run(name, func(b *testing.B) {
			h := middleware.RefreshFromCookie(middleware.Refresh{Sessions: &fakeSessions{}, Access: stub{}, CSRF: newCSRF(b)})(
				http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
			r := request("GET", "/things?page=2", cookie)
			w := discard{http.Header{}}
			b.ReportAllocs()
			for b.Loop() {
				h.ServeHTTP(w, r)
			}
		})
	}
}
