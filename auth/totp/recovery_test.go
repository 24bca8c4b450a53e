package totp_test

import (
	"errors"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/auth/totp"
)

// Ten codes of 125 bits, each once; a new set voids the old one.
func TestSTD_O08_ATK_O07_RecoveryCodes(t *testing.T) {
	k := newKit(t)
	ctx := t.Context()
	key, codes := k.enrol()
	form := regexp.MustCompile(`^[0-9A-HJKMNP-TV-Z]{5}(-[0-9A-HJKMNP-TV-Z]{5}){4}$`) // 25 of 32: 125 bits
	if len(codes) != 10 || len(slices.Compact(slices.Sorted(slices.Values(codes)))) != 10 || slices.ContainsFunc(codes, func(c string) bool { return !form.MatchString(c) }) {
		t.Fatalf("got %d codes, expected 10 different ones of the form %v", len(codes), form)
	}
	for i, code := range codes[:3] {
		left, err := k.Recover(ctx, subject, code)
		if err != nil || left != 9-i {
			t.Errorf("got %d left, %v, expected %d", left, err, 9-i)
		}
		_, err = k.Recover(ctx, subject, code)
		k.want(err, totp.ErrWrong)
		k.want(k.verify(k.code(key, 0)), map[bool]error{true: nil, false: totp.ErrWrong}[i == 0])
	}
	fresh, err := k.Regenerate(ctx, subject, codes[3])
	k.want(err, nil)
	for _, code := range codes[:5] { // used, used for the new set, unused
		_, err := k.Recover(ctx, subject, code)
		if !errors.Is(err, totp.ErrWrong) && !errors.Is(err, totp.ErrClosed) {
			t.Errorf("a code of the old set: got %v", err)
		}
	}
	k.pass(totp.ClosedFor)
	for i, code := range fresh.List() {
		left, err := k.Recover(ctx, subject, code)
		if err != nil || left != 9-i {
			t.Errorf("got %d left, %v, expected %d", left, err, 9-i)
		}
	}
	if s := k.status(); !s.Active || s.RecoveryCodes != 0 {
		t.Errorf("got %+v", s)
	}
}

// A login that takes either kind of code asks which one it is: each try is one event, and a true one.
func TestIsRecoveryCode_OneEvent(t *testing.T) {
	k := newKit(t)
	key, codes := k.enrol()
	k.told()
	for _, test := range []struct{ code, told string }{
		{codes[0], "recovery_code ok"},
		{strings.ToLower(strings.ReplaceAll(codes[1], "-", "")), "recovery_code ok"},
		{codes[0], "recovery_code login_failed"}, // used
		{k.code(key, 0), "totp_verify ok"},
		{k.code(key, 0), "totp_verify replayed"},
		{k.wrong(key), "totp_verify login_failed"},
		{"12345", "totp_verify validation_failed"},
		{codes[2][:28], "totp_verify validation_failed"},
		{"", "totp_verify validation_failed"},
	} {
		if totp.IsRecoveryCode(test.code) {
			_, _ = k.Recover(t.Context(), subject, test.code)
		} else {
			_ = k.verify(test.code)
		}
		if got := k.told(); len(got) != 1 || got[0] != test.told {
			t.Errorf("%.8q…: told of %q, expected %q", test.code, got, test.told)
		}
	}
}

// As people copy them: other case, other dashes, spaces, letters that look alike.
func TestATK_O07_Spelling(t *testing.T) {
	k := newKit(t)
	alike := strings.NewReplacer("0", "o", "1", "l")
	for i, spell := range []func(string) string{
		func(s string) string { return s },
		strings.ToLower,
		func(s string) string { return strings.ReplaceAll(s, "-", "") },
		func(s string) string { return strings.ReplaceAll(s, "-", " ") },
		func(s string) string { return " " + strings.ReplaceAll(strings.ToLower(s), "-", " - ") + " " },
		func(s string) string { return alike.Replace(strings.ToLower(s)) },
		func(s string) string { return strings.ToUpper(alike.Replace(s)) },
		func(s string) string { return strings.NewReplacer("0", "O", "1", "I").Replace(s) },
		func(s string) string { return s[:2] + "-" + s[2:] },
	} {
		for range 20 { // until 0 and 1 are among the characters
			_, codes := k.enrol()
			if _, err := k.Recover(t.Context(), subject, spell(codes[i])); err != nil {
				t.Errorf("spelling %d: %v", i, err)
			}
			k.want(k.Reset(t.Context(), subject), nil)
		}
	}
}

// What is no recovery code is refused unread; what is a wrong one counts, as a code does.
func TestATK_O07_GuessesCount(t *testing.T) {
	k := newKit(t)
	key, codes := k.enrol()
	writes := k.store.writes
	for _, bad := range []string{"", codes[0][:28], codes[0] + "0", strings.Repeat("U", 25), codes[0][:28] + "!", codes[0][:28] + "é", codes[0][:28] + "０", "\x00" + codes[0][1:],
		codes[0] + "\n", strings.Repeat("-", 40) + codes[0], strings.Repeat("0", 1<<20), k.code(key, 0), "ſ" + codes[0][1:]} {
		left, err := k.Recover(t.Context(), subject, bad)
		if auth.CodeOf(err) != auth.ValidationFailed || left != 0 || len(err.Error()) > 200 {
			t.Errorf("%.40q: got %d, %v, expected validation_failed", bad, left, err)
		}
	}
	if k.store.writes != writes {
		t.Error("they were counted")
	}
	for range totp.InARow {
		_, err := k.Recover(t.Context(), subject, "00000-00000-00000-00000-00000")
		k.want(err, totp.ErrWrong)
	}
	_, err := k.Recover(t.Context(), subject, codes[0])
	k.want(err, totp.ErrClosed)
	k.want(k.verify(k.code(key, 0)), totp.ErrClosed)
	k.pass(totp.ClosedFor)
	_, err = k.Recover(t.Context(), subject, codes[0])
	k.want(err, nil)
}
