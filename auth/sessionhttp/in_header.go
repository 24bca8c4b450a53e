package sessionhttp

import (
	"fmt"
	"net/http"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/auth/session"
)

// isOfPage refuses a page that shows what is not of the session of the refresh cookie, which has this id. The access token is
// the page's and the cookie the browser's: after a login in another tab they are two users', and neither may the second
// one's token come to the first one's page, nor may that page end the second one's session. It says nothing of whether
// the session lives.
func (h *handler) isOfPage(r *http.Request, id string) error {
	if !h.InHeader {
		return nil
	}
	p, shown := h.access.Authenticate(r)
	switch {
	case shown == nil && p.Session == id:
		return nil
	case shown == nil:
		return fmt.Errorf("%w: the access token is not of the refresh cookie's session", auth.CSRFFailed)
	case len(r.Header["X-Csrf-Token"]) > 0:
		p = &auth.Principal{Subject: "the refresh cookie's", Session: id, Ambient: true}
		return h.CSRF.Check(r.WithContext(auth.NewContext(r.Context(), p)))
	case auth.CodeOf(shown) == auth.CredentialsMissing:
		return nil // a page that was just loaded
	}
	return shown // it has expired, say, and who it was of is not proven
}

// ofAnother says whether the refresh cookie is of another session than the one of this id, which has ended, and may live.
func (h *handler) ofAnother(r *http.Request, id string) bool {
	if !h.InHeader {
		return false
	}
	token, err := h.Jar.Refresh(r)
	if err != nil {
		return false
	}
	if of, err := h.Sessions.SessionOf(token); err == nil && of == id {
		return false
	}
	_, err = h.Sessions.Lend(r.Context(), token, auth.ClientOf(r))
	return !session.Ended(err)
}
