package middleware

import (
	"fmt"
	"net/http"
	"slices"

	"github.com/doorward/doorward/auth"
)

// RequireService lets a service on whose client id is one of these, proven by a token of the kind service (tokens.Service)
// or by the key of an apikey.Static. Another service, a person and a key of apikey.Keys, which speaks for its owner, get 403
// role_missing, and a request without a principal 401 credentials_missing. A service whose grants hold in one
// organisation gets 403 tenant_forbidden unless [RequireTenant] stands before. What the service may do is for
// [RequireCompetency]: the scopes that its token was made with are its competencies. An empty client id makes every
// request 500.
func RequireService(anyOf string, more ...string) Middleware {
	clients := append([]string{anyOf}, more...)
	if slices.Contains(clients, "") {
		return broken("RequireService was given an empty client id")
	}
	return wrap(func(_ http.ResponseWriter, r *http.Request) (*http.Request, error) {
		return r, checkService(r, clients)
	})
}

func checkService(r *http.Request, anyOf []string) error {
	p, err := granted(r)
	switch {
	case err != nil:
		return err
	case !p.Service:
		return fmt.Errorf("%w: one of the services %q, not a person", auth.RoleMissing, anyOf)
	case !slices.Contains(anyOf, p.ClientID):
		return fmt.Errorf("%w: one of the services %q", auth.RoleMissing, anyOf)
	}
	return nil
}
