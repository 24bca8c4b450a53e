package middleware

import (
	"fmt"
	"net/http"
	"slices"

	"github.com/doorward/doorward/auth"
)

// RequireRole lets a principal on that has at least one of the roles; another gets 403 role_missing, and a
// request without a principal 401 credentials_missing. A principal whose grants hold in one organisation gets 403
// tenant_forbidden unless [RequireTenant] stands before. An empty role makes every request 500.
func RequireRole(anyOf string, more ...string) Middleware {
	roles := append([]string{anyOf}, more...)
	if slices.Contains(roles, "") {
		return broken("RequireRole was given an empty role")
	}
	return wrap(func(_ http.ResponseWriter, r *http.Request) (*http.Request, error) {
		return r, checkRole(r, roles)
	})
}

func checkRole(r *http.Request, anyOf []string) error {
	p, err := granted(r)
	if err != nil {
		return err
	}
	if !p.HasRole(anyOf...) {
		return fmt.Errorf("%w: any of %q", auth.RoleMissing, anyOf)
	}
	return nil
}
