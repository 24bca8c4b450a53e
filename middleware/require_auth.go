package middleware

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/doorward/doorward/auth"
)

// RequireAuth lets a request on when it proves a principal, and puts that principal into its context
// (see [auth.FromContext]). It proves what the request itself carries: a principal that already stands
// in the context counts for nothing.
//
// The authenticators are asked in turn. One that finds nothing of its kind passes the request to the
// next; any other refusal ends it, for a bad credential is refused and not skipped. After a success the
// rest must find nothing: two credentials in one request are 400, because different parts of a system
// might each believe another one (RFC 6750 section 2). So is an access_token in the query, which logs
// and histories keep; it is never read (RFC 6750 section 5.3). A request body is never read either.
//
// The answer gets Cache-Control: no-store before the handler runs; a handler that knows better may
// replace it. A panic of an authenticator is 500, with the stack in the log.
func RequireAuth(a auth.Authenticator, more ...auth.Authenticator) Middleware {
	asked, ok := prove(a, more)
	if !ok {
		return broken("RequireAuth was given a nil Authenticator")
	}
	return wrap(func(w http.ResponseWriter, r *http.Request) (*http.Request, error) {
		p, err := asked.principal(r)
		if err != nil {
			return nil, asked.challenge(explain(r, err))
		}
		return admit(w, r, p), nil
	})
}

// admit lets r on as p: the answer is p's own, so that no cache may keep it (RFC 9111 section 5.2.2.5).
func admit(w http.ResponseWriter, r *http.Request, p *auth.Principal) *http.Request {
	w.Header()["Cache-Control"] = noStore
	return r.WithContext(auth.NewContext(r.Context(), p))
}

// proofs are the authenticators of one guard, in the order in which they are asked.
type proofs []auth.Authenticator

func prove(a auth.Authenticator, more []auth.Authenticator) (proofs, bool) {
	asked := append(proofs{a}, more...)
	return asked, !slices.Contains(asked, nil)
}

// principal decides who sends r. It is CredentialsMissing when the request shows nothing at all.
func (asked proofs) principal(r *http.Request) (*auth.Principal, error) {
	if queryHasToken(r.URL.RawQuery) {
		return nil, fmt.Errorf("%w: an access_token in the query", auth.RequestMalformed)
	}
	var found *auth.Principal
	var missing error = auth.CredentialsMissing
	for _, a := range asked {
		p, err := authenticate(a, r)
		switch {
		case err == nil && found == nil:
			found = p
		case err == nil:
			return nil, fmt.Errorf("%w: two credentials in one request", auth.RequestMalformed)
		case isMissing(err):
			if missing == error(auth.CredentialsMissing) {
				missing = err // it may know more: that another cookie came, say
			}
		case found == nil, auth.CodeOf(err) == auth.Internal: // a fault of ours says nothing of the request
			return nil, err
		default: // without %w: its code and its headers belong to another answer
			return nil, fmt.Errorf("%w: two credentials in one request, the second: %v", auth.RequestMalformed, err)
		}
	}
	t := tried(r)
	if found == nil {
		if t != nil && t.err == nil && missing == error(auth.CredentialsMissing) {
			return nil, fmt.Errorf("%w: RefreshFromCookie has put a token where this guard does not look: expected the same Jar and InHeader", missing)
		}
		return nil, missing
	}
	if t != nil && t.ambient {
		found.Ambient = true // the browser sent the cookie that this token was made for
	}
	return found, nil
}

// isMissing says whether err means that a request showed nothing. It looks at the bare code first, because
// asking a second authenticator is part of a good request's way and CodeOf allocates.
func isMissing(err error) bool {
	return err == error(auth.CredentialsMissing) || auth.CodeOf(err) == auth.CredentialsMissing
}

// authenticate asks a, and turns whatever a broken one may do into an error that lets nobody in.
func authenticate(a auth.Authenticator, r *http.Request) (p *auth.Principal, err error) {
	defer func() {
		if v := recover(); v != nil {
			p, err = nil, panicked(fmt.Sprintf("%T", a), v)
		}
	}()
	p, err = a.Authenticate(r)
	if err == nil && (p == nil || p.Subject == "") {
		return nil, errors.New("middleware: an Authenticator returned neither an error nor a principal with a subject")
	}
	if err == nil {
		err = auth.CheckBinding(r.Context(), p) // those of package auth have done so, an application's own may not
	}
	if err != nil {
		return nil, err
	}
	return p, nil
}

// panicked is the error of an application's code that panicked with v.
func panicked(who string, v any) error {
	if v == http.ErrAbortHandler { // net/http's own word for "drop the connection and say nothing"
		panic(v)
	}
	return fmt.Errorf("middleware: %s panicked: %v\n%s", who, v, debug.Stack())
}

// queryHasToken says whether a raw query has a parameter access_token (RFC 6750 section 2.3), also a
// percent-encoded one and one after a semicolon, which url.ParseQuery drops.
func queryHasToken(raw string) bool {
	for raw != "" {
		var name string
		if end := strings.IndexAny(raw, "&;"); end >= 0 {
			name, raw = raw[:end], raw[end+1:]
		} else {
			name, raw = raw, ""
		}
		name, _, _ = strings.Cut(name, "=")
		if strings.Contains(name, "%") {
			name, _ = url.QueryUnescape(name) // what does not decode names nothing
		}
		if name == "access_token" {
			return true
		}
	}
	return false
}
