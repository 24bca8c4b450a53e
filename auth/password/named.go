package password

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// parseNamed reads the forms that begin with a name in place of $: those of Django and of Werkzeug, which is Flask's.
func parseNamed(text string, maxMemory uint32) (storedHash, error) {
	parts := strings.SplitN(text, "$", 8) // more than any of them has
	name, rest, _ := strings.Cut(text, "$")
	switch name {
	case "pbkdf2_sha256":
		return parseDjangoPBKDF2(pbkdf2SHA256, parts)
	case "pbkdf2_sha1":
		return parseDjangoPBKDF2(pbkdf2SHA1, parts)
	case "scrypt":
		return parseDjangoScrypt(parts, maxMemory)
	case "argon2": // argon2$argon2id$v=19$...
		s, err := parseArgon2(parts, maxMemory)
		if err != nil {
			return nil, err
		}
		s.django = true
		return s, nil
	case "bcrypt", "bcrypt_sha256": // bcrypt$$2b$12$...
		s, err := parseBcrypt(rest, parts[1:])
		if err != nil {
			return nil, err
		}
		s.django = true
		if name == "bcrypt_sha256" {
			s.prehash = prehashHex
		}
		return s, nil
	}
	method := strings.Split(name, ":")
	if len(method) == 1 || len(parts) != 3 || len(parts[1]) == 0 || len(parts[1]) > maxSalt {
		return nil, errUnknown
	}
	switch method[0] {
	case "pbkdf2":
		return parseWerkzeugPBKDF2(method, parts[1], parts[2])
	case "scrypt":
		return parseWerkzeugScrypt(method, parts[1], parts[2], maxMemory)
	}
	return nil, errUnknown
}

func prehashHex(_ string, password []byte) []byte {
	sum := sha256.Sum256(password)
	return hex.AppendEncode(nil, sum[:])
}
