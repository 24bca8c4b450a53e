package password_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/auth/password"
)

// row is one user's hash in a store.
type row struct {
	mu       sync.Mutex
	hash     string
	replaced int
	calls    int
}

func (r *row) read() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.hash
}

// replace is UPDATE users SET hash = fresh WHERE id = … AND hash = old.
func (r *row) replace(_ context.Context, old, fresh string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls++
	if r.hash == old {
		r.hash = fresh
		r.replaced++
	}
	return nil
}

// events collects what a Hasher tells.
type events struct {
	mu  sync.Mutex
	all []auth.Event
}

func (e *events) observe(_ context.Context, ev auth.Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.all = append(e.all, ev)
}

// STD-P11: hashes of older schemes and costs are replaced at the first login, which all systems' vectors survive, and
// never again.
func TestUpgrade_STD_P11_EachScheme(t *testing.T) {
	t.Parallel()
	var told events
	c := cheap
	c.Observe = told.observe
	for _, v := range vectors {
		if dear.MatchString(v.hash) {
			continue
		}
		h := newHasher(t, c) // which has met no other scheme, and need not level to it
		r := &row{hash: v.hash}
		for range 2 {
			if err := h.Upgrade(t.Context(), r.read(), v.password, r.replace); err != nil {
				t.Errorf("%s: got %v", v.name, err)
			}
		}
		if r.replaced != 1 || r.calls != 1 || !strings.HasPrefix(r.hash, "$argon2id$v=19$m=12288,t=3,p=1$") {
			t.Errorf("%s: replaced %d times in %d calls, now %s", v.name, r.replaced, r.calls, r.hash)
		}
		if err := h.Upgrade(t.Context(), r.read(), v.password+"x", r.replace); auth.CodeOf(err) != auth.LoginFailed {
			t.Errorf("%s: a wrong password afterwards: got %v", v.name, err)
		}
	}
	for _, e := range told.all {
		if e.Name != "rehash" || e.Outcome != "ok" || e.Err != nil || e.Time.IsZero() {
			t.Errorf("got %+v", e)
		}
	}
	if len(told.all) == 0 {
		t.Error("nothing was told")
	}
}

// STD-P11: 20 logins at once with an older hash: all succeed, and it is replaced once.
func TestUpgrade_STD_P11_Once(t *testing.T) {
	t.Parallel()
	c := cheap
	c.Queue = 100
	h := newHasher(t, c)
	old := "$pbkdf2-sha512$1$rbVWag1BiBFiDGHM.X8PAQ$QkC6Syb3tUBqNYVc3MjuX1c/sDVBwLP2ZSrfv8mfHHVRsQVGEOIETUn418V7L4rUzg7KAS9mW.D1.fA1OxEUTQ"
	r := &row{hash: old}
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if err := h.Upgrade(t.Context(), old, strings.Repeat("x", 100), r.replace); err != nil {
				t.Errorf("got %v", err)
			}
		})
	}
	wg.Wait()
	if r.replaced != 1 {
		t.Errorf("replaced %d times", r.replaced)
	}
	if err := h.Upgrade(t.Context(), r.read(), strings.Repeat("x", 100), r.replace); err != nil || r.replaced != 1 {
		t.Errorf("afterwards: got %v, replaced %d times", err, r.replaced)
	}
}

// STD-P11: a failed write, a full queue and a context that ends do not fail the login; they are told.
func TestUpgrade_STD_P11_FailedWrite(t *testing.T) {
	const old = "$2b$04$9kVchwBHjzabGUEACGvsaORdyvVp9ADoj4uut/9rOXyQOnvu0jqwC"
	const pw = "correct horse battery staple"
	var told events
	c := cheap
	c.Observe = told.observe
	h := newHasher(t, c)
	down := errors.New("disk full")
	if err := h.Upgrade(t.Context(), old, pw, func(context.Context, string, string) error { return down }); err != nil {
		t.Errorf("got %v", err)
	}
	if len(told.all) != 1 || !errors.Is(told.all[0].Err, down) || told.all[0].Outcome != "internal" {
		t.Errorf("told: %+v", told.all)
	}

	// The context ends between the check and the new hash.
	ctx, cancel := context.WithCancel(t.Context())
	h = newHasher(t, c)
	h.Observe(nil)
	h.AfterCompare(cancel)
	r := &row{hash: old}
	if err := h.Upgrade(ctx, old, pw, r.replace); err != nil || r.calls != 0 {
		t.Errorf("got %v, %d calls", err, r.calls)
	}
	if len(told.all) != 2 || told.all[1].Outcome != "busy" || !errors.Is(told.all[1].Err, context.Canceled) {
		t.Errorf("told: %+v", told.all)
	}

	// Nobody listens.
	h = newHasher(t, cheap)
	if err := h.Upgrade(t.Context(), old, pw, func(context.Context, string, string) error { return down }); err != nil {
		t.Errorf("got %v", err)
	}

	// A password that bcrypt cannot hold keeps its argon2id hash.
	bc := cheap
	bc.Bcrypt, bc.Observe = 10, told.observe
	long := strings.Repeat("x", 100)
	r = &row{hash: mustHash(t, newHasher(t, cheap), long)}
	if err := newHasher(t, bc).Upgrade(t.Context(), r.hash, long, r.replace); err != nil || r.calls != 0 {
		t.Errorf("got %v, %d calls", err, r.calls)
	}
	if len(told.all) != 3 || !errors.Is(told.all[2].Err, password.ErrTooLong) {
		t.Errorf("told: %+v", told.all)
	}
}

// A wrong password, a hash that cannot be used and one that is current already replace nothing.
func TestUpgrade_Nothing(t *testing.T) {
	h := newHasher(t, cheap)
	r := &row{hash: mustHash(t, h, "password")}
	for _, c := range []struct {
		hash, password string
		want           auth.Code
	}{
		{r.hash, "password", ""},
		{r.hash, "wrong", auth.LoginFailed},
		{"", "password", auth.LoginFailed},
		{"nonsense", "password", auth.LoginFailed},
		{vectors[len(vectors)-2].hash, "wrong", auth.LoginFailed},
	} {
		err := h.Upgrade(t.Context(), c.hash, c.password, r.replace)
		if c.want == "" && err != nil || c.want != "" && auth.CodeOf(err) != c.want {
			t.Errorf("%.9q: got %v", c.hash, err)
		}
	}
	if r.calls != 0 {
		t.Errorf("%d calls", r.calls)
	}
}

// A password that was changed while the login ran stays changed.
func TestUpgrade_ChangedMeanwhile(t *testing.T) {
	h := newHasher(t, cheap)
	const old = "$2b$04$9kVchwBHjzabGUEACGvsaORdyvVp9ADoj4uut/9rOXyQOnvu0jqwC"
	r := &row{hash: mustHash(t, h, "the new password")}
	if err := h.Upgrade(t.Context(), old, "correct horse battery staple", r.replace); err != nil || r.replaced != 0 {
		t.Errorf("got %v, replaced %d times", err, r.replaced)
	}
	if _, err := h.Verify(t.Context(), r.hash, "the new password"); err != nil {
		t.Errorf("got %v", err)
	}
}
