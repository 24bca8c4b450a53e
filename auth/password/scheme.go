package password

import (
	"errors"
	"fmt"
)

// A Scheme reads hashes of an older system that this package does not read by itself. See Config.Schemes.
//
// A hash that a Scheme reads is always to be replaced, whatever its cost, and Hash never writes one. Everything
// else stays with the Hasher: what a password may be, the budget of memory, and the work of failed checks.
type Scheme interface {
	// Parse reads a stored hash of 1 to 256 bytes, without white space around it. nil without an error means
	// that the hash is of another scheme. An error means that it is of this one and cannot be used ([ErrHash]);
	// it must not quote the hash.
	//
	// Parse computes nothing, and refuses a cost above what the older system used: whoever can write one row
	// must not be able to stop the service. It is called at every Verify and NeedsRehash, by several goroutines
	// at once.
	Parse(hash string) (*Check, error)
}

// A Check is one stored hash that a Scheme has read.
type Check struct {
	// Memory is how many KiB Verify fills, 0 for up to 1 MiB. A hash that asks for more than Config.MaxMemory
	// is [ErrHash].
	Memory uint32

	// Verify says whether the hash is that of password, in bounded time. It compares with package
	// crypto/subtle.
	//
	// It must have no other effect: the first Check of each Scheme is kept, and its Verify is called, its
	// answer unread, for every failed login of every other account, so that an older hash shows in no time
	// (ATK-L02). Hashes of one Scheme whose costs differ do show. Several goroutines call it at once.
	Verify func(password []byte) bool
}

// schemeHash is a hash that h.schemes[index] reads.
type schemeHash struct {
	index int
	check *Check
}

func (s schemeHash) needs() uint32 { return s.check.Memory }

// read asks the schemes of the application before the package's own, so that it can say what its $2b$ means,
// but never for a scheme that Hash writes: what the kit has hashed, the kit verifies.
func (h *Hasher) read(text string) (storedHash, error) {
	s, err := parseKnown(text, h.maxMemory)
	if err == nil && h.writes(s) || len(text) > maxText {
		return s, err
	}
	for i, scheme := range h.schemes {
		check, err := scheme.Parse(text)
		switch {
		case err != nil: // quoted, not wrapped: a code in it would be the client's
			return nil, fmt.Errorf("Config.Schemes[%d]: %v", i, err)
		case check == nil:
			continue
		case check.Verify == nil:
			return nil, fmt.Errorf("Config.Schemes[%d]: got a Check without Verify", i)
		case check.Memory > h.maxMemory:
			return nil, fmt.Errorf("Config.Schemes[%d]: it needs %d KiB, expected %d or less", i, check.Memory, h.maxMemory)
		}
		return schemeHash{i, check}, nil
	}
	return s, err
}

// writes says whether s is of the scheme of new hashes.
func (h *Hasher) writes(s storedHash) bool {
	_, crypt := s.(bcryptHash)
	return isNew(s) && crypt == (h.bcrypt != 0)
}

// errUnknown is the reason for a text of no scheme.
var errUnknown = errors.New("of no scheme that this package or Config.Schemes reads")
