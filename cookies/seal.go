package cookies

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"fmt"
	"strings"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/internal/derive"
)

// A Seal encrypts a cookie's value with AES-256-GCM, so that whoever sees the cookie, in a browser's tools
// or a proxy's log, cannot read ids in it (NIST SP 800-63B-4 section 5.1.1). The zero value seals nothing.
// A sealed value is a third longer, plus the key's id.
type Seal struct {
	Keys KeySource // *tokens.Keyring fits

	// Issuer is what the tokens have there, or any other name of this installation; demanded with Keys, and
	// refused without. The key depends on it, so that what staging has sealed opens nowhere in production,
	// although both may have one secret.
	Issuer string
}

// A KeySource gives out keys of 32 bytes made from longer-lived ones; *tokens.Keyring is one.
//
// Derive returns a key for a salt and a purpose, and the id of the key that it was made from. The id ""
// asks for the current key, and any other for that key or an error, so that with a key everything
// sealed by it is gone. It must be safe for concurrent use.
//
// Derive of the kit's keyrings is for applications. Any other source, also one that embeds a keyring, is asked by its Derive
// for the purpose "doorward/cookie".
type KeySource interface {
	Derive(id, salt, purpose string) (usedID string, key []byte, err error)
}

// base64url takes one spelling of each text only (RFC 4648 section 3.5).
var base64url = base64.RawURLEncoding.Strict()

// seal returns kid.base64url(nonce, ciphertext) under the issuer's key. The cookie's name is associated
// data, so that none opens in another's place. Random nonces are good for 2^32 cookies under one key (NIST
// SP 800-38D section 8.3): for 240 days, when 100 sessions are refreshed a second.
func (s *Seal) seal(name, value string) (string, error) {
	id, aead, err := s.aead("")
	if err != nil {
		return "", fmt.Errorf("cookies: no key to seal %s: %w", name, err)
	}
	return id + "." + base64url.EncodeToString(aead.Seal(nil, nil, []byte(value), []byte(name))), nil
}

// unseal opens what seal has made; anything else is a credential that does not hold.
func (s *Seal) unseal(name, sealed string) (string, error) {
	dot := strings.LastIndexByte(sealed, '.')
	if dot <= 0 { // an empty id would ask for the current key: a second spelling
		return "", fmt.Errorf("%w: the cookie %s is not sealed", auth.TokenInvalid, name)
	}
	_, aead, err := s.aead(sealed[:dot])
	if err != nil {
		return "", fmt.Errorf("%w: no key to open the cookie %s: %w", auth.TokenInvalid, name, err)
	}
	text, err := base64url.DecodeString(sealed[dot+1:])
	if err != nil {
		return "", fmt.Errorf("%w: the cookie %s is not base64url", auth.TokenInvalid, name)
	}
	value, err := aead.Open(text[:0], nil, text, []byte(name))
	if err != nil || len(value) == 0 {
		return "", fmt.Errorf("%w: the seal of the cookie %s does not hold", auth.TokenInvalid, name)
	}
	return string(value), nil
}

func (s *Seal) aead(id string) (usedID string, _ cipher.AEAD, err error) {
	usedID, key, err := derive.Key(s.Keys, id, s.Issuer, derive.Cookie)
	if err != nil {
		return "", nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return "", nil, err
	}
	a, err := cipher.NewGCMWithRandomNonce(block)
	return usedID, a, err
}
