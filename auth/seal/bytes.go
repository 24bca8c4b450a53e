package seal

import (
	"context"

	"github.com/doorward/doorward/auth"
)

// Bytes is a Sealer in the form that other packages ask for, such as totp.Config.Sealer: bytes, and the owner and
// purpose of a [Place]. Values are those of [Sealer.Seal]. It cannot say that one is stale: those who use it seal anew
// whenever they write, and have a way of their own to the rest, such as totp.Factors.Reseal.
type Bytes struct{ s *Sealer }

// Bytes returns s in that form.
func (s *Sealer) Bytes() Bytes { return Bytes{s} }

// Seal returns plaintext sealed for the place.
func (b Bytes) Seal(_ context.Context, owner auth.Owner, purpose string, plaintext []byte) ([]byte, error) {
	text, err := b.s.Seal(Place{Owner: owner, Purpose: purpose}, string(plaintext))
	return []byte(text), err
}

// Open returns the plaintext of a value that was sealed for the place. Its errors are those of [Sealer.Open].
func (b Bytes) Open(_ context.Context, owner auth.Owner, purpose string, sealed []byte) ([]byte, error) {
	text, _, err := b.s.Open(Place{Owner: owner, Purpose: purpose}, string(sealed))
	return []byte(text), err
}
