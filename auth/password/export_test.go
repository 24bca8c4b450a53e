package password

import (
	"sync/atomic"

	"golang.org/x/crypto/bcrypt"
)

// Counts is what a Hasher has computed. Work is in KiB written, Cost in bcrypt rounds, Scrypt in N x r x p, and Rounds in those
// of PBKDF2 by SHA-256, SHA-512 and SHA-1 and of SHA-crypt by SHA-256 and SHA-512.
type Counts struct {
	Argon2, Work, Bcrypt, Cost, Scrypt atomic.Int64
	MixMemory                          atomic.Int64 // the most KiB of a scrypt
	Rounds                             [roundsKinds]atomic.Int64
}

// Observe counts what h computes. A non-nil argon stands in for argon2, and nothing fits a hash of another scheme
// then, so that no test waits for work it does not look at.
func (h *Hasher) Observe(argon func(memory, time uint32, lanes uint8) []byte) *Counts {
	n := new(Counts)
	derive, compare, stretch, mix := h.derive, h.compare, h.stretch, h.mix
	h.stretch = func(r roundsHash, pw []byte) []byte {
		n.Rounds[r.kind].Add(int64(r.rounds))
		if argon != nil {
			return nil
		}
		return stretch(r, pw)
	}
	h.mix = func(s scryptHash, pw []byte) []byte {
		n.Scrypt.Add(int64(s.work()))
		n.MixMemory.Store(max(n.MixMemory.Load(), int64(s.needs())))
		if argon != nil {
			return nil
		}
		return mix(s, pw)
	}
	h.derive = func(a argon2Hash, pw []byte) []byte {
		n.Argon2.Add(1)
		n.Work.Add(int64(a.work()))
		if argon != nil {
			return argon(a.memory, a.time, a.lanes)
		}
		return derive(a, pw)
	}
	h.compare = func(hash, pw []byte) error {
		n.Bcrypt.Add(1)
		if cost, err := bcrypt.Cost(hash); err == nil {
			n.Cost.Add(1 << cost)
		}
		if argon != nil {
			return bcrypt.ErrMismatchedHashAndPassword
		}
		return compare(hash, pw)
	}
	return n
}

// Load says how many checks run and wait, and how many KiB are in use and left to the collector.
func (h *Hasher) Load() (running, waiting int, live, spent uint64) {
	h.gate.mu.Lock()
	defer h.gate.mu.Unlock()
	return h.gate.running, len(h.gate.waiting), h.gate.live, h.gate.spent
}

// SetCollect replaces runtime.GC.
func (h *Hasher) SetCollect(f func()) { h.gate.collect = f }

// Reread parses text and writes an argon2 hash again; "" for others.
func Reread(text string) (again string, memory uint32, err error) {
	s, peppered, err := (&Hasher{maxMemory: 256 * 1024}).parse(text)
	if err != nil {
		return "", 0, err
	}
	if a, ok := s.(argon2Hash); ok {
		again = a.encode()
		if a.django {
			again = "argon2" + again
		}
		if peppered != "" {
			again = pepperPrefix + peppered + again
		}
	}
	return again, s.needs(), nil
}

// AfterCompare calls f after each comparison with a bcrypt hash.
func (h *Hasher) AfterCompare(f func()) {
	compare := h.compare
	h.compare = func(hash, pw []byte) error {
		defer f()
		return compare(hash, pw)
	}
}

// Derive computes a digest of one of kinds.
func Derive(kind int, password string, rounds int) []byte {
	return deriveRounds(roundsHash{kind: kind, rounds: rounds, salt: []byte("salt")}, []byte(password))
}
