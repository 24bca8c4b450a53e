package redisrev

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
)

// keys makes the names of a list's keys. All begin with one hash tag. What comes from a token goes in
// hashed, or after a look at every character, so that no name can be another one or grow without bound.
type keys struct{ tag, epoch, log, nodes string }

func newKeys(prefix string) keys {
	tag := "{" + prefix + "}:"
	return keys{tag: tag, epoch: tag + "epoch", log: tag + "log", nodes: tag + "nodes"}
}

func (k keys) token(issuer, id string) string { return k.tag + "j:" + hash(issuer, id) }

// hash is the first 22 characters, 132 bits, of the base64url of a SHA-256 over the parts, each behind
// its length as 8 bytes, big endian.
func hash(parts ...string) string {
	buf := make([]byte, 0, 256)
	for _, p := range parts {
		buf = append(binary.BigEndian.AppendUint64(buf, uint64(len(p))), p...)
	}
	sum := sha256.Sum256(buf)
	return base64.RawURLEncoding.EncodeToString(sum[:])[:22]
}

// plain says whether s has only characters of base64url.
func plain(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_':
		default:
			return false
		}
	}
	return true
}
