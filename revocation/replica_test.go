package revocation_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/internal/listtest"
	"github.com/doorward/doorward/revocation"
)

// feed is a list that a replica follows, in memory, so that a test decides what is slow, lost or late. What a real one
// does is tested in package redisrev.
type feed struct {
	mu     sync.Mutex
	epoch  string
	log    []revocation.Entry
	page   int
	down   error
	acks   []revocation.Position // as Next was given them
	checks int
	left   []string
	heard  func(string, []revocation.Entry)
	before func() // called by Next when its answer is made, before it is given
	news   chan struct{}
}

func newFeed() *feed { return &feed{epoch: "EPOCH--1", page: 1000, news: make(chan struct{}, 1)} }

func (f *feed) Check(_ context.Context, p *auth.Principal) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.checks++
	switch {
	case f.down != nil:
		return f.down
	case p.Epoch != f.epoch:
		return fmt.Errorf("%w: another epoch", auth.TokenExpired)
	}
	for _, e := range f.log {
		if e.Name == "s:"+p.Session {
			return fmt.Errorf("%w: asked", auth.TokenRevoked)
		}
	}
	return nil
}

func (f *feed) Epoch(context.Context) (string, error) { return f.epoch, f.down }

func (f *feed) Revoke(_ context.Context, rs ...auth.Revocation) error {
	added := make([]revocation.Entry, len(rs))
	for i, r := range rs {
		added[i] = revocation.Entry{Name: revocation.Name(r), Value: revocation.Value(r), Left: revocation.Keep}
	}
	f.add(added...)
	f.heard(f.epoch, added)
	return nil
}

// add is another node's ending.
func (f *feed) add(entries ...revocation.Entry) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.log = append(f.log, entries...)
	select {
	case f.news <- struct{}{}:
	default:
	}
}

// forget begins another epoch.
func (f *feed) forget(epoch string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.epoch, f.log = epoch, nil
}

func (f *feed) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.down = err
}

func (f *feed) Next(_ context.Context, _ string, at revocation.Position) (revocation.Batch, error) {
	f.mu.Lock()
	f.acks = append(f.acks, at)
	if f.down != nil {
		defer f.mu.Unlock()
		return revocation.Batch{}, f.down
	}
	b := revocation.Batch{Start: at.Epoch != f.epoch || at.Entry == ""}
	n := 0
	if !b.Start {
		_, _ = fmt.Sscan(at.Entry, &n)
	}
	end := min(len(f.log), n+f.page)
	b.Entries, b.End = slices.Clone(f.log[n:end]), end == len(f.log)
	b.At = revocation.Position{Epoch: f.epoch, Entry: fmt.Sprint(end)}
	before, heard := f.before, f.heard
	f.mu.Unlock()
	if before != nil {
		before()
	}
	if heard != nil {
		heard(b.At.Epoch, nil) // every reply is word of an epoch
	}
	return b, nil
}

func (f *feed) Wait(ctx context.Context, at revocation.Position) error {
	n := 0
	_, _ = fmt.Sscan(at.Entry, &n)
	f.mu.Lock()
	news := len(f.log) > n
	f.mu.Unlock()
	if news {
		return nil
	}
	select {
	case <-f.news:
		return nil
	case <-time.After(time.Second):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (f *feed) Leave(_ context.Context, node string) error {
	f.left = append(f.left, node)
	return f.down
}

func (f *feed) Attach(heard func(string, []revocation.Entry)) func() {
	f.heard = heard
	return func() { f.heard = nil }
}

func (f *feed) asked() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	defer func() { f.checks = 0 }()
	return f.checks
}

func (f *feed) acknowledged() []revocation.Position {
	f.mu.Lock()
	defer f.mu.Unlock()
	defer func() { f.acks = nil }()
	return f.acks
}

func session(id string) revocation.Entry {
	return revocation.Entry{Name: "s:" + id, Value: 1, Left: revocation.Keep}
}

func principal(id string) *auth.Principal {
	return &auth.Principal{Issuer: "i", Subject: "u", Session: id, TokenID: "j-" + id, Version: 1, Epoch: "EPOCH--1"}
}

// following runs a test in a bubble, where time passes only when everything waits.
func following(t *testing.T, test func(t *testing.T, f *feed, r *revocation.Replica)) {
	synctest.Test(t, func(t *testing.T) {
		f := newFeed()
		r, err := revocation.NewReplica(revocation.ReplicaConfig{Feed: f})
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if !r.Status().Leased {
			t.Fatalf("no lease at the start: %+v", r.Status())
		}
		f.acknowledged()
		test(t, f, r)
		_ = r.Close()
		// The bubble fails when a goroutine is left: here nothing of the replica is.
	})
}

// An idle replica asks every 0.6 s, and not because it has just asked.
func TestReplica_Idle(t *testing.T) {
	following(t, func(t *testing.T, f *feed, r *revocation.Replica) {
		time.Sleep(6 * time.Second)
		if n := len(f.acknowledged()); n < 9 || n > 18 { // each wait of a second ends with a look, too
			t.Errorf("asked %d times in 6 s", n)
		}
	})
}

// A word about an epoch that comes late, after its end, costs a moment and not the lease for good.
func TestReplica_LateWord(t *testing.T) {
	following(t, func(t *testing.T, f *feed, r *revocation.Replica) {
		f.add(session("a"))
		synctest.Wait()
		f.acknowledged()
		f.heard("EPOCH--0", nil)
		time.Sleep(time.Second)
		listtest.Want(t, r, principal("a"), auth.TokenRevoked)
		listtest.Want(t, r, principal("b"), "")
		if n := len(f.acknowledged()); n > 10 || !r.Status().Leased || f.asked() != 0 {
			t.Errorf("asked %d times, %+v", n, r.Status())
		}
	})
}

// What a feed gives that no list has is no lease, and no crash.
func TestReplica_ATK_D07_ForeignNames(t *testing.T) {
	for _, name := range []string{"", "x", "s:", "q:1", "s" + strings.Repeat("x", 70)} {
		following(t, func(t *testing.T, f *feed, r *revocation.Replica) {
			f.heard("EPOCH--1", []revocation.Entry{{Name: name, Value: 1, Left: time.Minute}})
			f.add(revocation.Entry{Name: name, Value: 1, Left: time.Minute})
			time.Sleep(3 * time.Second)
			if s := r.Status(); s.Leased || !errors.Is(s.Err, revocation.ErrUnreadable) {
				t.Errorf("%q: %+v", name, s)
			}
		})
	}
}

// An observer may ask the replica.
func TestReplica_ObserverAsks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFeed()
		var asked atomic.Pointer[revocation.Replica]
		var told atomic.Int64
		r, err := revocation.NewReplica(revocation.ReplicaConfig{Feed: f, Observe: func(context.Context, auth.Event) {
			if r := asked.Load(); r != nil {
				_ = r.Status()
				told.Add(1)
			}
		}})
		if err != nil {
			t.Fatal(err)
		}
		asked.Store(r)
		synctest.Wait()
		f.forget("EPOCH--2")
		time.Sleep(time.Second)
		f.fail(errors.New("down"))
		time.Sleep(5 * time.Second)
		if n := told.Load(); n < 2 {
			t.Errorf("told of %d events", n)
		}
		_ = r.Close()
	})
}

func TestReplica_AnswersFromMemory(t *testing.T) {
	following(t, func(t *testing.T, f *feed, r *revocation.Replica) {
		f.add(session("b"))
		synctest.Wait()
		listtest.Want(t, r, principal("a"), "")
		listtest.Want(t, r, principal("b"), auth.TokenRevoked)
		odd := principal("a")
		odd.Epoch = ""
		listtest.Want(t, r, odd, auth.TokenExpired)
		if n := f.asked(); n != 0 {
			t.Errorf("the feed was asked %d times", n)
		}
		odd.Epoch = "EPOCH--0"
		listtest.Want(t, r, odd, auth.TokenExpired)
		if n := f.asked(); n != 1 {
			t.Errorf("an unknown epoch: the feed was asked %d times, expected once", n)
		}
		if err := r.Check(t.Context(), nil); auth.CodeOf(err) != auth.Internal {
			t.Errorf("nobody: %v", err)
		}
	})
}

// PROTOCOLS 8: a lease counts from before the question, and not a moment longer than 2 s.
func TestReplica_LeaseRunsOut(t *testing.T) {
	following(t, func(t *testing.T, f *feed, r *revocation.Replica) {
		f.fail(fmt.Errorf("%w: cut off", auth.StoreUnavailable))
		time.Sleep(revocation.Lease - time.Nanosecond)
		listtest.Want(t, r, principal("a"), "")
		time.Sleep(time.Nanosecond)
		listtest.Want(t, r, principal("a"), auth.StoreUnavailable)
		listtest.Want(t, revocation.IgnoreOutage(r), principal("a"), "") // the guard's policy
		time.Sleep(time.Second)
		if s := r.Status(); s.Leased || s.Err == nil || s.Age != revocation.Lease+time.Second {
			t.Errorf("got %+v", s)
		}
		f.fail(nil)
		f.add(session("a"))
		time.Sleep(200 * time.Millisecond)
		synctest.Wait()
		listtest.Want(t, r, principal("a"), auth.TokenRevoked)
		if n := f.asked(); n != 2 {
			t.Errorf("the feed was asked %d times, expected twice, without a lease", n)
		}
	})
}

// A slow answer gives a lease that began when it was asked for.
func TestReplica_LeaseBeginsBeforeTheQuestion(t *testing.T) {
	following(t, func(t *testing.T, f *feed, r *revocation.Replica) {
		f.mu.Lock()
		f.before = func() { time.Sleep(revocation.Lease + time.Millisecond) }
		f.mu.Unlock()
		for range 20 {
			time.Sleep(revocation.Lease / 2)
			f.add(session("never heard in time"))
			synctest.Wait()
			if s := r.Status(); s.Leased && s.Age >= revocation.Lease {
				t.Fatalf("got %+v", s)
			}
		}
		if r.Status().Leased {
			t.Error("each answer takes longer than a lease, and it has one")
		}
		f.mu.Lock()
		f.before = nil
		f.mu.Unlock()
		time.Sleep(2 * revocation.Lease)
	})
}

// Both clocks count: a suspended machine's monotonic clock stands still, and a wall clock that was set back proves nothing.
func TestReplica_ATK_J26_BothClocks(t *testing.T) {
	from := time.Now()
	for _, test := range []struct {
		mono, wall time.Duration
		want       bool
	}{
		{0, 0, true},
		{time.Second, time.Second, true},
		{revocation.Lease - 1, revocation.Lease - 1, true},
		{revocation.Lease, revocation.Lease - 1, false},
		{revocation.Lease - 1, revocation.Lease, false},
		{0, time.Hour, false},
		{time.Hour, 0, false},
		{time.Second, -1, false},
	} {
		if got := revocation.Holds(from, apart(from, test.mono, test.wall)); got != test.want {
			t.Errorf("%v later by the monotonic clock and %v by the wall's: got %v", test.mono, test.wall, got)
		}
	}
}

// apart is a time at which the two clocks have gone on differently. The layout is that of package time.
func apart(from time.Time, mono, wall time.Duration) time.Time {
	t := from.Add(wall)
	*(*int64)(unsafe.Add(unsafe.Pointer(&t), 8)) += int64(mono - wall) // the monotonic reading
	return t
}

// PROTOCOLS 8, [1,000 of 5,000 entries renewing a lease]: only the end of the log does.
func TestReplica_LoadsBeforeItAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFeed()
		for i := range 5000 {
			f.log = append(f.log, session(fmt.Sprint(i)))
		}
		f.before = func() { time.Sleep(100 * time.Millisecond) }
		r, err := revocation.NewReplica(revocation.ReplicaConfig{Feed: f})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(450 * time.Millisecond)
		if s := r.Status(); s.Leased || s.Entries != 4000 {
			t.Errorf("with 4,000 of 5,000: %+v", s)
		}
		listtest.Want(t, r, principal("4999"), auth.TokenRevoked)
		if f.asked() != 1 {
			t.Error("it answered by itself")
		}
		time.Sleep(100 * time.Millisecond)
		synctest.Wait()
		listtest.Want(t, r, principal("4999"), auth.TokenRevoked)
		if s := r.Status(); f.asked() != 0 || s.Entries != 5000 {
			t.Errorf("loaded: %+v", s)
		}
		_ = r.Close()
	})
}

// What was applied is acknowledged, at once, and nothing else is.
func TestReplica_Acknowledges(t *testing.T) {
	following(t, func(t *testing.T, f *feed, r *revocation.Replica) {
		f.mu.Lock()
		f.before = func() { // the answer with the entry is on its way: it must not be acknowledged yet
			if at := r.Status().At; len(f.log) == 1 && at.Entry != "0" && f.acks[0].Entry == "0" && len(f.acks) == 1 {
				t.Errorf("at %v before it has the answer", at)
			}
		}
		f.mu.Unlock()
		begun := time.Now()
		f.add(session("a"))
		synctest.Wait()
		acks := f.acknowledged()
		if len(acks) != 2 || acks[0].Entry != "0" || acks[1].Entry != "1" || time.Since(begun) != 0 {
			t.Errorf("got %v within %v, expected 0, then 1, at once", acks, time.Since(begun))
		}
		time.Sleep(3 * time.Second)
		synctest.Wait()
		for _, at := range f.acknowledged() {
			if at.Entry != "1" {
				t.Errorf("acknowledged %v", at)
			}
		}
		f.fail(fmt.Errorf("%w: %w", auth.StoreUnavailable, revocation.ErrUnreadable)) // an entry of a later release
		f.add(session("b"))
		time.Sleep(3 * time.Second)
		if acks := f.acknowledged(); len(acks) > 20 || slices.ContainsFunc(acks, func(at revocation.Position) bool { return at.Entry != "1" }) || r.Status().Leased {
			t.Errorf("what it cannot read: acknowledged %v, %+v", acks, r.Status())
		}
	})
}

// Another epoch: what the replica knew is worth nothing, what it believed least of all.
func TestReplica_OtherEpoch(t *testing.T) {
	following(t, func(t *testing.T, f *feed, r *revocation.Replica) {
		f.add(session("a"))
		synctest.Wait()
		f.forget("EPOCH--2")
		listtest.Want(t, r, principal("b"), "") // until it hears of it, for a lease at most: revokers wait that long
		time.Sleep(600 * time.Millisecond)
		synctest.Wait()
		for _, id := range []string{"a", "b"} {
			listtest.Want(t, r, principal(id), auth.TokenExpired)
			fresh := principal(id)
			fresh.Epoch = "EPOCH--2"
			listtest.Want(t, r, fresh, "")
		}
		if n := f.asked(); n != 0 {
			t.Errorf("the feed was asked %d times", n)
		}
		f.forget("EPOCH--3")
		newer := principal("b")
		newer.Epoch = "EPOCH--3"
		time.Sleep(100 * time.Millisecond)
		listtest.Want(t, r, newer, "") // somebody else has heard of it first: the feed says
		synctest.Wait()
		if at := r.Status().At; at.Epoch != "EPOCH--3" || f.asked() != 1 {
			t.Errorf("it has not woken: at %v", at)
		}
	})
}

// An ending of this process holds here before the call returns, whatever is under way meanwhile.
func TestReplica_HearsThisProcess(t *testing.T) {
	t.Run("while an older answer is on its way", func(t *testing.T) {
		following(t, func(t *testing.T, f *feed, r *revocation.Replica) {
			once := sync.Once{}
			f.mu.Lock()
			f.before = func() {
				once.Do(func() {
					_ = r.Revoke(t.Context(), auth.Revocation{Owner: auth.Owner{Issuer: "i", Subject: "u"}, Session: "a"})
					listtest.Want(t, r, principal("a"), auth.TokenRevoked)
				})
			}
			f.mu.Unlock()
			time.Sleep(5 * time.Second)
			listtest.Want(t, r, principal("a"), auth.TokenRevoked)
			if n := f.asked(); n != 0 {
				t.Errorf("the feed was asked %d times", n)
			}
		})
	})
	t.Run("in an epoch that this process met first", func(t *testing.T) {
		following(t, func(t *testing.T, f *feed, r *revocation.Replica) {
			once := sync.Once{}
			f.mu.Lock()
			f.before = func() { // its answer is of the old epoch, and comes after news of the new one
				once.Do(func() {
					f.forget("EPOCH--2")
					_ = r.Revoke(t.Context(), auth.Revocation{Owner: auth.Owner{Issuer: "i", Subject: "u"}, Session: "a"})
				})
			}
			f.mu.Unlock()
			time.Sleep(600 * time.Millisecond)
			synctest.Wait()
			fresh := principal("a")
			fresh.Epoch = "EPOCH--2"
			listtest.Want(t, r, fresh, auth.TokenRevoked)
			listtest.Want(t, r, principal("b"), auth.TokenExpired)
			if at := r.Status().At; at.Epoch != "EPOCH--2" || !r.Status().Leased {
				t.Errorf("at %v", at)
			}
		})
	})
}

// Entries leave when no token can be accepted that they concern.
func TestReplica_EntriesLeave(t *testing.T) {
	following(t, func(t *testing.T, f *feed, r *revocation.Replica) {
		old := session("old")
		old.Left = time.Minute
		f.add(old, session("new"))
		for i := range 100 {
			e := session(fmt.Sprint(i))
			e.Left = time.Minute
			f.add(e)
		}
		time.Sleep(time.Minute)
		listtest.Want(t, r, principal("old"), "")
		listtest.Want(t, r, principal("new"), auth.TokenRevoked)
		time.Sleep(2 * time.Minute)
		if n := r.Status().Entries; n != 1 {
			t.Errorf("%d entries are left, expected 1", n)
		}
	})
}

func TestReplica_Close(t *testing.T) {
	following(t, func(t *testing.T, f *feed, r *revocation.Replica) {
		f.add(session("a"))
		synctest.Wait()
		if err := r.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		f.acknowledged()
		listtest.Want(t, r, principal("a"), auth.TokenRevoked)
		listtest.Want(t, r, principal("b"), "")
		if f.asked() != 2 {
			t.Error("a closed replica answered by itself")
		}
		time.Sleep(time.Minute)
		if len(f.left) != 1 || f.heard != nil || len(f.acknowledged()) > 0 || r.Status().Leased {
			t.Errorf("left %v, attached %t, %+v", f.left, f.heard != nil, r.Status())
		}
		f.fail(errors.New("down"))
		if err := r.Close(); err != nil || len(f.left) != 1 {
			t.Errorf("the second Close: %v", err)
		}
	})
	if r, err := revocation.NewReplica(revocation.ReplicaConfig{}); err == nil {
		t.Errorf("without a feed: %v", r)
	}
}

func TestReplica_CheckAllocatesNothing(t *testing.T) {
	f := newFeed()
	for i := range 1000 {
		f.log = append(f.log, session(fmt.Sprint(i)), revocation.Entry{Name: revocation.Name(auth.Revocation{Owner: auth.Owner{Issuer: "i"}, TokenID: fmt.Sprint(i)}), Value: 1, Left: revocation.Keep},
			revocation.Entry{Name: revocation.Name(auth.Revocation{Owner: auth.Owner{Issuer: "i", Subject: fmt.Sprint(i)}}), Value: 2, Left: revocation.Keep})
	}
	f.page = 10_000
	r, err := revocation.NewReplica(revocation.ReplicaConfig{Feed: f})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	for !r.Status().Leased {
		<-time.After(time.Millisecond)
	}
	p := principal("x")
	if n := testing.AllocsPerRun(1000, func() { _ = r.Check(t.Context(), p) }); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}
