package password

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"math/bits"
	"strings"

	"golang.org/x/crypto/scrypt"
)

// The cost of scrypt is N x r x p, each 128 bytes that are written and read.
const (
	maxScrypt   = 1 << 22 // about 3 s
	scryptLevel = 1 << 20 // OWASP's: N=2^17, r=8, p=1
	maxScryptRP = 64      // r or p
)

// scryptHash is passlib's, Django's or Werkzeug's scrypt (RFC 7914).
type scryptHash struct {
	n, r, p      uint32
	salt, digest []byte
}

// needs is what scrypt.Key allocates.
func (s scryptHash) needs() uint32 {
	return uint32((uint64(s.n)+uint64(s.p)+2)*uint64(s.r)/8) + 1
}

func (s scryptHash) work() uint64 { return uint64(s.n) * uint64(s.r) * uint64(s.p) }

// parseScrypt reads ["", "scrypt", "ln=16,r=8,p=1", salt, digest], passlib's.
func parseScrypt(parts []string, maxMemory uint32) (storedHash, error) {
	if len(parts) != 5 {
		return nil, errors.New("not $scrypt$ln=,r=,p=$salt$digest")
	}
	costs := strings.Split(parts[2], ",")
	if len(costs) != 3 {
		return nil, errors.New("not the three costs ln, r, p")
	}
	log, err := number(costs[0], "ln=", 1, uint32(bits.Len(maxScrypt)-1))
	if err != nil {
		return nil, err
	}
	salt, err := unbase64(base64.RawStdEncoding, parts[3], "salt", 1, maxSalt)
	if err != nil {
		return nil, err
	}
	digest, err := unbase64(base64.RawStdEncoding, parts[4], "digest", minTag, maxTag)
	if err != nil {
		return nil, err
	}
	return newScrypt(1<<log, costs[1], costs[2], salt, digest, maxMemory)
}

// parseDjangoScrypt reads ["scrypt", "16384", salt, "8", "5", digest]. The salt is hashed as it stands.
func parseDjangoScrypt(parts []string, maxMemory uint32) (storedHash, error) {
	if len(parts) != 6 || len(parts[2]) == 0 || len(parts[2]) > maxSalt {
		return nil, errors.New("not scrypt$n$salt$r$p$digest")
	}
	n, err := number("n="+parts[1], "n=", 2, maxScrypt)
	if err != nil {
		return nil, err
	}
	digest, err := unbase64(base64.StdEncoding, parts[5], "digest", minTag, maxTag)
	if err != nil {
		return nil, err
	}
	return newScrypt(n, "r="+parts[3], "p="+parts[4], []byte(parts[2]), digest, maxMemory)
}

// parseWerkzeugScrypt reads ["scrypt", "32768", "8", "1"] and the salt and digest behind them.
func parseWerkzeugScrypt(method []string, salt, digest string, maxMemory uint32) (storedHash, error) {
	if len(method) != 4 {
		return nil, errors.New("not scrypt:n:r:p$salt$digest")
	}
	n, err := number("n="+method[1], "n=", 2, maxScrypt)
	if err != nil {
		return nil, err
	}
	sum, err := hex.DecodeString(digest)
	if err != nil || len(sum) < minTag || len(sum) > maxTag {
		return nil, errors.New("not a digest in hexadecimal")
	}
	return newScrypt(n, "r="+method[2], "p="+method[3], []byte(salt), sum, maxMemory)
}

func newScrypt(n uint32, rText, pText string, salt, digest []byte, maxMemory uint32) (storedHash, error) {
	r, err := number(rText, "r=", 1, maxScryptRP)
	if err != nil {
		return nil, err
	}
	p, err := number(pText, "p=", 1, maxScryptRP)
	if err != nil {
		return nil, err
	}
	s := scryptHash{n, r, p, salt, digest}
	switch {
	case n&(n-1) != 0:
		return nil, errors.New("n is no power of two")
	case s.work() > maxScrypt:
		return nil, fmt.Errorf("n x r x p out of range, expected %d or less", maxScrypt)
	case s.needs() > maxMemory:
		return nil, fmt.Errorf("n x r needs %d KiB, expected %d or less", s.needs(), maxMemory)
	}
	return s, nil
}

func deriveScrypt(s scryptHash, password []byte) []byte {
	digest, err := scrypt.Key(password, s.salt, int(s.n), int(s.r), int(s.p), len(s.digest))
	if err != nil {
		return nil
	}
	return digest
}

// levelScrypt brings a check of the cost done, 0 for none, up to goal, within a 32nd. It takes no more memory
// than a new hash: one dear row must not make all failed logins wait for each other.
func (h *Hasher) levelScrypt(ctx context.Context, slot *slot, done, goal uint64, pw []byte) {
	const r = 8 // of n blocks that is n KiB
	for missing := goal - min(done, goal); missing >= 2*r && 32*missing >= goal; {
		n := uint64(1) << (bits.Len64(min(missing/r, uint64(h.live.memory))) - 1)
		rest := scryptHash{uint32(n), r, uint32(missing / (n * r)), h.live.salt, h.live.tag}
		if slot.more(ctx, rest.needs()) != nil {
			return
		}
		h.mix(rest, pw)
		missing -= rest.work()
	}
}
