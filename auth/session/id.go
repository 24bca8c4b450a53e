package session

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/internal/derive"
)

// A session id is 22 random characters (128 bits), 11 of a MAC over them and the owner (64 bits), and the id of the MAC's
// key. The MAC keeps an invented id from costing anything: an ending of a session whose row is gone is written to the list
// all the same, and kept by every node for an hour. It proves no one: a session is looked up, and its owner compared.
const (
	idRandom = 22
	idMAC    = 11
	maxID    = 64 // what stands in names of a list as it is (revocation.Name)

)

// newID makes the id of a new session of o.
func (s *Sessions) newID(o auth.Owner) (string, error) {
	random := make([]byte, 16)
	_, _ = rand.Read(random) // never fails (crypto/rand)
	text := b64.EncodeToString(random)
	keyID, key, err := s.derive("", derive.SessionID)
	if err != nil {
		return "", err
	}
	id := text + idTag(key, o, text) + keyID
	if !isID(id) {
		return "", errors.New("session: the id of the signing key cannot stand in a session id: make the ring from FromSecret")
	}
	return id, nil
}

func idTag(key []byte, o auth.Owner, random string) string {
	h := hmac.New(sha256.New, key)
	var text []byte
	for _, part := range []string{o.Issuer, o.Subject, random} {
		text = append(binary.BigEndian.AppendUint64(text, uint64(len(part))), part...)
	}
	h.Write(text)
	return b64.EncodeToString(h.Sum(nil))[:idMAC]
}

// Whose an id is, by its MAC.
type whose int

const (
	another whose = iota // not the owner's, or none of ours
	owners               // made for the owner
	unknown              // its key was removed, or has not come to this node yet
)

func (s *Sessions) whose(o auth.Owner, id string) whose {
	if o.Subject == "" || !isID(id) {
		return another
	}
	random, tag, keyID := id[:idRandom], id[idRandom:idRandom+idMAC], id[idRandom+idMAC:]
	_, key, err := s.derive(keyID, derive.SessionID)
	switch {
	case err != nil:
		return unknown
	case !hmac.Equal([]byte(tag), []byte(idTag(key, o, random))):
		return another
	}
	return owners
}

// isID says whether id could be a session's. Others are refused before any I/O.
func isID(id string) bool {
	if len(id) <= idRandom+idMAC || len(id) > maxID {
		return false
	}
	for _, c := range []byte(id) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_':
		default:
			return false
		}
	}
	return true
}
