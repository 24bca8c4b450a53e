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
	owners map[owner]map[string]*Record
}

type owner struct{ tenant, subject string }

// NewMemory returns an empty store.
func NewMemory() *Memory {
	return &Memory{keys: map[string]*Record{}, owners: map[owner]map[string]*Record{}}
}

// Create implements [Store].
func (m *Memory) Create(_ context.Context, r Record, most int) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.keys[r.ID] != nil {
		return false, fmt.Errorf("apikey: the id %q is there already", r.ID)
	}
	own := m.owners[owner{r.Tenant, r.Owner}]
	for _, old := range own {
		if !r.Created.Before(old.Expires) {
			m.forget(old)
		}
	}
	if len(own) >= most {
		return false, nil
	}
	if own = m.owners[owner{r.Tenant, r.Owner}]; own == nil {
		own = map[string]*Record{}
		m.owners[owner{r.Tenant, r.Owner}] = own
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
	if old == nil || old.Proofs[0].Hash != present {
		return false, nil
	}
	r.LastUsed = old.LastUsed
	*old = clone(r)
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
func (m *Memory) Delete(_ context.Context, tenant, subject, id string) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.keys[id]
	if r == nil || r.Tenant != tenant || r.Owner != subject {
		return false, nil
	}
	m.forget(r)
	return true, nil
}

// List implements [Store].
func (m *Memory) List(_ context.Context, tenant, subject string) (list []Key, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range m.owners[owner{tenant, subject}] {
		list = append(list, clone(*r).Key)
	}
	return list, nil
}

func (m *Memory) forget(r *Record) {
	delete(m.keys, r.ID)
	o := owner{r.Tenant, r.Owner}
	if delete(m.owners[o], r.ID); len(m.owners[o]) == 0 {
		delete(m.owners, o)
	}
}

// clone shares no slice: what a caller does to its copy is not to reach the store.
func clone(r Record) Record {
	r.Scopes, r.Proofs = slices.Clone(r.Scopes), slices.Clone(r.Proofs)
	return r
}
