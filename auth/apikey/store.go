package apikey

import (
	"context"
	"crypto/sha256"
	"time"

	"github.com/doorward/doorward/auth"
)

// A Key is what may be shown of an API key: nothing in it is secret. Times are true to the millisecond.
type Key struct {
	ID     string     // public, 17 characters: it stands in the key, and in the principal as TokenID
	Owner  auth.Owner // whom it speaks for
	Tenant string     // the organisation that it is limited to; "" where it is limited to none
	Name   string     // its owner's words for it: strangers' words to everybody else
	Scopes []string

	Created  time.Time
	Made     time.Time // when its present secret was made: Created, or the last rotation
	Expires  time.Time // of the present secret
	LastUsed time.Time // true to a minute; zero for never
}

// A Proof is the SHA-256 of a key's whole text, and until when it is good.
//
// A plain, fast hash is right here, and argon2id would be wrong. Slow hashing makes up for secrets that can be
// guessed; 256 random bits cannot, at any speed, and a slow hash on every request would be a way to bring
// the server down. No salt: no two keys are equal.
type Proof struct {
	Hash  [sha256.Size]byte
	Until time.Time
}

// A Record is what a [Store] keeps of a key. No key can be made from it.
type Record struct {
	Key
	Proofs []Proof // the present one, then the former ones that still work: 1 to 4
}

// A Store keeps API keys. [NewMemory] and package redisapikey are Stores; package storetest says what one
// must do, as tests. Its methods may be called from any goroutine, and each but List is one atomic step.
//
// Ended means ended: when Swap or Delete has returned, no Get that starts later, on any node, gives what was there
// before. So there is no cache between a Store and [Keys], and a store reads where it writes.
//
// A key whose Expires has come may vanish by itself. Errors mean that the store cannot answer, and have the code
// auth.StoreUnavailable, but where it says otherwise.
type Store interface {
	// Create takes a key in, and says no when its owner has most keys that are not expired at r.Created. An id that
	// is there, with other proofs, is an error and changes nothing.
	Create(ctx context.Context, r Record, most int) (bool, error)

	// Get returns the key of this id. None is an error of the code auth.NotFound.
	Get(ctx context.Context, id string) (Record, error)

	// Swap writes Made, Expires and Proofs of r into the record of its id, if that is of the same owner and the first
	// of its proofs still has the hash present; otherwise, and where there is none, it says no and changes nothing. No
	// other field changes, so that a rotation widens nothing. It never brings a key back.
	Swap(ctx context.Context, r Record, present [sha256.Size]byte) (bool, error)

	// Touch sets LastUsed to at, unless that is less than a minute after what is there. No key of that id is no error.
	Touch(ctx context.Context, id string, at time.Time) error

	// Delete removes the owner's key of this id, and says whether there was one. Another owner's is left alone.
	Delete(ctx context.Context, owner auth.Owner, id string) (bool, error)

	// List returns the owner's keys of all organisations, in any order; none is no error. Beside an error it returns
	// those that it could read.
	List(ctx context.Context, owner auth.Owner) ([]Key, error)
}

// every is how far apart two writes of LastUsed are, at least.
const every = time.Minute
