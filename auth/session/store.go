package session

import (
	"context"
	"time"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/revocation"
)

// A Store holds sessions, and ends them on its revocation list. [NewMemory] and package redissession are
// Stores; package storetest says what one must do, as tests.
//
// Every method is one atomic step, judged by the store's own clock. An ending and its entry on the list are
// in that same step: when the method returns, no access token of what was ended is accepted anywhere. The
// context may end a call early; then the step was taken or not taken, whole.
//
// Errors mean that the store cannot answer and have the code auth.StoreUnavailable; what the step found
// is an [Outcome]. With revocation.ErrUnconfirmed the step was taken and its results are returned too: an ending
// that it made is not known to have reached every node. No method revives a row: only Create makes one, under an
// id that is not there.
type Store interface {
	// Revocations is the list that the store ends sessions on. The tokens of the sessions must be made and
	// verified by the same. It returns the same value each time and does no I/O.
	Revocations() revocation.List

	// Create takes c.Session in, if its Epoch is the list's:
	//
	//	another epoch (one is begun where there is none)          OtherEpoch, nothing changed
	//	c.Replaces is set, and that row is Replaced already       Replaced, nothing changed
	//	c.Replaces is set, and no live row of this owner has it   Gone, nothing changed
	//	otherwise                                                 Created
	//
	// An id that is already there is an error and changes nothing. Created sets Generation 1, From 1, the times
	// from the store's clock, no GraceUntil. It marks the row c.Replaces as Replaced, to be forgotten after
	// c.Grace, and puts it on the list. Then, of the owner's live rows that are not Replaced, the oldest (by
	// Created, then by ID) are ended until c.Max are left; the new one stays. When a row would end by itself does
	// not count: a strong login, which is short, must not go before an older weak one. Result.Ended names them,
	// without c.Replaces.
	Create(ctx context.Context, c Creation) (Result, error)

	// Rotate judges the presented generation by the table at [Rotation.Judge], and does what it says.
	// A row whose IdleUntil or Until has come may have vanished already: that is Gone.
	Rotate(ctx context.Context, r Rotation) (Result, error)

	// End ends the owner's sessions of these ids and returns which of them it found alive. An id without a
	// row goes on the list all the same: an earlier try may have removed the row and not come further. An
	// id whose row is another owner's is left alone. With a row that is Replaced and not over yet goes, in the
	// same step, the session that replaced it, and so on: a logout that raced with a step-up must not leave
	// the login alive. Those are returned too.
	End(ctx context.Context, owner auth.Owner, ids ...string) (ended []string, err error)

	// EndBelow ends the owner's sessions whose Version is below version, but for the one whose id is except,
	// publishes version as the owner's minimum on the list, and returns which it ended. It may be called again.
	EndBelow(ctx context.Context, owner auth.Owner, version int64, except string) (ended []string, err error)

	// List returns the owner's live sessions, in any order; none is no error. Replaced ones are left out.
	List(ctx context.Context, owner auth.Owner) ([]Session, error)

	// Of returns the live sessions of all owners that came from this session of an identity provider: those of p.Issuer whose
	// Provider.Session is p.Session where that is set, else whose Provider.Subject is p.Subject. Replaced ones are left
	// out. A p without an Issuer, or with neither Session nor Subject, is an error.
	Of(ctx context.Context, p Provider) ([]Session, error)
}

// VersionStore is the optional part of a [Store] that keeps the numbers of subjects, for applications whose
// users table cannot (see [KeepVersions]). The numbers never expire. They live as durably as the store does.
type VersionStore interface {
	// Numbers returns the owner's; all zero for one that was never raised.
	Numbers(ctx context.Context, owner auth.Owner) (Numbers, error)
	// Raise does what Subjects.Raise says, in one step, by the store's clock.
	Raise(ctx context.Context, owner auth.Owner, end bool, except string) (Numbers, error)
}

// A Creation asks a store to take a session in. Of Session, Owner, ID, Version, KeyID, Epoch, Idle and
// everything from Methods on are set; Epoch is the list's as it was known before the subject was loaded.
type Creation struct {
	Session  Session
	Absolute time.Duration // Until is so far ahead
	Max      int           // sessions of one owner, at least 1
	Replaces string        // id of the session that this one takes the place of; "" for none
	Grace    time.Duration // how long the replaced one still says so
}

// A Rotation asks a store to exchange a refresh token, whose MAC has been checked, for its child.
type Rotation struct {
	auth.Owner
	ID         string
	Generation int64 // as presented

	Epoch   string  // the list's, as it was known before the subject was loaded; "" when it is not known yet
	Numbers Numbers // the subject's; Version is not looked at

	Terms Terms // those that the subject was loaded for; others of the row's are OtherTerms

	KeyID   string // of the key that a new child is made under
	Grace   time.Duration
	Client  auth.Client
	Device  string
	Place   string
	Binding string

	Lenient          bool // a browser's cookie: keep a young child, forgive late showings of the parent
	Lend             bool // judge and write nothing
	Narrow           bool // a good token is not exchanged: it is Lent
	EndOnOtherEpoch  bool // a row whose last swap was in another epoch is over
	EndOnOtherClient bool // so is one that another user agent or network shows
}

// A Result is what a step found and did.
type Result struct {
	Outcome Outcome
	Epoch   string      // the list's present one; always set
	Session Session     // the row after the step, or as it was when the step ended it; zero when there is none
	Former  auth.Client // of Rotate: the row's client before the step
	Ended   []string    // ids of other sessions that were ended because of Creation.Max
}

// An Outcome is one line of the table at [Rotation.Judge]. Its text stands in events.
type Outcome string

const (
	Created    Outcome = "created"
	Rotated    Outcome = "rotated"     // the child is new
	Kept       Outcome = "kept"        // the present one, too young to be exchanged: nothing was written
	Replayed   Outcome = "replayed"    // the child of the last swap once more
	RolledBack Outcome = "rolled back" // the store had forgotten a swap; the child is new
	Lent       Outcome = "lent"        // good, and nothing was written
	Late       Outcome = "late"        // the parent, late: forgiven for a minute; or old, but only to be lent from
	Reused     Outcome = "reused"      // an old one: the session was ended
	Gone       Outcome = "gone"        // there is no such session, or it was over
	Replaced   Outcome = "replaced"    // by a step-up, just now
	Unbound    Outcome = "unbound"     // another device than the session's; nothing changed
	Moved      Outcome = "moved"       // shown by another user agent or network: the session was ended
	OtherTerms Outcome = "other terms" // than those that the subject was loaded for; nothing changed: load it for Session.Terms
	OtherEpoch Outcome = "other epoch" // than the Epoch known; nothing changed: load the subject again
)
