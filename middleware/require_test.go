package middleware_test

import (
	"errors"
	"fmt"
	"net/http"
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
	// A panic is 500 as well, where it would have been a connection that breaks off, in all that stands outside of the guard.
	w := serve(middleware.Require(func(p *auth.Principal) error { return p.Claims.(error) })(whoami), as(request("GET", "/"), ambient("s")))
	if want(t, w, auth.Internal); !strings.Contains(log.String(), "the rule of Require panicked") {
		t.Errorf("the log lacks the panic: %s", log)
	}
	func() {
		defer func() {
			if v := recover(); v != http.ErrAbortHandler {
				t.Errorf("got the panic %v", v)
			}
		}()
		serve(middleware.Require(func(*auth.Principal) error { panic(http.ErrAbortHandler) })(whoami), as(request("GET", "/"), ambient("s")))
	}()
	want(t, serve(guard, request("GET", "/")), auth.CredentialsMissing)
	want(t, serve(middleware.Require(nil)(whoami), as(request("GET", "/"), &auth.Principal{Subject: "ann"})), auth.Internal)
}
