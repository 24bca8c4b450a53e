package middleware_test

import (
	"crypto/tls"
	"net/http"
	"testing"

	"github.com/doorward/doorward/middleware"
)

// STD-H08, ATK-C12: the headers stand on what handlers and guards answer; a handler may replace them.
func TestSTD_H08_SecureHeaders(t *testing.T) {
	headers := map[string]string{
		"X-Content-Type-Options":     "nosniff",
		"Content-Security-Policy":    "frame-ancestors 'none'",
		"Referrer-Policy":            "no-referrer",
		"Cross-Origin-Opener-Policy": "same-origin",
		"Strict-Transport-Security":  "",
	}
	h := middleware.SecureHeaders()(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/in-place" {
			for _, values := range w.Header() {
				values[0] = "x"
			}
			for _, values := range w.Header() {
				_ = append(values, "y")
			}
		}
		if r.URL.Path == "/own" {
			w.Header().Set("Content-Security-Policy", "default-src 'self'; frame-ancestors 'self'")
			w.Header().Add("Referrer-Policy", "same-origin")
		}
	}))
	if got := serve(h, request("GET", "/own")).Header(); got.Get("Content-Security-Policy") != "default-src 'self'; frame-ancestors 'self'" {
		t.Errorf("the handler's own policy is gone: %v", got)
	}
	for name, got := range serve(h, request("GET", "/in-place")).Header() {
		if len(got) != 1 || got[0] != "x" {
			t.Errorf("%s: a value reached into another header's: %q", name, got)
		}
	}
	w := serve(h, request("GET", "/")) // behind those that changed some
	for name, value := range headers {
		if got := w.Header().Get(name); got != value {
			t.Errorf("%s: got %q, want %q", name, got, value)
		}
	}
	refused := serve(middleware.SecureHeaders()(middleware.RequireAuth(bearer)(whoami)), request("GET", "/"))
	if got := refused.Header(); got.Get("Content-Security-Policy") != "default-src 'none'; frame-ancestors 'none'" ||
		got.Get("X-Content-Type-Options") != "nosniff" || got.Get("Referrer-Policy") != "no-referrer" {
		t.Errorf("a refusal lacks headers: %v", got)
	}
}

func TestSecureHeaders_TransportSecurity(t *testing.T) {
	const year = "max-age=31536000; includeSubDomains"
	for name, c := range map[string]struct {
		tls   *tls.ConnectionState
		proto []string
		want  string
	}{
		"http":                   {nil, nil, ""},
		"TLS ends here":          {&tls.ConnectionState{}, nil, year},
		"TLS ends at a proxy":    {nil, []string{"https"}, year},
		"http, says the proxy":   {nil, []string{"http"}, ""},
		"the proxies disagree":   {nil, []string{"https", "http"}, ""},
		"a list is no statement": {nil, []string{"https, http"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := request("GET", "/")
			r.TLS, r.Header["X-Forwarded-Proto"] = c.tls, c.proto
			if got := serve(middleware.SecureHeaders()(whoami), r).Header().Get("Strict-Transport-Security"); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}
