package password_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/auth/password"
)

// cheap is the least that New takes, so that the tests are quick.
var cheap = password.Config{Memory: 12 * 1024, Time: 3, Parallelism: 1, Slots: 2}

func newHasher(t testing.TB, c password.Config) *password.Hasher {
	t.Helper()
	h, err := password.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func mustHash(t testing.TB, h *password.Hasher, pw string) string {
	t.Helper()
	s, err := h.Hash(t.Context(), pw)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// noWork stands in for argon2 where only what is around it is tested. Nothing fits its tag.
func noWork(uint32, uint32, uint8) []byte { return nil }

// STD-P09: what is under the table of ASVS appendix C, or contradicts itself, fails at New, and the
// error says what was given and what is expected.
func TestNew_STD_P09_Refused(t *testing.T) {
	for _, c := range []struct {
		name      string
		config    password.Config
		got, want string
	}{
		{"t=1 under 46 MiB", password.Config{Memory: 47103, Time: 1}, "got 47103", "expected 47104"},
		{"t=2 under 19 MiB", password.Config{Memory: 19455, Time: 2}, "got 19455", "expected 19456"},
		{"t=3 under 12 MiB", password.Config{Memory: 12287, Time: 3}, "got 12287", "expected 12288"},
		{"t=9 under 12 MiB", password.Config{Memory: 12287, Time: 9}, "got 12287", "expected 12288"},
		{"bytes for KiB", password.Config{Memory: 64 << 20}, "got 67108864", "expected 4194304"},
		{"t=17", password.Config{Time: 17}, "got 17", "expected 16"},
		{"p=65", password.Config{Parallelism: 65}, "got 65", "expected 64"},
		{"bcrypt of cost 9", password.Config{Bcrypt: 9}, "got cost 9", "10 to 16"},
		{"bcrypt of cost 17", password.Config{Bcrypt: 17}, "got cost 17", "10 to 16"},
		{"bcrypt below 0", password.Config{Bcrypt: -1}, "got cost -1", "10 to 16"},
		{"slots below 0", password.Config{Slots: -1}, "got -1", "expected 0"},
		{"slots that overflow", password.Config{Slots: 1 << 62}, "got 4611686018427387904", "to 4096"},
		{"ceiling below own cost", password.Config{MaxMemory: 65535}, "got 65535", "expected Memory (65536)"},
		{"ceiling above 4 GiB", password.Config{MaxMemory: 4<<20 + 1}, "got 4194305", "to 4194304"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h, err := password.New(c.config)
			if err == nil || h != nil || !strings.Contains(err.Error(), c.got) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want an error with %q and %q", err, c.got, c.want)
			}
		})
	}
	for _, c := range []password.Config{
		{Memory: 46 * 1024, Time: 1}, {Memory: 19 * 1024, Time: 2}, {Memory: 12 * 1024, Time: 3}, {Memory: 512 * 1024},
	} {
		if _, err := password.New(c); err != nil {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

// STD-P09, STD-P10: the zero Config is the second recommended set of RFC 9106, in the form of argon2-cffi.
func TestHash_STD_P09_Defaults(t *testing.T) {
	t.Parallel()
	h := newHasher(t, password.Config{})
	got := mustHash(t, h, "correct horse battery staple")
	// 22 and 43 characters of base64 without padding: 16 and 32 bytes.
	want := regexp.MustCompile(`^\$argon2id\$v=19\$m=65536,t=3,p=4\$[A-Za-z0-9+/]{22}\$[A-Za-z0-9+/]{43}$`)
	if !want.MatchString(got) {
		t.Errorf("got %s", got)
	}
	if rehash, err := h.Verify(t.Context(), got, "correct horse battery staple"); err != nil || rehash {
		t.Errorf("got %v, %v for its own hash", rehash, err)
	}
}

// STD-P10: 10,000 hashes have 10,000 salts of 16 bytes.
func TestHash_STD_P10_SaltsUnique(t *testing.T) {
	h := newHasher(t, cheap)
	h.Observe(func(uint32, uint32, uint8) []byte { return make([]byte, 32) })
	h.SetCollect(func() {})
	seen := map[string]bool{}
	for range 10_000 {
		text := mustHash(t, h, "the same")
		salt, err := base64.RawStdEncoding.DecodeString(strings.Split(text, "$")[4])
		if err != nil || len(salt) != 16 || seen[string(salt)] {
			t.Fatalf("salt of %s: %d bytes, error %v, seen before: %v", text, len(salt), err, seen[string(salt)])
		}
		seen[string(salt)] = true
	}
}

// What is no password is refused before any work, at Hash with a code that blames the field and at
// Verify with the one text of a failed login, whoever the user is.
func TestInput_Refused(t *testing.T) {
	h := newHasher(t, cheap)
	text := mustHash(t, h, "a")
	n := h.Observe(nil)
	for _, c := range []struct{ name, pw string }{
		{"empty", ""},
		{"STD-P06 ATK-L11 NUL", "a\x00a"},
		{"STD-P06 ATK-L11 only NUL", "\x00"},
		{"STD-P06 ATK-L11 invalid UTF-8", "a\xff"},
		{"STD-P06 ATK-L11 half a surrogate pair", "a\xed\xa0\x80"},
		{"STD-P06 ATK-L11 overlong NUL", "a\xc0\x80"},
		{"ATK-L09 1 MiB", strings.Repeat("a", 1<<20)},
		{"ATK-L09 4,096 code points", strings.Repeat("a", 4096)},
		{"ATK-L09 one over", strings.Repeat("a", password.MaxBytes+1)},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got, err := h.Hash(t.Context(), c.pw); auth.CodeOf(err) != auth.ValidationFailed || got != "" {
				t.Errorf("Hash: got %q, %v", got, err)
			}
			for _, stored := range []string{text, "", "$2b$10$" + strings.Repeat("a", 53), "nonsense"} {
				if _, err := h.Verify(t.Context(), stored, c.pw); auth.CodeOf(err) != auth.LoginFailed {
					t.Errorf("Verify against %.7q: got %v", stored, err)
				} else if len(c.pw) > 1 && strings.Contains(err.Error(), c.pw) {
					t.Error("the error quotes the password")
				}
			}
		})
	}
	if n.Argon2.Load() != 0 || n.Bcrypt.Load() != 0 {
		t.Errorf("%d argon2 and %d bcrypt hashes, want none", n.Argon2.Load(), n.Bcrypt.Load())
	}
}

// STD-P03, ASVS V6.2.9: 64 and 128 characters of any kind are a password.
func TestInput_Accepted(t *testing.T) {
	t.Parallel()
	h := newHasher(t, cheap)
	for _, pw := range []string{strings.Repeat("a", 64), strings.Repeat("\U0001f600", 128), " ", "pass word", strings.Repeat("a", password.MaxBytes)} {
		if _, err := h.Verify(t.Context(), mustHash(t, h, pw), pw); err != nil {
			t.Errorf("%d bytes: %v", len(pw), err)
		}
	}
}

// STD-P04: a password set in one normalisation form and entered in the other verifies. ATK-L10: whatever
// NFC does not join is another password.
func TestVerify_STD_P04_ATK_L10_Forms(t *testing.T) {
	t.Parallel()
	h := newHasher(t, cheap)
	for _, c := range []struct {
		name, set, entered string
		same               bool
	}{
		{"NFD set, NFC entered", "cafe\u0301", "caf\u00e9", true},
		{"NFC set, NFD entered", "caf\u00e9", "cafe\u0301", true},
		{"Hangul", "\u1112\u1161\u11ab", "\ud55c", true},
		{"marks in another order", "a\u0323\u0307", "a\u0307\u0323", true},
		{"Angstrom sign", "\u212b", "\u00c5", true}, // canonical, not only compatible
		{"NFKC digit", "\u2460", "1", false},
		{"NFKC ligature", "\ufb01sh", "fish", false},
		{"full width", "\uff41", "a", false},
		{"zero-width joiner", "a\u200db", "ab", false},
		{"letter case", "Password", "password", false},
		{"trailing space", "password ", "password", false},
		{"Cyrillic look-alike", "p\u0430ss", "pass", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := h.Verify(t.Context(), mustHash(t, h, c.set), c.entered)
			if c.same != (err == nil) || err != nil && auth.CodeOf(err) != auth.LoginFailed {
				t.Errorf("got %v", err)
			}
		})
	}
}

// STD-P11, the part of hashing: NeedsRehash, and Verify with it, says so for each other scheme or cost.
func TestNeedsRehash_STD_P11(t *testing.T) {
	h := newHasher(t, cheap)
	own := mustHash(t, h, "password")
	for _, c := range []struct {
		name, hash string
		want       bool
	}{
		{"own", own, false},
		{"other memory", "$argon2id$v=19$m=65536,t=3,p=1$MIIRqgvgQbgj220jfp0MPA$YfwJSVjtjSU0zzV/P3S9nnQ/USre2wvJMjfCIjrTQbg", true},
		{"other time", strings.Replace(own, "t=3", "t=4", 1), true},
		{"other lanes", strings.Replace(own, "p=1", "p=2", 1), true},
		{"argon2i", strings.Replace(own, "argon2id", "argon2i", 1), true},
		{"Django's spelling of the same", "argon2" + own, true},
		{"short salt", strings.Replace(own, "$"+strings.Split(own, "$")[4], "$c29tZXNhbHQ", 1), true},
		{"short tag", own[:len(own)-21], true},
		{"bcrypt", "$2b$12$bIRGj4QPPoSUMWsJE.4Pk.T1qTpDWz7HhMnuiQhGzGinKPsx/HQdq", true},
		{"empty", "", true},
		{"no hash", "password", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := h.NeedsRehash(c.hash); got != c.want {
				t.Errorf("got %v", got)
			}
		})
	}
	dearer := newHasher(t, password.Config{Memory: 12 * 1024, Time: 4, Parallelism: 1})
	if rehash, err := dearer.Verify(t.Context(), own, "password"); err != nil || !rehash {
		t.Errorf("a hasher with t=4 and a hash with t=3: got %v, %v", rehash, err)
	}
	if rehash, err := dearer.Verify(t.Context(), own, "wrong"); err == nil || rehash {
		t.Errorf("a wrong password: got %v, %v", rehash, err)
	}
}

// STD-P12, ATK-L13: a stored hash that is malformed or dearer than the ceilings is refused before its
// parameters are used: argon2 never sees them, and little is allocated. The login fails closed, with
// the work of a wrong password.
func TestVerify_STD_P12_ATK_L13_Refused(t *testing.T) {
	const salt, tag = "MIIRqgvgQbgj220jfp0MPA", "YfwJSVjtjSU0zzV/P3S9nnQ/USre2wvJMjfCIjrTQbg"
	argon := func(costs string) string { return "$argon2id$v=19$" + costs + "$" + salt + "$" + tag }
	for _, c := range []struct{ name, hash string }{
		{"m=4 GiB", argon("m=4194304,t=3,p=4")},
		{"m=2^32-1", argon("m=4294967295,t=3,p=4")},
		{"m=2^64", argon("m=18446744073709551616,t=3,p=4")},
		{"m one over", argon("m=262145,t=3,p=4")},
		{"m under 8p", argon("m=31,t=3,p=4")},
		{"m=0", argon("m=0,t=3,p=4")},
		{"m negative", argon("m=-1,t=3,p=4")},
		{"m with a sign", argon("m=+65536,t=3,p=4")},
		{"m with a zero", argon("m=065536,t=3,p=4")},
		{"m hexadecimal", argon("m=0x10000,t=3,p=4")},
		{"m empty", argon("m=,t=3,p=4")},
		{"t=2^32-1", argon("m=65536,t=4294967295,p=4")},
		{"t one over", argon("m=65536,t=17,p=4")},
		{"t=0", argon("m=65536,t=0,p=4")},
		{"p=0", argon("m=65536,t=3,p=0")},
		{"p=255", argon("m=65536,t=3,p=255")},
		{"p=256", argon("m=65536,t=3,p=256")},
		{"p=260, 4 in a byte", argon("m=65536,t=3,p=260")},
		{"costs in another order", argon("t=3,m=65536,p=4")},
		{"a cost twice", argon("m=65536,m=8,t=3,p=4")},
		{"a key id", argon("m=65536,t=3,p=4,keyid=Zm9v")},
		{"no costs", argon("")},
		{"version 16", strings.Replace(argon("m=65536,t=3,p=4"), "v=19", "v=16", 1)},
		{"no version", strings.Replace(argon("m=65536,t=3,p=4"), "$v=19", "", 1)},
		{"argon2d", strings.Replace(argon("m=65536,t=3,p=4"), "argon2id", "argon2d", 1)},
		{"capital id", strings.Replace(argon("m=65536,t=3,p=4"), "argon2id", "Argon2id", 1)},
		{"Django, argon2d", "argon2" + strings.Replace(argon("m=65536,t=3,p=4"), "argon2id", "argon2d", 1)},
		{"Django, argon2 of no variant", "argon2" + strings.Replace(argon("m=65536,t=3,p=4"), "argon2id", "junk", 1)},
		{"Django, argon2 of an empty variant", "argon2" + strings.Replace(argon("m=65536,t=3,p=4"), "argon2id", "", 1)},
		{"Django, bcrypt 2x", "bcrypt$$2x$10$" + strings.Repeat("a", 53)},
		{"Django, bcrypt of an unknown version", "bcrypt$$foo$10$" + strings.Repeat("a", 53)},
		{"Django, bcrypt without a version", "bcrypt$$$10$" + strings.Repeat("a", 53)},
		{"Django, bcrypt behind junk", "bcrypt$junk$2b$10$" + strings.Repeat("a", 53)},
		{"Django, bcrypt_sha256 behind junk", "bcrypt_sha256$junk$2b$10$" + strings.Repeat("a", 53)},
		{"Django, bcrypt_sha256 2x", "bcrypt_sha256$$2x$10$" + strings.Repeat("a", 53)},
		{"a line break in the salt", strings.Replace(argon("m=65536,t=3,p=4"), "MIIR", "MI\nIR", 1)},
		{"padding", argon("m=65536,t=3,p=4") + "="},
		{"base64url", strings.Replace(argon("m=65536,t=3,p=4"), "/", "_", 1)},
		{"stray bits", strings.TrimSuffix(argon("m=65536,t=3,p=4"), "g") + "h"},
		{"no tag", strings.TrimSuffix(argon("m=65536,t=3,p=4"), tag)},
		{"tag of 15 bytes", strings.TrimSuffix(argon("m=65536,t=3,p=4"), tag) + tag[:20]},
		{"tag of 66 bytes", argon("m=65536,t=3,p=4") + tag + "AA"},
		{"salt of 7 bytes", strings.Replace(argon("m=65536,t=3,p=4"), salt, "MIIRqgvgQQ", 1)},
		{"salt of 66 bytes", strings.Replace(argon("m=65536,t=3,p=4"), salt, strings.Repeat("A", 88), 1)},
		{"a seventh part", argon("m=65536,t=3,p=4") + "$"},
		{"1 MiB", argon("m=65536,t=3,p=4") + strings.Repeat("A", 1<<20)},
		{"many costs", argon(strings.Repeat(",", 1<<20))},
		{"many parts", strings.Repeat("$", 1<<20)},
		{"unknown id", "$6$rounds=5000$salt$digest"},
		{"pbkdf2 without rounds", "$pbkdf2-sha256$$0ZrzXitFSGltTQnBWOsdAw$Y11AchqV4b0sUisdZd0Xr97KWoymNE0LNNrnEgY4H9M"},
		{"pbkdf2, no round", "$pbkdf2-sha256$0$0ZrzXitFSGltTQnBWOsdAw$Y11AchqV4b0sUisdZd0Xr97KWoymNE0LNNrnEgY4H9M"},
		{"pbkdf2, one round over", "$pbkdf2-sha256$2000001$0ZrzXitFSGltTQnBWOsdAw$Y11AchqV4b0sUisdZd0Xr97KWoymNE0LNNrnEgY4H9M"},
		{"pbkdf2, 2^32-1 rounds", "$pbkdf2-sha512$4294967295$0ZrzXitFSGltTQnBWOsdAw$" + strings.Repeat("A", 86)},
		{"pbkdf2, rounds with a zero", "$pbkdf2-sha256$06400$0ZrzXitFSGltTQnBWOsdAw$Y11AchqV4b0sUisdZd0Xr97KWoymNE0LNNrnEgY4H9M"},
		{"pbkdf2, rounds with a sign", "$pbkdf2-sha256$+6400$0ZrzXitFSGltTQnBWOsdAw$Y11AchqV4b0sUisdZd0Xr97KWoymNE0LNNrnEgY4H9M"},
		{"pbkdf2 in standard base64", "$pbkdf2-sha256$1000$Vyol5DynFII$+oPApHV3UT/MEOb2SwGLfM/g8c6FNjokoyX1ZjMy0xY"},
		{"pbkdf2, digest of the other hash", "$pbkdf2-sha512$6400$0ZrzXitFSGltTQnBWOsdAw$Y11AchqV4b0sUisdZd0Xr97KWoymNE0LNNrnEgY4H9M"},
		{"pbkdf2, digest of 31 bytes", "$pbkdf2-sha256$6400$0ZrzXitFSGltTQnBWOsdAw$" + strings.Repeat("A", 42)},
		{"pbkdf2, digest of 66 bytes", "$pbkdf2-sha512$6400$0ZrzXitFSGltTQnBWOsdAw$" + strings.Repeat("A", 88)},
		{"pbkdf2, no salt", "$pbkdf2-sha256$6400$$Y11AchqV4b0sUisdZd0Xr97KWoymNE0LNNrnEgY4H9M"},
		{"pbkdf2, salt of 66 bytes", "$pbkdf2-sha256$6400$" + strings.Repeat("A", 88) + "$Y11AchqV4b0sUisdZd0Xr97KWoymNE0LNNrnEgY4H9M"},
		{"white space inside", strings.Replace(argon("m=65536,t=3,p=4"), "$m", " $m", 1)},
		{"a NUL behind", argon("m=65536,t=3,p=4") + "\x00"},
		{"a space that is not ASCII behind", argon("m=65536,t=3,p=4") + "\u00a0"},
		{"two hashes", argon("m=65536,t=3,p=4") + "\n" + argon("m=65536,t=3,p=4")},
		{"pbkdf2, stray bits", "$pbkdf2-sha256$6400$0ZrzXitFSGltTQnBWOsdAw$Y11AchqV4b0sUisdZd0Xr97KWoymNE0LNNrnEgY4H9N"},
		{"pbkdf2 of SHA-1, a round over", "$pbkdf2$2000001$SCklROj9P6f0nrP2vlcK4Q$gqXuToKpJmMlHORnGUQ9ri2L.F8"},
		{"Django, a round over", "pbkdf2_sha256$2000001$salt$" + b64(32)},
		{"Django, 2^32 rounds", "pbkdf2_sha256$4294967296$salt$" + b64(32)},
		{"Django, no round", "pbkdf2_sha1$0$salt$" + b64(20)},
		{"Django, no salt", "pbkdf2_sha256$1000$$" + b64(32)},
		{"Django, salt of 65 bytes", "pbkdf2_sha256$1000$" + strings.Repeat("s", 65) + "$" + b64(32)},
		{"Django, digest of 31 bytes", "pbkdf2_sha256$1000$salt$" + b64(31)},
		{"Django, no padding", "pbkdf2_sha256$1000$salt$" + strings.TrimRight(b64(32), "=")},
		{"Django, a line break", "pbkdf2_sha256$1000$salt$" + b64(32)[:20] + "\n" + b64(32)[20:]},
		{"Django, a fifth part", "pbkdf2_sha256$1000$salt$" + b64(32) + "$"},
		{"Django, another hash", "pbkdf2_sha512$1000$salt$" + b64(64)},
		{"Django, argon2 of 4 GiB", "argon2" + argon("m=4194304,t=3,p=4")},
		{"Django, bcrypt cost 31", "bcrypt$$2b$31$" + strings.Repeat("a", 53)},
		{"Django, bcrypt_sha256 cost 17", "bcrypt_sha256$$2b$17$" + strings.Repeat("a", 53)},
		{"Django, bcrypt in bcrypt", "bcrypt$bcrypt$$2b$10$" + strings.Repeat("a", 53)},
		{"Django, bcrypt with argon2", "bcrypt" + argon("m=65536,t=3,p=4")},
		{"Django, MD5", "md5$seasalt$20165960c7b75f0c4670c4444b95825c"},
		{"Django, unsalted SHA-1", "sha1$$6367c48dd193d56ea7b0baad25b19455e529f5ee"},
		{"unsalted MD5", "5f4dcc3b5aa765d61d8327deb882cf99"},
		{"MD5-crypt", "$1$5pZSV9va$azfrPr6af3Fc7dLblQXVa0"},
		{"Django, scrypt of no power of two", "scrypt$16383$salt$8$1$" + b64(64)},
		{"Django, scrypt of one", "scrypt$1$salt$8$1$" + b64(64)},
		{"Django, scrypt of 2^32-1", "scrypt$4294967295$salt$8$1$" + b64(64)},
		{"Django, scrypt, r=0", "scrypt$16384$salt$0$1$" + b64(64)},
		{"Django, scrypt, p=65", "scrypt$16384$salt$1$65$" + b64(64)},
		{"Django, scrypt, digest of 15 bytes", "scrypt$16384$salt$8$1$" + b64(15)},
		{"scrypt of 512 MiB", "$scrypt$ln=22,r=1,p=1$" + raw64(16) + "$" + raw64(32)},
		{"scrypt, r=65", "$scrypt$ln=4,r=65,p=1$" + raw64(16) + "$" + raw64(32)},
		{"scrypt, p too high for its n", "$scrypt$ln=17,r=8,p=5$" + raw64(16) + "$" + raw64(32)},
		{"scrypt, ln=23", "$scrypt$ln=23,r=1,p=1$" + raw64(16) + "$" + raw64(32)},
		{"scrypt, ln=64", "$scrypt$ln=64,r=1,p=1$" + raw64(16) + "$" + raw64(32)},
		{"scrypt, ln=0", "$scrypt$ln=0,r=8,p=1$" + raw64(16) + "$" + raw64(32)},
		{"scrypt, two costs", "$scrypt$ln=10,r=8$" + raw64(16) + "$" + raw64(32)},
		{"sha256_crypt, 999 rounds", "$5$rounds=999$salt$" + strings.Repeat("a", 43)},
		{"sha256_crypt, a round over", "$5$rounds=1000001$salt$" + strings.Repeat("a", 43)},
		{"sha512_crypt, all rounds of its document", "$6$rounds=999999999$salt$" + strings.Repeat("a", 86)},
		{"sha256_crypt, rounds with a zero", "$5$rounds=05000$salt$" + strings.Repeat("a", 43)},
		{"sha256_crypt, salt of 17 bytes", "$5$" + strings.Repeat("a", 17) + "$" + strings.Repeat("a", 43)},
		{"sha256_crypt, rounds and no salt", "$5$rounds=5000$" + strings.Repeat("a", 43)},
		{"sha512_crypt, digest of the other hash", "$6$salt$" + strings.Repeat("a", 43)},
		{"sha256_crypt, a sixth part", "$5$rounds=5000$salt$" + strings.Repeat("a", 43) + "$"},
		{"Werkzeug, a round over", "pbkdf2:sha256:2000001$salt$" + strings.Repeat("a", 64)},
		{"Werkzeug, no rounds", "pbkdf2:sha256$salt$" + strings.Repeat("a", 64)},
		{"Werkzeug, MD5", "pbkdf2:md5:1000$salt$" + strings.Repeat("a", 32)},
		{"Werkzeug, no salt", "pbkdf2:sha256:1000$$" + strings.Repeat("a", 64)},
		{"Werkzeug, half a byte", "pbkdf2:sha256:1000$salt$" + strings.Repeat("a", 63)},
		{"Werkzeug, digest of another hash", "pbkdf2:sha1:1000$salt$" + strings.Repeat("a", 64)},
		{"Werkzeug, scrypt of 1 GiB", "scrypt:1048576:8:1$salt$" + strings.Repeat("a", 128)},
		{"Werkzeug, scrypt without p", "scrypt:32768:8$salt$" + strings.Repeat("a", 128)},
		{"Werkzeug, scrypt, digest of 65 bytes", "scrypt:1024:8:1$salt$" + strings.Repeat("a", 130)},
		{"Werkzeug, a sha256 of its own", "sha256$salt$" + strings.Repeat("a", 64)},
		{"a pepper before Django's hash", "$pepper$v=1,k=2026bcrypt$$2b$10$" + strings.Repeat("a", 53)},
		{"a pepper before nothing", "$pepper$v=1,k=2026"},
		{"a pepper where there is none", "$pepper$v=1,k=2026" + argon("m=12288,t=3,p=1")},
		{"a pepper without a name", "$pepper$v=1,k=" + argon("m=12288,t=3,p=1")},
		{"a pepper with a dot", "$pepper$v=1,k=a.b" + argon("m=12288,t=3,p=1")},
		{"a pepper with a long name", "$pepper$v=1,k=" + strings.Repeat("a", 65) + argon("m=12288,t=3,p=1")},
		{"a pepper of version 2", "$pepper$v=2,k=2026" + argon("m=12288,t=3,p=1")},
		{"a password in the clear", "hunter2 in the clear"},
		{"only a dollar", "$"},
		{"bcrypt cost 31", "$2b$31$" + strings.Repeat("a", 53)},
		{"bcrypt cost 17", "$2b$17$" + strings.Repeat("a", 53)},
		{"bcrypt cost 3", "$2b$03$" + strings.Repeat("a", 53)},
		{"bcrypt cost -1", "$2b$-1$" + strings.Repeat("a", 53)},
		{"bcrypt cost of one digit", "$2b$9$" + strings.Repeat("a", 53)},
		{"bcrypt too short", "$2b$10$" + strings.Repeat("a", 52)},
		{"bcrypt too long", "$2b$10$" + strings.Repeat("a", 54)},
		{"bcrypt with + in it", "$2b$10$" + strings.Repeat("+", 53)},
		{"bcrypt, the broken 2x", "$2x$10$" + strings.Repeat("a", 53)},
		{"bcrypt, unversioned", "$2$10$" + strings.Repeat("a", 53)},
		{"bcrypt, a later version", "$2c$10$" + strings.Repeat("a", 53)},
		{"bcrypt-sha256 version 3", "$bcrypt-sha256$v=3,t=2b,r=12$" + strings.Repeat("a", 22) + "$" + strings.Repeat("a", 31)},
		{"bcrypt-sha256 cost 31", "$bcrypt-sha256$v=2,t=2b,r=31$" + strings.Repeat("a", 22) + "$" + strings.Repeat("a", 31)},
		{"bcrypt-sha256 without cost", "$bcrypt-sha256$2b$" + strings.Repeat("a", 22) + "$" + strings.Repeat("a", 31)},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHasher(t, cheap)
			n := h.Observe(func(memory, time uint32, lanes uint8) []byte {
				if memory != cheap.Memory || time != cheap.Time || lanes != cheap.Parallelism {
					t.Errorf("argon2 was called with m=%d t=%d p=%d", memory, time, lanes)
				}
				return nil
			})
			rehash, err := h.Verify(t.Context(), c.hash, "password")
			if !errors.Is(err, password.ErrHash) || auth.CodeOf(err) != auth.LoginFailed || rehash {
				t.Errorf("got %v, %v", rehash, err)
			}
			if len(c.hash) > 1 && strings.Contains(fmt.Sprint(err), c.hash) {
				t.Error("the error quotes the stored text")
			}
			if n.Argon2.Load() != 1 || n.Bcrypt.Load() != 0 {
				t.Errorf("%d argon2 and %d bcrypt hashes, want one dummy", n.Argon2.Load(), n.Bcrypt.Load())
			}
			for i := range n.Rounds {
				if n.Rounds[i].Load()+n.Scrypt.Load() != 0 {
					t.Errorf("%d rounds of kind %d and scrypt of %d", n.Rounds[i].Load(), i, n.Scrypt.Load())
				}
			}
			if n := allocated(50, func() { _, _, _ = password.Reread(c.hash) }); n > 4096 {
				t.Errorf("parsing allocates %d bytes", n)
			}
		})
	}
}

// b64 and raw64 are n bytes in base64, with and without padding.
func b64(n int) string   { return base64.StdEncoding.EncodeToString(make([]byte, n)) }
func raw64(n int) string { return base64.RawStdEncoding.EncodeToString(make([]byte, n)) }

// allocated returns how many bytes one call of f allocates.
func allocated(runs int, f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range runs {
		f()
	}
	runtime.ReadMemStats(&after)
	return (after.TotalAlloc - before.TotalAlloc) / uint64(runs)
}

// Config.MaxMemory moves the one ceiling that an honest store may be above.
func TestVerify_MaxMemory(t *testing.T) {
	const dear = "$argon2id$v=19$m=524288,t=1,p=1$MIIRqgvgQbgj220jfp0MPA$YfwJSVjtjSU0zzV/P3S9nnQ/USre2wvJMjfCIjrTQbg"
	c := cheap
	for _, want := range []uint32{cheap.Memory, 524288} {
		h := newHasher(t, c)
		var got uint32
		h.Observe(func(memory, _ uint32, _ uint8) []byte { got = max(got, memory); return nil })
		_, err := h.Verify(t.Context(), dear, "password")
		if auth.CodeOf(err) != auth.LoginFailed || got != want {
			t.Errorf("MaxMemory %d: %v, computed with %d KiB, want %d", c.MaxMemory, err, got, want)
		}
		c.MaxMemory = 524288
	}
}

// Config.MaxMemory is the ceiling of scrypt too, and what it needs is taken from the budget.
func TestVerify_MaxMemory_Scrypt(t *testing.T) {
	const hash = "$scrypt$ln=15,r=8,p=1$qtX6/z9HqPVeK4XwvpeS0g$K9oyHs52hy7D2UZzZfIUKOUqeb28hAFIh4Anx/S4rJo" // 32 MiB
	c := cheap
	for _, c.MaxMemory = range []uint32{32 << 10, 32<<10 + 8} {
		h := newHasher(t, c)
		h.Observe(noWork)
		if _, err := h.Verify(t.Context(), hash, "password"); errors.Is(err, password.ErrHash) != (c.MaxMemory == 32<<10) {
			t.Errorf("%d KiB: got %v", c.MaxMemory, err)
		}
	}
	if _, memory, err := password.Reread(hash); err != nil || memory < 32<<10 || memory > 32<<10+8 {
		t.Errorf("it takes %d KiB from the budget, expected some 32 MiB; %v", memory, err)
	}
}

func TestVerify_ContextEnded(t *testing.T) {
	h := newHasher(t, cheap)
	n := h.Observe(noWork)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 50 {
		_, err := h.Verify(ctx, "", "password")
		if auth.CodeOf(err) != auth.Busy || !errors.Is(err, context.Canceled) || n.Argon2.Load() != 0 {
			t.Fatalf("Verify: got %v after %d hashes", err, n.Argon2.Load())
		}
	}
	if _, err := h.Hash(ctx, "password"); auth.CodeOf(err) != auth.Busy || n.Argon2.Load() != 0 {
		t.Errorf("Hash: got %v after %d hashes", err, n.Argon2.Load())
	}
}

// A guess that is not in NFC is compared twice. One that is cut short between the two has been compared, and is a failed try: as
// busy it would be given back, and guessing would be free (ATK-L08).
func TestVerify_NFD_CutShortIsNotBusy(t *testing.T) {
	h := newHasher(t, cheap)
	stored := mustHash(t, h, "right")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	n := h.Observe(func(uint32, uint32, uint8) []byte { cancel(); return make([]byte, 32) })
	if _, err := h.Verify(ctx, stored, "cafe\u0301"); auth.CodeOf(err) != auth.LoginFailed || n.Argon2.Load() != 1 {
		t.Errorf("after %d hashes: got %v, expected a failed login after one", n.Argon2.Load(), err)
	}
	if running, waiting, live, _ := h.Load(); running+waiting > 0 || live > 0 {
		t.Errorf("left behind: %d running, %d waiting, %d KiB", running, waiting, live)
	}
}

// STD-P15: a password in another form costs twice what one in NFC costs, whatever the account.
func TestVerify_STD_P15_NFD(t *testing.T) {
	h := newHasher(t, cheap)
	hashes := map[string]string{"own": mustHash(t, h, "right"), "none": "", "broken": "$argon2id$x", "bcrypt": "$2b$12$bIRGj4QPPoSUMWsJE.4Pk.T1qTpDWz7HhMnuiQhGzGinKPsx/HQdq"}
	n := h.Observe(func(uint32, uint32, uint8) []byte { return make([]byte, 32) })
	_, _ = h.Verify(t.Context(), hashes["bcrypt"], "x") // met from now on
	cost := func(hash, pw string) [2]int64 {
		argon, crypt := n.Work.Load(), n.Cost.Load()
		if _, err := h.Verify(t.Context(), hash, pw); auth.CodeOf(err) != auth.LoginFailed {
			t.Fatal(err)
		}
		return [2]int64{n.Work.Load() - argon, n.Cost.Load() - crypt}
	}
	want := cost("", "caf\u00e9")
	want[0], want[1] = 2*want[0], 2*want[1]
	for name, hash := range hashes {
		if got := cost(hash, "cafe\u0301"); got != want {
			t.Errorf("%s: %d, expected %d", name, got, want)
		}
	}
}

// White space that a CHAR column or a text file has put round a hash is no part of it: the hash verifies, and is not
// replaced at each login for its sake. Upgrade hands the text over as it stood, so that the row is found.
func TestVerify_WhiteSpace(t *testing.T) {
	t.Parallel()
	c := cheap
	c.Pepper = newPepper(t, "k")
	h := newHasher(t, c)
	const bcrypt = "$2b$04$9kVchwBHjzabGUEACGvsaORdyvVp9ADoj4uut/9rOXyQOnvu0jqwC"
	for _, stored := range []struct {
		hash   string
		rehash bool
	}{{mustHash(t, h, "correct horse battery staple"), false}, {bcrypt, true}} {
		for _, padded := range []string{stored.hash + strings.Repeat(" ", 400), "\t" + stored.hash + "\r\n", " " + stored.hash + "\v\f"} {
			if rehash, err := h.Verify(t.Context(), padded, "correct horse battery staple"); err != nil || rehash != stored.rehash {
				t.Errorf("%q: got %v, %v", padded, rehash, err)
			}
			if _, err := h.Verify(t.Context(), padded, "correct horse battery staple "); auth.CodeOf(err) != auth.LoginFailed {
				t.Errorf("white space of the password: got %v", err)
			}
		}
	}
	var old string
	err := h.Upgrade(t.Context(), bcrypt+"  ", "correct horse battery staple", func(_ context.Context, was, _ string) error { old = was; return nil })
	if err != nil || old != bcrypt+"  " {
		t.Errorf("Upgrade: replaces %q, %v", old, err)
	}
}

// Django and Unix mark with ! that a password is not to be used. That is no hash that somebody has to repair.
func TestVerify_Unusable(t *testing.T) {
	h := newHasher(t, cheap)
	n := h.Observe(noWork)
	for _, hash := range []string{"", "   ", "!", "!kXzTm3dQWVYgBdpBVYUQJDbdUA2Kd0CWqZT7ZZIJ", "!$2b$04$9kVchwBHjzabGUEACGvsaORdyvVp9ADoj4uut/9rOXyQOnvu0jqwC"} {
		before := n.Argon2.Load()
		if _, err := h.Verify(t.Context(), hash, "correct horse battery staple"); auth.CodeOf(err) != auth.LoginFailed || errors.Is(err, password.ErrHash) {
			t.Errorf("%q: got %v", hash, err)
		}
		if n.Argon2.Load() != before+1 || !h.NeedsRehash(hash) {
			t.Errorf("%q: %d hashes", hash, n.Argon2.Load()-before)
		}
	}
}
