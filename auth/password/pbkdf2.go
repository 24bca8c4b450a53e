package password

import (
	"crypto/pbkdf2"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"hash"
	"strings"
)

// maxRounds is more than three times what OWASP asks for, and about 4 s of SHA-512.
const maxRounds = 2_000_000

// pbkdf2Hash is passlib's pbkdf2_sha256 or pbkdf2_sha512. Its digest is one whole block of the hash.
type pbkdf2Hash struct {
	sha512       int // 0 or 1: also the index of what belongs to either
	rounds       int
	salt, digest []byte
}

// needs is 0, but it takes a slot all the same.
func (p pbkdf2Hash) needs() uint32 { return 0 }

func (p pbkdf2Hash) new() func() hash.Hash {
	return [2]func() hash.Hash{sha256.New, sha512.New}[p.sha512]
}

// parsePBKDF2 reads ["", "pbkdf2-sha256", "29000", salt, digest], both in passlib's base64, which has . for +.
func parsePBKDF2(parts []string) (storedHash, error) {
	if len(parts) != 5 || strings.ContainsRune(parts[3]+parts[4], '+') {
		return nil, errors.New("not $pbkdf2-sha256$rounds$salt$digest with . for +")
	}
	p := pbkdf2Hash{}
	if parts[1] == "pbkdf2-sha512" {
		p.sha512 = 1
	}
	rounds, err := number("rounds="+parts[2], "rounds=", 1, maxRounds)
	if err != nil {
		return nil, err
	}
	p.rounds = int(rounds)
	if p.salt, err = unbase64(strings.ReplaceAll(parts[3], ".", "+"), "salt", minSalt, maxSalt); err != nil {
		return nil, err
	}
	size := p.new()().Size()
	p.digest, err = unbase64(strings.ReplaceAll(parts[4], ".", "+"), "digest", size, size)
	return p, err
}

// derivePBKDF2 returns nil, which is the digest of nothing, when the platform refuses the parameters, as FIPS 140 mode does.
func derivePBKDF2(p pbkdf2Hash, password []byte) []byte {
	digest, err := pbkdf2.Key(p.new(), string(password), p.salt, p.rounds, p.new()().Size())
	if err != nil {
		return nil
	}
	return digest
}
