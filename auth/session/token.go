package session

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/internal/derive"
)

// A refresh token is dwr1.<key id>.<body>.<mac>: the body names the subject, the session, the audience of its access tokens
// and the generation, each text behind its length; the MAC is HMAC-SHA-256 over everything before it. Nothing in it is random, so that
// every node makes the same text for the same child, and no store has to keep one.
const (
	prefix   = "dwr1." // fixed, so that secret scanners know it
	maxToken = 1 << 10 // bounds what a stranger makes us hash

	// maxGeneration keeps generations exact in Lua and JSON. It is out of reach: one a second for 285 million years.
	maxGeneration = 1<<53 - 1
)

// b64 is strict. Go's decoder skips line breaks all the same, so the comparison of texts in open is what
// makes the form canonical.
var b64 = base64.RawURLEncoding.Strict()

// errForm is made once: garbage is to cost us nothing.
var errForm = fmt.Errorf("%w: no refresh token of ours", auth.TokenInvalid)

// presented is what a refresh token names, its MAC checked.
type presented struct {
	owner      auth.Owner
	id         string
	generation int64
}

// seal makes the refresh token. It is the same on every node that holds the key.
func (s *Sessions) seal(p presented, keyID string, key []byte) (string, error) {
	body := make([]byte, 0, 128)
	for _, text := range []string{p.owner.Subject, p.id, s.audience} {
		body = append(binary.AppendUvarint(body, uint64(len(text))), text...)
	}
	body = binary.AppendUvarint(body, uint64(p.generation))
	left := prefix + keyID + "." + b64.EncodeToString(body)
	raw := left + "." + mac(key, left)
	if len(raw) > maxToken || p.generation > maxGeneration {
		return "", fmt.Errorf("session: the refresh token would have %d bytes, at most %d: the subject is too long", len(raw), maxToken)
	}
	return raw, nil
}

// open checks a refresh token without any I/O. A key id that this node does not know is "not now": another
// node may have it already, or the key was removed; neither may cost the client its session here.
func (s *Sessions) open(raw string) (presented, error) {
	if len(raw) > maxToken || !strings.HasPrefix(raw, prefix) {
		return presented{}, errForm
	}
	parts := strings.Split(raw, ".")       // ids of keys that others are derived from hold no dot
	if len(parts) != 4 || parts[1] == "" { // an empty id would mean the current key
		return presented{}, errForm
	}
	keyID, text, shown := parts[1], parts[2], parts[3]
	left := raw[:len(raw)-len(shown)-1]
	_, key, err := s.derive(keyID, derive.Refresh)
	switch {
	case errors.Is(err, auth.TokenInvalid):
		return presented{}, fmt.Errorf("%w: the refresh token's key is not one of this node's", auth.TokenExpired)
	case err != nil:
		return presented{}, err
	case !hmac.Equal([]byte(shown), []byte(mac(key, left))): // as texts: the MAC has one spelling
		return presented{}, errForm
	}
	body, err := b64.DecodeString(text)
	if err != nil {
		return presented{}, errForm
	}
	p, audience, err := parse(s.issuer, body)
	if err == nil && audience != s.audience {
		// Over one store there may be Sessions of several audiences, each with subjects of its own: nothing is asked.
		return presented{}, fmt.Errorf("%w: the refresh token is of a session of another audience", auth.TokenExpired)
	}
	return p, err
}

// parse reads an authentic body. It still believes nothing: a key may serve a later format one day.
func parse(issuer string, body []byte) (p presented, audience string, err error) {
	p = presented{owner: auth.Owner{Issuer: issuer}}
	for _, field := range []*string{&p.owner.Subject, &p.id, &audience} {
		n, size := binary.Uvarint(body)
		if size <= 0 || n > uint64(len(body)-size) {
			return presented{}, "", errForm
		}
		*field, body = string(body[size:size+int(n)]), body[size+int(n):]
	}
	g, size := binary.Uvarint(body)
	if size <= 0 || size != len(body) || g < 1 || g >= maxGeneration || p.owner.Subject == "" || !isID(p.id) {
		return presented{}, "", errForm
	}
	p.generation = int64(g)
	return p, audience, nil
}

func mac(key []byte, text string) string {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return b64.EncodeToString(h.Sum(nil))
}
