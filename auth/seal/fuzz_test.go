package seal_test

import (
	"bytes"
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/auth/seal"
)

// FuzzOpen: no text makes Open or Sealed panic; what was not sealed for the place does not open, and what was
// has one spelling.
func FuzzOpen(f *testing.F) {
	s := newSealer(f, seal.Config{Keys: newKeyring(f, seal.NewKey("k1", []byte("0123456789abcdefghijklmnopqrstuv")))})
	s.SetRandom(func(b []byte) { clear(b) })
	good, elsewhere := mustSeal(f, s, totp, "secret"), mustSeal(f, s, seal.Place{Owner: auth.Owner{Issuer: "https://other.example.com", Subject: "ann"}, Purpose: "totp"}, "secret")
	for _, text := range []string{
		good, elsewhere, good[:len(good)-1], good + "A", good + "=", good[:20] + "\n" + good[20:], "", "dws1.", "dws1..", "dws1.k1.", "dws1.k2." + good[8:],
		"dws1.k1." + strings.Repeat("A", 54), "dws1.k1." + strings.Repeat("A", 53), "dws1." + strings.Repeat("k", 65) + ".AAAA", "secret",
		"gAAAAAAdwJ6wAAECAwQFBgcICQoLDA0ODy021cpGVWKZ_eEwCGM4BLLF_5CV9dOPmrhuVUPgJobwOz7JcbmrR64jVmpU4IwqDA==",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, stale, err := s.Open(totp, text)
		if (err == nil) != (text == good) || stale || err == nil && got != "secret" || err != nil && got != "" {
			t.Errorf("%q: got %q, %v, %v", text, got, stale, err)
		}
		if err == nil && !seal.Sealed(text) {
			t.Errorf("%q opens and is not sealed", text)
		}
		if seal.Sealed(text) && strings.ContainsAny(text, " \r\n+/") {
			t.Errorf("%q is sealed", text)
		}
	})
}

// FuzzFernet: no text makes the reader of Fernet values panic, and the only one that opens is the one that was made.
func FuzzFernet(f *testing.F) {
	s := fernetSealer(f, time.Unix(1_700_000_000, 0), time.Minute, fernetSecret)
	good := makeFernet(f, 0x80, 1_700_000_000, []byte("twelve bytes\x04\x04\x04\x04"))
	for _, text := range []string{
		good, good + "=", good[:len(good)-1], good[:40] + "\r\n" + good[40:], python[0].value, "", "gAAA", "gAAAAA==",
		makeFernet(f, 0x80, 1<<63, []byte(strings.Repeat("\x10", 16))), makeFernet(f, 0x80, 0, nil), makeFernet(f, 0x81, 0, make([]byte, 16)),
		makeFernet(f, 0x80, 1_700_000_000, make([]byte, 16)), base64.URLEncoding.EncodeToString(append([]byte{0x80}, make([]byte, 72)...)),
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, stale, err := s.Open(totp, text)
		if (err == nil) != (text == good) || stale != (err == nil) || err == nil && got != "twelve bytes" || err != nil && got != "" {
			t.Errorf("%q: got %q, %v, %v", text, got, stale, err)
		}
	})
}

// FuzzFernetPadding: whatever the key's owner has made of a block, it opens as what was padded or not at all.
func FuzzFernetPadding(f *testing.F) {
	s := fernetSealer(f, time.Unix(0, 0), 0, fernetSecret)
	for _, padded := range []string{"fifteen letters\x01", strings.Repeat("\x10", 16), strings.Repeat("\x00", 16), strings.Repeat("\xff", 32), "twelve bytes\x04\x04\x03\x04", ""} {
		f.Add([]byte(padded))
	}
	f.Fuzz(func(t *testing.T, padded []byte) {
		text, _, err := s.Open(totp, makeFernet(t, 0x80, 5, padded))
		if err != nil {
			return
		}
		n := len(padded) - len(text)
		if n < 1 || n > 16 || !bytes.Equal(padded, append([]byte(text), bytes.Repeat([]byte{byte(n)}, n)...)) {
			t.Errorf("%q opens as %q", padded, text)
		}
	})
}
