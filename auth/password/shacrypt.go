package password

import (
	"bytes"
	"errors"
	"hash"
)

const (
	cryptRounds    = 5000 // where the text names none
	minCryptRounds = 1000
	maxCryptSalt   = 16

	// maxCryptBytes is the longest password that SHA-crypt is computed of, as in libxcrypt: every round hashes
	// the password again, so that one of 2,048 bytes takes 20 times as long as a short one (ATK-L09, ATK-L13).
	maxCryptBytes = 512
)

// errCryptTooLong does not depend on whether the password is right.
var errCryptTooLong = errors.New("the password is over 512 bytes and the hash is sha256_crypt or sha512_crypt")

// parseCrypt reads $5$rounds=535000$salt$digest and $5$salt$digest, and $6$ in the same way: passlib's
// sha256_crypt and sha512_crypt, and what Linux has in /etc/shadow.
func parseCrypt(parts []string) (storedHash, error) {
	kind, size := cryptSHA256, 43
	if parts[1] == "6" {
		kind, size = cryptSHA512, 86
	}
	rounds := uint32(cryptRounds)
	if len(parts) == 5 {
		n, err := number(parts[2], "rounds=", minCryptRounds, kinds[kind].most)
		if err != nil {
			return nil, err
		}
		rounds = n
	}
	salt, digest := parts[len(parts)-2], parts[len(parts)-1]
	if len(parts) > 5 || len(salt) > maxCryptSalt || len(digest) != size || !isBcrypt64(salt+digest) {
		return nil, errors.New("not $5$rounds=n$salt$digest, with up to 16 and 43 (of $6$: 86) characters of ./A-Za-z0-9")
	}
	return roundsHash{kind, int(rounds), []byte(salt), []byte(digest)}, nil
}

// deriveCrypt is U. Drepper's "Unix crypt using SHA-256 and SHA-512", version 0.6; the numbers are its steps.
// The digest is in the text form of that document. Of a password over maxCryptBytes it is nil, the digest of
// nothing.
func deriveCrypt(new func() hash.Hash, password, salt []byte, rounds int) []byte {
	if len(password) > maxCryptBytes {
		return nil
	}
	h := new()
	sum := func(parts ...[]byte) []byte {
		h.Reset()
		for _, p := range parts {
			h.Write(p)
		}
		return h.Sum(nil)
	}
	stretch := func(digest []byte, size int) []byte { return bytes.Repeat(digest, size/len(digest)+1)[:size] }

	b := sum(password, salt, password)                           // 4 to 8
	mixed := [][]byte{password, salt, stretch(b, len(password))} // 1 to 3, 9, 10
	for n := len(password); n > 0; n >>= 1 {                     // 11
		if n&1 == 1 {
			mixed = append(mixed, b)
		} else {
			mixed = append(mixed, password)
		}
	}
	a := sum(mixed...)                                                      // 12
	p := stretch(sum(bytes.Repeat(password, len(password))), len(password)) // 13 to 16
	s := stretch(sum(bytes.Repeat(salt, 16+int(a[0]))), len(salt))          // 17 to 20
	for i := range rounds {                                                 // 21
		h.Reset()
		if i%2 == 1 {
			h.Write(p)
		} else {
			h.Write(a)
		}
		if i%3 != 0 {
			h.Write(s)
		}
		if i%7 != 0 {
			h.Write(p)
		}
		if i%2 == 1 {
			h.Write(a)
		} else {
			h.Write(p)
		}
		a = h.Sum(a[:0])
	}
	return encodeCrypt(a)
}

// encodeCrypt is step 22: three bytes are four characters, the lowest bits first. Which three is a rotation.
func encodeCrypt(digest []byte) []byte {
	var text []byte
	put := func(n, chars int) {
		for range chars {
			text = append(text, "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"[n&63])
			n >>= 6
		}
	}
	third := len(digest) / 3
	i, j, k := 0, third, 2*third
	for range third {
		put(int(digest[i])<<16|int(digest[j])<<8|int(digest[k]), 4)
		if len(digest) == 32 {
			i, j, k = k+1, i+1, j+1
		} else {
			i, j, k = j+1, k+1, i+1
		}
	}
	if len(digest) == 32 {
		put(int(digest[31])<<8|int(digest[30]), 3)
	} else {
		put(int(digest[63]), 2)
	}
	return text
}
