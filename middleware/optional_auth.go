package middleware

import (
	"net/http"

	"github.com/doorward/doorward/auth"
)

// OptionalAuth is [RequireAuth] for routes that also serve people who are not logged in: a request
// without any credential goes on without a principal, also when an outer middleware had put one into the
// context. A credential that is there and does not hold is refused as RequireAuth refuses it. To go on
// as nobody would show a logged-out page to a client that believes itself logged in.
//
// One refusal is none here. Where [RefreshFromCookie] was told tenant_forbidden, the login is limited to an organisation
// that its subject is no member of now: it opens nothing until the membership is back. The request goes on without a
// principal and the cookies stay, or every public page would be closed to that browser. RequireAuth refuses it, and so does
// OptionalAuth where the client shows a token in Authorization.
//
// Answers to a principal get Cache-Control: no-store. All answers get Vary: Cookie, Authorization, so
// that a cache never gives what it kept for nobody to somebody (RFC 9111 section 4.1). Where a credential
// comes in another header (see [auth.Header]), add that header to Vary before.
func OptionalAuth(a auth.Authenticator, more ...auth.Authenticator) Middleware {
	asked, ok := prove(a, more)
	if !ok {
		return broken("OptionalAuth was given a nil Authenticator")
	}
	return wrap(func(w http.ResponseWriter, r *http.Request) (*http.Request, error) {
		w.Header().Add("Vary", "Cookie, Authorization")
		p, err := asked.principal(r)
		if err == nil {
			return admit(w, r, p), nil
		}
		if !isGuest(r, err) {
			return nil, asked.challenge(explain(r, err))
		}
		if _, ok := auth.FromContext(r.Context()); ok {
			return r.WithContext(auth.NewContext(r.Context(), nil)), nil
		}
		return r, nil
	})
}

// isGuest says whether a request goes on without a principal, though it has none because of err.
func isGuest(r *http.Request, err error) bool {
	t := tried(r)
	switch {
	case t == nil || t.err == nil || t.over:
		return isMissing(err)
	case auth.CodeOf(t.err) == auth.TenantForbidden:
		// Who shows a token in Authorization is told; an expired cookie comes by itself.
		return isMissing(err) || auth.CodeOf(err) == t.was && len(r.Header["Authorization"]) == 0
	}
	return false // somebody is there, whose refresh has to wait
}
