package session_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/auth/session"
	"github.com/doorward/doorward/tokens"
)

// STD-S07, ATK-S07.
func TestATK_S07_Logout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := setup(t)
		node := w.other(w.keys)
		first := w.login(ann(1))
		second := w.refresh(first.Refresh)
		other := w.login(ann(1))
		w.told()
		ok(t, w.Logout(ctx, second.Refresh))
		w.wantTold("logout ok")
		w.wantDead(first, second)
		node.wantDead(first, second)
		w.accepted(other)
		ok(t, w.Logout(ctx, second.Refresh))
		ok(t, w.Logout(ctx, first.Refresh)) // an older one is as good

		old := w.login(ann(1))
		time.Sleep(hour) // its access token has expired
		ok(t, w.Logout(ctx, old.Refresh))
		w.refused(old.Refresh, auth.TokenRevoked)
		for _, raw := range []string{"", old.Access, "dwr1.x.y.z"} {
			if err := w.Logout(ctx, raw); err == nil || auth.CodeOf(err).Status() != 401 {
				t.Errorf("%.20q: got %v", raw, err)
			}
		}
	})
}

// ATK-S07: 1,000 times; when both have returned, nothing is alive.
func TestATK_S07_LogoutRacingWithRefresh(t *testing.T) {
	w := setup(t)
	won := 0
	for range 1000 {
		pair := w.login(ann(1))
		var child *auth.Pair
		var err, lost error
		each(2, func(i int) {
			if i == 0 {
				child, lost = w.Refresh(ctx, pair.Refresh, phone)
			} else {
				err = w.Logout(ctx, pair.Refresh)
			}
		})
		ok(t, err)
		if lost != nil && auth.CodeOf(lost) != auth.TokenRevoked {
			t.Fatal(lost)
		}
		if child != nil {
			won++
		}
		w.wantDead(pair, child)
	}
	t.Logf("the refresh came first %d times", won)
	if rows, _ := w.List(ctx, "ann"); len(rows) > 0 {
		t.Errorf("%d sessions are alive", len(rows))
	}
}

// STD-S08, ATK-S08: everything of before the call dies, logins under way included, by the version and not by the second.
func TestATK_S08_EndAllRacing(t *testing.T) {
	w := setup(t)
	counts := map[string]int{}
	for i := range 1000 {
		version := int64(i + 1)
		idle, busy := w.login(ann(version)), w.login(ann(version))
		var child, login *auth.Pair
		var errs [3]error
		each(3, func(i int) {
			switch i {
			case 0:
				child, errs[0] = w.Refresh(ctx, busy.Refresh, phone)
			case 1:
				login, errs[1] = w.Start(ctx, session.Login{Principal: ann(version), Client: phone}) // its password was checked before
			case 2:
				errs[2] = w.EndAll(ctx, "ann")
			}
		})
		ok(t, errs[2])
		if errs[0] != nil && auth.CodeOf(errs[0]) != auth.TokenRevoked || errs[1] != nil && auth.CodeOf(errs[1]) != auth.LoginFailed {
			t.Fatal(errs)
		}
		counts["refresh "+string(auth.CodeOf(errs[0]))]++
		counts["login "+string(auth.CodeOf(errs[1]))]++
		if rows, err := w.List(ctx, "ann"); err != nil || len(rows) > 0 {
			t.Fatalf("alive: %v, %v", rows, err)
		}
		after := w.login(ann(version + 1)) // within the same second
		w.wantDead(idle, busy, child, login)
		w.accepted(after)
		ok(t, w.Logout(ctx, after.Refresh))
	}
	t.Log(counts) // internal stands for no error
}

func TestEndOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := setup(t)
		mine, one, two := w.login(ann(1)), w.login(ann(1)), w.login(ann(1))
		w.told()
		ok(t, w.EndOthers(ctx, "ann", mine.Session))
		w.wantTold("end_all ok")
		w.wantDead(one, two)
		w.wantAccess(mine, auth.TokenExpired) // stale: the next refresh has the new version
		mine = w.refresh(mine.Refresh)
		if p := w.accepted(mine); p.Version != 2 {
			t.Errorf("got version %d", p.Version)
		}
		time.Sleep(day)
		mine = w.refresh(mine.Refresh) // it is spared for good
		ok(t, w.Renew(ctx, "ann"))
		mine = w.refresh(mine.Refresh)
		next := w.login(ann(3))
		ok(t, w.EndOthers(ctx, "ann", next.Session)) // but not by the next
		w.wantDead(mine)
		w.refresh(next.Refresh)
		if err := w.EndOthers(ctx, "ann", ""); auth.CodeOf(err) != auth.NotFound {
			t.Errorf("without an id: got %v", err)
		}
	})
}

// STD-S08, ATK-S09: the next request is denied.
func TestATK_S09_WhatIsTakenAway(t *testing.T) {
	t.Run("role", func(t *testing.T) {
		w := setup(t)
		pair := w.login(ann(1))
		w.users.set("ann", func(s *session.Subject) { s.Roles = nil })
		w.told()
		ok(t, w.Renew(ctx, "ann"))
		w.wantTold("renew ok")
		w.wantAccess(pair, auth.TokenExpired)
		if p := w.accepted(w.refresh(pair.Refresh)); p.HasRole("editor") || p.Version != 2 {
			t.Errorf("got %+v", p)
		}
	})
	t.Run("disabled", func(t *testing.T) {
		w := setup(t)
		pair, other := w.login(ann(1)), w.login(ann(1))
		ok(t, w.EndAll(ctx, "ann"))
		w.users.set("ann", nil)
		w.wantDead(pair, other)
		if _, err := w.Start(ctx, session.Login{Principal: ann(2), Client: phone}); auth.CodeOf(err) != auth.LoginFailed {
			t.Errorf("a login: got %v", err)
		}
	})
	t.Run("disabled without a call", func(t *testing.T) {
		w := setup(t)
		pair, other := w.login(ann(1)), w.login(ann(1))
		w.users.set("ann", nil)
		w.refused(pair.Refresh, auth.TokenRevoked) // the refresh finds out, and ends the session
		w.wantAccess(pair, auth.TokenRevoked)
		if err := w.EndAll(ctx, "ann"); auth.CodeOf(err) != auth.NotFound { // too late for the numbers
			t.Errorf("EndAll: got %v", err)
		}
		w.wantDead(pair, other)
		w.users.set("ann", func(s *session.Subject) { s.Version = 1 })
		w.wantDead(pair, other) // enabling revives nothing
	})
	t.Run("key", func(t *testing.T) {
		w := setup(t)
		pair := w.login(ann(1))
		ok(t, w.keys.Replace(tokens.FromSecret(secret2)))
		w.wantAccess(pair, auth.TokenInvalid)
		w.refused(pair.Refresh, auth.TokenExpired)
	})
}

// STD-S13, ATK-S11: another's session is as unknown as one that never was.
func TestATK_S11_Anothers(t *testing.T) {
	w := setup(t)
	pair := w.login(ann(1))
	var refusals []string
	for _, c := range []struct{ name, subject, id string }{
		{"another subject", "bob", pair.Session}, {"nobody", "", pair.Session}, {"unknown", "ann", strings.Repeat("A", 41)},
		{"no form of ours", "ann", "../" + pair.Session}, {"empty", "ann", ""}, {"lower case", "ann", strings.ToLower(pair.Session)},
		{"of another random part", "ann", strings.Repeat("A", 22) + pair.Session[22:]},
		{"of another MAC", "ann", pair.Session[:22] + strings.Repeat("A", 11) + pair.Session[33:]},
	} {
		err := w.End(ctx, c.subject, c.id)
		if auth.CodeOf(err) != auth.NotFound {
			t.Errorf("%s: got %v", c.name, err)
		}
		refusals = append(refusals, string(auth.CodeOf(err)))
		w.accepted(pair)
	}
	if len(slices.Compact(refusals)) != 1 {
		t.Errorf("they can be told apart: %v", refusals)
	}
	for _, o := range []string{"bob", "", "nobody"} {
		if rows, err := w.List(ctx, o); err != nil || len(rows) > 0 {
			t.Errorf("%v: got %v, %v", o, rows, err)
		}
	}
	w.told()
	ok(t, w.End(ctx, "ann", pair.Session))
	w.wantTold("end ok")
	w.wantDead(pair)
	if err := w.End(ctx, "ann", pair.Session); auth.CodeOf(err) != auth.NotFound {
		t.Errorf("twice: got %v", err)
	}
}

func TestEndingOutages(t *testing.T) {
	w := setup(t)
	pair := w.login(ann(1))
	all := func() error { return w.EndAll(ctx, "ann") }
	for name, f := range map[string]func() error{
		"EndAll": all, "Renew": func() error { return w.Renew(ctx, "ann") },
		"List": func() error { _, err := w.List(ctx, "ann"); return err },
		"End":  func() error { return w.End(ctx, "ann", pair.Session) },
	} {
		w.users.fail(errors.New("down"))
		w.store.err = unavailable()
		if err := f(); auth.CodeOf(err) != auth.StoreUnavailable {
			t.Errorf("%s: got %v", name, err)
		}
	}
	w.users.fail(nil)
	if err := all(); auth.CodeOf(err) != auth.StoreUnavailable { // raised, then the store was gone
		t.Errorf("got %v", err)
	}
	w.store.err = nil
	w.refused(pair.Refresh, auth.TokenRevoked) // the raised numbers hold already
	ok(t, all())                               // and again ends the rest
	w.wantDead(pair)
}

// What a raced login left behind is not shown: no refresh would believe it.
func TestListLeavesOutWhatIsEnded(t *testing.T) {
	w := setup(t)
	w.login(ann(1))
	spared := w.login(ann(1))
	w.users.set("ann", func(s *session.Subject) { s.Version, s.EndedBelow, s.Except = 2, 2, spared.Session })
	rows, err := w.List(ctx, "ann")
	if err != nil || len(rows) != 1 || rows[0].ID != spared.Session {
		t.Errorf("got %+v, %v", rows, err)
	}
}

func TestListOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := setup(t)
		one := w.login(ann(1))
		time.Sleep(minute)
		two := w.login(ann(1))
		time.Sleep(minute)
		w.refresh(one.Refresh)
		rows, err := w.List(ctx, "ann")
		if err != nil || len(rows) != 2 || rows[0].ID != one.Session || rows[1].ID != two.Session {
			t.Errorf("got %+v, %v", rows, err)
		}
	})
}

// KeepVersions: the same promises where the users table has no numbers.
func TestATK_S08_KeepVersions(t *testing.T) {
	w := setup(t)
	bare := func(c *session.Config) { c.Subjects = session.KeepVersions(w.memory, issuer, w.users.Load) }
	w.node(t, w.keys, bare)
	w.users.set("ann", func(s *session.Subject) { s.Numbers = session.Numbers{Version: 99} }) // ignored
	last := int64(-1)
	for round := range 3 {
		now, err := w.memory.Numbers(ctx, auth.Owner{Issuer: issuer, Subject: "ann"})
		ok(t, err)
		pair, mine := w.login(ann(now.Version)), w.login(ann(now.Version))
		if p := w.accepted(pair); p.Version != now.Version || now.Version <= last {
			t.Errorf("got version %d, expected %d, above %d", p.Version, now.Version, last)
		}
		last = now.Version
		if round == 2 {
			ok(t, w.EndOthers(ctx, "ann", mine.Session))
			w.wantDead(pair)
			w.accepted(w.refresh(mine.Refresh))
			break
		}
		ok(t, w.EndAll(ctx, "ann"))
		w.wantDead(pair, mine)
		if _, err := w.Start(ctx, session.Login{Principal: ann(last), Client: phone}); auth.CodeOf(err) != auth.LoginFailed {
			t.Errorf("a login of before: got %v", err)
		}
	}
	w.users.fail(errOutage)
	if _, err := w.Start(ctx, session.Login{Principal: ann(3), Client: phone}); auth.CodeOf(err) != auth.StoreUnavailable {
		t.Errorf("an outage: got %v", err)
	}
}
