package middleware

import (
	"fmt"
	"net/http"
	"slices"

	"github.com/doorward/doorward/auth"
)

// RequireCompetency lets a principal on that has every one of the competencies; another gets 403
// competency_missing, and a request without a principal 401 credentials_missing. A principal whose grants hold in one
// organisation gets 403 tenant_forbidden unless [RequireTenant] stands before. An empty competency makes every request
// 500.
func RequireCompetency(allOf string, more ...string) Middleware {
	competencies := append([]string{allOf}, more...)
	if slices.Contains(competencies, "") {
		return broken("RequireCompetency was given an empty competency")
	}
	return wrap(func(_ http.ResponseWriter, r *http.Request) (*http.Request, error) {
		return r, checkCompetency(r, competencies)
	})
}

func checkCompetency(r *http.Request, allOf []string) error {
	p, err := granted(r)
	if err != nil {
		return err
	}
	if !p.Can(allOf...) {
		return fmt.Errorf("%w: all of %q", auth.CompetencyMissing, allOf)
	}
	return nil
}
