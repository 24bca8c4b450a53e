package password

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/doorward/doorward/auth"
)

const (
	// bcryptReads is how many bytes of a password bcrypt reads. x/crypto refuses longer ones when it
	// hashes and ignores the rest when it compares (STD-P05), so the length is checked here.
	bcryptReads = 72

	minBcryptCost = 4
	newBcryptCost = 10 // the least for new hashes
	maxBcryptCost = 16 // about 4 s; each step doubles it, and 31 would take a day
)

// bcryptHash is a bcrypt hash in the spelling of x/crypto, and what is done to the password first.
type bcryptHash struct {
	text    string
	cost    int
	prehash func(salt string, password []byte) []byte // nil: nothing, and bcrypt's limit holds
	django  bool                                      // the stored text begins with bcrypt$ or bcrypt_sha256$
}

// needs is 0: bcrypt fills 4 KiB. It takes a slot all the same.
func (b bcryptHash) needs() uint32 { return 0 }

// cuts says whether bcrypt would not read the whole password.
func (b bcryptHash) cuts(password []byte) bool {
	return b.prehash == nil && len(password) > bcryptReads
}

// inputs returns what is compared with b: one, or two where password goes on after 72 bytes and byte 72 is inside a
// character. Some systems cut there and hashed the half character; others dropped it (U-19).
func (b bcryptHash) inputs(password []byte, truncate bool) [][]byte {
	if b.prehash != nil {
		salt := b.text[len("$2b$12$"):][:22]
		return [][]byte{b.prehash(salt, password)}
	}
	if !b.cuts(password) {
		return [][]byte{password}
	}
	end := bcryptReads
	for !utf8.RuneStart(password[end]) { // at most three times: prepare refuses what is not UTF-8
		end--
	}
	if !truncate || end == bcryptReads {
		return [][]byte{password[:bcryptReads]}
	}
	return [][]byte{password[:bcryptReads], password[:end]}
}

// hashBcrypt returns a new hash. The text says 2b, which every library reads; x/crypto writes 2a.
func (h *Hasher) hashBcrypt(ctx context.Context, password []byte) (string, error) {
	if len(password) > bcryptReads {
		return "", fmt.Errorf("%w: %w", auth.ValidationFailed, ErrTooLong)
	}
	slot, err := h.gate.enter(ctx, 0)
	if err != nil {
		return "", err
	}
	defer slot.leave()
	text, err := h.generate(password, h.bcrypt)
	if err != nil {
		return "", fmt.Errorf("password: bcrypt: %w", err)
	}
	return "$2b" + strings.TrimPrefix(string(text), "$2a"), nil
}

// dummyBcrypt costs what a hash of that cost costs. It fits no password that anybody knows.
func dummyBcrypt(cost int) bcryptHash {
	return bcryptHash{text: fmt.Sprintf("$2b$%02d$%s", cost, strings.Repeat(".", 53)), cost: cost}
}

// parseBcrypt reads $2b$12$ and 22 characters of salt, 31 of digest. $2a$, $2b$ and $2y$ name the
// same function here: they differ in bugs that other libraries had with input that prepare refuses.
// $2x$, the hash with such a bug, and the unversioned $2$ are not read.
func parseBcrypt(text string, parts []string) (b bcryptHash, err error) {
	if len(parts) != 4 || parts[0] != "" || len(parts[2]) != 2 || len(parts[3]) != 53 || !isBcrypt64(parts[3]) {
		return b, errors.New("not $2b$cost$ and 53 characters of ./A-Za-z0-9")
	}
	switch parts[1] {
	case "2a", "2b", "2y":
	default:
		return b, errors.New("bcrypt of another version than 2a, 2b and 2y")
	}
	cost, err := number("r="+strings.TrimPrefix(parts[2], "0"), "r=", minBcryptCost, maxBcryptCost)
	if err != nil {
		return b, fmt.Errorf("bcrypt cost: %w", err)
	}
	return bcryptHash{text: text, cost: int(cost)}, nil
}

// parseBcryptSHA256 reads passlib's bcrypt_sha256, which takes passwords of any length:
// $bcrypt-sha256$v=2,t=2b,r=12$salt$digest, and the first version $bcrypt-sha256$2b,12$salt$digest.
func parseBcryptSHA256(parts []string) (storedHash, error) {
	if len(parts) != 5 || len(parts[3]) != 22 || len(parts[4]) != 31 || !isBcrypt64(parts[3]+parts[4]) {
		return nil, errors.New("not $bcrypt-sha256$v=2,t=2b,r=cost$salt$digest")
	}
	prehash := prehashHMAC
	rounds, second := strings.CutPrefix(parts[2], "v=2,t=2b,")
	if !second {
		ident, cost, _ := strings.Cut(parts[2], ",")
		if ident != "2a" && ident != "2b" {
			return nil, errors.New("bcrypt-sha256 of an unknown version")
		}
		prehash, rounds = prehashPlain, "r="+cost
	}
	cost, err := number(rounds, "r=", minBcryptCost, maxBcryptCost)
	if err != nil {
		return nil, fmt.Errorf("bcrypt cost: %w", err)
	}
	text := fmt.Sprintf("$2b$%02d$%s%s", cost, parts[3], parts[4])
	return bcryptHash{text: text, cost: int(cost), prehash: prehash}, nil
}

// The digests are base64: a raw one may hold a NUL, which ends a password for some bcrypts.

func prehashHMAC(salt string, password []byte) []byte {
	mac := hmac.New(sha256.New, []byte(salt))
	mac.Write(password)
	return base64.StdEncoding.AppendEncode(nil, mac.Sum(nil))
}

func prehashPlain(_ string, password []byte) []byte {
	sum := sha256.Sum256(password)
	return base64.StdEncoding.AppendEncode(nil, sum[:])
}

// isBcrypt64 says whether s has only the characters of bcrypt's base64.
func isBcrypt64(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '.' || c > '9') { // . / 0-9 stand together
			return false
		}
	}
	return true
}
