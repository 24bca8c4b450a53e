package password

import (
	"context"
	"slices"
	"sync/atomic"
)

// levelBcryptCost is what failed checks are brought up to at most, as kinds and scryptLevel say for other
// schemes: a single hash of a higher cost must not slow every failed login down. 12 is the default of passlib,
// Django, PHP and Rails.
const levelBcryptCost = 12

// met is what stored hashes there are beside new ones, as far as this process has seen.
type met struct {
	argon2  atomic.Bool
	bcrypt  atomic.Int32              // the highest cost
	scrypt  atomic.Int32              // the most work
	rounds  [roundsKinds]atomic.Int32 // the most
	schemes []atomic.Pointer[Check]   // the first
}

func (m *met) note(s storedHash) {
	switch s := s.(type) {
	case argon2Hash:
		m.argon2.Store(true)
	case bcryptHash:
		raise(&m.bcrypt, min(s.cost, levelBcryptCost))
	case scryptHash:
		raise(&m.scrypt, int(min(s.work(), scryptLevel)))
	case schemeHash:
		m.schemes[s.index].CompareAndSwap(nil, s.check)
	case roundsHash:
		raise(&m.rounds[s.kind], min(s.rounds, kinds[s.kind].level))
	}
}

func raise(v *atomic.Int32, to int) {
	for old := v.Load(); int(old) < to; old = v.Load() {
		v.CompareAndSwap(old, int32(to))
	}
}

// dummy stands in for a hash that is not there or cannot be used. No password that anybody knows fits it.
func (h *Hasher) dummy() storedHash {
	if h.bcrypt != 0 {
		return dummyBcrypt(h.bcrypt)
	}
	return h.live
}

// level does the work that a failed check of s still lacks: one new hash, and one of each older scheme
// that was met. Otherwise a fast refusal tells that the account exists and has an old hash (ATK-L02).
// form is what was compared with s, and pw the same without a pepper: how often bcrypt compares depends on pw alone, so
// that it tells nothing of the account.
// When ctx ends it stops: nobody waits for the answer, so nobody measures it.
func (h *Hasher) level(ctx context.Context, slot *slot, s storedHash, form, pw []byte) {
	var work, mixed uint64 // of argon2 and scrypt
	var cost, compared int // of bcrypt: how dear, and how often
	var rounds [roundsKinds]int
	scheme := -1
	switch s := s.(type) {
	case argon2Hash:
		work = s.work()
	case bcryptHash:
		cost, compared = s.cost, len(s.inputs(form, h.truncate))
	case scryptHash:
		mixed = s.work()
	case schemeHash:
		scheme = s.index
	case roundsHash:
		rounds[s.kind] = s.rounds
	}

	if missing := h.live.work() - min(work, h.live.work()); missing > 0 && h.met.argon2.Load() {
		rest := h.live
		rest.time = uint32((missing + uint64(rest.memory)/2) / uint64(rest.memory))
		if rest.time > 0 && slot.more(ctx, rest.memory) == nil {
			h.derive(rest, pw)
		}
	}
	if goal := int(h.met.bcrypt.Load()); goal > 0 {
		for _, input := range dummyBcrypt(goal).inputs(pw, h.truncate) {
			done := 0
			if compared > 0 {
				done, compared = cost, compared-1
			}
			h.levelBcrypt(ctx, done, goal, input)
		}
	}
	for i := range rounds {
		if missing := int(h.met.rounds[i].Load()) - rounds[i]; missing > 0 && ctx.Err() == nil {
			h.stretch(roundsHash{kind: i, rounds: missing, salt: h.live.salt}, pw)
		}
	}
	h.levelScrypt(ctx, slot, mixed, uint64(h.met.scrypt.Load()), pw)
	for i := range h.met.schemes {
		if check := h.met.schemes[i].Load(); check != nil && i != scheme && slot.more(ctx, check.Memory) == nil {
			check.Verify(slices.Clone(pw))
		}
	}
}

// levelBcrypt brings one comparison of cost done, 0 for none, up to goal.
func (h *Hasher) levelBcrypt(ctx context.Context, done, goal int, input []byte) {
	if done == 0 && ctx.Err() == nil {
		_ = h.compare([]byte(dummyBcrypt(goal).text), input)
		return
	}
	for ; done < goal && ctx.Err() == nil; done++ { // 2^c + 2^c + 2^(c+1) + ... + 2^(goal-1) = 2^goal
		_ = h.compare([]byte(dummyBcrypt(done).text), input)
	}
}
