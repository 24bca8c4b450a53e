package sessionhttp

import (
	"fmt"
	"net/http"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/auth/session"
)

// isOfPage refuses a page that shows what is not of the session of the refresh cookie. The access token is the
// page's and the cookie the browser's: after a login in another tab they are two users', and neither may the second
// one's token come to the first one's page, nor may that page end the second one's session.
func (h *handler) isOfPage(r *http.Request, refresh string) error {
	if !h.InHeader {
		return nil
	}
	p, shown := h.access.Authenticate(r)
	if auth.CodeOf(shown) == auth.CredentialsMissing && len(r.Header["X-Csrf-Token"]) == 0 {
		return nil // a page that was just loaded
	}
	pair, err := h.Sessions.Lend(r.Context(), refresh, auth.ClientOf(r)) // changes nothing, and says which session
	switch {
	case session.Ended(err), auth.CodeOf(err) == auth.TokenExpired:
		return nil // nobody is there, or the token is old: the refresh or logout itself answers
	case err != nil:
		return err
	case shown == nil && p.Session == pair.Session:
		return nil
	case shown == nil:
		return fmt.Errorf("%w: the access token is not of the refresh cookie's session", auth.CSRFFailed)
	case len(r.Header["X-Csrf-Token"]) == 0: // it has expired, say, and who it was of is not proven
		return shown
	}
	p = &auth.Principal{Subject: "the refresh cookie's", Session: pair.Session, Ambient: true}
	return h.CSRF.Check(r.WithContext(auth.NewContext(r.Context(), p)))
}

// ofAnother says whether the refresh cookie is of a session that lives: it is not the one that has just ended.
func (h *handler) ofAnother(r *http.Request) bool {
	if !h.InHeader {
		return false
	}
	token, err := h.Jar.Refresh(r)
	if err != nil {
		return false
	}
	_, err = h.Sessions.Lend(r.Context(), token, auth.ClientOf(r))
	return err == nil
}
