package session_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/auth/session"
	"github.com/doorward/doorward/revocation"
)

// A connection ends with what it stands on, soon, and with nothing else.
func TestWatch(t *testing.T) {
	for name, test := range map[string]struct {
		happens func(w *world, pair *auth.Pair)
		code    auth.Code // "": it goes on
	}{
		"nothing":            {func(*world, *auth.Pair) {}, ""},
		"ATK-S07 logout":     {func(w *world, pair *auth.Pair) { ok(w, w.Logout(ctx, pair.Refresh)) }, auth.TokenRevoked},
		"ended elsewhere":    {func(w *world, pair *auth.Pair) { ok(w, w.End(ctx, "ann", pair.Session)) }, auth.TokenRevoked},
		"ATK-S08 everywhere": {func(w *world, pair *auth.Pair) { ok(w, w.EndAll(ctx, "ann")) }, auth.TokenRevoked},
		"ATK-S09 renewed":    {func(w *world, pair *auth.Pair) { ok(w, w.Renew(ctx, "ann")) }, auth.TokenExpired},
		"others ended":       {func(w *world, pair *auth.Pair) { ok(w, w.EndOthers(ctx, "ann", pair.Session)) }, auth.TokenExpired},
		"ATK-S16 a step-up": {func(w *world, pair *auth.Pair) {
			p := ann(1)
			p.Session = pair.Session
			w.login(p)
		}, auth.TokenExpired},
		"a refresh":       {func(w *world, pair *auth.Pair) { w.refresh(pair.Refresh) }, ""},
		"another session": {func(w *world, pair *auth.Pair) { ok(w, w.Logout(ctx, w.login(ann(1)).Refresh)) }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := setup(t)
				pair := w.login(ann(1))
				watched, cancel := w.Watch(ctx, w.accepted(pair))
				defer cancel()
				w.store.asked.Store(0)
				time.Sleep(5 * time.Minute)
				if n := w.store.asked.Load(); watched.Err() != nil || n > 0 {
					t.Fatalf("after 5 minutes: %v, the store was asked %d times", context.Cause(watched), n)
				}
				test.happens(w, pair)
				time.Sleep(time.Second)
				synctest.Wait()
				if test.code == "" && watched.Err() != nil || test.code != "" && auth.CodeOf(context.Cause(watched)) != test.code {
					t.Errorf("got %v, expected %q", context.Cause(watched), test.code)
				}
			})
		})
	}
}

// At the end of the token's life the row is read, once, and decides.
func TestWatch_OutlivesTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := setup(t, func(c *session.Config) { c.Life = session.Life{Idle: 2 * hour, Absolute: 3 * hour} })
		pair := w.login(ann(1))
		watched, cancel := w.Watch(ctx, w.accepted(pair))
		defer cancel()
		w.store.asked.Store(0)
		time.Sleep(hour)
		if n := w.store.asked.Load(); watched.Err() != nil || n != 3 && n != 4 { // lives of 15 minutes
			t.Errorf("after an hour: %v, the store was asked %d times", context.Cause(watched), n)
		}
		w.refresh(pair.Refresh)
		time.Sleep(hour + 50*minute)
		if watched.Err() != nil {
			t.Errorf("it was refreshed: %v", context.Cause(watched))
		}
		time.Sleep(30 * minute) // STD-S03: the absolute end does not slide
		if auth.CodeOf(context.Cause(watched)) != auth.TokenRevoked {
			t.Errorf("past the end: %v", context.Cause(watched))
		}

		pair = w.login(ann(1))
		for name, test := range map[string]struct {
			happens func()
			code    auth.Code
		}{
			"the users table is down": {func() { w.users.fail(errOutage) }, auth.StoreUnavailable},
			"ATK-S09 ann is gone":     {func() { w.users.fail(auth.LoginFailed) }, auth.TokenRevoked},
			"her version rose without a word to the list": {func() {
				w.users.set("ann", func(s *session.Subject) { s.Version++ })
			}, auth.TokenExpired},
		} {
			p := w.accepted(pair)
			watched, cancel := w.Watch(ctx, p)
			test.happens()
			time.Sleep(20 * minute)
			if auth.CodeOf(context.Cause(watched)) != test.code {
				t.Errorf("%s: got %v, expected %q", name, context.Cause(watched), test.code)
			}
			cancel()
			w.users.fail(nil)
			w.users.set("ann", func(s *session.Subject) { s.Version = 1 })
			pair = w.refresh(pair.Refresh)
		}
	})
}

// A list that forgets says nothing about sessions; one that does not answer is no reason to go on.
func TestWatch_STD_S10_STD_S11(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := setup(t)
		list := &switched{Memory: revocation.NewMemory()}
		w.memory = session.NewMemory(list.Memory)
		w.store.Store = listed{w.memory, list}
		w.node(t, w.keys)
		pair, other := w.login(ann(1)), w.login(ann(1))
		watched, cancel := w.Watch(ctx, w.accepted(pair))
		defer cancel()
		ended, cancel2 := w.Watch(ctx, w.accepted(other))
		defer cancel2()
		time.Sleep(minute + time.Second/2) // between two looks
		list.set("EPOCH--2", nil)
		if _, err := w.memory.End(ctx, auth.Owner{Issuer: issuer, Subject: "ann"}, other.Session); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		if watched.Err() != nil || auth.CodeOf(context.Cause(ended)) != auth.TokenRevoked {
			t.Errorf("in another epoch: got %v for the living, %v for the ended", context.Cause(watched), context.Cause(ended))
		}
		list.set("EPOCH--2", unavailable())
		time.Sleep(time.Second)
		list.set("EPOCH--2", nil)
		time.Sleep(minute)
		if watched.Err() != nil {
			t.Errorf("one answer was missed: %v", context.Cause(watched))
		}
		list.set("EPOCH--2", unavailable())
		time.Sleep(2 * time.Second)
		if auth.CodeOf(context.Cause(watched)) != auth.StoreUnavailable {
			t.Errorf("the list is down: %v", context.Cause(watched))
		}
	})
}

// A switched list has another epoch, or no answer, on demand.
type switched struct {
	*revocation.Memory
	mu    sync.Mutex
	epoch string
	err   error
}

func (s *switched) set(epoch string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.epoch, s.err = epoch, err
}

func (s *switched) Epoch(ctx context.Context) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.epoch != "" || s.err != nil {
		return s.epoch, s.err
	}
	return s.Memory.Epoch(ctx)
}

func (s *switched) Check(ctx context.Context, p *auth.Principal) error {
	epoch, err := s.Epoch(ctx)
	switch {
	case err != nil:
		return err
	case p.Epoch != epoch:
		return auth.TokenExpired
	}
	q := *p
	q.Epoch, _ = s.Memory.Epoch(ctx)
	return s.Memory.Check(ctx, &q)
}

// listed is a store that says it ends sessions on another list.
type listed struct {
	*session.Memory
	list revocation.List
}

func (l listed) Revocations() revocation.List { return l.list }

func TestWatch_EndsWithTheRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := setup(t)
		request, hangUp := context.WithCancel(ctx)
		p := w.accepted(w.login(ann(1)))
		watched, cancel := w.Watch(request, p)
		defer cancel()
		hangUp()
		<-watched.Done()
		watched, cancel = w.Watch(ctx, p)
		cancel()
		<-watched.Done() // and the bubble ends only when no watcher is left
		service := *p
		service.Session = ""
		watched, cancel = w.Watch(ctx, &service)
		defer cancel()
		time.Sleep(16 * minute)
		if auth.CodeOf(context.Cause(watched)) != auth.TokenExpired {
			t.Errorf("a token without a session: got %v", context.Cause(watched))
		}
	})
}
