package revocation

import (
	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/internal/shorthash"
)

// Name is what a list that several processes share keeps an entry under. It does not depend on Below:
//
//	s:ID    a session by its id, which is random; an id that the kit would not make as ~HASH
//	j:HASH  a token by its issuer and id
//	v:HASH  a subject by its issuer and subject
//
// HASH is the first 22 characters, 132 bits, of the base64url of a SHA-256 over the parts, each behind its length
// as 8 bytes, big endian. What comes from a token, perhaps a foreign issuer's, stands in no name as it is
// unless it is short and plain, so that no name can be another one, mean something to a store or grow without bound.
func Name(r auth.Revocation) string {
	switch {
	case r.Session != "":
		if len(r.Session) <= 64 && plain(r.Session) {
			return "s:" + r.Session
		}
		h := shorthash.Of(r.Session)
		return "s:~" + string(h[:])
	case r.TokenID != "":
		h := shorthash.Of(r.Issuer, r.TokenID)
		return "j:" + string(h[:])
	}
	h := shorthash.Of(r.Issuer, r.Subject)
	return "v:" + string(h[:])
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

// Value is what an entry says beside its name. Of two with one name the higher counts:
//
//	0     a session that another replaced: its tokens are answered with auth.TokenExpired
//	1     an ended session or token
//	Below of a subject
func Value(r auth.Revocation) int64 {
	switch {
	case r.Replaced:
		return replaced
	case r.Below != 0:
		return r.Below
	}
	return ended
}
