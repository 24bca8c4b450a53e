package middleware

import (
	"net/http"

	"github.com/doorward/doorward/auth"
)

// RequireCSRF lets a request on that c.Check lets on. It stands behind [RequireAuth], whose principal it
// needs. On safe requests of an Ambient principal the answer carries a fresh token in X-CSRF-Token, and
// Cache-Control: no-store: a page reads it from any GET and shows it in its unsafe requests. A new login has a
// new session and needs a new token; a refresh keeps it. A principal without a session has a token of its owner.
//
// Where Sec-Fetch-Site or Origin decide on a GET, that is on an upgrade, the answer has a Vary that says
// so. A nil c, or one that NewCSRF has not made, makes every request 500.
func RequireCSRF(c *CSRF) Middleware {
	return wrap(func(w http.ResponseWriter, r *http.Request) (*http.Request, error) {
		safe := isSafe(r.Method)
		if safe && isUpgrade(r) {
			w.Header().Add("Vary", "Origin, Sec-Fetch-Site")
		}
		if err := c.Check(r); err != nil {
			return nil, err
		}
		if p, ok := auth.FromContext(r.Context()); ok && safe && p.Ambient && (p.Session != "" || p.Subject != "") {
			token, err := c.Token(p)
			if err != nil {
				return nil, err
			}
			w.Header()["Cache-Control"] = noStore
			w.Header().Set(csrfHeader, token)
		}
		return r, nil
	})
}
