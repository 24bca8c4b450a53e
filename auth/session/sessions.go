package session

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"sync/atomic"
	"time"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/internal/derive"
	"github.com/doorward/doorward/internal/sample"
	"github.com/doorward/doorward/revocation"
	"github.com/doorward/doorward/tokens"
)

// Config is what [New] needs. Store and Tokens are demanded, and Subjects where the Store keeps no numbers.
type Config struct {
	Store  Store
	Tokens *tokens.Tokens // access tokens; its List must be the Store's

	// Subjects says what holds for a subject today. Nil: the roles, competencies and claims that [Sessions.Start] is given
	// hold until the session ends, and the Store, a [VersionStore], keeps the numbers.
	Subjects Subjects

	// Keys makes the keys of the refresh tokens, by a derivation of their own (a ring of tokens.FromSecret).
	// Nil is the ring of Tokens.
	Keys *tokens.Keyring

	Life   Life // 7 days idle, 30 days in all
	Strong Life // of a login by more than one method: 1 hour and 24 hours, or Life where that is less

	// Remembered is the life of a login with [Login].Remember, by however many methods. Zero: there are none, and such a
	// login is refused.
	Remembered Life

	Grace time.Duration // how long a repeated refresh token gets the same child: 10 s, at most 1 min
	Max   int           // sessions of one subject, at most 1,000; a new login ends the oldest: 20

	// EndOnOtherEpoch ends each session whose last refresh was before the store last forgot something. A Redis
	// that restarts from a snapshot can bring back a session that was logged out in between; with this
	// switch it is not believed, at the price of a login for everyone.
	EndOnOtherEpoch bool

	// EndOnOtherClient ends a session whose refresh token comes from another user agent or network than before (see
	// [Alike]). Without it such a refresh raises the event "moved" alone. The price: a browser's update and a phone that
	// leaves its network log their user out.
	EndOnOtherClient bool

	// Place names where an address is, for the session list and for mails, such as a city of a local database of
	// addresses. It is asked at each login and swap and must be quick. Nil: places are "".
	Place func(netip.Addr) string

	// Observe is told what happens to sessions: auth.Log is ready. It is called within the call and must be quick.
	Observe func(context.Context, auth.Event)
}

// Sessions starts, refreshes, lists and ends the sessions of one issuer. It is safe for concurrent use.
//
// Its errors have a code. A client does about them what it does about the same code of an access token; for
// cookies see [Ended].
type Sessions struct {
	c        Config // as New completed it
	issuer   string
	audience string
	versions VersionStore // nil where the store is none
	keys     *tokens.Keyring
	now      func() time.Time
	lifetime time.Duration // of an access token

	// epoch is the list's, as the store last named it. It goes into each step and is compared there, so that
	// a stale one costs a second round trip and nothing else.
	epoch atomic.Pointer[string]

	told sample.Sampler // bounds the events that strangers cause
}

const (
	day         = 24 * time.Hour
	maxAbsolute = 400 * day // what browsers keep a cookie for (RFC 6265bis section 5.5)
)

// New checks c and fills in the defaults. It does no I/O. Its errors say what was got and what was expected.
func New(c Config) (*Sessions, error) {
	switch {
	case c.Store == nil:
		return nil, errors.New("session: Config.Store: got nil, expected a store (NewMemory, redissession.New)")
	case c.Tokens == nil:
		return nil, errors.New("session: Config.Tokens: got nil, expected tokens with the store's list")
	}
	versions, keeps := c.Store.(VersionStore)
	if c.Subjects == nil && !keeps {
		return nil, fmt.Errorf("session: Config.Subjects: got nil and a %T, expected the application's users table, or a Store that keeps numbers (a VersionStore)", c.Store)
	}
	t := c.Tokens.Config()
	switch {
	case t.AllowForeign || t.Type != tokens.Access:
		return nil, fmt.Errorf("session: Config.Tokens: got type %q, AllowForeign %t, expected the issuer's own %q", t.Type, t.AllowForeign, tokens.Access)
	case !sameList(t.List, c.Store.Revocations()):
		return nil, errors.New("session: Config.Tokens: its List is not the one that the Store ends sessions on, so that an ended session's tokens would live: pass Store.Revocations() as tokens.Config.List")
	}
	s := &Sessions{told: sample.Sampler{Now: t.Now}, c: c, issuer: t.Issuer, audience: t.Audience, versions: versions, keys: c.Keys, now: t.Now, lifetime: t.Lifetime}
	if s.keys == nil {
		s.keys = t.Keys
	}
	if _, _, err := s.derive("", derive.Refresh); err != nil {
		return nil, fmt.Errorf("session: Config.Keys: %w", err)
	}
	s.c.Life = s.c.Life.or(Life{7 * day, 30 * day})
	s.c.Strong = s.c.Strong.or(Life{min(time.Hour, s.c.Life.Idle), min(day, s.c.Life.Absolute)})
	lives := []struct {
		name string
		Life
	}{{"Life", s.c.Life}, {"Strong", s.c.Strong}, {"Remembered", s.c.Remembered}}
	if s.c.Remembered == (Life{}) {
		lives = lives[:2]
	}
	for _, l := range lives {
		if l.Idle < s.lifetime || l.Absolute < l.Idle || l.Absolute > maxAbsolute {
			return nil, fmt.Errorf("session: Config.%s: got %s idle and %s in all, expected at least an access token's %s idle, in all no less than that and at most %s",
				l.name, l.Idle, l.Absolute, s.lifetime, maxAbsolute)
		}
	}
	if s.c.Grace == 0 {
		s.c.Grace = 10 * time.Second
	}
	if s.c.Grace < 0 || s.c.Grace > time.Minute {
		return nil, fmt.Errorf("session: Config.Grace: got %s, expected up to 1m, or 0 for 10s", s.c.Grace)
	}
	if s.c.Max == 0 {
		s.c.Max = 20
	}
	if s.c.Max < 1 || s.c.Max > 1000 {
		return nil, fmt.Errorf("session: Config.Max: got %d, expected 1 to 1000, or 0 for 20", s.c.Max)
	}
	if s.c.Place == nil {
		s.c.Place = func(netip.Addr) string { return "" }
	}
	if s.c.Observe == nil {
		s.c.Observe = func(context.Context, auth.Event) {}
	}
	return s, nil
}

// Remembers says whether Config.Remembered is set, so that a login may ask for it.
func (s *Sessions) Remembers() bool { return s.c.Remembered != Life{} }

func (l Life) or(def Life) Life {
	if l.Idle == 0 {
		l.Idle = def.Idle
	}
	if l.Absolute == 0 {
		l.Absolute = max(def.Absolute, 0)
	}
	return l
}

// sameList says whether a, or what it wraps (revocation.IgnoreOutage), is b.
func sameList(a tokens.List, b revocation.List) bool {
	for a != nil && b != nil {
		if reflect.TypeOf(a) == reflect.TypeOf(b) && reflect.TypeOf(a).Comparable() && a == tokens.List(b) {
			return true
		}
		w, ok := a.(interface{ Unwrap() revocation.List })
		if !ok {
			return false
		}
		a = w.Unwrap()
	}
	return false
}

// Ended says whether err, from a refresh, means that the refresh token will never work again, so that a cookie
// of it is to be cleared. Everything else is "not now": auth.TokenExpired (a race, another node's key), an outage.
func Ended(err error) bool {
	switch auth.CodeOf(err) {
	case auth.TokenInvalid, auth.TokenRevoked, auth.RefreshReused, auth.LoginFailed:
		return true
	}
	return false
}

func (s *Sessions) known() string {
	if e := s.epoch.Load(); e != nil {
		return *e
	}
	return ""
}

func (s *Sessions) learn(epoch string) {
	if epoch != s.known() {
		s.epoch.Store(&epoch)
	}
}

// derive returns the key of a use of this package.
func (s *Sessions) derive(id string, use derive.Use) (usedID string, key []byte, err error) {
	return derive.Key(s.keys, id, s.issuer, use)
}

func (s *Sessions) owner(subject string) auth.Owner {
	return auth.Owner{Issuer: s.issuer, Subject: subject}
}

// load reads the subject as it is for a login of these terms, and tells a definite end from an outage: only the code
// LoginFailed is an end.
func (s *Sessions) load(ctx context.Context, o auth.Owner, t Terms) (sub Subject, err error) {
	if s.c.Subjects == nil {
		sub.Numbers, err = s.versions.Numbers(ctx, o)
		sub.Tenant, sub.Roles, sub.Competencies = t.Tenant, t.Roles, t.Competencies
		return sub, subjectError(err)
	}
	if sub, err = s.c.Subjects.Load(ctx, o.Subject, t.Tenant); err == nil && sub.Tenant != t.Tenant {
		// Grants of another organisation, or global ones, would widen the login. A table that knows no organisations has
		// no members in any.
		return Subject{}, fmt.Errorf("%w: session: Subjects.Load returned grants of tenant %.80q, expected those of %.80q, which it was asked for", auth.TenantForbidden, sub.Tenant, t.Tenant)
	}
	return sub, subjectError(err)
}

func subjectError(err error) error {
	if err == nil || auth.CodeOf(err) == auth.LoginFailed || auth.CodeOf(err) == auth.TenantForbidden {
		return err
	}
	return fmt.Errorf("%w: session: the subject: %w", auth.StoreUnavailable, err)
}

// principal is what an access token of the session says, made at this instant: the subject as it is today, proven as it
// was then. It ends no later than the session (STD-S03).
func (s *Sessions) principal(at time.Time, row Session, sub Subject) (*auth.Principal, error) {
	p := &auth.Principal{
		Issuer: s.issuer, Tenant: row.Tenant, Subject: row.Subject, Session: row.ID, Version: sub.Version,
		Roles: sub.Roles, Competencies: sub.Competencies, Claims: sub.Claims,
		Methods: row.Methods, AuthTime: row.AuthTime, ClientID: row.ClientID, Binding: row.Binding, Expires: at.Add(s.lifetime),
	}
	for _, end := range []time.Time{row.IdleUntil, row.Until} {
		if !end.IsZero() && end.Before(p.Expires) {
			p.Expires = end
		}
	}
	if row.Claims != "" {
		var err error
		if p.Claims, err = s.c.Tokens.MergeClaims([]byte(row.Claims), sub.Claims); err != nil {
			return nil, fmt.Errorf("session: the claims of the login and of the subject: %w", err)
		}
	}
	return p, nil
}

// tell gives an event to the observer. An outage is one by its code, whatever was tried.
func (s *Sessions) tell(ctx context.Context, name, outcome string, o auth.Owner, id string, from auth.Client, err error) {
	s.event(ctx, auth.Event{Name: name, Outcome: outcome, Owner: o, Session: id, Client: from, Err: err})
}

func (s *Sessions) event(ctx context.Context, e auth.Event) {
	if e.Err != nil && auth.CodeOf(e.Err) == auth.StoreUnavailable {
		e.Name, e.Outcome = "outage", e.Name
	}
	if e.Outcome == "" {
		e.Outcome = "ok"
		if e.Err != nil {
			e.Outcome = string(auth.CodeOf(e.Err))
		}
	}
	e.Time = s.now()
	s.c.Observe(ctx, e)
}
