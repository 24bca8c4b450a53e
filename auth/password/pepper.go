package password

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/doorward/doorward/internal/derive"
)

// A KeySource gives keys derived from a secret for one purpose; *seal.Keyring and *tokens.Keyring are some.
//
// id names the secret, "" the current one; usedID is the name of the one that was taken, at most 64
// characters of A-Za-z0-9_-. An unknown or removed id is an error. The key has 32 bytes and is the same for the
// same id, salt and purpose in every process.
//
// Derive of the kit's keyrings is for applications. Any other source, also one that embeds a keyring, is asked by its Derive
// for a purpose that begins with "doorward/".
type KeySource interface {
	Derive(id, salt, purpose string) (usedID string, key []byte, err error)
}

// A Pepper is a key that goes into every new hash and is kept apart from the store (NIST SP 800-63B-4 section
// 3.1.1.2): whoever has the hashes alone cannot try passwords on them. The zero value is none.
//
// A hash names its pepper: $pepper$v=1,k=2026-11$argon2id$... What is hashed is then HMAC-SHA-256 of the
// password, in base64. Other libraries do not read that form.
//
// A pepper is rotated by making another key current: Verify asks for a new hash of what has an older one, and
// Upgrade makes it. A key can be removed only when no hash names it any more, because its owner's next
// login is the one time when a hash can be made anew; removed earlier, those users must reset their passwords. So
// give it a secret of its own, at least 256 random bits: one that has leaked, of tokens for example, is removed at once.
type Pepper struct {
	Keys KeySource

	// Name is the salt of the key: the name of this installation, which never changes, such as "example
	// production". Demanded with Keys, and refused without. With another name every password is lost.
	Name string
}

const pepperPrefix = "$pepper$v=1,k="

// Format masks the pepper under every verb of package fmt: it would print the secrets of a KeySource.
func (p Pepper) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, "[pepper]") }

// MarshalText masks the pepper in JSON and every other encoding.
func (p Pepper) MarshalText() ([]byte, error) { return []byte("[pepper]"), nil }

// LogValue masks the pepper in package slog.
func (p Pepper) LogValue() slog.Value { return slog.StringValue("[pepper]") }

func (p Pepper) check() error {
	if p.Keys == nil && p.Name == "" {
		return nil
	}
	if p.Keys == nil || p.Name == "" {
		return fmt.Errorf("password: Config.Pepper: got Keys %t and the Name %q, expected both or none", p.Keys != nil, p.Name)
	}
	_, _, err := p.key("")
	return err
}

// key returns a pepper's key. What the source says is quoted, not wrapped: its code may be that of a token.
func (p Pepper) key(id string) (usedID string, key []byte, err error) {
	usedID, key, err = derive.Key(p.Keys, id, p.Name, derive.Pepper)
	switch {
	case err != nil:
		return "", nil, fmt.Errorf("password: no pepper: %v", err)
	case !isPepperID(usedID):
		return "", nil, fmt.Errorf("password: the key source gave a pepper named %.64q, expected an id of 1 to 64 characters of A-Za-z0-9_-", usedID)
	}
	return usedID, key, nil
}

// current returns the id of the pepper of new hashes, "" for none.
func (p Pepper) current() string {
	if p.Keys == nil {
		return ""
	}
	id, _, _ := p.key("")
	return id
}

// apply returns what is hashed in place of password, and what the hash begins with.
func (p Pepper) apply(password []byte) (input []byte, prefix string, err error) {
	if p.Keys == nil {
		return password, "", nil
	}
	id, key, err := p.key("")
	if err != nil {
		return nil, "", err
	}
	return season(key, password), pepperPrefix + id, nil
}

// reapply returns what a stored hash with this pepper was made of. That there is none is a failed login, as any
// hash that cannot be used: who has an account and who has none must look alike.
func (p Pepper) reapply(id string, password []byte) ([]byte, error) {
	if p.Keys == nil {
		return nil, fmt.Errorf("%w: it has a pepper, and there is no Config.Pepper", ErrHash)
	}
	_, key, err := p.key(id)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrHash, err)
	}
	return season(key, password), nil
}

// season is in base64: a raw MAC may hold a NUL, which ends a password for some bcrypts. 44 bytes are under
// bcrypt's limit, so that with a pepper passwords of every length have all their bytes counted.
func season(key, password []byte) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write(password)
	return base64.StdEncoding.AppendEncode(nil, mac.Sum(nil))
}

// cutPepper takes the name of a pepper off a stored hash.
func cutPepper(text string) (id, hash string, err error) {
	rest, ok := strings.CutPrefix(text, pepperPrefix)
	if !ok {
		return "", text, nil
	}
	id, _, _ = strings.Cut(rest[:min(len(rest), 65)], "$")
	if !isPepperID(id) {
		return "", "", errors.New("not the name of a pepper")
	}
	return id, rest[len(id):], nil
}

func isPepperID(id string) bool {
	for _, c := range []byte(id) {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return false
		}
	}
	return id != "" && len(id) <= 64
}
