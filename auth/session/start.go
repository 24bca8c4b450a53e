package session

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/internal/derive"
)

// What a row may hold of a login, so that it stays small.
const (
	maxMethods  = 8
	maxMethod   = 32
	maxClientID = 128
	maxBinding  = 128
	maxTenant   = 128
	maxTerms    = 2 << 10 // of its own claims, or roles and competencies, as JSON
	maxProvider = 255     // each text of it (OpenID Connect Core section 2 bounds sub)
	maxPlace    = 128

	// maxTries bounds how often a list may begin an epoch within one call.
	maxTries = 3
)

var errEpochs = fmt.Errorf("%w: session: the list began an epoch %d times within one call", auth.StoreUnavailable, maxTries)

// A Login is what [Sessions.Start] begins a session of. Principal is demanded.
type Login struct {
	// Principal is who has logged in; the caller has just checked the credentials, all factors included. Start takes of it
	//
	//	Subject            and Issuer, which is "" or that of the tokens
	//	Version            read together with the password hash: it decides the race with [Sessions.EndAll]
	//	Methods, AuthTime  how and when the subject proved itself; the present instant when zero
	//	ClientID
	//	Tenant             limits the login to this organisation for its whole life; "" for no limit
	//	Claims             the login's own (see [Terms]): a T of tokens.CustomClaims
	//	Session            the session that this one replaces, in a step-up or a login on top of another. The new one
	//	                   keeps its claims, its limit to an organisation, and its Provider where Login names none; Claims
	//	                   are not looked at then, since those of a request's principal are today's too
	//	Binding            of a session that is replaced; a new one comes from auth.Bind
	//
	// Without Config.Subjects also Roles and Competencies; else those are today's, of Subjects.
	Principal *auth.Principal

	Client   auth.Client // who sent the login: auth.ClientOf
	Remember bool        // it lives as Config.Remembered says
	Provider Provider    // where an identity provider proved it
}

// Start begins a session and declares the login's success (auth.LoginSucceeded). It ends the subject's oldest sessions
// beyond Config.Max.
//
// If the subject's sessions were ended after Principal.Version was read, the answer is auth.LoginFailed. Without
// Config.Subjects the version is that of [Sessions.Version], read before the credentials; 0 stands for the present one,
// and then an EndAll between the check of the credentials and Start does not end this login.
//
// The id is always new and random, so that nothing planted before the login gains by it. The access tokens of the session
// that Principal.Session names are refused from now on; its refresh token answers auth.TokenExpired for the grace time, then
// auth.TokenRevoked. If another login has replaced it already, as a double click does, the answer is auth.TokenExpired: the
// client has the new session. If it is over, so is the step-up: auth.TokenRevoked.
//
// A context with a binding (auth.Bind), or a principal with one, ties the session to it: every refresh must show the same, or
// changes nothing and is refused, and the access tokens carry it.
//
// A principal with a TokenID and without a Session was proven by an API key or a service token. These open no session:
// auth.LoginFailed. One that is no member of its Tenant is auth.TenantForbidden.
//
// With revocation.ErrUnconfirmed the pair is returned too, and the login is complete: what is not yet known is whether every
// server refuses the session that it replaced, or those beyond Config.Max.
func (s *Sessions) Start(ctx context.Context, l Login) (*auth.Pair, error) {
	c, err := s.creation(ctx, l)
	if err != nil {
		return nil, err
	}
	row := &c.Session
	if err := s.inherit(ctx, c); err != nil {
		s.tell(ctx, "login", "", row.Owner, "", row.Client, err)
		return nil, err
	}
	pair, ended, err := s.create(ctx, c)
	if pair == nil {
		s.tell(ctx, "login", "", row.Owner, "", row.Client, err)
		return nil, err
	}
	auth.LoginSucceeded(ctx)
	s.tell(ctx, "login", "", row.Owner, row.ID, row.Client, nil)
	if c.Replaces != "" {
		s.tell(ctx, "end", "replaced", row.Owner, c.Replaces, row.Client, err)
	}
	for _, id := range ended {
		s.tell(ctx, "end", "limit", row.Owner, id, row.Client, err)
	}
	return pair, err
}

// inherit gives a session what it keeps of the one that it replaces. Where that one is over, Create says so.
func (s *Sessions) inherit(ctx context.Context, c *Creation) error {
	if c.Replaces == "" {
		return nil
	}
	rows, err := s.c.Store.List(ctx, c.Session.Owner)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(rows, func(row Session) bool { return row.ID == c.Replaces })
	if i < 0 {
		return nil
	}
	old, row := rows[i], &c.Session
	row.Claims, row.Binding = old.Claims, cmp.Or(row.Binding, old.Binding) // a step-up does not unbind
	switch {
	case old.Audience != s.audience:
		return fmt.Errorf("session: Start: the session to be replaced is of audience %.80q, expected %q", old.Audience, s.audience)
	case old.Tenant != "" && row.Tenant != "" && row.Tenant != old.Tenant:
		return fmt.Errorf("%w: session: Start: the session to be replaced is limited to another tenant than %.80q", auth.TenantForbidden, row.Tenant)
	case old.Tenant != "":
		row.Tenant = old.Tenant
	}
	if row.Provider == (Provider{}) { // the provider's logout must still find it
		row.Provider = old.Provider
	}
	return nil
}

// Version returns the subject's present token version, for a login without Config.Subjects: read it before the credentials.
func (s *Sessions) Version(ctx context.Context, subject string) (int64, error) {
	sub, err := s.load(ctx, s.owner(subject), Terms{})
	return sub.Version, err
}

// creation turns the login into a row to be.
func (s *Sessions) creation(ctx context.Context, l Login) (*Creation, error) {
	p := l.Principal
	if p == nil || p.Subject == "" {
		return nil, errors.New("session: Start: got no subject")
	}
	binding := cmp.Or(auth.BindingOf(ctx), p.Binding)
	switch {
	case p.Service, p.TokenID != "" && p.Session == "":
		// An API key or a service token: it is no login, and a month of refreshing must not come of it (ATK-J28).
		return nil, fmt.Errorf("%w: session: Start: got a principal of a token without a session, expected one that a login has proven", auth.LoginFailed)
	case p.Issuer != "" && p.Issuer != s.issuer:
		return nil, fmt.Errorf("session: Start: got a principal of issuer %.80q, expected %q", p.Issuer, s.issuer)
	case p.Version < 0:
		return nil, fmt.Errorf("session: Start: got version %d, expected 0 or more", p.Version)
	case len(p.Methods) > maxMethods || slices.ContainsFunc(p.Methods, func(m string) bool { return len(m) > maxMethod }),
		len(p.ClientID) > maxClientID, len(binding) > maxBinding:
		return nil, fmt.Errorf("session: Start: got %d methods, a client id of %d and a binding of %d bytes, expected at most %d methods of %d bytes, %d and %d",
			len(p.Methods), len(p.ClientID), len(binding), maxMethods, maxMethod, maxClientID, maxBinding)
	case l.Remember && !s.Remembers():
		return nil, errors.New("session: Start: got Remember without Config.Remembered, expected the life of such logins there")
	}
	if err := l.Provider.check(); err != nil {
		return nil, fmt.Errorf("session: Start: %w", err)
	}
	terms, err := s.terms(p)
	if err != nil {
		return nil, err
	}
	id, err := s.newID(s.owner(p.Subject))
	if err != nil {
		return nil, err
	}
	life := s.c.Life
	if len(p.Methods) > 1 {
		life = s.c.Strong
	}
	if l.Remember {
		life = s.c.Remembered
	}
	c := &Creation{
		Session: Session{
			Owner: s.owner(p.Subject), ID: id, Version: p.Version, Terms: terms, Audience: s.audience, Idle: life.Idle,
			Provider: l.Provider, Remember: l.Remember,
			Methods: slices.Clone(p.Methods), AuthTime: p.AuthTime, ClientID: p.ClientID,
			Client: client(l.Client), Device: device(l.Client.UserAgent), Place: s.place(l.Client.Addr), Binding: binding,
		},
		Absolute: life.Absolute, Max: s.c.Max, Replaces: p.Session, Grace: s.c.Grace,
	}
	if c.Session.AuthTime.IsZero() {
		c.Session.AuthTime = s.now()
	}
	return c, nil
}

// terms are what the login fixes. They are small: each refresh reads them.
func (s *Sessions) terms(p *auth.Principal) (t Terms, err error) {
	t.Tenant = p.Tenant
	if s.c.Subjects == nil {
		t.Roles, t.Competencies = slices.Clone(p.Roles), slices.Clone(p.Competencies)
		if p.Tenant != "" {
			return t, fmt.Errorf("session: Start: got tenant %.80q without Config.Subjects, expected none: nobody can say what holds there", p.Tenant)
		}
	}
	if p.Claims != nil && p.Session == "" {
		claims, err := s.c.Tokens.EncodeClaims(p.Claims)
		if err != nil {
			return t, fmt.Errorf("session: Start: %w", err)
		}
		if string(claims) != "{}" {
			t.Claims = string(claims)
		}
	}
	text, err := json.Marshal(t)
	switch {
	case err != nil:
		return t, fmt.Errorf("session: Start: %w", err)
	case len(text) > maxTerms || len(t.Tenant) > maxTenant:
		return t, fmt.Errorf("session: Start: got a tenant of %d bytes and %d bytes of tenant, claims and roles in all, expected at most %d and %d", len(t.Tenant), len(text), maxTenant, maxTerms)
	}
	return t, nil
}

// place asks where an address is, and keeps what is short and harmless of it.
func (s *Sessions) place(a netip.Addr) string {
	p := auth.Printable(s.c.Place(a.Unmap().WithZone("")), maxPlace)
	return strings.ToValidUTF8(p[:min(len(p), maxPlace)], "")
}

// check refuses what would find the sessions of no provider, or of all.
func (p Provider) check() error {
	switch {
	case p == Provider{}:
		return nil
	case p.Issuer == "" || p.Subject == "" && p.Session == "":
		return fmt.Errorf("got a provider's issuer %.80q, subject %.80q and session %.80q, expected the issuer and one of the others", p.Issuer, p.Subject, p.Session)
	case max(len(p.Issuer), len(p.Subject), len(p.Session)) > maxProvider:
		return fmt.Errorf("got a provider's issuer, subject and session of %d, %d and %d bytes, expected at most %d each", len(p.Issuer), len(p.Subject), len(p.Session), maxProvider)
	}
	return nil
}

// create makes both tokens first, so that what cannot be minted leaves no row behind, and the row last: it
// confirms the epoch that the tokens carry.
func (s *Sessions) create(ctx context.Context, c *Creation) (*auth.Pair, []string, error) {
	row := &c.Session
	keyID, key, err := s.derive("", derive.Refresh)
	if err != nil {
		return nil, nil, err
	}
	row.KeyID = keyID
	refresh, err := s.seal(presented{row.Owner, row.ID, 1}, keyID, key)
	if err != nil {
		return nil, nil, err
	}
	for range maxTries {
		at := s.now() // before the subject is read: the token must not outlive an ending in between
		row.Epoch = s.known()
		sub, err := s.load(ctx, row.Owner, row.Terms)
		if err != nil {
			return nil, nil, err
		}
		if s.c.Subjects == nil && row.Version == 0 {
			row.Version = sub.Version
		}
		if err := begins(row.Version, sub); err != nil {
			return nil, nil, err
		}
		var access string
		var expires time.Time
		if row.Epoch != "" {
			p, err := s.principal(at, *row, sub)
			if err != nil {
				return nil, nil, err
			}
			if access, expires, err = s.c.Tokens.Issue(s.c.Tokens.StampAt(at, row.Epoch), p); err != nil {
				return nil, nil, err
			}
		}
		res, err := s.c.Store.Create(ctx, *c)
		if err != nil && res.Outcome != Created {
			return nil, nil, err
		}
		s.learn(res.Epoch)
		switch res.Outcome {
		case Created:
			return &auth.Pair{Access: access, Refresh: refresh, Session: row.ID, AccessExpires: expires, RefreshUntil: res.Session.IdleUntil}, res.Ended, err
		case Replaced:
			return nil, nil, fmt.Errorf("%w: the session to be replaced has been replaced already", auth.TokenExpired)
		case Gone:
			return nil, nil, fmt.Errorf("%w: the session to be replaced is over", auth.TokenRevoked)
		case OtherEpoch:
		default:
			return nil, nil, fmt.Errorf("session: the store answered Create with %q", res.Outcome)
		}
	}
	return nil, nil, errEpochs
}

// begins judges a login by the version that was read with its password.
func begins(version int64, sub Subject) error {
	switch {
	case version < sub.EndedBelow:
		return fmt.Errorf("%w: the subject's sessions were ended at version %d, the login read %d", auth.LoginFailed, sub.EndedBelow, version)
	case version > sub.Version:
		// Believing either would be a guess: the one reads from a replica that lags, or the login was given a wrong one.
		return fmt.Errorf("%w: session: the login read version %d, Subjects.Load an older %d", auth.StoreUnavailable, version, sub.Version)
	}
	return nil
}
