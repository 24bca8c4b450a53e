package middleware_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/auth/session"
	"github.com/doorward/doorward/middleware"
	"github.com/doorward/doorward/revocation"
	"github.com/doorward/doorward/tokens"
)

// house is a site over real sessions: a guarded route, an open one, and one without a guard.
type house struct {
	*testing.T
	*session.Sessions
	tokens *tokens.Tokens
	csrf   *middleware.CSRF
	http.Handler

	mu   sync.Mutex
	role string
	err  error // an outage of the users' table
}

func (h *house) Load(context.Context, string, string) (session.Subject, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return session.Subject{Roles: []string{h.role}}, h.err
}

func (*house) Raise(context.Context, string, bool, string) (int64, error) {
	return 0, errors.New("not asked for here")
}

func (h *house) set(role string, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.role, h.err = role, err
}

func newHouse(t *testing.T, change ...func(*middleware.Refresh)) *house {
	t.Helper()
	list := revocation.NewMemory()
	store := session.NewMemory(list)
	ring := tokens.NewKeyring(tokens.FromSecret([]byte("u8Zq-3bXk9_Lr2Vd5Nf7Hs1Tg4Ym6Pc0Wj-a")))
	tok, err := tokens.New(tokens.Config{Keys: ring, Issuer: own, Audience: "app", List: list})
	if err != nil {
		t.Fatal(err)
	}
	h := &house{T: t, tokens: tok, role: "user", csrf: newCSRF(t)}
	if h.Sessions, err = session.New(session.Config{Store: store, Tokens: tok, Subjects: h}); err != nil {
		t.Fatal(err)
	}
	c := middleware.Refresh{Sessions: h.Sessions, Access: tok, CSRF: h.csrf}
	for _, ch := range change {
		ch(&c)
	}
	access := auth.Cookie(jar.Access, tok)
	if c.InHeader {
		access = auth.Bearer(tok)
	}
	mux := http.NewServeMux()
	mux.Handle("/me", middleware.Chain(middleware.RequireAuth(access), middleware.RequireCSRF(h.csrf))(roles))
	mux.Handle("/news", middleware.OptionalAuth(access)(roles))
	mux.Handle("/static", roles)
	h.Handler = middleware.RefreshFromCookie(c)(mux)
	return h
}

// roles answers with the subject and the roles.
var roles = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	p, ok := auth.FromContext(r.Context())
	if !ok {
		_, _ = w.Write([]byte("nobody"))
		return
	}
	_, _ = w.Write([]byte(p.Subject + " " + strings.Join(p.Roles, ",")))
})

func (h *house) login() *browserTab {
	h.Helper()
	pair, err := h.Start(h.Context(), session.Login{Principal: &auth.Principal{Subject: "ann"}})
	if err != nil {
		h.Fatal(err)
	}
	return &browserTab{h, map[string]string{"__Host-access": pair.Access, "__Host-refresh": pair.Refresh}, pair.Session}
}

// browserTab keeps cookies as a browser does.
type browserTab struct {
	*house
	cookies map[string]string
	session string
}

// tab is another one with the cookies of now.
func (b *browserTab) tab() *browserTab {
	c := *b
	c.cookies = map[string]string{}
	for name, value := range b.cookies {
		c.cookies[name] = value
	}
	return &c
}

func (b *browserTab) send(method, path string, headers ...string) *httptest.ResponseRecorder {
	var line []string
	for name, value := range b.cookies {
		line = append(line, name+"="+value)
	}
	r := request(method, path, headers...)
	if len(line) > 0 {
		r.Header.Set("Cookie", strings.Join(line, "; "))
	}
	w := serve(b.house, r)
	for _, c := range w.Result().Cookies() {
		if c.MaxAge < 0 {
			delete(b.cookies, c.Name)
		} else {
			b.cookies[c.Name] = c.Value
		}
	}
	return w
}

// wants does a GET of the own page and checks the answer.
func (b *browserTab) wants(path string, code auth.Code, body string, headers ...string) *httptest.ResponseRecorder {
	b.Helper()
	w := b.send("GET", path, append(headers, sameOrigin)...)
	want(b, w, code)
	if code == "" && w.Body.String() != body {
		b.Fatalf("got %q, want %q", w.Body, body)
	}
	return w
}
