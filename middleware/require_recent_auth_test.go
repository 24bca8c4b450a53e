package middleware_test

import (
	"encoding/json"
	"maps"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/auth/session"
	"github.com/doorward/doorward/middleware"
)

func TestRequireRecentAuth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		proven := func(ago time.Duration, methods ...string) *auth.Principal {
			return &auth.Principal{Subject: "ann", Session: "s", AuthTime: time.Now().Add(-ago), Methods: methods}
		}
		recent := middleware.RequireRecentAuth(5 * time.Minute)(whoami)
		both := middleware.RequireRecentAuth(5*time.Minute, "pwd", "otp")(whoami)
		for _, c := range []struct {
			name         string
			p            *auth.Principal
			recent, both auth.Code
		}{
			{"just now", proven(0, "pwd", "otp"), "", ""},
			{"in the last second", proven(5*time.Minute, "otp", "pwd", "hwk"), "", ""},
			{"a moment later", proven(5*time.Minute+1, "pwd", "otp"), auth.StepUpRequired, auth.StepUpRequired},
			{"by one of the methods", proven(0, "pwd"), "", auth.StepUpRequired},
			{"by the other", proven(0, "otp"), "", auth.StepUpRequired},
			{"in other letters", proven(0, "PWD", "OTP"), "", auth.StepUpRequired},
			{"by none", proven(0), "", auth.StepUpRequired},
			{"at an unknown time", &auth.Principal{Subject: "ann", Methods: []string{"pwd", "otp"}}, auth.StepUpRequired, auth.StepUpRequired},
			{"by a clock that is 30 s ahead", proven(-30*time.Second, "pwd", "otp"), "", ""},
			{"an API key", &auth.Principal{Subject: "ann", TokenID: "key", Competencies: []string{"all"}}, auth.StepUpRequired, auth.StepUpRequired},
			{"a service", &auth.Principal{Subject: "billing", Service: true}, auth.StepUpRequired, auth.StepUpRequired},
			{"nobody", nil, auth.CredentialsMissing, auth.CredentialsMissing},
		} {
			r := request("POST", "/")
			if c.p != nil {
				r = as(r, c.p)
			}
			want(t, serve(recent, r), c.recent)
			want(t, serve(both, r), c.both)
		}
		want(t, serve(middleware.RequireRecentAuth(math.MaxInt64)(whoami), as(request("POST", "/"), &auth.Principal{Subject: "ann"})), auth.StepUpRequired)
		for _, m := range []middleware.Middleware{
			middleware.RequireRecentAuth(0), middleware.RequireRecentAuth(-time.Hour), middleware.RequireRecentAuth(time.Millisecond), middleware.RequireRecentAuth(time.Hour, ""),
		} {
			want(t, serve(m(whoami), as(request("GET", "/"), proven(0, "pwd"))), auth.Internal)
		}
	})
}

// RFC 9470 section 3: what is asked for stands in the challenge, and for a script in the body.
func TestRequireRecentAuth_Challenge(t *testing.T) {
	for _, c := range []struct {
		name      string
		m         middleware.Middleware
		challenge string
		fields    map[string]string
	}{
		{"age", middleware.RequireRecentAuth(90 * time.Second), `max_age="90"`, map[string]string{"max_age": "90"}},
		{"age and methods", middleware.RequireRecentAuth(1900*time.Millisecond, "pwd", "otp"), `max_age="1"`, map[string]string{"max_age": "1", "methods": "pwd otp"}},
	} {
		w := serve(c.m(whoami), as(request("POST", "/"), &auth.Principal{Subject: "ann"}))
		want := `Bearer realm="api", error="insufficient_user_authentication", error_description="A more recent or stronger proof is required.", ` + c.challenge
		if got := w.Header().Get("WWW-Authenticate"); w.Code != 401 || got != want {
			t.Errorf("%s: got %d %q, expected %q", c.name, w.Code, got, want)
		}
		var body struct {
			Code   auth.Code
			Fields map[string]string
		}
		if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil || body.Code != auth.StepUpRequired || !maps.Equal(body.Fields, c.fields) {
			t.Errorf("%s: got %s", c.name, w.Body)
		}
	}
}

// ATK-S16: a step-up opens what is dangerous for so long and no longer, whatever is refreshed meanwhile; and the session of
// before it opens it at no time.
func TestATK_S16_ElevationExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		danger := middleware.Chain(middleware.RequireAuth(auth.Bearer(h.tokens)), middleware.RequireRecentAuth(10*time.Minute, "otp"))(whoami)
		try := func(pair *auth.Pair, code auth.Code) {
			t.Helper()
			want(t, serve(danger, request("POST", "/", "Authorization: Bearer "+pair.Access)), code)
		}
		start := func(p auth.Principal) *auth.Pair {
			t.Helper()
			pair, err := h.Start(t.Context(), session.Login{Principal: &p})
			if err != nil {
				t.Fatal(err)
			}
			return pair
		}
		login := start(auth.Principal{Subject: "ann", Methods: []string{"pwd"}})
		try(login, auth.StepUpRequired)
		strong := start(auth.Principal{Subject: "ann", Session: login.Session, Methods: []string{"pwd", "otp"}})
		try(login, auth.TokenExpired) // replaced
		try(strong, "")
		for range 10 { // a page that is open refreshes all the time
			time.Sleep(time.Minute)
			try(strong, "")
			next, err := h.Refresh(t.Context(), strong.Refresh, auth.Client{})
			if err != nil {
				t.Fatal(err)
			}
			strong = next
		}
		time.Sleep(time.Second)
		try(strong, auth.StepUpRequired)
		if p, err := h.tokens.Verify(t.Context(), strong.Access); err != nil || len(p.Methods) != 2 {
			t.Errorf("the session itself goes on: got %+v, %v", p, err)
		}
		// What is proven again opens it again.
		again := start(auth.Principal{Subject: "ann", Session: strong.Session, Methods: []string{"pwd", "otp"}})
		try(again, "")
		try(strong, auth.TokenExpired) // replaced
	})
}
