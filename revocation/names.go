package revocation

import (
	"hash/maphash"
	"strings"
	"sync/atomic"

	"github.com/doorward/doorward/auth"
)

// The kinds of names, by their first letter.
const (
	sessions = iota
	tokens
	subjects
)

// readable says whether a name is one that [Name] makes.
func readable(name string) bool {
	return len(name) > 2 && len(name) <= 67 && name[1] == ':' && kindOf(name) >= 0
}

func kindOf(name string) int { return strings.IndexByte("sjv", name[0]) }

// names makes the keys of an index from the names of entries and of principals who ask. It remembers the last keys
// that took a SHA-256, of about 4,000 tokens and as many subjects, at most 300 bytes each for ids of the usual length.
type names struct {
	lo, hi maphash.Seed // random, so that nobody can aim names at one slot
	keys   [2][4096]atomic.Pointer[memo]
}

// A memo is one remembered key. It is never changed.
type memo struct {
	issuer, id string
	lo, hi     uint64
}

func newNames() *names { return &names{lo: maphash.MakeSeed(), hi: maphash.MakeSeed()} }

// key returns the key of a name of this kind, without its letter. lo is never 0.
func (n *names) key(kind int, name string) (lo, hi uint64) {
	return maphash.String(n.lo, name) | 1, maphash.String(n.hi, name) + uint64(kind)
}

func (n *names) session(p *auth.Principal) (lo, hi uint64) {
	if len(p.Session) <= 64 && plain(p.Session) {
		return n.key(sessions, p.Session)
	}
	return n.key(sessions, Name(auth.Revocation{Session: p.Session})[2:])
}

func (n *names) token(p *auth.Principal) (lo, hi uint64) {
	return n.remember(&n.keys[0], tokens, auth.Revocation{Owner: p.Owner(), TokenID: p.TokenID}, p.TokenID)
}

func (n *names) subject(p *auth.Principal) (lo, hi uint64) {
	return n.remember(&n.keys[1], subjects, auth.Revocation{Owner: p.Owner()}, p.Subject)
}

// remember keeps copies of the ids: they may be parts of a whole request's text.
func (n *names) remember(keys *[4096]atomic.Pointer[memo], kind int, r auth.Revocation, id string) (lo, hi uint64) {
	at := &keys[maphash.String(n.lo, id)%uint64(len(keys))]
	if m := at.Load(); m != nil && m.id == id && m.issuer == r.Issuer {
		return m.lo, m.hi
	}
	lo, hi = n.key(kind, Name(r)[2:])
	if len(id)+len(r.Issuer) <= 1024 {
		at.Store(&memo{strings.Clone(r.Issuer), strings.Clone(id), lo, hi})
	}
	return lo, hi
}
