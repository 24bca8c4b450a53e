// Package revocation remembers what was ended before its time: sessions, single tokens, and subjects
// below a version.
//
// It does not own versions (they live with the account or the session store), sessions, or the choice
// of what a request may do when the list cannot answer: that is the guard's, by [IgnoreOutage].
// [Memory] serves one process; package redisrev serves any number of them.
package revocation

import (
	"context"
	"errors"
	"time"

	"github.com/doorward/doorward/auth"
)

// Keep is how long a list keeps an entry, from the last call that ended what it names: the longest access life of one
// hour, 60 s of leeway and 60 s of clock drift. No token that an entry could concern is accepted after that. A list
// may keep it for longer, so that a call that is repeated need not write it again.
const Keep = 62 * time.Minute

// ErrUnreadable marks an answer that is there and cannot be believed: a value of a foreign type or
// form under one of the list's keys. Such an error has the code [auth.StoreUnavailable] too, but it is
// no outage, and [IgnoreOutage] does not cover it.
var ErrUnreadable = errors.New("revocation: the store holds something that is not the list's")

// A List says which tokens were ended, and ends them. Its methods may be called from any goroutine.
//
// Ended means ended: once Revoke has returned nil, no Check that starts later, on any node that
// shares the list, accepts what was named.
type List interface {
	// Check returns nil when nothing on the list concerns p. It looks, in this order, for
	//
	//	another epoch than the list's, or none     auth.TokenExpired
	//	p's session, or its token id               auth.TokenRevoked
	//	a minimum above p's version                auth.TokenExpired
	//
	// A p without a session or a token id is not looked up by it. Sessions are looked up by their id
	// alone, which must be random; token ids count with their issuer. When the list cannot
	// answer, the error's code is auth.StoreUnavailable: deny. Check keeps and changes nothing.
	Check(ctx context.Context, p *auth.Principal) error

	// Revoke ends what each r names. It may be called again with the same: a minimum never falls, and an
	// entry lives for Keep from the last call, or longer. What r.Validate refuses is refused, before anything is
	// written. After any other error some of them may have been ended and others not: call again.
	Revoke(ctx context.Context, r ...auth.Revocation) error

	// Epoch returns the id of the list's present memory, 8 characters, for the claim ep of a new token.
	// Ask before reading what the token will state: a list that forgets in between has another epoch
	// then, so that the token is refused. A list that has none yet begins one.
	Epoch(ctx context.Context) (string, error)
}

// IgnoreOutage returns l for a guard that lets requests through while the list cannot answer. What was
// ended works again for as long as that lasts, at most to the tokens' own expiry.
//
// Only [auth.StoreUnavailable] from Check is ignored. A missing or changed epoch is an answer, and so
// is a value that cannot be read ([ErrUnreadable]). A request that its own context ended is refused as well:
// otherwise a client could hang up at the right moment and have its ended token believed.
// Revoke and Epoch are l's own. IgnoreOutage(nil) is nil.
func IgnoreOutage(l List) List {
	if l == nil {
		return nil
	}
	return ignoreOutage{l}
}

type ignoreOutage struct{ List }

// Unwrap returns the list itself. Package session looks for it, to see that tokens and sessions share one.
func (i ignoreOutage) Unwrap() List { return i.List }

func (i ignoreOutage) Check(ctx context.Context, p *auth.Principal) error {
	err := i.List.Check(ctx, p)
	if err == nil || auth.CodeOf(err) != auth.StoreUnavailable || errors.Is(err, ErrUnreadable) || ctx.Err() != nil {
		return err
	}
	return nil
}
