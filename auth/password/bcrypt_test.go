package password_test

import (
	"errors"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/auth/password"
)

// bcryptOnly is for those who must.
func bcryptOnly(t testing.TB) *password.Hasher {
	c := cheap
	c.Bcrypt = 10
	return newHasher(t, c)
}

// With Config.Bcrypt new hashes are bcrypt, which other systems read, and argon2id is what is replaced.
func TestBcrypt_New(t *testing.T) {
	t.Parallel()
	h := bcryptOnly(t)
	text := mustHash(t, h, "caf\u00e9 noir")
	if !regexp.MustCompile(`^\$2b\$10\$[./A-Za-z0-9]{53}$`).MatchString(text) {
		t.Errorf("got %s", text)
	}
	if err := bcrypt.CompareHashAndPassword([]byte(text), []byte("caf\u00e9 noir")); err != nil {
		t.Errorf("x/crypto: %v", err)
	}
	if rehash, err := h.Verify(t.Context(), text, "cafe\u0301 noir"); err != nil || rehash {
		t.Errorf("got %v, %v", rehash, err)
	}
	if _, err := h.Verify(t.Context(), text, "cafe noir"); auth.CodeOf(err) != auth.LoginFailed {
		t.Errorf("got %v", err)
	}
	argon := mustHash(t, newHasher(t, cheap), "caf\u00e9 noir")
	if rehash, err := h.Verify(t.Context(), argon, "caf\u00e9 noir"); err != nil || !rehash {
		t.Errorf("argon2id: got %v, %v", rehash, err)
	}
	for hash, want := range map[string]bool{
		text:                                     false,
		strings.Replace(text, "2b", "2y", 1):     false, // the same function by PHP's name
		strings.Replace(text, "$10$", "$11$", 1): true,
		strings.Replace(text, "$10$", "$09$", 1): true,
		"$bcrypt-sha256$v=2,t=2b,r=10$" + text[7:29] + "$" + text[29:]: true,
		argon: true,
		"":    true,
		"x":   true,
	} {
		if got := h.NeedsRehash(hash); got != want {
			t.Errorf("%s: got %v", hash, got)
		}
	}
}

// STD-P05, ATK-L12: bcrypt reads 72 bytes, so that a longer password gets no hash, and says so with its type, also
// where the option for hashes of other systems is on.
func TestBcrypt_STD_P05_ATK_L12_TooLong(t *testing.T) {
	t.Parallel()
	c := cheap
	c.Bcrypt, c.AllowBcryptTruncation = 10, true
	for name, h := range map[string]*password.Hasher{"strict": bcryptOnly(t), "AllowBcryptTruncation": newHasher(t, c)} {
		n := h.Observe(noWork)
		for _, pw := range []string{strings.Repeat("x", 73), strings.Repeat("x", 71) + "\u00e9", strings.Repeat("\u00e9", 37), strings.Repeat("x", password.MaxBytes)} {
			text, err := h.Hash(t.Context(), pw)
			if !errors.Is(err, password.ErrTooLong) || auth.CodeOf(err) != auth.ValidationFailed || text != "" {
				t.Errorf("%s, %d bytes: got %q, %v", name, len(pw), text, err)
			}
		}
		if n.Bcrypt.Load() != 0 {
			t.Errorf("%s: %d hashes", name, n.Bcrypt.Load())
		}
	}
	h := bcryptOnly(t)
	marks := strings.Repeat("e\u0301", 36) // 108 bytes, 72 in NFC
	text := mustHash(t, h, marks)
	if _, err := h.Verify(t.Context(), text, marks); err != nil {
		t.Errorf("72 bytes: got %v", err)
	}
	if _, err := h.Verify(t.Context(), text, marks+"x"); !errors.Is(err, password.ErrTooLong) || auth.CodeOf(err) != auth.LoginFailed {
		t.Errorf("72 bytes and one more: got %v", err)
	}
}

// STD-P06, ATK-L09, ATK-L11: what is no password is none for bcrypt either.
func TestBcrypt_STD_P06_ATK_L09_ATK_L11(t *testing.T) {
	h := bcryptOnly(t)
	n := h.Observe(noWork)
	for _, pw := range []string{"", "a\x00a", "a\xff", strings.Repeat("a", 1<<20)} {
		if _, err := h.Hash(t.Context(), pw); auth.CodeOf(err) != auth.ValidationFailed {
			t.Errorf("Hash: got %v", err)
		}
		if _, err := h.Verify(t.Context(), "", pw); auth.CodeOf(err) != auth.LoginFailed {
			t.Errorf("Verify: got %v", err)
		}
	}
	if n.Argon2.Load()+n.Bcrypt.Load() != 0 {
		t.Error("something was computed")
	}
}
