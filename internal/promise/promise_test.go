//go:build linux

// Package promise_test holds the kit to its second promise, as databases are held to theirs: several processes under load,
// faults, and a history that is judged afterwards. Once a call that ends something has returned nil, no request that starts
// later is accepted anywhere.
//
// DOORWARD_SOAK=10m makes each run last that long, with faults in random order.
package promise_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/internal/history"
	"github.com/doorward/doorward/internal/redistest"
)

const (
	soak     = "DOORWARD_SOAK"
	endings  = 10_000 // confirmed in each run
	replicas = 1
)

func TestMain(m *testing.M) {
	if set := os.Getenv(nodeSetup); set != "" {
		if err := serve(set); err != nil {
			_, _ = fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func TestPromise_STD_S08(t *testing.T) {
	for _, kind := range []string{direct} {
		t.Run(kind+" over one Redis", func(t *testing.T) { one(t, os.Args[0], kind).holds(ofNodes, ofRedis, ofOne) })
		t.Run(kind+" over Sentinel", func(t *testing.T) { two(t, os.Args[0], kind).holds(ofRedis, ofTwo) })
	}
}

// one is three nodes over one Redis.
func one(t *testing.T, program, kind string) *run {
	r := redistest.Start(t)
	s := &scene{servers: map[string]*redistest.Server{r.Addr(): r}}
	return begin(t, s, program, setup{List: kind, Addr: r.Addr()})
}

// two is three nodes over a master, a replica and three sentinels.
func two(t *testing.T, program, kind string) *run {
	args := []string{"--min-replicas-to-write", fmt.Sprint(replicas), "--min-replicas-max-lag", "2"}
	master := redistest.Start(t, args...)
	replica := redistest.StartReplica(t, master, args...)
	s := &scene{
		servers:   map[string]*redistest.Server{master.Addr(): master, replica.Addr(): replica},
		sentinels: redistest.StartSentinels(t, master, 3),
	}
	return begin(t, s, program, setup{List: kind, Sentinels: s.sentinels.Addrs(), Replicas: replicas})
}

// A run is a scene and its record.
type run struct {
	*scene
	path  string
	begun time.Time
}

func begin(t *testing.T, s *scene, program string, set setup) *run {
	t.Helper()
	r := &run{scene: s, path: filepath.Join(t.TempDir(), "history"), begun: time.Now()}
	rec, err := history.Create(r.path)
	if err != nil {
		t.Fatal(err)
	}
	s.load = newLoad(newCluster(t, program, set, 3), rec, 16)
	return r
}

// judge ends the load and judges what it saw.
func (r *run) judge() *history.Report {
	r.t.Helper()
	r.end()
	if err := r.rec.Close(); err != nil {
		r.t.Fatal(err)
	}
	h, err := history.Read(r.path)
	if err != nil {
		r.t.Fatal(err)
	}
	report := history.Check(h)
	r.t.Logf("%.0f s: %v", time.Since(r.begun).Seconds(), report)
	r.t.Logf("given up %d, answered by paused nodes %d, accepted of those that nobody ends %d", r.given.Load(), r.asleep.Load(), r.honest.Load())
	return report
}

// holds has all faults happen and demands that the promise was kept.
func (r *run) holds(kinds ...[]fault) {
	r.t.Helper()
	var faults []fault
	for _, k := range kinds {
		faults = append(faults, k...)
	}
	r.progress(100)
	for _, f := range faults {
		r.happen(f)
	}
	if text := os.Getenv(soak); text != "" {
		d, err := time.ParseDuration(text)
		if err != nil {
			r.t.Fatalf("%s: %v", soak, err)
		}
		for time.Since(r.begun) < d {
			r.happen(faults[rand.IntN(len(faults))])
		}
	}
	for r.confirmed.Load() < endings {
		r.progress(100)
	}
	report := r.judge()
	if err := report.Err(); err != nil {
		r.t.Error(err)
	}
	// A history that shows nothing is no proof.
	if n := report.Ended[history.Confirmed]; n < endings {
		r.t.Errorf("%d endings were confirmed, expected %d", n, endings)
	}
	if report.Witnessed < endings*9/10 || report.After < 2*endings || report.Prompt < endings/10 {
		r.t.Errorf("too little was seen: %v", report)
	}
	for code, n := range report.Answers {
		switch code {
		case "", auth.TokenExpired, auth.TokenRevoked, auth.StoreUnavailable, history.Unanswered:
		default:
			r.t.Errorf("%d requests were answered %q", n, code)
		}
	}
	if r.asleep.Load() == 0 {
		r.t.Error("no paused node was asked for what had ended")
	}
}

// happen lets one fault happen and the list recover from it.
func (r *run) happen(f fault) {
	r.t.Helper()
	begun, confirmed := time.Now(), r.confirmed.Load()
	f.run(r.scene)
	over := time.Now()
	r.progress(300)
	r.t.Logf("%5.1f s, then %4.1f s to recover, %5d endings: %s", over.Sub(begun).Seconds(), time.Since(over).Seconds(), r.confirmed.Load()-confirmed, f.name)
}
