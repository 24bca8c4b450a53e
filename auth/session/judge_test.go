package session_test

import (
	"fmt"
	"math/rand/v2"
	"reflect"
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
