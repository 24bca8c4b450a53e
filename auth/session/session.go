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
	"slices"
	"time"

	"github.com/doorward/doorward/auth"
)

// A Session is one login on one device, as it stands in the store. Nothing in it is a secret. Its times are
// the store's, true to the millisecond.
type Session struct {
	auth.Owner
	ID      string // sid of its access tokens: random, and with a MAC of its owner (see [Sessions.End])
	Version int64  // the subject's version when the session began; never raised afterwards

	Terms             // what every refresh keeps of the login
	Audience string   // of its access tokens; its refresh token names it too, and works at no other
	Provider Provider // the identity provider's session that it came from; zero for none
	Remember bool     // it lives as Config.Remembered says

	Generation int64     // c: the refresh token of this generation is the good one; 1 at the start
	From       int64     // generation before the last swap; what is shown from here on is a racer within the grace
	KeyID      string    // of the key that the refresh token of this generation was made under
	Epoch      string    // of the list, at the last swap
	GraceUntil time.Time // until then racers get the child of the last swap; zero before the first
	LateUntil  time.Time // until then late showings of the parent are forgiven (see [Sessions.RefreshCookie]); zero before the first
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
	Place    string      // what Config.Place said of the last refresh's address: at most 128 bytes
	Binding  string      // what a refresh must show again (see auth.Bind); "" for nothing
}

// Terms are what a login fixes for its whole life. Every refresh keeps them, and nothing widens them.
type Terms struct {
	// Tenant is the organisation that the login is limited to: its access tokens carry it, with the grants that hold
	// there. "" for a login that is not limited; its grants are the global ones.
	Tenant string `json:"tenant,omitempty"`

	// Claims are the login's own claims as one JSON object, "" for none, such as the id and type of a device. They stand
	// in each access token beside those of Subjects.Load, which win where both name one.
	Claims string `json:"claims,omitempty"`

	// Roles and Competencies are those of a login that began without [Config].Subjects.
	Roles        []string `json:"roles,omitempty"`
	Competencies []string `json:"competencies,omitempty"`
}

func (t Terms) equal(o Terms) bool {
	return t.Tenant == o.Tenant && t.Claims == o.Claims && slices.Equal(t.Roles, o.Roles) && slices.Equal(t.Competencies, o.Competencies)
}

func (t Terms) clone() Terms {
	t.Roles, t.Competencies = slices.Clone(t.Roles), slices.Clone(t.Competencies)
	return t
}

// A Provider is a session at an identity provider: the issuer, subject and session id of its ID token (OpenID Connect Core
// section 2, Back-Channel Logout section 2.1). It is the provider's word, and never an owner of anything here.
type Provider struct{ Issuer, Subject, Session string }

// A Life is how long a session lives: Idle without a refresh, Absolute in all.
type Life struct{ Idle, Absolute time.Duration }

// Subjects is the application's users table. Its methods may be called from any goroutine.
//
// The numbers in a [Subject] live there, beside the password hash, so that one read sees both. A table
// without such columns is served by [KeepVersions].
type Subjects interface {
	// Load returns what holds for the subject today, in tenant where that is not "", else globally. Numbers and grants come
	// from one statement, or the numbers are read first: a role that was taken away in between must not come back under
	// the new version. It must read where the writes go: a replica that lags would bring back what was ended.
	//
	// With "" it answers for every subject, also for one whose logins are all limited: its numbers are asked for so.
	//
	// auth.LoginFailed says that the subject is gone or disabled, for good: the session ends. auth.TenantForbidden says that
	// the subject is no member of tenant: the client gets no token, and nothing ends. Any other error is an outage:
	// nothing is lost, and the client may try again.
	Load(ctx context.Context, subject, tenant string) (Subject, error)

	// Raise sets the subject's Version to the higher of Version + 1 and the store's clock in milliseconds since 1970, and
	// returns it: a number is never given twice, also where a database came back from an older copy. With end it also sets
	// EndedBelow to the new Version and Except to except; without it leaves both alone. It is one atomic step, and lasts.
	// An unknown subject is auth.LoginFailed. It may be called again after any error.
	Raise(ctx context.Context, subject string, end bool, except string) (version int64, err error)
}

// A Subject is what holds for a subject now; its access tokens say it.
type Subject struct {
	// Tenant is where Roles and Competencies hold: what Load was asked for. A Load that knows of no organisations leaves it
	// "", and no login of its subjects can be limited to one: auth.TenantForbidden.
	Tenant              string
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
