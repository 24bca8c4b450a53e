package seal_test

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/auth/seal"
	"github.com/doorward/doorward/tokens"
)

const issuer = "https://app.example.com"

// ann is whose most of it is.
var ann = auth.Owner{Issuer: issuer, Subject: "ann"}

// totp is where most tests put what they seal.
var totp = seal.Place{Owner: ann, Purpose: "totp"}

// newKey makes a key of random bytes that has this name.
func newKey(id string) seal.Key {
	b := make([]byte, 32)
	_, _ = rand.Read(b)
	return seal.NewKey(id, b)
}

func newKeyring(t testing.TB, current seal.Key, accept ...seal.Key) *seal.Keyring {
	t.Helper()
	k, err := seal.NewKeyring(current, accept...)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func newSealer(t testing.TB, c seal.Config) *seal.Sealer {
	t.Helper()
	if c.Issuer == "" {
		c.Issuer = issuer
	}
	s, err := seal.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func mustSeal(t testing.TB, s *seal.Sealer, at seal.Place, text string) string {
	t.Helper()
	v, err := s.Seal(at, text)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// opens fails when v does not open as want at the place.
func opens(t testing.TB, s *seal.Sealer, at seal.Place, v, want string) {
	t.Helper()
	if text, _, err := s.Open(at, v); err != nil || text != want {
		t.Errorf("got %q, %v, want %q", text, err, want)
	}
}

// shut fails when v opens at the place, or when the error is of another kind than want or has a code.
func shut(t testing.TB, s *seal.Sealer, at seal.Place, v string, want error) {
	t.Helper()
	text, stale, err := s.Open(at, v)
	if !errors.Is(err, want) || text != "" || stale {
		t.Errorf("got %q, %v, %v, want %v", text, stale, err, want)
	}
	if auth.CodeOf(err) != auth.Internal {
		t.Errorf("%v has the code %s: a client would be blamed", err, auth.CodeOf(err))
	}
	if fresh, changed, err := s.Reseal(at, v); !errors.Is(err, want) || fresh != "" || changed {
		t.Errorf("Reseal: got %q, %v, %v", fresh, changed, err)
	}
}

func TestSeal(t *testing.T) {
	s := newSealer(t, seal.Config{Keys: newKeyring(t, newKey("2026-11"))})
	for _, text := range []string{"", "a", "JBSWY3DPEHPK3PXP", "\x00\xff\r\n", "ключ – 鍵", strings.Repeat("x", seal.MaxBytes)} {
		v := mustSeal(t, s, totp, text)
		if !strings.HasPrefix(v, "dws1.2026-11.") || !seal.Sealed(v) {
			t.Errorf("got %.40s", v)
		}
		text2, stale, err := s.Open(totp, v)
		if err != nil || stale || text2 != text {
			t.Errorf("got %.20q, %v, %v", text2, stale, err)
		}
		if again := mustSeal(t, s, totp, text); again == v {
			t.Error("the same text gives the same value twice")
		}
		if fresh, changed, err := s.Reseal(totp, v); fresh != v || changed || err != nil {
			t.Errorf("Reseal of a current value: got %v, %v", changed, err)
		}
	}
	if v, err := s.Seal(totp, strings.Repeat("x", seal.MaxBytes+1)); err == nil || v != "" {
		t.Error("a text over MaxBytes is sealed")
	}
}

// STD-V01: of a million nonces under one key none comes twice, and one has 192 bits, so that random ones cannot
// meet however long a key serves (96 bits are good for 2^32 values).
func TestSeal_STD_V01_NoncesUnique(t *testing.T) {
	const n, sealed = 1_000_000, 10_000
	s := newSealer(t, seal.Config{Keys: newKeyring(t, newKey("k"))})
	seen := make(map[[24]byte]struct{}, n)
	for range sealed {
		seen[seal.NonceOf(mustSeal(t, s, totp, "the same"))] = struct{}{}
	}
	if len(seen) != sealed {
		t.Fatalf("%d nonces in %d values", len(seen), sealed)
	}
	for next := s.Nonces(totp, "the same"); len(seen) < n; {
		nonce, before := next(), len(seen)
		if seen[nonce] = struct{}{}; len(seen) == before {
			t.Fatalf("%x came before", nonce)
		}
	}
	// They are those that Seal takes.
	s.SetRandom(func(b []byte) { clear(b) })
	if got := seal.NonceOf(mustSeal(t, s, totp, "the same")); got != s.Nonces(totp, "the same")() {
		t.Errorf("Seal takes another nonce: %x", got)
	}
}

// ATK-X05: a process that was restored from a snapshot, or runs twice after a fork, gets random bits that were used
// before. Two messages have two nonces all the same; only the same text for the same place is the same value.
func TestSeal_ATK_X05_RandomBitsRepeat(t *testing.T) {
	keys := newKeyring(t, newKey("k"))
	restored := func() *seal.Sealer {
		s := newSealer(t, seal.Config{Keys: keys})
		s.SetRandom(func(b []byte) { clear(b) })
		return s
	}
	seen := map[[24]byte]string{}
	for _, at := range []seal.Place{
		totp,
		{Owner: auth.Owner{Issuer: issuer, Subject: "bob"}, Purpose: "totp"},
		{Owner: ann, Purpose: "github"},
		{Owner: auth.Owner{Issuer: "https://other.example.com", Subject: "ann"}, Purpose: "totp"},
		{Owner: ann, Purpose: "totp", Version: 1},
	} {
		for _, text := range []string{"", "first", "second", strings.Repeat("long", 1000)} {
			a, b := mustSeal(t, restored(), at, text), mustSeal(t, restored(), at, text)
			if a != b {
				t.Error("the random bits do not repeat: this test shows nothing")
			}
			message := fmt.Sprintf("%.10q at %+v", text, at)
			if other, taken := seen[seal.NonceOf(a)]; taken {
				t.Errorf("%s and %s share a nonce", message, other)
			}
			seen[seal.NonceOf(a)] = message
			opens(t, restored(), at, a, text)
		}
	}
	// A map's entries are messages of their own.
	m, err := restored().SealMap(totp, map[string]string{"a": "first", "b": "first"})
	if err != nil || seal.NonceOf(m["a"]) == seal.NonceOf(m["b"]) || seen[seal.NonceOf(m["a"])] != "" {
		t.Errorf("entries share a nonce: %v, %v", m, err)
	}
}

// STD-V02, ATK-X05: a value opens in its own place alone, whichever part of the place differs, the issuer of a
// subject included, also when the parts written one behind the other are the same bytes.
func TestOpen_STD_V02_ATK_X05_Moved(t *testing.T) {
	s := newSealer(t, seal.Config{Keys: newKeyring(t, newKey("k"))})
	home := seal.Place{Owner: ann, Purpose: "github refresh", Version: 7}
	v := mustSeal(t, s, home, "secret")
	opens(t, s, home, v, "secret")
	for name, at := range map[string]seal.Place{
		"another user":      {Owner: auth.Owner{Issuer: issuer, Subject: "bob"}, Purpose: "github refresh", Version: 7},
		"another issuer":    {Owner: auth.Owner{Issuer: "https://other.example.com", Subject: "ann"}, Purpose: "github refresh", Version: 7},
		"another provider":  {Owner: ann, Purpose: "google refresh", Version: 7},
		"another column":    {Owner: ann, Purpose: "github access", Version: 7},
		"letter case":       {Owner: auth.Owner{Issuer: issuer, Subject: "Ann"}, Purpose: "github refresh", Version: 7},
		"a later row":       {Owner: ann, Purpose: "github refresh", Version: 8},
		"an earlier row":    {Owner: ann, Purpose: "github refresh", Version: 6},
		"issuer in subject": {Owner: auth.Owner{Issuer: "h", Subject: issuer[1:] + "ann"}, Purpose: "github refresh", Version: 7},
		"subject in issuer": {Owner: auth.Owner{Issuer: issuer + "a", Subject: "nn"}, Purpose: "github refresh", Version: 7},
		"a length in text":  {Owner: auth.Owner{Issuer: issuer + "\x03ann", Subject: "github refresh"}, Purpose: "\x0egithub refresh", Version: 7},
	} {
		t.Run(name, func(t *testing.T) { shut(t, s, at, v, seal.ErrOpen) })
	}
}

// ATK-X05, old version put back: where the row's counter is bound, the value of yesterday does not open today.
func TestOpen_ATK_X05_PutBack(t *testing.T) {
	s := newSealer(t, seal.Config{Keys: newKeyring(t, newKey("k"))})
	at := totp
	at.Version = 1
	old := mustSeal(t, s, at, "seed of the lost phone")
	at.Version = 2
	current := mustSeal(t, s, at, "seed of the new phone")
	opens(t, s, at, current, "seed of the new phone")
	shut(t, s, at, old, seal.ErrOpen)
}

// STD-V02, ATK-X05: every bit of a value counts, and none can be added or left out.
func TestOpen_STD_V02_ATK_X05_Changed(t *testing.T) {
	keys := newKeyring(t, newKey("k1"), newKey("k2"))
	s := newSealer(t, seal.Config{Keys: keys})
	v := mustSeal(t, s, totp, "a secret of some length")
	head, body := v[:len("dws1.k1.")], v[len("dws1.k1."):]
	raw, err := base64.RawURLEncoding.DecodeString(body)
	if err != nil {
		t.Fatal(err)
	}
	for i := range len(raw) * 8 {
		b := bytes.Clone(raw)
		b[i/8] ^= 1 << (i % 8)
		shut(t, s, totp, head+base64.RawURLEncoding.EncodeToString(b), seal.ErrOpen)
	}
	for n := range raw {
		shut(t, s, totp, head+base64.RawURLEncoding.EncodeToString(raw[:n]), seal.ErrOpen)
	}
	for name, c := range map[string]struct {
		text string
		want error
	}{
		"a byte behind":        {head + base64.RawURLEncoding.EncodeToString(append(bytes.Clone(raw), 0)), seal.ErrOpen},
		"twice":                {v + v, seal.ErrOpen},
		"another known key id": {"dws1.k2." + body, seal.ErrOpen},
		"an unknown key id":    {"dws1.k3." + body, seal.ErrKey},
		"no key id":            {"dws1.." + body, seal.ErrOpen},
		"key id with a dot":    {"dws1.k.1." + body, seal.ErrOpen},
		"key id of 65":         {"dws1." + strings.Repeat("k", 65) + "." + body, seal.ErrOpen},
		"no dot":               {"dws1.k1" + body, seal.ErrOpen},
		"a later format":       {"dws2.k1." + body, seal.ErrOpen},
		"an earlier format":    {"dws0.k1." + body, seal.ErrOpen},
		"no format":            {"k1." + body, seal.ErrOpen},
		"capitals":             {"DWS1.k1." + body, seal.ErrOpen},
		"only the body":        {body, seal.ErrOpen},
		"the text itself":      {"a secret of some length", seal.ErrOpen},
		"nothing":              {"", seal.ErrOpen},
		"over the limit":       {head + strings.Repeat("A", 2*seal.MaxBytes), seal.ErrOpen},
	} {
		t.Run(name, func(t *testing.T) { shut(t, s, totp, c.text, c.want) })
	}
}

// ATK-X05, key id changed: two names of the same bytes are two keys.
func TestOpen_ATK_X05_OneKeyTwoNames(t *testing.T) {
	b := make([]byte, 32)
	_, _ = rand.Read(b)
	s := newSealer(t, seal.Config{Keys: newKeyring(t, seal.NewKey("k1", b), seal.NewKey("k2", b))})
	v := mustSeal(t, s, totp, "secret")
	shut(t, s, totp, strings.Replace(v, ".k1.", ".k2.", 1), seal.ErrOpen)
}

// One value has one spelling: what a search for a value in a dump or a log does not find is not there.
func TestOpen_OneSpelling(t *testing.T) {
	s := newSealer(t, seal.Config{Keys: newKeyring(t, newKey("k"))})
	for pad := range 3 {
		v := mustSeal(t, s, totp, strings.Repeat("x", 20+pad))
		opens(t, s, totp, v, strings.Repeat("x", 20+pad))
		for _, other := range []string{
			v + "=", v + "==", v + "\n", "\n" + v, " " + v, v + ".",
			v[:40] + "\n" + v[40:], v[:40] + "\r" + v[40:], v[:40] + "=" + v[40:],
			strings.ReplaceAll(strings.ReplaceAll(v, "-", "+"), "_", "/") + "+",
		} {
			shut(t, s, totp, other, seal.ErrOpen)
			if seal.Sealed(other) {
				t.Errorf("Sealed says yes to %q", other)
			}
		}
		for _, c := range "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_" {
			if other := v[:len(v)-1] + string(c); other != v {
				shut(t, s, totp, other, seal.ErrOpen)
			}
		}
	}
}

// Two installations with one secret are two.
func TestOpen_OtherIssuer(t *testing.T) {
	keys := tokens.NewKeyring(tokens.FromSecret(secret(t)))
	staging := newSealer(t, seal.Config{Keys: keys, Issuer: "https://staging.example.com"})
	production := newSealer(t, seal.Config{Keys: keys})
	shut(t, production, totp, mustSeal(t, staging, totp, "secret"), seal.ErrOpen)
}

func secret(t testing.TB) []byte {
	t.Helper()
	b := make([]byte, 32)
	_, _ = rand.Read(b)
	return b
}

// The kit's one secret serves, under a label of its own, and follows its rotation; that a key is unknown is no
// matter of the client's token.
func TestKeys_OfTheOneSecret(t *testing.T) {
	old, next := tokens.FromSecret(secret(t)), tokens.FromSecret(secret(t))
	keys := tokens.NewKeyring(old)
	s := newSealer(t, seal.Config{Keys: keys})
	v := mustSeal(t, s, totp, "secret")
	if err := keys.Replace(next, old); err != nil {
		t.Fatal(err)
	}
	if text, stale, err := s.Open(totp, v); text != "secret" || !stale || err != nil {
		t.Errorf("got %q, %v, %v", text, stale, err)
	}
	fresh, changed, err := s.Reseal(totp, v)
	if err != nil || !changed {
		t.Fatalf("got %v, %v", changed, err)
	}
	if err := keys.Replace(next); err != nil {
		t.Fatal(err)
	}
	opens(t, s, totp, fresh, "secret")
	shut(t, s, totp, v, seal.ErrKey)
}

// STD-V04: what is stored shows nothing of the secret, in no encoding, and without the key it does not open.
func TestDump_STD_V04(t *testing.T) {
	s := newSealer(t, seal.Config{Keys: newKeyring(t, newKey("k"))})
	secrets := []string{"JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP", "gho_16C7e42F292c6912E7710c838347Ae178B4a", "1//0gFd-refresh"}
	var dump strings.Builder
	var values []string
	for _, text := range secrets {
		v := mustSeal(t, s, totp, text)
		m, err := s.SealMap(totp, map[string]string{"refresh_token": text})
		if err != nil {
			t.Fatal(err)
		}
		row, _ := json.Marshal(m)
		fmt.Fprintf(&dump, "%s\t%s\n", v, row)
		values = append(values, v)
	}
	for _, text := range secrets {
		for _, shown := range []string{
			text, text[4:14], hex.EncodeToString([]byte(text)), base64.StdEncoding.EncodeToString([]byte(text)),
			base64.RawURLEncoding.EncodeToString([]byte(text))[:12],
		} {
			if strings.Contains(dump.String(), shown) {
				t.Errorf("%s can be read in the dump", shown)
			}
		}
	}
	for _, v := range values {
		raw, _ := base64.RawURLEncoding.DecodeString(v[strings.LastIndexByte(v, '.')+1:])
		for _, text := range secrets {
			if bytes.Contains(raw, []byte(text[4:14])) {
				t.Errorf("%s can be read in %s", text, v)
			}
		}
		// Whoever has the dump has the names of the keys, and no key.
		shut(t, newSealer(t, seal.Config{Keys: newKeyring(t, newKey("k"))}), totp, v, seal.ErrOpen)
	}
}
