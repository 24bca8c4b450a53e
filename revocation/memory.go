package revocation

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/doorward/doorward/auth"
)

// Memory is a [List] for one process. Its epoch is its own start: a token made before that, or under
// another list, is refused with [auth.TokenExpired], so a restart forgets nothing in anyone's favour.
// Two processes, each with a Memory, do not see each other's endings and refuse each other's tokens.
//
// Entries leave after [Keep] by Go's monotonic clock, and their memory with the first Revoke
// that comes a minute or more after that.
type Memory struct {
	epoch string
	index *index
}

var (
	errNoEpoch = fmt.Errorf("%w: it carries no epoch (ep)", auth.TokenExpired)
	errNobody  = errors.New("revocation: Check was given a nil principal")
)

// NewMemory returns an empty list with an epoch of its own.
func NewMemory() *Memory { return &Memory{rand.Text()[:8], newIndex(newNames())} }

// Check implements [List]. It does no I/O and never answers auth.StoreUnavailable.
func (m *Memory) Check(_ context.Context, p *auth.Principal) error {
	if p == nil {
		return errNobody
	}
	if p.Epoch != m.epoch {
		return otherEpoch(p, m.epoch)
	}
	return m.index.check(p)
}

// otherEpoch refuses a token of another epoch than the list's, or of none.
func otherEpoch(p *auth.Principal, epoch string) error {
	if p.Epoch == "" {
		return errNoEpoch
	}
	return fmt.Errorf("%w: its epoch is %q, the list's is %q", auth.TokenExpired, p.Epoch, epoch)
}

// Revoke implements [List].
func (m *Memory) Revoke(_ context.Context, rs ...auth.Revocation) error {
	for _, r := range rs {
		if err := r.Validate(); err != nil {
			return err
		}
	}
	until := time.Since(m.index.start) + Keep
	for _, r := range rs {
		m.index.put(Name(r), Value(r), until)
	}
	m.index.sweep()
	return nil
}

// Epoch implements [List].
func (m *Memory) Epoch(context.Context) (string, error) { return m.epoch, nil }
