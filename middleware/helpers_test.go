package middleware_test

import (
	"bytes"
	"context"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/middleware"
)

// stub verifies texts: "name" is that subject with the session "sid-name", and a few are refusals.
type stub struct{}

func (stub) Verify(_ context.Context, credential string) (*auth.Principal, error) {
	switch credential {
	case "expired":
		return nil, fmt.Errorf("%w: at noon", auth.TokenExpired)
	case "revoked":
		return nil, auth.TokenRevoked
	case "down":
		return nil, fmt.Errorf("%w: dial 10.1.2.3:6379", auth.StoreUnavailable)
	case "panic":
		panic("secret-cause")
	case "ann", "bob":
		return &auth.Principal{
			Subject: credential, Session: "sid-" + credential,
			Roles: []string{"user", "admin"}, Competencies: []string{"read", "write"},
		}, nil
	}
	switch { // as of does it
	case strings.HasSuffix(credential, ".expired"):
		return nil, fmt.Errorf("%w: at noon", auth.TokenExpired)
	case strings.HasSuffix(credential, ".revoked"):
		return nil, auth.TokenRevoked
	}
	return nil, fmt.Errorf("%w: no such credential", auth.TokenInvalid)
}

// of is a token in the form of a JWT that names a session and is refused as fate says.
func of(session, fate string) string {
	return "e30." + base64.RawURLEncoding.EncodeToString([]byte(`{"sub":"x","sid":"`+session+`"}`)) + "." + fate
}

func readCookie(r *http.Request) (string, error) {
	c, err := r.Cookie("access")
	if err != nil {
		return "", auth.CredentialsMissing
	}
	return c.Value, nil
}

var (
	bearer  = auth.Bearer(stub{})
	browser = auth.Cookie(readCookie, stub{})
)

// authFunc is an Authenticator of one function.
type authFunc func(*http.Request) (*auth.Principal, error)

func (f authFunc) Authenticate(r *http.Request) (*auth.Principal, error) { return f(r) }

// secrets is a KeySource: secrets by id, the first one current. As a value it would print its secrets.
type secrets []struct{ id, secret string }

func (s secrets) Derive(id, salt, purpose string) (string, []byte, error) {
	for _, k := range s {
		if id == "" || id == k.id {
			key, err := hkdf.Key(sha256.New, []byte(k.secret), []byte(salt), purpose, 32)
			return k.id, key, err
		}
	}
	return "", nil, errors.New("unknown key id")
}

var keys = secrets{{"2026-11", "the secret of these tests"}}

const own = "https://app.example.com"

func newCSRF(t testing.TB, origins ...string) *middleware.CSRF {
	t.Helper()
	c, err := middleware.NewCSRF(keys, append([]string{own}, origins...)...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func token(t testing.TB, c *middleware.CSRF, session string) string {
	t.Helper()
	s, err := c.Token(&auth.Principal{Session: session})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// request makes one with headers "Name: value".
func request(method, target string, headers ...string) *http.Request {
	r := httptest.NewRequest(method, target, nil)
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Add(name, value)
	}
	return r
}

// as puts a principal into the request's context.
func as(r *http.Request, p *auth.Principal) *http.Request {
	return r.WithContext(auth.NewContext(r.Context(), p))
}

func ambient(session string) *auth.Principal {
	return &auth.Principal{Subject: "ann", Session: session, Ambient: true}
}

// whoami answers with the subject, "nobody" without one.
var whoami = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	if p, ok := auth.FromContext(r.Context()); ok {
		_, _ = fmt.Fprint(w, p.Subject)
		return
	}
	_, _ = fmt.Fprint(w, "nobody")
})

func serve(h http.Handler, r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// want checks an answer: a code, or "" for a 200 by the handler.
func want(t testing.TB, w *httptest.ResponseRecorder, code auth.Code) {
	t.Helper()
	status := http.StatusOK
	if code != "" {
		status = code.Status()
	}
	if w.Code != status || code != "" && problemCode(t, w.Body.Bytes()) != code {
		t.Fatalf("got %d %s, want %d %q", w.Code, w.Body, status, code)
	}
}

func problemCode(t testing.TB, body []byte) auth.Code {
	t.Helper()
	var p struct{ Code auth.Code }
	if err := json.Unmarshal(body, &p); err != nil {
		t.Fatalf("the body is no problem: %q", body)
	}
	return p.Code
}

// captureLog collects what goes to slog.Default during the test.
func captureLog(t testing.TB) *bytes.Buffer {
	t.Helper()
	var b bytes.Buffer
	before := slog.Default()
	slog.SetDefault(slog.New(slog.NewJSONHandler(&b, nil)))
	t.Cleanup(func() { slog.SetDefault(before) })
	return &b
}
