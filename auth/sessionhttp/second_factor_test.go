package sessionhttp_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	library "github.com/pquerna/otp/totp"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/auth/sessionhttp"
	"github.com/doorward/doorward/auth/totp"
	"github.com/doorward/doorward/cookies"
	"github.com/doorward/doorward/middleware"
	"github.com/doorward/doorward/ratelimit"
	"github.com/doorward/doorward/tokens"
)

// factor is what an application writes, over a real factor of acme/ann. code is what her app shows in its n-th step from now.
func factor(t *testing.T) (hook func(context.Context, *auth.Principal, string) error, code func(n int) string, recovery []string) {
	t.Helper()
	now := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	factors, err := totp.New(totp.Config{Issuer: origin, ServiceName: "App", Store: totp.NewMemory(), AllowUnsealed: true, Now: func() time.Time { return now }})
	ok(t, err)
	key, err := factors.Begin(t.Context(), "ann", "ann@example.com")
	ok(t, err)
	code = func(n int) string {
		text, err := library.GenerateCode(key.Secret(), now.Add(time.Duration(n)*30*time.Second))
		ok(t, err)
		return text
	}
	codes, err := factors.Confirm(t.Context(), "ann", code(-1))
	ok(t, err)
	return func(ctx context.Context, p *auth.Principal, code string) error {
		switch {
		case p.Subject != "ann": // a column of the users table
			return nil
		case code == "":
			return auth.SecondFactorRequired
		}
		if totp.IsRecoveryCode(code) {
			p.Methods = append(p.Methods, "recovery", "mfa")
			_, err := factors.Recover(ctx, p.Subject, code)
			return err
		}
		p.Methods = append(p.Methods, "otp", "mfa")
		return factors.Verify(ctx, p.Subject, code)
	}, code, codes.List()
}

const annCode = `{"account":"acme/ann","password":"right","code":"`

// ATK-S12, STD-O: the password alone is no session, nor is a wrong code or a used one; the right one is, once.
func TestSecondFactor_ATK_S12(t *testing.T) {
	hook, code, recovery := factor(t)
	w := setup(t, func(c *sessionhttp.Config) {
		c.SecondFactor = hook
		c.Limit.PerAccount, c.Limit.PerNetwork = ratelimit.Rate{N: 20, Per: time.Hour}, ratelimit.Rate{N: 100, Per: time.Hour}
	})
	c := w.browser()
	for _, body := range []string{annLogin, annCode + `"}`} {
		res := c.do("POST", "/login", body)
		want(t, res, 401, "second_factor_required")
		if len(res.Result().Cookies()) > 0 || res.Header().Get("X-CSRF-Token") != "" {
			t.Errorf("got %v", res.Header())
		}
	}
	want(t, c.do("GET", "/session", ""), 401, "credentials_missing")
	if rows, err := w.sessions.List(t.Context(), "ann"); err != nil || len(rows) > 0 {
		t.Errorf("%d sessions, %v", len(rows), err)
	}
	// The code is not looked at without the password: it works afterwards.
	want(t, c.do("POST", "/login", `{"account":"acme/ann","password":"wrong","code":"`+code(0)+`"}`), 401, "login_failed")
	want(t, c.do("POST", "/login", annCode+code(30)+`"}`), 401, "login_failed")
	want(t, c.do("POST", "/login", annCode+code(0)+`"}`), 200, "session")
	want(t, c.do("GET", "/session", ""), 200, `"methods":["pwd","otp","mfa"]`)
	want(t, w.program().do("POST", "/login", annCode+code(0)+`"}`), 401, "login_failed") // used
	want(t, w.program().do("POST", "/login", annCode+recovery[0]+`"}`), 200, "access_token")
	want(t, w.program().do("POST", "/login", annCode+recovery[0]+`"}`), 401, "login_failed")
	w.program().login("acme/bob") // has no factor
	w.mu.Lock()
	for _, e := range w.events {
		if e.Outcome == "second_factor_required" && e.Owner != (auth.Owner{Issuer: origin, Subject: "ann"}) {
			t.Errorf("told of %+v", e.Owner)
		}
	}
	w.mu.Unlock()
	told := w.told()
	if !slices.Contains(told, "login second_factor_required") {
		t.Errorf("events: %q", told)
	}
}

// The code that has enrolled the app comes again at the first login: its owner is told to wait for the next one. Nobody is told
// who has not the password, and after a login nobody at all.
func TestSecondFactor_ATK_O01_EnrolmentCode(t *testing.T) {
	hook, code, _ := factor(t)
	w := setup(t, func(c *sessionhttp.Config) { c.SecondFactor = hook })
	plain := w.program().do("POST", "/login", `{"account":"acme/ann","password":"wrong","code":"`+code(-1)+`"}`)
	want(t, plain, 401, "login_failed")
	early := w.program().do("POST", "/login", annCode+code(-1)+`"}`)
	want(t, early, 401, `"fields":{"code":"Wait until the app shows the next code."}`)
	if got := early.Header().Get("Retry-After"); got != "30" {
		t.Errorf("Retry-After: got %q, expected 30", got)
	}
	want(t, w.program().do("POST", "/login", annCode+code(0)+`"}`), 200, "access_token")
	for name, n := range map[string]int{"the enrolment's code": -1, "a login's code": 0} {
		again := w.program().do("POST", "/login", annCode+code(n)+`"}`)
		if again.Code != plain.Code || again.Body.String() != plain.Body.String() || again.Header().Get("Retry-After") != "" {
			t.Errorf("%s after a login: got %d %s, expected the answer to a wrong password", name, again.Code, again.Body)
		}
	}
}

// The first half of a login takes nothing from anybody's budget, a wrong code does, and a complete login makes it new.
func TestSecondFactor_Limit(t *testing.T) {
	hook, code, _ := factor(t)
	w := setup(t, func(c *sessionhttp.Config) {
		c.SecondFactor = hook
		c.Limit.PerAccount, c.Limit.PerNetwork = ratelimit.Rate{N: 3, Per: time.Hour}, ratelimit.Rate{N: 6, Per: time.Hour}
	})
	c := w.program()
	for range 10 {
		want(t, c.do("POST", "/login", annLogin), 401, "second_factor_required")
	}
	for n := range 2 {
		want(t, c.do("POST", "/login", annCode+code(40+n)+`"}`), 401, "login_failed")
	}
	want(t, c.do("POST", "/login", annCode+code(0)+`"}`), 200, "access_token")
	for n := range 3 {
		want(t, c.do("POST", "/login", annCode+code(40+n)+`"}`), 401, "login_failed")
	}
	want(t, c.do("POST", "/login", annCode+code(1)+`"}`), 429, "rate_limited")
}

// What the hook says beside that is said as Login says it, and only the hook may ask for a code.
func TestSecondFactor_Answers(t *testing.T) {
	said := error(nil)
	w := setup(t, func(c *sessionhttp.Config) {
		c.SecondFactor = func(context.Context, *auth.Principal, string) error { return said }
		c.Limit.PerAccount = ratelimit.Rate{N: 100, Per: time.Hour}
	})
	for _, c := range []struct {
		said   error
		status int
		code   string
	}{
		{auth.SecondFactorRequired, 401, "login_failed"}, // although there was a code
		{totp.ErrClosed, 429, "rate_limited"},
		{totp.ErrNone, 401, "login_failed"},
		{auth.ValidationFailed, 401, "login_failed"},
		{auth.NotFound, 401, "login_failed"},
		{errOutage, 503, "store_unavailable"},
		{errors.New("a panic of the store's driver"), 503, "store_unavailable"},
	} {
		said = c.said
		want(t, w.program().do("POST", "/login", annCode+`123456"}`), c.status, c.code)
	}
	said = nil
	w.users.fail(auth.SecondFactorRequired)
	want(t, w.program().do("POST", "/login", annLogin), 401, "login_failed")

	without := setup(t)
	want(t, without.program().do("POST", "/login", annCode+`123456"}`), 422, `"code":"unknown"`)
}

// A known device is remembered after the code, not after the password.
func TestSecondFactor_KnownDevice(t *testing.T) {
	hook, code, _ := factor(t)
	w := setup(t, func(c *sessionhttp.Config) { c.SecondFactor = hook })
	config := w.cookies
	devices, err := middleware.NewDevices(tokens.NewKeyring(tokens.FromSecret([]byte("u8Zq-3bXk9_Lr2Vd5Nf7Hs1Tg4Ym6Pc0Wj-a"))), origin, cookies.Policy{},
		func(context.Context, string) (time.Time, error) { return time.Time{}, nil })
	ok(t, err)
	config.Limit.Devices = devices
	w.Handler, err = sessionhttp.New(config)
	ok(t, err)
	c := &client{w: w, cookies: map[string]string{}}
	want(t, c.do("POST", "/login", annLogin), 401, "second_factor_required")
	if len(c.cookies) > 0 {
		t.Errorf("after the password: %v", c.cookies)
	}
	want(t, c.do("POST", "/login", annCode+code(0)+`"}`), 200, "session")
	if len(c.cookies) != 3 { // access, refresh, device
		t.Errorf("after the code: %v", c.cookies)
	}
}

// ATK-O04: a code is a JSON string and nothing else, and what has not the form of one uses none up.
func TestSecondFactor_ATK_O04_JSON(t *testing.T) {
	hook, code, _ := factor(t)
	w := setup(t, func(c *sessionhttp.Config) {
		c.SecondFactor = hook
		c.Limit.PerAccount, c.Limit.PerNetwork = ratelimit.Rate{N: 100, Per: time.Hour}, ratelimit.Rate{N: 100, Per: time.Hour}
	})
	c := w.program()
	for _, body := range []string{"123456", "[\"123456\"]", "{}", "true", "1e5"} {
		want(t, c.do("POST", "/login", `{"account":"acme/ann","password":"right","code":`+body+`}`), 422, `"code":"wrong type"`)
	}
	want(t, c.do("POST", "/login", `{"account":"acme/ann","password":"right","code":"`+code(0)+`","code":"`+code(1)+`"}`), 400, "request_malformed")
	for range 10 { // more than would close the factor
		want(t, c.do("POST", "/login", annCode+"\u0661\u0662\u0663\u0664\u0665\u0666\"}"), 401, "login_failed")
		want(t, c.do("POST", "/login", annCode+"12345\"}"), 401, "login_failed")
	}
	want(t, c.do("POST", "/login", annCode+code(0)[:3]+" "+code(0)[3:]+`"}`), 200, "access_token")
}

// ATK-L09: a long, a deep and a slow body are refused before the password is looked at.
func TestLogin_ATK_L09_Bodies(t *testing.T) {
	w := setup(t)
	c := w.program()
	for body, status := range map[string]int{
		`{"account":"acme/ann","password":"` + strings.Repeat("x", 1<<20) + `"}`:                                      413,
		`{"account":"acme/ann","password":"right","x":` + strings.Repeat("[", 5000) + strings.Repeat("]", 5000) + `}`: 422,
		strings.Repeat(`{"account":`, 1400): 400,
	} {
		if res := c.do("POST", "/login", body); res.Code != status {
			t.Errorf("%.40s: got %d, expected %d", body, res.Code, status)
		}
	}
	s := httptest.NewUnstartedServer(w)
	s.Config.ReadTimeout = 300 * time.Millisecond
	s.Start()
	defer s.Close()
	conn, err := net.Dial("tcp", s.Listener.Addr().String())
	ok(t, err)
	defer conn.Close()
	_, err = io.WriteString(conn, "POST /token/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{\"account\":")
	ok(t, err)
	answer, _ := io.ReadAll(conn) // until the server has had enough
	if bytes.Contains(answer, []byte(" 200 ")) || w.users.reached() > 0 {
		t.Errorf("%d times at the password; got %s", w.users.reached(), answer)
	}
}
