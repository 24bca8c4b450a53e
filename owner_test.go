package doorward_test

import (
	"context"
	"errors"
	"testing"
	"time"

	library "github.com/pquerna/otp/totp"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/auth/apikey"
	"github.com/doorward/doorward/auth/apikey/redisapikey"
	"github.com/doorward/doorward/auth/onetime"
	"github.com/doorward/doorward/auth/onetime/redisonetime"
	"github.com/doorward/doorward/auth/session"
	"github.com/doorward/doorward/auth/session/redissession"
	"github.com/doorward/doorward/auth/totp"
	"github.com/doorward/doorward/auth/totp/redistotp"
	"github.com/doorward/doorward/internal/redistest"
	"github.com/doorward/doorward/revocation"
	"github.com/doorward/doorward/revocation/redisrev"
	"github.com/doorward/doorward/tokens"
)

// backEnd has every store of the kit. All pools of users share one.
type backEnd struct {
	sessions interface {
		session.Store
		session.VersionStore
	}
	factors totp.Store
	keys    apikey.Store
	links   onetime.Store
}

// pool is the application of one issuer. ann is an editor of the site, admin of acme and treasurer of the club.
type pool struct {
	*testing.T
	tokens   *tokens.Tokens
	sessions *session.Sessions
	factors  *totp.Factors
	keys     *apikey.Keys
	resets   *onetime.Kind[string]
}

func newPool(t *testing.T, issuer string, b backEnd) *pool {
	p := &pool{T: t}
	grants := func(_ context.Context, _, tenant string) (session.Subject, error) {
		roles := map[string][]string{"": {"editor"}, "acme": {"admin"}, "club": {"treasurer"}}
		if roles[tenant] == nil {
			return session.Subject{}, auth.TenantForbidden
		}
		return session.Subject{Tenant: tenant, Roles: roles[tenant]}, nil
	}
	var errs [5]error
	p.tokens, errs[0] = tokens.New(tokens.Config{
		Keys:   tokens.NewKeyring(tokens.FromSecret([]byte("J4Y1zHcB6mQp0x9vWk3nT8sLr2dGfUeA"))),
		Issuer: issuer, Audience: "app", List: b.sessions.Revocations(),
	})
	p.sessions, errs[1] = session.New(session.Config{Store: b.sessions, Tokens: p.tokens, Subjects: session.KeepVersions(b.sessions, issuer, grants)})
	p.factors, errs[2] = totp.New(totp.Config{Issuer: issuer, ServiceName: "App", Store: b.factors, AllowUnsealed: true})
	p.keys, errs[3] = apikey.New(apikey.Config{Issuer: issuer, Store: b.keys})
	p.resets, errs[4] = onetime.New(onetime.Config[string]{
		Tokens: p.tokens, Store: b.links, Type: tokens.ResetPassword, URL: issuer + "/reset",
		State: func(context.Context, string, string) ([]string, error) { return []string{"hash"}, nil },
	})
	p.ok(errors.Join(errs[:]...))
	return p
}

func (p *pool) ok(err error) {
	p.Helper()
	if err != nil {
		p.Fatal(err)
	}
}

// ann is what ann has at one issuer.
type ann struct {
	logins map[string]*auth.Pair // by the organisation that they are limited to
	keys   map[string]string
	link   string
}

func (p *pool) ann() ann {
	a := ann{map[string]*auth.Pair{}, map[string]string{}, ""}
	now, err := p.sessions.Version(p.Context(), "ann")
	p.ok(err)
	for _, tenant := range []string{"", "acme", "club"} {
		pair, err := p.sessions.Start(p.Context(), session.Login{Principal: &auth.Principal{Subject: "ann", Tenant: tenant, Version: now, Methods: []string{"pwd"}}})
		p.ok(err)
		secret, _, err := p.keys.Create(p.Context(), apikey.Spec{Subject: "ann", Tenant: tenant, Name: "script", Scopes: []string{"read"}})
		p.ok(err)
		a.logins[tenant], a.keys[tenant] = pair, secret.Reveal()
	}
	link, err := p.resets.Issue(p.Context(), "ann", "x", 0)
	p.ok(err)
	a.link = link.Token.Reveal()
	return a
}

// wants demands that everything of ann's works, or that nothing does.
func (p *pool) wants(a ann, works bool) {
	p.Helper()
	for tenant, pair := range a.logins {
		who, access := p.tokens.Verify(p.Context(), pair.Access)
		next, refresh := p.sessions.Refresh(p.Context(), pair.Refresh, auth.Client{})
		key, shown := p.keys.Verify(p.Context(), a.keys[tenant])
		if (access == nil) != works || (refresh == nil) != works || (shown == nil) != works {
			p.Errorf("in %q: access token %v, refresh %v, key %v, expected to work: %t", tenant, access, refresh, shown, works)
			continue
		}
		if works {
			if who.Tenant != tenant || key.Tenant != tenant {
				p.Errorf("the login of %q is of %q, the key of %q", tenant, who.Tenant, key.Tenant)
			}
			a.logins[tenant] = next
		}
	}
	if _, err := p.resets.Check(p.Context(), a.link); (err == nil) != works {
		p.Errorf("a link: %v, expected to work: %t", err, works)
	}
}

// U-24, STD-S08, ATK-S11: a person in two organisations is one owner, over every store. One factor, one list of sessions and of
// keys; a reset ends all of it, in each of the organisations. A person of the same name at another issuer is somebody else.
func TestOwner_U_24_OnePersonTwoOrganisations(t *testing.T) {
	stores := map[string]func(*testing.T) backEnd{
		"memory": func(*testing.T) backEnd {
			return backEnd{session.NewMemory(revocation.NewMemory()), totp.NewMemory(), apikey.NewMemory(), onetime.NewMemory()}
		},
		"Redis": func(t *testing.T) backEnd {
			client := redistest.Start(t).Client()
			list, err := redisrev.New(redisrev.Config{Client: client, Timeout: 10 * time.Second})
			if err != nil {
				t.Fatal(err)
			}
			var b backEnd
			var errs [4]error
			b.sessions, errs[0] = redissession.New(list)
			b.factors, errs[1] = redistotp.New(redistotp.Config{Client: client})
			b.keys, errs[2] = redisapikey.New(redisapikey.Config{Client: client})
			b.links, errs[3] = redisonetime.New(redisonetime.Config{Client: client})
			if err := errors.Join(errs[:]...); err != nil {
				t.Fatal(err)
			}
			return b
		},
	}
	for name, open := range stores {
		t.Run(name, func(t *testing.T) {
			b := open(t)
			here, there := newPool(t, "https://app.example.com", b), newPool(t, "https://other.example.com", b)
			mine, others := here.ann(), there.ann()

			key, err := here.factors.Begin(t.Context(), "ann", "ann")
			here.ok(err)
			code, err := library.GenerateCode(key.Secret(), time.Now())
			here.ok(err)
			_, err = here.factors.Confirm(t.Context(), "ann", code)
			here.ok(err)
			if s, err := here.factors.Status(t.Context(), "ann"); err != nil || !s.Active {
				t.Errorf("her factor, in whichever organisation: %+v, %v", s, err)
			}
			if s, err := there.factors.Status(t.Context(), "ann"); err != nil || s.Active {
				t.Errorf("the factor of another issuer's ann: %+v, %v", s, err)
			}
			for _, p := range []*pool{here, there} {
				rows, err := p.sessions.List(t.Context(), "ann")
				keys, err2 := p.keys.List(t.Context(), "ann", "")
				if err != nil || err2 != nil || len(rows) != 3 || len(keys) != 3 {
					t.Errorf("got %d sessions and %d keys, %v, %v, expected one list of three", len(rows), len(keys), err, err2)
				}
			}
			here.wants(mine, true)
			there.wants(others, true)

			// A reset, which names no organisation.
			here.ok(here.sessions.EndAll(t.Context(), "ann"))
			here.ok(here.keys.RevokeAll(t.Context(), "ann"))
			here.ok(here.resets.Void(t.Context(), "ann"))
			here.ok(here.factors.Reset(t.Context(), "ann"))
			here.wants(mine, false)
			there.wants(others, true)
		})
	}
}
