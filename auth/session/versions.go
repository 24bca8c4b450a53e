package session

import (
	"context"
	"fmt"

	"github.com/doorward/doorward/auth"
)

// KeepVersions makes [Subjects] of a users table that has no columns for the numbers of a subject: store keeps
// them, and load fills in the rest of [Subject]. load's own Numbers are ignored. issuer is that of the tokens.
//
// A login then takes its p.Version from the Load of what is returned here, before it reads the password hash:
// a change of password in between is followed by [Sessions.EndAll], and the login is refused. A store that
// forgets, forgets the numbers too, and with them which sessions had been ended; columns beside the
// password hash do not.
func KeepVersions(store VersionStore, issuer string, load func(ctx context.Context, subject, tenant string) (Subject, error)) Subjects {
	return keeper{store, issuer, load}
}

type keeper struct {
	store  VersionStore
	issuer string
	load   func(ctx context.Context, subject, tenant string) (Subject, error)
}

// Load reads the numbers first: an ending in between is then seen as one, not taken for the newer state.
func (k keeper) Load(ctx context.Context, subject, tenant string) (Subject, error) {
	n, err := k.store.Numbers(ctx, auth.Owner{Issuer: k.issuer, Subject: subject})
	if err != nil {
		return Subject{}, fmt.Errorf("%w: %w", auth.StoreUnavailable, err)
	}
	sub, err := k.load(ctx, subject, tenant)
	sub.Numbers = n
	return sub, err
}

func (k keeper) Raise(ctx context.Context, subject string, end bool, except string) (int64, error) {
	n, err := k.store.Raise(ctx, auth.Owner{Issuer: k.issuer, Subject: subject}, end, except)
	return n.Version, err
}
