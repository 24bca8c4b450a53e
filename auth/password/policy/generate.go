package policy

import (
	"crypto/rand"
	"strings"
)

// alphabet has no characters that are taken for others.
const alphabet = "abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"

const (
	groupSize = 5
	groups    = 4 // 20 characters of more than 5.8 bits
)

// Generate returns a new random password that keeps the policy, such as "u7Kfx-Qm3Rt-hY9pw-Zc5Vd": about 116
// bits, in groups that can be read out. Show it once.
func (p *Policy) Generate() string {
	for {
		var b strings.Builder
		for n := 0; n < groups || b.Len() < p.c.MinLength; n++ {
			if n > 0 {
				b.WriteByte('-')
			}
			for range groupSize {
				b.WriteByte(alphabet[pick(len(alphabet))])
			}
		}
		// Some lack a class that is demanded, and one in very many is a name.
		if pw := b.String(); len(p.local(pw, p.words)) == 0 {
			return pw
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
