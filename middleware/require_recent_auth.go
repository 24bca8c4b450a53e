package middleware

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/doorward/doorward/auth"
)

// RequireRecentAuth lets a principal on who has proven himself (auth_time) at most maxAge ago, by every one of the
// methods among others (amr, RFC 8176, such as "otp"); for what is dangerous: a new password, a payment, the end of an
// account. Another gets 401 step_up_required, and a request without a principal 401 credentials_missing.
//
// The answer says what is asked for, as RFC 9470 section 3 does, in WWW-Authenticate: max_age in seconds. A script, which may
// not read that header from another origin, finds it in the body's fields "max_age" and "methods". The client lets its
// user prove himself again, begins a session in place of the old one (session.Start), and repeats the request.
//
// No refresh moves auth_time, so an elevation ends maxAge after the proof, however long its session lives. What was
// proven at an unknown time, as by an API key or a service token, is never recent. A maxAge below a second and an
// empty method make every request 500.
func RequireRecentAuth(maxAge time.Duration, methods ...string) Middleware {
	if maxAge < time.Second || slices.Contains(methods, "") {
		return broken(fmt.Sprintf("RequireRecentAuth was given %s and the methods %q", maxAge, methods))
	}
	refusal := &stepUp{maxAge: maxAge, methods: slices.Clone(methods)}
	return wrap(func(_ http.ResponseWriter, r *http.Request) (*http.Request, error) {
		return r, refusal.check(r)
	})
}

// stepUp is both the demand and its refusal.
type stepUp struct {
	maxAge  time.Duration
	methods []string
}

func (s *stepUp) check(r *http.Request) error {
	p, ok := auth.FromContext(r.Context())
	if !ok {
		return auth.CredentialsMissing
	}
	if p.AuthTime.IsZero() || time.Since(p.AuthTime) > s.maxAge {
		return s
	}
	for _, m := range s.methods {
		if !slices.Contains(p.Methods, m) {
			return s
		}
	}
	return nil
}

func (s *stepUp) Error() string {
	return fmt.Sprintf("%s: a proof of the last %s by %q", auth.StepUpRequired, s.maxAge, s.methods)
}

func (s *stepUp) Unwrap() error { return auth.StepUpRequired }

// Challenge adds to WWW-Authenticate; there is no acr_values, as the kit has no classes of proofs.
func (s *stepUp) Challenge() map[string]string { return map[string]string{"max_age": s.seconds()} }

func (s *stepUp) Fields() map[string]string {
	fields := map[string]string{"max_age": s.seconds()}
	if len(s.methods) > 0 {
		fields["methods"] = strings.Join(s.methods, " ")
	}
	return fields
}

// seconds is rounded down, so that who obeys it is let in.
func (s *stepUp) seconds() string { return strconv.FormatInt(int64(s.maxAge/time.Second), 10) }
