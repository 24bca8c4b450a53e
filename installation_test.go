package doorward_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/auth/onetime"
	"github.com/doorward/doorward/auth/password"
	"github.com/doorward/doorward/auth/seal"
	"github.com/doorward/doorward/auth/session"
	"github.com/doorward/doorward/cookies"
	"github.com/doorward/doorward/internal/derive"
	"github.com/doorward/doorward/middleware"
	"github.com/doorward/doorward/ratelimit"
	"github.com/doorward/doorward/revocation"
	"github.com/doorward/doorward/tokens"
)

const production, staging = "https://app.example.com", "https://staging.example.com"

// site is one installation; all of them have one secret.
type site struct {
	t     *testing.T
	name  string // issuer and public origin
	ring  *tokens.Keyring
	store *session.Memory // one for all, so that a session of one is there for the other
}

func (s site) ok(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s site) tokens() *tokens.Tokens {
	tok, err := tokens.New(tokens.Config{Keys: s.ring, Issuer: s.name, Audience: "app", List: s.store.Revocations()})
	s.ok(err)
	return tok
}

type everybody struct{}

func (everybody) Load(context.Context, string, string) (session.Subject, error) {
	return session.Subject{}, nil
}

func (everybody) Raise(context.Context, string, bool, string) (int64, error) { return 1, nil }

func (s site) sessions() *session.Sessions {
	sessions, err := session.New(session.Config{Store: s.store, Tokens: s.tokens(), Subjects: everybody{}})
	s.ok(err)
	return sessions
}

func (s site) links() *onetime.Kind[string] {
	k, err := onetime.New(onetime.Config[string]{
		Tokens: s.tokens(), Store: onetime.NewMemory(), Type: tokens.ResetPassword, URL: s.name + "/reset",
		State: func(context.Context, string, string) ([]string, error) { return []string{"hash"}, nil },
	})
	s.ok(err)
	return k
}

// state is the MAC of what a link hangs on: the same text under the same key.
func (s site) state() string {
	l, err := s.links().Issue(s.t.Context(), "ann", "x", 0)
	s.ok(err)
	body, err := base64.RawURLEncoding.DecodeString(strings.Split(l.Token.Reveal(), ".")[1])
	s.ok(err)
	_, state, found := strings.Cut(string(body), `"state":"`)
	if !found {
		s.t.Fatalf("got %s", body)
	}
	state, _, _ = strings.Cut(state, `"`)
	return state
}

func (s site) csrf() *middleware.CSRF {
	c, err := middleware.NewCSRF(s.ring, s.name)
	s.ok(err)
	return c
}

func (s site) sealer() *seal.Sealer {
	sealer, err := seal.New(seal.Config{Keys: s.ring, Issuer: s.name})
	s.ok(err)
	return sealer
}

func (s site) hasher() *password.Hasher {
	h, err := password.New(password.Config{Memory: 19 << 10, Time: 2, Parallelism: 1, Pepper: password.Pepper{Keys: s.ring, Name: s.name}})
	s.ok(err)
	return h
}

// named is what events of logins call an account.
func (s site) named() string {
	name, err := middleware.LoginLimit{Limiter: ratelimit.NewMemory(0), Issuer: s.name, Keys: s.ring}.Named("ann")
	s.ok(err)
	return name
}

func (s site) jar() cookies.Jar { return cookies.Jar{Seal: cookies.Seal{Keys: s.ring, Issuer: s.name}} }

// login is a login with 5 tries for an account; everybody's password is "right".
func (s site) login() http.Handler {
	devices, err := middleware.NewDevices(s.ring, s.name, cookies.Policy{}, func(context.Context, string) (time.Time, error) {
		return time.Time{}, nil
	})
	s.ok(err)
	limit := middleware.LoginLimit{Limiter: ratelimit.NewMemory(0), Issuer: s.name, Field: "account", Devices: devices}
	return middleware.RateLimitLogin(limit)(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("password") != "right" {
			middleware.WriteError(w, r, auth.LoginFailed)
			return
		}
		auth.LoginSucceeded(r.Context())
	}))
}

func try(h http.Handler, i int, password, cookie string) *httptest.ResponseRecorder {
	r := httptest.NewRequest("POST", "/login", strings.NewReader("account=ann&password="+password))
	r.RemoteAddr = fmt.Sprintf("198.51.100.%d:1", i)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if cookie != "" {
		r.Header.Set("Cookie", cookie)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func setCookie(w *httptest.ResponseRecorder) string {
	pair, _, _ := strings.Cut(w.Header().Get("Set-Cookie"), ";")
	return pair
}

// keyed is everything that is made under a key derived from the secret, and whether another installation takes it. What
// differs anyway, such as an issuer, is not what it asks: it asks whether the key is another.
var keyed = map[string]struct {
	make func(s site) string
	is   func(s site, made string) bool
}{
	"access": {
		func(s site) string {
			tok := s.tokens()
			stamp, err := tok.Stamp(s.t.Context())
			s.ok(err)
			raw, _, err := tok.Issue(stamp, &auth.Principal{Subject: "ann"})
			s.ok(err)
			return raw
		},
		func(s site, raw string) bool {
			_, err := s.tokens().Verify(s.t.Context(), raw)
			return !errors.Is(err, tokens.ErrSignature)
		},
	},
	"one-time": {
		func(s site) string {
			raw, err := tokens.NewKind[string](tokens.Invite, time.Hour).Issue(s.tokens(), "ann", "x", 0)
			s.ok(err)
			return raw
		},
		func(s site, raw string) bool {
			_, _, err := tokens.NewKind[string](tokens.Invite, time.Hour).Verify(s.t.Context(), s.tokens(), raw)
			return !errors.Is(err, tokens.ErrSignature)
		},
	},
	derive.OneTimeState.String(): {
		site.state,
		func(s site, state string) bool { return s.state() == state },
	},
	derive.Refresh.String(): {
		func(s site) string {
			pair, err := s.sessions().Start(s.t.Context(), session.Login{Principal: &auth.Principal{Subject: "ann"}})
			s.ok(err)
			return pair.Refresh
		},
		func(s site, raw string) bool {
			_, err := s.sessions().Refresh(s.t.Context(), raw, auth.Client{})
			return auth.CodeOf(err) != auth.TokenInvalid // TokenRevoked would be: no such session here
		},
	},
	derive.CSRF.String(): {
		func(s site) string {
			token, err := s.csrf().Token(&auth.Principal{Session: "s1"})
			s.ok(err)
			return token
		},
		func(s site, token string) bool {
			r := httptest.NewRequest("POST", "/", nil)
			r.Header.Set("Origin", s.name)
			r.Header.Set("X-CSRF-Token", token)
			p := &auth.Principal{Subject: "ann", Session: "s1", Ambient: true}
			return s.csrf().Check(r.WithContext(auth.NewContext(r.Context(), p))) == nil
		},
	},
	derive.Device.String(): {
		func(s site) string { return setCookie(try(s.login(), 1, "right", "")) },
		func(s site, cookie string) bool {
			h := s.login()
			for i := range 20 {
				try(h, i, "wrong", "")
			}
			return try(h, 100, "wrong", cookie).Code == http.StatusUnauthorized
		},
	},
	derive.SessionID.String(): {
		func(s site) string {
			pair, err := s.sessions().Start(s.t.Context(), session.Login{Principal: &auth.Principal{Subject: "ann"}})
			s.ok(err)
			return pair.Session
		},
		func(s site, id string) bool { // by its MAC alone: no session of such an id is there
			s.ok(s.sessions().EndAll(s.t.Context(), "ann"))
			return !strings.Contains(s.sessions().End(s.t.Context(), "ann", id).Error(), "has such an id")
		},
	},
	derive.LoginAccount.String(): {
		func(s site) string { return s.named() },
		func(s site, name string) bool { return s.named() == name },
	},
	derive.Cookie.String(): {
		func(s site) string {
			w := httptest.NewRecorder()
			s.ok(s.jar().Set(w, httptest.NewRequest("GET", "/", nil), &auth.Pair{Access: "text"}))
			return setCookie(w)
		},
		func(s site, cookie string) bool {
			r := httptest.NewRequest("GET", "/", nil)
			r.Header.Set("Cookie", cookie)
			text, err := s.jar().Access(r)
			return err == nil && text == "text"
		},
	},
	derive.Seal.String(): {
		func(s site) string {
			sealed, err := s.sealer().Seal(seal.Place{Owner: auth.Owner{Issuer: "https://pool.example.com", Subject: "ann"}, Purpose: "x"}, "text")
			s.ok(err)
			return sealed
		},
		func(s site, sealed string) bool {
			text, _, err := s.sealer().Open(seal.Place{Owner: auth.Owner{Issuer: "https://pool.example.com", Subject: "ann"}, Purpose: "x"}, sealed)
			return err == nil && text == "text"
		},
	},
	derive.Pepper.String(): {
		func(s site) string {
			hash, err := s.hasher().Hash(s.t.Context(), "correct horse battery")
			s.ok(err)
			return hash
		},
		func(s site, hash string) bool {
			_, err := s.hasher().Verify(s.t.Context(), hash, "correct horse battery")
			return err == nil
		},
	},
}

// TestDerivedKeys_BelongToOneInstallation: with one secret, what staging has made under any derived key is nothing in
// production. A new use without a row fails.
func TestDerivedKeys_BelongToOneInstallation(t *testing.T) {
	uses := []string{"access", "one-time"}
	for _, use := range derive.Uses {
		uses = append(uses, use.String())
	}
	store := session.NewMemory(revocation.NewMemory())
	at := func(t *testing.T, name string) site {
		return site{t, name, tokens.NewKeyring(tokens.FromSecret([]byte("J4Y1zHcB6mQp0x9vWk3nT8sLr2dGfUeA"))), store}
	}
	for use := range keyed {
		if !slices.Contains(uses, use) {
			t.Errorf("the row %q is no use of the kit", use)
		}
	}
	for _, use := range uses {
		t.Run(use, func(t *testing.T) {
			row, known := keyed[use]
			if !known {
				t.Fatal("no row shows that its key belongs to one installation")
			}
			made := row.make(at(t, staging))
			if !row.is(at(t, staging), made) {
				t.Errorf("its own installation refuses %q", made)
			}
			if row.is(at(t, production), made) {
				t.Errorf("production takes what staging has made: %q", made)
			}
		})
	}
}
