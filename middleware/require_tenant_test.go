package middleware_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/middleware"
)

// PROTOCOLS 13, U-24: anybody may found a club and is its "admin". A platform route that asks for "admin" names no
// organisation, and must not open to that one.
func TestRequireTenant_U_24_ARoleOfOneOrganisation(t *testing.T) {
	founder := &auth.Principal{Issuer: "i", Subject: "eve", Tenant: "club", Roles: []string{"admin"}, Competencies: []string{"all"}}
	staff := &auth.Principal{Issuer: "i", Subject: "ann", Roles: []string{"admin"}, Competencies: []string{"all"}}
	byPath := func(guard middleware.Middleware) middleware.Middleware {
		return middleware.Chain(middleware.RequireTenant(auth.PathTenant("org")), guard)
	}
	byOwn := func(guard middleware.Middleware) middleware.Middleware {
		return middleware.Chain(middleware.RequireTenant(auth.OwnTenant), guard)
	}
	alone := func(guard middleware.Middleware) middleware.Middleware { return guard }
	become := func(p *auth.Principal) middleware.Middleware {
		return func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if p != nil {
					r = r.WithContext(auth.NewContext(r.Context(), p))
				}
				next.ServeHTTP(w, r)
			})
		}
	}
	twin := *founder
	twin.Tenant = "other"
	for _, c := range []struct {
		name   string
		p      *auth.Principal
		behind func(middleware.Middleware) middleware.Middleware
		path   string
		want   int
	}{
		{"a club's admin at the platform", founder, alone, "/orgs/club", 403},
		{"the platform's admin at the platform", staff, alone, "/orgs/club", 200},
		{"a club's admin at the club", founder, byPath, "/orgs/club", 200},
		{"a club's admin at another's", founder, byPath, "/orgs/other", 403},
		{"another spelling", founder, byPath, "/orgs/Club", 403},
		{"the platform's admin at a club: its grants are global, not grants in each", staff, byPath, "/orgs/club", 403},
		{"a club's admin where all tokens are limited", founder, byOwn, "/orgs/any", 200},
		{"the platform's admin where all tokens are limited", staff, byOwn, "/orgs/any", 403},
		{"nobody", nil, byPath, "/orgs/club", 401},
		{"nobody, own", nil, byOwn, "/orgs/club", 401},
		{"who becomes somebody else behind it", founder, func(guard middleware.Middleware) middleware.Middleware {
			return middleware.Chain(middleware.RequireTenant(auth.OwnTenant), become(&twin), guard)
		}, "/orgs/club", 403},
	} {
		for name, guard := range map[string]middleware.Middleware{
			"RequireRole": middleware.RequireRole("admin"), "RequireCompetency": middleware.RequireCompetency("all"),
		} {
			mux := http.NewServeMux()
			mux.Handle("GET /orgs/{org}", middleware.Chain(become(c.p), c.behind(guard))(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})))
			rec := httptest.NewRecorder()
			mux.ServeHTTP(rec, httptest.NewRequest("GET", c.path, nil))
			if rec.Code != c.want {
				t.Errorf("%s, %s: got %d %s, expected %d", c.name, name, rec.Code, rec.Body, c.want)
			}
		}
	}
}

func TestRequireTenant_Refuses(t *testing.T) {
	p := &auth.Principal{Subject: "ann", Tenant: "club"}
	for _, c := range []struct {
		name string
		of   auth.TenantOf
		want int
	}{
		{"nil", nil, 500},
		{"an error with a code", func(*http.Request) (string, error) { return "", auth.NotFound }, 404},
		{"an error without one", func(*http.Request) (string, error) { return "club", errors.New("down") }, 500},
		{"no organisation", func(*http.Request) (string, error) { return "", nil }, 403},
		{"a pattern without the wildcard", auth.PathTenant("org"), 500},
	} {
		h := middleware.RequireTenant(c.of)(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Errorf("%s: let on", c.name) }))
		r := httptest.NewRequest("GET", "/", nil)
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, r.WithContext(auth.NewContext(r.Context(), p)))
		if rec.Code != c.want {
			t.Errorf("%s: got %d, expected %d", c.name, rec.Code, c.want)
		}
	}
}
