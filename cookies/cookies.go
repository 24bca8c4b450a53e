// Package cookies sets, reads and expires cookies in the strictest form that browsers know.
//
// It does not own what a cookie says (package tokens), nor whether the user meant the request: a
// browser sends cookies by itself, so a route that changes something needs middleware.RequireCSRF too.
package cookies

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// The limits of RFC 6265bis sections 5.5 and 5.6. A browser cuts or drops what is above them without
// a word, so that the user would be logged out for no visible reason.
const (
	maxLife = 400 * 24 * time.Hour
	maxSize = 4096 // bytes of name and value
	maxPath = 1024 // bytes of an attribute's value
)

// A Policy is how one cookie is set, read and expired. With nothing but a Name it is __Host-, Secure,
// HttpOnly, SameSite=Lax and Path=/ (RFC 6265bis section 4.1.3.2). HttpOnly cannot be turned off, and
// there is no Domain: with one, every subdomain could read the cookie and put another in its place.
//
// A policy that contradicts itself makes each of its methods return an error without a code, a 500.
type Policy struct {
	// Name is an HTTP token, to which the prefix is added; demanded. One that begins with two
	// underscores is refused, since browsers keep such names for prefixes, in any letter case.
	Name string

	// Path is where the browser sends the cookie; "" means "/". Any other turns the prefix into
	// __Secure-, which does not keep a sibling subdomain from setting a cookie of the same name: alone
	// that one is taken for ours, and beside ours both are refused until it is gone.
	Path string

	SameSite http.SameSite // 0 is Lax, Strict is stricter; None needs InsecureCrossSite

	// InsecureCrossSite sends the cookie with requests that other sites cause as well (SameSite=None),
	// for a page that lives in another site's frame. It takes away the browser's own guard against
	// forged requests: every route that reads the cookie must then stand behind middleware.RequireCSRF.
	//
	// The cookie is Partitioned too (CHIPS, draft-cutler-httpbis-partitioned-cookies): browsers that block cookies of
	// other sites keep it all the same, in a jar for each site whose page is on top. So a login in the frame holds
	// below that site alone, and a login on the own page is unknown in the frame. The cookies of one site in one such
	// jar have 10 KiB together in Chromium. A browser that does not know the word ignores it.
	InsecureCrossSite bool

	// InsecureLoopback is for development: over plain http to a loopback host (localhost, *.localhost,
	// 127.0.0.0/8, [::1]) the prefix and Secure are dropped. Every other host, and every request that
	// shows a proxy, gets an error, so that the switch cannot be left on in production unnoticed.
	InsecureLoopback bool

	// Seal encrypts the value. Without it a signed token is there as it is: base64, so its ids and
	// grants are readable, though not changeable.
	Seal Seal

	suffix string // added to Name by Jar: not joined before it is needed, so that reading allocates nothing
}

// Set sets the cookie until expires; the zero time means until the browser closes. It replaces what
// was set or expired under this name in the same response, and forbids caches to keep the response.
//
// Without Seal the value must consist of A-Z a-z 0-9 - . _ ~ (net/http drops other bytes and only logs
// it), so that no free text such as an e-mail address can be set in clear. An empty value, one that
// makes name and value exceed 4096 bytes together, an instant less than a second or more than 400 days
// away are errors. After an error nothing was set.
func (p Policy) Set(w http.ResponseWriter, r *http.Request, value string, expires time.Time) error {
	c, err := p.cookie(r, value, expires)
	if err != nil {
		return err
	}
	put(w.Header(), c)
	return nil
}

// Clear expires the cookie in the browser. Like Set it replaces and forbids caching.
func (p Policy) Clear(w http.ResponseWriter, r *http.Request) error {
	f, err := p.form(r)
	if err != nil {
		return err
	}
	put(w.Header(), f.expired(r)...)
	return nil
}

// cookie makes the cookie that Set sends.
func (p *Policy) cookie(r *http.Request, value string, expires time.Time) (*http.Cookie, error) {
	f, err := p.form(r)
	if err != nil {
		return nil, err
	}
	name := f.fullName()
	if value == "" {
		return nil, fmt.Errorf("cookies: no value for %s; Clear expires it", name)
	}
	if p.Seal.Keys != nil {
		if value, err = p.Seal.seal(name, value); err != nil {
			return nil, err
		}
	}
	if !isValue(value) {
		return nil, fmt.Errorf("cookies: the value of %s holds a byte outside A-Z a-z 0-9 - . _ ~", name)
	}
	if size := len(name) + len(value); size > maxSize {
		return nil, fmt.Errorf("cookies: name and value of %s must be at most %d bytes: got %d", name, maxSize, size)
	}
	c := f.cookie(value)
	if !expires.IsZero() {
		// Max-Age, not Expires: the browser's clock may be wrong. Rounded down, so as not to outlive.
		life := time.Until(expires)
		if life < time.Second || life > maxLife {
			return nil, fmt.Errorf("cookies: the life of %s must be from 1 s to 400 days: got %s", name, life)
		}
		c.MaxAge = int(life / time.Second)
	}
	return c, nil
}

// A form is a checked policy in the shape that one request calls for.
type form struct {
	prefix, name, suffix, path string
	secure                     bool
	partitioned                bool // another cookie than one of the same name without it, so that Clear repeats it
	sameSite                   http.SameSite
}

// form checks the policy and fits it to the request.
func (p *Policy) form(r *http.Request) (form, error) {
	f := form{prefix: "__Host-", name: p.Name, suffix: p.suffix, path: "/", secure: true}
	switch {
	case !isToken(p.Name):
		return f, fmt.Errorf("cookies: Name must be an HTTP token: got %q", p.Name)
	case strings.HasPrefix(p.Name, "__"):
		return f, fmt.Errorf("cookies: Name must not begin with two underscores, the prefix is added: got %q", p.Name)
	case p.Seal.Keys != nil && p.Seal.Issuer == "":
		return f, errors.New("cookies: Seal needs an Issuer, or what another installation with the same secret has sealed would open here")
	case p.Seal.Keys == nil && p.Seal.Issuer != "":
		return f, errors.New("cookies: Seal needs Keys: with an Issuer alone it would send the value in clear")
	}
	if p.Path != "" && p.Path != "/" {
		if !isPath(p.Path) {
			return f, fmt.Errorf("cookies: Path must begin with a slash, hold printable ASCII without space and ';', and be at most %d bytes: got %q", maxPath, p.Path)
		}
		f.prefix, f.path = "__Secure-", p.Path
	}
	switch p.SameSite {
	case 0:
		f.sameSite = http.SameSiteLaxMode
	case http.SameSiteLaxMode, http.SameSiteStrictMode:
		f.sameSite = p.SameSite
	case http.SameSiteNoneMode:
		if !p.InsecureCrossSite {
			return f, errors.New("cookies: SameSite None needs InsecureCrossSite, and RequireCSRF on every route that reads the cookie")
		}
	default:
		return f, fmt.Errorf("cookies: SameSite must be Lax or Strict: got %d", p.SameSite)
	}
	if p.InsecureCrossSite {
		if p.SameSite != 0 && p.SameSite != http.SameSiteNoneMode {
			return f, errors.New("cookies: InsecureCrossSite contradicts SameSite Lax or Strict")
		}
		f.sameSite, f.partitioned = http.SameSiteNoneMode, true
	}
	if p.InsecureLoopback {
		plain, err := plainLoopback(r)
		if err != nil {
			return f, err
		}
		if plain {
			f.prefix, f.secure = "", false
			if f.sameSite == http.SameSiteNoneMode {
				// Browsers take None and Partitioned with Secure only; ports of one host are one site.
				f.sameSite, f.partitioned = http.SameSiteLaxMode, false
			}
		}
	}
	return f, nil
}

// fullName is the name that the browser sees.
func (f *form) fullName() string { return f.prefix + f.name + f.suffix }

func (f *form) cookie(value string) *http.Cookie {
	return &http.Cookie{
		Name: f.fullName(), Value: value, Path: f.path,
		Secure: f.secure, HttpOnly: true, SameSite: f.sameSite, Partitioned: f.partitioned,
	}
}

// expired repeats every attribute: a browser ignores the deletion of a prefixed cookie that breaks
// the prefix's rules, keeps one whose path differs, and looks for a partitioned one in another jar. Where InsecureCrossSite
// is on, or two cookies came, both jars may have one, since the setting has changed, and each line reaches one of them.
func (f *form) expired(r *http.Request) []*http.Cookie {
	c := f.cookie("")
	c.MaxAge = -1
	if !f.secure || !f.partitioned && f.count(r) < 2 { // browsers take Partitioned with Secure only
		return []*http.Cookie{c}
	}
	other := *c
	other.Partitioned = !c.Partitioned
	return []*http.Cookie{c, &other}
}

// put sets the cookies in h in place of whatever h has set under their names. A response with two of one name is
// against RFC 6265bis section 4.1.1, and which one a browser keeps is a matter of order; but for an expiry of a partitioned
// and another one, which are two cookies of a browser.
func put(h http.Header, cookies ...*http.Cookie) {
	var lines []string
	for _, line := range h["Set-Cookie"] {
		name, _, _ := strings.Cut(line, "=")
		name = strings.TrimSpace(name)
		ours := false
		for _, c := range cookies {
			ours = ours || name == c.Name
		}
		if !ours {
			lines = append(lines, line)
		}
	}
	for _, c := range cookies {
		lines = append(lines, c.String())
	}
	h["Set-Cookie"] = lines
	h.Set("Cache-Control", "no-store") // a cache that keeps it would hand one user's session to the next
}

// isToken says whether s is a token of RFC 9110 section 5.6.2.
func isToken(s string) bool {
	for i := range len(s) {
		if !isAlphanumeric(s[i]) && strings.IndexByte("!#$%&'*+-.^_`|~", s[i]) < 0 {
			return false
		}
	}
	return s != ""
}

// valueBytes is the alphabet of values: what tokens are made of, and nothing that any parser of cookies
// drops, unquotes or splits, or that free text cannot do without. A table, because it is asked for every
// byte of every request's token.
var valueBytes = func() (table [256]bool) {
	for c := range table {
		table[c] = isAlphanumeric(byte(c)) || strings.IndexByte("-._~", byte(c)) >= 0
	}
	return table
}()

// isValue says whether s can be a cookie's value.
func isValue(s string) bool {
	for i := range len(s) {
		if !valueBytes[s[i]] {
			return false
		}
	}
	return s != ""
}

func isAlphanumeric(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

func isPath(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' || s[i] == ';' {
			return false
		}
	}
	return s != "" && s[0] == '/' && len(s) <= maxPath
}
