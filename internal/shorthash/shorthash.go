// Package shorthash makes names under which a shared store keeps what a client, or a foreign issuer, may have chosen.
//
// It does not own what goes into a name, nor the prefix in front of one.
package shorthash

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
)

// Of returns the first 22 characters, 132 bits, of the base64url of a SHA-256 over the parts, each behind its length as
// 8 bytes, big endian. It allocates nothing for parts of the usual length.
func Of(parts ...string) (h [22]byte) {
	buf := make([]byte, 0, 256)
	for _, p := range parts {
		buf = append(binary.BigEndian.AppendUint64(buf, uint64(len(p))), p...)
	}
	sum := sha256.Sum256(buf)
	var text [43]byte
	base64.RawURLEncoding.Encode(text[:], sum[:])
	return [22]byte(text[:])
}
