package session_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/auth/session"
)

// PROTOCOLS 4: a token counts from before its state was read, so a slow read makes it short, not late.
func TestTokensCountFromBeforeTheLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := setup(t)
		w.login(ann(1)) // the process knows the epoch
		w.users.hook = func(string) { time.Sleep(5 * minute) }
		pair := w.login(ann(1))
		if left := time.Until(pair.AccessExpires); left != 10*minute {
			t.Errorf("a login: %s are left, expected 10 min", left)
		}
		pair = w.refresh(pair.Refresh)
		if left := time.Until(pair.AccessExpires); left != 10*minute {
			t.Errorf("a refresh: %s are left, expected 10 min", left)
		}
	})
}

// A token of the future is authentic, so the store has lost the past: the client goes on, and somebody is told.
func TestRollback(t *testing.T) {
	w := setup(t)
	pair := w.login(ann(1))
	ahead, err := w.Seal("", "ann", pair.Session, 9)
	ok(t, err)
	w.told()
	child := w.refresh(ahead)
	if _, _, generation, _ := w.Open(child.Refresh); generation != 10 {
		t.Errorf("got generation %d, expected 10", generation)
	}
	w.mu.Lock()
	if len(w.events) != 1 || w.events[0].Name != "rollback" || w.events[0].Err == nil {
		t.Errorf("got %+v", w.events)
	}
	w.mu.Unlock()
}

// ATK-I05: events hold no secret.
func TestEventsHoldNoSecret(t *testing.T) {
	var out bytes.Buffer
	w := setup(t, func(c *session.Config) { c.Observe = auth.Log(slog.New(slog.NewTextHandler(&out, nil))) })
	pairs := []*auth.Pair{w.login(ann(1))}
	for i := range 3 {
		pairs = append(pairs, w.refresh(pairs[i].Refresh))
	}
	w.refused(pairs[0].Refresh, auth.RefreshReused)
	w.refused(pairs[3].Refresh, auth.TokenRevoked)
	fmt.Fprintf(&out, "%v %+v %#v", w.Sessions, w.Sessions, w.Sessions)
	for _, pair := range pairs {
		if strings.Contains(out.String(), pair.Access) || strings.Contains(out.String(), strings.Split(pair.Refresh, ".")[3]) {
			t.Fatal("a token is in the log")
		}
	}
	if !strings.Contains(out.String(), "event.name=reuse") || strings.Contains(out.String(), string(secret)) {
		t.Errorf("got %s", out.String())
	}
}

// F-71: a stranger who shows dead tokens fills no log, and hides no session that ends by a showing.
func TestEvents_F_71_DeadTokensHideNoEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := setup(t)
		w.T = t
		for range 100 {
			dead := w.login(ann(1))
			ok(t, w.Logout(ctx, dead.Refresh))
			w.told()
			w.refused(dead.Refresh, auth.TokenRevoked)
			w.refused(dead.Refresh, auth.TokenRevoked)
			if told := w.told(); len(told) > 1 {
				t.Fatalf("a dead token shown twice: %q", told)
			}
		}
		live := w.login(ann(1))
		w.users.set("ann", func(s *session.Subject) { s.Version, s.EndedBelow = 2, 2 }) // an ending that missed its row
		w.told()
		w.refused(live.Refresh, auth.TokenRevoked)
		w.wantTold("refresh gone")
	})
}
