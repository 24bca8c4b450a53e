package middleware

import (
	"net/http"

	"github.com/doorward/doorward/auth"
)

// Require lets a principal on for which rule returns nil: a route's own rule, where no other guard has it. It stands behind
// [RequireAuth]; a request without a principal is 401 credentials_missing, and rule is not asked.
//
// rule says no with an error that wraps a code, which is answered: fmt.Errorf("%w: only from Berlin", auth.TenantForbidden).
// An error without a code is a fault of ours, 500, and its cause goes to the log: a database that is down must not be
// told to a user as "you may not". So is a panic of rule, with the stack in the log. rule is called once for each request, by many at once. A nil rule makes every request 500.
//
// For a rule that needs the request, such as a part of its path, write a [Middleware] and answer with [WriteError].
func Require(rule func(*auth.Principal) error) Middleware {
	if rule == nil {
		return broken("Require needs a rule: got nil")
	}
	return wrap(func(_ http.ResponseWriter, r *http.Request) (*http.Request, error) {
		p, ok := auth.FromContext(r.Context())
		if !ok {
			return nil, auth.CredentialsMissing
		}
		return r, ask(rule, p)
	})
}

// ask asks rule, and turns a panic into an error that lets nobody in.
func ask(rule func(*auth.Principal) error, p *auth.Principal) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = panicked("the rule of Require", v)
		}
	}()
	return rule(p)
}
