package totp

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"strings"

	"github.com/doorward/doorward/auth"
)

// A recovery code has 25 characters of 5 bits: 125 bits. From 112 on a plain hash is what ASVS 5.0 V6.5.2 asks for; a
// shorter code would need a slow one, ten times with each try, for a code that nobody types often.
const (
	recoveryCodes = 10
	recoveryChars = 25
	hashBytes     = sha256.Size

	crockford = "0123456789ABCDEFGHJKMNPQRSTVWXYZ" // without what looks alike, and U
)

// RecoveryCodes are ten codes such as 7KQ2M-0WXYZ-..., to be shown once: nothing but their hashes is kept. Printed,
// logged or marshalled they show a mask.
type RecoveryCodes struct {
	masked
	codes **[]string // see key
}

// List returns the codes.
func (r RecoveryCodes) List() []string {
	if r.codes == nil {
		return nil
	}
	return slices.Clone(**r.codes)
}

// newRecoveryCodes returns ten codes and their hashes.
func newRecoveryCodes(owner auth.Owner) (RecoveryCodes, [][]byte) {
	codes, hashes := make([]string, recoveryCodes), make([][]byte, recoveryCodes)
	for i := range codes {
		var random [recoveryChars]byte
		_, _ = rand.Read(random[:]) // it never fails: it ends the process instead
		text := make([]byte, recoveryChars)
		for j, b := range random {
			text[j] = crockford[b%32]
		}
		hashes[i] = hashRecovery(owner, string(text))
		for j := range recoveryChars / 5 {
			if j > 0 {
				codes[i] += "-"
			}
			codes[i] += string(text[5*j : 5*j+5])
		}
	}
	p := &codes
	return RecoveryCodes{codes: &p}, hashes
}

// hashRecovery is bound to its owner, so that a hash is of no use in another's record.
func hashRecovery(owner auth.Owner, code string) []byte {
	var b []byte
	for _, s := range []string{"doorward recovery code", owner.Issuer, owner.Subject, code} {
		b = append(binary.BigEndian.AppendUint64(b, uint64(len(s))), s...)
	}
	sum := sha256.Sum256(b)
	return sum[:]
}

// A proof is a code in its one form: digits, or the hash of a recovery code.
type proof struct {
	code     string
	recovery []byte
}

// parseCode removes spaces and takes six or eight ASCII digits, nothing else: before a MAC is made.
func parseCode(code string) (proof, error) {
	if len(code) <= 32 {
		code = strings.ReplaceAll(code, " ", "")
		if (len(code) == 6 || len(code) == 8) && strings.Trim(code, "0123456789") == "" {
			return proof{code: code}, nil
		}
	}
	return proof{}, invalid{field: "code", why: "The code has 6 or 8 digits."}
}

// IsRecoveryCode says whether a text has the form of a recovery code. No text has this form and that of a code from the
// app. A login that takes either asks it first: [Factors.Recover] where it is true, [Factors.Verify] where it is not.
// It says nothing about whether the code is right.
func IsRecoveryCode(text string) bool {
	_, ok := readRecovery(text)
	return ok
}

// readRecovery reads a recovery code as people write it down (Crockford's base32).
func readRecovery(code string) (text string, ok bool) {
	if len(code) > 64 {
		return "", false
	}
	text = strings.NewReplacer(" ", "", "-", "", "O", "0", "I", "1", "L", "1").Replace(upper(code))
	return text, len(text) == recoveryChars && strings.Trim(text, crockford) == ""
}

func parseRecovery(owner auth.Owner, code string) (proof, error) {
	text, ok := readRecovery(code)
	if !ok {
		return proof{}, invalid{field: "code", why: "A recovery code has 25 letters and digits."}
	}
	return proof{recovery: hashRecovery(owner, text)}, nil
}

// parseEither takes one or the other; they cannot be mistaken for each other.
func parseEither(owner auth.Owner, code string) (proof, error) {
	if p, err := parseCode(code); err == nil {
		return p, nil
	}
	p, err := parseRecovery(owner, code)
	if err != nil {
		return p, invalid{field: "code", why: "The code has 6 or 8 digits, a recovery code 25 letters and digits."}
	}
	return p, nil
}
