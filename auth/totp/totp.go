// Package totp is the second factor of authenticator apps: codes that change with time (RFC 6238), each good for one
// use, and recovery codes for the day on which the phone is gone.
//
// It does not own accounts, who is asked for the second factor and when, mail about a change, or the sessions that
// a change ends.
//
// # How much guessing gets
//
// Wrong codes count for the user, over all logins, sessions, addresses and servers. Five in a row close the factor
// for 15 minutes: everything is refused unread, and refusals do not prolong it. Fifty within 30 days close it for
// codes until these have passed or a recovery code is used; a right code does not take that count back. A code is
// compared with three at most, so that somebody who has the password and guesses gets in with a probability below
// 50 x 3 / 10^6, or 0.016 % with the uneven spread of RFC 4226's truncation, in one such span, and below 0.2 % in the
// thirteen that touch a year. With 8 digits it is a hundredth of that. Each recovery code used, and each reset by a
// support desk, gives the guesser fifty more. Recovery codes have 125 bits: they cannot be guessed.
package totp

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/doorward/doorward/auth"
)

// A Store keeps a record for each (tenant, subject). [NewMemory] and package redistotp are Stores; package storetest
// says what one must do, as tests. In SQL it is a table of tenant, subject, record and a version to compare.
//
// A record is opaque: up to 4 KiB of bytes, which hold the secret and the hashes of recovery codes. It is sealed
// already, unless Config.AllowUnsealed leaves that to the store. A store that falls back to an older copy accepts again
// what was used since, so keep it as durably as the accounts.
type Store interface {
	// Update changes the subject's record in one atomic step: it calls change with the present record, nil where there
	// is none, and stores what change returns, if the record is still the one that change was given. If another call
	// has changed it meanwhile, change is called again with the new one. When Update returns nil, what the last
	// call of change returned is stored, for every reader on every server.
	//
	//	change returns what it was given     nothing is written
	//	change returns nil or an empty one   the record is removed
	//	change returns an error              nothing is written, and Update returns that error
	//
	// Neither side keeps or changes the other's slices. An error of the store has the code auth.StoreUnavailable;
	// then the step was taken or not taken, whole.
	Update(ctx context.Context, tenant, subject string, change func(record []byte) ([]byte, error)) error
}

// A Sealer encrypts and authenticates what goes into the store, so that a dump of it is of no use. Owner and
// purpose are bound to what is sealed (associated data, RFC 5116 section 2.1): Open fails if they are others, so that
// a record does not open for another user. It must be safe for concurrent use.
type Sealer interface {
	Seal(ctx context.Context, owner auth.Owner, purpose string, plaintext []byte) (sealed []byte, err error)
	Open(ctx context.Context, owner auth.Owner, purpose string, sealed []byte) (plaintext []byte, err error)
}

// purpose is what a Sealer is told.
const purpose = "totp"

// Config is what [New] needs. Issuer, Store and Sealer are demanded.
type Config struct {
	// Issuer is the name of the service as apps show it, in any script: up to 100 bytes, without a colon.
	Issuer string

	Store  Store
	Sealer Sealer

	// AllowUnsealed permits a nil Sealer, for a Store that encrypts by itself. Otherwise whoever reads a backup has
	// everybody's second factor. Records that were written with the one cannot be read with the other.
	AllowUnsealed bool

	// Digits of the codes of new enrolments: 6 or 8; 0 is 6. Some apps show 6 whatever they are told.
	Digits int

	// Algorithm of new enrolments: "SHA1", "SHA256" or "SHA512" (RFC 6238 section 1.2); "" is SHA1. Some apps use SHA1
	// whatever they are told. As an HMAC it is not weakened by the known collisions (RFC 6194 section 3.3).
	Algorithm string

	// CurrentStepOnly accepts codes of the present 30 seconds only. Without it those of the step before and of the one
	// after are good as well (RFC 6238 section 5.2): clocks differ, and people type slowly.
	CurrentStepOnly bool

	// Pending is how long an enrolment waits for its first right code: 1 min to 1 h, 0 is 10 min.
	Pending time.Duration

	// Now is the clock, the server's own; nil is time.Now.
	Now func() time.Time

	// Observe is told what happens to factors: auth.Log is ready. It is called within the call and must be quick.
	//
	//	totp_begin, totp_replace    an enrolment has begun, of a first factor or in place of another
	//	totp_confirm, totp_import   a factor is active from now on
	//	totp_verify                 a code
	//	recovery_code               a recovery code
	//	recovery_codes              a new set
	//	totp_remove, totp_reset     a factor is gone
	//	outage                      the store, or the sealer; the outcome is what was tried
	//
	// Outcomes are "ok", "replayed" for a code that was used before, "closed" for the wrong code that closed the factor,
	// or a refusal's code. Mail the user at each change and at each recovery code (NIST SP 800-63B-4 section 4.6).
	Observe func(context.Context, auth.Event)
}

// The errors that a caller may want to tell apart. What the client sees is their code.
var (
	// ErrWrong: the code is not one of the factor's, or was used before.
	ErrWrong = fmt.Errorf("%w: totp: the code does not fit", auth.LoginFailed)

	// ErrClosed: too many wrong codes; nothing was compared. The error has a method RetryAfter() time.Duration, from
	// which auth.WriteProblem makes the header.
	ErrClosed = fmt.Errorf("%w: totp: closed after too many wrong codes", auth.RateLimited)

	// ErrNone: the user has no factor, or no enrolment that waits for a code.
	ErrNone = fmt.Errorf("%w: totp: there is no factor", auth.LoginFailed)

	// ErrActive: the user has a factor, which nothing but [Factors.Replace] and [Factors.Remove] touches.
	ErrActive = fmt.Errorf("%w: totp: there is a factor already", auth.ValidationFailed)
)

// Factors are the second factors of all users. It is safe for concurrent use.
//
// The methods that take a code change nothing unless it is right, but for the counts of wrong ones. Spaces in a code do
// not matter, and in a recovery code neither do dashes, case, and O for 0 or I and L for 1. What has not the form of a
// code is auth.ValidationFailed and does not count. When the store or the sealer fails, the error has the code
// auth.StoreUnavailable, and the code may have been used up.
//
// Whether a login needs the second factor is for the account to know, in its own row. Do not take it from
// [Factors.Status]: a store that has lost its records would open every account to the password alone.
type Factors struct {
	c      Config // as New completed it
	window int64
}

// New checks c and fills in the defaults. It does no I/O. Its errors say what was got and what was expected.
func New(c Config) (*Factors, error) {
	if c.Digits == 0 {
		c.Digits = 6
	}
	if c.Algorithm == "" {
		c.Algorithm = "SHA1"
	}
	if c.Pending == 0 {
		c.Pending = 10 * time.Minute
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Observe == nil {
		c.Observe = func(context.Context, auth.Event) {}
	}
	_, known := algorithm(c.Algorithm)
	switch {
	case c.Store == nil:
		return nil, errors.New("totp: Config.Store: got nil, expected a store (NewMemory, redistotp.New)")
	case c.Sealer == nil && !c.AllowUnsealed:
		return nil, errors.New("totp: Config.Sealer: got nil, expected what encrypts the secrets at rest, or AllowUnsealed where the store does")
	case c.Sealer != nil && c.AllowUnsealed:
		return nil, errors.New("totp: Config.AllowUnsealed: got true beside a Sealer, expected one of the two")
	case c.Digits != 6 && c.Digits != 8:
		return nil, fmt.Errorf("totp: Config.Digits: got %d, expected 6 or 8", c.Digits)
	case !known:
		return nil, fmt.Errorf("totp: Config.Algorithm: got %.40q, expected SHA1, SHA256 or SHA512", c.Algorithm)
	case c.Pending < time.Minute || c.Pending > time.Hour:
		return nil, fmt.Errorf("totp: Config.Pending: got %v, expected 1m to 1h, or 0 for 10m", c.Pending)
	}
	if err := checkIssuer(c.Issuer); err != nil {
		return nil, fmt.Errorf("totp: Config.Issuer: %w", err)
	}
	if c.Issuer == "" {
		return nil, errors.New("totp: Config.Issuer: got none, expected the name of the service")
	}
	f := &Factors{c: c, window: 1}
	if c.CurrentStepOnly {
		f.window = 0
	}
	return f, nil
}

// tell gives an event to the observer and returns err. An outage is one by its code, whatever was tried.
func (f *Factors) tell(ctx context.Context, name, tenant, subject string, err error) error {
	outcome := "ok"
	var o interface{ outcome() string }
	switch {
	case err == nil:
	case auth.CodeOf(err) == auth.StoreUnavailable:
		name, outcome = "outage", name
	case errors.As(err, &o):
		outcome = o.outcome()
	default:
		outcome = string(auth.CodeOf(err))
	}
	f.c.Observe(ctx, auth.Event{Name: name, Outcome: outcome, Time: f.c.Now(), Tenant: tenant, Subject: subject, Err: err})
	return err
}

// A wrongCode is a wrong code that has an outcome of its own.
type wrongCode struct{ word, why string }

func (w wrongCode) Error() string   { return ErrWrong.Error() + ": " + w.why }
func (w wrongCode) Unwrap() error   { return ErrWrong }
func (w wrongCode) outcome() string { return w.word }

var (
	errUsed    = wrongCode{"replayed", "it was used before"}
	errClosing = wrongCode{"closed", "it was one too many"}
)

// closedError says until when the factor is closed.
type closedError struct{ wait time.Duration }

func (c closedError) Error() string             { return fmt.Sprintf("%v: for %v", ErrClosed, c.wait) }
func (c closedError) Unwrap() error             { return ErrClosed }
func (c closedError) RetryAfter() time.Duration { return c.wait }

// invalid is a form's field that is not valid, for a reason that the user may read.
type invalid struct {
	field, why string
	cause      error
}

func (i invalid) Error() string {
	if i.cause != nil {
		return fmt.Sprintf("%v: %v", auth.ValidationFailed, i.cause)
	}
	return fmt.Sprintf("%v: totp: %s: %s", auth.ValidationFailed, i.field, i.why)
}

func (i invalid) Unwrap() []error {
	if i.cause != nil {
		return []error{auth.ValidationFailed, i.cause}
	}
	return []error{auth.ValidationFailed}
}

// Fields is what auth.WriteProblem shows.
func (i invalid) Fields() map[string]string { return map[string]string{i.field: i.why} }
