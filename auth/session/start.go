package session

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
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

	// maxTries bounds how often a list may begin an epoch within one call.
	maxTries = 3
)

var errEpochs = fmt.Errorf("%w: session: the list began an epoch %d times within one call", auth.StoreUnavailable, maxTries)

// Start begins a session for p, whose credentials the caller has just checked, all factors included, and
// declares the login's success (auth.LoginSucceeded). Of p it takes Tenant, Subject, ClientID, Methods, AuthTime
// (now when zero), Version and Session; the roles are today's, of Subjects. It ends the subject's oldest
// sessions beyond Config.Max.
//
// p.Version must be read together with the password hash: it decides the race with [Sessions.EndAll]. If the
// subject's sessions were ended since, the answer is auth.LoginFailed.
//
// The id is always new and random, so that nothing planted before the login gains by it. p.Session, for a step-up
// or a login on top of another, names the session that the new one replaces: its access tokens are refused from
// now on, its refresh token answers auth.TokenExpired for the grace time, then auth.TokenRevoked. If it is over,
// so is the step-up: auth.TokenRevoked.
//
// A context with a binding (auth.Bind), or a p with one, ties the session to it: every refresh must show the same, or
// changes nothing and is refused, and the access tokens carry it.
//
// A p with a TokenID and without a Session was proven by an API key or a service token. These open no session:
// auth.LoginFailed.
//
// With revocation.ErrUnconfirmed the pair is returned too, and the login is complete: what is not yet known is whether every
// server refuses the session that it replaced, or those beyond Config.Max.
func (s *Sessions) Start(ctx context.Context, p *auth.Principal, from auth.Client) (*auth.Pair, error) {
	c, err := s.creation(ctx, p, from)
	if err != nil {
		return nil, err
	}
	row := &c.Session
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

// creation turns the login into a row to be.
func (s *Sessions) creation(ctx context.Context, p *auth.Principal, from auth.Client) (*Creation, error) {
	if p == nil || p.Subject == "" {
		return nil, errors.New("session: Start: got no subject")
	}
	binding := cmp.Or(auth.BindingOf(ctx), p.Binding) // a step-up does not unbind
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
	}
	life := s.c.Life
	if len(p.Methods) > 1 {
		life = s.c.Strong
	}
	c := &Creation{
		Session: Session{
			Owner: Owner{s.issuer, p.Tenant, p.Subject}, ID: rand.Text(), Version: p.Version, Idle: life.Idle,
			Methods: slices.Clone(p.Methods), AuthTime: p.AuthTime, ClientID: p.ClientID,
			Client: client(from), Device: device(from.UserAgent), Binding: binding,
		},
		Absolute: life.Absolute, Max: s.c.Max, Replaces: p.Session, Grace: s.c.Grace,
	}
	if c.Session.AuthTime.IsZero() {
		c.Session.AuthTime = s.now()
	}
	return c, nil
}

// create makes both tokens first, so that what cannot be minted leaves no row behind, and the row last: it
// confirms the epoch that the tokens carry.
func (s *Sessions) create(ctx context.Context, c *Creation) (*auth.Pair, []string, error) {
	row := &c.Session
	keyID, key, err := derive.Key(s.keys, "", s.issuer, derive.Refresh)
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
		sub, err := s.load(ctx, row.Owner)
		if err != nil {
			return nil, nil, err
		}
		if err := begins(row.Version, sub); err != nil {
			return nil, nil, err
		}
		var access string
		var expires time.Time
		if row.Epoch != "" {
			if access, expires, err = s.c.Tokens.Issue(s.c.Tokens.StampAt(at, row.Epoch), s.principal(*row, sub)); err != nil {
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
