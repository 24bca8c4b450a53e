package password

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/crypto/argon2"

	"github.com/doorward/doorward/auth"
)

// What a new hash has, and the ceilings of a stored one. The ceilings are checked before anything is
// allocated or computed: whoever can write one row must not be able to stop the service (ATK-L13).
const (
	saltBytes, tagBytes = 16, 32

	memoryLimit = 4 << 20 // KiB that Config may allow: 4 GiB
	maxTime     = 16      // several times what any library has as its default
	maxLanes    = 64      // goroutines; libraries use 1 to 8
	maxText     = 256     // bytes, without a pepper's name; the longest that the other ceilings leave has 209

	whiteSpace = " \t\r\n\v\f"

	minSalt, maxSalt = 8, 64  // RFC 9106 section 3.1 allows no shorter one
	minTag, maxTag   = 16, 64 // 16 is what passlib and Django wrote; a shorter one can be hit by chance
)

// A storedHash is a hash that was read and is safe to compute.
type storedHash interface {
	needs() uint32 // KiB
}

// argon2Hash is an argon2 hash of version 1.3. x/crypto has neither older versions nor argon2d.
type argon2Hash struct {
	i            bool // argon2i, the default of argon2-cffi and passlib before 2018
	memory, time uint32
	lanes        uint8
	salt, tag    []byte
	django       bool // the text begins with argon2$argon2id$
}

func (a argon2Hash) needs() uint32 { return a.memory }

// work is the cost in KiB written.
func (a argon2Hash) work() uint64 { return uint64(a.memory) * uint64(a.time) }

// encode returns the PHC form as argon2-cffi writes it. It is not named String, so that no log shows it.
func (a argon2Hash) encode() string {
	id := "argon2id"
	if a.i {
		id = "argon2i"
	}
	b64 := base64.RawStdEncoding
	return fmt.Sprintf("$%s$v=%d$m=%d,t=%d,p=%d$%s$%s",
		id, argon2.Version, a.memory, a.time, a.lanes, b64.EncodeToString(a.salt), b64.EncodeToString(a.tag))
}

// errNoHash is the verdict on the empty hash of an unknown user. For a client it is any failed login.
var errNoHash = fmt.Errorf("%w: there is no password to compare with", auth.LoginFailed)

// parse reads a stored hash, and the name of its pepper, "" without one. Its errors never quote it: what
// stands in that column may be anything, even a password.
//
// White space around it is what a CHAR column or a line of a file has added. "!" before it is how Django and
// Unix mark an account whose password is not to be used.
func (h *Hasher) parse(text string) (s storedHash, peppered string, err error) {
	text = strings.Trim(text, whiteSpace)
	if text == "" || text[0] == '!' {
		return nil, "", errNoHash
	}
	peppered, rest, err := cutPepper(text)
	switch {
	case err != nil:
	case peppered == "":
		s, err = h.read(text)
	default:
		if s, err = parseKnown(rest, h.maxMemory); err == nil && !isNew(s) {
			err = errors.New("a pepper before something else than argon2id or bcrypt")
		}
	}
	if err != nil {
		return nil, "", fmt.Errorf("%w: %w", ErrHash, err)
	}
	return s, peppered, nil
}

// isNew says whether s is of a scheme that Hash writes.
func isNew(s storedHash) bool {
	switch s := s.(type) {
	case argon2Hash:
		return !s.i && !s.django
	case bcryptHash:
		return s.prehash == nil && !s.django
	}
	return false
}

// parseKnown reads the schemes of this package.
func parseKnown(text string, maxMemory uint32) (storedHash, error) {
	if len(text) > maxText {
		return nil, fmt.Errorf("it has %d bytes, at most %d", len(text), maxText)
	}
	if !strings.HasPrefix(text, "$") {
		return parseNamed(text, maxMemory)
	}
	parts := strings.SplitN(text, "$", 7) // more than any scheme has
	if len(parts) < 4 {
		return nil, errors.New("it does not begin with $scheme$")
	}
	switch parts[1] {
	case "argon2id", "argon2i":
		return parseArgon2(parts, maxMemory)
	case "2a", "2b", "2y":
		return parseBcrypt(text, parts)
	case "bcrypt-sha256":
		return parseBcryptSHA256(parts)
	case "pbkdf2-sha256", "pbkdf2-sha512", "pbkdf2":
		return parsePBKDF2(parts)
	case "scrypt":
		return parseScrypt(parts, maxMemory)
	case "5", "6":
		return parseCrypt(parts)
	}
	return nil, errUnknown
}

// parseArgon2 reads ["", id, "v=19", "m=65536,t=3,p=4", salt, tag], in the one spelling that the
// reference implementation writes. The first is "argon2" in Django's form.
func parseArgon2(parts []string, maxMemory uint32) (a argon2Hash, err error) {
	if len(parts) != 6 || parts[2] != "v="+strconv.Itoa(argon2.Version) {
		return a, errors.New("not $id$v=19$m=,t=,p=$salt$tag")
	}
	if parts[1] != "argon2id" && parts[1] != "argon2i" {
		return a, errors.New("argon2 of another variant than argon2id and argon2i")
	}
	costs := strings.Split(parts[3], ",")
	if len(costs) != 3 {
		return a, errors.New("not the three costs m, t, p")
	}
	lanes, err := number(costs[2], "p=", 1, maxLanes)
	if err != nil {
		return a, err
	}
	memory, err := number(costs[0], "m=", 8*lanes, maxMemory) // RFC 9106 section 3.1: 8p or more
	if err != nil {
		return a, err
	}
	time, err := number(costs[1], "t=", 1, maxTime)
	if err != nil {
		return a, err
	}
	a = argon2Hash{i: parts[1] == "argon2i", memory: memory, time: time, lanes: uint8(lanes)}
	if a.salt, err = unbase64(base64.RawStdEncoding, parts[4], "salt", minSalt, maxSalt); err != nil {
		return a, err
	}
	if a.tag, err = unbase64(base64.RawStdEncoding, parts[5], "tag", minTag, maxTag); err != nil {
		return a, err
	}
	return a, nil
}

// number reads "m=65536": decimal, without sign or leading zero, from low to high.
func number(text, prefix string, low, high uint32) (uint32, error) {
	digits, ok := strings.CutPrefix(text, prefix)
	n, err := strconv.ParseUint(digits, 10, 32)
	if !ok || err != nil && !errors.Is(err, strconv.ErrRange) || digits[0] == '0' && len(digits) > 1 {
		return 0, fmt.Errorf("not %s and a number", prefix)
	}
	if err != nil || n < uint64(low) || n > uint64(high) {
		return 0, fmt.Errorf("%s out of range, expected %d to %d", prefix, low, high)
	}
	return uint32(n), nil
}

// unbase64 decodes the strict form of enc. The decoder by itself skips line breaks. maxText bounds what it allocates.
func unbase64(enc *base64.Encoding, text, name string, low, high int) ([]byte, error) {
	b, err := enc.Strict().DecodeString(text)
	if err != nil || strings.ContainsAny(text, "\r\n") {
		return nil, fmt.Errorf("the %s is not base64 of this form", name)
	}
	if len(b) < low || len(b) > high {
		return nil, fmt.Errorf("the %s has %d bytes, expected %d to %d", name, len(b), low, high)
	}
	return b, nil
}
