package session

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/doorward/doorward/auth"
)

const (
	watchEvery  = time.Second     // how often a watched principal is looked at
	watchSpread = 2 * time.Second // over which watchers ask for their rows, when all have to
)

// Watch returns a context for a connection that outlives its request: server-sent events, a WebSocket, a long poll. p is
// the principal that the request was let in with; what it learns here it keeps to itself. The context ends with ctx, when
// cancel is called, and within about a second after
//
//	the session ended, or was replaced                    context.Cause has the code auth.TokenRevoked or auth.TokenExpired
//	the subject's version rose (Renew, EndAll, EndOthers)  auth.TokenExpired: the client refreshes and connects again
//	the subject is gone or disabled                        auth.TokenRevoked, at the end of a token's life
//	the list, or the store, has not answered twice         auth.StoreUnavailable; revocation.IgnoreOutage ignores it for the list
//
// It belongs to the session, not to the token: a refresh does not end it. Each second it asks the list of Config.Tokens, which
// costs no round trip with a revocation.Replica or in memory, and one where each check asks Redis. When the access token's
// life is over, or, within 2 s, when the list has begun another epoch, it reads the subject and its sessions once: alive gives one more
// life. A principal without a session (a service, an API key) is watched to the end of its token.
//
// Call cancel when the connection is over, or the watcher goes on until ctx ends.
func (s *Sessions) Watch(ctx context.Context, p *auth.Principal) (context.Context, context.CancelFunc) {
	watched, end := context.WithCancelCause(ctx)
	mine := *p
	go func() { end(s.watch(watched, &mine)) }()
	return watched, func() { end(context.Canceled) }
}

func (s *Sessions) watch(ctx context.Context, p *auth.Principal) error {
	list := s.c.Tokens.Config().List
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for missed := 0; ; {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
		var err error
		switch {
		case !p.Expires.IsZero() && !s.now().Before(p.Expires):
			err = s.oneMoreLife(ctx, p)
		case p.Epoch != "":
			if err = list.Check(ctx, p); auth.CodeOf(err) == auth.TokenExpired {
				err = s.otherEpoch(ctx, p, err)
			}
		}
		switch {
		case err == nil:
			missed = 0
		case auth.CodeOf(err) != auth.StoreUnavailable || missed > 0:
			return err
		default:
			missed++
		}
	}
}

// otherEpoch tells a list that has forgotten, which says nothing about the session, from a refusal.
func (s *Sessions) otherEpoch(ctx context.Context, p *auth.Principal, refusal error) error {
	epoch, err := s.c.Store.Revocations().Epoch(ctx)
	if err != nil {
		return err
	}
	if epoch == p.Epoch {
		return refusal
	}
	select { // every connection finds out in the same second
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(rand.N(watchSpread)):
	}
	return s.oneMoreLife(ctx, p)
}

// oneMoreLife looks whether the session is alive, and lets p live as long as a token that was made now. The epoch is
// read before the rest, as for a token.
func (s *Sessions) oneMoreLife(ctx context.Context, p *auth.Principal) error {
	if p.Session == "" {
		return fmt.Errorf("%w: session: its life is over, and it has no session", auth.TokenExpired)
	}
	at, o := s.now(), s.owner(p.Subject)
	epoch, err := s.c.Store.Revocations().Epoch(ctx)
	if err != nil {
		return err
	}
	sub, err := s.load(ctx, o, Terms{Tenant: p.Tenant})
	if auth.CodeOf(err) == auth.LoginFailed {
		return fmt.Errorf("%w: %w", auth.TokenRevoked, err)
	} else if err != nil {
		return err
	}
	if sub.Version > p.Version {
		return fmt.Errorf("%w: session: the subject's version rose to %d", auth.TokenExpired, sub.Version)
	}
	rows, err := s.c.Store.List(ctx, o)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(rows, func(row Session) bool { return row.ID == p.Session })
	if i < 0 || !sub.spares(rows[i].ID, rows[i].Version) {
		return fmt.Errorf("%w: session: it is over", auth.TokenRevoked)
	}
	p.Epoch, p.Expires = epoch, at.Add(s.lifetime)
	for _, end := range []time.Time{rows[i].IdleUntil, rows[i].Until} { // STD-S03, as a token that is made now
		if end.Before(p.Expires) {
			p.Expires = end
		}
	}
	return nil
}
