package apikey_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/auth/session"
	"github.com/doorward/doorward/auth/sessionhttp"
	"github.com/doorward/doorward/middleware"
	"github.com/doorward/doorward/ratelimit"
	"github.com/doorward/doorward/revocation"
	"github.com/doorward/doorward/tokens"
)

// nobody stands in for a users' table that is not asked for anything.
func nobody(context.Context, string, string) (session.Subject, error) { return session.Subject{}, nil }

// ATK-J28: an API key never opens a browser session, shows none, ends none, and passes for no other credential.
func TestATK_J28_NeverASession(t *testing.T) {
	w := setup(t)
	text, _ := w.create()
	store := session.NewMemory(revocation.NewMemory())
	tok, err := tokens.New(tokens.Config{
		Keys: tokens.NewKeyring(tokens.FromSecret([]byte(tokens.GenerateSecret()))), Issuer: issuer, Audience: "api", List: store.Revocations(),
	})
	if err != nil {
		t.Fatal(err)
	}
	sessions, err := session.New(session.Config{Store: store, Tokens: tok, Subjects: session.KeepVersions(store, issuer,
		nobody)})
	if err != nil {
		t.Fatal(err)
	}
	begun, err := sessions.Start(ctx, session.Login{Principal: &auth.Principal{Subject: "ann"}})
	if err != nil {
		t.Fatal(err)
	}

	// The careless application: a step-up route that is open to keys, a login that takes a key for a password, and
	// a verifier of both for the sessions' own routes.
	mux := http.NewServeMux()
	mux.Handle("POST /step-up", middleware.RequireAuth(auth.Header("X-API-Key", w.Keys))(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		p, _ := auth.FromContext(r.Context())
		p.Methods = []string{"pwd", "otp"}
		pair, err := sessions.Start(r.Context(), session.Login{Principal: p, Client: auth.ClientOf(r)})
		if err != nil {
			middleware.WriteError(rw, r, err)
			return
		}
		_, _ = fmt.Fprint(rw, pair.Refresh)
	})))
	handler, err := sessionhttp.New(sessionhttp.Config{
		Sessions: sessions, Access: w.Or(tok), Bearer: true, Limit: middleware.LoginLimit{Limiter: ratelimit.NewMemory(0)},
		Login: func(ctx context.Context, _, password string) (*auth.Principal, error) { return w.Verify(ctx, password) },
	})
	if err != nil {
		t.Fatal(err)
	}
	mux.Handle("/auth/", http.StripPrefix("/auth", handler))

	for _, c := range []struct {
		name, method, path, body string
		code                     auth.Code
	}{
		{"step-up", "POST", "/step-up", "", auth.LoginFailed},
		{"login", "POST", "/auth/login", `{"account":"ann","password":"` + text + `"}`, auth.LoginFailed},
		{"refresh", "POST", "/auth/refresh", `{"refresh_token":"` + text + `"}`, auth.TokenInvalid},
		{"who am I", "GET", "/auth/session", "", auth.TokenInvalid},
		{"list", "GET", "/auth/sessions", "", auth.TokenInvalid},
		{"end all", "DELETE", "/auth/sessions", "", auth.TokenInvalid},
		{"end others", "DELETE", "/auth/sessions?except=current", "", auth.TokenInvalid},
		{"end one", "DELETE", "/auth/sessions/" + begun.Session, "", auth.TokenInvalid},
	} {
		r := httptest.NewRequest(c.method, c.path, strings.NewReader(c.body))
		r.Header.Set("X-API-Key", text)
		r.Header.Set("Authorization", "Bearer "+text)
		r.Header.Set("Content-Type", "application/json")
		rec := httptest.NewRecorder()
		if mux.ServeHTTP(rec, r); rec.Code != c.code.Status() || !strings.Contains(rec.Body.String(), `"`+string(c.code)+`"`) {
			t.Errorf("%s: got %d %s, expected %s", c.name, rec.Code, rec.Body, c.code)
		}
		if len(rec.Result().Cookies()) > 0 {
			t.Errorf("%s sets a cookie", c.name)
		}
	}
	if rows, err := sessions.List(ctx, "ann"); err != nil || len(rows) != 1 || rows[0].ID != begun.Session {
		t.Errorf("ann has %d sessions, %v, expected hers alone", len(rows), err)
	}
	if _, err := tok.Verify(ctx, text); auth.CodeOf(err) != auth.TokenInvalid {
		t.Errorf("as an access token: got %v", err)
	}
	for name, text := range map[string]string{"an access token": begun.Access, "a refresh token": begun.Refresh} {
		w.refused(name, text, auth.APIKeyInvalid)
	}

	// ATK-S12: a pending login makes no keys, and neither does a key, behind the guard of a route that makes them.
	made := 0
	route := middleware.RequireAuth(auth.Bearer(tok))(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { made++ }))
	pending, err := tokens.NewKind[struct{}](tokens.PendingLogin, 5*60e9).Issue(tok, "ann", struct{}{}, 0)
	if err != nil {
		t.Fatal(err)
	}
	for name, credential := range map[string]string{"a pending login": pending, "a key": text} {
		r := httptest.NewRequest("POST", "/keys", nil)
		r.Header.Set("Authorization", "Bearer "+credential)
		rec := httptest.NewRecorder()
		if route.ServeHTTP(rec, r); rec.Code != 401 || made > 0 {
			t.Errorf("%s makes a key: %d", name, rec.Code)
		}
	}
}
