package middleware

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/textproto"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
)

// A permission is what a request with a stale access token may have.
type permission int

const (
	nothing permission = iota
	lend               // a principal for this request, and no trace
	rotate             // a new pair
)

// permit judges by the browser's own words who has caused r.
func (f *cookieRefresh) permit(r *http.Request) permission {
	may := f.CSRF.origins.permit(r)
	if may == nothing {
		return nothing
	}
	// CONNECT is how HTTP/2 opens a WebSocket (RFC 8441).
	if r.Method == http.MethodConnect || isUpgrade(r) || isPrefetch(r) || f.InHeader && !isReadable(r) {
		return lend
	}
	return may
}

// permit leaves Upgrade and Sec-Purpose aside.
//
// A configured Origin counts as the own one also where it is another: its pages may cause unsafe requests
// here. A GET without either header comes from a browser of before 2023 or from none at all: there a foreign
// page could cause a rotation, whose cookies such a browser takes, and reads nothing of it.
func (o origins) permit(r *http.Request) permission {
	site, origin := r.Header["Sec-Fetch-Site"], r.Header["Origin"]
	spoke, err := o.check(r)
	if len(site) == 1 && len(origin) == 0 && site[0] != "same-origin" {
		if r.Method != http.MethodGet || isUpgrade(r) || !says(r, "Sec-Fetch-Mode", "navigate") {
			return nothing // a frame's image, a foreign script, a form
		}
		switch site[0] {
		case "none", "same-site":
			return rotate
		case "cross-site": // a link in a mail, say: the page is the user's, the moment was another's choice
			return lend
		}
		return nothing
	}
	switch {
	case err != nil:
		return nothing
	case spoke, isSafe(r.Method) && !isUpgrade(r):
		return rotate
	}
	return nothing
}

// isPrefetch says whether nobody may ever look at the answer. Purpose is what older browsers send.
func isPrefetch(r *http.Request) bool {
	return len(r.Header["Sec-Purpose"]) > 0 || len(r.Header["Purpose"]) > 0
}

// isReadable says whether a script can read the answer's header: the browser would drop a token sent to a page
// or an image, and each of them would rotate.
func isReadable(r *http.Request) bool {
	dest := r.Header["Sec-Fetch-Dest"]
	return !says(r, "Sec-Fetch-Mode", "navigate") && (len(dest) == 0 || len(dest) == 1 && dest[0] == "empty")
}

func says(r *http.Request, name, word string) bool {
	values := r.Header[name]
	return len(values) == 1 && values[0] == word
}

// isOfSession says whether a JWT that was shown and refused names this session. It is read without a look at the
// signature, as a hint: what it says can only keep a new token from a page, never give anybody another's. A JWT
// that cannot be read names none.
func isOfSession(authorization, session string) bool {
	parts := strings.Split(authorization, ".")
	if len(parts) != 3 || session == "" {
		return false
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return false
	}
	var claims struct {
		Session string `json:"sid"`
	}
	return json.Unmarshal(payload, &claims) == nil && claims.Session == session
}

// replaceCookies does to the Cookie header of a request what Set-Cookie lines would do to the next one. Every
// spelling that net/http reads as one of the names goes, so that all parts of a system see the same
// cookie. With expire, cookies that the lines expire are taken out; without it they stay.
func replaceCookies(h http.Header, lines []string, expire bool) error {
	var names, kept, added []string
	for _, line := range lines {
		c, err := http.ParseSetCookie(line)
		if err != nil {
			return fmt.Errorf("middleware: a cookie of our own: %w", err)
		}
		switch {
		case c.MaxAge >= 0:
			added = append(added, c.Name+"="+c.Value)
		case !expire:
			continue
		}
		names = append(names, c.Name)
	}
	for _, line := range h["Cookie"] {
		for pair := range strings.SplitSeq(line, ";") {
			pair = textproto.TrimString(pair)
			name, _, _ := strings.Cut(pair, "=")
			if pair != "" && !slices.Contains(names, textproto.TrimString(name)) {
				kept = append(kept, pair)
			}
		}
	}
	if kept = append(kept, added...); len(kept) == 0 {
		delete(h, "Cookie")
		return nil
	}
	h["Cookie"] = []string{strings.Join(kept, "; ")}
	return nil
}
