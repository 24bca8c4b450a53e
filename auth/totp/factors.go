package totp

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/doorward/doorward/auth"
)

// Begin begins the enrolment of a first factor and returns the new secret of 160 bits (RFC 4226 section 4, R6), to be
// shown this once. The factor is active when [Factors.Confirm] has seen a right code, before Config.Pending is over. An
// enrolment that was begun before is given up. A user who has a factor gets [ErrActive].
//
// account is how the app names the user, a mail address for example: up to 254 bytes in any script. Let only a user
// begin who has just proven who it is (NIST SP 800-63B-4 section 4.1.2.1), or a stolen session gets a second factor.
func (f *Factors) Begin(ctx context.Context, subject, account string) (Key, error) {
	return f.begin(ctx, "totp_begin", subject, account, nil, func(r *record, _ time.Time) error {
		if r.Factor != nil {
			return ErrActive
		}
		return nil
	})
}

// Replace begins an enrolment in place of the active factor, of which it takes a code or a recovery code. The old
// one stays active until [Factors.Confirm] puts the new one into its place, so that the account is never without.
func (f *Factors) Replace(ctx context.Context, subject, account, code string) (Key, error) {
	p, err := parseEither(f.owner(subject), code)
	return f.begin(ctx, "totp_replace", subject, account, err, func(r *record, now time.Time) error {
		return f.use(r, p, now)
	})
}

func (f *Factors) begin(
	ctx context.Context, name, subject, account string, err error, may func(*record, time.Time) error,
) (Key, error) {
	now := f.c.Now()
	k := newKey(f.c, account)
	if err == nil {
		err = checkAccount(account)
	}
	if err == nil {
		err = f.update(ctx, subject, func(r *record) error {
			if err := may(r, now); err != nil {
				return err
			}
			r.Pending = &pending{params: *k.k.params, Until: now.Add(f.c.Pending).Unix()}
			return nil
		})
	}
	if err != nil {
		k = Key{}
	}
	return k, f.tell(ctx, name, subject, err)
}

func checkAccount(account string) error {
	err := checkName(account, mostAccount)
	if err == nil && account == "" {
		err = errors.New("got none, expected what the app shows")
	}
	if err != nil {
		return invalid{"account", "An app cannot show this account.", fmt.Errorf("totp: the account: %w", err)}
	}
	return nil
}

// Confirm ends an enrolment with a code from the app: the factor is active, in place of the one before if there was
// one, and these are its recovery codes, to be shown this once. The code is used up by it.
//
// A wrong code is auth.ValidationFailed and wraps [ErrWrong]; the fifth ends the enrolment. Without one, or when its
// time has passed, the error wraps [ErrNone].
func (f *Factors) Confirm(ctx context.Context, subject, code string) (RecoveryCodes, error) {
	now := f.c.Now()
	codes, hashes := newRecoveryCodes(f.owner(subject))
	p, err := parseCode(code)
	if err == nil {
		err = f.update(ctx, subject, func(r *record) error {
			e := r.Pending
			if e == nil || now.Unix() >= e.Until {
				r.Pending = nil
				return invalid{"code", "There is no enrolment that waits for a code. Begin again.", ErrNone}
			}
			step, _ := e.match(p.code, now, f.window, 0)
			if step == 0 {
				if e.Wrong++; e.Wrong >= tryPending {
					r.Pending = nil
				}
				return invalid{"code", "The code is not the one that the app shows now.", ErrWrong}
			}
			r.Pending = nil
			r.Factor = &factor{params: e.params, Since: now.Unix(), Step: step, Fresh: true, Recovery: hashes}
			return nil
		})
	}
	if err != nil {
		codes = RecoveryCodes{}
	}
	return codes, f.tell(ctx, "totp_confirm", subject, err)
}

// Import makes the factor active that a user has with an older system (see [ParseKey]). It asks for no code, since the
// app has the secret already, and gives no recovery codes: see [Factors.Regenerate]. A user who has a factor gets
// [ErrActive].
//
// Which codes the older system has accepted is not known here: let 90 seconds pass after its last login.
func (f *Factors) Import(ctx context.Context, subject string, k Key) error {
	if k.k == nil {
		return errors.New("totp: a zero Key; make one with ParseKey")
	}
	now := f.c.Now()
	err := f.update(ctx, subject, func(r *record) error {
		if r.Factor != nil {
			return ErrActive
		}
		r.Factor, r.Pending = &factor{params: *k.k.params, Since: now.Unix()}, nil
		return nil
	})
	return f.tell(ctx, "totp_import", subject, err)
}

// Verify takes a code of the user's factor: nil once for each code, on whatever server, [ErrWrong] for a wrong or a
// used one, [ErrClosed], [ErrNone]. When a code was used, those of earlier steps are over as well (RFC 6238 section 5.2).
// The method of a login with it is "otp" (RFC 8176).
//
// The code that ended the enrolment is still on the display at the login that follows. Until a newer code was used, its
// ErrWrong has the methods Fields, with a sentence that tells the user to wait for the next code, and RetryAfter, with
// how long that takes at most. A code that was used for anything else is ErrWrong and no more: otherwise somebody who
// has the password and has watched the code would learn that it was good and that its owner has just come in.
func (f *Factors) Verify(ctx context.Context, subject, code string) error {
	now := f.c.Now()
	p, err := parseCode(code)
	if err == nil {
		err = f.update(ctx, subject, func(r *record) error { return f.use(r, p, now) })
	}
	return f.tell(ctx, "totp_verify", subject, err)
}

// Recover takes a recovery code, in place of one from the app, and says how many are left. It opens a factor that was
// closed by fifty wrong codes. Its errors are those of [Factors.Verify].
func (f *Factors) Recover(ctx context.Context, subject, code string) (left int, err error) {
	now := f.c.Now()
	p, err := parseRecovery(f.owner(subject), code)
	if err == nil {
		err = f.update(ctx, subject, func(r *record) error {
			if err := f.use(r, p, now); err != nil {
				return err
			}
			left = len(r.Factor.Recovery)
			return nil
		})
	}
	if err != nil {
		left = 0
	}
	return left, f.tell(ctx, "recovery_code", subject, err)
}

// Regenerate takes a code or a recovery code and returns a new set of recovery codes, to be shown this once. Those
// of before are void.
func (f *Factors) Regenerate(ctx context.Context, subject, code string) (RecoveryCodes, error) {
	now := f.c.Now()
	codes, hashes := newRecoveryCodes(f.owner(subject))
	p, err := parseEither(f.owner(subject), code)
	if err == nil {
		err = f.update(ctx, subject, func(r *record) error {
			if err := f.use(r, p, now); err != nil {
				return err
			}
			r.Factor.Recovery = hashes
			return nil
		})
	}
	if err != nil {
		codes = RecoveryCodes{}
	}
	return codes, f.tell(ctx, "recovery_codes", subject, err)
}

// Remove takes a code or a recovery code of the factor and removes it, with everything that belongs to it.
func (f *Factors) Remove(ctx context.Context, subject, code string) error {
	now := f.c.Now()
	p, err := parseEither(f.owner(subject), code)
	if err == nil {
		err = f.update(ctx, subject, func(r *record) error {
			if err := f.use(r, p, now); err != nil {
				return err
			}
			r.Factor, r.Pending = nil, nil
			return nil
		})
	}
	return f.tell(ctx, "totp_remove", subject, err)
}

// Reset removes the factor without a code, or an enrolment; nil also where there is neither. It is for a support desk that
// has proven who is asking as carefully as at the enrolment (ASVS V6.4.4), and for accounts that are deleted. Never
// put it behind what a user alone can call: that is [Factors.Remove].
func (f *Factors) Reset(ctx context.Context, subject string) error {
	err := f.update(ctx, subject, func(r *record) error {
		r.Factor, r.Pending = nil, nil
		return nil
	})
	return f.tell(ctx, "totp_reset", subject, err)
}

// Reseal seals the user's record anew, under the key that is the [Sealer]'s current one: for a job over all users that runs before
// an older key is removed, since nothing else reaches those who do not log in. A user who has neither a factor nor an enrolment gets
// [ErrNone]; any other error says that this record is not done, and would be lost with the key.
func (f *Factors) Reseal(ctx context.Context, subject string) error {
	if subject == "" {
		return errors.New("totp: got an empty subject")
	}
	found, owner := false, f.owner(subject)
	err := f.c.Store.Update(ctx, owner, func(old []byte) ([]byte, error) {
		if found = len(old) > 0; !found {
			return old, nil
		}
		plain, err := f.open(ctx, owner, old)
		if err != nil {
			return nil, err
		}
		return f.seal(ctx, owner, plain)
	})
	switch {
	case err == nil && !found:
		return ErrNone
	case err != nil && auth.CodeOf(err) != auth.StoreUnavailable:
		return fmt.Errorf("%w: totp: %w", auth.StoreUnavailable, err)
	}
	return err
}

// A Status is what a settings page shows. It holds no secret. Times that do not apply are zero.
type Status struct {
	Active        bool
	Since         time.Time // when the factor became active
	RecoveryCodes int       // that are left
	ClosedUntil   time.Time // for codes
	PendingUntil  time.Time // an enrolment waits for its code
}

// Status returns the state of the user's factor. It changes nothing.
func (f *Factors) Status(ctx context.Context, subject string) (s Status, err error) {
	now := f.c.Now()
	err = f.update(ctx, subject, func(r *record) error {
		s = Status{}
		if fa := r.Factor; fa != nil {
			s.Active, s.Since, s.RecoveryCodes = true, time.Unix(fa.Since, 0), len(fa.Recovery)
			if wait := fa.closed(proof{}, now); wait > 0 {
				s.ClosedUntil = now.Add(wait)
			}
		}
		if p := r.Pending; p != nil && now.Unix() < p.Until {
			s.PendingUntil = time.Unix(p.Until, 0)
		}
		return nil
	})
	if err != nil {
		s = Status{}
		if auth.CodeOf(err) == auth.StoreUnavailable {
			err = f.tell(ctx, "totp_status", subject, err)
		}
	}
	return s, err
}
