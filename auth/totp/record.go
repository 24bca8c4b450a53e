package totp

import (
	"bytes"
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/doorward/doorward/auth"
)

const (
	inARow     = 5                   // wrong codes that close the factor
	closedFor  = 15 * time.Minute    // for so long
	inAll      = 50                  // wrong codes that close it for codes
	countedFor = 30 * 24 * time.Hour // within so long
	tryPending = 5                   // wrong codes that end an enrolment
)

// A record is what a store holds of a subject, as JSON. Times are seconds since 1970. A changed format ships its readers
// one release before its writers.
type record struct {
	Format  int      `json:"fmt"` // 1
	Factor  *factor  `json:"factor,omitempty"`
	Pending *pending `json:"pending,omitempty"`
}

// A factor is active.
type factor struct {
	params
	Since    int64    `json:"since"`
	Step     int64    `json:"step"`               // the last that was used
	Wrong    int      `json:"wrong,omitempty"`    // codes in a row
	Until    int64    `json:"until,omitempty"`    // closed for everything
	Count    int      `json:"count,omitempty"`    // wrong codes since Counted
	Counted  int64    `json:"counted,omitempty"`  // when the first of them came
	Recovery [][]byte `json:"recovery,omitempty"` // hashes of codes that are left
}

// pending is an enrolment that waits for its first right code.
type pending struct {
	params
	Until int64 `json:"until"`
	Wrong int   `json:"wrong,omitempty"`
}

// update changes a subject's record by change, in one step of the store. The error of change is a verdict, which may
// have changed the record too: a wrong code counts. change may run more than once, each time on a record of its own.
func (f *Factors) update(ctx context.Context, tenant, subject string, change func(*record) error) error {
	if subject == "" {
		return errors.New("totp: got an empty subject")
	}
	var verdict error
	asked := false
	err := f.c.Store.Update(ctx, tenant, subject, func(old []byte) (next []byte, err error) {
		next, verdict, err = f.step(ctx, tenant, subject, old, change)
		asked = err == nil
		return next, err
	})
	switch {
	case err == nil && asked:
		return verdict
	case err == nil: // it must not pass for a right code
		err = errors.New("the store did not call change, or took its error for nothing")
	case auth.CodeOf(err) == auth.StoreUnavailable:
		return err
	}
	return fmt.Errorf("%w: totp: %w", auth.StoreUnavailable, err)
}

// step returns the next record, as the store keeps it, and the verdict of change on this one.
func (f *Factors) step(ctx context.Context, tenant, subject string, old []byte, change func(*record) error) (next []byte, verdict, err error) {
	var before []byte
	r := &record{Format: 1}
	if len(old) > 0 {
		if before, err = f.open(ctx, tenant, subject, old); err != nil {
			return nil, nil, err
		}
		if r, err = decode(before); err != nil {
			return nil, nil, err
		}
	}
	verdict = change(r)
	if r.Factor == nil && r.Pending == nil {
		return nil, verdict, nil
	}
	after, err := json.Marshal(r)
	if err != nil {
		return nil, nil, err
	}
	if bytes.Equal(before, after) {
		return old, verdict, nil
	}
	next, err = f.seal(ctx, tenant, subject, after)
	return next, verdict, err
}

func (f *Factors) seal(ctx context.Context, tenant, subject string, plain []byte) ([]byte, error) {
	if f.c.Sealer == nil {
		return plain, nil
	}
	sealed, err := f.c.Sealer.Seal(ctx, sealedFor(tenant, subject), purpose, plain)
	if err == nil && len(sealed) == 0 {
		err = errors.New("the sealer returned nothing")
	}
	return sealed, err
}

func (f *Factors) open(ctx context.Context, tenant, subject string, sealed []byte) ([]byte, error) {
	if f.c.Sealer == nil {
		return sealed, nil
	}
	return f.c.Sealer.Open(ctx, sealedFor(tenant, subject), purpose, sealed)
}

// sealedFor is whose a record is, as the [Sealer] is told.
func sealedFor(tenant, subject string) auth.Owner {
	return auth.Owner{Issuer: "tenant " + tenant, Subject: subject}
}

// errRecord has no details: the words of package json show what they stumble over.
var errRecord = errors.New("the record cannot be read")

// decode takes nothing but what update writes. What it did not know it would drop at the next change.
func decode(text []byte) (*record, error) {
	r := new(record)
	if err := json.Unmarshal(text, r); err != nil || !r.valid() {
		return nil, errRecord
	}
	if again, err := json.Marshal(r); err != nil || !bytes.Equal(again, text) {
		return nil, errRecord
	}
	return r, nil
}

// valid says whether a record is one that we may have written, so that no number in it is a surprise later.
func (r *record) valid() bool {
	if f := r.Factor; f != nil {
		if f.check() != nil || f.Step < 0 || f.Wrong < 0 || f.Count < 0 || len(f.Recovery) > recoveryCodes {
			return false
		}
		for _, h := range f.Recovery {
			if len(h) != hashBytes {
				return false
			}
		}
	}
	if p := r.Pending; p != nil && (p.check() != nil || p.Wrong < 0) {
		return false
	}
	return r.Format == 1 && (r.Factor != nil || r.Pending != nil)
}

// use judges a proof and takes note of it. Every path that takes a code of an active factor goes through here.
func (f *Factors) use(r *record, p proof, now time.Time) error {
	fa := r.Factor
	if fa == nil {
		return ErrNone
	}
	if wait := fa.closed(p, now); wait > 0 {
		return closedError{wait}
	}
	if p.recovery != nil {
		if fa.spend(p.recovery) {
			// The holder is here: what somebody else has tried is over.
			fa.Wrong, fa.Until, fa.Count, fa.Counted = 0, 0, 0, 0
			return nil
		}
		return fa.fail(now)
	}
	step, used := fa.match(p.code, now, f.window, fa.Step)
	switch {
	case used:
		return errUsed // no guess, but a double click
	case step == 0:
		return fa.fail(now)
	}
	fa.Step, fa.Wrong, fa.Until = step, 0, 0
	return nil
}

// closed says for how long the proof is not even looked at, 0 when it is.
func (f *factor) closed(p proof, now time.Time) time.Duration {
	until := time.Unix(f.Until, 0)
	if f.off(now) {
		// A recovery code cannot be guessed. If wrong ones counted here, whoever has the password could keep the
		// owner out for ever.
		if p.recovery != nil {
			return 0
		}
		until = time.Unix(f.Counted, 0).Add(countedFor)
	}
	return max(0, until.Sub(now))
}

// off says whether there were too many wrong codes in all.
func (f *factor) off(now time.Time) bool {
	return f.Count >= inAll && now.Before(time.Unix(f.Counted, 0).Add(countedFor))
}

// fail counts a wrong code.
func (f *factor) fail(now time.Time) error {
	if f.off(now) {
		return ErrWrong
	}
	if f.Count == 0 || !now.Before(time.Unix(f.Counted, 0).Add(countedFor)) {
		f.Count, f.Counted = 0, now.Unix()
	}
	f.Wrong++
	f.Count++
	if f.Wrong < inARow && f.Count < inAll {
		return ErrWrong
	}
	f.Wrong, f.Until = 0, now.Add(closedFor).Unix()
	return errClosing
}

// spend takes a recovery code off those that are left. It compares with all of them, so that its time tells nothing.
func (f *factor) spend(hash []byte) bool {
	found := -1
	for i, h := range f.Recovery {
		if subtle.ConstantTimeCompare(h, hash) == 1 {
			found = i
		}
	}
	if found < 0 {
		return false
	}
	f.Recovery = append(f.Recovery[:found], f.Recovery[found+1:]...)
	return true
}
