package middleware

import "net/http"

// secureHeaders are shared by all answers (see noStore for why that is safe).
var secureHeaders = []struct {
	name  string
	value []string
}{
	{"X-Content-Type-Options", []string{"nosniff"}[:1:1]},
	{"Content-Security-Policy", []string{"frame-ancestors 'none'"}[:1:1]},
	{"Referrer-Policy", []string{"no-referrer"}[:1:1]},
	{"Cross-Origin-Opener-Policy", []string{"same-origin"}[:1:1]},
}

var transportSecurity = []string{"max-age=31536000; includeSubDomains"}[:1:1]

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
// A request came by https when this server ended its TLS, or when a proxy says so in X-Forwarded-Proto.
// That header is believed without asking who sent it, because nothing is gained by forging it: the forger
// gets the header on an answer of his own, and a browser ignores it on one that came by http (RFC 6797
// section 8.1). It holds for all subdomains and for a year: Del it where one of them has no https.
func SecureHeaders() Middleware {
	return wrap(func(w http.ResponseWriter, r *http.Request) (*http.Request, error) {
		h := w.Header()
		for _, s := range secureHeaders {
			h[s.name] = s.value
		}
		if cameByHTTPS(r) {
			h["Strict-Transport-Security"] = transportSecurity
		}
		return r, nil
	})
}

// cameByHTTPS is for SecureHeaders alone: nothing that guards may believe this header.
func cameByHTTPS(r *http.Request) bool {
	proto := r.Header["X-Forwarded-Proto"]
	return r.TLS != nil || len(proto) == 1 && proto[0] == "https"
}
