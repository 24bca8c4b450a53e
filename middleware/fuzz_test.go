package middleware_test

import (
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"github.com/doorward/doorward/middleware"
)

// FuzzOrigin holds the origin check to its promise: only a configured origin, or a request that the browser
// calls the application's own, passes; and what can be configured is what a browser sends.
func FuzzOrigin(f *testing.F) {
	for _, o := range originTable {
		origin, site := "", ""
		for _, h := range o.headers {
			if v, ok := strings.CutPrefix(h, "Origin: "); ok {
				origin = v
			} else {
				site = strings.TrimPrefix(h, "Sec-Fetch-Site: ")
			}
		}
		f.Add(partner, origin, site)
		f.Add(origin, origin, site)
	}
	for _, origin := range []string{"https://[::1]:8443", "http://localhost:80", "http://a.localhost:81", "http://127.0.0.1", "https://bücher.example", "https://127.1", "https://a.example.", "https://*.a.example"} {
		f.Add(origin, origin, "")
	}
	strict := newCSRF(f)
	f.Fuzz(func(t *testing.T, configured, origin, site string) {
		c, err := middleware.NewCSRF(keys, own, configured)
		if err != nil {
			c = strict
		} else {
			u, err := url.Parse(configured)
			if err != nil || u.Scheme+"://"+u.Host != configured || u.User != nil || strings.ToLower(configured) != configured ||
				strings.ContainsAny(configured, "*@%\\ ,") || strings.HasSuffix(u.Hostname(), ".") {
				t.Fatalf("%q was accepted", configured)
			}
			if u.Scheme == "http" && !isLoopbackForCookies(u.Host) {
				t.Fatalf("%q was accepted, and is no loopback host for cookies", configured)
			}
		}
		r := request("POST", "/")
		if origin != "" {
			r.Header["Origin"] = []string{origin}
		}
		if site != "" {
			r.Header["Sec-Fetch-Site"] = []string{site}
		}
		trusted := origin == own || c != strict && origin == configured
		ours := origin == "" && (site == "" || site == "none" || site == "same-origin") || origin == "null" && site == "same-origin"
		if got := c.CheckOrigin(r) == nil; got != (trusted || ours) {
			t.Fatalf("configured %q, Origin %q, Sec-Fetch-Site %q: passes %v", configured, origin, site, got)
		}
		if c.Check(as(r, ambient("sid-ann"))) == nil {
			t.Fatalf("Origin %q, Sec-Fetch-Site %q: passes without a token", origin, site)
		}
	})
}

// FuzzClientAddress holds ClientIP to its promise: nothing that a client sends decides over what a proxy of
// ours has appended, and the outcome is the peer or a plain untrusted address.
func FuzzClientAddress(f *testing.F) {
	for _, s := range []string{
		"", "1.1.1.1", "1.1.1.1, 2.2.2.2", "unknown", "_x", ",", " , ", "10.1.1.1", "1.1.1.1:80", "[::1]", "[::1%eth0]:80", "::ffff:10.0.0.1", "fe80::1%x",
		`for=1.1.1.1`, `for="[2001:db8::1]:80";proto=http`, `for="1.1.1.1`, `for=unknown`, `for=_x, for=1.1.1.1`, `x="\", for=1.1.1.1"`, `x="\`, `for=1.1.1.1;for=2.2.2.2`, "\x00\xff",
	} {
		for header := range 3 {
			f.Add(header, s, false)
			f.Add(header, s, true)
			f.Add(header, strings.Repeat(s, 600), false)
		}
	}
	headers := []string{"X-Forwarded-For", "Forwarded", "X-Real-Ip"}
	f.Fuzz(func(t *testing.T, n int, client string, newLine bool) {
		header := headers[uint(n)%3]
		got := remote(header, peer, http.Header{header: {client}})
		ap, err := netip.ParseAddrPort(got)
		if err != nil {
			t.Fatalf("%s %q: RemoteAddr became %q", header, client, got)
		}
		if a := ap.Addr(); got != peer {
			if a.Zone() != "" || a.Is4In6() {
				t.Fatalf("%s %q: %s is not plain", header, client, got)
			}
			for _, p := range proxies {
				if p.Contains(a) {
					t.Fatalf("%s %q: %s is a proxy", header, client, got)
				}
			}
		}
		// The outer proxy appends the client that it saw, with Forwarded the Host header as well, and the one at
		// the peer appends the outer one, in the same line or in another.
		const seen = "203.0.113.9"
		appended := seen + ", 10.1.1.1"
		switch header {
		case "X-Real-Ip":
			return
		case "Forwarded":
			host := strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(client)
			appended = `for="` + seen + `";host="` + host + `", for=10.1.1.1;by="10.0.0.1:80"`
		}
		lines := []string{client + ", " + appended}
		if newLine {
			lines = []string{client, appended}
		}
		got = remote(header, peer, http.Header{header: lines})
		if tooLong := header == "Forwarded" && len(appended) > 4000; got != seen+":0" && !tooLong {
			t.Fatalf("%s %q: got %s, want %s", header, lines, got, seen)
		}
	})
}
