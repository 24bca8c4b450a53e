package middleware

import "net/http"

var secureHeaders = [...]struct{ name, value string }{
	{"X-Content-Type-Options", "nosniff"},
	{"Content-Security-Policy", "frame-ancestors 'none'"},
	{"Referrer-Policy", "no-referrer"},
	{"Cross-Origin-Opener-Policy", "same-origin"},
	{"Strict-Transport-Security", "max-age=31536000; includeSubDomains"}, // the last: for https only
}

// SecureHeaders puts these headers on every answer before the handler runs, which may replace each of
// them with Header().Set or Del (OWASP ASVS 5.0 V3.4):
//
//	X-Content-Type-Options: nosniff
//	Content-Security-Policy: frame-ancestors 'none'
//	Referrer-Policy: no-referrer
//	Cross-Origin-Opener-Policy: same-origin
//	Strict-Transport-Security: max-age=31536000; includeSubDomains     (https only)
//
// The policy has the one directive that suits every answer. A handler that serves HTML replaces it by its
// own, and keeps frame-ancestors in it.
//
// A request came by https when this server ended its TLS, or when X-Forwarded-Proto says so. That header is
// believed without asking who sent it: a forger gets Strict-Transport-Security on an answer of his own. A
// shared cache that keeps the answer hands it to others as well, and a browser that gets it by https obeys
// (RFC 6797 section 8.1), so where subdomains have no https, a proxy in front must replace what clients send
// in X-Forwarded-Proto, or a handler Del the header. It holds for all subdomains and for a year.
func SecureHeaders() Middleware {
	return wrap(func(w http.ResponseWriter, r *http.Request) (*http.Request, error) {
		h, n := w.Header(), len(secureHeaders)
		if !cameByHTTPS(r) {
			n--
		}
		// One array for all, and a new one for each answer: a handler may write into a header's values.
		values := make([]string, n)
		for i, s := range secureHeaders[:n] {
			values[i] = s.value
			h[s.name] = values[i : i+1 : i+1]
		}
		return r, nil
	})
}

// cameByHTTPS is for SecureHeaders alone: nothing that guards may believe this header.
func cameByHTTPS(r *http.Request) bool {
	proto := r.Header["X-Forwarded-Proto"]
	return r.TLS != nil || len(proto) == 1 && proto[0] == "https"
}
