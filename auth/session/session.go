// Package session keeps logins alive by refresh tokens, and ends them.
//
// [Sessions] starts a session, rotates its refresh token, lists and ends sessions, over a [Store] that holds
// the rows and the application's own [Subjects]. A refresh token is a name and a MAC, good for one use; the
// store holds nothing that one could be made from.
//
// It does not own accounts or passwords (a caller of [Sessions.Start] has checked them), access tokens
// (package tokens), the memory of what was ended (package revocation, which every store shares), cookies, or HTTP.
//
// # Lifetimes
//
// A session ends when it was not refreshed for its idle time, and for good at its absolute end, which no
// refresh moves. The defaults are 7 days and 30 days; for a login with more than one factor 1 hour and
// 24 hours (NIST SP 800-63B-4 sections 2.1.3 and 2.2.3). A session keeps the lifetimes that it began with:
// to apply shorter ones at once, end the sessions that are there.
package session

import (
	"context"
	"time"

	"github.com/doorward/doorward/auth"
)

// An Owner is whose sessions: the subject of one tenant of one issuer. Equal subjects of two issuers or two
// tenants are two owners and never see each other's sessions.
type Owner struct {
	Issuer, Tenant, Subject string
}

// A Session is one login on one device, as it stands in the store. Nothing in it is a secret. Its times are
// the store's, true to the millisecond.
type Session struct {
	Owner
	ID      string // sid of its access tokens: 26 characters, random, 130 bits
	Version int64  // the subject's version when the session began; never raised afterwards

	Generation int64     // c: the refresh token of this generation is the good one; 1 at the start
	From       int64     // generation before the last swap; what is shown from here on is a racer within the grace
	KeyID      string    // of the key that the refresh token of this generation was made under
	Epoch      string    // of the list, at the last swap
	GraceUntil time.Time // until then racers get the child of the last swap; zero before the first
	Late       bool      // the parent was shown late once, and forgiven (see [Sessions.RefreshCookie])
	Replaced   bool      // by a step-up: it cannot be refreshed, and only says so until it ends

	Idle      time.Duration // how long it lives without a refresh
	Created   time.Time
	Used      time.Time // start, or last refresh
	IdleUntil time.Time // Used + Idle, at most Until: it is over then
	Until     time.Time // its absolute end; nothing moves it

	Methods  []string // how the subject proved itself (amr, RFC 8176); no refresh widens it
	AuthTime time.Time
	ClientID string
	Client   auth.Client // of the last refresh. UserAgent has no control characters, but is a stranger's words all the same
	Device   string      // readable, as "Firefox on Linux": at most 64 of letters, digits, space and . - _ / ( ), safe in HTML
	Binding  string      // what a refresh must show again (see auth.Bind); "" for nothing
}

// A Life is how long a session lives: Idle without a refresh, Absolute in all.
type Life struct{ Idle, Absolute time.Duration }

// Subjects is the application's users table. Its methods may be called from any goroutine.
//
// The numbers in a [Subject] live there, beside the password hash, so that one read sees both. A table
// without such columns is served by [KeepVersions].
type Subjects interface {
	// Load returns what holds for the subject today. It must read where the writes go: a replica that lags
	// would bring back what was ended. auth.LoginFailed says that the subject is gone or disabled, for good: the
	// session ends. Any other error is an outage: nothing is lost, and the client may try again.
	Load(ctx context.Context, tenant, subject string) (Subject, error)

	// Raise adds 1 to the subject's Version and returns it. With end it also sets EndedBelow to the new
	// Version and Except to except; without it leaves both alone. It is one atomic step, and lasts. An unknown
	// subject is auth.LoginFailed. It may be called again after any error.
	Raise(ctx context.Context, tenant, subject string, end bool, except string) (version int64, err error)
}

// A Subject is what holds for a subject now; its access tokens say it.
type Subject struct {
	Roles, Competencies []string
	Claims              any // the application's own, a T of tokens.CustomClaims by value

	Numbers
}

// Numbers are the counters of a subject. They only grow.
type Numbers struct {
	Version    int64  // access tokens below it are stale: the client refreshes and gets today's roles
	EndedBelow int64  // sessions begun below it are over; never above Version
	Except     string // id of the one session that the last ending spared; "" for none
}

// spares says whether a session with this id, begun at this version, lives on.
func (n Numbers) spares(id string, version int64) bool {
	return version >= n.EndedBelow || n.Except != "" && id == n.Except
}
