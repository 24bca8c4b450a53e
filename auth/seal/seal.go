// Package seal encrypts the secrets that an application must store and read again: seeds of second
// factors, tokens of providers, passwords of other systems.
//
// A [Sealer] binds each value to its [Place], so that it opens nowhere else, and says which values are
// still under an older key. It opens what Fernet sealed in an older system, and never makes such values.
//
// It does not own storage, nor the keys: they come from a [KeySource]. It is not for passwords of
// users, which nobody should be able to read again (package password).
package seal

import (
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/doorward/doorward/internal/derive"
	"golang.org/x/crypto/chacha20poly1305"

	"github.com/doorward/doorward/auth"
)

// MaxBytes is the longest text that is sealed or opened: 1 MiB.
const MaxBytes = 1 << 20

const (
	prefix  = "dws1." // fixed, so that secret scanners and a LIKE in SQL know it
	maxKey  = 64      // bytes of a key id
	nonceAt = chacha20poly1305.NonceSizeX
	maxText = len(prefix) + maxKey + 1 + (nonceAt+MaxBytes+chacha20poly1305.Overhead+2)/3*4
)

// ErrOpen says that a value does not open: it is not sealed, was changed or cut, or stands in a place
// that it was not sealed for. One error for all of it (ASVS V11.2.5).
//
// It has no code of package auth, so that a client sees 500: nothing that a client sent was wrong.
var ErrOpen = errors.New("seal: the value does not open")

// ErrKey says that the key which a value names is not here: it was removed, or this node does not have it
// yet. Nothing was tried. It has no code either.
var ErrKey = errors.New("seal: the key of the value is not here")

// A KeySource gives keys derived from a secret for one purpose; *tokens.Keyring over tokens.FromSecret
// is one, and so is [Keyring].
//
// id names the secret, "" the current one; usedID is the name of the one that was taken, at most 64
// characters of A-Za-z0-9_-. An unknown or removed id is an error. The key has 32 bytes and is the same for the
// same id, salt and purpose in every process. It is called for every value, and must be safe for
// concurrent use.
//
// Derive of the kit's keyrings is for applications. Any other source, also one that embeds a keyring, is asked by its Derive
// for a purpose that begins with "doorward/".
type KeySource interface {
	Derive(id, salt, purpose string) (usedID string, key []byte, err error)
}

// Config is what New takes. Keys and Issuer are demanded.
type Config struct {
	Keys KeySource

	// Issuer is what the tokens have there, or any other name of this installation. The keys depend on it, so
	// that what staging has sealed opens nowhere in production although both may have one secret. It
	// must stay the same for as long as there are sealed values: with another name none of them opens.
	Issuer string

	// Fernet are keys of an older system, whose values are opened too, the first that fits. See [FernetKey].
	Fernet []FernetKey

	// FernetMaxAge is how old a Fernet value may be by its own time, which may be 60 s ahead then. 0 means
	// any age, which is right for what is stored: those values wait for their owner to come back.
	FernetMaxAge time.Duration

	Now func() time.Time // for FernetMaxAge; nil: time.Now
}

// A Place is where a value belongs. It is bound to the value as associated data (RFC 5116 section 2.1),
// each part behind its length: sealed for one place, a value opens in no other, so that whoever can write
// the table cannot move another user's secret into his own row.
type Place struct {
	// Owner is whose the value is; both parts are demanded, because equal subjects of two issuers are two owners. What
	// belongs to no user has a name too: the application's own issuer and a Subject such as "smtp".
	Owner   auth.Owner
	Purpose string // what it is for, provider and column included, such as "oauth github refresh"; demanded

	// Version is the row's own counter where an older value put back must not open: it is raised with each
	// change of the value. 0 where there is none; an older value of the same place then opens.
	Version uint64
}

// A Sealer seals and opens values. It does not change, is safe for concurrent use, and masked however it is printed.
type Sealer struct{ s *sealer }

type sealer struct {
	keys   KeySource
	issuer string
	fernet []FernetKey
	maxAge time.Duration
	now    func() time.Time
	random func([]byte) // tests replace it
}

// New checks c, tries the current key, and returns a Sealer.
func New(c Config) (*Sealer, error) {
	switch {
	case c.Keys == nil:
		return nil, errors.New("seal: Config.Keys: got nil, expected a KeySource such as a *tokens.Keyring or NewKeyring")
	case c.Issuer == "":
		return nil, errors.New("seal: Config.Issuer: got \"\", expected the name of this installation, such as https://app.example.com")
	case c.FernetMaxAge < 0:
		return nil, fmt.Errorf("seal: Config.FernetMaxAge: got %v, expected 0 (any age) or more", c.FernetMaxAge)
	case c.FernetMaxAge > 0 && len(c.Fernet) == 0:
		return nil, errors.New("seal: Config.FernetMaxAge without Config.Fernet: expected a key, or no age")
	}
	for i, k := range c.Fernet {
		if k.k == nil {
			return nil, fmt.Errorf("seal: Config.Fernet: number %d is a zero FernetKey; make it with ParseFernetKey", i+1)
		}
	}
	s := &sealer{c.Keys, c.Issuer, slices.Clone(c.Fernet), c.FernetMaxAge, c.Now, func(b []byte) { _, _ = rand.Read(b) }}
	if s.now == nil {
		s.now = time.Now
	}
	if _, _, err := s.key(""); err != nil {
		return nil, err
	}
	return &Sealer{s}, nil
}

// Seal returns text sealed for the place, as dws1.<key id>.<base64url>: XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha)
// under the current key, with a nonce of 192 bits that depends on random bits, the place and the text. It is a third
// longer than text and its length tells text's. A text over [MaxBytes] is an error.
func (s *Sealer) Seal(at Place, text string) (string, error) { return s.seal(value, "", at, text) }

// Open returns the text of a sealed value, and whether the caller should store a new Seal of it now,
// because the value is under another key than the current one, or is of Fernet.
//
// The error is [ErrOpen] or [ErrKey]. A Fernet value is bound to no place: until it is resealed, whoever
// can write the table can move it.
func (s *Sealer) Open(at Place, sealed string) (text string, stale bool, err error) {
	return s.open(value, "", at, sealed)
}

// Reseal returns the value under the current key, and whether that is another text than before. A
// value that is current already comes back as it is. Errors are those of Open.
func (s *Sealer) Reseal(at Place, sealed string) (fresh string, changed bool, err error) {
	return s.reseal(value, "", at, sealed)
}

// Sealed says whether text has the form of a value that Seal made or that Fernet made. It looks at the form
// alone: do not let it decide about a text that a stranger wrote, who could write such a form.
func Sealed(text string) bool {
	if _, _, err := split(text); err == nil {
		return true
	}
	_, err := fernetForm(text)
	return err == nil
}

// Format masks the sealer under every verb of package fmt.
func (s Sealer) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "[sealer]") }

// MarshalText masks the sealer in JSON and every other encoding.
func (s Sealer) MarshalText() ([]byte, error) { return []byte("[sealer]"), nil }

// LogValue masks the sealer in package slog.
func (s Sealer) LogValue() slog.Value { return slog.StringValue("[sealer]") }

// A kind tells single values from the entries of maps, so that neither opens as the other.
type kind byte

const (
	value kind = 's'
	entry kind = 'm'
)

func (s *Sealer) seal(k kind, name string, at Place, text string) (string, error) {
	if err := at.check(); err != nil {
		return "", err
	}
	if len(text) > MaxBytes {
		return "", fmt.Errorf("seal: got a text of %d bytes, expected %d at most", len(text), MaxBytes)
	}
	id, keys, err := s.s.key("")
	if err != nil {
		return "", err
	}
	ad := at.bind(k, name, id)
	nonce := s.s.nonce(keys, ad, text)
	return prefix + id + "." + base64url.EncodeToString(keys.aead.Seal(nonce, nonce, []byte(text), ad)), nil
}

// nonce returns 192 bits that no two messages of one key share. Random ones would do, were it not that a machine
// which is restored from a snapshot, or copied while it runs, may get the same random bits twice (ATK-X05).
// So they go, with all that the message is, through a MAC: what repeats then is the sealing of
// the same text for the same place, and that tells nothing but itself.
func (s *sealer) nonce(k keys, ad []byte, text string) []byte {
	var seed [32]byte
	s.random(seed[:])
	h := hmac.New(sha256.New, k.nonce)
	h.Write(seed[:])
	h.Write(ad) // ends by itself, each part being behind its length
	_, _ = io.WriteString(h, text)
	return h.Sum(nil)[:nonceAt]
}

func (s *Sealer) open(k kind, name string, at Place, sealed string) (text string, stale bool, err error) {
	if err := at.check(); err != nil {
		return "", false, err
	}
	id, body, err := split(sealed)
	if err != nil {
		if len(s.s.fernet) == 0 {
			return "", false, err
		}
		text, err := s.s.openFernet(sealed)
		return text, err == nil, err
	}
	_, keys, err := s.s.key(id)
	if err != nil {
		return "", false, err
	}
	plain, err := keys.aead.Open(nil, body[:nonceAt], body[nonceAt:], at.bind(k, name, id))
	if err != nil {
		return "", false, ErrOpen
	}
	current, _, err := derive.Key(s.s.keys, "", s.s.issuer, derive.Seal)
	return string(plain), err == nil && current != id, nil
}

func (s *Sealer) reseal(k kind, name string, at Place, sealed string) (fresh string, changed bool, err error) {
	text, stale, err := s.open(k, name, at, sealed)
	switch {
	case err != nil:
		return "", false, err
	case !stale:
		// Where there is no current key open calls nothing stale, and the value must not be counted as current.
		_, _, err := s.s.key("")
		return sealed, false, err
	}
	fresh, err = s.seal(k, name, at, text)
	return fresh, err == nil, err
}

func (at Place) check() error {
	if at.Owner.Issuer == "" || at.Owner.Subject == "" || at.Purpose == "" {
		return fmt.Errorf("seal: Place: got Owner.Issuer %.64q, Owner.Subject %.64q and Purpose %.64q, expected none of them empty",
			at.Owner.Issuer, at.Owner.Subject, at.Purpose)
	}
	return nil
}

// bind returns the associated data: everything but the text, each part behind its length, so that no two
// places have the same bytes. The key id is part of it: two ids of one key are two keys (ATK-X05).
func (at Place) bind(k kind, name, keyID string) []byte {
	b := make([]byte, 0, 128)
	b = append(b, prefix...)
	b = append(b, byte(k))
	for _, part := range []string{keyID, at.Owner.Issuer, at.Owner.Subject, at.Purpose, name} {
		b = append(binary.AppendUvarint(b, uint64(len(part))), part...)
	}
	return binary.AppendUvarint(b, at.Version)
}

// keys are made from the one that a KeySource gives: whatever else that is used for, these are of here alone.
type keys struct {
	aead  cipher.AEAD
	nonce []byte
}

// key returns the keys of an id, "" being the current one. What the source says is quoted, not
// wrapped: its code may mean that a token is invalid, and would log a client out for a fault of ours.
func (s *sealer) key(id string) (usedID string, k keys, err error) {
	usedID, secret, err := derive.Key(s.keys, id, s.issuer, derive.Seal)
	switch {
	case err != nil && id != "":
		return "", k, fmt.Errorf("%w: %v", ErrKey, err)
	case err != nil:
		return "", k, fmt.Errorf("seal: no key to seal with: %v", err)
	case !isKeyID(usedID):
		return "", k, fmt.Errorf("seal: the key source gave a key named %.64q, expected an id of 1 to %d characters of A-Za-z0-9_-", usedID, maxKey)
	}
	both, err := hkdf.Expand(sha256.New, secret, "doorward seal 1", 2*chacha20poly1305.KeySize) // RFC 5869 section 2.3
	if err != nil {
		return "", k, fmt.Errorf("seal: key derivation: %w", err)
	}
	k.nonce = both[chacha20poly1305.KeySize:]
	k.aead, err = chacha20poly1305.NewX(both[:chacha20poly1305.KeySize])
	return usedID, k, err
}

// base64url takes one spelling of each text only (RFC 4648 section 3.5), but for line breaks, which
// Go's decoder skips: decode looks for them.
var base64url = base64.RawURLEncoding.Strict()

func decode(e *base64.Encoding, text string) ([]byte, error) {
	b, err := e.DecodeString(text)
	if err != nil || strings.ContainsAny(text, "\r\n") {
		return nil, ErrOpen
	}
	return b, nil
}

// split reads the form of a sealed value.
func split(sealed string) (id string, body []byte, err error) {
	rest, ok := strings.CutPrefix(sealed, prefix)
	id, text, dot := strings.Cut(rest, ".")
	if !ok || !dot || len(sealed) > maxText || !isKeyID(id) {
		return "", nil, ErrOpen
	}
	body, err = decode(base64url, text)
	if err != nil || len(body) < nonceAt+chacha20poly1305.Overhead {
		return "", nil, ErrOpen
	}
	return id, body, nil
}

func isKeyID(id string) bool {
	for _, c := range []byte(id) {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return false
		}
	}
	return id != "" && len(id) <= maxKey
}
