package tokens_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/internal/derive"
	"github.com/doorward/doorward/tokens"
)

// The keys of the kit are out of an application's reach: no purpose that it passes makes one of them, of any use.
func TestDerive_ATK_J21_ApplicationsGetNoKeyOfTheKit(t *testing.T) {
	root := tokens.FromSecret(rootSecret)
	ring := tokens.NewKeyring(root)
	kit := map[string]string{} // key to use
	for _, use := range derive.Uses {
		id, key, err := derive.Key(ring, "", issuer, use)
		if err != nil || id != root.ID() || len(key) != 32 || kit[string(key)] != "" {
			t.Fatalf("%s: got %q, %d bytes, %v, the key of %q", use, id, len(key), err, kit[string(key)])
		}
		kit[string(key)] = use.String()
	}
	labels := []string{"access", "one-time", "kid", "x", " "}
	for _, use := range derive.Uses {
		labels = append(labels, use.String())
	}
	signed := b64(`{"alg":"HS256","typ":"at+jwt","kid":"`+root.ID()+`"}`) + "." + b64(claimsWith())
	tok, _ := setup(t, func(c *tokens.Config) { c.Keys = ring })
	for _, label := range labels {
		for _, purpose := range []string{
			label, "doorward " + label, "doorward/" + label, "app/" + label, "/" + label, "../" + label, "app/../" + label, strings.ToUpper(label),
			" " + label, label + " ", "\x00" + label, label + "\x00", label + "\x01", "\b\b\b\b" + label, "\n" + label,
		} {
			_, key, err := ring.Derive("", issuer, purpose)
			if err != nil || kit[string(key)] != "" {
				t.Errorf("%q is the key of %q, %v", purpose, kit[string(key)], err)
			}
			refused(t, tok, signed+"."+b64(macOf(key, signed)), tokens.ErrSignature)
		}
	}
}

// A source that is an application's own is asked by a name that says whose the key is.
func TestDerive_SourcesOfApplications(t *testing.T) {
	var asked []string
	own := source(func(id, salt, purpose string) (string, []byte, error) {
		asked = append(asked, id+"|"+salt+"|"+purpose)
		return "k", make([]byte, 32), nil
	})
	if _, key, err := derive.Key(own, "k", issuer, derive.CSRF); err != nil || len(key) != 32 || len(asked) != 1 || asked[0] != "k|"+issuer+"|doorward/csrf" {
		t.Errorf("got %d bytes, %v, asked for %q", len(key), err, asked)
	}
	for name, f := range map[string]func() (string, []byte, error){
		"no salt":    func() (string, []byte, error) { return derive.Key(own, "", "", derive.CSRF) },
		"a zero use": func() (string, []byte, error) { return derive.Key(own, "", issuer, derive.Use{}) },
	} {
		if _, key, err := f(); err == nil || key != nil || len(asked) != 1 {
			t.Errorf("%s: got %d bytes, %v", name, len(key), err)
		}
	}
}

type source func(id, salt, purpose string) (string, []byte, error)

func (s source) Derive(id, salt, purpose string) (string, []byte, error) { return s(id, salt, purpose) }

// Beside an EC key that signs, the secret derives the rest; it is accepted for tokens, so that one can change over.
func TestDerive_F_21_BesideAKeyThatSigns(t *testing.T) {
	signs, err := tokens.GenerateKey("ES256")
	if err != nil {
		t.Fatal(err)
	}
	older, newer := tokens.FromSecret(rootSecret), tokens.FromSecret([]byte(tokens.GenerateSecret()))
	ring := tokens.NewKeyring(signs, newer, older)
	before, _ := setup(t, func(c *tokens.Config) { c.Keys = tokens.NewKeyring(older) })
	tok, _ := setup(t, func(c *tokens.Config) { c.Keys = ring })
	raw := issue(t, tok, auth.Principal{Subject: "ann"})
	if u, err := tokens.DecodeUnverified(raw); err != nil || u.KeyID != signs.ID() {
		t.Errorf("signed with %q, %v", u.KeyID, err)
	}
	accepted(t, tok, raw)
	accepted(t, tok, issue(t, before, auth.Principal{Subject: "ann"}))
	id, key, err := derive.Key(ring, "", issuer, derive.Refresh)
	_, alone, _ := derive.Key(tokens.NewKeyring(newer), "", issuer, derive.Refresh)
	if err != nil || id != newer.ID() || !bytes.Equal(key, alone) {
		t.Errorf("got %q, %v", id, err)
	}
	if id, _, err := derive.Key(ring, older.ID(), issuer, derive.Refresh); err != nil || id != older.ID() {
		t.Errorf("got %q, %v", id, err)
	}
	// The id in a refresh token or a cookie is a client's word: that of the signing key is no fault of ours.
	if _, _, err := derive.Key(ring, signs.ID(), issuer, derive.Refresh); auth.CodeOf(err) != auth.TokenInvalid {
		t.Errorf("got %v", err)
	}
	if _, _, err := derive.Key(tokens.NewKeyring(signs), "", issuer, derive.Refresh); err == nil || !strings.Contains(err.Error(), "add a key of FromSecret") {
		t.Errorf("got %v", err)
	}
}

// A type that embeds a ring is an application's own source: its Derive is asked, also where it is the ring's. Its keys are those
// of an application's purposes.
func TestDerive_ATK_J21_TypesThatEmbedTheRing(t *testing.T) {
	ring := tokens.NewKeyring(tokens.FromSecret(rootSecret))
	own := bytes.Repeat([]byte{7}, 32)
	for _, use := range derive.Uses {
		_, kit, err := derive.Key(ring, "", issuer, use)
		if err != nil {
			t.Fatal(err)
		}
		_, purpose, err := ring.Derive("", issuer, "doorward/"+use.String())
		if err != nil || bytes.Equal(purpose, kit) {
			t.Fatalf("%s: the key of the kit, %v", use, err)
		}
		for name, c := range map[string]struct {
			source derive.Source
			want   []byte
		}{
			"an override":            {overrides{ring, own}, own},
			"an override, a pointer": {&overrides{ring, own}, own},
			"no override":            {struct{ *tokens.Keyring }{ring}, purpose},
			"twice":                  {struct{ *overrides }{&overrides{ring, own}}, own},
		} {
			if _, key, err := derive.Key(c.source, "", issuer, use); err != nil || !bytes.Equal(key, c.want) {
				t.Errorf("%s, %s: got another key, %v", name, use, err)
			}
		}
	}
}

// overrides is a ring whose Derive is the application's.
type overrides struct {
	*tokens.Keyring
	key []byte
}

func (o overrides) Derive(string, string, string) (string, []byte, error) { return "own", o.key, nil }

// What a source returns is checked once, for every package: a key of another length or another id is none.
func TestDerive_WhatASourceReturnsIsChecked(t *testing.T) {
	for name, c := range map[string]struct {
		used string
		key  []byte
		ask  string
		says string
	}{
		"31 bytes":   {"k", make([]byte, 31), "", "got 31 bytes, expected 32"},
		"33 bytes":   {"k", make([]byte, 33), "k", "got 33 bytes, expected 32"},
		"no key":     {"k", nil, "", "got 0 bytes, expected 32"},
		"no id":      {"", make([]byte, 32), "", "got a key without an id"},
		"another id": {"k2", make([]byte, 32), "k1", `got the key "k2", expected "k1"`},
	} {
		own := source(func(string, string, string) (string, []byte, error) { return c.used, c.key, nil })
		if id, key, err := derive.Key(own, c.ask, issuer, derive.CSRF); err == nil || id != "" || key != nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: got %q, %d bytes, %v", name, id, len(key), err)
		}
	}
}
