package storetest

import (
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/auth/session"
)

func create(k *kit) {
	c := k.login()
	res := k.try(c)
	row, now := res.Session, time.Now()
	if res.Outcome != session.Created || res.Epoch != c.Session.Epoch || len(res.Ended) > 0 {
		k.Fatalf("got %q in epoch %q, ended %v", res.Outcome, res.Epoch, res.Ended)
	}
	if row.Generation != 1 || row.From != 1 || row.Replaced || !row.GraceUntil.IsZero() || !row.LateUntil.IsZero() {
		k.Errorf("got generation %d from %d, late until %s, replaced %t, grace until %s", row.Generation, row.From, row.LateUntil, row.Replaced, row.GraceUntil)
	}
	if !near(row.Created, now) || !row.Used.Equal(row.Created) || row.IdleUntil.Sub(row.Created) != c.Session.Idle || row.Until.Sub(row.Created) != c.Absolute {
		k.Errorf("got created %s, used %s, idle until %s, until %s", row.Created, row.Used, row.IdleUntil, row.Until)
	}
	k.wantAlive(row)
	short := k.create(func(c *session.Creation) { c.Absolute = c.Session.Idle / 2 })
	if !short.IdleUntil.Equal(short.Until) {
		k.Errorf("idle until %s, past the absolute end %s", short.IdleUntil, short.Until)
	}
}

func createOtherEpoch(k *kit) {
	now := k.epoch()
	for _, epoch := range []string{"", "AAAAAAAA", strings.ToLower(now)} {
		c := k.login(func(c *session.Creation) { c.Session.Epoch = epoch })
		if res := k.try(c); res.Outcome != session.OtherEpoch || res.Epoch != now {
			k.Errorf("epoch %q: got %q and epoch %q, expected %q", epoch, res.Outcome, res.Epoch, now)
		}
	}
	if ids := k.list(k.owner); len(ids) > 0 {
		k.Errorf("rows were made: %v", ids)
	}
}

// Ids are the server's own; one that is there must not be taken over, whoever asks.
func createTwice(k *kit) {
	row := k.create()
	for _, o := range []auth.Owner{row.Owner, {Issuer: row.Issuer, Subject: "eve"}} {
		c := k.login(func(c *session.Creation) { c.Session.ID, c.Session.Owner, c.Session.Version = row.ID, o, 7 })
		if res, err := k.store.Create(k.Context(), c); err == nil {
			k.Errorf("for %s: got %q, expected an error", o.Subject, res.Outcome)
		}
	}
	if rows := k.rows(row.Owner); len(rows) != 1 || rows[0].Version != 1 {
		k.Errorf("the row was changed: %+v", rows)
	}
	if ids := k.list(auth.Owner{Issuer: row.Issuer, Subject: "eve"}); len(ids) > 0 {
		k.Errorf("eve has %v", ids)
	}
	k.wantAlive(row)
}

func maximum(k *kit) {
	three := func(c *session.Creation) { c.Max = 3 }
	first := k.create(three, func(c *session.Creation) { c.Absolute = 4 * long }) // begun first, ends last
	k.later(first)
	second := k.create(three) // ends first
	k.later(second)
	third := k.create(three, func(c *session.Creation) { c.Absolute = 3 * long })
	k.later(third)
	other := k.create(three, func(c *session.Creation) { c.Session.Subject = "bob" })
	k.rotate(session.Rotated, k.showing(first, 1)) // use does not make it younger
	res := k.try(k.login(three, func(c *session.Creation) { c.Absolute = 5 * long }))
	if res.Outcome != session.Created || !slices.Equal(res.Ended, []string{first.ID}) {
		k.Errorf("got %q, ended %v, expected the one that began first", res.Outcome, res.Ended)
	}
	k.wantEnded(first)
	for _, row := range []session.Session{second, third, other, res.Session} {
		k.wantAlive(row)
	}
	// The new one stays although it would end first, and a lower maximum makes room for it.
	res = k.try(k.login(func(c *session.Creation) { c.Max, c.Absolute, c.Session.Idle = 1, time.Minute, time.Minute }))
	if ids := k.list(k.owner); !slices.Equal(ids, []string{res.Session.ID}) || len(res.Ended) != 3 {
		k.Errorf("got %v, ended %v, expected only the new one %s", ids, res.Ended, res.Session.ID)
	}
}

// later waits until the store's clock has left the moment at which the session began.
func (k *kit) later(than session.Session) {
	k.Helper()
	k.until("the clock goes on", func() bool {
		return k.create(func(c *session.Creation) { c.Session.Subject = "clock" }).Created.After(than.Created)
	})
}

func replace(k *kit) {
	old := k.create()
	k.rotate(session.Rotated, k.showing(old, 1))
	res := k.try(k.login(func(c *session.Creation) { c.Replaces, c.Max = old.ID, 1 }))
	if res.Outcome != session.Created || len(res.Ended) > 0 {
		k.Fatalf("got %q, ended %v; the replaced one does not count", res.Outcome, res.Ended)
	}
	k.wantAlive(res.Session)
	k.wantAccess(old, math53, auth.TokenExpired) // PROTOCOLS 9: a request of before is answered with a refresh
	if ids := k.list(k.owner); !slices.Equal(ids, []string{res.Session.ID}) {
		k.Errorf("got %v", ids)
	}
	for _, p := range []int64{1, 2, 3} { // no generation of it gives a child, and none is reuse: other tabs still send them
		k.rotate(session.Replaced, k.showing(old, p))
	}
	// PROTOCOLS 9: a step-up that was clicked twice. The first one is the client's session now.
	if again := k.try(k.login(func(c *session.Creation) { c.Replaces = old.ID })); again.Outcome != session.Replaced {
		k.Errorf("replaced twice: got %q", again.Outcome)
	}
	if ids := k.list(k.owner); !slices.Equal(ids, []string{res.Session.ID}) {
		k.Errorf("after the second click: got %v", ids)
	}
	if ended, err := k.store.EndBelow(k.Context(), k.owner, 1, ""); err != nil || len(ended) > 0 {
		k.Errorf("EndBelow: got %v, %v", ended, err)
	}
	// Without a grace time the replaced one is over within the call: what the store notes of it must not revive it.
	brief := k.try(k.login(func(c *session.Creation) { c.Replaces, c.Grace = res.Session.ID, 0 }))
	k.until("the replaced one is forgotten", func() bool {
		got, err := k.store.Rotate(k.Context(), k.showing(res.Session, 1))
		return err == nil && got.Outcome == session.Gone
	})
	k.wantAlive(brief.Session)
}

func replaceGone(k *kit) {
	ended := k.create()
	k.end(k.owner, ended.ID)
	others := k.create(func(c *session.Creation) { c.Session.Subject = "bob" })
	short := k.create(func(c *session.Creation) { c.Session.Idle = time.Millisecond })
	k.until("idle", func() bool {
		r := k.showing(short, 1)
		r.Lend = true
		got, err := k.store.Rotate(k.Context(), r)
		return err == nil && got.Outcome == session.Gone
	})
	for name, id := range map[string]string{"ended": ended.ID, "another's": others.ID, "unknown": strings.Repeat("A", 26), "over": short.ID} {
		if res := k.try(k.login(func(c *session.Creation) { c.Replaces = id })); res.Outcome != session.Gone {
			k.Errorf("%s: got %q, expected gone", name, res.Outcome)
		}
	}
	if ids := k.list(k.owner); len(ids) > 0 {
		k.Errorf("rows were made: %v", ids)
	}
	k.wantAlive(others)
}

// keeps demands that a row comes back as it went in, texts of strangers included.
func keeps(k *kit) {
	nasty := "ä\u2028 \"',:|{}*\t-" + strings.Repeat("x", 480)
	c := k.login(func(c *session.Creation) {
		s := &c.Session
		s.Owner = auth.Owner{Issuer: "https://a", Subject: nasty}
		s.Version, s.Methods, s.AuthTime = math53, []string{"pwd", "o,tp", ""}, time.Unix(1_700_000_000, 0)
		s.ClientID, s.Binding, s.Device = "id", "thumb=print", "Firefox on Linux"
		s.Client = auth.Client{Addr: netip.MustParseAddr("2001:db8::7"), UserAgent: nasty}
		s.Terms = session.Terms{Tenant: "acme ü", Claims: `{"device":"<ü>","n":1}`, Roles: []string{"a", "b,c"}, Competencies: []string{""}}
		s.Audience, s.Remember, s.Place = "spa ü", true, "Zürich"
		s.Provider = session.Provider{Issuer: "https://idp.example", Subject: nasty[:40], Session: "s 1"}
	})
	k.try(c)
	plain := k.try(k.login(func(c *session.Creation) {
		c.Session.Methods, c.Session.Client, c.Session.Version, c.Session.KeyID = nil, auth.Client{}, 0, "a.b-c_d"
	})).Session
	same := func(got, want session.Session) {
		k.Helper()
		if got.Owner != want.Owner || got.ID != want.ID || got.Version != want.Version || !slices.Equal(got.Methods, want.Methods) ||
			got.AuthTime.Sub(want.AuthTime).Abs() >= time.Millisecond ||
			got.ClientID != want.ClientID || got.Binding != want.Binding || got.Device != want.Device || got.Client != want.Client || got.Place != want.Place ||
			!reflect.DeepEqual(got.Terms, want.Terms) || got.Audience != want.Audience || got.Remember != want.Remember || got.Provider != want.Provider ||
			got.KeyID != want.KeyID || got.Epoch != want.Epoch || got.Idle != want.Idle {
			k.Errorf("got  %+v\nwant %+v", got, want)
		}
	}
	rows := append(k.rows(c.Session.Owner), k.rows(plain.Owner)...)
	if len(rows) != 2 {
		k.Fatalf("got %d rows", len(rows))
	}
	same(rows[0], c.Session)
	same(rows[1], plain)
	rows[0].Methods[0] = "changed" // the caller's copy
	r := k.showing(c.Session, 1)
	r.Binding, r.Terms, r.Place = "thumb=print", c.Session.Terms, "Basel"
	got := k.rotate(session.Rotated, r)
	want := c.Session
	want.Client, want.Device, want.KeyID, want.Place = r.Client, r.Device, r.KeyID, r.Place
	same(got, want)
	same(k.rows(want.Owner)[0], want)
}

// maximumRace demands that a subject cannot have more sessions by logging in many times at once.
func maximumRace(k *kit) {
	const n, most = 30, 5
	logins := make([]session.Creation, n)
	for i := range logins {
		logins[i] = k.login(func(c *session.Creation) { c.Max = most })
	}
	var mu sync.Mutex
	created, ended := map[string]session.Session{}, map[string]bool{}
	each(n, func(i int) {
		res, err := k.store.Create(k.Context(), logins[i])
		if err != nil || res.Outcome != session.Created {
			k.Errorf("got %q, %v", res.Outcome, err)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		created[res.Session.ID] = res.Session
		for _, id := range res.Ended {
			if ended[id] {
				k.Errorf("%s was ended twice", id)
			}
			ended[id] = true
		}
	})
	if ids := k.list(k.owner); len(ids) != most || len(ended) != n-most {
		k.Errorf("%d live, %d ended, expected %d and %d", len(ids), len(ended), most, n-most)
	}
	for id, row := range created {
		if ended[id] {
			k.wantEnded(row)
		} else {
			k.wantAlive(row)
		}
	}
}

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
