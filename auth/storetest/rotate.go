package storetest

import (
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/auth/session"
)

// at5 brings a new session to generation 5, its last swap from 4.
func (k *kit) at5(change ...func(*session.Creation)) session.Session {
	k.Helper()
	row := k.create(change...)
	for p := int64(1); p < 5; p++ {
		row = k.rotate(session.Rotated, k.showing(row, p))
	}
	return row
}

// rotationTable is PROTOCOLS 5, row by row, within the grace time and after it.
func rotationTable(k *kit) {
	noGrace := func(r *session.Rotation) { r.Grace = 0 } // the last swap's grace is over at once
	none := func(*session.Rotation) {}
	lenient := func(r *session.Rotation) { r.Lenient = true }
	for _, c := range []struct {
		name       string
		last       func(*session.Rotation) // the swap from 5 to 6
		p          int64
		how        func(*session.Rotation)
		want       session.Outcome
		generation int64 // of the row then; 0: it is over
	}{
		{"p = c", none, 6, none, session.Rotated, 7},
		{"ATK-S03 p = c-1 within grace", none, 5, none, session.Replayed, 6},
		{"ATK-S03 p = c-1 after grace", noGrace, 5, none, session.Reused, 0},
		{"ATK-S04 the grandparent within grace", none, 4, none, session.Reused, 0},
		{"the grandparent after grace", noGrace, 4, none, session.Reused, 0},
		{"the first of all", none, 1, none, session.Reused, 0},
		{"p = c+1: rolled back", none, 7, none, session.RolledBack, 8},
		{"p far above c", none, 1 << 40, none, session.RolledBack, 1<<40 + 1},
		{"p above what a float holds", none, 1<<53 - 2, none, session.RolledBack, 1<<53 - 1},
		{"lenient: p = c within grace", none, 6, lenient, session.Kept, 6},
		{"lenient: p = c after grace", noGrace, 6, lenient, session.Rotated, 7},
		{"lenient: p = c+1 within grace: rolled back", none, 7, lenient, session.RolledBack, 8},
		{"lenient: p = c-1 within grace", none, 5, lenient, session.Replayed, 6},
		{"lenient: p = c-1 after grace", noGrace, 5, lenient, session.Late, 6},
		{"lenient: the grandparent", noGrace, 4, lenient, session.Reused, 0},
	} {
		k.sub(c.name, func(k *kit) {
			row := k.at5()
			swap := k.showing(row, 5)
			c.last(&swap)
			row = k.rotate(session.Rotated, swap)
			r := k.showing(row, c.p)
			r.KeyID = "key-3"
			c.how(&r)
			got := k.rotate(c.want, r)
			if c.generation == 0 {
				k.wantEnded(row)
				return
			}
			k.wantAlive(row)
			if got.Generation != c.generation {
				k.Errorf("got generation %d, expected %d", got.Generation, c.generation)
			}
			if swapped := c.want == session.Rotated || c.want == session.RolledBack; swapped {
				if got.KeyID != "key-3" || got.From != 6 || got.Client != r.Client || got.Device != r.Device || !got.GraceUntil.After(got.Used) {
					k.Errorf("after a swap the row is %+v", got)
				}
			} else if got.KeyID != swap.KeyID || got.From != 5 || !got.GraceUntil.Equal(row.GraceUntil) || !got.IdleUntil.Equal(row.IdleUntil) {
				k.Errorf("without a swap the row is %+v, was %+v", got, row)
			}
			if stored := k.rows(k.owner)[0]; stored.Generation != got.Generation || stored.KeyID != got.KeyID || !stored.LateUntil.Equal(got.LateUntil) {
				k.Errorf("told %+v, stored %+v", got, stored)
			}
		})
	}
	late(k)
	delayed(k)
	afterRollback(k)
	parentAfterChild(k)
	unbound(k)
	narrow(k)
	terms(k)
	moved(k)
	notThere(k)
}

// sub runs f as a sub-test on the same store, with an owner of its own.
func (k *kit) sub(name string, f func(*kit)) {
	k.Run(name, func(t *testing.T) {
		one := *k
		one.T, one.owner.Subject = t, "ann: "+name
		f(&one)
	})
}

// late: showings of the parent are forgiven for a minute from the first, which is recorded; a swap in between forgives the
// next parent as long. PROTOCOLS 9: two uploads at once span a rotation by more than the grace time. That the minute
// ends is for the tests of a store's clock, or of its rows.
func late(k *kit) {
	row := k.at5()
	shown := func(p int64) session.Rotation {
		r := k.showing(row, p)
		r.Lenient, r.Grace = true, 0
		return r
	}
	strict := func() session.Rotation { // at5's last swap is too young for a lenient one
		r := shown(5)
		r.Lenient = false
		return r
	}
	k.rotate(session.Rotated, strict())
	first := k.rotate(session.Late, shown(5))
	if d := first.LateUntil.Sub(first.Used); d < time.Minute || d > time.Minute+long {
		k.Errorf("late showings are forgiven for %s after the swap, expected a minute from the first", d)
	}
	for range 3 {
		if got := k.rotate(session.Late, shown(5)); !got.LateUntil.Equal(first.LateUntil) || got.Generation != 6 {
			k.Errorf("the second late showing moved the end from %s to %s, generation %d", first.LateUntil, got.LateUntil, got.Generation)
		}
	}
	if got := k.rotate(session.Rotated, shown(6)); !got.LateUntil.IsZero() {
		k.Error("a swap does not clear the record")
	}
	k.rotate(session.Late, shown(6))
	k.rotate(session.Reused, shown(5))
	k.wantEnded(row)

	row = k.at5()
	k.rotate(session.Rotated, strict())
	k.rotate(session.Late, shown(5))
	k.rotate(session.Reused, strict())
	k.wantEnded(row)
}

// delayed is PROTOCOLS' promise R where several requests carry the token by themselves: one that was sent first and comes
// last, within the grace time, is never older than the parent, because the child is not exchanged in that time. A
// session that was never refreshed has no grace time, and the strict endpoint keeps to ATK-S04.
func delayed(k *kit) {
	row := k.create()
	shown := func(p int64) session.Rotation {
		r := k.showing(row, p)
		r.Lenient = true
		return r
	}
	child := k.rotate(session.Rotated, shown(1))
	for _, p := range []int64{2, 1, 2} {
		outcome := map[int64]session.Outcome{1: session.Replayed, 2: session.Kept}[p]
		if got := k.rotate(outcome, shown(p)); got.Generation != 2 || !got.GraceUntil.Equal(child.GraceUntil) || !got.Used.Equal(child.Used) {
			k.Errorf("shown %d: got %+v, expected the child %+v", p, got, child)
		}
	}
	if stored := k.rows(k.owner); len(stored) != 1 || stored[0].Generation != 2 || !stored[0].GraceUntil.Equal(child.GraceUntil) {
		k.Errorf("stored: %+v", stored)
	}
	k.rotate(session.Rotated, k.showing(row, 2))
	k.rotate(session.Reused, shown(1))
	k.wantEnded(row)
}

// afterRollback: whatever racers show between the row's old generation and the one that was taken, they get
// the one child.
func afterRollback(k *kit) {
	row := k.at5()
	k.rotate(session.RolledBack, k.showing(row, 9))
	for _, p := range []int64{9, 5, 7} {
		if got := k.rotate(session.Replayed, k.showing(row, p)); got.Generation != 10 {
			k.Errorf("shown %d: got generation %d, expected 10", p, got.Generation)
		}
	}
	k.rotate(session.Reused, k.showing(row, 4))
	k.wantEnded(row)
}

// parentAfterChild is ATK-S04's second half: once the child was used, its parent is reuse, within the grace time too.
func parentAfterChild(k *kit) {
	row := k.at5()
	k.rotate(session.Rotated, k.showing(row, 5))
	k.rotate(session.Rotated, k.showing(row, 6))
	k.rotate(session.Reused, k.showing(row, 5))
	k.wantEnded(row)
}

// narrow: a good token makes an access token and is not exchanged; what ends a session elsewhere ends it here.
func narrow(k *kit) {
	shown := func(row session.Session, p int64) session.Rotation {
		r := k.showing(row, p)
		r.Narrow = true
		return r
	}
	row := k.at5()
	stored := func() session.Session {
		rows := k.rows(row.Owner)
		return rows[slices.IndexFunc(rows, func(s session.Session) bool { return s.ID == row.ID })]
	}
	before := stored()
	for _, p := range []int64{5, 4, 9} { // the present one, its parent within the grace time, one that the store forgot
		if got := k.rotate(session.Lent, shown(row, p)); got.Generation != 5 {
			k.Errorf("generation %d: got %+v", p, got)
		}
	}
	if after := stored(); !reflect.DeepEqual(before, after) {
		k.Errorf("it has changed %+v to %+v", before, after)
	}
	k.rotate(session.Reused, shown(row, 3))
	k.wantEnded(row)
	gone := k.create()
	r := shown(gone, 1)
	r.Numbers.EndedBelow = 2
	k.rotate(session.Gone, r)
	k.wantEnded(gone)
}

// terms are what the login fixed: a subject that was loaded for others is not believed, and nothing widens them.
func terms(k *kit) {
	its := session.Terms{Tenant: "acme", Claims: `{"device":"d1"}`, Roles: []string{"editor"}}
	row := k.create(func(c *session.Creation) { c.Session.Terms = its })
	for name, change := range map[string]func(*session.Terms){
		"none":             func(t *session.Terms) { *t = session.Terms{} },
		"another tenant":   func(t *session.Terms) { t.Tenant = "other" },
		"the global one":   func(t *session.Terms) { t.Tenant = "" },
		"other claims":     func(t *session.Terms) { t.Claims = "" },
		"more roles":       func(t *session.Terms) { t.Roles = []string{"editor", "admin"} },
		"more competences": func(t *session.Terms) { t.Competencies = []string{"all"} },
	} {
		for _, lend := range []bool{false, true} {
			r := k.showing(row, 1)
			r.Terms, r.Lend = its, lend
			change(&r.Terms)
			if got := k.rotate(session.OtherTerms, r); !reflect.DeepEqual(got.Terms, its) {
				k.Errorf("%s: got the terms %+v, expected the row's", name, got.Terms)
			}
		}
	}
	r := k.showing(row, 1)
	r.Terms = its
	if got := k.rotate(session.Rotated, r); !reflect.DeepEqual(got.Terms, its) || got.Generation != 2 {
		k.Errorf("got %+v", got)
	}
	free := k.create()
	r = k.showing(free, 1)
	r.Terms.Tenant = "acme"
	k.rotate(session.OtherTerms, r)
	k.wantAlive(free)
}

// moved is F-45, F-65: the client of before is told, and ends the session only where that was asked for.
func moved(k *kit) {
	row := k.create()
	was := row.Client
	res, err := k.store.Rotate(k.Context(), k.showing(row, 1))
	if err != nil || res.Outcome != session.Rotated || res.Former != was {
		k.Fatalf("got %q, former %+v, %v, expected %+v", res.Outcome, res.Former, err, was)
	}
	same := res.Session.Client
	for _, c := range []struct {
		name   string
		client auth.Client
		want   session.Outcome
	}{
		{"the same", same, session.Rotated},
		{"the same network", auth.Client{Addr: netip.MustParseAddr("2001:db8::ffff"), UserAgent: same.UserAgent}, session.Rotated},
		{"no address", auth.Client{UserAgent: same.UserAgent}, session.Rotated},
		{"another network", auth.Client{Addr: netip.MustParseAddr("2001:db9::1"), UserAgent: same.UserAgent}, session.Moved},
		{"another family", auth.Client{Addr: netip.MustParseAddr("192.0.2.1"), UserAgent: same.UserAgent}, session.Moved},
		{"another agent", auth.Client{Addr: same.Addr, UserAgent: "curl/10"}, session.Moved},
		{"no agent", auth.Client{Addr: same.Addr}, session.Moved},
	} {
		row := k.create(func(s *session.Creation) { s.Session.Client = same })
		r := k.showing(row, 1)
		r.Client, r.Lend, r.EndOnOtherClient = c.client, true, true
		lent := map[session.Outcome]session.Outcome{session.Rotated: session.Lent, session.Moved: session.Late}
		k.rotate(lent[c.want], r)
		k.wantAlive(row)
		k.Log(c.name)
		r.Lend = false
		if k.rotate(c.want, r); c.want == session.Moved {
			k.wantEnded(row)
		}
	}
}

// unbound: who cannot show the binding changes nothing, be the token good or old.
func unbound(k *kit) {
	row := k.create(func(c *session.Creation) { c.Session.Binding = "device-1" })
	bound := func(p int64, binding string) session.Rotation {
		r := k.showing(row, p)
		r.Binding = binding
		return r
	}
	for _, binding := range []string{"", "device-2", "device-11"} {
		k.rotate(session.Unbound, bound(1, binding))
	}
	row = k.rotate(session.Rotated, bound(1, "device-1"))
	row = k.rotate(session.Rotated, bound(2, "device-1"))
	k.rotate(session.Unbound, bound(1, "device-2"))
	k.wantAlive(row)
	k.rotate(session.Reused, bound(1, "device-1"))

	other := k.create(func(c *session.Creation) { c.Session.Binding = "device-1" })
	thief := bound(1, "")
	thief.ID, thief.EndOnOtherClient = other.ID, true // who has not the device ends nothing, from wherever he comes
	k.rotate(session.Unbound, thief)
	k.wantAlive(other)

	free := k.create()
	r := k.showing(free, 1)
	r.Binding = "device-1" // a session without a binding asks for none, and gets none
	if got := k.rotate(session.Rotated, r); got.Binding != "" {
		k.Errorf("a refresh bound the session to %q", got.Binding)
	}
}

// notThere: no row, no session; nothing is created.
func notThere(k *kit) {
	row := k.login().Session
	for p := int64(1); p < 3; p++ {
		k.rotate(session.Gone, k.showing(row, p))
	}
	if ids := k.list(row.Owner); slices.Contains(ids, row.ID) {
		k.Error("a row was made")
	}
	mine := k.create()
	eve := mine
	eve.Subject = "eve"
	k.rotate(session.Gone, k.showing(eve, 1))
	k.wantAlive(mine)
}

// lending judges and writes nothing.
func lending(k *kit) {
	lend := func(want session.Outcome, row session.Session, p int64, change ...func(*session.Rotation)) {
		k.Helper()
		before := k.rows(k.owner)
		r := k.showing(row, p)
		r.Lend, r.Lenient = true, true
		for _, f := range change {
			f(&r)
		}
		got := k.rotate(want, r)
		if want == session.Lent && (got.ID != row.ID || len(got.Methods) == 0 || got.Until.IsZero()) {
			k.Errorf("lent from %+v", got)
		}
		after := k.rows(k.owner)
		if len(before) != len(after) || len(after) > 0 && (after[0].Generation != before[0].Generation || !after[0].LateUntil.Equal(before[0].LateUntil) ||
			!after[0].IdleUntil.Equal(before[0].IdleUntil) || after[0].Client != before[0].Client) {
			k.Errorf("lending of %d changed %+v to %+v", p, before, after)
		}
	}
	row := k.at5()
	lend(session.Lent, row, 5)
	lend(session.Lent, row, 5, func(r *session.Rotation) { r.Lenient = false })
	lend(session.Lent, row, 4) // within grace
	lend(session.Lent, row, 9)
	lend(session.Late, row, 3)
	lend(session.Gone, row, 5, func(r *session.Rotation) { r.Numbers.EndedBelow = 2 })
	lend(session.OtherEpoch, row, 5, func(r *session.Rotation) { r.Epoch = "AAAAAAAA" })
	last := k.showing(row, 5)
	last.Grace = 0
	k.rotate(session.Rotated, last)
	lend(session.Late, row, 5)
	lend(session.Late, row, 5) // no record is kept, and nothing ends
	lend(session.Gone, k.login().Session, 1)
	k.wantAlive(row)
}

// otherEpoch: what was judged by an older memory of the list is judged anew.
func otherEpoch(k *kit) {
	row := k.at5()
	for _, epoch := range []string{"", "AAAAAAAA"} {
		for _, p := range []int64{1, 4, 5, 6} {
			r := k.showing(row, p)
			r.Epoch = epoch
			k.rotate(session.OtherEpoch, r)
		}
	}
	k.wantAlive(row)
	if rows := k.rows(k.owner); rows[0].Generation != 5 {
		k.Errorf("got generation %d, expected 5 still", rows[0].Generation)
	}
	if k.forget == nil {
		return
	}
	lost := k.showing(row, 5)
	lost.Grace = 0
	k.rotate(session.Rotated, lost)
	other := k.at5()
	strict := k.at5()
	k.forget()
	k.rotate(session.OtherEpoch, lost)
	// The answer to the swap from 5 may have been lost with the epoch. Only its parent is excused, and only until
	// the next swap.
	for range 2 {
		if got := k.rotate(session.Replayed, k.showing(row, 5)); got.Generation != 6 {
			k.Errorf("got generation %d, expected 6", got.Generation)
		}
	}
	now := k.showing(row, 6)
	now.Grace = 0
	if got := k.rotate(session.Rotated, now); got.Epoch != k.epoch() {
		k.Errorf("the row is of epoch %q, the list of %q", got.Epoch, k.epoch())
	}
	k.rotate(session.Reused, k.showing(row, 6))
	k.rotate(session.Reused, k.showing(other, 3))
	r := k.showing(strict, 5)
	r.EndOnOtherEpoch = true
	k.rotate(session.Gone, r)
	k.wantEnded(strict)
	k.wantEnded(row)
}

// endedBelow: the subject's numbers are compared in the step, so a session that an ending missed does not live.
func endedBelow(k *kit) {
	for _, c := range []struct {
		name    string
		version int64
		n       session.Numbers
		want    session.Outcome
	}{
		{"not ended", 3, session.Numbers{Version: 9, EndedBelow: 3}, session.Rotated},
		{"ended", 3, session.Numbers{Version: 4, EndedBelow: 4}, session.Gone},
		{"ended far above", 3, session.Numbers{Version: 1 << 60, EndedBelow: 1 << 60}, session.Gone},
		{"10 is not below 9", 10, session.Numbers{Version: 10, EndedBelow: 9}, session.Rotated},
		{"2^53 is below 2^53+1", 1 << 53, session.Numbers{Version: 1<<53 + 1, EndedBelow: 1<<53 + 1}, session.Gone},
	} {
		row := k.create(func(s *session.Creation) { s.Session.Version = c.version })
		r := k.showing(row, 1)
		r.Numbers = c.n
		k.Log(c.name) // stands above the failure, if there is one
		if k.rotate(c.want, r); c.want == session.Gone {
			k.wantEnded(row)
		}
	}
	spared, not := k.create(), k.create()
	for row, want := range map[string]session.Outcome{spared.ID: session.Rotated, not.ID: session.Gone} {
		r := k.showing(session.Session{Owner: k.owner, ID: row}, 1)
		r.Numbers = session.Numbers{Version: 5, EndedBelow: 5, Except: spared.ID}
		k.rotate(want, r)
	}
}

func idle(k *kit) {
	row := k.create(func(c *session.Creation) { c.Session.Idle = 50 * time.Millisecond })
	row = k.rotate(session.Rotated, k.showing(row, 1))
	if d := row.IdleUntil.Sub(row.Used); d != 50*time.Millisecond {
		k.Errorf("a refresh gives %s, expected 50ms", d)
	}
	r := k.showing(row, 2)
	r.Lend = true // asks without using
	k.until("idle", func() bool {
		got, err := k.store.Rotate(k.Context(), r)
		return err == nil && got.Outcome == session.Gone
	})
	k.rotate(session.Gone, k.showing(row, 2))
	if ids := k.list(k.owner); len(ids) > 0 {
		k.Errorf("listed: %v", ids)
	}
	if ended := k.end(k.owner, row.ID); len(ended) > 0 {
		k.Errorf("End found it alive: %v", ended)
	}
	k.wantAccess(row, math53, auth.TokenRevoked)

	row = k.create(func(c *session.Creation) { c.Session.Idle = time.Millisecond })
	k.until("idle", func() bool { return len(k.list(k.owner)) == 0 }) // nobody has touched the row since
	if ended := k.end(k.owner, row.ID); len(ended) > 0 {
		k.Errorf("End found it alive: %v", ended)
	}
}

func absolute(k *kit) {
	row := k.create(func(c *session.Creation) { c.Absolute = 100 * time.Millisecond })
	until, p := row.Until, int64(1)
	k.until("the absolute end", func() bool {
		got, err := k.store.Rotate(k.Context(), k.showing(row, p))
		if err != nil {
			k.Fatal(err)
		}
		if got.Outcome == session.Gone {
			return true
		}
		if got.Outcome != session.Rotated || !got.Session.Until.Equal(until) || got.Session.IdleUntil.After(until) {
			k.Fatalf("%q: until %s, idle until %s, expected %s", got.Outcome, got.Session.Until, got.Session.IdleUntil, until)
		}
		p++
		return false
	})
	if p == 1 {
		k.Error("it was never refreshed")
	}
	if ids := k.list(k.owner); len(ids) > 0 {
		k.Errorf("listed: %v", ids)
	}
}
