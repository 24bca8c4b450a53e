package password_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/auth/password"
)

// STD-P15, ATK-L02: each way to fail costs one hash of the live parameters, counted: the same number
// of computations and the same work, with an error of the same code.
func TestVerify_STD_P15_ATK_L02_OneHashEach(t *testing.T) {
	h := newHasher(t, cheap)
	own := mustHash(t, h, "password")
	live := int64(cheap.Memory) * int64(cheap.Time)
	for _, c := range []struct{ name, hash string }{
		{"wrong password", own},
		{"unknown user", ""},
		{"no password set", ""},
		{"locked by a mark", "!" + own},
		{"malformed", strings.TrimSuffix(own, own[len(own)-1:])},
		{"above a ceiling", strings.Replace(own, "t=3", "t=99", 1)},
		{"argon2i of the same cost", strings.Replace(own, "argon2id", "argon2i", 1)},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := h.Observe(nil)
			_, err := h.Verify(t.Context(), c.hash, "wrong")
			if auth.CodeOf(err) != auth.LoginFailed {
				t.Errorf("got %v", err)
			}
			if n.Argon2.Load() != 1 || n.Work.Load() != live || n.Bcrypt.Load() != 0 {
				t.Errorf("%d argon2 hashes of %d KiB and %d bcrypt, want one of %d", n.Argon2.Load(), n.Work.Load(), n.Bcrypt.Load(), live)
			}
		})
	}
}

// ATK-L02, unknown against known with an old hash: a failed check of a cheaper hash is topped up to the
// live work, within half a pass.
func TestVerify_ATK_L02_OldArgon2(t *testing.T) {
	const half = int64(64*1024) / 2
	live := int64(3 * 64 * 1024)
	for _, costs := range []string{"m=512,t=2,p=2", "m=19456,t=2,p=1", "m=47104,t=1,p=1", "m=65536,t=1,p=4", "m=65536,t=2,p=4", "m=65536,t=3,p=1"} {
		t.Run(costs, func(t *testing.T) {
			h := newHasher(t, password.Config{})
			n := h.Observe(noWork)
			_, err := h.Verify(t.Context(), "$argon2id$v=19$"+costs+"$MIIRqgvgQbgj220jfp0MPA$YfwJSVjtjSU0zzV/P3S9nnQ/USre2wvJMjfCIjrTQbg", "wrong")
			if got := n.Work.Load(); auth.CodeOf(err) != auth.LoginFailed || got < live-half || got > live+half {
				t.Errorf("got %v after %d KiB, want about %d", err, got, live)
			}
		})
	}
}

// ATK-L02, bcrypt against argon2id: once a bcrypt hash was met, all that fail do the same work in both.
func TestVerify_ATK_L02_BcryptAndArgon2(t *testing.T) {
	t.Parallel()
	h := newHasher(t, cheap)
	own := mustHash(t, h, "password")
	bcrypt := func(cost string) string { return "$2b$" + cost + "$" + strings.Repeat("a", 53) }
	if _, err := h.Verify(t.Context(), bcrypt("07"), "wrong"); auth.CodeOf(err) != auth.LoginFailed {
		t.Fatal(err)
	}
	live := int64(cheap.Memory) * int64(cheap.Time)
	for _, c := range []struct{ name, hash, password string }{
		{"wrong password, argon2id", own, "wrong"},
		{"wrong password, bcrypt", bcrypt("07"), "wrong"},
		{"wrong password, bcrypt of a lower cost", bcrypt("04"), "wrong"},
		{"over 72 bytes, bcrypt", bcrypt("07"), strings.Repeat("x", 73)},
		{"over 72 bytes, argon2id", own, strings.Repeat("x", 73)},
		{"unknown user", "", "wrong"},
		{"malformed", "$2b$07$" + strings.Repeat("a", 52), "wrong"},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := h.Observe(nil)
			_, err := h.Verify(t.Context(), c.hash, c.password)
			if auth.CodeOf(err) != auth.LoginFailed {
				t.Errorf("got %v", err)
			}
			if n.Work.Load() != live || n.Cost.Load() != 1<<7 {
				t.Errorf("%d KiB and %d bcrypt rounds, want %d and %d", n.Work.Load(), n.Cost.Load(), live, 1<<7)
			}
		})
	}
	// One hash of a very high cost does not slow every other failed login down.
	n := h.Observe(noWork)
	if _, err := h.Verify(t.Context(), bcrypt("13"), "wrong"); auth.CodeOf(err) != auth.LoginFailed || n.Cost.Load() != 1<<13 {
		t.Errorf("cost 13: got %v after %d rounds", err, n.Cost.Load())
	}
	n = h.Observe(noWork)
	if _, err := h.Verify(t.Context(), "", "wrong"); auth.CodeOf(err) != auth.LoginFailed || n.Cost.Load() != 1<<12 {
		t.Errorf("after it: got %v after %d rounds, want %d", err, n.Cost.Load(), 1<<12)
	}
}

// ATK-L02, PBKDF2 against argon2id: once such hashes were met, all that fail do the same work.
func TestVerify_ATK_L02_PBKDF2(t *testing.T) {
	h := newHasher(t, cheap)
	own := mustHash(t, h, "password")
	hash256 := func(rounds string) string {
		return "$pbkdf2-sha256$" + rounds + "$" + strings.Repeat("A", 22) + "$" + strings.Repeat("A", 43)
	}
	hash512 := func(rounds string) string {
		return "$pbkdf2-sha512$" + rounds + "$" + strings.Repeat("A", 22) + "$" + strings.Repeat("A", 86)
	}
	h.Observe(noWork)
	for _, hash := range []string{hash256("29000"), hash512("25000"), hash256("100")} {
		if _, err := h.Verify(t.Context(), hash, "wrong"); auth.CodeOf(err) != auth.LoginFailed {
			t.Fatal(err)
		}
	}
	live := int64(cheap.Memory) * int64(cheap.Time)
	for name, hash := range map[string]string{
		"argon2id": own, "unknown user": "", "sha256": hash256("29000"), "sha256, fewer rounds": hash256("1"), "sha512": hash512("25000"), "malformed": hash256("0"),
	} {
		n := h.Observe(noWork)
		if _, err := h.Verify(t.Context(), hash, "wrong"); auth.CodeOf(err) != auth.LoginFailed {
			t.Errorf("%s: got %v", name, err)
		}
		if n.Work.Load() != live || n.Rounds[0].Load() != 29000 || n.Rounds[1].Load() != 25000 || n.Bcrypt.Load() != 0 {
			t.Errorf("%s: %d KiB, %d and %d rounds", name, n.Work.Load(), n.Rounds[0].Load(), n.Rounds[1].Load())
		}
	}
	// One hash of very many rounds does not slow every other failed login down.
	for _, hash := range []string{hash256("2000000"), hash512("2000000")} {
		if _, err := h.Verify(t.Context(), hash, "wrong"); auth.CodeOf(err) != auth.LoginFailed {
			t.Fatal(err)
		}
	}
	n := h.Observe(noWork)
	if _, err := h.Verify(t.Context(), "", "wrong"); auth.CodeOf(err) != auth.LoginFailed || n.Rounds[0].Load() != 1_500_000 || n.Rounds[1].Load() != 1_000_000 {
		t.Errorf("got %v after %d and %d rounds", err, n.Rounds[0].Load(), n.Rounds[1].Load())
	}
}

// ATK-L02 where new hashes are bcrypt: each way to fail costs one of them, and an argon2 hash beside, once one was met.
func TestVerify_ATK_L02_BcryptIsNew(t *testing.T) {
	c := cheap
	c.Bcrypt = 11
	h := newHasher(t, c)
	argon := "$argon2id$v=19$m=12288,t=3,p=1$MIIRqgvgQbgj220jfp0MPA$YfwJSVjtjSU0zzV/P3S9nnQ/USre2wvJMjfCIjrTQbg"
	bcrypt := func(cost string) string { return "$2b$" + cost + "$" + strings.Repeat("a", 53) }
	check := func(hash string, work int64) {
		t.Helper()
		n := h.Observe(noWork)
		if _, err := h.Verify(t.Context(), hash, "wrong"); auth.CodeOf(err) != auth.LoginFailed {
			t.Errorf("%.9q: got %v", hash, err)
		}
		if n.Work.Load() != work || n.Cost.Load() != 1<<11 {
			t.Errorf("%.9q: %d KiB and %d bcrypt rounds, want %d and %d", hash, n.Work.Load(), n.Cost.Load(), work, 1<<11)
		}
	}
	for _, hash := range []string{bcrypt("11"), "", "nonsense", bcrypt("05")} {
		check(hash, 0)
	}
	live := int64(cheap.Memory) * int64(cheap.Time)
	for _, hash := range []string{argon, bcrypt("11"), "", "nonsense", bcrypt("05"), argon} {
		check(hash, live)
	}
}

// The reasons differ for the log and are one code for the client.
func TestVerify_Reasons(t *testing.T) {
	h := newHasher(t, cheap)
	h.Observe(noWork)
	seen := map[string]bool{}
	for _, hash := range []string{"", "nonsense", "$argon2id$v=19$m=12288,t=3,p=1$MIIRqgvgQbgj220jfp0MPA$YfwJSVjtjSU0zzV/P3S9nnQ/USre2wvJMjfCIjrTQbg"} {
		_, err := h.Verify(t.Context(), hash, "wrong")
		if !errors.Is(err, auth.LoginFailed) || seen[err.Error()] {
			t.Errorf("%.9q: got %v", hash, err)
		}
		seen[err.Error()] = true
	}
}

// ATK-L02 for every scheme of older systems: once hashes of all of them were met, each failed check does the same work,
// whatever the hash, and whatever its cost below that of the others.
func TestVerify_ATK_L02_EachScheme(t *testing.T) {
	h := newHasher(t, cheap)
	a := func(n int) string { return strings.Repeat("a", n) }
	hashes := map[string]string{
		"own": mustHash(t, h, "password"), "unknown user": "", "unusable": "!", "malformed": "pbkdf2_sha256$0$salt$" + b64(32),
		"passlib pbkdf2_sha256": "$pbkdf2-sha256$29000$" + raw64(16) + "$" + raw64(32), "Django's": "pbkdf2_sha256$260000$salt$" + b64(32),
		"passlib pbkdf2_sha512": "$pbkdf2-sha512$25000$" + raw64(16) + "$" + raw64(64), "Werkzeug's": "pbkdf2:sha512:20000$salt$" + a(128),
		"passlib pbkdf2_sha1": "$pbkdf2$131000$" + raw64(16) + "$" + raw64(20), "Django's SHA-1": "pbkdf2_sha1$10000$salt$" + b64(20),
		"sha256_crypt": "$5$rounds=535000$salt$" + a(43), "sha256_crypt, 5,000 rounds": "$5$salt$" + a(43),
		"sha512_crypt": "$6$rounds=656000$salt$" + a(86), "sha512_crypt, 1,000 rounds": "$6$rounds=1000$salt$" + a(86),
		"passlib scrypt": "$scrypt$ln=16,r=8,p=1$" + raw64(16) + "$" + raw64(32), "Django's scrypt": "scrypt$16384$salt$8$1$" + b64(64),
		"scrypt of another r": "$scrypt$ln=8,r=3,p=5$" + raw64(16) + "$" + raw64(32), "Werkzeug's scrypt": "scrypt:32768:8:1$salt$" + a(128),
		"bcrypt": "$2b$12$" + a(53), "Django's bcrypt": "bcrypt$$2b$10$" + a(53), "Django's bcrypt_sha256": "bcrypt_sha256$$2b$12$" + a(53),
		"Django's argon2": "argon2$argon2id$v=19$m=12288,t=2,p=1$" + raw64(16) + "$" + raw64(32),
	}
	h.Observe(noWork)
	for _, hash := range hashes { // meet them all
		if _, err := h.Verify(t.Context(), hash, "wrong"); auth.CodeOf(err) != auth.LoginFailed {
			t.Fatal(err)
		}
	}
	live := int64(cheap.Memory) * int64(cheap.Time)
	rounds := [5]int64{260_000, 25_000, 131_000, 535_000, 656_000}
	for name, hash := range hashes {
		n := h.Observe(noWork)
		if _, err := h.Verify(t.Context(), hash, "wrong"); auth.CodeOf(err) != auth.LoginFailed {
			t.Errorf("%s: got %v", name, err)
		}
		if n.Work.Load() != live || n.Cost.Load() != 1<<12 {
			t.Errorf("%s: %d KiB, %d rounds of bcrypt", name, n.Work.Load(), n.Cost.Load())
		}
		for i, want := range rounds {
			if got := n.Rounds[i].Load(); got != want {
				t.Errorf("%s: %d rounds of kind %d, expected %d", name, got, i, want)
			}
		}
		if got := n.Scrypt.Load(); got > 1<<19 || got < 1<<19-1<<14 {
			t.Errorf("%s: scrypt of %d, expected %d within a 32nd", name, got, 1<<19)
		}
	}
}

// ATK-L02: what libraries write by default today is within the levels, so that an account that has moved in from one costs a
// failed login what an unknown user costs. Each row is a process that has met this scheme alone.
func TestVerify_ATK_L02_PresentDefaults(t *testing.T) {
	a := func(n int) string { return strings.Repeat("a", n) }
	for name, hash := range map[string]string{
		"Django 6.1": "pbkdf2_sha256$1500000$salt$" + b64(32), "Django 6.0": "pbkdf2_sha256$1200000$salt$" + b64(32),
		"Django 5.2": "pbkdf2_sha256$1000000$salt$" + b64(32), "Django 6.1, SHA-1": "pbkdf2_sha1$1500000$salt$" + b64(20),
		"Django, scrypt": "scrypt$16384$salt$8$5$" + b64(64), "Django, bcrypt": "bcrypt_sha256$$2b$12$" + a(53),
		"Werkzeug 3.1": "scrypt:32768:8:1$salt$" + a(128), "Werkzeug 3.1, SHA-256": "pbkdf2:sha256:1000000$salt$" + a(64),
		"Werkzeug 3.1, SHA-512": "pbkdf2:sha512:1000000$salt$" + a(128),
		"passlib, sha256_crypt": "$5$rounds=535000$salt$" + a(43), "passlib, sha512_crypt": "$6$rounds=656000$salt$" + a(86),
	} {
		h := newHasher(t, cheap)
		h.Observe(noWork)
		counted := map[string][]int64{}
		for _, stored := range []string{hash, ""} { // the first time is the one that meets it
			n := h.Observe(noWork)
			if _, err := h.Verify(t.Context(), stored, "wrong"); auth.CodeOf(err) != auth.LoginFailed || errors.Is(err, password.ErrHash) {
				t.Errorf("%s: got %v", name, err)
			}
			// scrypt is brought up in whole units of memory: within a 32nd.
			counted[stored] = []int64{n.Work.Load(), n.Cost.Load(), (n.Scrypt.Load() + 1<<13) >> 14}
			for i := range n.Rounds {
				counted[stored] = append(counted[stored], n.Rounds[i].Load())
			}
		}
		if !slices.Equal(counted[hash], counted[""]) {
			t.Errorf("%s: %d for an account, %d for an unknown user", name, counted[hash], counted[""])
		}
	}
}

// One dear row must not slow every other failed login down, nor make them wait for its memory.
func TestVerify_ATK_L02_OneDearRow(t *testing.T) {
	h := newHasher(t, cheap)
	h.Observe(noWork)
	for _, hash := range []string{
		"$pbkdf2$2000000$" + raw64(16) + "$" + raw64(20), "$5$rounds=1000000$salt$" + strings.Repeat("a", 43),
		"$6$rounds=1000000$salt$" + strings.Repeat("a", 86), "$scrypt$ln=18,r=7,p=2$" + raw64(16) + "$" + raw64(32),
	} {
		if _, err := h.Verify(t.Context(), hash, "wrong"); auth.CodeOf(err) != auth.LoginFailed || errors.Is(err, password.ErrHash) {
			t.Fatal(err)
		}
	}
	n := h.Observe(noWork)
	if _, err := h.Verify(t.Context(), "", "wrong"); auth.CodeOf(err) != auth.LoginFailed {
		t.Fatal(err)
	}
	if n.Rounds[2].Load() != 1_500_000 || n.Rounds[3].Load() != 535_000 || n.Rounds[4].Load() != 656_000 || n.Scrypt.Load() > 1<<20 {
		t.Errorf("SHA-1 %d, SHA-crypt %d and %d, scrypt %d", n.Rounds[2].Load(), n.Rounds[3].Load(), n.Rounds[4].Load(), n.Scrypt.Load())
	}
	if most := n.MixMemory.Load(); most > int64(cheap.Memory)+8 {
		t.Errorf("scrypt for an unknown user took %d KiB, a new hash takes %d", most, cheap.Memory)
	}
}

// ATK-L09, ATK-L13: every round of SHA-crypt hashes the password again, so that the longest would take 20 times as long as a
// short one. Over 512 bytes nothing is computed, as in libxcrypt, and the login fails, with a reason for the log.
func TestVerify_ATK_L09_SHACrypt(t *testing.T) {
	t.Parallel()
	const made = "$5$rounds=1000$PMa9sZMUOawtqtJS$P1A8.yHMnWriFpEu9B8vTewPDGbzT.wh/aQDexcskr1" // passlib's of 512 times x
	h := newHasher(t, cheap)
	if rehash, err := h.Verify(t.Context(), made, strings.Repeat("x", 512)); err != nil || !rehash {
		t.Errorf("512 bytes: got %v, %v", rehash, err)
	}
	for _, hash := range []string{made, "$6$rounds=1000000$salt$" + strings.Repeat("a", 86)} {
		_, err := h.Verify(t.Context(), hash, strings.Repeat("x", 513))
		if auth.CodeOf(err) != auth.LoginFailed || errors.Is(err, password.ErrHash) || !strings.Contains(err.Error(), "over 512 bytes") {
			t.Errorf("513 bytes: got %v", err)
		}
	}
	for _, kind := range []int{3, 4} {
		if digest := password.Derive(kind, strings.Repeat("x", 513), 1_000_000); digest != nil {
			t.Errorf("kind %d: a digest of 513 bytes was computed", kind)
		}
	}
}
