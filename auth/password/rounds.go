package password

import (
	"crypto/pbkdf2"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"hash"
	"strings"
)

// The functions whose cost is a number of rounds.
const (
	pbkdf2SHA256 = iota
	pbkdf2SHA512
	pbkdf2SHA1
	cryptSHA256
	cryptSHA512
	roundsKinds
)

// kinds is what tells them apart. A check of the most rounds takes a few seconds.
var kinds = [roundsKinds]struct {
	new    func() hash.Hash
	most   uint32 // the ceiling of a stored hash
	level  int    // what failed checks are brought up to at most
	derive func(new func() hash.Hash, password, salt []byte, rounds int) []byte
}{
	pbkdf2SHA256: {sha256.New, 2_000_000, 1_500_000, derivePBKDF2}, // Django 6.1's default; 0.3 s of a core, as the next two
	pbkdf2SHA512: {sha512.New, 2_000_000, 1_000_000, derivePBKDF2}, // Werkzeug 3.1's
	pbkdf2SHA1:   {sha1.New, 2_000_000, 1_500_000, derivePBKDF2},   // Django 6.1's
	cryptSHA256:  {sha256.New, 1_000_000, 535_000, deriveCrypt},    // those of SHA-crypt are passlib's defaults
	cryptSHA512:  {sha512.New, 1_000_000, 656_000, deriveCrypt},
}

// roundsHash is a hash of one of kinds. The digest of PBKDF2 is one whole block, that of SHA-crypt is text.
type roundsHash struct {
	kind, rounds int
	salt, digest []byte
}

// needs is 0, but it takes a slot all the same.
func (r roundsHash) needs() uint32 { return 0 }

// parsePBKDF2 reads ["", "pbkdf2-sha256", "29000", salt, digest], both in passlib's base64, which has . for +.
func parsePBKDF2(parts []string) (storedHash, error) {
	if len(parts) != 5 || strings.ContainsRune(parts[3]+parts[4], '+') {
		return nil, errors.New("not $pbkdf2-sha256$rounds$salt$digest with . for +")
	}
	kind := map[string]int{"pbkdf2-sha256": pbkdf2SHA256, "pbkdf2-sha512": pbkdf2SHA512, "pbkdf2": pbkdf2SHA1}[parts[1]]
	salt, err := unbase64(base64.RawStdEncoding, strings.ReplaceAll(parts[3], ".", "+"), "salt", minSalt, maxSalt)
	if err != nil {
		return nil, err
	}
	size := kinds[kind].new().Size()
	digest, err := unbase64(base64.RawStdEncoding, strings.ReplaceAll(parts[4], ".", "+"), "digest", size, size)
	if err != nil {
		return nil, err
	}
	return newRounds(kind, parts[2], salt, digest)
}

// parseDjangoPBKDF2 reads ["pbkdf2_sha256", "260000", salt, digest]. The salt is hashed as it stands.
func parseDjangoPBKDF2(kind int, parts []string) (storedHash, error) {
	if len(parts) != 4 || len(parts[2]) == 0 || len(parts[2]) > maxSalt {
		return nil, errors.New("not pbkdf2_sha256$rounds$salt$digest")
	}
	size := kinds[kind].new().Size()
	digest, err := unbase64(base64.StdEncoding, parts[3], "digest", size, size)
	if err != nil {
		return nil, err
	}
	return newRounds(kind, parts[1], []byte(parts[2]), digest)
}

// parseWerkzeugPBKDF2 reads ["pbkdf2", "sha256", "600000"] and the salt and digest behind them.
func parseWerkzeugPBKDF2(method []string, salt, digest string) (storedHash, error) {
	if len(method) != 3 {
		return nil, errors.New("not pbkdf2:hash:rounds$salt$digest")
	}
	kind, known := map[string]int{"sha256": pbkdf2SHA256, "sha512": pbkdf2SHA512, "sha1": pbkdf2SHA1}[method[1]]
	sum, err := hex.DecodeString(digest)
	if !known || err != nil || len(sum) != kinds[kind].new().Size() {
		return nil, errors.New("not a digest of sha1, sha256 or sha512 in hexadecimal")
	}
	return newRounds(kind, method[2], []byte(salt), sum)
}

func newRounds(kind int, rounds string, salt, digest []byte) (storedHash, error) {
	n, err := number("rounds="+rounds, "rounds=", 1, kinds[kind].most)
	if err != nil {
		return nil, err
	}
	return roundsHash{kind, int(n), salt, digest}, nil
}

// deriveRounds returns nil, which is the digest of nothing, when the platform refuses the parameters, as FIPS
// 140 mode does.
func deriveRounds(r roundsHash, password []byte) []byte {
	return kinds[r.kind].derive(kinds[r.kind].new, password, r.salt, r.rounds)
}

func derivePBKDF2(new func() hash.Hash, password, salt []byte, rounds int) []byte {
	digest, err := pbkdf2.Key(new, string(password), salt, rounds, new().Size())
	if err != nil {
		return nil
	}
	return digest
}
