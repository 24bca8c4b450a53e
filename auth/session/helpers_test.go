package session_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/auth/session"
	"github.com/doorward/doorward/revocation"
	"github.com/doorward/doorward/tokens"
)

const issuer = "https://api.example.com"

var (
	secret  = []byte("u8Zq-3bXk9_Lr2Vd5Nf7Hs1Tg4Ym6Pc0Wj-a")
	secret2 = []byte("Ee5-vB9nM_q3Xz7Lk1Jh4Gf6Ds8Ap2Or0Iu-w")
	phone   = auth.Client{Addr: netip.MustParseAddr("192.0.2.7"), UserAgent: "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"}
)

// users is an application's table.
type users struct {
	mu      sync.Mutex
	rows    map[string]session.Subject
	members map[string]map[string][]string // roles by subject and tenant
	err     error                          // an outage
	hook    func(subject string)           // runs after the row was read
	loads   int
}

func (u *users) Load(_ context.Context, subject, tenant string) (session.Subject, error) {
	u.mu.Lock()
	row, ok := u.rows[subject]
	err, hook := u.err, u.hook
	if roles, member := u.members[subject][tenant]; ok && tenant != "" && err == nil {
		row.Tenant, row.Roles = tenant, roles
		if !member {
			err = auth.TenantForbidden
		}
	}
	u.loads++
	u.mu.Unlock()
	if hook != nil {
		hook(subject)
	}
	if err == nil && !ok {
		err = auth.LoginFailed
	}
	return row, err
}

func (u *users) Raise(_ context.Context, subject string, end bool, except string) (int64, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	row, ok := u.rows[subject]
	if u.err != nil {
		return 0, u.err
	}
	if !ok {
		return 0, auth.LoginFailed
	}
	row.Version++
	if end {
		row.EndedBelow, row.Except = row.Version, except
	}
	u.rows[subject] = row
	return row.Version, nil
}

// set changes a row; a nil f removes it.
func (u *users) set(subject string, f func(*session.Subject)) {
	u.mu.Lock()
	defer u.mu.Unlock()
	row := u.rows[subject]
	if f == nil {
		delete(u.rows, subject)
		return
	}
	f(&row)
	u.rows[subject] = row
}

func (u *users) fail(err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.err = err
}

// counting is a store that counts what it is asked, and fails on demand.
type counting struct {
	session.Store
	asked atomic.Int64
	err   error
}

func (c *counting) Create(ctx context.Context, n session.Creation) (session.Result, error) {
	c.asked.Add(1)
	if c.err != nil {
		return session.Result{}, c.err
	}
	return c.Store.Create(ctx, n)
}

func (c *counting) Rotate(ctx context.Context, r session.Rotation) (session.Result, error) {
	c.asked.Add(1)
	if c.err != nil {
		return session.Result{}, c.err
	}
	return c.Store.Rotate(ctx, r)
}

func (c *counting) End(ctx context.Context, o auth.Owner, ids ...string) ([]string, error) {
	c.asked.Add(1)
	if c.err != nil {
		return nil, c.err
	}
	return c.Store.End(ctx, o, ids...)
}

func (c *counting) EndBelow(ctx context.Context, o auth.Owner, v int64, except string) ([]string, error) {
	c.asked.Add(1)
	if c.err != nil {
		return nil, c.err
	}
	return c.Store.EndBelow(ctx, o, v, except)
}

func (c *counting) List(ctx context.Context, o auth.Owner) ([]session.Session, error) {
	c.asked.Add(1)
	if c.err != nil {
		return nil, c.err
	}
	return c.Store.List(ctx, o)
}

// world is one process: a store, the users, and what was observed.
type world struct {
	*testing.T
	keys   *tokens.Keyring
	users  *users
	memory *session.Memory
	store  *counting
	tokens *tokens.Tokens
	*session.Sessions
	now func() time.Time // nil: time.Now

	mu     sync.Mutex
	events []auth.Event
}

// setup makes a world with ann and bob.
func setup(t testing.TB, change ...func(*session.Config)) *world {
	t.Helper()
	w := &world{
		keys:   tokens.NewKeyring(tokens.FromSecret(secret)),
		memory: session.NewMemory(revocation.NewMemory()),
		users: &users{rows: map[string]session.Subject{
			"ann": {Roles: []string{"editor"}, Numbers: session.Numbers{Version: 1}},
			"bob": {Numbers: session.Numbers{Version: 1}},
		}},
	}
	if t, ok := t.(*testing.T); ok {
		w.T = t
	}
	w.store = &counting{Store: w.memory}
	w.node(t, w.keys, change...)
	return w
}

// node puts another process before the same store, with keys of its own.
func (w *world) node(t testing.TB, keys *tokens.Keyring, change ...func(*session.Config)) *world {
	t.Helper()
	var err error
	w.keys = keys
	w.tokens, err = tokens.New(tokens.Config{Keys: keys, Issuer: issuer, Audience: "api", List: w.store.Revocations(), Now: w.now})
	if err != nil {
		t.Fatal(err)
	}
	c := session.Config{Store: w.store, Tokens: w.tokens, Subjects: w.users, Observe: w.observe}
	for _, f := range change {
		f(&c)
	}
	if w.Sessions, err = session.New(c); err != nil {
		t.Fatal(err)
	}
	return w
}

// other returns another process before the same store and users, whose clock may differ.
func (w *world) other(keys *tokens.Keyring, ahead ...time.Duration) *world {
	o := &world{T: w.T, users: w.users, memory: w.memory, store: w.store}
	for _, d := range ahead {
		o.now = func() time.Time { return time.Now().Add(d) }
	}
	return o.node(w.T, keys)
}

func (w *world) observe(_ context.Context, e auth.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.events = append(w.events, e)
}

// told returns the events since the last call, as "name outcome".
func (w *world) told() (told []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range w.events {
		told = append(told, e.Name+" "+e.Outcome)
	}
	w.events = nil
	return told
}

func (w *world) wantTold(want ...string) {
	w.Helper()
	if got := w.told(); !slices.Equal(got, want) {
		w.Errorf("events: got %q, expected %q", got, want)
	}
}

func ann(version int64) *auth.Principal {
	return &auth.Principal{Subject: "ann", Version: version, Methods: []string{"pwd"}}
}

func (w *world) login(p *auth.Principal) *auth.Pair {
	w.Helper()
	pair, err := w.Start(context.Background(), session.Login{Principal: p, Client: phone})
	if err != nil {
		w.Fatalf("Start: %v", err)
	}
	return pair
}

func (w *world) refresh(raw string) *auth.Pair {
	w.Helper()
	pair, err := w.Refresh(context.Background(), raw, phone)
	if err != nil {
		w.Fatalf("Refresh: %v", err)
	}
	return pair
}

// refused demands the code, and that it is an error of that one code.
func (w *world) refused(raw string, code auth.Code) {
	w.Helper()
	pair, err := w.Refresh(context.Background(), raw, phone)
	if pair != nil || err == nil || auth.CodeOf(err) != code {
		w.Errorf("Refresh: got %v, expected %s", err, code)
	}
}

func (w *world) accepted(pair *auth.Pair) *auth.Principal {
	w.Helper()
	p, err := w.tokens.Verify(context.Background(), pair.Access)
	if err != nil {
		w.Fatalf("Verify: %v", err)
	}
	return p
}

// wantAccess demands a refusal of the access token with one of the codes.
func (w *world) wantAccess(pair *auth.Pair, codes ...auth.Code) {
	w.Helper()
	if _, err := w.tokens.Verify(context.Background(), pair.Access); err == nil || !slices.Contains(codes, auth.CodeOf(err)) {
		w.Errorf("Verify: got %v, expected one of %v", err, codes)
	}
}

// wantDead demands that nothing of the pairs works.
func (w *world) wantDead(pairs ...*auth.Pair) {
	w.Helper()
	for _, pair := range pairs {
		if pair == nil {
			continue
		}
		w.wantAccess(pair, auth.TokenRevoked, auth.TokenExpired)
		if _, err := w.Refresh(context.Background(), pair.Refresh, phone); err == nil || auth.CodeOf(err).Status() != 401 {
			w.Errorf("Refresh: got %v, expected a 401", err)
		}
	}
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

var errOutage = errors.New("dial tcp 10.0.0.7: connection refused")

func unavailable() error { return fmt.Errorf("%w: %w", auth.StoreUnavailable, errOutage) }

// each runs f(0) to f(n-1) at once and waits for them.
func each(n int, f func(i int)) {
	var wg sync.WaitGroup
	start := make(chan struct{})
	for i := range n {
		wg.Go(func() {
			<-start
			f(i)
		})
	}
	close(start)
	wg.Wait()
}

const minute, hour, day = time.Minute, time.Hour, 24 * time.Hour
