package seal_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/auth/seal"
	"github.com/doorward/doorward/tokens"
)

func TestNew_Refused(t *testing.T) {
	keys := newKeyring(t, newKey("k"))
	fernet, err := seal.ParseFernetKey("cw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e4=")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		config seal.Config
		want   string
	}{
		"no keys":             {seal.Config{Issuer: issuer}, "Config.Keys: got nil"},
		"no issuer":           {seal.Config{Keys: keys}, "Config.Issuer: got \"\""},
		"a zero ring":         {seal.Config{Keys: new(seal.Keyring), Issuer: issuer}, "make it with NewKeyring"},
		"a nil ring":          {seal.Config{Keys: (*seal.Keyring)(nil), Issuer: issuer}, "make it with NewKeyring"},
		"a source that fails": {seal.Config{Keys: oneKey{"k", secret(t), errors.New("no HSM")}, Issuer: issuer}, "no HSM"},
		"a short key":         {seal.Config{Keys: oneKey{"k", make([]byte, 16), nil}, Issuer: issuer}, "got 16 bytes, expected 32"},
		"a key without name":  {seal.Config{Keys: oneKey{"", secret(t), nil}, Issuer: issuer}, "got a key without an id"},
		"a name with a dot":   {seal.Config{Keys: oneKey{"k.1", secret(t), nil}, Issuer: issuer}, "k.1"},
		"another's keys":      {seal.Config{Keys: tokens.NewKeyring(tokens.HS256("k", secret(t))), Issuer: issuer}, "FromSecret"},
		"a zero Fernet key":   {seal.Config{Keys: keys, Issuer: issuer, Fernet: []seal.FernetKey{fernet, {}}}, "number 2 is a zero FernetKey"},
		"age without Fernet":  {seal.Config{Keys: keys, Issuer: issuer, FernetMaxAge: 1}, "FernetMaxAge without"},
		"age below 0":         {seal.Config{Keys: keys, Issuer: issuer, Fernet: []seal.FernetKey{fernet}, FernetMaxAge: -1}, "got -1ns"},
	} {
		t.Run(name, func(t *testing.T) {
			if s, err := seal.New(c.config); err == nil || s != nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

// oneKey is a KeySource of one answer, whatever is asked.
type oneKey struct {
	id  string
	key []byte
	err error
}

func (b oneKey) Derive(string, string, string) (string, []byte, error) { return b.id, b.key, b.err }

// A place with a part left empty by mistake would be everybody's.
func TestPlace_Refused(t *testing.T) {
	s := newSealer(t, seal.Config{Keys: newKeyring(t, newKey("k"))})
	v := mustSeal(t, s, totp, "secret")
	for _, at := range []seal.Place{
		{}, {Owner: ann}, {Purpose: "totp"},
		{Owner: auth.Owner{Issuer: issuer}, Purpose: "totp"}, {Owner: auth.Owner{Subject: "ann"}, Purpose: "totp"},
	} {
		if _, err := s.Seal(at, "x"); err == nil || !strings.Contains(err.Error(), "Place: got") {
			t.Errorf("%+v: Seal: got %v", at, err)
		}
		if _, _, err := s.Open(at, v); err == nil || !strings.Contains(err.Error(), "Place: got") {
			t.Errorf("%+v: Open: got %v", at, err)
		}
		if _, err := s.SealMap(at, map[string]string{"a": "b"}); err == nil {
			t.Errorf("%+v: SealMap", at)
		}
	}
}

func TestSealed(t *testing.T) {
	s := newSealer(t, seal.Config{Keys: newKeyring(t, newKey("2026-11"))})
	v := mustSeal(t, s, totp, "")
	fernet := "gAAAAAAdwJ6wAAECAwQFBgcICQoLDA0ODy021cpGVWKZ_eEwCGM4BLLF_5CV9dOPmrhuVUPgJobwOz7JcbmrR64jVmpU4IwqDA=="
	for text, want := range map[string]bool{
		v:                                true,
		fernet:                           true,
		v[:len(v)-1]:                     false,
		"":                               false,
		"dws1.":                          false,
		"dws1.2026-11.":                  false,
		"dws1.2026-11.AAAA":              false,
		"JBSWY3DPEHPK3PXP":               false,
		"gAAAA":                          false,
		fernet[:len(fernet)-1]:           false,
		"AAAA" + fernet[4:]:              false, // version 0
		strings.TrimRight(fernet, "="):   false,
		strings.Repeat("gAAA", 100)[:98]: false,
	} {
		if got := seal.Sealed(text); got != want {
			t.Errorf("%.40s: got %v", text, got)
		}
	}
}

// STD-V07: nothing that holds a key shows it, however it is printed, also in somebody's unexported field.
func TestMasks_STD_V07(t *testing.T) {
	b := secret(t)
	key := seal.NewKey("k1", b)
	ring := newKeyring(t, key)
	fernetText := base64.URLEncoding.EncodeToString(b)
	fernet, err := seal.ParseFernetKey(fernetText)
	if err != nil {
		t.Fatal(err)
	}
	config := seal.Config{Keys: ring, Issuer: issuer, Fernet: []seal.FernetKey{fernet}}
	s := newSealer(t, config)
	type mine struct {
		key    seal.Key
		ring   *seal.Keyring
		fernet seal.FernetKey
		sealer *seal.Sealer
		plain  seal.Sealer
	}
	var log bytes.Buffer
	logger := slog.New(slog.NewJSONHandler(&log, nil))
	for name, v := range map[string]any{
		"Key": key, "*Key": &key, "Keyring": ring, "FernetKey": fernet, "Config": config, "Sealer": s, "by value": *s,
		"fields": mine{key, ring, fernet, s, *s}, "pointer to fields": &mine{key, ring, fernet, s, *s}, "slice": []any{key, ring, fernet, s},
	} {
		logger.Info("x", "v", v)
		text, _ := json.Marshal(v)
		shown := string(text) + log.String()
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			shown += fmt.Sprintf(verb, v)
		}
		for _, leak := range []string{
			string(b), hex.EncodeToString(b), fmt.Sprint(b)[1:20], fmt.Sprintf("%q", b)[1:20], fernetText[:20],
			strings.Trim(fmt.Sprintf("%#v", b[:8]), "[]byte{}"), hex.EncodeToString(b[:16]), fmt.Sprint(b[16:])[1:20],
		} {
			if strings.Contains(shown, leak) {
				t.Errorf("%s shows the key: %s", name, shown)
			}
		}
	}
	for _, v := range []any{key, fernet} {
		if fmt.Sprint(v) != "[key]" {
			t.Errorf("got %v", v)
		}
	}
}
