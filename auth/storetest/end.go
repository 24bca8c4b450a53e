package storetest

import (
	"crypto/rand"
	"slices"
	"sync"
	"time"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/auth/session"
)

func end(k *kit) {
	one, two, three := k.at5(), k.create(), k.create()
	if ended := k.end(k.owner, one.ID); !slices.Equal(ended, []string{one.ID}) {
		k.Errorf("got %v", ended)
	}
	k.wantEnded(one)
	if ended := k.end(k.owner, one.ID); len(ended) > 0 {
		k.Errorf("twice: got %v", ended)
	}
	k.wantAlive(two)
	if ended := k.end(k.owner, two.ID, one.ID, three.ID); len(ended) != 2 {
		k.Errorf("got %v, expected two of three", ended)
	}
	k.wantEnded(two)
	k.wantEnded(three)
	if ended := k.end(k.owner); len(ended) > 0 {
		k.Errorf("of none: got %v", ended)
	}
	k.rotate(session.Gone, k.showing(one, 5)) // no write revives it
	k.rotate(session.Gone, k.showing(one, 9))
	k.wantEnded(one)
}

// An id of another's must not even go on the list: that would end its access tokens.
func endAnothers(k *kit) {
	row := k.create()
	for _, o := range []auth.Owner{
		{Issuer: row.Issuer, Subject: "eve"},
		{Issuer: "https://other.example", Subject: row.Subject},
	} {
		if ended := k.end(o, row.ID); len(ended) > 0 {
			k.Errorf("%v ended %v", o, ended)
		}
	}
	k.wantAlive(row)
	k.rotate(session.Rotated, k.showing(row, 1))
}

// [deleted, crashed, retry finds nothing: the access token lives]
func endMissing(k *kit) {
	row := k.login().Session
	if ended := k.end(k.owner, row.ID); len(ended) > 0 {
		k.Errorf("got %v", ended)
	}
	k.wantAccess(row, math53, auth.TokenRevoked)
}

// [a step-up, and a logout with the token of before: it is answered nil, and the login lives on]
func endReplaced(k *kit) {
	inPlaceOf := func(old session.Session) session.Session {
		return k.create(func(c *session.Creation) { c.Replaces = old.ID })
	}
	stepUps := func() (line []session.Session) {
		line = append(line, k.create())
		for i := range 3 {
			line = append(line, inPlaceOf(line[i]))
		}
		return line
	}
	bystander := k.create()
	for from := range 3 {
		line := stepUps()
		last := line[3]
		if ended := k.end(k.owner, line[from].ID); !slices.Equal(ended, []string{last.ID}) {
			k.Errorf("from session %d: got %v, expected the last one", from, ended)
		}
		k.wantEnded(last)
		for i, row := range line[:3] {
			if i >= from {
				k.wantEnded(row)
			} else {
				k.rotate(session.Replaced, k.showing(row, 1))
			}
		}
		if ended := k.end(k.owner, line[0].ID, last.ID); len(ended) > 0 {
			k.Errorf("again: got %v", ended)
		}
	}
	line := stepUps()
	for _, row := range line {
		if ended := k.end(auth.Owner{Issuer: k.owner.Issuer, Subject: "eve"}, row.ID); len(ended) > 0 {
			k.Errorf("eve ended %v", ended)
		}
	}
	k.wantAlive(line[3])
	// Each is named, and ended once.
	if ended := k.end(k.owner, line[3].ID, line[1].ID, line[0].ID, line[2].ID); !slices.Equal(ended, []string{line[3].ID}) {
		k.Errorf("all of them: got %v, expected the last one", ended)
	}
	k.wantEnded(line[3])
	// The end of a successor does not reach back to another login.
	old := k.create()
	k.end(k.owner, inPlaceOf(old).ID)
	k.rotate(session.Replaced, k.showing(old, 1))
	k.wantAlive(bystander)
}

func endBelow(k *kit) {
	version := func(v int64) func(*session.Creation) {
		return func(c *session.Creation) { c.Session.Version = v }
	}
	two, three, spared, four := k.create(version(2)), k.create(version(3)), k.create(version(1)), k.create(version(4))
	bob := k.create(version(1), func(c *session.Creation) { c.Session.Subject = "bob" })
	ended, err := k.store.EndBelow(k.Context(), k.owner, 4, spared.ID)
	if slices.Sort(ended); err != nil || !slices.Equal(ended, slices.Sorted(slices.Values([]string{two.ID, three.ID}))) {
		k.Fatalf("got %v, %v", ended, err)
	}
	for range 2 {
		k.wantEnded(two)
		k.wantEnded(three)
		for _, row := range []session.Session{spared, four} {
			k.wantAlive(row)
			k.wantAccess(row, 3, auth.TokenExpired) // stale, the spared one's too: they refresh
			k.wantAccess(row, 4, "")
		}
		k.wantAlive(bob)
		k.wantAccess(bob, 1, "")
		if ended, err = k.store.EndBelow(k.Context(), k.owner, 4, spared.ID); err != nil || len(ended) > 0 {
			k.Fatalf("again: got %v, %v", ended, err)
		}
	}
	if got := k.rotate(session.Rotated, k.showing(spared, 1)); got.Version != 1 {
		k.Errorf("the spared one was re-stamped with version %d", got.Version)
	}
	if ended, err = k.store.EndBelow(k.Context(), k.owner, 5, ""); err != nil || len(ended) != 2 {
		k.Errorf("all: got %v, %v", ended, err)
	}
	k.wantEnded(spared)
	k.wantEnded(four)
	// Without a session the minimum is published all the same: a login that is under way has an access token.
	carol := session.Session{Owner: auth.Owner{Issuer: k.owner.Issuer, Subject: "carol"}, ID: rand.Text()}
	if ended, err = k.store.EndBelow(k.Context(), carol.Owner, 7, ""); err != nil || len(ended) > 0 {
		k.Errorf("no session: got %v, %v", ended, err)
	}
	k.wantAccess(carol, 6, auth.TokenExpired)
	k.wantAccess(carol, 7, "")
}

// owners demands that no two owners share anything, however their names look when written behind each other.
func owners(k *kit) {
	all := []auth.Owner{
		{Issuer: "i", Subject: "ab"}, {Issuer: "ia", Subject: "b"}, {Issuer: "iab", Subject: "a"}, {Issuer: "i", Subject: "a:b"},
		{Issuer: "i:a", Subject: "b"}, {Issuer: "i", Subject: "a\x00b"}, {Issuer: "i", Subject: "AB"}, {Issuer: "{x}", Subject: "*"},
		{Issuer: "i2", Subject: "ab"}, {Issuer: "I", Subject: "ab"},
	}
	rows := make([]session.Session, len(all))
	for i, o := range all {
		rows[i] = k.create(func(c *session.Creation) { c.Session.Owner = o })
	}
	for i, o := range all {
		if ids := k.list(o); !slices.Equal(ids, []string{rows[i].ID}) {
			k.Errorf("%q: got %v, expected only %s", o, ids, rows[i].ID)
		}
	}
	if _, err := k.store.EndBelow(k.Context(), all[0], 9, ""); err != nil {
		k.Fatal(err)
	}
	k.wantEnded(rows[0])
	for _, row := range rows[1:] {
		k.wantAlive(row)
		k.wantAccess(row, 1, "")
	}
}

// provided is the index for back-channel logout: by the provider's session, or by its subject, whoever owns the session here.
func provided(k *kit) {
	from := func(subject string, p session.Provider) session.Session {
		return k.create(func(c *session.Creation) { c.Session.Subject, c.Session.Provider = subject, p })
	}
	idp := "https://idp.example"
	one := from("ann", session.Provider{Issuer: idp, Subject: "u1", Session: "s1"})
	two := from("ann", session.Provider{Issuer: idp, Subject: "u1", Session: "s2"})
	bob := from("bob with space", session.Provider{Issuer: idp, Subject: "u1", Session: "s1"})
	from("eve", session.Provider{Issuer: "https://other.example", Subject: "u1", Session: "s1"})
	from("eve", session.Provider{Issuer: idp, Subject: "s1", Session: "u1"})
	from("eve", session.Provider{Issuer: idp, Subject: "u12"})
	k.create()
	gone := from("ann", session.Provider{Issuer: idp, Subject: "u1", Session: "s1"})
	k.end(gone.Owner, gone.ID)
	short := k.create(func(c *session.Creation) {
		c.Session.Provider, c.Session.Idle = session.Provider{Issuer: idp, Subject: "u1", Session: "s1"}, time.Millisecond
	})
	want := func(p session.Provider, rows ...session.Session) {
		k.Helper()
		got, err := k.store.Of(k.Context(), p)
		if err != nil {
			k.Fatal(err)
		}
		found := map[string]session.Session{}
		for _, row := range got {
			found[row.ID] = row
		}
		for _, row := range rows {
			if r, ok := found[row.ID]; !ok || r.Owner != row.Owner || r.Provider != row.Provider {
				k.Errorf("%+v: got %+v, expected %s of %v", p, r, row.ID, row.Owner)
			}
		}
		if len(got) != len(rows) {
			k.Errorf("%+v: got %d sessions, expected %d", p, len(got), len(rows))
		}
	}
	k.until("idle", func() bool { return !slices.Contains(k.list(k.owner), short.ID) })
	for range 2 {
		want(session.Provider{Issuer: idp, Session: "s1"}, one, bob)
		want(session.Provider{Issuer: idp, Session: "s1", Subject: "ignored where there is a session"}, one, bob)
		want(session.Provider{Issuer: idp, Subject: "u1"}, one, two, bob)
		want(session.Provider{Issuer: idp, Subject: "nobody"})
	}
	for _, p := range []session.Provider{{}, {Issuer: idp}, {Session: "s1"}, {Subject: "u1"}} {
		if rows, err := k.store.Of(k.Context(), p); err == nil {
			k.Errorf("%+v: got %d sessions, expected an error", p, len(rows))
		}
	}
	step := k.create(func(c *session.Creation) { c.Replaces, c.Session.Provider = one.ID, one.Provider })
	want(session.Provider{Issuer: idp, Session: "s1"}, step, bob)
}

// numbers is for stores that keep them.
func numbers(k *kit) {
	store, ok := k.store.(session.VersionStore)
	if !ok {
		k.Skip("the store keeps no numbers")
	}
	want := func(o auth.Owner, n session.Numbers) {
		k.Helper()
		if got, err := store.Numbers(k.Context(), o); err != nil || got != n {
			k.Errorf("got %+v, %v, expected %+v", got, err, n)
		}
	}
	raise := func(end bool, except string) session.Numbers {
		k.Helper()
		n, err := store.Raise(k.Context(), k.owner, end, except)
		if err != nil {
			k.Fatal(err)
		}
		want(k.owner, n)
		return n
	}
	// PROTOCOLS 2: a number is never given twice, also where the store has lost the last ones. So it follows the clock.
	want(k.owner, session.Numbers{})
	one := raise(false, "ignored")
	if one.Version < time.Now().Add(-time.Hour).UnixMilli() || one.EndedBelow != 0 || one.Except != "" {
		k.Errorf("got %+v, expected a version of the clock's milliseconds and nothing ended", one)
	}
	two := raise(true, "one")
	if two.Version <= one.Version || two.EndedBelow != two.Version || two.Except != "one" {
		k.Errorf("got %+v after %+v", two, one)
	}
	three := raise(false, "")
	if three.Version <= two.Version || three.EndedBelow != two.EndedBelow || three.Except != "one" {
		k.Errorf("got %+v after %+v", three, two)
	}
	four := raise(true, "")
	if four.Version <= three.Version || four.EndedBelow != four.Version || four.Except != "" {
		k.Errorf("got %+v after %+v", four, three)
	}
	want(auth.Owner{Issuer: "https://other.example", Subject: k.owner.Subject}, session.Numbers{})
	const n = 50
	var mu sync.Mutex
	seen := map[int64]bool{}
	each(n, func(int) {
		got, err := store.Raise(k.Context(), k.owner, false, "")
		mu.Lock()
		defer mu.Unlock()
		if err != nil || seen[got.Version] {
			k.Errorf("got %d (twice: %t), %v", got.Version, seen[got.Version], err)
		}
		seen[got.Version] = true
	})
	if got, err := store.Numbers(k.Context(), k.owner); err != nil || got.Version < four.Version+n || got.EndedBelow != four.EndedBelow {
		k.Errorf("after %d at once: got %+v, %v", n, got, err)
	}
}
