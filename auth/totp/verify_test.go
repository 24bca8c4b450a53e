package totp_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/auth/totp"
)

// A code works once: not twice in its step, not in the next one, where it would still be in the window, and when a newer
// one was used the older ones are over as well.
func TestSTD_O02_ATK_O01_Once(t *testing.T) {
	k := newKit(t)
	key, _ := k.enrol()
	k.told()
	code := k.code(key, 0)
	k.want(k.verify(code), nil)
	k.want(k.verify(code), totp.ErrWrong)
	k.pass(30 * time.Second)
	k.want(k.verify(code), totp.ErrWrong)
	k.want(k.verify(k.code(key, 1)), nil)            // the app is ahead
	k.want(k.verify(k.code(key, 0)), totp.ErrWrong)  // older, never used
	k.want(k.verify(k.code(key, -1)), totp.ErrWrong) // older, used
	k.pass(-2 * time.Minute)                         // the clock is set back
	k.want(k.verify(k.code(key, 0)), totp.ErrWrong)  // an old code, in its old time
	k.want(k.verify(k.code(key, 1)), totp.ErrWrong)  //
	k.pass(2*time.Minute + 60*time.Second)           //
	k.want(k.verify(k.code(key, 0)), nil)            //
	if got := k.told(); !slices.Equal(got[:3], []string{"totp_verify ok", "totp_verify replayed", "totp_verify replayed"}) {
		t.Errorf("told of %v", got)
	}
	// Used codes are no guesses: they close nothing.
	for range 100 {
		k.want(k.verify(k.code(key, 0)), totp.ErrWrong)
	}
	if s := k.status(); !s.ClosedUntil.IsZero() {
		t.Errorf("closed until %v by a code that was used before", s.ClosedUntil)
	}
}

// The code that proves the enrolment is used up by it.
func TestSTD_O02_ATK_O01_AtEnrolment(t *testing.T) {
	k := newKit(t)
	key := k.begin()
	code := k.code(key, 0)
	if _, err := k.Confirm(t.Context(), subject, code); err != nil {
		t.Fatal(err)
	}
	k.want(k.verify(code), totp.ErrWrong)
	k.want(k.verify(k.code(key, -1)), totp.ErrWrong)
	k.want(k.Remove(t.Context(), subject, code), totp.ErrWrong)
	_, err := k.Regenerate(t.Context(), subject, code)
	k.want(err, totp.ErrWrong)
	k.want(k.verify(k.code(key, 1)), nil)
}

// Until an app's code was used after it, the enrolment's code is told to wait for the next one, wherever it comes. A code that
// was used for anything else is not: who has watched one being typed must not learn that it was good.
func TestATK_O01_EnrolmentCodeIsEarly(t *testing.T) {
	var early interface {
		RetryAfter() time.Duration
		Fields() map[string]string
	}
	for name, test := range map[string]struct {
		steps int64 // how far the app's clock is ahead
		wait  time.Duration
	}{"on time": {0, 20 * time.Second}, "ahead": {1, 50 * time.Second}, "behind": {-1, 20 * time.Second}} {
		k := newKit(t) // 10 s after the beginning of a step
		ctx := t.Context()
		key := k.begin()
		code := k.code(key, test.steps)
		_, err := k.Confirm(ctx, subject, code)
		k.want(err, nil)
		k.told()
		_, replace := k.Replace(ctx, subject, account, code)
		_, regenerate := k.Regenerate(ctx, subject, code)
		for call, err := range map[string]error{"Verify": k.verify(code), "Remove": k.Remove(ctx, subject, code), "Replace": replace, "Regenerate": regenerate} {
			if !errors.Is(err, totp.ErrWrong) || auth.CodeOf(err) != auth.LoginFailed || !errors.As(err, &early) || early.RetryAfter() != test.wait || early.Fields()["code"] == "" {
				t.Errorf("%s, %s: got %v, expected ErrWrong with %v to wait", name, call, err, test.wait)
			}
		}
		if got, want := k.told(), []string{"totp_replace early", "recovery_codes early", "totp_verify early", "totp_remove early"}; !slices.Equal(got, want) {
			t.Errorf("%s: told of %q, expected %q", name, got, want)
		}
		for range totp.InAll { // no guesses, so that they close nothing
			k.want(k.verify(code), totp.ErrWrong)
		}
		k.pass(test.wait)
		next := k.code(key, test.steps)
		k.want(k.verify(next), nil)
		for _, used := range []string{code, next} {
			if err := k.verify(used); !errors.Is(err, totp.ErrWrong) || errors.As(err, &early) {
				t.Errorf("%s: used before: got %v, expected ErrWrong and no more", name, err)
			}
		}
	}
	// Nor is anything said of an imported factor's.
	k := newKit(t)
	key := k.begin()
	k.want(k.Import(t.Context(), subject, key), nil)
	k.want(k.verify(k.code(key, 0)), nil)
	if err := k.verify(k.code(key, 0)); !errors.Is(err, totp.ErrWrong) || errors.As(err, &early) {
		t.Errorf("imported: got %v, expected ErrWrong and no more", err)
	}
	// A wrong code is never early.
	k = newKit(t)
	key = k.begin()
	_, err := k.Confirm(t.Context(), subject, k.code(key, 0))
	k.want(err, nil)
	if err := k.verify(k.wrong(key)); !errors.Is(err, totp.ErrWrong) || errors.As(err, &early) {
		t.Errorf("wrong: got %v, expected ErrWrong and no more", err)
	}
}

// Two steps that have the same code by chance: it is good once all the same.
func TestSTD_O02_SameCodeTwice(t *testing.T) {
	key, err := totp.ParseKey("GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ")
	if err != nil {
		t.Fatal(err)
	}
	const step = 62075368 // found by trying two million
	k := newKit(t)
	k.now = time.Unix(step*30, 0)
	code := k.code(key, 0)
	if code != k.code(key, 1) {
		t.Fatalf("got %s and %s, expected the same", code, k.code(key, 1))
	}
	k.want(k.Import(t.Context(), subject, key), nil)
	k.want(k.verify(code), nil)
	for range 3 {
		k.want(k.verify(code), totp.ErrWrong)
		k.pass(30 * time.Second)
	}
	k.want(k.verify(k.code(key, 0)), nil)
}

// The step that is now and one either side, nothing older or newer; or this one alone.
func TestSTD_O03_Window(t *testing.T) {
	for _, only := range []bool{false, true} {
		for steps := int64(-4); steps <= 4; steps++ {
			k := newKit(t, func(c *totp.Config) { c.CurrentStepOnly = only })
			key, _ := k.enrol()
			k.pass(time.Hour)
			good := steps == 0 || !only && (steps == 1 || steps == -1)
			for _, at := range []time.Duration{0, 19 * time.Second} { // begin and end of the step
				k.pass(at)
				if err := k.verify(k.code(key, steps)); (err == nil) != (good && at == 0) {
					t.Errorf("current step only %t, %d steps away, %v later: got %v", only, steps, at, err)
				}
			}
		}
	}
	// At the very edges of a step.
	k := newKit(t)
	key, _ := k.enrol()
	k.now = time.Unix(1_800_000_000, 0)
	code := k.code(key, 0)
	k.pass(59*time.Second + 999*time.Millisecond)
	k.want(k.verify(code), nil)
	k.now = time.Unix(1_800_000_300, 0)
	code = k.code(key, 0)
	k.pass(60 * time.Second)
	k.want(k.verify(code), totp.ErrWrong)
}

// Wrong codes count for the user, whatever is done with them, and a right one is then refused unread.
func TestSTD_O05_Closed(t *testing.T) {
	k := newKit(t)
	key, codes := k.enrol()
	k.told()
	wrong := k.wrong(key)
	ctx := t.Context()
	// One each: the login, another login, removal, a new set, replacement. They are one count.
	k.want(k.verify(wrong), totp.ErrWrong)
	_, err := k.Recover(ctx, subject, strings.Repeat("A", 25))
	k.want(err, totp.ErrWrong)
	k.want(k.Remove(ctx, subject, wrong), totp.ErrWrong)
	_, err = k.Regenerate(ctx, subject, wrong)
	k.want(err, totp.ErrWrong)
	if s := k.status(); !s.ClosedUntil.IsZero() {
		t.Errorf("closed after four until %v", s.ClosedUntil)
	}
	_, err = k.Replace(ctx, subject, account, wrong)
	k.want(err, totp.ErrWrong)
	want := []string{"totp_verify login_failed", "recovery_code login_failed", "totp_remove login_failed", "recovery_codes login_failed", "totp_replace closed"}
	if got := k.told(); !slices.Equal(got, want) {
		t.Errorf("told of %v, expected %v", got, want)
	}

	until := k.clock().Add(totp.ClosedFor)
	for range 3 { // and they do not prolong it
		err := k.verify(k.code(key, 0))
		var wait interface{ RetryAfter() time.Duration }
		if !errors.Is(err, totp.ErrClosed) || auth.CodeOf(err) != auth.RateLimited || !errors.As(err, &wait) || wait.RetryAfter() != until.Sub(k.clock()) {
			t.Errorf("got %v, expected ErrClosed, rate_limited, until %v", err, until)
		}
		k.want(k.verify(wrong), totp.ErrClosed)
		_, err = k.Recover(ctx, subject, codes[0])
		k.want(err, totp.ErrClosed)
		if s := k.status(); !s.ClosedUntil.Equal(until) {
			t.Errorf("closed until %v, expected %v", s.ClosedUntil, until)
		}
		k.pass(totp.ClosedFor / 4)
	}
	// Another user is not concerned, nor is another issuer's of the same name.
	for subject, f := range map[string]*totp.Factors{"bob": k.Factors, subject: k.of(other)} {
		key, err := f.Begin(ctx, subject, account)
		k.want(err, nil)
		k.want(f.Import(ctx, subject, key), nil)
		k.want(f.Verify(ctx, subject, k.code(key, 0)), nil)
	}
	k.now = until.Add(-time.Second)
	k.want(k.verify(k.code(key, 0)), totp.ErrClosed)
	k.now = until
	k.want(k.verify(k.code(key, 0)), nil)
}

// A right code forgives the row, as people mistype; it does not take back the count of 30 days, or whoever guesses
// between the owner's logins could go on for ever.
func TestSTD_O05_ARightCodeInBetween(t *testing.T) {
	k := newKit(t)
	key, _ := k.enrol()
	wrongs := 0
	for ; wrongs < 1000; wrongs++ {
		err := k.verify(k.wrong(key))
		if errors.Is(err, totp.ErrClosed) {
			break
		}
		k.want(err, totp.ErrWrong)
		if wrongs%4 == 3 && wrongs < 48 {
			k.pass(time.Hour)
			k.want(k.verify(k.code(key, 0)), nil)
		}
	}
	if wrongs != totp.InAll {
		t.Errorf("%d wrong codes were compared, expected %d", wrongs, totp.InAll)
	}
	begun := k.clock().Add(-12 * time.Hour)
	k.pass(totp.ClosedFor)
	k.want(k.verify(k.code(key, 0)), totp.ErrClosed)
	if s := k.status(); s.ClosedUntil.Sub(begun.Add(totp.CountedFor)).Abs() > time.Minute {
		t.Errorf("closed until %v, expected %v", s.ClosedUntil, begun.Add(totp.CountedFor))
	}
	k.now = begun.Add(totp.CountedFor + time.Minute)
	k.want(k.verify(k.code(key, 0)), nil)
}

// Then a recovery code opens it, however many wrong ones of those somebody sends: that cannot keep the owner out.
func TestSTD_O05_RecoveryCodeOpens(t *testing.T) {
	k := newKit(t)
	key, codes := k.enrol()
	for range totp.InAll {
		k.want(k.verify(k.wrong(key)), totp.ErrWrong)
		k.pass(totp.ClosedFor)
	}
	if s := k.status(); s.ClosedUntil.Sub(k.clock()) <= totp.ClosedFor {
		t.Errorf("closed until %v, expected for days", s.ClosedUntil)
	}
	writes := k.store.writes
	for range 100 {
		_, err := k.Recover(t.Context(), subject, strings.Repeat("A", 25))
		k.want(err, totp.ErrWrong)
	}
	if k.store.writes != writes {
		t.Errorf("they were counted: %d writes", k.store.writes-writes)
	}
	k.want(k.verify(k.code(key, 0)), totp.ErrClosed)
	left, err := k.Recover(t.Context(), subject, codes[4])
	if err != nil || left != 9 {
		t.Fatalf("got %d left, %v", left, err)
	}
	k.want(k.verify(k.wrong(key)), totp.ErrWrong)
	k.want(k.verify(k.code(key, 0)), nil)
	if s := k.status(); !s.ClosedUntil.IsZero() || s.RecoveryCodes != 9 {
		t.Errorf("got %+v", s)
	}
}

// A million guesses over a year, with a login of the owner each day. What is compared, times what one comparison can
// hit, is the bound that the package comment states.
func TestATK_O02_AMillionGuesses(t *testing.T) {
	guesses := 1_000_000
	if testing.Short() || raceEnabled {
		guesses = 20_000
	}
	k := newKit(t, func(c *totp.Config) {
		c.Store, c.Sealer, c.AllowUnsealed = totp.NewMemory(), nil, true
		c.Observe = nil
	})
	key, err := totp.ParseKey("GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ")
	k.want(err, nil)
	k.want(k.Import(t.Context(), subject, key), nil)
	const year = 365 * 24 * time.Hour
	between := year / time.Duration(guesses)
	compared, logins := 0, 0
	guess, closed := "", false
	for i := range guesses {
		k.pass(between)
		if i%(guesses/365) == 0 && k.verify(k.code(key, 0)) == nil {
			logins++
		}
		if !closed { // or it does not matter which; to know one takes longer than all the rest
			guess = k.wrong(key)
		}
		err := k.verify(guess)
		if closed = errors.Is(err, totp.ErrClosed); !closed {
			k.want(err, totp.ErrWrong)
			compared++
		}
	}
	t.Logf("%d of %d were compared, between %d logins", compared, guesses, logins)
	if compared < totp.InAll || compared > 13*totp.InAll {
		t.Errorf("%d were compared in a year, expected %d at most", compared, 13*totp.InAll)
	}
	// RFC 4226 section 5.3 spreads 2^31 values over 10^6 codes: the likeliest code has 2148 of them.
	perCode := math.Ceil((1<<31)/1e6) / (1 << 31)
	for _, bound := range []struct {
		name     string
		compared int
		below    float64
	}{
		{"30 days", totp.InAll, 0.00016},
		{"a year", 13 * totp.InAll, 0.002},
		{"this year", compared, 0.002},
	} {
		if p := 1 - math.Pow(1-3*perCode, float64(bound.compared)); p >= bound.below {
			t.Errorf("%s: a guesser gets in with %.6f, expected less than %.6f", bound.name, p, bound.below)
		} else {
			t.Logf("%s: a guesser gets in with %.4f %%", bound.name, 100*p)
		}
	}
}

// The first thousand at once: five are compared, on however many servers.
func TestATK_O02_AtOnce(t *testing.T) {
	k := newKit(t)
	key, _ := k.enrol()
	wrong := k.wrong(key)
	var compared atomic.Int64
	var all sync.WaitGroup
	for range 1000 {
		all.Go(func() {
			if errors.Is(k.verify(wrong), totp.ErrWrong) {
				compared.Add(1)
			}
		})
	}
	all.Wait()
	if compared.Load() != totp.InARow {
		t.Errorf("%d were compared, expected %d", compared.Load(), totp.InARow)
	}
}

// Spaces go, everything else that is no code is refused before anything is asked, and does not count.
func TestSTD_O06_ATK_O04_FormOfCodes(t *testing.T) {
	k := newKit(t)
	key, _ := k.enrol()
	code := k.code(key, 0)
	arabic, wide := "", ""
	for _, r := range code {
		arabic += string('٠' + r - '0')
		wide += string('０' + r - '0')
	}
	writes := k.store.writes
	k.store.update = func(context.Context, auth.Owner, func([]byte) ([]byte, error)) error {
		return errors.New("the store was asked")
	}
	for _, bad := range []string{
		"", " ", "      ", code[:5], code + "0", code + "000", strings.Repeat("0", 10_000), strings.Repeat(" ", 40) + code, arabic, wide, code[:5] + "٣",
		"+" + code[1:], "-" + code[1:], "0x" + code[2:], code[:3] + "-" + code[3:], code[:3] + "\u00a0" + code[3:], code[:3] + "\t" + code[3:],
		code + "\n", "\x00" + code[1:], code[:3] + "." + code[4:], code[:4] + "e5", "[\"" + code + "\"]", "\"" + code + "\"", code[:5] + "O", strings.Repeat("9", 1<<20),
		strings.TrimLeft("012345", "0"), // what is left of a code that was a number in JSON
	} {
		err := k.verify(bad)
		var fields interface{ Fields() map[string]string }
		if auth.CodeOf(err) != auth.ValidationFailed || !errors.As(err, &fields) || fields.Fields()["code"] == "" {
			t.Errorf("%.40q: got %v, expected validation_failed with the field", bad, err)
		}
		if len(err.Error()) > 200 {
			t.Errorf("%.40q: the error has %d bytes", bad, len(err.Error()))
		}
		ctx := t.Context()
		_, confirm := k.Confirm(ctx, subject, bad)
		_, replace := k.Replace(ctx, subject, account, bad)
		_, regenerate := k.Regenerate(ctx, subject, bad)
		_, recovery := k.Recover(ctx, subject, bad)
		for i, err := range []error{confirm, replace, regenerate, recovery, k.Remove(ctx, subject, bad)} {
			if auth.CodeOf(err) != auth.ValidationFailed {
				t.Errorf("call %d with %.40q: got %v, expected validation_failed", i, bad, err)
			}
		}
	}
	k.store.update = nil
	if k.store.writes != writes {
		t.Errorf("they were counted: %d writes", k.store.writes-writes)
	}
	// Well formed, and longer than the factor's codes: a wrong code like any other.
	k.want(k.verify("00"+code), totp.ErrWrong)
	k.want(k.verify(" "+code[:3]+"  "+code[3:]+" "), nil)
}

// Codes of other lengths and hashes, over all methods.
func TestVerify_DigitsAndAlgorithms(t *testing.T) {
	for _, digits := range []int{6, 8} {
		for _, algorithm := range []string{"SHA1", "SHA256", "SHA512"} {
			t.Run(fmt.Sprint(algorithm, " ", digits), func(t *testing.T) {
				k := newKit(t, func(c *totp.Config) { c.Digits, c.Algorithm = digits, algorithm })
				key := k.begin()
				again, err := totp.ParseKey(key.URI())
				if err != nil || again.URI() != key.URI() {
					t.Errorf("the URI does not come back: %v", err)
				}
				code := func(steps int64) string {
					return codeWith(t, key.Secret(), k.clock().Unix()/30+steps, algorithm, digits)
				}
				_, err = k.Confirm(t.Context(), subject, code(0))
				k.want(err, nil)
				k.want(k.verify(code(0)), totp.ErrWrong)
				k.want(k.verify(code(1)), nil)
				k.want(k.verify(codeWith(t, key.Secret(), k.clock().Unix()/30+2, algorithm, 14-digits)), totp.ErrWrong)
				k.pass(time.Minute)
				k.want(k.verify(code(0)), nil)
			})
		}
	}
}

// STD-V03: a record is brought under the current key without its user, and one that cannot be is told.
func TestReseal_STD_V03(t *testing.T) {
	k := newKit(t)
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	key, err := k.Begin(t.Context(), subject, account)
	ok(err)
	_, err = k.Confirm(t.Context(), subject, k.code(key, 0))
	ok(err)
	before := k.store.dump()
	ok(k.Reseal(t.Context(), subject))
	if k.store.dump() == before {
		t.Error("nothing was written")
	}
	k.pass(time.Minute)
	ok(k.Verify(t.Context(), subject, k.code(key, 0)))
	if err := k.Reseal(t.Context(), "bob"); !errors.Is(err, totp.ErrNone) {
		t.Errorf("nobody: %v", err)
	}
	if err := k.Reseal(t.Context(), ""); err == nil {
		t.Error("an empty subject")
	}
	other, err := totp.New(totp.Config{Issuer: issuer, ServiceName: "Example", Store: k.store, Sealer: newAEAD()})
	ok(err)
	if err := other.Reseal(t.Context(), subject); auth.CodeOf(err) != auth.StoreUnavailable {
		t.Errorf("another key: %v", err)
	}
}
