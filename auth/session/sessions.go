package session

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync/atomic"
	"time"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/internal/derive"
	"github.com/doorward/doorward/revocation"
	"github.com/doorward/doorward/tokens"
)

// Config is what [New] needs. Store, Tokens and Subjects are demanded.
type Config struct {
	Store    Store
	Tokens   *tokens.Tokens // access tokens; its List must be the Store's
	Subjects Subjects

	// Keys makes the keys of the refresh tokens, by a derivation of their own (a ring of tokens.FromSecret).
	// Nil is the ring of Tokens.
	Keys *tokens.Keyring

	Life   Life          // 7 days idle, 30 days in all
	Strong Life          // of a login by more than one method: 1 hour and 24 hours, or Life where that is less
	Grace  time.Duration // how long a repeated refresh token gets the same child: 10 s, at most 1 min
	Max    int           // sessions of one subject, at most 1,000; a new login ends the oldest: 20

	// EndOnOtherEpoch ends each session whose last refresh was before the store last forgot something. A Redis
	// that restarts from a snapshot can bring back a session that was logged out in between; with this
	// switch it is not believed, at the price of a login for everyone.
	EndOnOtherEpoch bool

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
	keys     *tokens.Keyring
	now      func() time.Time
	lifetime time.Duration // of an access token

	// epoch is the list's, as the store last named it. It goes into each step and is compared there, so that
	// a stale one costs a second round trip and nothing else.
	epoch atomic.Pointer[string]
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
	case c.Subjects == nil:
		return nil, errors.New("session: Config.Subjects: got nil, expected the application's users table")
	}
	t := c.Tokens.Config()
	switch {
	case t.AllowForeign || t.Type != tokens.Access:
		return nil, fmt.Errorf("session: Config.Tokens: got type %q, AllowForeign %t, expected the issuer's own %q", t.Type, t.AllowForeign, tokens.Access)
	case !sameList(t.List, c.Store.Revocations()):
		return nil, errors.New("session: Config.Tokens: its List is not the one that the Store ends sessions on, so that an ended session's tokens would live: pass Store.Revocations() as tokens.Config.List")
	}
	s := &Sessions{c: c, issuer: t.Issuer, keys: c.Keys, now: t.Now, lifetime: t.Lifetime}
	if s.keys == nil {
		s.keys = t.Keys
	}
	if _, _, err := derive.Key(s.keys, "", s.issuer, derive.Refresh); err != nil {
		return nil, fmt.Errorf("session: Config.Keys: %w", err)
	}
	s.c.Life = s.c.Life.or(Life{7 * day, 30 * day})
	s.c.Strong = s.c.Strong.or(Life{min(time.Hour, s.c.Life.Idle), min(day, s.c.Life.Absolute)})
	for _, l := range []struct {
		name string
		Life
	}{{"Life", s.c.Life}, {"Strong", s.c.Strong}} {
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
	if s.c.Observe == nil {
		s.c.Observe = func(context.Context, auth.Event) {}
	}
	return s, nil
}

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

// load reads the subject, and tells a definite end from an outage: only the code LoginFailed is an end.
func (s *Sessions) load(ctx context.Context, o Owner) (Subject, error) {
	sub, err := s.c.Subjects.Load(ctx, o.Tenant, o.Subject)
	return sub, subjectError(err)
}

func subjectError(err error) error {
	if err == nil || auth.CodeOf(err) == auth.LoginFailed {
		return err
	}
	return fmt.Errorf("%w: session: the subject: %w", auth.StoreUnavailable, err)
}

// principal is what an access token of the session says: the subject as it is today, proven as it was then.
func (s *Sessions) principal(row Session, sub Subject) *auth.Principal {
	return &auth.Principal{
		Issuer: s.issuer, Tenant: row.Tenant, Subject: row.Subject, Session: row.ID, Version: sub.Version,
		Roles: sub.Roles, Competencies: sub.Competencies, Claims: sub.Claims,
		Methods: row.Methods, AuthTime: row.AuthTime, ClientID: row.ClientID, Binding: row.Binding, Expires: row.Until,
	}
}

// tell gives an event to the observer. An outage is one by its code, whatever was tried.
func (s *Sessions) tell(ctx context.Context, name, outcome string, o Owner, id string, from auth.Client, err error) {
	if err != nil && auth.CodeOf(err) == auth.StoreUnavailable {
		name, outcome = "outage", name
	}
	if outcome == "" {
		outcome = "ok"
		if err != nil {
			outcome = string(auth.CodeOf(err))
		}
	}
	s.c.Observe(ctx, auth.Event{
		Name: name, Outcome: outcome, Time: s.now(), Tenant: o.Tenant, Subject: o.Subject, Session: id, Client: from, Err: err,
	})
}
