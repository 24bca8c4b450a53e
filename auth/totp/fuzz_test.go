package totp_test

import (
	"encoding/base32"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/auth/totp"
)

// Whatever is read comes back from its own URI, has at least 128 bits, and no error shows the text.
func FuzzParseKey(f *testing.F) {
	for _, row := range pyotp(f) {
		f.Add(row.URI)
		f.Add(row.Secret)
	}
	f.Add("otpauth://totp/Old:ann?secret=abcd+efgh-ijklmnopqrstuvwxyz234567%3D&issuer=New&algorithm=sha512&digits=8&period=15&encoder=&x=%00")
	f.Add("otpauth://totp/a:b%3Ac?secret=ABCDEFGHIJKLMNOPQRSTUVWXYZ&issuer=")
	f.Fuzz(func(t *testing.T, text string) {
		key, err := totp.ParseKey(text)
		if err != nil {
			if short := strings.TrimSpace(text); len(short) > 24 && strings.Contains(err.Error(), short) || len(err.Error()) > 600 {
				t.Errorf("the error shows the text: %v", err)
			}
			return
		}
		raw, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(key.Secret())
		if err != nil || len(raw) < 16 || len(raw) > 128 {
			t.Errorf("a secret of %d bytes, %v", len(raw), err)
		}
		again, err := totp.ParseKey(key.URI())
		if err != nil || again.URI() != key.URI() || again.Secret() != key.Secret() || totp.CodeAt(again, 1) != totp.CodeAt(key, 1) {
			t.Errorf("%q does not come back: %v", key.URI(), err)
		}
		if strings.ContainsAny(key.URI(), " +<>\"'\r\n\x00") {
			t.Errorf("not escaped: %q", key.URI())
		}
		if code := totp.CodeAt(key, 1); len(code) != 6 && len(code) != 8 || strings.Trim(code, "0123456789") != "" {
			t.Errorf("the code is %q", code)
		}
	})
}

// A text where a name stands refuses no key and changes none.
func FuzzParseKey_Q_33_Names(f *testing.F) {
	for _, name := range nameless {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		raw := strings.NewReplacer("?", "", "&", "").Replace(name)
		for _, text := range []string{
			"otpauth://totp/" + raw + "?secret=" + plainSecret + "&issuer=" + raw,
			"otpauth://totp/" + url.PathEscape(name) + "?issuer=" + url.QueryEscape(name) + "&secret=" + plainSecret,
			"otpauth://totp/ann?image=" + raw + "&secret=" + plainSecret,
			"otpauth://totp/ann?x" + raw + "&secret=" + plainSecret,
		} {
			key, err := totp.ParseKey(text)
			if err != nil || key.Secret() != plainSecret {
				t.Fatalf("%q: %v", text, err)
			}
			if again, err := totp.ParseKey(key.URI()); err != nil || again.URI() != key.URI() {
				t.Errorf("%q: %q comes back as %q, %v", text, key.URI(), again.URI(), err)
			}
		}
	})
}

// No text is taken for a code but the digits themselves with spaces, and none for a recovery code but its characters in
// the spellings that people use.
func FuzzCodes(f *testing.F) {
	const right, recovery = "081804", "0123456789ABCDEFGHJKMNPQR"
	for _, s := range []string{right, " 081 804", "81804", "٠٨١٨٠٤", "+81804", "07081804", "0x1804", recovery, "01234-56789-abcde-fghjk-mnpqr", "ol234 56789 ABCDE FGHJK MNPQR", "u", strings.Repeat("0", 25)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		factors, err := totp.New(totp.Config{Issuer: issuer, ServiceName: "x", Store: totp.NewMemory(), AllowUnsealed: true, Now: func() time.Time { return time.Unix(1111111109, 0) }})
		if err != nil {
			t.Fatal(err)
		}
		key, err := totp.ParseKey("GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ")
		if err != nil {
			t.Fatal(err)
		}
		ctx := t.Context()
		if err := factors.Import(ctx, subject, key); err != nil {
			t.Fatal(err)
		}
		digits := strings.ReplaceAll(text, " ", "")
		window := map[string]bool{}
		for step := int64(-1); step <= 1; step++ {
			window[totp.CodeAt(key, 1111111109/30+step)] = true
		}
		err = factors.Verify(ctx, subject, text)
		if want := window[digits] && len(text) <= 32; (err == nil) != want {
			t.Errorf("%q: got %v, expected to be taken: %t", text, err, want)
		}
		if code := auth.CodeOf(err); err != nil && code != auth.LoginFailed && code != auth.ValidationFailed {
			t.Errorf("%q: got %v", text, err)
		}
		if _, err := factors.Recover(ctx, subject, text); err == nil || auth.CodeOf(err) != auth.LoginFailed && auth.CodeOf(err) != auth.ValidationFailed {
			t.Errorf("%q: as a recovery code of a user who has none: got %v", text, err)
		}
		// The hash of a text is that of the code as it was given out, or there is none.
		got, ok := totp.RecoveryHash(text)
		want, _ := totp.RecoveryHash(recovery)
		same := ok && got == want
		if spelt := strings.NewReplacer("-", "", " ", "", "o", "0", "O", "0", "i", "1", "I", "1", "l", "1", "L", "1").Replace(text); same != (len(text) <= 64 && strings.EqualFold(spelt, recovery) && len(spelt) == 25) {
			t.Errorf("%q is taken for %s: %t", text, recovery, same)
		}
	})
}
