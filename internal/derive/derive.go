// Package derive is the door by which the kit's packages get the keys that a secret is derived into. An application
// goes through Derive of a key source, and gets no key of the kit by accident: no text that it passes there makes one.
package derive

import (
	"errors"
	"fmt"
)

// A Use is what one derived key is for. No key serves two uses. The zero Use is refused.
type Use struct{ label string }

// The uses of the kit. Access and one-time tokens are package tokens' own: their keys never leave it.
var (
	Refresh      = Use{"refresh"}        // MAC of refresh tokens; salt: the issuer
	SessionID    = Use{"session id"}     // MAC in session ids; salt: the issuer
	OneTimeState = Use{"one-time state"} // MAC of what a link hangs on; salt: the issuer
	CSRF         = Use{"csrf"}           // MAC of CSRF tokens; salt: the own public origin
	Device       = Use{"device"}         // MAC of device cookies; salt: the issuer
	LoginAccount = Use{"login account"}  // MAC of accounts typed at a login; salt: the issuer
	Cookie       = Use{"cookie"}         // encrypts cookies; salt: the issuer
	Seal         = Use{"seal"}           // encrypts secrets at rest; salt: a name of the installation that never changes
	Pepper       = Use{"pepper"}         // MAC of passwords; salt: a name of the installation that never changes
)

// Uses are all of them, for the tests that hold each to its rules.
var Uses = []Use{Refresh, SessionID, OneTimeState, CSRF, Device, LoginAccount, Cookie, Seal, Pepper}

// String returns the label.
func (u Use) String() string { return u.label }

// A Source gives keys derived from a secret: the KeySource of each package.
type Source interface {
	Derive(id, salt, purpose string) (usedID string, key []byte, err error)
}

// kit is a source of the kit's: *tokens.Keyring, *seal.Keyring.
type kit interface {
	// Kit returns the keyring itself. A type that embeds a keyring has its methods too, and another Derive perhaps.
	Kit() any
	DeriveFor(id, salt string, use Use) (usedID string, key []byte, err error)
}

// keyLen is the length of every key: that of HMAC-SHA-256's output (RFC 7518 section 3.2).
const keyLen = 32

// Key returns a key of 32 bytes for a use, and the id of the secret it comes from. An empty id means the current
// secret. A source that is an application's own is asked for the purpose "doorward/" and the label, and so is a type
// that embeds a keyring. What a source returns is checked: the length of the key, and that the id is the one asked for.
//
// The salt names the installation, so that a secret that staging shares with production makes other keys there.
// Without one there is no key.
func Key(from Source, id, salt string, use Use) (usedID string, key []byte, err error) {
	switch {
	case use.label == "":
		return "", nil, errors.New("key derivation: got a zero use, expected one of the kit's")
	case salt == "":
		return "", nil, fmt.Errorf("key derivation: the %s key: got an empty salt, expected the name of this installation", use)
	}
	if ring, ok := from.(kit); ok && ring.Kit() == any(from) {
		usedID, key, err = ring.DeriveFor(id, salt, use)
	} else {
		usedID, key, err = from.Derive(id, salt, "doorward/"+use.label)
	}
	switch {
	case err != nil:
		return "", nil, err
	case len(key) != keyLen:
		return "", nil, fmt.Errorf("key derivation: the %s key: got %d bytes, expected %d", use, len(key), keyLen)
	case usedID == "":
		return "", nil, fmt.Errorf("key derivation: the %s key: got a key without an id, expected the id of its secret", use)
	case id != "" && id != usedID:
		return "", nil, fmt.Errorf("key derivation: the %s key: got the key %.64q, expected %.64q", use, usedID, id)
	}
	return usedID, key, nil
}
