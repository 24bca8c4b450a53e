package password_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"golang.org/x/crypto/argon2"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/auth/password"
	"github.com/doorward/doorward/auth/seal"
	"github.com/doorward/doorward/tokens"
)

func newSealKey(id string) seal.Key {
	b := make([]byte, 32)
	_, _ = rand.Read(b)
	return seal.NewKey(id, b)
}

func newPepper(t testing.TB, id string) password.Pepper {
	t.Helper()
	keys, err := seal.NewKeyring(newSealKey(id))
	if err != nil {
		t.Fatal(err)
	}
	return password.Pepper{Keys: keys, Name: "test"}
}

func peppered(t testing.TB, p password.Pepper) *password.Hasher {
	t.Helper()
	c := cheap
	c.Pepper = p
	return newHasher(t, c)
}

// STD-P13: a hash names its pepper and cannot be tried without it: not by a hasher that has none or another, and not by
// argon2 itself on every text that the store holds.
func TestPepper_STD_P13(t *testing.T) {
	t.Parallel()
	pepper := newPepper(t, "2026-11")
	h := peppered(t, pepper)
	text := mustHash(t, h, "correct horse")
	rest, ok := strings.CutPrefix(text, "$pepper$v=1,k=2026-11")
	if !ok || !strings.HasPrefix(rest, "$argon2id$v=19$m=12288,t=3,p=1$") {
		t.Fatalf("got %s", text)
	}
	if rehash, err := h.Verify(t.Context(), text, "correct horse"); err != nil || rehash {
		t.Errorf("got %v, %v", rehash, err)
	}
	if _, err := h.Verify(t.Context(), text, "wrong horse"); auth.CodeOf(err) != auth.LoginFailed || errors.Is(err, password.ErrHash) {
		t.Errorf("a wrong password: got %v", err)
	}
	for name, other := range map[string]*password.Hasher{
		"none":                   newHasher(t, cheap),
		"another name":           peppered(t, newPepper(t, "2025-11")),
		"another of that name":   peppered(t, newPepper(t, "2026-11")),
		"another installation's": peppered(t, password.Pepper{Keys: pepper.Keys, Name: "staging"}),
	} {
		for _, stored := range []string{text, rest} {
			n := other.Observe(nil)
			rehash, err := other.Verify(t.Context(), stored, "correct horse")
			if auth.CodeOf(err) != auth.LoginFailed || rehash {
				t.Errorf("%s: got %v, %v", name, rehash, err)
			}
			if n.Argon2.Load() != 1 {
				t.Errorf("%s: %d hashes, want one", name, n.Argon2.Load())
			}
		}
	}
	tag := argon2.IDKey([]byte("correct horse"), []byte("x"), 3, 12288, 1, 32)
	if strings.Contains(text, fmt.Sprintf("%x", tag)) {
		t.Error("the plain hash is in the store")
	}
	// An older hash without one verifies, and is to be replaced.
	plain := mustHash(t, newHasher(t, cheap), "correct horse")
	if rehash, err := h.Verify(t.Context(), plain, "correct horse"); err != nil || !rehash {
		t.Errorf("without a pepper: got %v, %v", rehash, err)
	}
}

// STD-P13: a pepper has 256 bits and a name, or there is no hasher. What is wrong with its source is no refusal of
// anybody's token.
func TestPepper_STD_P13_Refused(t *testing.T) {
	long := make([]byte, 32)
	_, _ = rand.Read(long)
	good := newPepper(t, "k").Keys
	for name, c := range map[string]struct {
		pepper password.Pepper
		want   string
	}{
		"no name of the installation": {password.Pepper{Keys: good}, "expected both or none"},
		"no keys":                     {password.Pepper{Name: "test"}, "expected both or none"},
		"128 bits":                    {password.Pepper{Keys: oneKey{"k", long[:16], nil}, Name: "test"}, "got 16 bytes, expected 32"},
		"no id":                       {password.Pepper{Keys: oneKey{"", long, nil}, Name: "test"}, "got a key without an id"},
		"an id that is no id":         {password.Pepper{Keys: oneKey{"a$b", long, nil}, Name: "test"}, `named "a$b"`},
		"a source that fails":         {password.Pepper{Keys: oneKey{"k", nil, fmt.Errorf("%w: gone", auth.TokenInvalid)}, Name: "test"}, "gone"},
		"keys that derive none":       {password.Pepper{Keys: tokens.NewKeyring(tokens.HS256("k", long)), Name: "test"}, "FromSecret"},
	} {
		t.Run(name, func(t *testing.T) {
			conf := cheap
			conf.Pepper = c.pepper
			h, err := password.New(conf)
			if err == nil || h != nil || !strings.Contains(err.Error(), c.want) || auth.CodeOf(err) != auth.Internal {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
	if _, err := seal.NewKeyring(seal.NewKey("k", long[1:])); err == nil {
		t.Error("a key of 248 bits is taken")
	}
	broken := &breaking{KeySource: good}
	h := peppered(t, password.Pepper{Keys: broken, Name: "test"})
	broken.err = auth.TokenInvalid
	if text, err := h.Hash(t.Context(), "password"); auth.CodeOf(err) != auth.Internal || text != "" {
		t.Errorf("Hash without its pepper: got %q, %v", text, err)
	}
}

// oneKey is a KeySource of one answer.
type oneKey struct {
	id  string
	key []byte
	err error
}

func (o oneKey) Derive(string, string, string) (string, []byte, error) { return o.id, o.key, o.err }

// breaking is a KeySource that fails from some time on.
type breaking struct {
	password.KeySource
	err error
}

func (b *breaking) Derive(id, salt, purpose string) (string, []byte, error) {
	if b.err != nil {
		return "", nil, b.err
	}
	return b.KeySource.Derive(id, salt, purpose)
}

// STD-P13: another key is made current, hashes follow at the next login, and without the old one those that did not
// fail closed, as a failed login.
func TestPepper_STD_P13_RotatesAtLogin(t *testing.T) {
	t.Parallel()
	old, next := newSealKey("2025"), newSealKey("2026")
	keys, err := seal.NewKeyring(old)
	if err != nil {
		t.Fatal(err)
	}
	h := peppered(t, password.Pepper{Keys: keys, Name: "test"})
	stored := map[string]string{"ann": mustHash(t, h, "ann's password"), "bob": mustHash(t, h, "bob's password")}
	if err := keys.Replace(next, old); err != nil {
		t.Fatal(err)
	}
	login := func(user, pw string) error {
		return h.Upgrade(t.Context(), stored[user], pw, func(_ context.Context, was, fresh string) error {
			if stored[user] == was {
				stored[user] = fresh
			}
			return nil
		})
	}
	if err := login("ann", "ann's password"); err != nil || !strings.HasPrefix(stored["ann"], "$pepper$v=1,k=2026$") {
		t.Errorf("got %s, %v", stored["ann"], err)
	}
	if err := keys.Replace(next); err != nil {
		t.Fatal(err)
	}
	if err := login("ann", "ann's password"); err != nil {
		t.Errorf("got %v", err)
	}
	if err := login("bob", "bob's password"); !errors.Is(err, password.ErrHash) || auth.CodeOf(err) != auth.LoginFailed {
		t.Errorf("got %v", err)
	}
	if !h.NeedsRehash(stored["bob"]) || h.NeedsRehash(stored["ann"]) {
		t.Error("NeedsRehash does not tell them apart")
	}
}

// ATK-L12: with a pepper bcrypt gets a MAC in base64, so that every byte of a password counts, at any length; the form
// is versioned.
func TestPepper_ATK_L12_Bcrypt(t *testing.T) {
	t.Parallel()
	c := cheap
	c.Bcrypt, c.Pepper = 10, newPepper(t, "k")
	h := newHasher(t, c)
	long := strings.Repeat("x", 100)
	text := mustHash(t, h, long)
	if !strings.HasPrefix(text, "$pepper$v=1,k=k$2b$10$") {
		t.Errorf("got %s", text)
	}
	if rehash, err := h.Verify(t.Context(), text, long); err != nil || rehash {
		t.Errorf("got %v, %v", rehash, err)
	}
	for _, other := range []string{long + "x", long[:72]} {
		if _, err := h.Verify(t.Context(), text, other); auth.CodeOf(err) != auth.LoginFailed || errors.Is(err, password.ErrTooLong) {
			t.Errorf("%d bytes: got %v", len(other), err)
		}
	}
	h.Observe(noWork)
	for _, stored := range []string{
		strings.Replace(text, "v=1", "v=2", 1), strings.Replace(text, "k=k", "k=", 1), text + text,
		"$pepper$v=1,k=k" + text,
		"$pepper$v=1,k=k$bcrypt-sha256$v=2,t=2b,r=4$lJSkGZiS6C3THm/zaCRaWO$8JmMBa1fH2ifw.M7qh6f2XfWXwoemvC",
		"$pepper$v=1,k=k$pbkdf2-sha256$6400$0ZrzXitFSGltTQnBWOsdAw$Y11AchqV4b0sUisdZd0Xr97KWoymNE0LNNrnEgY4H9M",
		"$pepper$v=1,k=k$argon2i$v=19$m=12288,t=2,p=2$eG9tjdEa43yPcc55TwlhTA$dGHwqVc6G6oLZTBNDeZJIg",
	} {
		if _, err := h.Verify(t.Context(), stored, long); !errors.Is(err, password.ErrHash) {
			t.Errorf("%s: got %v", stored, err)
		}
	}
}

// STD-V07: nothing that holds a pepper shows it.
func TestPepper_STD_V07_Masks(t *testing.T) {
	key := []byte("a key of thirty-two letters, yes")
	p := password.Pepper{Keys: oneKey{"k", key, nil}, Name: "test"}
	c := cheap
	c.Pepper = p
	h := newHasher(t, c)
	var log bytes.Buffer
	for name, v := range map[string]any{"Pepper": p, "*Pepper": &p, "Config": c, "Hasher": h} {
		slog.New(slog.NewTextHandler(&log, nil)).Info("x", "v", v)
		text, _ := json.Marshal(v)
		shown := string(text) + log.String()
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			shown += fmt.Sprintf(verb, v)
		}
		for _, leak := range []string{string(key), fmt.Sprintf("%x", key), strings.Trim(fmt.Sprint(key[:9]), "[]"), strings.Trim(fmt.Sprintf("%#v", key[:5]), "[]byte{}")} {
			if strings.Contains(shown, leak) {
				t.Errorf("%s shows the key: %s", name, shown)
			}
		}
	}
	if got := fmt.Sprint(newHasher(t, cheap), bcryptOnly(t)); got != "Hasher[argon2id m=12288 t=3 p=1] Hasher[bcrypt r=10]" {
		t.Errorf("got %s", got)
	}
}
