package apikey_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/auth/apikey"
)

const (
	issuer = "https://api.example.com"
	day    = 24 * time.Hour
)

var ctx = context.Background()

// world is an application with its keys and a clock.
type world struct {
	*testing.T
	*apikey.Keys
	store *counting
	at    time.Time

	mu     sync.Mutex
	events []auth.Event
}

// counting is a store that counts what it is asked, and fails on demand.
type counting struct {
	apikey.Store
	gets, touches atomic.Int64
	err, touchErr error
	afterGet      func()
}

func (c *counting) Get(ctx context.Context, id string) (apikey.Record, error) {
	c.gets.Add(1)
	if c.err != nil {
		return apikey.Record{}, c.err
	}
	r, err := c.Store.Get(ctx, id)
	if c.afterGet != nil {
		c.afterGet()
	}
	return r, err
}

func (c *counting) Touch(ctx context.Context, id string, at time.Time) error {
	c.touches.Add(1)
	if err := errors.Join(ctx.Err(), c.touchErr); err != nil {
		return err
	}
	return c.Store.Touch(ctx, id, at)
}

func setup(t *testing.T, change ...func(*apikey.Config)) *world {
	t.Helper()
	w := &world{T: t, store: &counting{Store: apikey.NewMemory()}, at: time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)}
	c := apikey.Config{Store: w.store, Issuer: issuer, Now: func() time.Time { return w.at }, Observe: func(_ context.Context, e auth.Event) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.events = append(w.events, e)
	}}
	for _, f := range change {
		f(&c)
	}
	var err error
	if w.Keys, err = apikey.New(c); err != nil {
		t.Fatal(err)
	}
	return w
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

// create makes a key of ann's that is limited to acme.
func (w *world) create(change ...func(*apikey.Spec)) (string, apikey.Key) {
	w.Helper()
	s := apikey.Spec{Subject: "ann", Tenant: "acme", Name: "nightly build", Scopes: []string{"reports:read"}}
	for _, f := range change {
		f(&s)
	}
	secret, key, err := w.Create(ctx, s)
	if err != nil {
		w.Fatalf("Create: %v", err)
	}
	return secret.Reveal(), key
}

func (w *world) rotate(id string, overlap time.Duration) string {
	w.Helper()
	secret, _, err := w.Rotate(ctx, "ann", "", id, overlap)
	if err != nil {
		w.Fatalf("Rotate: %v", err)
	}
	return secret.Reveal()
}

// verified demands that the key is good, refused that it is not.
func (w *world) verified(text string) *auth.Principal {
	w.Helper()
	p, err := w.Verify(ctx, text)
	if err != nil {
		w.Fatalf("Verify: %v", err)
	}
	return p
}

func (w *world) refused(name, text string, code auth.Code) {
	w.Helper()
	if p, err := w.Verify(ctx, text); p != nil || err == nil || auth.CodeOf(err) != code {
		w.Errorf("%s: got %v, %v, expected %s", name, p, err, code)
	}
}
