package middleware_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/middleware"
)

// F-68: a route's own rule. What it says with a code is answered; what it could not find out is 500, with the cause in the
// log alone, and opens nothing.
func TestRequire_F_68_OwnRule(t *testing.T) {
	log := captureLog(t)
	guard := middleware.Require(func(p *auth.Principal) error {
		switch p.Subject {
		case "ann":
			return nil
		case "bob":
			return fmt.Errorf("%w: only from Berlin", auth.TenantForbidden)
		case "carl":
			return auth.StepUpRequired
		case "dora":
			return fmt.Errorf("asking: %w", auth.StoreUnavailable)
		}
		return errors.New("dial tcp 10.0.0.7: secret-cause")
	})(whoami)
	for subject, code := range map[string]auth.Code{
		"ann": "", "bob": auth.TenantForbidden, "carl": auth.StepUpRequired, "dora": auth.StoreUnavailable, "eve": auth.Internal,
	} {
		w := serve(guard, as(request("GET", "/"), &auth.Principal{Subject: subject}))
		want(t, w, code)
		if strings.Contains(w.Body.String(), "Berlin") || strings.Contains(w.Body.String(), "secret-cause") {
			t.Errorf("%s: the client is told %s", subject, w.Body)
		}
	}
	if !strings.Contains(log.String(), "secret-cause") {
		t.Errorf("the log lacks the cause: %s", log)
	}
	want(t, serve(guard, request("GET", "/")), auth.CredentialsMissing)
	want(t, serve(middleware.Require(nil)(whoami), as(request("GET", "/"), &auth.Principal{Subject: "ann"})), auth.Internal)
}
