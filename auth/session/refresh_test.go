package session_test

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/auth/session"
	"github.com/doorward/doorward/tokens"
)

var ctx = context.Background()

func TestRefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := setup(t)
		first := w.login(ann(1))
		time.Sleep(hour) // past the access token's life
		w.wantAccess(first, auth.TokenExpired)
		w.users.set("ann", func(s *session.Subject) { s.Roles = []string{"admin"} })
		second := w.refresh(first.Refresh)
		p := w.accepted(second)
		if !slices.Equal(p.Roles, []string{"admin"}) || p.Session != first.Session || second.Session != first.Session {
			t.Errorf("got roles %v, session %s", p.Roles, p.Session)
		}
		if second.Refresh == first.Refresh || time.Until(second.AccessExpires) != 15*minute || time.Until(second.RefreshUntil) != 7*day {
			t.Errorf("got expiries %s and %s", second.AccessExpires, second.RefreshUntil)
		}
		w.wantTold("login ok", "refresh ok")
		rows, err := w.List(ctx, "ann")
		ok(t, err)
		if len(rows) != 1 || rows[0].Device != "Firefox on Linux" || rows[0].Client != phone || !rows[0].Used.Equal(time.Now()) {
			t.Errorf("got %+v", rows)
		}
	})
}

// One round trip to the store for a refresh, one load of the subject; garbage costs neither.
func TestRoundTrips(t *testing.T) {
	w := setup(t)
	pair := w.login(ann(1)) // the first of the process learns the epoch
	for range 3 {
		before, loads := w.store.asked.Load(), w.users.loads
		pair = w.refresh(pair.Refresh)
		if n, l := w.store.asked.Load()-before, w.users.loads-loads; n != 1 || l != 1 {
			t.Errorf("a refresh asks the store %d times and loads the subject %d times, expected once", n, l)
		}
	}
	before := w.store.asked.Load()
	w.login(ann(1))
	ok(t, w.Logout(ctx, pair.Refresh))
	if n := w.store.asked.Load() - before; n != 2 {
		t.Errorf("a login and a logout ask %d times, expected once each", n)
	}
}

// STD-S01, ATK-S01: whoever comes first, the second use outside the grace time ends the session.
func TestATK_S01_Replay(t *testing.T) {
	for _, c := range []struct{ name, first, second string }{{"thief first", "thief", "victim"}, {"victim first", "victim", "thief"}} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := setup(t)
				stolen := w.login(ann(1))
				other := w.login(ann(1))
				time.Sleep(minute)
				child := w.refresh(stolen.Refresh)
				time.Sleep(minute)
				w.told()
				w.refused(stolen.Refresh, auth.RefreshReused)
				w.wantTold("reuse refresh_reused")
				w.wantDead(stolen, child)
				w.wantAccess(child, auth.TokenRevoked)
				w.accepted(other) // it is one session, not the subject
			})
		})
	}
}

// STD-S02, ATK-S02: 20 at once on three nodes whose clocks are 30 s apart, 200 rounds. One child, the same text for all,
// no alarm; then the grandparent ends everything on all three.
func TestATK_S02_TwentyAtOnce(t *testing.T) {
	w := setup(t)
	nodes := []*world{w, w.other(tokens.NewKeyring(tokens.FromSecret(secret)), 15*time.Second), w.other(tokens.NewKeyring(tokens.FromSecret(secret)), -15*time.Second)}
	pair := w.login(ann(1))
	grand := pair.Refresh
	for range 200 {
		var mu sync.Mutex
		children := map[string]*auth.Pair{}
		each(20, func(i int) {
			got, err := nodes[i%3].Refresh(ctx, pair.Refresh, phone)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				t.Errorf("an honest request is refused: %v", err)
				return
			}
			children[got.Refresh] = got
		})
		if len(children) != 1 {
			t.Fatalf("got %d children, expected one", len(children))
		}
		grand = pair.Refresh
		for _, pair = range children {
		}
	}
	child := w.refresh(pair.Refresh)
	nodes[1].refused(grand, auth.RefreshReused)
	for _, node := range nodes {
		node.wantDead(child, pair)
	}
}

// ATK-S03.
func TestATK_S03_LostResponse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := setup(t)
		first := w.login(ann(1))
		lost := w.refresh(first.Refresh)
		time.Sleep(10*time.Second - time.Millisecond)
		w.told()
		again := w.refresh(first.Refresh)
		if again.Refresh != lost.Refresh {
			t.Error("the child is another")
		}
		w.wantTold("refresh replayed") // it may be a thief: each one is told
		w.accepted(again)
		next := w.refresh(again.Refresh)
		time.Sleep(10 * time.Second)
		w.refused(again.Refresh, auth.RefreshReused)
		w.wantDead(next)
	})
}

// ATK-S04.
func TestATK_S04_GrandparentAndUsedParent(t *testing.T) {
	for _, c := range []struct {
		name  string
		shown int
	}{{"grandparent", 0}, {"parent after its child was used", 1}} {
		t.Run(c.name, func(t *testing.T) {
			w := setup(t)
			line := []*auth.Pair{w.login(ann(1))}
			for i := range 3 {
				line = append(line, w.refresh(line[i].Refresh))
			}
			w.refused(line[c.shown].Refresh, auth.RefreshReused)
			w.wantDead(line...)
		})
	}
}

// STD-S04: a refresh gives today's roles, and nothing else than the login.
func TestSTD_S04_NothingWidens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := setup(t)
		begun := time.Now()
		pair := w.login(&auth.Principal{Subject: "ann", Version: 1, Methods: []string{"pwd"}, Roles: []string{"root"}, ClientID: "spa", Competencies: []string{"all"}})
		for range 3 {
			p := w.accepted(pair)
			if p.Tenant != "" || p.Issuer != issuer || p.ClientID != "spa" || !slices.Equal(p.Methods, []string{"pwd"}) ||
				!p.AuthTime.Equal(begun) || !slices.Equal(p.Roles, []string{"editor"}) || len(p.Competencies) > 0 {
				t.Errorf("got %+v", p)
			}
			time.Sleep(minute)
			pair = w.refresh(pair.Refresh)
		}
	})
}

// STD-S03, ATK-S10.
func TestATK_S10_Lifetimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := setup(t)
		idle, busy := w.login(ann(1)), w.login(ann(1))
		time.Sleep(7*day - time.Second)
		busy, idle = w.refresh(busy.Refresh), w.refresh(idle.Refresh)
		time.Sleep(7 * day)
		w.refused(idle.Refresh, auth.TokenRevoked)
		w.refused(busy.Refresh, auth.TokenRevoked)

		busy = w.login(ann(1))
		begun := time.Now()
		for time.Since(begun) < 30*day-hour {
			busy = w.refresh(busy.Refresh)
			if end := begun.Add(30 * day); busy.RefreshUntil.After(end) {
				t.Fatalf("refreshable until %s, the absolute end is %s", busy.RefreshUntil, end)
			}
			time.Sleep(hour)
		}
		time.Sleep(time.Until(begun.Add(30*day - minute)))
		busy = w.refresh(busy.Refresh)
		if left := time.Until(busy.AccessExpires); left > minute {
			t.Errorf("the last access token outlives the session by %s", left-minute)
		}
		time.Sleep(minute)
		w.wantDead(busy)
	})
}

// STD-S05: with a second factor it is an hour and a day.
func TestSTD_S05_Defaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := setup(t)
		for _, c := range []struct {
			methods        []string
			idle, absolute time.Duration
		}{{[]string{"pwd"}, 7 * day, 30 * day}, {nil, 7 * day, 30 * day}, {[]string{"pwd", "otp"}, hour, day}} {
			p := ann(1)
			p.Methods = c.methods
			pair := w.login(p)
			rows, _ := w.List(ctx, "ann")
			if time.Until(pair.RefreshUntil) != c.idle || len(rows) != 1 || time.Until(rows[0].Until) != c.absolute {
				t.Errorf("%v: idle until %s, rows %+v", c.methods, pair.RefreshUntil, rows)
			}
			ok(t, w.Logout(ctx, pair.Refresh))
		}
		// A second factor never lengthens what the configuration says.
		w = setup(t, func(c *session.Config) { c.Life = session.Life{Idle: 30 * minute, Absolute: 8 * hour} })
		p := ann(1)
		p.Methods = []string{"pwd", "otp"}
		pair := w.login(p)
		rows, _ := w.List(ctx, "ann")
		if time.Until(pair.RefreshUntil) != 30*minute || len(rows) != 1 || time.Until(rows[0].Until) != 8*hour {
			t.Errorf("idle until %s, rows %+v", pair.RefreshUntil, rows)
		}
	})
}

// An outage, wherever it strikes, uses no refresh token up, and is told as one.
func TestOutagesBurnNothing(t *testing.T) {
	w := setup(t)
	pair := w.login(ann(1))
	w.told()
	w.users.fail(errOutage)
	w.refused(pair.Refresh, auth.StoreUnavailable)
	w.users.fail(context.DeadlineExceeded)
	w.refused(pair.Refresh, auth.StoreUnavailable)
	w.users.fail(nil)
	w.store.err = unavailable()
	w.refused(pair.Refresh, auth.StoreUnavailable) // STD-S10
	if err := w.Logout(ctx, pair.Refresh); auth.CodeOf(err) != auth.StoreUnavailable {
		t.Errorf("Logout: %v", err)
	}
	w.wantTold("outage refresh", "outage refresh", "outage refresh", "outage logout")
	w.store.err = nil
	// A subject that no token can be made of.
	for name, f := range map[string]func(*session.Subject){
		"too many roles": func(s *session.Subject) { s.Roles = []string{strings.Repeat("r", 8000)} },
		"claims":         func(s *session.Subject) { s.Roles, s.Claims = nil, 1 },
	} {
		w.users.set("ann", f)
		w.refused(pair.Refresh, auth.Internal)
		w.users.set("ann", func(s *session.Subject) { s.Roles, s.Claims = []string{"editor"}, nil })
		rows, _ := w.List(ctx, "ann")
		if len(rows) != 1 || rows[0].Generation != 1 {
			t.Errorf("%s: got %+v, expected generation 1", name, rows)
		}
	}
	w.accepted(w.refresh(pair.Refresh))
}

func TestRefreshCookie(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := setup(t)
		late := func(raw string, want auth.Code) {
			t.Helper()
			_, err := w.RefreshCookie(ctx, raw, phone)
			if auth.CodeOf(err) != want || session.Ended(err) != (want == auth.RefreshReused) {
				t.Errorf("got %v (ended: %t), expected %s", err, session.Ended(err), want)
			}
		}
		first := w.login(ann(1))
		second := w.refresh(first.Refresh)
		time.Sleep(minute)
		w.told()
		late(first.Refresh, auth.TokenExpired)
		w.wantTold("refresh late")
		third, err := w.RefreshCookie(ctx, second.Refresh, phone)
		ok(t, err)
		time.Sleep(minute)
		w.told()
		for range 3 { // within a minute of the first late one: each is told, none ends an honest session
			late(second.Refresh, auth.TokenExpired)
			w.wantTold("refresh late")
			time.Sleep(19 * time.Second)
		}
		w.accepted(third)
		time.Sleep(4 * time.Second)
		late(second.Refresh, auth.RefreshReused)
		w.wantDead(third)
	})
}

// PROTOCOLS 9: two uploads at once span a rotation by more than the grace time, and come through a slow proxy.
func TestRefreshCookie_ATK_S04_TwoSlowUploads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := setup(t)
		uploads := w.login(ann(1)).Refresh // both sent with this cookie
		time.Sleep(15 * minute)
		poller, err := w.RefreshCookie(ctx, uploads, phone) // by another tab, while they are on their way
		ok(t, err)
		time.Sleep(30 * time.Second)
		for range 2 {
			if _, err := w.RefreshCookie(ctx, uploads, phone); auth.CodeOf(err) != auth.TokenExpired {
				t.Errorf("a late upload: got %v, expected token_expired", err)
			}
			time.Sleep(20 * time.Second)
		}
		w.accepted(w.refresh(poller.Refresh))
	})
}

// PROTOCOLS 5: an epoch that begins excuses the parent of a swap whose answer it may have swallowed. It is no excuse for
// the token of six days ago that stands in a file of a browser's recorder.
func TestRefresh_ATK_S04_OldParentAfterAnEpoch(t *testing.T) {
	for ago, want := range map[time.Duration]auth.Code{9 * minute: "", 11 * minute: auth.RefreshReused, 6 * day: auth.RefreshReused} {
		synctest.Test(t, func(t *testing.T) {
			w := setup(t)
			parent := w.login(ann(1)).Refresh
			time.Sleep(minute)
			child := w.refresh(parent)
			time.Sleep(ago)
			w.memory.Forget()
			w.node(t, w.keys)
			pair, err := w.Refresh(ctx, parent, phone)
			switch {
			case want == "" && (err != nil || pair.Refresh != child.Refresh):
				t.Errorf("after %s: got %v, expected the same child", ago, err)
			case want != "" && auth.CodeOf(err) != want:
				t.Errorf("after %s: got %v, expected %s", ago, err, want)
			}
		})
	}
}

// ATK-S02, promise R: a page without an access token sends requests whenever it likes, so a later one may carry the
// child before an earlier one has arrived. None of them is taken for a thief's, and no second child is made.
func TestRefreshCookie_ATK_S02_DelayedRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := setup(t)
		cookie := func(raw string) *auth.Pair {
			t.Helper()
			pair, err := w.RefreshCookie(ctx, raw, phone)
			ok(t, err)
			w.accepted(pair)
			return pair
		}
		first := w.login(ann(1))
		time.Sleep(hour)
		w.told()
		second := cookie(first.Refresh)
		time.Sleep(5 * time.Second)
		for _, raw := range []string{second.Refresh, second.Refresh, first.Refresh, second.Refresh} {
			got := cookie(raw)
			if got.Refresh != second.Refresh || !got.RefreshUntil.Equal(second.RefreshUntil) || got.Access == second.Access || time.Until(got.AccessExpires) != 15*minute {
				t.Errorf("got another child, or no new access token: %s, %s", got.RefreshUntil, got.AccessExpires)
			}
		}
		w.wantTold("refresh ok", "refresh kept", "refresh kept", "refresh replayed", "refresh kept")
		time.Sleep(5 * time.Second) // the grace time of the one swap; nothing has moved it
		third := cookie(second.Refresh)
		if third.Refresh == second.Refresh {
			t.Error("not exchanged after the grace time")
		}
		if _, err := w.RefreshCookie(ctx, first.Refresh, phone); auth.CodeOf(err) != auth.RefreshReused {
			t.Errorf("the grandparent: got %v", err)
		}
		w.wantDead(third)
	})
}

// ATK-S01: what keeping the child gives to a thief. Within the grace time it is an access token, and an event; the
// session is not his. Whoever of the two comes second afterwards is seen, as ever.
func TestRefreshCookie_ATK_S01_StolenWhileYoung(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := setup(t)
		stolen, err := w.RefreshCookie(ctx, w.login(ann(1)).Refresh, phone)
		ok(t, err)
		w.told()
		thief, err := w.RefreshCookie(ctx, stolen.Refresh, phone)
		ok(t, err)
		w.wantTold("refresh kept")
		if thief.Refresh != stolen.Refresh {
			t.Fatal("the thief was given a token that he did not have")
		}
		time.Sleep(minute)
		child, err := w.RefreshCookie(ctx, stolen.Refresh, phone)
		ok(t, err)
		for _, want := range []auth.Code{auth.TokenExpired, auth.RefreshReused} {
			time.Sleep(minute)
			if _, err := w.RefreshCookie(ctx, stolen.Refresh, phone); auth.CodeOf(err) != want {
				t.Errorf("got %v, expected %s", err, want)
			}
		}
		w.wantDead(stolen, thief, child)
	})
}

// F-33: Issue cuts no life, so each token of a session asks for no longer than both the session and the setting allow,
// down to the shortest setting.
func TestAccessLife_F_33(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := setup(t, func(c *session.Config) {
			short := c.Tokens.Config()
			short.Lifetime = 30 * time.Second
			var err error
			c.Tokens, err = tokens.New(short)
			ok(t, err)
			c.Life = session.Life{Idle: time.Minute, Absolute: time.Minute}
		})
		pair := w.login(ann(1))
		left := func(name string, p *auth.Pair, want time.Duration) {
			t.Helper()
			if got := time.Until(p.AccessExpires); got != want {
				t.Errorf("%s: got %s, expected %s", name, got, want)
			}
		}
		left("login", pair, 30*time.Second)
		lent, err := w.Lend(ctx, pair.Refresh, phone)
		ok(t, err)
		left("lent", lent, 30*time.Second)
		left("refreshed", w.refresh(pair.Refresh), 30*time.Second)
		time.Sleep(45 * time.Second) // of the bubble
		pair = w.login(ann(1))
		time.Sleep(45 * time.Second)
		left("at the session's end", w.refresh(pair.Refresh), 15*time.Second)
	})
}

func TestLend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := setup(t)
		pair := w.login(ann(1))
		lent, err := w.Lend(ctx, pair.Refresh, phone)
		ok(t, err)
		if p := w.accepted(lent); p.Session != pair.Session || lent.Refresh != "" || time.Until(lent.AccessExpires) != minute {
			t.Errorf("lent %+v until %s", p, lent.AccessExpires)
		}
		child := w.refresh(pair.Refresh)
		time.Sleep(minute)
		if _, err := w.Lend(ctx, pair.Refresh, phone); auth.CodeOf(err) != auth.TokenExpired || session.Ended(err) {
			t.Errorf("an old one: got %v", err)
		}
		w.users.set("ann", nil)
		if _, err := w.Lend(ctx, child.Refresh, phone); auth.CodeOf(err) != auth.TokenRevoked {
			t.Errorf("a subject that is gone: got %v", err)
		}
		w.users.set("ann", func(s *session.Subject) { s.Version = 1 })
		child = w.refresh(child.Refresh) // nothing had ended
		ok(t, w.Logout(ctx, child.Refresh))
		if _, err := w.Lend(ctx, child.Refresh, phone); auth.CodeOf(err) != auth.TokenRevoked {
			t.Errorf("after logout: got %v", err)
		}
		if _, err := w.Lend(ctx, lent.Access, phone); auth.CodeOf(err) != auth.TokenInvalid {
			t.Errorf("garbage: got %v", err)
		}
	})
}

func TestBind(t *testing.T) {
	w := setup(t)
	device := auth.Bind(ctx, "device:thumbprint")
	pair, err := w.Start(device, session.Login{Principal: ann(1), Client: phone})
	ok(t, err)
	w.told()
	w.refused(pair.Refresh, auth.TokenExpired)
	w.wantTold("refresh unbound")
	for name, refresh := range map[string]func(context.Context, string, auth.Client) (*auth.Pair, error){"Refresh": w.Refresh, "RefreshCookie": w.RefreshCookie, "Lend": w.Lend} {
		_, err := refresh(auth.Bind(ctx, "device:another"), pair.Refresh, phone)
		if auth.CodeOf(err) != auth.TokenExpired || session.Ended(err) { // the token works, where it is proven
			t.Errorf("%s by another device: got %v (ended: %t)", name, err, session.Ended(err))
		}
	}
	if _, err = w.Refresh(device, pair.Refresh, phone); err != nil {
		t.Errorf("its own device: %v", err)
	}
	if p := w.accepted(pair); p.Binding != "device:thumbprint" {
		t.Errorf("the access token is bound to %q", p.Binding)
	}
	// What ties a session to nothing that can be shown makes none.
	if _, err := w.Start(auth.Bind(ctx, "thumbprint"), session.Login{Principal: ann(1), Client: phone}); auth.CodeOf(err) != auth.Internal || w.memory.Rows() != 1 {
		t.Errorf("got %v and %d rows", err, w.memory.Rows())
	}
}

// The binding counts in the size that is tried before the swap: no number of roles burns a refresh token.
func TestBind_TooManyRoles(t *testing.T) {
	w := setup(t)
	p := ann(1)
	p.ClientID, p.Methods = strings.Repeat("c", 128), nil
	for range 8 {
		p.Methods = append(p.Methods, strings.Repeat("m", 32))
	}
	device := auth.Bind(ctx, "device:"+strings.Repeat("d", 121))
	pair, err := w.Start(device, session.Login{Principal: p, Client: phone})
	ok(t, err)
	refused := 0
	for n := 4000; n < 6500; n += 25 {
		w.users.set("ann", func(s *session.Subject) { s.Roles = []string{strings.Repeat("r", n)} })
		next, err := w.Refresh(device, pair.Refresh, phone)
		if err == nil {
			pair = next
			continue
		}
		refused++
		w.users.set("ann", func(s *session.Subject) { s.Roles = nil })
		rows, _ := w.List(ctx, "ann")
		if next, err = w.Refresh(device, pair.Refresh, phone); err != nil || next.Refresh == pair.Refresh {
			t.Fatalf("after %d bytes of roles: %v", n, err)
		}
		after, _ := w.List(ctx, "ann")
		if after[0].Generation != rows[0].Generation+1 {
			t.Fatalf("%d bytes of roles have used the refresh token up", n)
		}
		pair = next
	}
	if refused == 0 || refused == 100 {
		t.Errorf("%d of 100 were refused: the limit was not met", refused)
	}
}

// STD-S11, PROTOCOLS 3: the list forgets between the reading of a version and the minting. Nothing of before is stamped
// with the new epoch.
func TestSTD_S11_EpochInBetween(t *testing.T) {
	w := setup(t)
	pair := w.login(ann(1))
	forgot := false
	w.users.hook = func(string) {
		if forgot {
			return
		}
		forgot = true
		w.memory.Forget() // and ann is ended meanwhile
		w.users.set("ann", func(s *session.Subject) { s.Version, s.EndedBelow = 2, 2 })
	}
	w.refused(pair.Refresh, auth.TokenRevoked)
	if !forgot || w.users.loads < 3 {
		t.Error("the subject was not loaded again")
	}
	// A list that forgets each time is an outage, not a loop.
	w.users.hook = func(string) { w.memory.Forget() }
	if _, err := w.Start(ctx, session.Login{Principal: ann(2), Client: phone}); auth.CodeOf(err) != auth.StoreUnavailable {
		t.Errorf("got %v", err)
	}
}

func TestEndOnOtherEpoch(t *testing.T) {
	for _, strict := range []bool{false, true} {
		w := setup(t, func(c *session.Config) { c.EndOnOtherEpoch = strict })
		pair := w.login(ann(1))
		w.memory.Forget()
		if _, err := w.Refresh(ctx, pair.Refresh, phone); (auth.CodeOf(err) == auth.TokenRevoked) != strict || !strict && err != nil {
			t.Errorf("strict %t: got %v", strict, err)
		}
	}
}
