// Package password turns passwords into hashes that can be verified, in bounded memory.
//
// New hashes are argon2id (RFC 9106) in the PHC form that argon2-cffi writes. What older systems left is
// verified as well: argon2i, bcrypt, PBKDF2, scrypt and SHA-crypt, in the forms of passlib, Django and
// Werkzeug. Upgrade replaces it.
//
// It does not own accounts, storage, limits on tries, or what makes a password good enough (package policy).
package password

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"
	"golang.org/x/text/unicode/norm"

	"github.com/doorward/doorward/auth"
)

// MaxBytes is the longest password in bytes, before normalisation: 512 code points of four bytes.
// It bounds the work before the hash; argon2 itself takes any length.
const MaxBytes = 2048

// ErrHash says that the stored hash cannot be used: malformed, of an unknown scheme, or with
// parameters above the ceilings (see [Config]). It wraps [auth.LoginFailed], so a login fails closed
// and the client cannot tell; look for it in the log, because the user can only reset the password.
var ErrHash = fmt.Errorf("%w: the stored password hash cannot be used", auth.LoginFailed)

// ErrTooLong says that the hash is bcrypt and the password is over 72 bytes, which bcrypt does not read.
// Beside it the error has the code [auth.LoginFailed] from Verify, and [auth.ValidationFailed] from Hash. See
// Config.AllowBcryptTruncation.
var ErrTooLong = errors.New("the password is over 72 bytes and the hash is bcrypt")

// Config holds the cost of new hashes and the budget that all checks share. The zero value is the
// second recommended set of RFC 9106 section 4: argon2id, 64 MiB, 3 passes, 4 lanes.
//
// Costs below the table of OWASP ASVS 5.0 appendix C are refused: 46 MiB at one pass, 19 MiB at two,
// 12 MiB at three or more.
type Config struct {
	Memory      uint32 // KiB a hash fills, as m= in its text; 0 means 65536, at most 4 GiB
	Time        uint32 // passes over the memory; 0 means 3, at most 16
	Parallelism uint8  // lanes, each a goroutine while it hashes; 0 means 4, at most 64

	// Slots is how many hashes run at once; 0 means GOMAXPROCS, at most 4096. Slots x Memory is the budget: the
	// memory that hashes hold, together with what finished ones have left to the garbage collector,
	// stays under it. A stored hash that asks for more than the whole budget runs alone.
	Slots int

	// Queue is how many checks may wait for a slot; 0 means 8 x Slots, about two seconds of work,
	// and below 0 none. A check beyond it is [auth.Busy], with a RetryAfter method, before it hashes.
	Queue int

	// MaxMemory is the most KiB that a stored hash may ask for; 0 means 256 MiB, or Memory where that
	// is more. It covers the defaults of argon2-cffi, passlib, Django, PHP and libsodium (moderate).
	// Other ceilings are fixed: 16 passes, 64 lanes, bcrypt cost 16, scrypt N x r x p of 2^22, 2,000,000 rounds
	// of PBKDF2 and 1,000,000 of SHA-crypt.
	MaxMemory uint32

	// Bcrypt makes new hashes bcrypt of this cost, for those who must share them with a system that knows
	// nothing else: 10 (ASVS 5.0 appendix C) to 16. 0, the default, is argon2id. Without a Pepper passwords
	// over 72 bytes are then refused ([ErrTooLong]). Memory, Time and Parallelism go on to set the budget, and the work
	// of failed checks once a stored argon2 hash was met.
	Bcrypt int

	// Pepper is a secret that is no part of the store and without which its hashes cannot be tried. See [Pepper].
	Pepper Pepper

	// Schemes read the hashes of an older system that are none of this package's. They are asked in order,
	// before the package's own schemes but never for what Hash writes. Anything that is weak, such as MD5 or
	// SHA-1 without rounds, is read by such a Scheme or not at all.
	Schemes []Scheme

	// Observe gets an event "rehash" for each hash that Upgrade replaced or could not replace. It has no subject: the
	// context is the caller's. nil: none.
	Observe func(context.Context, auth.Event)

	// AllowBcryptTruncation compares the first 72 bytes of a longer password with a bcrypt hash, and where byte 72 is
	// inside a character, also the 69 to 71 bytes before that character. Only for a store whose earlier system cut
	// passwords off itself: everybody who knows those first bytes gets in, until the hash is replaced.
	AllowBcryptTruncation bool
}

// A Hasher hashes and verifies. It is safe for concurrent use. Use one in a process: two have two budgets.
type Hasher struct {
	live      argon2Hash // the parameters of new hashes, with a salt and a tag that no password fits
	bcrypt    int        // not 0: the cost of new hashes, which are bcrypt
	maxMemory uint32
	truncate  bool
	pepper    Pepper
	schemes   []Scheme
	observe   func(context.Context, auth.Event)
	gate      *gate
	met       met

	derive   func(a argon2Hash, password []byte) []byte      // argon2; tests count and replace it
	compare  func(hash, password []byte) error               // bcrypt; likewise
	generate func(password []byte, cost int) ([]byte, error) // bcrypt; likewise
	stretch  func(r roundsHash, password []byte) []byte      // PBKDF2 and SHA-crypt; likewise
	mix      func(s scryptHash, password []byte) []byte      // scrypt; likewise
}

// New checks c and returns a Hasher. An error names what was given and what is expected.
func New(c Config) (*Hasher, error) {
	setDefault(&c.Memory, 64*1024)
	setDefault(&c.Time, 3)
	setDefault(&c.Parallelism, 4)
	setDefault(&c.Slots, runtime.GOMAXPROCS(0))
	setDefault(&c.Queue, 8*c.Slots)
	setDefault(&c.MaxMemory, max(c.Memory, 256*1024))

	floor := uint32(12 * 1024) // ASVS 5.0 appendix C, password storage
	switch c.Time {
	case 1:
		floor = 46 * 1024
	case 2:
		floor = 19 * 1024
	}
	switch {
	case c.Memory < floor:
		return nil, fmt.Errorf("password: Config.Memory: got %d KiB with Time %d, expected %d or more (ASVS 5.0 appendix C)", c.Memory, c.Time, floor)
	case c.Memory > memoryLimit:
		return nil, fmt.Errorf("password: Config.Memory: got %d KiB, expected %d or less", c.Memory, memoryLimit)
	case c.Time > maxTime:
		return nil, fmt.Errorf("password: Config.Time: got %d, expected %d or less", c.Time, maxTime)
	case c.Parallelism > maxLanes:
		return nil, fmt.Errorf("password: Config.Parallelism: got %d, expected %d or less", c.Parallelism, maxLanes)
	case c.Slots < 0 || c.Slots > maxSlots:
		return nil, fmt.Errorf("password: Config.Slots: got %d, expected 0 (GOMAXPROCS) to %d", c.Slots, maxSlots)
	case c.Bcrypt != 0 && (c.Bcrypt < newBcryptCost || c.Bcrypt > maxBcryptCost):
		return nil, fmt.Errorf("password: Config.Bcrypt: got cost %d, expected 0 (argon2id) or %d to %d (ASVS 5.0 appendix C)", c.Bcrypt, newBcryptCost, maxBcryptCost)
	case slices.Contains(c.Schemes, nil):
		return nil, errors.New("password: Config.Schemes: got a nil Scheme")
	case c.MaxMemory < c.Memory || c.MaxMemory > memoryLimit:
		return nil, fmt.Errorf("password: Config.MaxMemory: got %d KiB, expected Memory (%d) to %d", c.MaxMemory, c.Memory, memoryLimit)
	}

	h := &Hasher{
		live: argon2Hash{
			memory: c.Memory, time: c.Time, lanes: c.Parallelism,
			salt: random(saltBytes), tag: random(tagBytes),
		},
		bcrypt:    c.Bcrypt,
		maxMemory: c.MaxMemory,
		truncate:  c.AllowBcryptTruncation,
		pepper:    c.Pepper,
		schemes:   slices.Clone(c.Schemes),
		observe:   c.Observe,
		gate:      newGate(c.Slots, max(c.Queue, 0), uint64(c.Slots)*uint64(c.Memory)),
		derive:    deriveArgon2,
		compare:   bcrypt.CompareHashAndPassword,
		generate:  bcrypt.GenerateFromPassword,
		stretch:   deriveRounds,
		mix:       deriveScrypt,
	}
	h.met.schemes = make([]atomic.Pointer[Check], len(h.schemes))
	if h.bcrypt == 0 {
		h.met.argon2.Store(true)
	} else {
		h.met.bcrypt.Store(int32(h.bcrypt))
	}
	if err := h.pepper.check(); err != nil {
		return nil, err
	}
	return h, nil
}

// maxSlots keeps the sums below from overflowing; it is no advice.
const maxSlots = 4096

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Format writes the scheme alone under every verb: package fmt would print the secrets of a KeySource.
func (h *Hasher) Format(f fmt.State, _ rune) {
	scheme := fmt.Sprintf("argon2id m=%d t=%d p=%d", h.live.memory, h.live.time, h.live.lanes)
	if h.bcrypt != 0 {
		scheme = fmt.Sprintf("bcrypt r=%d", h.bcrypt)
	}
	_, _ = fmt.Fprintf(f, "Hasher[%s]", scheme)
}

// Hash returns a new hash of password, with a fresh salt of 16 random bytes and a tag of 32 (RFC 9106
// section 3.1), such as $argon2id$v=19$m=65536,t=3,p=4$salt$tag.
//
// The password is hashed in Unicode form NFC (NIST SP 800-63B-4 section 3.1.1.2). One that is empty,
// over [MaxBytes], not UTF-8 or has a NUL is [auth.ValidationFailed], and so is [ErrTooLong]. Without room, or when ctx ends
// before the hash begins, the error is [auth.Busy].
func (h *Hasher) Hash(ctx context.Context, password string) (string, error) {
	pw, err := prepare(password)
	if err != nil {
		return "", fmt.Errorf("%w: %w", auth.ValidationFailed, err)
	}
	pw, prefix, err := h.pepper.apply(pw)
	if err != nil {
		return "", err
	}
	if h.bcrypt != 0 {
		text, err := h.hashBcrypt(ctx, pw)
		return prefix + text, err
	}
	slot, err := h.gate.enter(ctx, h.live.memory)
	if err != nil {
		return "", err
	}
	defer slot.leave()

	a := h.live
	a.salt = random(saltBytes)
	a.tag = h.derive(a, pw)
	return prefix + a.encode(), nil
}

// Verify checks password against hash, and says whether the caller should store a new hash of it now:
// the scheme, the cost or the pepper is not what Hash would use. [Hasher.Upgrade] does both.
//
// An error wraps [auth.LoginFailed] when the password is wrong or unfit (see Hash) and when the hash
// cannot be used ([ErrHash], [ErrTooLong]), and [auth.Busy] when nothing was compared: there is no
// room, or ctx ended while it waited. hash "", or one that begins with "!", means that there is no such user or no
// password; it costs what a wrong password costs (ASVS V6.3.8). White space around hash is ignored.
//
// A failed check does the work of a new hash at least, within half a pass, so that neither a missing user nor
// an old, cheaper hash shows in its time. Once the process has met a hash of bcrypt, PBKDF2, scrypt, SHA-crypt
// or a [Scheme], each failed check does that work too, up to a level: what libraries write by default. What does show
// is an argon2 hash that costs more than a new one, bcrypt above cost 12, PBKDF2 above 1,500,000 rounds, 1,000,000 by
// SHA-512, scrypt above OWASP's cost, SHA-crypt above passlib's rounds, and the first check of a scheme in a process.
//
// A password is compared in NFC. One that came in another form is then compared as it came, for an older system that hashed
// what it was sent; that costs the same again, whoever the user is.
func (h *Hasher) Verify(ctx context.Context, hash, password string) (needsRehash bool, err error) {
	// What is refused here is refused whoever the user is, so that its time tells nothing.
	pw, err := prepare(password)
	if err != nil {
		return false, fmt.Errorf("%w: %w", auth.LoginFailed, err)
	}
	typed := [][]byte{pw}
	if string(pw) != password {
		typed = append(typed, []byte(password))
	}
	s, peppered, err := h.parse(hash)
	forms := slices.Clone(typed)
	if err == nil && peppered != "" {
		for i := range forms {
			if forms[i], err = h.pepper.reapply(peppered, typed[i]); err != nil {
				break
			}
		}
	}
	verdict := err // of a hash that cannot be used
	if err != nil {
		s = h.dummy()
	}

	slot, err := h.gate.enter(ctx, s.needs())
	if err != nil {
		return false, err
	}
	defer slot.leave()
	h.met.note(s)
	for i, form := range forms {
		// A check that is cut short here has compared something: it is a failed one, or a guess would cost no try.
		if i > 0 && slot.more(ctx, s.needs()) != nil {
			break
		}
		// live.tag is random, so what stands in for an unusable hash fails like any wrong password.
		match, err := h.match(s, form)
		if match && verdict == nil {
			return i > 0 || h.NeedsRehash(hash), nil
		}
		if i == 0 {
			verdict = cmp.Or(verdict, err)
		}
		h.level(ctx, slot, s, form, typed[i])
	}
	return false, cmp.Or(verdict, error(auth.LoginFailed))
}

// match compares with a hash that can be used. An error says why a password that may be right is refused.
func (h *Hasher) match(s storedHash, pw []byte) (bool, error) {
	switch s := s.(type) {
	case argon2Hash:
		return subtle.ConstantTimeCompare(h.derive(s, pw), s.tag) == 1, nil
	case roundsHash:
		match := subtle.ConstantTimeCompare(h.stretch(s, pw), s.digest) == 1
		if s.kind >= cryptSHA256 && len(pw) > maxCryptBytes {
			return false, fmt.Errorf("%w: %w", auth.LoginFailed, errCryptTooLong)
		}
		return match, nil
	case scryptHash:
		return subtle.ConstantTimeCompare(h.mix(s, pw), s.digest) == 1, nil
	case schemeHash:
		return s.check.Verify(slices.Clone(pw)), nil
	case bcryptHash:
		match := false
		for _, input := range s.inputs(pw, h.truncate) {
			match = match || h.compare([]byte(s.text), input) == nil
		}
		if s.cuts(pw) && !h.truncate {
			return false, fmt.Errorf("%w: %w", auth.LoginFailed, ErrTooLong)
		}
		return match, nil
	}
	return false, nil
}

// NeedsRehash says whether hash differs in scheme, version, cost, salt length, tag length or pepper from what
// Hash would write now. Something that is no hash does.
func (h *Hasher) NeedsRehash(hash string) bool {
	s, peppered, err := h.parse(hash)
	if err != nil || peppered != h.pepper.current() {
		return true
	}
	if h.bcrypt != 0 {
		b, ok := s.(bcryptHash)
		return !ok || !isNew(b) || b.cost != h.bcrypt
	}
	a, ok := s.(argon2Hash)
	return !ok || !isNew(a) || a.memory != h.live.memory || a.time != h.live.time ||
		a.lanes != h.live.lanes || len(a.salt) != saltBytes || len(a.tag) != tagBytes
}

// prepare returns the bytes that are hashed, or why there are none. NUL is refused because bcrypt
// repeats the password with a NUL between, so that the hash of "a" fits "a\x00a" too (ATK-L11).
func prepare(password string) ([]byte, error) {
	switch {
	case password == "":
		return nil, errors.New("the password is empty")
	case len(password) > MaxBytes:
		return nil, fmt.Errorf("the password has %d bytes, at most %d", len(password), MaxBytes)
	case !utf8.ValidString(password):
		return nil, errors.New("the password is not valid UTF-8")
	case strings.ContainsRune(password, 0):
		return nil, errors.New("the password has a NUL")
	}
	return norm.NFC.AppendString(nil, password), nil
}

// random returns n random bytes. crypto/rand.Read never fails: it ends the process instead.
func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return b
}

func deriveArgon2(a argon2Hash, password []byte) []byte {
	key := argon2.IDKey
	if a.i {
		key = argon2.Key
	}
	return key(password, a.salt, a.time, a.memory, a.lanes, uint32(len(a.tag)))
}
