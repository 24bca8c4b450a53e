package password_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/auth/password"
)

// plain is a Scheme of the tests: what stands behind its prefix is the password. It counts.
type plain struct {
	prefix string
	memory uint32
	during func() // each Verify

	parsed, verified atomic.Int64
}

func (p *plain) Parse(hash string) (*password.Check, error) {
	p.parsed.Add(1)
	right, ok := strings.CutPrefix(hash, p.prefix)
	switch {
	case !ok:
		return nil, nil
	case right == "broken":
		return nil, fmt.Errorf("%w: no digest", auth.StoreUnavailable)
	case right == "nothing":
		return &password.Check{}, nil
	}
	return &password.Check{Memory: p.memory, Verify: func(pw []byte) bool {
		p.verified.Add(1)
		if p.during != nil {
			p.during()
		}
		match := string(pw) == right
		clear(pw) // nobody else reads it
		return match
	}}, nil
}

func withSchemes(t testing.TB, c password.Config, schemes ...password.Scheme) *password.Hasher {
	t.Helper()
	c.Schemes = schemes
	return newHasher(t, c)
}

// A hash of an application's Scheme verifies, and is replaced at the first login.
func TestScheme_Upgrade(t *testing.T) {
	t.Parallel()
	own := &plain{prefix: "plain:"}
	h := withSchemes(t, cheap, &plain{prefix: "other:"}, own)
	r := &row{hash: "  plain:caf\u00e9 "}
	for _, wrong := range []string{"cafe", "plain:caf\u00e9", "caf\u00e9 "} {
		if err := h.Upgrade(t.Context(), r.read(), wrong, r.replace); auth.CodeOf(err) != auth.LoginFailed || errors.Is(err, password.ErrHash) {
			t.Errorf("%s: got %v", wrong, err)
		}
	}
	if err := h.Upgrade(t.Context(), r.read(), "cafe\u0301", r.replace); err != nil {
		t.Errorf("got %v", err)
	}
	if r.replaced != 1 || !strings.HasPrefix(r.hash, "$argon2id$") {
		t.Errorf("replaced %d times, now %s", r.replaced, r.hash)
	}
	if err := h.Upgrade(t.Context(), r.read(), "caf\u00e9", r.replace); err != nil || r.calls != 1 {
		t.Errorf("the second login: got %v after %d calls", err, r.calls)
	}
	// What an older system hashed as it came, a Scheme sees as it came.
	if rehash, err := h.Verify(t.Context(), "plain:cafe\u0301", "cafe\u0301"); err != nil || !rehash {
		t.Errorf("NFD: got %v, %v", rehash, err)
	}
	if !h.NeedsRehash("plain:x") {
		t.Error("a hash of a Scheme is not to be replaced")
	}
}

// What the kit has hashed no Scheme can claim, with a pepper or without one. Everything else a Scheme may read in its own way:
// some systems store bcrypt of a digest as $2b$.
func TestScheme_Order(t *testing.T) {
	t.Parallel()
	all := &plain{prefix: ""}
	const foreign = "$2b$04$9kVchwBHjzabGUEACGvsaORdyvVp9ADoj4uut/9rOXyQOnvu0jqwC"
	pepper := newPepper(t, "k")
	for name, c := range map[string]password.Config{
		"argon2id": cheap,
		"bcrypt":   {Memory: cheap.Memory, Time: 3, Parallelism: 1, Bcrypt: 10},
		"pepper":   {Memory: cheap.Memory, Time: 3, Parallelism: 1, Pepper: pepper},
	} {
		h := withSchemes(t, c, all)
		text, parsed := mustHash(t, h, "right"), all.parsed.Load()
		if rehash, err := h.Verify(t.Context(), text, "right"); err != nil || rehash {
			t.Errorf("%s: got %v, %v", name, rehash, err)
		}
		if _, err := h.Verify(t.Context(), text, text); auth.CodeOf(err) != auth.LoginFailed {
			t.Errorf("%s, the Scheme's answer: got %v", name, err)
		}
		if all.parsed.Load() != parsed {
			t.Errorf("%s: the Scheme was asked for a hash of the kit", name)
		}
		_, err := h.Verify(t.Context(), foreign, foreign)
		if claimed := err == nil; claimed != (c.Bcrypt == 0) {
			t.Errorf("%s: a foreign $2b$ is claimed: %v", name, claimed)
		}
	}
	for _, text := range []string{"$pepper$v=1,k=k$argon2i$x", "$pepper$v=1,k=k", strings.Repeat("x", 257)} {
		parsed := all.parsed.Load()
		if _, err := withSchemes(t, cheap, all).Verify(t.Context(), text, text); !errors.Is(err, password.ErrHash) || all.parsed.Load() != parsed {
			t.Errorf("%.20s: got %v, asked %d times", text, err, all.parsed.Load()-parsed)
		}
	}
}

// STD-P12: what a Scheme cannot use is a failed login and the work of one, whatever code its error has.
func TestScheme_STD_P12_Refused(t *testing.T) {
	if _, err := password.New(password.Config{Schemes: []password.Scheme{nil}}); err == nil || !strings.Contains(err.Error(), "Config.Schemes") {
		t.Errorf("a nil Scheme: got %v", err)
	}
	h := withSchemes(t, cheap, &plain{prefix: "plain:"}, &plain{prefix: "dear:", memory: 256<<10 + 1})
	for hash, want := range map[string]string{
		"plain:broken": "no digest", "plain:nothing": "without Verify", "dear:x": "262145 KiB, expected 262144", "unknown:x": "of no scheme",
	} {
		n := h.Observe(noWork)
		_, err := h.Verify(t.Context(), hash, "x")
		if !errors.Is(err, password.ErrHash) || auth.CodeOf(err) != auth.LoginFailed || errors.Is(err, auth.StoreUnavailable) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, expected %q", hash, err, want)
		}
		if n.Argon2.Load() != 1 {
			t.Errorf("%s: %d hashes", hash, n.Argon2.Load())
		}
	}
}

// ATK-L20: a Scheme's memory is taken from the budget while its hash is computed.
func TestScheme_ATK_L20_Memory(t *testing.T) {
	own := &plain{prefix: "plain:", memory: 20 << 10}
	h := withSchemes(t, cheap, own)
	var most uint64
	own.during = func() {
		_, _, live, _ := h.Load()
		most = max(most, live)
	}
	if _, err := h.Verify(t.Context(), "plain:right", "right"); err != nil || most != 20<<10 {
		t.Errorf("got %v with %d KiB in use, expected %d", err, most, 20<<10)
	}
	most = 0
	if _, err := h.Verify(t.Context(), "", "right"); err == nil || most != 20<<10 {
		t.Errorf("for an unknown user: got %v with %d KiB in use, expected %d", err, most, 20<<10)
	}
	if running, waiting, live, _ := h.Load(); running+waiting > 0 || live > 0 {
		t.Errorf("left behind: %d running, %d waiting, %d KiB", running, waiting, live)
	}
}

// ATK-L02: once a hash of a Scheme was met, each failed check does its work once, and that of a new hash, whatever the account.
// Nobody gets in by the answer for another account.
func TestScheme_ATK_L02_SameWork(t *testing.T) {
	one, two := &plain{prefix: "one:"}, &plain{prefix: "two:"}
	h := withSchemes(t, cheap, one, two)
	own := mustHash(t, h, "right")
	n := h.Observe(noWork)
	if _, err := h.Verify(t.Context(), "", "wrong"); err == nil || one.verified.Load()+two.verified.Load() != 0 {
		t.Errorf("before any was met: got %v after %d and %d", err, one.verified.Load(), two.verified.Load())
	}
	for _, hash := range []string{"one:secret", "two:secret"} {
		_, _ = h.Verify(t.Context(), hash, "wrong")
	}
	live := int64(cheap.Memory) * int64(cheap.Time)
	for _, hash := range []string{"one:secret", "two:other", own, "", "!", "nonsense", "one:broken"} {
		for _, pw := range []string{"wrong", "secret"} { // "secret" is what the kept ones are of
			if strings.HasSuffix(hash, pw) {
				continue
			}
			a, b, work := one.verified.Load(), two.verified.Load(), n.Work.Load()
			if _, err := h.Verify(t.Context(), hash, pw); auth.CodeOf(err) != auth.LoginFailed {
				t.Errorf("%s: got %v", hash, err)
			}
			if one.verified.Load() != a+1 || two.verified.Load() != b+1 || n.Work.Load() != work+live {
				t.Errorf("%s: %d and %d of the schemes, %d KiB", hash, one.verified.Load()-a, two.verified.Load()-b, n.Work.Load()-work)
			}
		}
	}
	// Nobody waits for the answer of a login whose context has ended.
	ctx, cancel := context.WithCancel(t.Context())
	a := two.verified.Load()
	one.during = cancel
	if _, err := h.Verify(ctx, "one:secret", "wrong"); auth.CodeOf(err) != auth.LoginFailed || two.verified.Load() != a {
		t.Errorf("got %v, and %d of the second scheme", err, two.verified.Load()-a)
	}
}
