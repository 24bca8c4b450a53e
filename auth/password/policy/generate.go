package policy

import (
	"crypto/rand"
	"fmt"
)

// alphabet has no characters that are taken for others.
const alphabet = "abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"

const (
	groupSize = 5
	usual     = 23 // four groups: 20 characters of more than 5.8 bits, and three hyphens
)

// Generate returns a new random password that keeps the policy, such as "u7Kfx-Qm3Rt-hY9pw-Zc5Vd". Groups of five
// can be read out. Show it once.
//
// length counts all characters, hyphens included. 0 means 23 (about 116 bits), or MinLength where that is more. Each
// group adds 29 bits: 8 characters have 40, so use them only where a second factor is always asked for. A length below
// MinLength or above MaxBytes is an error.
func (p *Policy) Generate(length int) (string, error) {
	if length == 0 {
		length = max(usual, p.c.MinLength)
	}
	if length < p.c.MinLength || length > p.c.MaxBytes {
		return "", fmt.Errorf("policy: Generate: got a length of %d, expected 0 (the default) or %d to %d", length, p.c.MinLength, p.c.MaxBytes)
	}
	pw := make([]byte, length)
	for {
		for i := range pw {
			// No hyphen at the end: it is overlooked, or taken for a part of the sentence.
			if i%(groupSize+1) == groupSize && i < length-1 {
				pw[i] = '-'
			} else {
				pw[i] = alphabet[pick(len(alphabet))]
			}
		}
		// Some lack a class that is demanded, and one in very many is a name.
		if text := string(pw); len(p.local(text, p.words)) == 0 {
			return text, nil
		}
	}
}

// pick returns a random number from 0 to n-1, every one as likely: bytes above the last multiple of n are thrown away.
func pick(n int) int {
	for {
		var b [1]byte
		_, _ = rand.Read(b[:])
		if int(b[0]) < 256/n*n {
			return int(b[0]) % n
		}
	}
}
