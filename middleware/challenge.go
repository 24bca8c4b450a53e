package middleware

import (
	"net/http"

	"github.com/doorward/doorward/auth"
)

// challenge has a refusal of a guard say what could have been shown: all of it, in the order in which it is asked for.
// One that an authenticator gave knows better what was.
func (asked proofs) challenge(err error) error {
	var all []string
	for _, a := range asked {
		if c, ok := a.(auth.Challenger); ok && c.Challenge() != "" {
			all = append(all, c.Challenge())
		}
	}
	return auth.Credential("").Refuse(err, all...)
}

// challenged has a refusal of r speak of what its principal has shown, where a guard before has proven one.
func challenged(r *http.Request, err error) error {
	if p, ok := auth.FromContext(r.Context()); ok && p.Challenge() != "" {
		return auth.Credential("").Refuse(err, p.Challenge())
	}
	return err
}
