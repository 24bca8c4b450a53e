package session

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/revocation"
)

// Ended means ended: when one of the calls here has returned nil, no access token or refresh token of what it
// named is accepted any more, on any node. After any error call again; revocation.ErrUnconfirmed says that it is ended, and not
// known yet whether every node knows.

// Logout ends the session of a refresh token, whatever its generation, and whether or not the access token has
// expired. Twice is nil. A text that is no refresh token of ours is auth.TokenInvalid. A token whose session was
// replaced (see [Sessions.Start]) ends the one that replaced it too, but within Config.Grace alone: later the store has
// forgotten that the two belong together, and the answer is nil.
func (s *Sessions) Logout(ctx context.Context, refresh string) error {
	shown, err := s.open(refresh)
	if err != nil {
		return err
	}
	ended, err := s.c.Store.End(ctx, shown.owner, shown.id)
	s.tell(ctx, "logout", "", shown.owner, shown.id, auth.Client{}, err)
	s.tellHeirs(ctx, shown.owner, shown.id, ended)
	return err
}

// tellHeirs tells of the sessions that ended because they had replaced the one of this id.
func (s *Sessions) tellHeirs(ctx context.Context, o auth.Owner, id string, ended []string) {
	for _, heir := range ended {
		if heir != id {
			s.tell(ctx, "end", "", o, heir, auth.Client{}, nil)
		}
	}
}

// End ends one session of the subject. Another subject's is auth.NotFound, as is one that is not there; so after
// revocation.ErrUnconfirmed a second call that finds the end confirmed is auth.NotFound. One that
// was just replaced takes the one that replaced it along, as in [Sessions.Logout].
//
// An id carries a MAC of its owner, so that nothing is written for one that was invented. If this node does not know the key of
// the MAC, because it was removed from the ring, only a session that is there is ended: the access tokens of others died
// with that key.
func (s *Sessions) End(ctx context.Context, subject, id string) error {
	o := s.owner(subject)
	switch s.whose(o, id) {
	case another:
		return fmt.Errorf("%w: no session of the subject has such an id", auth.NotFound)
	case unknown:
		if there, err := s.lives(ctx, o, id); err != nil {
			return err
		} else if !there {
			return fmt.Errorf("%w: the subject has no such session", auth.NotFound)
		}
	}
	ended, err := s.c.Store.End(ctx, o, id)
	if err == nil && len(ended) == 0 {
		return fmt.Errorf("%w: the subject has no such session", auth.NotFound)
	}
	s.tell(ctx, "end", "", o, id, auth.Client{}, err)
	s.tellHeirs(ctx, o, id, ended)
	return err
}

// EndAll ends every session of the subject, and every login under way that read its version before: for
// logout everywhere, and after a change of credential or a lock-out, when Subjects.Load already says so.
// An unknown subject is auth.NotFound; sessions that it left behind are ended all the same.
func (s *Sessions) EndAll(ctx context.Context, subject string) error {
	return s.endAll(ctx, s.owner(subject), "")
}

// EndOthers is [Sessions.EndAll], but for the session of this id. Its access tokens are stale, and its next
// refresh gets it new ones. If it is not alive, nothing ends: auth.NotFound for an id that is none of the subject's, else
// auth.TokenExpired, since a login that has just replaced it would end too; the client refreshes and asks again.
func (s *Sessions) EndOthers(ctx context.Context, subject, id string) error {
	o := s.owner(subject)
	if s.whose(o, id) == another {
		return fmt.Errorf("%w: no session of the subject has such an id", auth.NotFound)
	}
	// By the numbers too: a session that an earlier EndAll has ended, and whose row it could not remove yet, must not be
	// spared, or it would live again.
	rows, err := s.List(ctx, subject)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(rows, func(row Session) bool { return row.ID == id }) {
		return fmt.Errorf("%w: the session that was to be spared is over, or was replaced", auth.TokenExpired)
	}
	return s.endAll(ctx, o, id)
}

// EndProvided ends the sessions of this issuer that came from a session of an identity provider: those of p.Issuer with p.Session where that
// is set, else all with p.Subject (OpenID Connect Back-Channel Logout section 2.6). The caller has verified who says so. It
// returns how many it ended; none is no error.
func (s *Sessions) EndProvided(ctx context.Context, p Provider) (int, error) {
	if err := p.check(); err != nil || p == (Provider{}) {
		return 0, fmt.Errorf("%w: session: EndProvided: %w", auth.ValidationFailed, cmp.Or(err, errors.New("got no provider")))
	}
	rows, err := s.c.Store.Of(ctx, p)
	if err != nil {
		return 0, err
	}
	count, late := 0, error(nil)
	for _, row := range rows {
		if row.Issuer != s.issuer { // of another pool of users over the same store, with a logout of its own
			continue
		}
		ended, err := s.c.Store.End(ctx, row.Owner, row.ID)
		s.tell(ctx, "end", "provider", row.Owner, row.ID, auth.Client{}, err)
		if err != nil && !errors.Is(err, revocation.ErrUnconfirmed) {
			return count, errors.Join(err, late)
		}
		late = cmp.Or(late, err)
		count += len(ended)
	}
	return count, late
}

// lives says whether the owner has this session, alive and not replaced.
func (s *Sessions) lives(ctx context.Context, o auth.Owner, id string) (bool, error) {
	rows, err := s.c.Store.List(ctx, o)
	return slices.ContainsFunc(rows, func(row Session) bool { return row.ID == id }), err
}

// endAll raises the numbers first: from then on no refresh passes and no login that read the older version
// begins, so that what EndBelow does not find cannot come to life behind it.
func (s *Sessions) endAll(ctx context.Context, o auth.Owner, except string) error {
	version, err := s.raise(ctx, o, true, except)
	if late := err; err == nil || version > 0 {
		_, err = s.c.Store.EndBelow(ctx, o, version, except)
		err = errors.Join(late, err)
	} else if auth.CodeOf(err) == auth.LoginFailed {
		err = s.endLeftovers(ctx, o, err)
	}
	s.tell(ctx, "end_all", "", o, except, auth.Client{}, err)
	return err
}

// endLeftovers is for a subject without numbers: what it has is ended one by one. A login that is under way may
// slip through to its first refresh, so the answer stays an error.
func (s *Sessions) endLeftovers(ctx context.Context, o auth.Owner, gone error) error {
	rows, err := s.c.Store.List(ctx, o)
	if err == nil && len(rows) > 0 {
		ids := make([]string, len(rows))
		for i, row := range rows {
			ids[i] = row.ID
		}
		_, err = s.c.Store.End(ctx, o, ids...)
	}
	if err != nil {
		return err
	}
	return fmt.Errorf("%w: %w", auth.NotFound, gone)
}

// Renew makes the subject's access tokens stale: each session goes on, and its next refresh has today's roles. Call
// it after a change of roles or of membership.
func (s *Sessions) Renew(ctx context.Context, subject string) error {
	o := s.owner(subject)
	version, err := s.raise(ctx, o, false, "")
	if late := err; err == nil || version > 0 {
		err = s.c.Store.Revocations().Revoke(ctx, auth.Revocation{Owner: o, Below: version})
		err = errors.Join(late, err)
	} else if auth.CodeOf(err) == auth.LoginFailed {
		err = fmt.Errorf("%w: %w", auth.NotFound, err)
	}
	s.tell(ctx, "renew", "", o, "", auth.Client{}, err)
	return err
}

func (s *Sessions) raise(ctx context.Context, o auth.Owner, end bool, except string) (version int64, err error) {
	if o.Subject == "" {
		return 0, fmt.Errorf("%w: session: got no subject", auth.LoginFailed)
	}
	if s.c.Subjects != nil {
		version, err = s.c.Subjects.Raise(ctx, o.Subject, end, except)
	} else {
		var n Numbers
		n, err = s.versions.Raise(ctx, o, end, except)
		version = n.Version
	}
	if err == nil && version < 1 {
		return 0, fmt.Errorf("session: Subjects.Raise returned version %d, expected 1 or more", version)
	}
	if err != nil && !errors.Is(err, revocation.ErrUnconfirmed) { // that one has raised it, and it is to be published
		version = 0
	}
	return version, subjectError(err)
}

// List returns the subject's live sessions, the last used first. A subject that is gone has none.
func (s *Sessions) List(ctx context.Context, subject string) ([]Session, error) {
	o := s.owner(subject)
	sub, err := s.load(ctx, o, Terms{})
	if auth.CodeOf(err) == auth.LoginFailed {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	rows, err := s.c.Store.List(ctx, o)
	if err != nil {
		return nil, err
	}
	// A login that raced with an ending may have left a row that no refresh will believe.
	rows = slices.DeleteFunc(rows, func(row Session) bool { return !sub.spares(row.ID, row.Version) })
	slices.SortFunc(rows, func(a, b Session) int { return cmp.Or(b.Used.Compare(a.Used), cmp.Compare(a.ID, b.ID)) })
	return rows, nil
}
