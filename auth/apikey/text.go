package apikey

import (
	"crypto/rand"
	"hash/crc32"
	"math/big"
	"regexp"
	"strings"
)

// A key is prefix_id_secret_checksum, for example dwk_03gCOZMblnoLVYpdQ_..._1fPdAc. All but the prefix is
// base62, so that a double click takes the whole and no shell or URL minds it.
const (
	idBytes, idLen         = 12, 17 // 96 random bits: names the key, no secret
	secretBytes, secretLen = 32, 43 // 256 random bits
	sumLen                 = 6      // CRC-32
	tailLen                = 1 + idLen + 1 + secretLen + 1 + sumLen
	maxPrefix              = 20
	defaultPrefix          = "dwk"
)

// digits are GitHub's, in ascending ASCII.
const digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// prefixForm has underscores inside at most, as in acme_live: a key is read from its right end.
var prefixForm = regexp.MustCompile(`^[a-z][a-z0-9]*(_[a-z0-9]+)*$`)

// Recognise says whether text has the form of a key with this prefix, checksum included, and gives its id. It
// asks nobody, so it is for secret scanners and log filters, and for whoever was sent a key that was found
// somewhere. It proves nothing: anybody can make such a text.
//
// The checksum is the CRC-32 (IEEE) of everything before the last underscore as six digits of base62
// (0-9 A-Z a-z), the form of GitHub's tokens. A scanner's pattern is
//
//	\bdwk_[0-9A-Za-z]{17}_[0-9A-Za-z]{43}_[0-9A-Za-z]{6}\b
func Recognise(prefix, text string) (id string, ok bool) {
	rest, found := strings.CutPrefix(text, prefix)
	if !found || len(rest) != tailLen {
		return "", false
	}
	id, secret, sum := rest[1:1+idLen], rest[2+idLen:2+idLen+secretLen], rest[tailLen-sumLen:]
	if rest[0] != '_' || rest[1+idLen] != '_' || rest[2+idLen+secretLen] != '_' || !isID(id) || !isBase62(secret) {
		return "", false
	}
	if checksum(text[:len(text)-sumLen-1]) != sum {
		return "", false
	}
	return id, true
}

// compose makes the text of a key.
func compose(prefix, id, secret string) string {
	left := prefix + "_" + id + "_" + secret
	return left + "_" + checksum(left)
}

// checksum tells a key from a text that looks like one, and a typing error before any store is asked. It
// is no protection: there is nothing secret in it.
func checksum(text string) string {
	sum := crc32.ChecksumIEEE([]byte(text))
	return base62([]byte{byte(sum >> 24), byte(sum >> 16), byte(sum >> 8), byte(sum)}, sumLen)
}

// random returns n random bytes in so many digits.
func random(n, length int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // crypto/rand never fails
	return base62(b, length)
}

// base62 writes b, a number, in exactly so many digits.
func base62(b []byte, length int) string {
	out := make([]byte, length)
	n, rest, base := new(big.Int).SetBytes(b), new(big.Int), big.NewInt(int64(len(digits)))
	for i := length - 1; i >= 0; i-- {
		n.DivMod(n, base, rest)
		out[i] = digits[rest.Int64()]
	}
	return string(out)
}

func isBase62(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') {
			return false
		}
	}
	return true
}

// isID says whether id could be a key's. Others are refused before any I/O.
func isID(id string) bool { return len(id) == idLen && isBase62(id) }
