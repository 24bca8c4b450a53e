package session

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/revocation"
)

// Memory is a [Store] and a [VersionStore] for one process. What it holds dies with the process, as does the
// epoch of its list. It judges by Go's monotonic clock.
type Memory struct {
	list *revocation.Memory

	// mu makes each method one step. An ending goes on the list before the row goes: a verifier does not
	// take this lock, and must never see the row's child alive and the list without the entry.
	mu      sync.Mutex
	rows    map[string]*Session                // by id; replaced ones too
	owners  map[auth.Owner]map[string]*Session // those that are not replaced
	numbers map[auth.Owner]Numbers
	heirs   map[string]string // replaced id to the id that replaced it, as long as the row is there
}

// NewMemory returns an empty store that ends sessions on list.
func NewMemory(list *revocation.Memory) *Memory {
	return &Memory{list: list, rows: map[string]*Session{}, owners: map[auth.Owner]map[string]*Session{}, numbers: map[auth.Owner]Numbers{}, heirs: map[string]string{}}
}

// Revocations implements [Store].
func (m *Memory) Revocations() revocation.List {
	if m.list == nil {
		return nil
	}
	return m.list
}

// Create implements [Store]. Each call also looks at a few rows for some that are over, so that the memory of
// sessions that nobody asks for again is given back.
func (m *Memory) Create(ctx context.Context, c Creation) (Result, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	epoch, err := m.list.Epoch(ctx)
	if err != nil || epoch != c.Session.Epoch {
		return Result{Outcome: OtherEpoch, Epoch: epoch}, err
	}
	now := time.Now()
	row := clone(c.Session)
	if m.rows[row.ID] != nil {
		return Result{}, fmt.Errorf("session: the id %q is there already", row.ID)
	}
	if c.Replaces != "" {
		old := m.live(row.Owner, c.Replaces, now)
		if old != nil && old.Replaced {
			return Result{Outcome: Replaced, Epoch: epoch}, nil
		}
		if old == nil {
			return Result{Outcome: Gone, Epoch: epoch}, nil
		}
		r := revocationOf(old)
		r.Replaced = true
		if err := m.list.Revoke(ctx, r); err != nil {
			return Result{}, err
		}
		m.disown(old)
		old.Replaced, old.Until, old.IdleUntil = true, now.Add(c.Grace), now.Add(c.Grace)
	}
	row.Generation, row.From, row.Created, row.Used = 1, 1, now, now
	row.GraceUntil, row.LateUntil, row.Replaced = time.Time{}, time.Time{}, false
	row.Until, row.IdleUntil = now.Add(c.Absolute), now.Add(min(row.Idle, c.Absolute))
	ended, err := m.makeRoom(ctx, row.Owner, c.Max-1, now)
	if err != nil {
		return Result{}, err
	}
	if c.Replaces != "" {
		m.heirs[c.Replaces] = row.ID
	}
	m.rows[row.ID] = &row
	own := m.owners[row.Owner]
	if own == nil {
		own = map[string]*Session{}
		m.owners[row.Owner] = own
	}
	own[row.ID] = &row
	m.sweep(now)
	return Result{Outcome: Created, Epoch: epoch, Session: clone(row), Ended: ended}, nil
}

// makeRoom drops what is over, then ends the oldest until most are left.
func (m *Memory) makeRoom(ctx context.Context, o auth.Owner, most int, now time.Time) (ended []string, err error) {
	var live []*Session
	for _, row := range m.owners[o] {
		if over(row, now) {
			m.forget(row)
		} else {
			live = append(live, row)
		}
	}
	slices.SortFunc(live, func(a, b *Session) int { return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.ID, b.ID)) })
	for ; len(live) > most; live = live[1:] {
		if err := m.end(ctx, live[0]); err != nil {
			return ended, err
		}
		ended = append(ended, live[0].ID)
	}
	return ended, nil
}

// sweep looks at more rows than a Create adds, so that those that are over stay a small part.
func (m *Memory) sweep(now time.Time) {
	looked := 0
	for _, row := range m.rows { // begins anywhere
		if over(row, now) {
			m.forget(row)
		}
		if looked++; looked == 4 {
			return
		}
	}
}

// Rotate implements [Store].
func (m *Memory) Rotate(ctx context.Context, r Rotation) (Result, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	epoch, err := m.list.Epoch(ctx)
	if err != nil {
		return Result{}, err
	}
	stored, row := m.rows[r.ID], Session{}
	if stored != nil {
		row = *stored
	}
	next, outcome := r.Judge(row, epoch, time.Now())
	switch {
	case r.Lend || next.ID == "":
	case outcome == Rotated, outcome == RolledBack, outcome == Late:
		*stored = next
	case outcome == Gone, outcome == Reused, outcome == Moved:
		err = m.end(ctx, stored)
	}
	return Result{Outcome: outcome, Epoch: epoch, Session: clone(next), Former: row.Client}, err
}

// End implements [Store].
func (m *Memory) End(ctx context.Context, o auth.Owner, ids ...string) (ended []string, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	for _, id := range m.withHeirs(o, ids, now) {
		row := m.rows[id]
		switch {
		case row == nil:
			err = m.revoke(ctx, &Session{Owner: o, ID: id})
		case row.Owner != o:
			continue
		default:
			alive := !row.Replaced && !over(row, now)
			if err = m.end(ctx, row); err == nil && alive {
				ended = append(ended, id)
			}
		}
		if err != nil {
			return ended, err
		}
	}
	return ended, nil
}

// withHeirs puts before each id those that replaced it, the last first: what fails on the way leaves the row
// that names the rest, for the next try.
func (m *Memory) withHeirs(o auth.Owner, ids []string, now time.Time) []string {
	var all []string
	for _, id := range ids {
		chain := []string{id}
		for m.live(o, chain[0], now) != nil && m.heirs[chain[0]] != "" {
			chain = slices.Insert(chain, 0, m.heirs[chain[0]])
		}
		all = append(all, chain...)
	}
	return all
}

// EndBelow implements [Store].
func (m *Memory) EndBelow(ctx context.Context, o auth.Owner, version int64, except string) (ended []string, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	if err := m.list.Revoke(ctx, auth.Revocation{Owner: o, Below: version}); err != nil {
		return nil, err
	}
	for id, row := range m.owners[o] {
		if row.Version >= version || id == except {
			continue
		}
		if !over(row, now) {
			ended = append(ended, id)
		}
		if err := m.end(ctx, row); err != nil {
			return ended, err
		}
	}
	return ended, nil
}

// List implements [Store].
func (m *Memory) List(_ context.Context, o auth.Owner) (rows []Session, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	for _, row := range m.owners[o] {
		if !over(row, now) {
			rows = append(rows, clone(*row))
		}
	}
	return rows, nil
}

// Of implements [Store]. It looks at every session: a memory of one process has no index of what is asked so seldom.
func (m *Memory) Of(_ context.Context, p Provider) (rows []Session, err error) {
	if err := p.check(); err != nil || p == (Provider{}) {
		return nil, fmt.Errorf("session: Of: %w", cmp.Or(err, errors.New("got no provider")))
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	for _, row := range m.rows {
		if row.Provider.is(p) && !row.Replaced && !over(row, now) {
			rows = append(rows, clone(*row))
		}
	}
	return rows, nil
}

// is says whether a session of the provider is the one that is asked for.
func (p Provider) is(asked Provider) bool {
	if asked.Session != "" {
		return p.Issuer == asked.Issuer && p.Session == asked.Session
	}
	return p.Issuer == asked.Issuer && p.Subject == asked.Subject
}

// Numbers implements [VersionStore].
func (m *Memory) Numbers(_ context.Context, o auth.Owner) (Numbers, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.numbers[o], nil
}

// Raise implements [VersionStore].
func (m *Memory) Raise(_ context.Context, o auth.Owner, end bool, except string) (Numbers, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.numbers[o]
	n.Version = max(n.Version+1, time.Now().UnixMilli())
	if end {
		n.EndedBelow, n.Except = n.Version, except
	}
	m.numbers[o] = n
	return n, nil
}

func over(row *Session, now time.Time) bool {
	return !now.Before(row.IdleUntil) || !now.Before(row.Until)
}

// live returns the owner's row if it is not over.
func (m *Memory) live(o auth.Owner, id string, now time.Time) *Session {
	if row := m.rows[id]; row != nil && row.Owner == o && !over(row, now) {
		return row
	}
	return nil
}

func (m *Memory) end(ctx context.Context, row *Session) error {
	if err := m.revoke(ctx, row); err != nil {
		return err
	}
	m.forget(row)
	return nil
}

func (m *Memory) revoke(ctx context.Context, row *Session) error {
	return m.list.Revoke(ctx, revocationOf(row))
}

func revocationOf(row *Session) auth.Revocation {
	return auth.Revocation{Owner: row.Owner, Session: row.ID}
}

func (m *Memory) forget(row *Session) {
	delete(m.rows, row.ID)
	delete(m.heirs, row.ID)
	m.disown(row)
}

func (m *Memory) disown(row *Session) {
	if own := m.owners[row.Owner]; own != nil {
		if delete(own, row.ID); len(own) == 0 {
			delete(m.owners, row.Owner)
		}
	}
}

// clone shares no slice: what a caller does to its copy is not to reach the store.
func clone(s Session) Session {
	s.Methods, s.Terms = slices.Clone(s.Methods), s.Terms.clone()
	return s
}
