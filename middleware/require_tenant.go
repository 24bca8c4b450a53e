package middleware

import (
	"context"
	"fmt"
	"net/http"

	"github.com/doorward/doorward/auth"
)

// RequireTenant lets a principal on whose grants hold in the organisation that the request is about, and says to
// [RequireRole] and [RequireCompetency] behind it that this was judged. Another principal gets 403 tenant_forbidden, and a
// request without a principal 401 credentials_missing.
//
// A principal without a Tenant is refused: its grants are global, and no grants in each organisation. A route for both
// kinds of principals is two routes.
//
// of is auth.PathTenant, auth.OwnTenant or a function of the application's. A nil one makes every request 500.
func RequireTenant(of auth.TenantOf) Middleware {
	if of == nil {
		return broken("RequireTenant was given a nil TenantOf")
	}
	return wrap(func(_ http.ResponseWriter, r *http.Request) (*http.Request, error) {
		p, err := checkTenant(r, of)
		if err != nil {
			return nil, err
		}
		return r.WithContext(context.WithValue(r.Context(), tenantKey{}, p.Tenant)), nil
	})
}

// tenantKey has the organisation that RequireTenant has found right. In a request's context it opens nothing by itself: the
// principal must be limited to the same one.
type tenantKey struct{}

func checkTenant(r *http.Request, of auth.TenantOf) (*auth.Principal, error) {
	p, ok := auth.FromContext(r.Context())
	if !ok {
		return nil, auth.CredentialsMissing
	}
	tenant, err := of(r)
	switch {
	case err != nil:
		return nil, err
	case p.Tenant == "":
		return nil, fmt.Errorf("%w: the grants of the principal are global, expected those of tenant %.80q", auth.TenantForbidden, tenant)
	case p.Tenant != tenant:
		return nil, fmt.Errorf("%w: the grants of the principal hold in %.80q, the request is about %.80q", auth.TenantForbidden, p.Tenant, tenant)
	}
	return p, nil
}

// granted returns the principal of a request whose grants may be looked at. Those of one organisation count only where
// RequireTenant has judged that organisation: anybody may found a club and be its "admin", and a route of the platform
// that asks for "admin" does not mean that one.
func granted(r *http.Request) (*auth.Principal, error) {
	p, ok := auth.FromContext(r.Context())
	if !ok {
		return nil, auth.CredentialsMissing
	}
	if p.Tenant == "" {
		return p, nil
	}
	if judged, _ := r.Context().Value(tenantKey{}).(string); judged != p.Tenant {
		return nil, fmt.Errorf("%w: the grants of the principal hold in %.80q, and no RequireTenant stands before this guard", auth.TenantForbidden, p.Tenant)
	}
	return p, nil
}
