package cookies

import (
	"fmt"
	"net/http"
	"net/textproto"
	"strings"

	"github.com/doorward/doorward/auth"
)

// Get returns the cookie's value, [auth.CredentialsMissing] when there is none. The error's text names another cookie of
// the request that has the same name under another prefix or behind another Jar's name; nobody is let in by it.
//
// Only the exact name counts: a browser keeps what the prefix promises for __Host-x, not for __host-x.
// Two cookies of the name mean that somebody else has set one, and a value that Set would refuse was
// not set by it: both are [auth.RequestMalformed], and [auth.WriteProblem] expires the cookie with the
// answer. A seal that does not open is [auth.TokenInvalid] and expires nothing, because the key may be
// one that this node does not know yet.
func (p Policy) Get(r *http.Request) (string, error) {
	f, err := p.form(r)
	if err != nil {
		return "", err
	}
	value, fault := f.find(r)
	if fault != "" {
		return "", &malformed{fault, f.expired(r)}
	}
	return p.open(&f, r, value)
}

// open turns what find has found into what Get returns.
func (p *Policy) open(f *form, r *http.Request, value string) (string, error) {
	switch {
	case value == "":
		return "", f.missing(r)
	case p.Seal.Keys == nil:
		return value, nil
	}
	return p.Seal.unseal(f.fullName(), value)
}

// find returns the value of the one cookie of this name, "" when there is none, or what is wrong.
//
// It reads the header itself, because net/http strips quotes and spaces, skips pairs that it does not
// like, and shows no cookie at all when there are more than 3,000: each hides from us what was sent.
// Quotes do not shield a semicolon, as they do not in browsers.
func (f *form) find(r *http.Request) (value, fault string) {
	found := false
	for _, line := range r.Header["Cookie"] {
		for more := true; more; {
			var pair string
			pair, line, more = strings.Cut(line, ";")
			rest, ok := f.cutName(textproto.TrimString(pair))
			if !ok {
				continue
			}
			if found {
				return "", "two cookies named " + f.fullName()
			}
			found, value = true, rest
		}
	}
	switch {
	case !found:
		return "", ""
	case len(f.prefix)+len(f.name)+len(f.suffix)+len(value) > maxSize:
		return "", fmt.Sprintf("the cookie %s is above %d bytes", f.fullName(), maxSize)
	case !isValue(value):
		return "", "the value of the cookie " + f.fullName() + " is empty or holds a byte that is never set"
	}
	return value, ""
}

// count returns how many cookies of this name came.
func (f *form) count(r *http.Request) (n int) {
	for _, line := range r.Header["Cookie"] {
		for pair := range strings.SplitSeq(line, ";") {
			if _, ours := f.cutName(textproto.TrimString(pair)); ours {
				n++
			}
		}
	}
	return n
}

// cutName returns what follows the name and "=" in a pair, and whether the name is ours. The name
// without "=" is ours as well, with an empty value: some browsers send nameless cookies like that.
func (f *form) cutName(pair string) (value string, ours bool) {
	for _, part := range [...]string{f.prefix, f.name, f.suffix} {
		var ok bool
		if pair, ok = strings.CutPrefix(pair, part); !ok {
			return "", false
		}
	}
	if pair == "" {
		return "", true
	}
	return strings.CutPrefix(pair, "=")
}

// missing is CredentialsMissing. Where a cookie came that another Jar or Policy sets for the same use, it names that
// one, because login and guard that differ would otherwise log everybody out without a word.
func (f *form) missing(r *http.Request) error {
	use := f.name
	if f.suffix != "" {
		use = f.suffix[1:]
	}
	for _, line := range r.Header["Cookie"] {
		for pair := range strings.SplitSeq(line, ";") {
			name, _, named := strings.Cut(textproto.TrimString(pair), "=")
			if !named || len(name) > 64 { // a value without a name, which must not be logged
				continue
			}
			bare := strings.TrimPrefix(strings.TrimPrefix(name, "__Host-"), "__Secure-")
			if rest, ok := strings.CutSuffix(bare, use); ok && (rest == "" || rest[len(rest)-1] == '-') {
				return fmt.Errorf("%w: no cookie %s came, but %q: expected one Jar or Policy where cookies are set and where they are read",
					auth.CredentialsMissing, f.fullName(), name)
			}
		}
	}
	return auth.CredentialsMissing
}

// malformed is a request with cookies of ours that are not as we set them. The text never holds a value.
type malformed struct {
	fault  string
	expire []*http.Cookie
}

func (e *malformed) Error() string { return string(auth.RequestMalformed) + ": " + e.fault }

func (e *malformed) Unwrap() error { return auth.RequestMalformed }

// ResponseHeader has auth.WriteProblem expire the cookies. It reaches those that are ours by host and path;
// what another host has set under our name stays, where no __Host- has kept it out.
func (e *malformed) ResponseHeader() http.Header {
	h := http.Header{}
	put(h, e.expire...)
	return http.Header{"Set-Cookie": h["Set-Cookie"]}
}
