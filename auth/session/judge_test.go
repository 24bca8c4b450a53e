package session_test

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/doorward/doorward/auth/session"
)

// PROTOCOLS, promise R, and ATK-S01 beside it: a browser sends requests with whatever cookie it has, and they arrive
// in any order. A token that is present, or was exchanged less than the grace time ago, gets a pair; any other gets none.
// A thousand browsers, each with its own luck.
func TestJudge_ATK_S01_PromiseR(t *testing.T) {
	const grace = 10 * time.Second
	begun := time.Unix(1<<31, 0)
	outcomes := map[session.Outcome]int{}
	for seed := range uint64(1000) {
		luck := rand.New(rand.NewPCG(seed, 0))
		row := session.Session{ID: "s", Generation: 1, From: 1, Epoch: "e", Idle: time.Hour, IdleUntil: begun.Add(time.Hour), Until: begun.Add(24 * time.Hour)}
		exchanged := map[int64]time.Time{} // when each generation was first exchanged for another
		now := begun
		story := ""
		for range 60 {
			now = now.Add(time.Duration(luck.Int64N(int64([]time.Duration{time.Second, 4 * time.Second, 2 * grace}[luck.IntN(3)]))))
			p := row.Generation - luck.Int64N(min(4, row.Generation))
			at, was := exchanged[p]
			honest := !was || now.Sub(at) < grace
			next, outcome := session.Rotation{ID: "s", Generation: p, Epoch: "e", Grace: grace, Lenient: true}.Judge(row, "e", now)
			story += fmt.Sprintf("%s: %d of %d is %s\n", now.Sub(begun), p, row.Generation, outcome)
			outcomes[outcome]++
			pair := false
			switch outcome {
			case session.Rotated:
				exchanged[p] = now
				row, pair = next, true
			case session.Kept, session.Replayed:
				if !reflect.DeepEqual(next, row) {
					t.Fatalf("%q changed the row to %+v\n%s", outcome, next, story)
				}
				pair = true
			}
			if pair != honest {
				t.Fatalf("seed %d: an honest request: %t, a pair: %t\n%s", seed, honest, pair, story)
			}
		}
	}
	for _, o := range []session.Outcome{session.Rotated, session.Kept, session.Replayed, session.Late, session.Reused} {
		if outcomes[o] < 100 {
			t.Errorf("%q came up %d times: the test looks past it", o, outcomes[o])
		}
	}
}

// Promise R with slow proxies: a browser's requests are up to a minute on their way, and carry the cookie of when they were
// sent. Who has the new access token shows no cookie, so that within the life of one there is one exchange, and what is late
// carries the present token or its parent. None of them ends the session. A thief who comes with the parent a minute after the first late request, or
// with anything older, is seen.
func TestJudge_ATK_S01_SlowProxies(t *testing.T) {
	const grace, slow, life = 10 * time.Second, time.Minute, 2 * time.Minute
	begun := time.Unix(1<<31, 0)
	outcomes := map[session.Outcome]int{}
	type request struct {
		arrives    time.Time
		generation int64
	}
	for seed := range uint64(500) {
		luck := rand.New(rand.NewPCG(seed, 1))
		row := session.Session{ID: "s", Generation: 1, From: 1, Epoch: "e", Idle: time.Hour, IdleUntil: begun.Add(time.Hour), Until: begun.Add(24 * time.Hour)}
		show := func(p int64, now time.Time) session.Outcome {
			next, outcome := session.Rotation{ID: "s", Generation: p, Epoch: "e", Grace: grace, Lenient: true}.Judge(row, "e", now)
			if outcome == session.Rotated || outcome == session.Late {
				row = next
			}
			outcomes[outcome]++
			return outcome
		}
		now := begun
		for range 20 { // lives of an access token
			sends := make([]time.Time, 1+luck.IntN(6)) // uploads and polls of several tabs, around the end of the life
			for i := range sends {
				sends[i] = now.Add(life - slow + time.Duration(luck.Int64N(int64(slow))))
			}
			slices.SortFunc(sends, time.Time.Compare)
			var underWay []request
			had := row.Generation
			for len(sends)+len(underWay) > 0 {
				if len(underWay) == 0 || len(sends) > 0 && sends[0].Before(underWay[0].arrives) {
					if row.Generation > had { // it carries the new access token, and shows nothing here
						sends = sends[1:]
						continue
					}
					underWay = append(underWay, request{sends[0].Add(time.Duration(luck.Int64N(int64(slow)))), row.Generation})
					slices.SortFunc(underWay, func(a, b request) int { return a.arrives.Compare(b.arrives) })
					sends = sends[1:]
					continue
				}
				r := underWay[0]
				underWay, now = underWay[1:], r.arrives
				if outcome := show(r.generation, now); outcome == session.Reused {
					t.Fatalf("seed %d: an honest request of generation %d ended the session at %d", seed, r.generation, row.Generation)
				}
			}
		}
		if now = now.Add(2 * slow); row.Generation < 3 {
			continue
		}
		show(row.Generation, now)
		now = now.Add(grace)
		first := show(row.Generation-1, now)
		if again := show(row.Generation-1, now.Add(slow-time.Millisecond)); first != session.Late || again != session.Late {
			t.Fatalf("seed %d: within a minute: %q, then %q", seed, first, again)
		}
		if thief := show(row.Generation-1, now.Add(slow)); thief != session.Reused {
			t.Fatalf("seed %d: the parent a minute after the first late showing: %q", seed, thief)
		}
		if thief := show(row.Generation-2, now); thief != session.Reused {
			t.Fatalf("seed %d: the grandparent: %q", seed, thief)
		}
	}
	for _, o := range []session.Outcome{session.Rotated, session.Replayed, session.Late, session.Reused} {
		if outcomes[o] < 100 {
			t.Errorf("%q came up %d times: the test looks past it", o, outcomes[o])
		}
	}
}
