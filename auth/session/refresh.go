package session

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/internal/derive"
	"github.com/doorward/doorward/internal/sample"
)

// lentLife is how long a lent access token works: long enough for the request that it was lent to.
const lentLife = time.Minute

// Refresh exchanges a refresh token for a new pair, with the subject's roles of today. It is for programs, which keep
// the token themselves; a browser's cookie is for [Sessions.RefreshCookie]. A token that is repeated within the grace time gets the same refresh token again: racing tabs and
// lost answers cost nothing. One that is older was stolen, or its child was: the session ends, and the
// answer is auth.RefreshReused. Other answers:
//
//	auth.TokenInvalid      no refresh token of ours; found without I/O
//	auth.TokenRevoked      the session, or its subject, is over
//	auth.TokenExpired      not now: a key that this node does not know, a session just replaced by a step-up, one of another
//	                       audience, or a binding that this request does not show (see auth.Bind). Nothing changed
//	auth.TenantForbidden   the login is limited to an organisation, and its subject is no member now. Nothing changed
//	auth.StoreUnavailable  an outage: nothing is lost, repeat the same token
//
// Nothing but the swap itself uses the token up: the subject is loaded, and what could fail is tried, before it.
func (s *Sessions) Refresh(ctx context.Context, refresh string, from auth.Client) (*auth.Pair, error) {
	return s.exchange(ctx, refresh, from, "", Rotation{})
}

// RefreshCookie is [Sessions.Refresh] for a token that the browser sent by itself, with any request. Two things differ,
// because a page cannot choose which token a request carries, nor the order in which requests arrive:
//
// A token that was itself given out within the grace time is not exchanged yet: the pair has it once more, beside a new
// access token. So nobody who shows within the grace time what was exchanged is ever older than the parent.
//
// An idle tab's slow upload carries the parent of a token that another tab has rotated meanwhile, and there may be several. So
// late showings of exactly the parent answer auth.TokenExpired for 60 s from the first one, each with an event; one after
// that, and anything older, ends the session.
func (s *Sessions) RefreshCookie(ctx context.Context, refresh string, from auth.Client) (*auth.Pair, error) {
	return s.exchange(ctx, refresh, from, "", Rotation{Lenient: true})
}

// Lend returns an access token for one request, good for a minute, and no refresh token. It is for requests that
// another site may have caused: nothing is rotated, nothing ends. A token that was rotated, beyond the grace time,
// answers auth.TokenExpired; for other answers see [Sessions.Refresh].
func (s *Sessions) Lend(ctx context.Context, refresh string, from auth.Client) (*auth.Pair, error) {
	return s.exchange(ctx, refresh, from, "", Rotation{Lend: true})
}

// Narrow returns an access token of the session for one organisation, with the grants that hold there, and no refresh token:
// for a program that acts in several, one token for each. The refresh token is not used up; an older one ends the session, as
// at [Sessions.Refresh], where the other answers are. A tenant that the subject is no member of is auth.TenantForbidden, as
// is another one than the login is limited to. What was narrowed has no way to something wider: it takes the refresh
// token. Each is told as "narrow".
func (s *Sessions) Narrow(ctx context.Context, refresh, tenant string, from auth.Client) (*auth.Pair, error) {
	switch {
	case tenant == "" || len(tenant) > maxTenant:
		return nil, fmt.Errorf("%w: session: Narrow: got a tenant of %d bytes, expected 1 to %d", auth.ValidationFailed, len(tenant), maxTenant)
	case s.c.Subjects == nil:
		return nil, fmt.Errorf("%w: session: Narrow: without Config.Subjects nobody can say what holds in a tenant", auth.TenantForbidden)
	}
	return s.exchange(ctx, refresh, from, tenant, Rotation{Narrow: true})
}

// exchange asks for what r says, of the session whose refresh token was shown. With a tenant the access token is narrowed to it.
func (s *Sessions) exchange(ctx context.Context, refresh string, from auth.Client, tenant string, r Rotation) (*auth.Pair, error) {
	shown, err := s.open(refresh)
	if err != nil {
		return nil, err
	}
	r.Owner, r.ID, r.Generation = shown.owner, shown.id, shown.generation
	r.Grace, r.Binding = s.c.Grace, auth.BindingOf(ctx)
	r.EndOnOtherEpoch, r.EndOnOtherClient = s.c.EndOnOtherEpoch, s.c.EndOnOtherClient
	r.Client, r.Device, r.Place = client(from), device(from.UserAgent), s.place(from.Addr)
	pair, res, err := s.rotate(ctx, &r, tenant)
	switch {
	case auth.CodeOf(err) == auth.LoginFailed && r.Lend:
		err = fmt.Errorf("%w: %w", auth.TokenRevoked, err)
	case auth.CodeOf(err) == auth.LoginFailed:
		// The subject is gone for good, so the session is, and its access tokens with it.
		_, failed := s.c.Store.End(ctx, r.Owner, r.ID)
		err = errors.Join(fmt.Errorf("%w: %w", auth.TokenRevoked, err), failed)
	}
	s.tellRefresh(ctx, &r, res, err)
	return pair, err
}

// errRotated marks what a strict refresh would take for reuse.
var errRotated = errors.New("the refresh token was rotated")

// MayEnd says whether err, of [Sessions.Lend], is about an older token, which [Sessions.Refresh] would end the session for: a
// limit on refreshes must not keep it from being judged.
func MayEnd(err error) bool { return errors.Is(err, errRotated) }

// errForgot is for the log alone: the client gets its child.
var errForgot = errors.New("session: the store had forgotten a refresh; what was ended since then may be alive again")

func (s *Sessions) tellRefresh(ctx context.Context, r *Rotation, res Result, err error) {
	name, told := "refresh", string(res.Outcome)
	if r.Narrow {
		name = "narrow"
	}
	switch res.Outcome {
	case Lent:
		if !r.Narrow {
			return
		}
		told = ""
	case Rotated:
		told = ""
	case Reused:
		name, told = "reuse", ""
	case RolledBack:
		name = "rollback"
		err = cmp.Or(err, errForgot)
	}
	e := auth.Event{Name: name, Outcome: told, Owner: r.Owner, Session: r.ID, Client: r.Client, Err: err}
	switch res.Outcome {
	case Gone, Unbound, Replaced:
		// A stranger shows a dead token as often as he likes. That a session has ended just now is told in any case.
		if res.Outcome == Gone && res.Session.ID != "" && !r.Lend {
			break
		}
		var due bool
		if _, e.Missed, due = s.told.Due(sample.Kind{Word: name + told, Place: r.ID}); !due {
			return
		}
	}
	switch res.Outcome {
	case Moved:
		e.Name, e.Outcome, e.Former = "moved", "", res.Former
	case Rotated, RolledBack: // once a swap, which writes the present client down
		if !Alike(res.Former, r.Client) { // before the refresh itself, which is told as ever
			s.event(ctx, auth.Event{Name: "moved", Owner: r.Owner, Session: r.ID, Client: r.Client, Former: res.Former})
		}
	}
	s.event(ctx, e)
}

// rotate loads the subject, asks the store, and starts once more where the list has begun an epoch meanwhile:
// a version that was read before that must not be believed after it. So it does where the login has terms of its own,
// which only the row knows: what they make of the subject must fit into a token before the swap. They never change.
func (s *Sessions) rotate(ctx context.Context, r *Rotation, tenant string) (*auth.Pair, Result, error) {
	var key []byte
	var err error
	if r.KeyID, key, err = s.derive("", derive.Refresh); err != nil {
		return nil, Result{}, err
	}
	for range maxTries + 1 {
		at := s.now() // before the subject is read: the token must not outlive an ending in between
		r.Epoch = s.known()
		loaded := r.Terms
		if tenant != "" {
			if r.Terms.Tenant != "" && r.Terms.Tenant != tenant {
				return nil, Result{}, fmt.Errorf("%w: the login is limited to another tenant than %.80q", auth.TenantForbidden, tenant)
			}
			loaded.Tenant = tenant
		}
		sub, err := s.load(ctx, r.Owner, loaded)
		if err != nil {
			return nil, Result{}, err
		}
		r.Numbers = sub.Numbers
		if err := s.rehearse(at, r, sub); err != nil {
			return nil, Result{}, err
		}
		res, err := s.c.Store.Rotate(ctx, *r)
		if err != nil && res.Outcome == "" {
			return nil, Result{}, err
		}
		s.learn(res.Epoch)
		switch res.Outcome {
		case OtherEpoch:
			continue
		case OtherTerms:
			r.Terms = res.Session.Terms
			continue
		}
		// A refusal comes first: that a token was stolen must be told, also where its ending is not confirmed yet.
		if err := errors.Join(refusal(res.Outcome), err); err != nil {
			return nil, res, err
		}
		res.Session.Tenant = loaded.Tenant
		life := s.lifetime
		if r.Lend && tenant == "" {
			life = min(life, lentLife)
		}
		pair, err := s.pair(at, life, r, key, res, sub)
		return pair, res, err
	}
	return nil, Result{}, errEpochs
}

// rehearse makes a token as large as any of the subject's before the swap: what cannot be minted (roles too
// many for a token, claims of a wrong type) must not use the refresh token up.
func (s *Sessions) rehearse(at time.Time, r *Rotation, sub Subject) error {
	if r.Epoch == "" || r.Lend || r.Narrow {
		return nil
	}
	p, err := s.principal(at, Session{
		Owner: r.Owner, ID: r.ID, Terms: r.Terms, AuthTime: at, ClientID: strings.Repeat("-", maxClientID), Methods: widest, Binding: r.Binding,
	}, sub)
	if err == nil {
		_, _, err = s.c.Tokens.Issue(s.c.Tokens.StampAt(at, r.Epoch), p)
	}
	return err
}

var widest = func() (methods []string) {
	for range maxMethods {
		methods = append(methods, strings.Repeat("-", maxMethod))
	}
	return methods
}()

func refusal(o Outcome) error {
	switch o {
	case Rotated, Kept, RolledBack, Replayed, Lent:
		return nil
	case Reused:
		return fmt.Errorf("%w: an old refresh token was shown; the session was ended", auth.RefreshReused)
	case Gone:
		return fmt.Errorf("%w: the session is over", auth.TokenRevoked)
	case Late:
		return fmt.Errorf("%w: %w", auth.TokenExpired, errRotated)
	case Replaced:
		return fmt.Errorf("%w: the session was replaced by another", auth.TokenExpired)
	case Moved:
		return fmt.Errorf("%w: the refresh token was shown by another user agent or network; the session was ended", auth.TokenRevoked)
	case Unbound:
		return fmt.Errorf("%w: the session is bound to another device", auth.TokenExpired) // it works there: see [Ended]
	}
	return fmt.Errorf("session: the store answered Rotate with %q", o)
}

// pair mints what the outcome allows. The child is made under the row's key, which is not ours when another
// node made the swap.
func (s *Sessions) pair(at time.Time, life time.Duration, r *Rotation, key []byte, res Result, sub Subject) (*auth.Pair, error) {
	row := res.Session
	if now := s.now(); !row.Until.After(now.Add(time.Second)) {
		// Over by our clock, if not yet by the store's: there is no whole second left to mint for.
		return nil, fmt.Errorf("%w: the session is over", auth.TokenRevoked)
	}
	p, err := s.principal(at, row, sub)
	if err != nil {
		return nil, err
	}
	if end := at.Add(life); end.Before(p.Expires) {
		p.Expires = end
	}
	pair := &auth.Pair{Session: row.ID}
	if pair.Access, pair.AccessExpires, err = s.c.Tokens.Issue(s.c.Tokens.StampAt(at, res.Epoch), p); err != nil {
		return nil, err
	}
	if res.Outcome == Lent {
		return pair, nil
	}
	if row.KeyID != r.KeyID {
		if _, key, err = s.derive(row.KeyID, derive.Refresh); err != nil {
			return nil, fmt.Errorf("%w: the child's key is not one of this node's: %v", auth.TokenExpired, err)
		}
	}
	pair.Refresh, err = s.seal(presented{row.Owner, row.ID, row.Generation}, row.KeyID, key)
	pair.RefreshUntil = row.IdleUntil
	return pair, err
}
