package apikey

import (
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/doorward/doorward/auth"
)

// Memory is a [Store] for one process. What it holds dies with the process.
type Memory struct {
	mu     sync.Mutex
	keys   map[string]*Record
	owners map[auth.Owner]map[string]*Record
}

// NewMemory returns an empty store.
func NewMemory() *Memory {
	return &Memory{keys: map[string]*Record{}, owners: map[auth.Owner]map[string]*Record{}}
}

// Create implements [Store].
func (m *Memory) Create(_ context.Context, r Record, most int) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.keys[r.ID] != nil {
		return false, fmt.Errorf("apikey: the id %q is there already", r.ID)
	}
	own := m.owners[r.Owner]
	for _, old := range own {
		if !r.Created.Before(old.Expires) {
			m.forget(old)
		}
	}
	if len(own) >= most {
		return false, nil
	}
	if own = m.owners[r.Owner]; own == nil {
		own = map[string]*Record{}
		m.owners[r.Owner] = own
	}
	kept := clone(r)
	m.keys[r.ID], own[r.ID] = &kept, &kept
	return true, nil
}

// Get implements [Store].
func (m *Memory) Get(_ context.Context, id string) (Record, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if r := m.keys[id]; r != nil {
		return clone(*r), nil
	}
	return Record{}, auth.NotFound
}

// Swap implements [Store].
func (m *Memory) Swap(_ context.Context, r Record, present [sha256.Size]byte) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	old := m.keys[r.ID]
	if old == nil || old.Owner != r.Owner || old.Proofs[0].Hash != present {
		return false, nil
	}
	old.Made, old.Expires, old.Proofs = r.Made, r.Expires, slices.Clone(r.Proofs)
	return true, nil
}

// Touch implements [Store].
func (m *Memory) Touch(_ context.Context, id string, at time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if r := m.keys[id]; r != nil && at.Sub(r.LastUsed) >= every {
		r.LastUsed = at
	}
	return nil
}

// Delete implements [Store].
func (m *Memory) Delete(_ context.Context, owner auth.Owner, id string) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.keys[id]
	if r == nil || r.Owner != owner {
		return false, nil
	}
	m.forget(r)
	return true, nil
}

// List implements [Store].
func (m *Memory) List(_ context.Context, owner auth.Owner) (list []Key, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range m.owners[owner] {
		list = append(list, clone(*r).Key)
	}
	return list, nil
}

func (m *Memory) forget(r *Record) {
	delete(m.keys, r.ID)
	if delete(m.owners[r.Owner], r.ID); len(m.owners[r.Owner]) == 0 {
		delete(m.owners, r.Owner)
	}
}

// clone shares no slice: what a caller does to its copy is not to reach the store.
func clone(r Record) Record {
	r.Scopes, r.Proofs = slices.Clone(r.Scopes), slices.Clone(r.Proofs)
	return r
}
