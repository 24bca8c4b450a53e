// Package storetest says what a store of the kit must do, as tests that every store runs.
//
// It does not own what only one store can do wrong: servers that fail, scripts, what is on disk.
package storetest

import (
	"crypto/rand"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/auth/session"
)

// Sessions runs the tests of a session.Store, each on a store of its own from open. Stores may share a server
// as long as they share no keys. They run by the store's own clock and wait for nothing but short expiries.
//
// forget makes the store's list begin another epoch, as a restart does, and leaves the rows: what depends on it
// is skipped where it is nil. The result of store.Revocations may be another one afterwards.
func Sessions(t *testing.T, open func(t *testing.T) (store session.Store, forget func())) {
	for _, test := range []struct {
		name string
		run  func(k *kit)
	}{
		{"create", create},
		{"create: another epoch", createOtherEpoch},
		{"create: an id that is there", createTwice},
		{"ATK-S13 create: the oldest beyond the maximum end", maximum},
		{"STD-S06 ATK-S16 create: in place of another", replace},
		{"create: in place of what is over", replaceGone},
		{"rows keep what they are given", keeps},
		{"STD-S01 ATK-S01 the rotation table", rotationTable},
		{"lending writes nothing", lending},
		{"PROTOCOLS 3: another epoch", otherEpoch},
		{"STD-S08 ended below, and the spared one", endedBelow},
		{"ATK-S10 idle", idle},
		{"STD-S03 ATK-S10 the absolute end", absolute},
		{"STD-S07 end", end},
		{"STD-S13 ATK-S11 end: another's", endAnothers},
		{"end: no row", endMissing},
		{"STD-S07 end: what was replaced", endReplaced},
		{"STD-S08 end below", endBelow},
		{"STD-S13 owners are not confused", owners},
		{"sessions of an identity provider", provided},
		{"PROTOCOLS 2: numbers of subjects", numbers},
		{"STD-S02 ATK-S02 20 at once", racers},
		{"ATK-S02 20 browsers, each with several requests", browsers},
		{"ATK-S07 end racing with rotate", endRace},
		{"ATK-S08 end below racing with rotate", endBelowRace},
		{"rotate and end under one id never revive", reviveRace},
		{"creates racing for the maximum", maximumRace},
	} {
		t.Run(test.name, func(t *testing.T) {
			store, forget := open(t)
			test.run(&kit{T: t, store: store, forget: forget, owner: auth.Owner{Issuer: "https://api.example.com", Subject: "ann"}})
		})
	}
}

// kit is a store under test, with one owner.
type kit struct {
	*testing.T
	store  session.Store
	forget func()
	owner  auth.Owner
}

const long = time.Hour // no test waits for it

func (k *kit) epoch() string {
	k.Helper()
	epoch, err := k.store.Revocations().Epoch(k.Context())
	if err != nil || epoch == "" {
		k.Fatalf("the list's epoch: got %q, %v", epoch, err)
	}
	return epoch
}

// login returns a creation as Sessions makes it.
func (k *kit) login(change ...func(*session.Creation)) session.Creation {
	k.Helper()
	c := session.Creation{
		Session: session.Session{
			Owner: k.owner, ID: rand.Text(), Version: 1, KeyID: "key-1", Epoch: k.epoch(), Idle: long,
			Methods: []string{"pwd"}, AuthTime: time.Now(), ClientID: "spa",
			Client: auth.Client{Addr: netip.MustParseAddr("192.0.2.1"), UserAgent: "curl/8"}, Device: "curl",
		},
		Absolute: 2 * long, Max: 20, Grace: long,
	}
	for _, f := range change {
		f(&c)
	}
	return c
}

// create demands that the store takes it.
func (k *kit) create(change ...func(*session.Creation)) session.Session {
	k.Helper()
	res := k.try(k.login(change...))
	if res.Outcome != session.Created {
		k.Fatalf("Create: got %q, expected created", res.Outcome)
	}
	return res.Session
}

func (k *kit) try(c session.Creation) session.Result {
	k.Helper()
	res, err := k.store.Create(k.Context(), c)
	if err != nil {
		k.Fatalf("Create: %v", err)
	}
	return res
}

// showing returns the rotation that showing generation p of the session asks for.
func (k *kit) showing(row session.Session, p int64) session.Rotation {
	k.Helper()
	return session.Rotation{
		Owner: row.Owner, ID: row.ID, Generation: p, Epoch: k.epoch(), KeyID: "key-2", Grace: long,
		Client: auth.Client{Addr: netip.MustParseAddr("2001:db8::1"), UserAgent: "curl/9"}, Device: "curl again",
	}
}

// rotate demands an outcome.
func (k *kit) rotate(want session.Outcome, r session.Rotation) session.Session {
	k.Helper()
	res, err := k.store.Rotate(k.Context(), r)
	if err != nil {
		k.Fatalf("Rotate: %v", err)
	}
	if res.Outcome != want {
		k.Fatalf("Rotate of generation %d: got %q, expected %q", r.Generation, res.Outcome, want)
	}
	if res.Epoch != k.epoch() {
		k.Fatalf("Rotate: got epoch %q, the list's is %q", res.Epoch, k.epoch())
	}
	return res.Session
}

func (k *kit) end(o auth.Owner, ids ...string) []string {
	k.Helper()
	ended, err := k.store.End(k.Context(), o, ids...)
	if err != nil {
		k.Fatalf("End: %v", err)
	}
	return ended
}

// list returns the ids of an owner's sessions, sorted.
func (k *kit) list(o auth.Owner) []string {
	k.Helper()
	var ids []string
	for _, row := range k.rows(o) {
		ids = append(ids, row.ID)
	}
	slices.Sort(ids)
	return ids
}

func (k *kit) rows(o auth.Owner) []session.Session {
	k.Helper()
	rows, err := k.store.List(k.Context(), o)
	if err != nil {
		k.Fatalf("List: %v", err)
	}
	return rows
}

// access returns the principal of an access token of the session, at a version.
func (k *kit) access(row session.Session, version int64) *auth.Principal {
	return &auth.Principal{Issuer: row.Issuer, Subject: row.Subject, Session: row.ID,
		TokenID: "j-" + row.ID, Version: version, Epoch: k.epoch()}
}

// wantAccess demands what the list says about an access token of the session; "" is nil.
func (k *kit) wantAccess(row session.Session, version int64, want auth.Code) {
	k.Helper()
	err := k.store.Revocations().Check(k.Context(), k.access(row, version))
	if (err == nil) != (want == "") || err != nil && auth.CodeOf(err) != want {
		k.Errorf("an access token of version %d: got %v, expected %q", version, err, want)
	}
}

// wantAlive and wantEnded demand it of the row and of its access tokens.
func (k *kit) wantAlive(row session.Session) {
	k.Helper()
	if !slices.Contains(k.list(row.Owner), row.ID) {
		k.Errorf("the session is not listed")
	}
	k.wantAccess(row, math53, "")
}

func (k *kit) wantEnded(row session.Session) {
	k.Helper()
	if slices.Contains(k.list(row.Owner), row.ID) {
		k.Errorf("an ended session is listed")
	}
	k.rotate(session.Gone, k.showing(row, 1))
	k.wantAccess(row, math53, auth.TokenRevoked)
}

// math53 is a version above every minimum here, so that only the session's own entry counts.
const math53 = 1<<53 - 1

// until asks again until it is so: expiries are the store's to judge, and take their time.
func (k *kit) until(what string, so func() bool) {
	k.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(10 * time.Second); !so(); <-tick.C {
		if time.Now().After(deadline) {
			k.Fatalf("%s: not within 10 s", what)
		}
	}
}

// near says whether a time from the store is about what it should be: its clock is not ours.
func near(got, want time.Time) bool { return got.Sub(want).Abs() < time.Minute }
