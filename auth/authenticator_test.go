package auth_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/doorward/doorward/auth"
)

// verifier knows one credential; everything else is an invalid token.
type verifier string

func (v verifier) Verify(_ context.Context, credential string) (*auth.Principal, error) {
	if credential != string(v) {
		return nil, auth.TokenInvalid
	}
	return &auth.Principal{Subject: "ann"}, nil
}

type verifierFunc func() (*auth.Principal, error)

func (f verifierFunc) Verify(context.Context, string) (*auth.Principal, error) { return f() }

func TestBearer(t *testing.T) {
	const good = "abc.DEF-_~+/123=="
	for _, c := range []struct {
		name   string
		header []string
		code   auth.Code
	}{
		{"no header", nil, auth.CredentialsMissing},
		{"good", []string{"Bearer " + good}, ""},
		{"STD-H04 scheme in lower case", []string{"bearer " + good}, ""},
		{"STD-H04 scheme in upper case", []string{"BEARER " + good}, ""},
		{"another scheme", []string{"Basic YTpi"}, auth.CredentialsMissing},
		{"a longer scheme", []string{"Bearerish " + good}, auth.CredentialsMissing},
		{"unknown credential", []string{"Bearer other"}, auth.TokenInvalid},
		{"STD-H04 empty", []string{"Bearer "}, auth.RequestMalformed},
		{"STD-H04 scheme alone", []string{"Bearer"}, auth.RequestMalformed},
		{"STD-H04 tab for the space", []string{"Bearer\t" + good}, auth.RequestMalformed},
		{"STD-H04 comma for the space", []string{"Bearer," + good}, auth.RequestMalformed},
		{"STD-H04 equals sign for the space", []string{"bearer=" + good}, auth.RequestMalformed},
		{"an empty header", []string{""}, auth.CredentialsMissing},
		{"STD-H04 tab", []string{"Bearer a\tb"}, auth.RequestMalformed},
		{"STD-H04 comma", []string{"Bearer a,b"}, auth.RequestMalformed},
		{"STD-H04 space inside", []string{"Bearer a b"}, auth.RequestMalformed},
		{"STD-H04 two spaces", []string{"Bearer  " + good}, auth.RequestMalformed},
		{"STD-H04 quotes", []string{`Bearer "a"`}, auth.RequestMalformed},
		{"STD-H04 padding inside", []string{"Bearer a=b"}, auth.RequestMalformed},
		{"STD-H04 padding alone", []string{"Bearer =="}, auth.RequestMalformed},
		{"STD-H04 high byte", []string{"Bearer a\xffb"}, auth.RequestMalformed},
		{"ATK-J25 two headers", []string{"Bearer " + good, "Bearer " + good}, auth.RequestMalformed},
		{"ATK-J25 two headers of two schemes", []string{"Basic YTpi", "Bearer " + good}, auth.RequestMalformed},
		{"ATK-J25 two credentials in a line", []string{"Bearer " + good + ", Bearer " + good}, auth.RequestMalformed},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := httptest.NewRequest("GET", "/?access_token="+good, nil)
			r.Header["Authorization"] = c.header
			check(t, auth.Bearer(verifier(good)), r, c.code)
		})
	}
}

func TestHeader(t *testing.T) {
	for _, c := range []struct {
		name   string
		header []string
		code   auth.Code
	}{
		{"none", nil, auth.CredentialsMissing},
		{"good", []string{"key"}, ""},
		{"empty", []string{""}, auth.RequestMalformed},
		{"twice", []string{"key", "key"}, auth.RequestMalformed},
		{"wrong", []string{"lock"}, auth.TokenInvalid},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := httptest.NewRequest("GET", "/", nil)
			r.Header["X-Api-Key"] = c.header
			check(t, auth.Header("x-api-key", verifier("key")), r, c.code)
		})
	}
}

func TestCookieIsAmbient(t *testing.T) {
	read := func(r *http.Request) (string, error) { return r.Header.Get("X"), nil }
	r := httptest.NewRequest("GET", "/", nil)
	check(t, auth.Cookie(read, verifier("key")), r, auth.CredentialsMissing)
	r.Header.Set("X", "lock")
	check(t, auth.Cookie(read, verifier("key")), r, auth.TokenInvalid)
	r.Header.Set("X", "key")
	if p := check(t, auth.Cookie(read, verifier("key")), r, ""); !p.Ambient {
		t.Error("a principal proven by a cookie is not Ambient")
	}
	r.Header.Set("Authorization", "Bearer key")
	if p := check(t, auth.Bearer(verifier("key")), r, ""); p.Ambient {
		t.Error("a principal proven by a header is Ambient")
	}
	broken := func(*http.Request) (string, error) { return "key", auth.RequestMalformed }
	check(t, auth.Cookie(broken, verifier("key")), r, auth.RequestMalformed)
}

// A verifier that is absent or broken must let nobody in, and must not make a guard ask the next one.
func TestBrokenVerifiersFailClosed(t *testing.T) {
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("Authorization", "Bearer key")
	check(t, auth.Bearer(nil), r, auth.Internal)
	check(t, auth.Cookie(nil, verifier("key")), r, auth.Internal)
	for _, c := range []struct {
		name string
		p    *auth.Principal
		err  error
		code auth.Code
	}{
		{"neither principal nor error", nil, nil, auth.Internal},
		{"a principal without a subject", &auth.Principal{Roles: []string{"admin"}}, nil, auth.Internal},
		{"an error without a code", nil, errors.New("disk on fire"), auth.Internal},
		{"missing, although one was shown", nil, auth.CredentialsMissing, auth.TokenInvalid},
		{"both", &auth.Principal{Subject: "ann"}, auth.TokenRevoked, auth.TokenRevoked},
	} {
		t.Run(c.name, func(t *testing.T) {
			check(t, auth.Bearer(verifierFunc(func() (*auth.Principal, error) { return c.p, c.err })), r, c.code)
		})
	}
}

func check(t *testing.T, a auth.Authenticator, r *http.Request, code auth.Code) *auth.Principal {
	t.Helper()
	p, err := a.Authenticate(r)
	switch {
	case code == "" && (err != nil || p == nil || p.Subject != "ann"):
		t.Fatalf("got %v, %v; expected ann", p, err)
	case code != "" && (err == nil || p != nil || auth.CodeOf(err) != code):
		t.Fatalf("got %v, %v; expected %s", p, err, code)
	}
	return p
}

// A bound credential is refused by every authenticator where its binding is not shown: a route that nobody put
// BindDevice before is closed to it, not open.
func TestBinding(t *testing.T) {
	bound := verifierFunc(func() (*auth.Principal, error) {
		return &auth.Principal{Subject: "ann", Binding: "device:x"}, nil
	})
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("Authorization", "Bearer key")
	r.Header.Set("X-Key", "key")
	for _, a := range []auth.Authenticator{auth.Bearer(bound), auth.Header("X-Key", bound), auth.Cookie(func(*http.Request) (string, error) { return "key", nil }, bound)} {
		check(t, a, r, auth.TokenInvalid)
		for _, shown := range []string{"", "device:", "device:X", "device:xx", "x"} {
			check(t, a, r.WithContext(auth.Bind(r.Context(), shown)), auth.TokenInvalid)
		}
		if p := check(t, a, r.WithContext(auth.Bind(r.Context(), "device:x")), ""); p.Binding != "device:x" {
			t.Errorf("got %+v", p)
		}
	}
	check(t, auth.Bearer(verifier("key")), r.WithContext(auth.Bind(r.Context(), "device:x")), "") // one that is not bound works anywhere
}

// The credential is a secret, so no error may quote it.
func TestErrorsDoNotQuoteTheCredential(t *testing.T) {
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("Authorization", "Bearer hunter2,hunter2")
	_, err := auth.Bearer(verifier("x")).Authenticate(r)
	if err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("got %v", err)
	}
}
