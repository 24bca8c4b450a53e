// Package auth is the vocabulary of Doorward: who is asking, how a request proves it, and what a
// refusal is called.
//
// A [Principal] is proven by an [Authenticator] and travels in the request's context. A [Code] is a
// refusal: an error, a stable word for the client and an HTTP status, all from one table.
//
// It does not own proofs (package tokens makes and verifies them), guards (package middleware) or
// memory of what was ended (package revocation). It imports nothing else of the kit.
package auth

import (
	"context"
	"slices"
	"time"
)

// A Principal is who is asking, proven. A verifier makes it; everything else reads it.
//
// Each request has one of its own, slices and Claims included, so that a handler cannot change what
// another request sees.
type Principal struct {
	Issuer   string // whose Subject it is (iss): two issuers may both have a "1"
	Tenant   string // the organisation that Roles and Competencies hold in; "" when they are global
	Subject  string // the stable id of a user or service (sub)
	Session  string // the login it belongs to (sid); "" for services and API keys
	TokenID  string // jti
	ClientID string // client_id (RFC 9068 section 2.2)
	Version  int64  // ver: the subject's token version when the token was made
	Epoch    string // ep: the revocation list's memory that the token was made under; "" without a list

	Roles        []string
	Competencies []string
	Methods      []string  // how the subject proved itself: amr (RFC 8176)
	AuthTime     time.Time // when it did (auth_time); zero when not known
	IssuedAt     time.Time
	Expires      time.Time

	// Ambient says that the browser sent the proof by itself, as it does with cookies, so that another
	// site may have caused the request and RequireCSRF applies. [Cookie] sets it; no claim can.
	Ambient bool

	// Service says that a service is asking, not a person: it was proven by a token of that kind
	// (tokens.Service), or by a key from configuration (apikey.Static). No claim can.
	Service bool

	shown shown // by which kind of authenticator, see Challenge; it stands in the padding, as each request copies all of this

	// Binding names what the holder must show beside the credential, "" for nothing: "device:" and a hash of a secret
	// that only the device has (see [Bind]). The authenticators of this package refuse a principal whose binding
	// the request does not show; who calls a Verifier himself asks [CheckBinding].
	Binding string

	// Claims holds the application's own claims, a T by value. Read it with [ClaimsFrom].
	Claims any
}

// HasRole says whether the principal has at least one of these roles. Nobody has none of no roles.
func (p *Principal) HasRole(anyOf ...string) bool {
	return p != nil && slices.ContainsFunc(anyOf, func(r string) bool { return slices.Contains(p.Roles, r) })
}

// Can says whether the principal has every one of these competencies. Without any it says no: an
// empty demand is a mistake in the caller, and a mistake must not open a door.
func (p *Principal) Can(allOf ...string) bool {
	if p == nil || len(allOf) == 0 {
		return false
	}
	for _, c := range allOf {
		if !slices.Contains(p.Competencies, c) {
			return false
		}
	}
	return true
}

// An Owner is whose something is: the sessions, versions, factors, keys, one-time tokens and list entries of a subject.
// A subject is unique within its issuer, so equal subjects of two issuers are two owners. Two separate pools of users
// are two issuers. An organisation is never part of an owner: a person who belongs to two of them is one owner.
//
// Comparable, so that it can be the key of a map. A store that makes one text of both writes the length of each part
// before it, or hashes it so: "a" and "bc" must not be taken for "ab" and "c".
type Owner struct {
	Issuer  string // iss
	Subject string // sub
}

// Owner returns whose the principal's sessions, factors and keys are.
func (p *Principal) Owner() Owner { return Owner{p.Issuer, p.Subject} }

// contextKey is unexported, so that nobody else can put a principal where FromContext looks.
type contextKey struct{}

// NewContext returns a context that carries p: for tests and for an application's own middlewares.
// middleware.RequireAuth does not believe it; it proves what the request itself carries.
func NewContext(ctx context.Context, p *Principal) context.Context {
	if ctx == nil {
		panic("auth: NewContext: got a nil context, expected one, such as that of the request")
	}
	return &proven{ctx, p}
}

// proven is the context of a request with a principal: half as large as one of context.WithValue, as every guarded
// request makes one.
type proven struct {
	context.Context
	p *Principal
}

func (c *proven) Value(key any) any {
	if key == (contextKey{}) {
		return c.p
	}
	return c.Context.Value(key)
}

// FromContext returns the principal of the request that ctx belongs to, and whether there is one.
func FromContext(ctx context.Context) (*Principal, bool) {
	p, _ := ctx.Value(contextKey{}).(*Principal)
	return p, p != nil
}

// ClaimsFrom returns the application's own claims of the principal in ctx, and whether there are
// any of type T. Package tokens reads them strictly into a T (see tokens.CustomClaims).
func ClaimsFrom[T any](ctx context.Context) (T, bool) {
	p, ok := FromContext(ctx)
	if !ok {
		var none T
		return none, false
	}
	c, ok := p.Claims.(T)
	return c, ok
}
