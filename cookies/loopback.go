package cookies

import (
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"github.com/doorward/doorward/auth"
)

// plainLoopback says whether r came over plain http to a loopback host: true drops the prefix and
// Secure. It is an error when r was not for this machine, or not sent to us directly.
//
// Host alone is not enough: nginx sends "127.0.0.1:8080" to its upstream unless told otherwise, so a
// public site would pass for a loopback one. What a proxy adds gives it away, and so does the Origin
// that browsers send with a login. Nothing of that is ever believed in the other direction.
func plainLoopback(r *http.Request) (bool, error) {
	if r == nil {
		return false, fmt.Errorf("cookies: InsecureLoopback needs the request")
	}
	if !isLoopback(r.Host) {
		return false, fmt.Errorf("cookies: InsecureLoopback is for loopback hosts only: got Host %q", r.Host)
	}
	for name := range r.Header {
		if strings.HasPrefix(name, "X-Forwarded-") || name == "Forwarded" || name == "X-Real-Ip" || name == "Via" {
			return false, fmt.Errorf("cookies: InsecureLoopback is for direct connections only: got a %s header", name)
		}
	}
	for _, origin := range r.Header["Origin"] {
		if u, err := url.Parse(origin); err != nil || !isLoopback(u.Host) {
			// With a code, because on a machine of a developer's it is the request that is at fault.
			return false, fmt.Errorf("%w: cookies: InsecureLoopback is for loopback hosts only: got Origin %q", auth.CSRFFailed, origin)
		}
	}
	return r.TLS == nil, nil
}

// isLoopback says whether a Host header names this machine whatever any resolver says: localhost and
// what is under it (RFC 6761 section 6.3), 127.0.0.0/8 and [::1]. Only the spellings that browsers send
// count, so not 127.1, 2130706433, 0x7f.1, localhost. or [::ffff:127.0.0.1].
//
// Package middleware takes the same hosts for http origins, and tests that it does. Package tokens takes fewer,
// because there this server's own resolver is asked, and it may send app.localhost anywhere.
func isLoopback(host string) bool {
	if i := strings.LastIndexByte(host, ':'); i >= 0 && !strings.HasSuffix(host, "]") {
		port := host[i+1:]
		if port == "" || strings.Trim(port, "0123456789") != "" {
			return false
		}
		host = host[:i]
	}
	if host == "[::1]" {
		return true
	}
	if addr, err := netip.ParseAddr(host); err == nil {
		return addr.Is4() && addr.IsLoopback()
	}
	for label := range strings.SplitSeq(host, ".") {
		if label == "" || strings.Trim(strings.ToLower(label), "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return false
		}
	}
	last := host[strings.LastIndexByte(host, '.')+1:]
	return strings.EqualFold(last, "localhost")
}
