package middleware

import (
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/doorward/doorward/auth"
)

// origins are the configured ones, in the only spelling that browsers send.
type origins []string

// check decides by Sec-Fetch-Site and Origin whether r may have been caused by one of the origins. spoke
// says whether either header was there. The Host header plays no part: it lacks the scheme, and behind a
// proxy it may be anybody's word.
func (o origins) check(r *http.Request) (spoke bool, err error) {
	origin, site := r.Header["Origin"], r.Header["Sec-Fetch-Site"]
	// No browser sends either twice. Which one would another part of the system believe?
	if len(origin) > 1 || len(site) > 1 {
		return true, fmt.Errorf("%w: %d Origin and %d Sec-Fetch-Site headers", auth.CSRFFailed, len(origin), len(site))
	}
	sameOrigin := len(site) == 1 && site[0] == "same-origin"
	if len(origin) == 1 {
		switch {
		case slices.Contains(o, origin[0]):
			return true, nil // a configured one may be cross-site
		case origin[0] == "null" && sameOrigin:
			// A form of a page with Referrer-Policy: no-referrer sends null to its own origin
			// (Fetch standard, "append a request Origin header"). A sandboxed frame's is not same-origin.
			return true, nil
		}
		return true, fmt.Errorf("%w: Origin: got %.100q, expected one of %q", auth.CSRFFailed, origin[0], []string(o))
	}
	if len(site) == 1 && !sameOrigin && site[0] != "none" {
		return true, fmt.Errorf("%w: Sec-Fetch-Site: got %.40q without an Origin, expected same-origin, none, or an Origin of %q",
			auth.CSRFFailed, site[0], []string(o))
	}
	return len(site) == 1, nil
}

// checkOrigin says what is wrong with a configured origin. Whatever a browser would spell otherwise would
// never match, so that it is refused here and not found out by users (RFC 6454 section 6.2).
func checkOrigin(s string) error {
	u, err := url.Parse(s)
	if err != nil {
		return fmt.Errorf("middleware: origin %q: %w", s, err)
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return fmt.Errorf("middleware: origin: got %q, expected https://host or https://host:port", s)
	}
	host, local, ok := canonicalHost(u.Hostname())
	if !ok {
		return fmt.Errorf("middleware: origin %q: got host %q, expected one name or address, in ASCII and without a wildcard",
			s, u.Hostname())
	}
	if u.Scheme == "http" && !local {
		return fmt.Errorf("middleware: origin: got %q, expected https: http is for loopback hosts only", s)
	}
	want := u.Scheme + "://" + host
	if port := u.Port(); port != "" {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 {
			return fmt.Errorf("middleware: origin %q: got port %q, expected 1 to 65535", s, port)
		}
		if !(u.Scheme == "https" && n == 443 || u.Scheme == "http" && n == 80) {
			want += ":" + strconv.FormatUint(n, 10)
		}
	}
	if s != want {
		return fmt.Errorf("middleware: origin: got %q, expected %q", s, want)
	}
	return nil
}

// canonicalHost returns a host as browsers write it, and whether it is the own machine: what package cookies
// takes for it with InsecureLoopback, so that a development page which may cause requests has its cookies too.
func canonicalHost(host string) (canonical string, local, ok bool) {
	host = strings.ToLower(host)
	if addr, err := netip.ParseAddr(host); err == nil {
		canonical = addr.String()
		if addr.Is6() {
			canonical = "[" + canonical + "]"
		}
		return canonical, addr.IsLoopback(), addr.Zone() == "" && !addr.Is4In6()
	}
	labels := strings.Split(host, ".")
	for _, label := range labels {
		if label == "" || strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return "", false, false
		}
	}
	last := labels[len(labels)-1]
	if '0' <= last[0] && last[0] <= '9' { // browsers take it for an IPv4 address and rewrite it
		return "", false, false
	}
	return host, last == "localhost", true
}
