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
		"bcrypt$" + text:        true, // Django's
		"bcrypt_sha256$" + text: true,
		argon:                   true,
		"":                      true,
		"x":                     true,
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

// What older systems made of passwords over 72 bytes: password.encode()[:72].decode(errors="ignore") and bcrypt, by
// Python's bcrypt 3.2.
var dropped = []struct{ name, password, hash string }{
	{"U-19, 71 bytes and half a character of two", strings.Repeat("a", 71) + "\u00e9 and more", "$2b$04$F0eIl2vO0.wOvAff139SWObAVwP9GUmXYB1bHYTa/kWr8uZFCoY7G"},
	{"one byte of three", strings.Repeat("a", 71) + "\u5bc6x", "$2b$04$5KMTXP7SmT8VHhAfPwrKF.ZJtTeZuOtVxgwb4FOPJ8zfG2tt0eI92"},
	{"three bytes of four", strings.Repeat("a", 69) + "\U0001f511x", "$2b$04$NM0GIsAeCrDYR2U5fZTodeAE/NADDDHEgEcEKjs6kEC/XCy2E.0nC"},
	{"one byte of four", strings.Repeat("\U0001f511", 17) + "abc\U0001f511\U0001f511", "$2b$04$qxvfE5cRe7wN7I5KfP.8KeylISZz89I/QABdANVLFmUTxpZbce12i"},
	{"no half character: 24 of three", strings.Repeat("\u5bc6\u7801", 20), "$2b$04$LqCB5msND1oQONoM4r.QiOM5SEHd1flBcKXsiBdNfJ2WCiXxZw3la"},
	{"NFD, as it was sent", strings.Repeat("cafe\u0301 ", 20) + "a", "$2b$04$Grsoy.JozD4WoagmR5NRd.Gpb9pcq8pG3HQNC0g3RqeI6qynwbQ4m"},
}

func cutting(t testing.TB) *password.Hasher {
	c := cheap
	c.AllowBcryptTruncation = true
	return newHasher(t, c)
}

// U-19: a password whose 72nd byte is inside a character opens the hash of a system that dropped the half character, and
// that of one that kept it, whatever the script and whichever Unicode form it came in.
func TestVerify_U_19_HalfCharacter(t *testing.T) {
	t.Parallel()
	loose, strict := cutting(t), newHasher(t, cheap)
	for _, d := range dropped {
		if rehash, err := loose.Verify(t.Context(), d.hash, d.password); err != nil || !rehash {
			t.Errorf("%s: got %v, %v", d.name, rehash, err)
		}
		if _, err := strict.Verify(t.Context(), d.hash, d.password); !errors.Is(err, password.ErrTooLong) || auth.CodeOf(err) != auth.LoginFailed {
			t.Errorf("%s, without AllowBcryptTruncation: got %v", d.name, err)
		}
	}
	for _, char := range []string{"\u00e9", "\u0416", "\u5bc6", "\ud55c", "\U0001f511"} { // é, Ж, 密, 한, a key
		for before := 72 - len(char); before <= 72; before++ {
			pw := strings.Repeat("x", before) + strings.Repeat(char, 3)
			kept := pw[:72]
			for _, older := range []string{kept, strings.ToValidUTF8(kept, "")} {
				hash, err := bcrypt.GenerateFromPassword([]byte(older), bcrypt.MinCost)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := loose.Verify(t.Context(), string(hash), pw); err != nil {
					t.Errorf("%d bytes and %s, hashed as %d: got %v", before, char, len(older), err)
				}
			}
		}
	}
	// A mark that NFC joins to its letter: byte 72 of what was sent is inside the mark, byte 72 of NFC is not.
	sent := strings.Repeat("x", 70) + "e\u0301" + "yz"
	hash, err := bcrypt.GenerateFromPassword([]byte(sent[:71]), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := loose.Verify(t.Context(), string(hash), sent); err != nil {
		t.Errorf("NFD: got %v", err)
	}
}

// ATK-L12, U-19: what is dropped is half a character of a password that goes on after 72 bytes, and nothing else: not a
// whole character, not for another scheme, and not from a password that bcrypt reads.
func TestVerify_ATK_L12_U_19_NothingElseIsDropped(t *testing.T) {
	t.Parallel()
	h := cutting(t)
	crypt := func(pw string) string {
		hash, err := bcrypt.GenerateFromPassword([]byte(pw), bcrypt.MinCost)
		if err != nil {
			t.Fatal(err)
		}
		return string(hash)
	}
	first := strings.Repeat("a", 71)
	tooLong := first + "\u00e9 and more"
	for name, c := range map[string]struct{ hash, password string }{
		"a whole character":                  {crypt(first[:70]), tooLong},
		"a character that ends with byte 72": {crypt(first[:70]), first[:70] + "\u00e9 and more"},
		"another character than the half":    {crypt(first + "\xc4"), tooLong},
		"less than 73 bytes":                 {crypt(first), first + "x"},
		"72 bytes with a character at last":  {crypt(first[:70]), first[:70] + "\u00e9"},
		"argon2id":                           {mustHash(t, h, first), tooLong},
		"argon2id of 72 bytes":               {mustHash(t, h, first+"x"), first + "xy"},
		"a pepper":                           {mustHash(t, peppered(t, newPepper(t, "k")), first), tooLong},
		"bcrypt_sha256":                      {"$bcrypt-sha256$v=2,t=2b,r=4$lJSkGZiS6C3THm/zaCRaWO$8JmMBa1fH2ifw.M7qh6f2XfWXwoemvC", "correct horse battery staple" + strings.Repeat("\u00e9", 40)},
		"a password that is not the one":     {crypt(first), "b" + tooLong[1:]},
	} {
		if _, err := h.Verify(t.Context(), c.hash, c.password); auth.CodeOf(err) != auth.LoginFailed {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// ATK-L02, STD-P15, U-19: a password with half a character at byte 72 is compared twice. It costs the same for a bcrypt
// hash, for any other hash, with a pepper, and for nobody.
func TestVerify_ATK_L02_U_19_SameWork(t *testing.T) {
	c := cheap
	c.AllowBcryptTruncation, c.Pepper = true, newPepper(t, "k")
	h := newHasher(t, c)
	hashes := map[string]string{
		"own, with a pepper": mustHash(t, h, "right"),
		"nobody":             "",
		"broken":             "$argon2id$x",
		"bcrypt":             "$2b$07$" + strings.Repeat("a", 53),
		"bcrypt, cheaper":    "$2b$05$" + strings.Repeat("a", 53),
		"bcrypt_sha256":      "$bcrypt-sha256$v=2,t=2b,r=7$" + strings.Repeat("a", 22) + "$" + strings.Repeat("a", 31),
		"argon2id":           mustHash(t, newHasher(t, cheap), "right"),
	}
	c.Bcrypt = 10
	old := mustHash(t, newHasher(t, c), "right")
	hashes["bcrypt with a pepper, cheaper"] = strings.Replace(old, "$2b$10$", "$2b$06$", 1)
	n := h.Observe(noWork)
	_, _ = h.Verify(t.Context(), hashes["bcrypt"], "x") // met from now on
	live := int64(cheap.Memory) * int64(cheap.Time)
	for name, hash := range hashes {
		for pw, times := range map[string]int64{
			strings.Repeat("a", 71) + "\u00e9 more":            2,
			strings.Repeat("a", 72) + "\u00e9 more":            1,
			"short":                                            1,
			strings.Repeat("a", 70) + "e\u0301 more":           2, // NFC ends with byte 72, and what was sent does not: 1 + 2
			strings.Repeat("\U0001f511", 17) + "abc\U0001f511": 2,
		} {
			argon := int64(1)
			if strings.Contains(pw, "\u0301") {
				times, argon = 3, 2
			}
			work, cost := n.Work.Load(), n.Cost.Load()
			if _, err := h.Verify(t.Context(), hash, pw); auth.CodeOf(err) != auth.LoginFailed {
				t.Errorf("%s: got %v", name, err)
			}
			work, cost = n.Work.Load()-work, n.Cost.Load()-cost
			if work != argon*live || cost != times<<7 {
				t.Errorf("%s, %d bytes: %d KiB and %d rounds, expected %d and %d", name, len(pw), work, cost, argon*live, times<<7)
			}
		}
	}
}
