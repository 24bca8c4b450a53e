package storetest

import (
	"sync/atomic"
	"testing"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/auth/session"
)

// rounds is how often a race is run.
func rounds(n int) int {
	if testing.Short() {
		return n / 10
	}
	return n
}

// racers: of 20 that show the same token one makes the child, and all are told of that one.
func racers(k *kit) {
	const n = 20
	row := k.create()
	for range rounds(200) {
		r := k.showing(row, row.Generation)
		var children, replays atomic.Int64
		each(n, func(int) {
			res, err := k.store.Rotate(k.Context(), r)
			switch {
			case err != nil:
				k.Errorf("Rotate: %v", err)
			case res.Session.Generation != r.Generation+1:
				k.Errorf("%q: got generation %d, expected %d", res.Outcome, res.Session.Generation, r.Generation+1)
			case res.Outcome == session.Rotated:
				children.Add(1)
			case res.Outcome == session.Replayed:
				replays.Add(1)
			}
		})
		if children.Load() != 1 || replays.Load() != n-1 {
			k.Fatalf("got %d children and %d replays, expected 1 and %d", children.Load(), replays.Load(), n-1)
		}
		row.Generation++
	}
	k.rotate(session.Reused, k.showing(row, row.Generation-2))
	k.wantEnded(row)
}

// browsers: of 20 that each show the token, then what they were given, then the first one again, nobody is refused, in
// whatever order they come; there is one child.
func browsers(k *kit) {
	for range rounds(50) {
		row := k.create()
		var children atomic.Int64
		each(20, func(int) {
			for _, p := range []int64{1, 2, 1} {
				r := k.showing(row, p)
				r.Lenient = true
				res, err := k.store.Rotate(k.Context(), r)
				if err != nil || res.Session.Generation != 2 {
					k.Errorf("shown %d: got %q, generation %d, %v", p, res.Outcome, res.Session.Generation, err)
				}
				if res.Outcome == session.Rotated {
					children.Add(1)
				}
			}
		})
		if children.Load() != 1 {
			k.Fatalf("got %d children, expected 1", children.Load())
		}
		k.wantAlive(row)
	}
}

// endRace: when both have returned, nothing is alive, whoever came first.
func endRace(k *kit) {
	outcomes := map[session.Outcome]int{}
	for range rounds(1000) {
		row := k.create()
		r := k.showing(row, 1)
		var res session.Result
		var errs [2]error
		each(2, func(i int) {
			if i == 0 {
				res, errs[0] = k.store.Rotate(k.Context(), r)
			} else {
				_, errs[1] = k.store.End(k.Context(), k.owner, row.ID)
			}
		})
		k.settled(row, res.Outcome, errs)
		outcomes[res.Outcome]++
	}
	k.Logf("the rotation was %v", outcomes)
}

func endBelowRace(k *kit) {
	outcomes := map[session.Outcome]int{}
	for i := range rounds(1000) {
		row := k.create(func(c *session.Creation) { c.Session.Version = int64(i + 1) })
		r := k.showing(row, 1)
		r.Numbers.Version = int64(i + 1) // loaded before the ending
		var res session.Result
		var errs [2]error
		each(2, func(j int) {
			if j == 0 {
				res, errs[0] = k.store.Rotate(k.Context(), r)
			} else {
				_, errs[1] = k.store.EndBelow(k.Context(), k.owner, int64(i+2), "")
			}
		})
		k.settled(row, res.Outcome, errs)
		k.wantAccess(session.Session{Owner: row.Owner, ID: "another"}, int64(i+1), auth.TokenExpired)
		outcomes[res.Outcome]++
	}
	k.Logf("the rotation was %v", outcomes)
}

func (k *kit) settled(row session.Session, o session.Outcome, errs [2]error) {
	k.Helper()
	if errs[0] != nil || errs[1] != nil || o != session.Rotated && o != session.Gone {
		k.Fatalf("got %q, %v", o, errs)
	}
	for p := int64(1); p <= 3; p++ {
		k.rotate(session.Gone, k.showing(row, p))
	}
	k.wantAccess(row, math53, auth.TokenRevoked)
	if ids := k.list(row.Owner); len(ids) > 0 {
		k.Fatalf("alive: %v", ids)
	}
}

// reviveRace: many rotations, replays and endings of one session at once; what is left is nothing.
func reviveRace(k *kit) {
	for range rounds(100) {
		row := k.at5()
		p := k.showing(row, 5)
		each(12, func(i int) {
			var err error
			switch r := p; {
			case i == 0:
				_, err = k.store.End(k.Context(), k.owner, row.ID)
			case i < 4:
				r.Generation = 4
				fallthrough
			default:
				_, err = k.store.Rotate(k.Context(), r)
			}
			if err != nil {
				k.Error(err)
			}
		})
		k.settled(row, session.Gone, [2]error{})
	}
}
