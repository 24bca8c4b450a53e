package onetime_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/auth/onetime"
	"github.com/doorward/doorward/tokens"
)

const (
	issuer = "https://api.example.com"
	base   = "https://app.example.com/reset"
)

var (
	ctx    = context.Background()
	secret = []byte("u8Zq-3bXk9_Lr2Vd5Nf7Hs1Tg4Ym6Pc0Wj-a")
)

// user is a row of an application's table.
type user struct{ hash, mail string }

// world is an application: its users, and the kinds of its links.
type world struct {
	*testing.T
	tokens *tokens.Tokens
	store  onetime.Store
	reset  *onetime.Kind[mailed]

	mu     sync.Mutex
	users  map[string]user // by subject
	down   error
	events []auth.Event
}

// mailed is the payload of links to accounts: the address that they were sent to.
type mailed struct{ Mail string }

func setup(t *testing.T) *world {
	t.Helper()
	w := &world{T: t, store: onetime.NewMemory(), users: map[string]user{
		"ann": {"hash-1", "ann@example.com"}, "bob": {"hash-2", "bob@example.com"},
	}}
	var err error
	w.tokens, err = tokens.New(tokens.Config{Keys: tokens.NewKeyring(tokens.FromSecret(secret)), Issuer: issuer, Audience: "app"})
	ok(t, err)
	w.reset = kind(w, tokens.ResetPassword)
	return w
}

// kind makes a kind whose tokens hang on the password and the address.
func kind(w *world, typ string, change ...func(*onetime.Config[mailed])) *onetime.Kind[mailed] {
	w.Helper()
	c := onetime.Config[mailed]{Tokens: w.tokens, Store: w.store, Type: typ, URL: base, State: w.state, Observe: w.observe}
	for _, f := range change {
		f(&c)
	}
	k, err := onetime.New(c)
	ok(w, err)
	return k
}

func (w *world) state(_ context.Context, subject string, _ mailed) ([]string, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	u, found := w.users[subject]
	if w.down == nil && !found {
		return nil, auth.NotFound
	}
	return []string{u.hash, u.mail}, w.down
}

// set changes a row; nil removes it.
func (w *world) set(name string, f func(*user)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	u := w.users[name]
	if f == nil {
		delete(w.users, name)
		return
	}
	f(&u)
	w.users[name] = u
}

func (w *world) observe(_ context.Context, e auth.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.events = append(w.events, e)
}

func (w *world) wantTold(want ...string) {
	w.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	var got []string
	for _, e := range w.events {
		got = append(got, e.Name+" "+e.Outcome)
	}
	w.events = nil
	if !slices.Equal(got, want) {
		w.Errorf("events: got %q, expected %q", got, want)
	}
}

// link makes a link for ann and returns its token.
func link[T any](w *world, k *onetime.Kind[T], payload T) string {
	w.Helper()
	l, err := k.Issue(ctx, "ann", payload, 0)
	ok(w, err)
	if l.URL.Reveal() != base+"#token="+l.Token.Reveal() {
		w.Fatalf("got the link %q", l.URL.Reveal())
	}
	return l.Token.Reveal()
}

func annsMail() mailed { return mailed{"ann@example.com"} }

// refused demands the code from Check and Redeem, and no token.
func refused[T any](w *world, name string, k *onetime.Kind[T], ctx context.Context, raw string, code auth.Code) {
	w.Helper()
	for call, f := range map[string]func(context.Context, string) (onetime.Token[T], error){"Check": k.Check, "Redeem": k.Redeem} {
		if t, err := f(ctx, raw); err == nil || auth.CodeOf(err) != code || t.ID != "" || t.Subject != "" {
			w.Errorf("%s: %s: got %+v, %v, expected %s", name, call, t, err, code)
		}
	}
}

func as(p *auth.Principal) context.Context { return auth.NewContext(ctx, p) }

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

var errOutage = errors.New("sql: connection refused")

// each runs f n times at once and waits.
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

// retyped puts other claims into a token, keeping its signature.
func retyped(raw, old, now string) string {
	parts := strings.Split(raw, ".")
	body := unb64(parts[1])
	if !strings.Contains(body, old) {
		panic("the token does not hold " + old)
	}
	return parts[0] + "." + b64(strings.ReplaceAll(body, old, now)) + "." + parts[2]
}

const minute, hour, day = time.Minute, time.Hour, 24 * time.Hour
