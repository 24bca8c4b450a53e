package redisrev_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/internal/listtest"
	"github.com/doorward/doorward/internal/redistest"
	"github.com/doorward/doorward/revocation"
	"github.com/doorward/doorward/revocation/redisrev"
)

// One dead name that is ended 3,000 times makes one entry and one key, whatever it names and whoever asks. Issue 9,
// section 3: one dead refresh token shown to POST /logout 3,000 times made 3,000 entries.
func TestRevoke_RepeatedIsOneEntry(t *testing.T) {
	t.Parallel()
	for name, r := range map[string]auth.Revocation{
		"session":          {Owner: auth.Owner{Issuer: "i", Subject: "u"}, Session: "dead"},
		"replaced session": {Owner: auth.Owner{Issuer: "i", Subject: "u"}, Session: "dead", Replaced: true},
		"token":            {Owner: auth.Owner{Issuer: "i", Subject: "u"}, TokenID: "dead"},
		"minimum":          {Owner: auth.Owner{Issuer: "i", Subject: "u"}, Below: 1 << 53},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := redistest.Start(t)
			nodes := []*redisrev.List{settled(t, s.Client()), settled(t, s.Client())}
			for i := range 3000 {
				listtest.Revoke(t, nodes[i%2], r)
			}
			listtest.Revoke(t, nodes[0], r, r, r)
			counted(t, s, 1)
		})
	}
}

// counted fails the test unless the log has so many entries, and so many keys are there beside epoch and log.
func counted(t *testing.T, s *redistest.Server, entries int64, keys ...int64) {
	t.Helper()
	want := entries
	if len(keys) > 0 {
		want = keys[0]
	}
	if n, k := s.Do("XLEN", "{dw}:log"), s.Do("DBSIZE").(int64)-2; n != entries || k != want {
		t.Errorf("got %v entries and %d keys, want %d and %d", n, k, entries, want)
	}
}

// An entry that says more than the one on the list is written; one that says less is not, and takes nothing back.
func TestRevoke_StrongerIsWritten(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	l := settled(t, s.Client())
	p := listtest.Principal(t, l, "x")
	replaced := listtest.Session(p)
	replaced.Replaced = true
	for _, step := range []struct {
		r             auth.Revocation
		entries, keys int64
		code          auth.Code
	}{
		{replaced, 1, 1, auth.TokenExpired},
		{replaced, 1, 1, auth.TokenExpired},
		{listtest.Session(p), 2, 1, auth.TokenRevoked},
		{replaced, 2, 1, auth.TokenRevoked},
		{listtest.Session(p), 2, 1, auth.TokenRevoked},
		{listtest.Below(p, 5), 3, 2, auth.TokenRevoked},
		{listtest.Below(p, 4), 3, 2, auth.TokenRevoked},
		{listtest.Below(p, 5), 3, 2, auth.TokenRevoked},
		{listtest.Below(p, 10), 4, 2, auth.TokenRevoked},
		{listtest.Below(p, 9), 4, 2, auth.TokenRevoked},
	} {
		listtest.Revoke(t, l, step.r)
		counted(t, s, step.entries, step.keys)
		listtest.Want(t, l, p, step.code)
	}
	p.Session = "another"
	p.Version = 9
	listtest.Want(t, l, p, auth.TokenExpired)
	p.Version = 10
	listtest.Want(t, l, p, "")
}

// A name whose entry is about to end is written anew: the entry must cover each token that was made until the last call,
// for Keep. It is not written anew before that.
func TestRevoke_LivesKeepFromTheLastCall(t *testing.T) {
	t.Parallel()
	const life = revocation.Keep * 9 / 8
	s := redistest.Start(t)
	l := settled(t, s.Client())
	p := listtest.Principal(t, l, "x")
	for kind, r := range map[string]auth.Revocation{"s": listtest.Session(p), "j": listtest.TokenID(p), "v": listtest.Below(p, 7)} {
		listtest.Revoke(t, l, r)
		key := s.Do("KEYS", "{dw}:"+kind+":*").([]any)[0].(string)
		lines := func() int64 { return s.Do("XLEN", "{dw}:log").(int64) }
		for _, test := range []struct {
			left    time.Duration
			written int64
		}{
			{revocation.Keep + 10*time.Second, 0},
			{revocation.Keep - time.Second, 1},
			{time.Minute, 1},
			{50 * time.Millisecond, 1}, // it may end before, in, or after the call
			{revocation.Keep + 10*time.Second, 0},
		} {
			// As if it had been written that long ago.
			end := time.Now().Add(test.left).UnixMilli()
			s.Do("DEL", "{dw}:log")
			entry := []any{"XADD", "{dw}:log", fmt.Sprintf("%d-0", end-life.Milliseconds()), "k", strings.TrimPrefix(key, "{dw}:")}
			if kind == "v" {
				entry = append(entry, "m", "7")
			}
			s.Do(entry...)
			s.Do("PEXPIREAT", key, end)
			before := lines()
			listtest.Revoke(t, l, r)
			if n := lines() - before; n != test.written {
				t.Errorf("%s with %v left: %d entries were written, want %d", kind, test.left, n, test.written)
			}
			if left := time.Duration(s.Do("PTTL", key).(int64)) * time.Millisecond; left < revocation.Keep {
				t.Errorf("%s with %v left: it lives for %v after the call, want %v at least", kind, test.left, left, revocation.Keep)
			}
		}
	}
}

// A name on a list whose log somebody has removed is written again, since nobody could be waited for.
func TestRevoke_LogIsGone(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	l := settled(t, s.Client())
	r := auth.Revocation{Owner: auth.Owner{Issuer: "i", Subject: "u"}, Session: "dead"}
	listtest.Revoke(t, l, r)
	s.Do("DEL", "{dw}:log")
	listtest.Revoke(t, l, r)
	counted(t, s, 1)
}

// Somebody has cut the log, and something else ended since: a node that reads the log from its start does not know the
// older entry, so that a repeated ending has to write it anew.
func TestRevoke_LogWasCut(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	l := settled(t, s.Client())
	owner := auth.Owner{Issuer: "i", Subject: "u"}
	p := listtest.Principal(t, l, "dead")
	listtest.Revoke(t, l, listtest.Session(p), listtest.TokenID(p), listtest.Below(p, 7))
	s.Do("DEL", "{dw}:log")
	listtest.Revoke(t, l, auth.Revocation{Owner: owner, Session: "other"})
	for range 3 {
		listtest.Revoke(t, l, listtest.Session(p), listtest.TokenID(p), listtest.Below(p, 7))
		counted(t, s, 4)
	}
}

// A clock of Redis that went back gives all entries one moment, until it has caught up. A repeated ending makes no second
// entry all the same, and does not read them all.
func TestRevoke_ClockWentBack(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	l := settled(t, s.Client())
	s.Do("XADD", "{dw}:log", fmt.Sprintf("%d-0", time.Now().Add(time.Hour).UnixMilli()), "k", "s:first")
	rs := make([]auth.Revocation, 250)
	for i := range rs {
		rs[i] = auth.Revocation{Owner: auth.Owner{Issuer: "i", Subject: "u"}, Session: fmt.Sprint("ended", i)}
	}
	for range 3 {
		listtest.Revoke(t, l, rs...)
		if n := s.Do("XLEN", "{dw}:log"); n != int64(251) {
			t.Fatalf("got %v entries, expected 251", n)
		}
	}
}

// A repeated ending waits for the nodes that do not have the entry yet: the call that wrote it may have died before it
// had waited.
func TestRevoke_RepeatedWaits(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	l := settled(t, s.Client())
	ctx := revocation.WithoutWait(t.Context())
	r := auth.Revocation{Owner: auth.Owner{Issuer: "i", Subject: "u"}, Session: "dead"}
	at := revocation.Position{}
	next := func(node string) { // registers it, with what it has applied
		b, err := l.Next(ctx, node, at)
		if err != nil {
			t.Fatal(err)
		}
		at = b.At
	}
	next("slow")
	if err := l.Revoke(ctx, r); err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := l.Revoke(short, r); !errors.Is(err, revocation.ErrUnconfirmed) {
		t.Errorf("a node has not acknowledged: got %v, want ErrUnconfirmed", err)
	}
	next("slow") // reads the entry
	next("slow") // says so
	if err := l.Revoke(t.Context(), r); err != nil {
		t.Error(err)
	}
	counted(t, s, 1, 2) // and the hash of nodes
}

// On this node it holds at once, also where another node wrote it: without waiting the follower may not have read it.
func TestRevoke_RepeatedHoldsHere(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	a, b := settled(t, s.Client()), settled(t, s.Client())
	var told []revocation.Entry
	detach := b.Attach(func(_ string, added []revocation.Entry) { told = append(told, added...) })
	defer detach()
	r := auth.Revocation{Owner: auth.Owner{Issuer: "i", Subject: "u"}, Session: "dead"}
	listtest.Revoke(t, a, r)
	listtest.Revoke(t, b, r)
	if len(told) != 1 || told[0].Name != "s:dead" || told[0].Value != 1 || told[0].Left < revocation.Keep {
		t.Errorf("its replica was told %+v", told)
	}
}

// With replicas of Redis a repeated ending waits until they have what is on the list. It writes nothing of its own that
// WAIT could count, so the script makes a write that changes nothing.
func TestRevoke_RepeatedWaitsForReplicas(t *testing.T) {
	t.Parallel()
	master := redistest.Start(t)
	replica := redistest.StartReplica(t, master)
	// WAIT may take 3/8 of Timeout, twice where the script is new; the rest is for a slow machine.
	with := func(c *redisrev.Config) { c.Replicas, c.MaxLag, c.Timeout = 1, time.Second, 4*time.Second }
	a, b := settled(t, master.Client(), with), settled(t, master.Client(), with)
	r := auth.Revocation{Owner: auth.Owner{Issuer: "i", Subject: "u"}, Session: "dead"}
	ctx := revocation.WithoutWait(t.Context())
	replica.Pause()
	for i, l := range []*redisrev.List{a, b, a} {
		if err := l.Revoke(ctx, r); !errors.Is(err, revocation.ErrUnconfirmed) {
			t.Errorf("call %d, no replica has it: got %v, want ErrUnconfirmed", i, err)
		}
	}
	writes := func() int { return stat(master.Do("INFO", "commandstats").(string), "hset") }
	before := writes()
	_ = b.Revoke(ctx, r)
	if writes() == before {
		t.Error("a repeated ending makes no write that WAIT could count from")
	}
	replica.Resume()
	redistest.Eventually(t, func() error { return b.Revoke(ctx, r) })
	counted(t, master, 1)
}

// Dead registrations, more than 10,000 of them, cost the first ending 2.1 s, and later ones nothing.
func TestNodes_ManyDead(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	l := settled(t, s.Client())
	register(t, s, l, "dead", 11_000)
	for i := range 3 { // on a busy machine a batch may be seen too late for the first one
		listtest.Revoke(t, l, auth.Revocation{Owner: auth.Owner{Issuer: "i", Subject: "u"}, Session: fmt.Sprint("first", i)})
		if s.Do("HLEN", "{dw}:nodes") == int64(0) {
			break
		}
	}
	if n := s.Do("HLEN", "{dw}:nodes"); n != int64(0) {
		t.Fatalf("%v dead nodes are registered after three endings", n)
	}
	begun := time.Now()
	listtest.Revoke(t, l, auth.Revocation{Owner: auth.Owner{Issuer: "i", Subject: "u"}, Session: "second"})
	if took := time.Since(begun); took > time.Second {
		t.Errorf("the next ending took %v", took)
	}
}

// register adds registrations of nodes that nobody renews.
func register(t *testing.T, s *redistest.Server, l *redisrev.List, name string, n int) {
	t.Helper()
	epoch, err := l.Epoch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	args := []any{"HSET", "{dw}:nodes"}
	for i := range n {
		if args = append(args, fmt.Sprint(name, i), epoch+" 0-0 1"); len(args) == 2002 || i == n-1 {
			s.Do(args...)
			args = args[:2]
		}
	}
}

// A follower removes what was not renewed for an hour of its own clock, though nothing is ended meanwhile, and nothing
// else.
func TestNodes_AbandonedAreRemoved(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	l, other := open(t, s.Client()), open(t, s.Client())
	now := time.Now()
	redisrev.SetClock(l, func() time.Time { return now })
	register(t, s, l, "dead", 11_000)
	s.Do("HSET", "{dw}:nodes", "foreign", "of another form")
	step := func(by time.Duration) (left int64) {
		t.Helper()
		now = now.Add(by)
		for range 40 { // a round of 1,000 or so at a time
			if _, err := l.Next(t.Context(), "follower", revocation.Position{}); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := other.Next(t.Context(), "alive", revocation.Position{}); err != nil {
			t.Fatal(err)
		}
		return s.Do("HLEN", "{dw}:nodes").(int64)
	}
	for _, test := range []struct {
		by   time.Duration
		want int64
	}{
		{0, 11_003}, // the live node registers after the round
		{30 * time.Minute, 11_003},
		{29 * time.Minute, 11_003},
		{11 * time.Minute, 2},
		{2 * time.Hour, 2},
		{2 * time.Hour, 2},
	} {
		if n := step(test.by); n != test.want {
			t.Errorf("%v later: %d nodes are registered, want %d", test.by, n, test.want)
		}
	}
	if n := s.Do("HEXISTS", "{dw}:nodes", "alive"); n != int64(1) {
		t.Error("a node that renews was removed")
	}
}

// A node that renews between the look and the removal stays, and so does one that is seen anew after an hour's pause.
func TestNodes_RenewedStays(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	client := s.Client()
	l, other := open(t, client), open(t, s.Client())
	now := time.Now()
	redisrev.SetClock(l, func() time.Time { return now })
	next := func(l *redisrev.List, node string) {
		t.Helper()
		if _, err := l.Next(t.Context(), node, revocation.Position{}); err != nil {
			t.Fatal(err)
		}
	}
	next(other, "sleeper")
	next(l, "follower")
	now = now.Add(time.Hour)
	client.AddHook(between(func() { next(other, "sleeper") })) // it wakes right then
	next(l, "follower")
	if n := s.Do("HEXISTS", "{dw}:nodes", "sleeper"); n != int64(1) {
		t.Error("a node that has renewed was removed")
	}
}

// between does something after the next command.
type between func()

func (between) DialHook(next redis.DialHook) redis.DialHook { return next }
func (b between) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	done := false
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		if !done {
			done = true
			b()
		}
		return err
	}
}
func (between) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}
