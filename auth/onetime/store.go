package onetime

import (
	"context"
	"sync"
	"time"

	"github.com/doorward/doorward/auth"
)

// A Slot is what there is one live token of: a purpose of an owner. Comparable. A store that makes one text of it keeps
// the borders of the parts, and hashes what people choose.
type Slot struct {
	Owner auth.Owner // the issuer of the tokens, and the subject that the token is for
	Type  string     // the typ of the kind, such as tokens.Invite
}

// A Store holds, for each slot, the id of its one live token. [NewMemory] and package redisonetime are Stores; package
// storetest says what one must do, as tests. Its methods may be called from any goroutine; each is one atomic step.
//
// It remembers what lives, not what was used: a store that forgets makes links dead, never one that was used
// alive. An id is at most 128 of A-Z a-z 0-9 - _. Errors mean that the store cannot answer,
// and have the code auth.StoreUnavailable.
type Store interface {
	// Put makes id the live one of the slot until then, in place of any other. It may vanish at that instant.
	Put(ctx context.Context, slot Slot, id string, until time.Time) error

	// Live says whether id is the live one of the slot. It changes nothing.
	Live(ctx context.Context, slot Slot, id string) (bool, error)

	// Take ends id if it is the live one of the slot, and says whether it was: of any number of calls with one id, on
	// any node, one hears yes. Another id is left alone.
	Take(ctx context.Context, slot Slot, id string) (bool, error)

	// Drop ends the live one of the slot, whatever it is. None is no error.
	Drop(ctx context.Context, slot Slot) error
}

// Memory is a [Store] for one process. What it holds dies with the process: links that are on their way are dead
// then. It counts by Go's clock.
type Memory struct {
	mu   sync.Mutex
	live map[Slot]entry
}

type entry struct {
	id    string
	until time.Time
}

// NewMemory returns an empty store.
func NewMemory() *Memory { return &Memory{live: map[Slot]entry{}} }

// Put implements [Store]. Each call also looks at a few others for some that are over, so that the memory of links
// that nobody used is given back.
func (m *Memory) Put(_ context.Context, slot Slot, id string, until time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	now, looked := time.Now(), 0
	for s, e := range m.live { // begins anywhere
		if !now.Before(e.until) {
			delete(m.live, s)
		}
		if looked++; looked == 4 {
			break
		}
	}
	m.live[slot] = entry{id, until}
	return nil
}

// Live implements [Store].
func (m *Memory) Live(_ context.Context, slot Slot, id string) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.is(slot, id), nil
}

// Take implements [Store].
func (m *Memory) Take(_ context.Context, slot Slot, id string) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.is(slot, id) {
		return false, nil
	}
	delete(m.live, slot)
	return true, nil
}

// Drop implements [Store].
func (m *Memory) Drop(_ context.Context, slot Slot) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.live, slot)
	return nil
}

func (m *Memory) is(slot Slot, id string) bool {
	e, ok := m.live[slot]
	return ok && e.id == id && time.Now().Before(e.until)
}
