package auth

import (
	"fmt"
	"net/http"
)

// A TenantOf says which organisation a request is about, such as [PathTenant]. middleware.RequireTenant compares it with the
// organisation that the principal's grants hold in.
//
// An error ends the request; wrap a [Code], such as [NotFound] for an organisation that is not there. "" is refused with
// [TenantForbidden]: it would compare with a principal whose grants are global.
type TenantOf func(r *http.Request) (string, error)

// OwnTenant takes the organisation that the principal is limited to, whichever that is: for an application whose tokens are
// all limited to one, and whose routes name none. A handler then reads Principal.Tenant, and nothing else, to know where it acts.
func OwnTenant(r *http.Request) (string, error) {
	p, ok := FromContext(r.Context())
	if !ok {
		return "", CredentialsMissing
	}
	return p.Tenant, nil
}

// PathTenant takes the organisation from a wildcard of the route's pattern: PathTenant("org") for "GET /orgs/{org}/members". A
// route without that wildcard is a mistake of the application's, [Internal].
func PathTenant(wildcard string) TenantOf {
	return func(r *http.Request) (string, error) {
		tenant := r.PathValue(wildcard)
		if tenant == "" {
			return "", fmt.Errorf("auth: PathTenant: the pattern %q matched no wildcard {%s}", r.Pattern, wildcard)
		}
		return tenant, nil
	}
}
