package totp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/doorward/doorward/auth"
)

// Memory is a [Store] for one process. What it holds dies with the process, so it is for tests and demonstrations.
type Memory struct {
	mu     sync.Mutex
	rows   map[auth.Owner]row
	writes uint64
}

// A row is a record and the number of the write that it came by; 0 is none. Records are never changed in place.
type row struct {
	record []byte
	write  uint64
}

// NewMemory returns an empty store.
func NewMemory() *Memory { return &Memory{rows: map[auth.Owner]row{}} }

// Update implements [Store]. change runs outside of the lock, so that a slow one keeps nobody else waiting; a call that
// is repeated has seen another one succeed.
func (m *Memory) Update(ctx context.Context, owner auth.Owner, change func([]byte) ([]byte, error)) error {
	if owner.Issuer == "" || owner.Subject == "" {
		return errors.New("totp: got an owner without issuer or subject, expected both")
	}
	for {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("%w: totp: %w", auth.StoreUnavailable, err)
		}
		m.mu.Lock()
		old := m.rows[owner]
		m.mu.Unlock()
		next, err := change(slices.Clone(old.record))
		if err != nil {
			return err
		}
		if bytes.Equal(next, old.record) || m.swap(owner, old.write, next) {
			return nil
		}
	}
}

// swap stores the next record if the present one came by this write.
func (m *Memory) swap(owner auth.Owner, write uint64, next []byte) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.rows[owner].write != write {
		return false
	}
	if len(next) == 0 {
		delete(m.rows, owner)
		return true
	}
	m.writes++
	m.rows[owner] = row{bytes.Clone(next), m.writes}
	return true
}
