package totp_test

import (
	"encoding/base32"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/auth/totp"
)

// A secret has 160 bits, and no two are the same. One that is brought along has 128 at least.
func TestSTD_O04_Secrets(t *testing.T) {
	k := newKit(t)
	seen := map[string]bool{}
	for range 100 {
		secret := k.begin().Secret()
		raw, err := base32.StdEncoding.DecodeString(secret)
		if err != nil || len(secret) != 32 || len(raw) != 20 || seen[secret] {
			t.Fatalf("got %d characters for %d bytes, %v, seen before: %t", len(secret), len(raw), err, seen[secret])
		}
		seen[secret] = true
	}
}

// Short and bad secrets are refused, and no error shows them; spelling does not matter.
func TestSTD_O04_ATK_O03_ImportedSecrets(t *testing.T) {
	encode := base32.StdEncoding.EncodeToString
	raw := []byte("\x00\x01\x02\xfd\xfe\xff-a secret of forty bytes, and a few more")
	for size := range 130 {
		secret := make([]byte, size)
		copy(secret, raw)
		for _, text := range []string{encode(secret), strings.TrimRight(encode(secret), "="), "otpauth://totp/x?secret=" + strings.TrimRight(encode(secret), "=")} {
			key, err := totp.ParseKey(text)
			if good := size >= 16 && size <= 128; (err == nil) != good {
				t.Errorf("%d bytes: got %v, expected to be taken: %t", size, err, good)
			} else if good && key.Secret() != strings.TrimRight(encode(secret), "=") {
				t.Errorf("%d bytes: another secret", size)
			}
		}
	}
	const plain = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
	for _, spelling := range []string{
		plain, strings.ToLower(plain), "ABCD EFGH IJKL MNOP QRST UVWX YZ23 4567", "abcd-efgh-ijkl-mnop-qrst-uvwx-yz23-4567", "  " + plain + "\n", plain + "======",
		"otpauth://totp/x?secret=" + strings.ToLower(plain), "OTPAUTH://TOTP/x?secret=" + plain + "%3D%3D", "otpauth://totp/x?secret=ABCD+EFGH+IJKL+MNOP+QRST+UVWX+YZ23+4567",
	} {
		key, err := totp.ParseKey(spelling)
		if err != nil || key.Secret() != plain {
			t.Errorf("%q: got %v", spelling, err)
		}
	}
	// 26 characters are 130 bits, as some services make them; apps do not look at the last two.
	if key, err := totp.ParseKey("ABCDEFGHIJKLMNOPQRSTUVWXYZ"); err != nil || len(key.Secret()) != 26 {
		t.Errorf("26 characters: got %v", err)
	}
	for _, bad := range []string{
		"", " ", "=", "========", plain + "0", plain + "1", plain + "8", plain + "!", plain[:16] + "=" + plain[16:], plain + "A", plain + "ABC", plain + "ABCDEF", plain + "é", plain[:16] + "\n" + plain[16:],
		plain[:16] + "\x00" + plain[16:], "JBSWY3DPEHPK3PXP", strings.Repeat(plain, 1000), "0x" + plain, "ＡＢＣＤ" + plain, "ſ" + plain[1:],
	} {
		if _, err := totp.ParseKey(bad); err == nil {
			t.Errorf("%.60q was taken", bad)
		} else if len(strings.Trim(bad, " =")) > 0 && strings.Contains(err.Error(), strings.Trim(bad, " =")) || strings.Contains(err.Error(), plain[:8]) {
			t.Errorf("%.60q: the error shows it: %v", bad, err)
		}
	}
}

// Nothing is active before one right code, and then everything is.
func TestSTD_O07_ActiveAfterOneRightCode(t *testing.T) {
	k := newKit(t)
	k.want(k.verify("123456"), totp.ErrNone)
	key := k.begin()
	if s := k.status(); s.Active || !s.PendingUntil.Equal(k.clock().Add(10*time.Minute)) {
		t.Errorf("after Begin: %+v", s)
	}
	k.want(k.verify(k.code(key, 0)), totp.ErrNone)
	k.want(k.Remove(t.Context(), subject, k.code(key, 0)), totp.ErrNone)
	_, err := k.Regenerate(t.Context(), subject, k.code(key, 0))
	k.want(err, totp.ErrNone)
	_, err = k.Replace(t.Context(), subject, account, k.code(key, 0))
	k.want(err, totp.ErrNone)

	codes, err := k.Confirm(t.Context(), subject, k.wrong(key))
	if len(codes.List()) != 0 || auth.CodeOf(err) != auth.ValidationFailed || !errors.Is(err, totp.ErrWrong) {
		t.Errorf("a wrong code: got %d recovery codes, %v", len(codes.List()), err)
	}
	codes, err = k.Confirm(t.Context(), subject, k.code(key, -1))
	if err != nil || len(codes.List()) != 10 {
		t.Fatalf("got %d recovery codes, %v", len(codes.List()), err)
	}
	if s := k.status(); !s.Active || !s.Since.Equal(k.clock()) || s.RecoveryCodes != 10 || !s.PendingUntil.IsZero() || !s.ClosedUntil.IsZero() {
		t.Errorf("after Confirm: %+v", s)
	}
	_, err = k.Confirm(t.Context(), subject, k.code(key, 0))
	k.want(err, totp.ErrNone)
	k.want(k.verify(k.code(key, 0)), nil)
	want := []string{"totp_verify login_failed", "totp_begin ok", "totp_verify login_failed", "totp_remove login_failed", "recovery_codes login_failed",
		"totp_replace login_failed", "totp_confirm validation_failed", "totp_confirm ok", "totp_confirm validation_failed", "totp_verify ok"}
	if got := k.told(); !slices.Equal(got, want) {
		t.Errorf("told of %q,\nexpected %q", got, want)
	}
}

// An enrolment that is left open is over, and can be begun again.
func TestATK_O06_PendingExpires(t *testing.T) {
	k := newKit(t)
	key := k.begin()
	k.pass(10*time.Minute - time.Second)
	if s := k.status(); s.PendingUntil.IsZero() {
		t.Error("over too early")
	}
	k.pass(time.Second)
	if s := k.status(); !s.PendingUntil.IsZero() {
		t.Errorf("still there: %+v", s)
	}
	_, err := k.Confirm(t.Context(), subject, k.code(key, 0))
	k.want(err, totp.ErrNone)
	if got := k.store.dump(); len(got) > len(subject+"\n\n") {
		t.Errorf("the store still has %d bytes", len(got))
	}
	again := k.begin()
	_, err = k.Confirm(t.Context(), subject, k.code(key, 0)) // of the secret before
	k.want(err, totp.ErrWrong)
	_, err = k.Confirm(t.Context(), subject, k.code(again, 0))
	k.want(err, nil)
}

// Somebody else's session cannot guess an enrolment through: whoever confirms gets the recovery codes.
func TestATK_O06_PendingIsNotGuessed(t *testing.T) {
	k := newKit(t)
	key := k.begin()
	for range 5 {
		_, err := k.Confirm(t.Context(), subject, k.wrong(key))
		k.want(err, totp.ErrWrong)
	}
	_, err := k.Confirm(t.Context(), subject, k.code(key, 0))
	k.want(err, totp.ErrNone)
}

// An active factor is neither overwritten nor removed without one of its codes.
func TestATK_O06_ActiveFactorStays(t *testing.T) {
	k := newKit(t)
	key, codes := k.enrol()
	ctx := t.Context()
	_, err := k.Begin(ctx, subject, account)
	k.want(err, totp.ErrActive)
	if auth.CodeOf(err) != auth.ValidationFailed {
		t.Errorf("Begin: got %v, expected validation_failed", err)
	}
	k.want(k.Import(ctx, subject, key), totp.ErrActive)
	_, err = k.Confirm(ctx, subject, k.code(key, 0))
	k.want(err, totp.ErrNone)
	if _, err := k.Replace(ctx, subject, account, k.wrong(key)); !errors.Is(err, totp.ErrWrong) {
		t.Errorf("Replace: got %v", err)
	}
	k.want(k.Remove(ctx, subject, k.wrong(key)), totp.ErrWrong)
	for _, none := range []string{"", "null", strings.Repeat("A", 24), strings.Repeat("U", 25)} {
		if err := k.Remove(ctx, subject, none); auth.CodeOf(err) != auth.ValidationFailed {
			t.Errorf("Remove with %q: got %v", none, err)
		}
	}
	k.want(k.Remove(ctx, "bob", k.code(key, 0)), totp.ErrNone)
	k.want(k.verify(k.code(key, 0)), nil)
	k.want(k.Remove(ctx, subject, k.code(key, 0)), totp.ErrWrong) // used
	k.want(k.Remove(ctx, subject, codes[0]), nil)
	k.want(k.verify(k.code(key, 1)), totp.ErrNone)
	_, err = k.Recover(ctx, subject, codes[1])
	k.want(err, totp.ErrNone)
	if got := k.store.dump(); strings.Trim(got, "abcemno/\n") != "" {
		t.Errorf("the store still has %q", got)
	}
}

// While a factor is replaced the old one holds; then the new one alone, with recovery codes of its own.
func TestATK_O06_Replace(t *testing.T) {
	k := newKit(t)
	old, oldCodes := k.enrol()
	ctx := t.Context()
	used := k.code(old, 0)
	key, err := k.Replace(ctx, subject, account, used)
	k.want(err, nil)
	k.want(k.verify(used), totp.ErrWrong)
	k.want(k.verify(k.code(key, 0)), totp.ErrWrong)
	k.pass(time.Minute)
	k.want(k.verify(k.code(old, 0)), nil)
	if s := k.status(); !s.Active || s.PendingUntil.IsZero() {
		t.Errorf("got %+v", s)
	}
	k.pass(10 * time.Minute) // left open: the old one stays
	_, err = k.Confirm(ctx, subject, k.code(key, 0))
	k.want(err, totp.ErrNone)
	k.want(k.verify(k.code(old, 0)), nil)

	key, err = k.Replace(ctx, subject, account, oldCodes[0]) // the phone is gone
	k.want(err, nil)
	codes, err := k.Confirm(ctx, subject, k.code(key, 0))
	k.want(err, nil)
	k.pass(time.Minute)
	k.want(k.verify(k.code(old, 0)), totp.ErrWrong)
	_, err = k.Recover(ctx, subject, oldCodes[1])
	k.want(err, totp.ErrWrong)
	k.want(k.verify(k.code(key, 0)), nil)
	left, err := k.Recover(ctx, subject, codes.List()[0])
	if err != nil || left != 9 {
		t.Errorf("got %d left, %v", left, err)
	}
	// Removed meanwhile, the new one does not come after all.
	another, err := k.Replace(ctx, subject, account, codes.List()[1])
	k.want(err, nil)
	k.want(k.Remove(ctx, subject, codes.List()[2]), nil)
	_, err = k.Confirm(ctx, subject, k.code(another, 0))
	k.want(err, totp.ErrNone)
}

// Two who enrol at once: one gets through, and the other's secret is of no use.
func TestATK_O06_TwoEnrolments(t *testing.T) {
	k := newKit(t)
	for range 50 {
		var keys [2]totp.Key
		var all sync.WaitGroup
		for i := range keys {
			all.Go(func() { keys[i] = k.begin() })
		}
		all.Wait()
		var good atomic.Int64
		for i := range keys {
			all.Go(func() {
				if _, err := k.Confirm(t.Context(), subject, k.code(keys[i], 0)); err == nil {
					good.Add(1)
				}
			})
		}
		all.Wait()
		if good.Load() != 1 {
			t.Fatalf("%d confirmed, expected 1", good.Load())
		}
		k.want(k.Reset(t.Context(), subject), nil)
	}
}

// What the package itself holds of the second step: no error is ever nil for want of a factor, for another user's or
// issuer's code, or for an enrolment that nobody has confirmed. That later endpoints ask for it is accounts' to keep.
func TestSTD_O10_ATK_O05_NothingPassesForAFactor(t *testing.T) {
	k := newKit(t)
	ctx := t.Context()
	key, codes := k.enrol()
	elsewhere := k.of(other)
	for _, by := range []struct {
		*totp.Factors
		subject string
	}{{k.Factors, "bob"}, {elsewhere, subject}, {k.of(issuer + "/"), subject}, {k.Factors, subject + " "}, {k.Factors, ""}} {
		if err := by.Verify(ctx, by.subject, k.code(key, 0)); err == nil {
			t.Errorf("%q: ann's code was taken", by.subject)
		}
		if _, err := by.Recover(ctx, by.subject, codes[0]); err == nil {
			t.Errorf("%q: ann's recovery code was taken", by.subject)
		}
		if s, err := by.Status(ctx, by.subject); s.Active {
			t.Errorf("%q: got %+v, %v", by.subject, s, err)
		}
	}
	// With a factor of their own it is ann's code no less.
	bob, err := k.Begin(ctx, "bob", "bob@example.com")
	k.want(err, nil)
	bobs, err := k.Confirm(ctx, "bob", k.code(bob, 0))
	k.want(err, nil)
	k.want(k.Verify(ctx, "bob", k.code(key, 0)), totp.ErrWrong)
	_, err = k.Recover(ctx, "bob", codes[0])
	k.want(err, totp.ErrWrong)
	_, err = k.Recover(ctx, subject, bobs.List()[0])
	k.want(err, totp.ErrWrong)
	// Nor is anything changed by it.
	k.want(k.verify(k.code(key, 0)), nil)
	_, err = k.Recover(ctx, subject, codes[0])
	k.want(err, nil)
}

func TestReset(t *testing.T) {
	k := newKit(t)
	ctx := t.Context()
	k.want(k.Reset(ctx, subject), nil)
	key, codes := k.enrol()
	k.want(k.Reset(ctx, subject), nil)
	k.want(k.verify(k.code(key, 0)), totp.ErrNone)
	_, err := k.Recover(ctx, subject, codes[0])
	k.want(err, totp.ErrNone)
	k.begin()
	k.want(k.Reset(ctx, subject), nil)
	if s := k.status(); s != (totp.Status{}) {
		t.Errorf("got %+v", s)
	}
	if err := k.Import(ctx, subject, totp.Key{}); err == nil {
		t.Error("a zero key was taken")
	}
}

// A factor of an older system works on, and its owner makes recovery codes with it.
func TestImport(t *testing.T) {
	k := newKit(t)
	ctx := t.Context()
	key, err := totp.ParseKey("ABCD EFGH IJKL MNOP QRST UVWX YZ23 4567")
	k.want(err, nil)
	k.begin() // left open
	k.want(k.Import(ctx, subject, key), nil)
	if s := k.status(); !s.Active || s.RecoveryCodes != 0 || !s.PendingUntil.IsZero() {
		t.Errorf("got %+v", s)
	}
	_, err = k.Recover(ctx, subject, strings.Repeat("0", 25))
	k.want(err, totp.ErrWrong)
	codes, err := k.Regenerate(ctx, subject, k.code(key, 0))
	k.want(err, nil)
	_, err = k.Recover(ctx, subject, codes.List()[9])
	k.want(err, nil)
	k.want(k.verify(k.code(key, 1)), nil)
}

// Names in any script; none that hides or forges something in an app.
func TestBegin_Accounts(t *testing.T) {
	k := newKit(t)
	for _, good := range []string{"ann", "ann@example.com", "анна", "山田 太郎", "دالیا", "דליה", "क्षिति\u200dज", "a:b", "+1 %2B & = ?#/", strings.Repeat("語", 84), "👩‍🚀"} {
		key, err := k.Begin(t.Context(), subject, good)
		if err != nil {
			t.Errorf("%q: %v", good, err)
			continue
		}
		if again, err := totp.ParseKey(key.URI()); err != nil || again.URI() != key.URI() || again.Secret() != key.Secret() {
			t.Errorf("%q: the URI does not come back: %v", good, err)
		}
	}
	for _, bad := range []string{"", " ann", "ann\n", "a\rb", "a\x00b", "a\x1bb", "\u202eann", "a\u2066b", "a\u2028b", "\xff", strings.Repeat("語", 85)} {
		_, err := k.Begin(t.Context(), subject, bad)
		var fields interface{ Fields() map[string]string }
		if auth.CodeOf(err) != auth.ValidationFailed || !errors.As(err, &fields) || fields.Fields()["account"] == "" || strings.ContainsAny(err.Error(), "\r\n\x00\x1b\u202e") {
			t.Errorf("%q: got %v, expected validation_failed with the field", bad, err)
		}
	}
	if s := k.status(); s.PendingUntil.IsZero() {
		t.Error("the last good one is gone")
	}
}
