package totp

import "github.com/doorward/doorward/auth"

// CodeAt is the code of a step, by the code under test.
func CodeAt(k Key, step int64) string { return k.k.params.code(step) }

// Bounds are what the package comment computes with.
const (
	InARow, InAll         = inARow, inAll
	ClosedFor, CountedFor = closedFor, countedFor
)

// RecoveryHash is what a recovery code is compared by, and whether the text has the form of one.
func RecoveryHash(text string) (string, bool) {
	p, err := parseRecovery(auth.Owner{}, text)
	return string(p.recovery), err == nil
}
