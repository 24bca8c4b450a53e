package redissession_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/auth/session"
	"github.com/doorward/doorward/auth/session/redissession"
	"github.com/doorward/doorward/internal/redistest"
	"github.com/doorward/doorward/revocation"
	"github.com/doorward/doorward/revocation/redisrev"
)

func create(t testing.TB, s *redissession.Store, change ...func(*session.Creation)) session.Session {
	t.Helper()
	c := login(epoch(t, s))
	for _, f := range change {
		f(&c)
	}
	res, err := s.Create(t.Context(), c)
	if err != nil || res.Outcome != session.Created {
		t.Fatalf("Create: got %q, %v", res.Outcome, err)
	}
	return res.Session
}

func showing(row session.Session, p int64, epoch string) session.Rotation {
	return session.Rotation{Owner: row.Owner, ID: row.ID, Generation: p, Epoch: epoch, KeyID: "key-2", Grace: 10 * time.Second}
}

func rotate(t testing.TB, s *redissession.Store, r session.Rotation, want session.Outcome) session.Session {
	t.Helper()
	res, err := s.Rotate(t.Context(), r)
	if err != nil || res.Outcome != want {
		t.Fatalf("Rotate of generation %d: got %q, %v, expected %q", r.Generation, res.Outcome, err, want)
	}
	return res.Session
}

// calls are all methods that ask Redis, for a session that is there.
func calls(s *redissession.Store, row session.Session, epoch string) map[string]func(context.Context) error {
	return map[string]func(context.Context) error{
		"Create": func(ctx context.Context) error { _, err := s.Create(ctx, login(epoch)); return err },
		"Rotate": func(ctx context.Context) error { _, err := s.Rotate(ctx, showing(row, 1, epoch)); return err },
		"Rotate that ends": func(ctx context.Context) error {
			r := showing(row, 1, epoch)
			r.Numbers.EndedBelow = 9
			_, err := s.Rotate(ctx, r)
			return err
		},
		"End":      func(ctx context.Context) error { _, err := s.End(ctx, row.Owner, row.ID); return err },
		"EndBelow": func(ctx context.Context) error { _, err := s.EndBelow(ctx, row.Owner, 2, ""); return err },
		"List":     func(ctx context.Context) error { _, err := s.List(ctx, row.Owner); return err },
		"Numbers":  func(ctx context.Context) error { _, err := s.Numbers(ctx, row.Owner); return err },
		"Raise":    func(ctx context.Context) error { _, err := s.Raise(ctx, row.Owner, true, ""); return err },
		"Durable":  s.Durable,
	}
}

// Redis does not answer: each call says so within its deadline, and what was there is there afterwards.
func TestOutage_STD_S10(t *testing.T) {
	const timeout, slack = 200 * time.Millisecond, 2 * time.Second
	for _, test := range []struct {
		name        string
		spoil, mend func(*redistest.Server, *redistest.Proxy)
	}{
		{"ATK-D01 refused", func(_ *redistest.Server, p *redistest.Proxy) { p.Cut() }, func(_ *redistest.Server, p *redistest.Proxy) { p.Heal() }},
		{"ATK-D02 black hole", func(_ *redistest.Server, p *redistest.Proxy) { p.BlackHole() }, func(_ *redistest.Server, p *redistest.Proxy) { p.Heal() }},
		{"ATK-D02 process stopped", func(s *redistest.Server, _ *redistest.Proxy) { s.Pause() }, func(s *redistest.Server, _ *redistest.Proxy) { s.Resume() }},
		{"a replica now", func(s *redistest.Server, _ *redistest.Proxy) { s.Do("REPLICAOF", "127.0.0.1", "1") },
			func(s *redistest.Server, _ *redistest.Proxy) { s.Do("REPLICAOF", "NO", "ONE") }},
		{"too few replicas", func(s *redistest.Server, _ *redistest.Proxy) { s.Do("CONFIG", "SET", "min-replicas-to-write", "1") },
			func(s *redistest.Server, _ *redistest.Proxy) { s.Do("CONFIG", "SET", "min-replicas-to-write", "0") }},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			server := redistest.Start(t)
			proxy := redistest.NewProxy(t, server.Addr())
			client := redis.NewClient(&redis.Options{Addr: proxy.Addr()})
			t.Cleanup(func() { _ = client.Close() })
			s := open(t, client, func(c *redisrev.Config) { c.Timeout = timeout })
			row, ep := create(t, s), epoch(t, s)
			test.spoil(server, proxy)
			for name, call := range calls(s, row, ep) {
				if strings.HasPrefix(test.name, "ATK-D02 p") && (name == "End" || name == "EndBelow" || name == "Raise" || strings.HasPrefix(name, "Rotate") || name == "Create") {
					continue // the process does it when it goes on: not known is not undone
				}
				before := time.Now()
				err := call(t.Context())
				if auth.CodeOf(err) != auth.StoreUnavailable || errors.Is(err, revocation.ErrUnreadable) {
					t.Errorf("%s: got %v, expected store_unavailable", name, err)
				}
				if took := time.Since(before); took > timeout+slack {
					t.Errorf("%s took %v", name, took)
				}
			}
			test.mend(server, proxy)
			redistest.Eventually(t, func() error { _, err := s.List(t.Context(), row.Owner); return err })
			ep = epoch(t, s)
			rotate(t, s, showing(row, 1, ep), session.Rotated)
		})
	}
}

// An answer is lost after the work was done. The client library sends the command again, and that must not count as
// the token shown twice.
func TestLostAnswers(t *testing.T) {
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server.Addr())
	client := redis.NewClient(&redis.Options{Addr: proxy.Addr(), ReadTimeout: 100 * time.Millisecond, MaxRetries: 20})
	t.Cleanup(func() { _ = client.Close() })
	s := open(t, client)
	ep := epoch(t, s)
	// lost makes the call while answers are swallowed, and lets them through when done says that Redis has acted.
	lost := func(name string, done func() bool, call func() (session.Result, error)) session.Result {
		t.Helper()
		var res session.Result
		var err error
		proxy.HalfOpen()
		answered := make(chan struct{})
		go func() {
			defer close(answered)
			res, err = call()
		}()
		redistest.Eventually(t, func() error {
			if !done() {
				return fmt.Errorf("%s: nothing was done", name)
			}
			return nil
		})
		proxy.Heal()
		<-answered
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		return res
	}
	rotate(t, s, showing(create(t, s), 1, ep), session.Rotated) // loads the scripts, so that the first sending does the work

	c := login(ep)
	key := "{dw}:S:" + c.Session.ID
	field := func(name, want string) func() bool {
		return func() bool { return server.Do("HGET", key, name) == want }
	}
	row := lost("Create", field("generation", "1"), func() (session.Result, error) { return s.Create(t.Context(), c) })
	if row.Outcome != session.Created || row.Session.Generation != 1 {
		t.Fatalf("Create: got %+v", row)
	}
	r := showing(row.Session, 1, ep)
	r.Grace = 0 // nothing else forgives
	r.Client.UserAgent = "another agent"
	if res := lost("Rotate", field("generation", "2"), func() (session.Result, error) { return s.Rotate(t.Context(), r) }); res.Outcome != session.Rotated || res.Session.Generation != 2 || res.Former != c.Session.Client {
		t.Errorf("Rotate: got %q, generation %d and the former client %+v, expected the child 2 and %+v", res.Outcome, res.Session.Generation, res.Former, c.Session.Client)
	}
	r.Lenient = true
	if res := lost("Rotate, late", func() bool { return server.Do("HGET", key, "late") != "" }, func() (session.Result, error) { return s.Rotate(t.Context(), r) }); res.Outcome != session.Late {
		t.Errorf("Rotate, late: got %q", res.Outcome)
	}
	r.Generation = 7
	if res := lost("Rotate, rolled back", field("generation", "8"), func() (session.Result, error) { return s.Rotate(t.Context(), r) }); res.Outcome != session.RolledBack || res.Session.Generation != 8 {
		t.Errorf("Rotate, rolled back: got %q and generation %d", res.Outcome, res.Session.Generation)
	}
	rotate(t, s, r, session.Late)           // another call is another showing of what is the parent now
	listed := func(id string) func() bool { // on the list of what was ended
		return func() bool { return server.Do("EXISTS", "{dw}:s:"+id) == int64(1) }
	}
	r.Generation = 6
	// A thief was seen: that is told, whatever becomes of the answer, and once.
	if res := lost("Rotate, reused", listed(r.ID), func() (session.Result, error) { return s.Rotate(t.Context(), r) }); res.Outcome != session.Reused || res.Session.Generation != 8 {
		t.Errorf("Rotate, reused: got %q of generation %d", res.Outcome, res.Session.Generation)
	}
	rotate(t, s, r, session.Gone)
	other := create(t, s)
	if _, err := s.End(t.Context(), other.Owner, other.ID); err != nil { // loads the script
		t.Fatal(err)
	}
	row.Session = create(t, s)
	var ended []string
	lost("End", listed(row.Session.ID), func() (res session.Result, err error) {
		ended, err = s.End(t.Context(), row.Session.Owner, row.Session.ID)
		return res, err
	})
	if !slices.Equal(ended, []string{row.Session.ID}) {
		t.Errorf("End: got %q", ended)
	}
	if again, err := s.End(t.Context(), row.Session.Owner, row.Session.ID); err != nil || len(again) > 0 {
		t.Errorf("End, another call: got %q, %v", again, err)
	}
	list, err := s.List(t.Context(), row.Session.Owner)
	if err != nil || slices.ContainsFunc(list, func(s session.Session) bool { return s.ID == r.ID || s.ID == row.Session.ID }) {
		t.Errorf("listed are %+v, %v", list, err)
	}
	for _, id := range []string{r.ID, row.Session.ID} {
		if ms := server.Do("PTTL", "{dw}:S:"+id).(int64); ms < 1 || ms > 60_000 {
			t.Errorf("what is left of an ended session lives %d ms, expected up to a minute", ms)
		}
	}
}

// What Redis had forgotten when it came back. Access tokens are never believed again; refresh tokens only as far
// as Redis kept what was done to them.
func TestForgets_STD_S11(t *testing.T) {
	t.Parallel()
	scene := func(t *testing.T) (server *redistest.Server, s *redissession.Store, row session.Session, access *auth.Principal) {
		server = redistest.Start(t)
		s = open(t, server.Client())
		row = create(t, s)
		return server, s, row, &auth.Principal{Issuer: row.Issuer, Subject: row.Subject, Session: row.ID, Version: 9, Epoch: row.Epoch}
	}
	refused := func(t *testing.T, s *redissession.Store, access *auth.Principal) {
		t.Helper()
		redistest.Eventually(t, func() error {
			err := s.Revocations().Check(t.Context(), access)
			if err == nil {
				t.Fatal("an access token from before is believed")
			} else if auth.CodeOf(err) == auth.StoreUnavailable {
				return err
			}
			return nil
		})
	}
	t.Run("ATK-D03 flushed", func(t *testing.T) {
		t.Parallel()
		server, s, row, access := scene(t)
		server.Do("FLUSHALL")
		refused(t, s, access)
		known := row.Epoch
		res, err := s.Rotate(t.Context(), showing(row, 1, known))
		if err != nil || res.Outcome != session.OtherEpoch || res.Epoch == known || res.Epoch == "" {
			t.Fatalf("got %+v, %v, expected another epoch", res, err)
		}
		rotate(t, s, showing(row, 1, res.Epoch), session.Gone)
		if n := server.Do("EXISTS", "{dw}:S:"+row.ID); n != int64(0) {
			t.Error("a write revived the row")
		}
	})
	t.Run("snapshot, refreshed, kill -9", func(t *testing.T) {
		t.Parallel()
		server, s, row, access := scene(t)
		server.Save()
		rotate(t, s, showing(row, 1, row.Epoch), session.Rotated)
		rotate(t, s, showing(row, 2, row.Epoch), session.Rotated)
		server.Restart()
		refused(t, s, access)
		next := epoch(t, s)
		if got := rotate(t, s, showing(row, 3, next), session.RolledBack); got.Generation != 4 || got.From != 1 {
			t.Errorf("got generation %d from %d, expected 4 from 1", got.Generation, got.From)
		}
		rotate(t, s, showing(row, 2, next), session.Replayed) // a tab that is late within the grace
	})
	t.Run("snapshot, logged out, kill -9", func(t *testing.T) {
		t.Parallel()
		server, s, row, access := scene(t)
		server.Save()
		if _, err := s.End(t.Context(), ann, row.ID); err != nil {
			t.Fatal(err)
		}
		server.Restart()
		refused(t, s, access)
		strict := showing(row, 1, epoch(t, s))
		strict.EndOnOtherEpoch, strict.Lend = true, true
		rotate(t, s, strict, session.Gone)
		if err := s.Durable(t.Context()); err == nil {
			t.Error("Durable did not warn of it")
		}
		rotate(t, s, showing(row, 1, epoch(t, s)), session.Rotated) // as PROTOCOLS 5 says: no more durable than Redis
	})
	t.Run("appendfsync always, logged out, kill -9", func(t *testing.T) {
		t.Parallel()
		server := redistest.Start(t, "--appendonly", "yes", "--appendfsync", "always")
		s := open(t, server.Client())
		if err := s.Durable(t.Context()); err != nil {
			t.Error(err)
		}
		row, kept := create(t, s), create(t, s)
		if _, err := s.End(t.Context(), ann, row.ID); err != nil {
			t.Fatal(err)
		}
		raised, err := s.Raise(t.Context(), ann, false, "")
		if err != nil {
			t.Fatal(err)
		}
		server.Restart()
		redistest.Eventually(t, func() error { _, err := s.Revocations().Epoch(t.Context()); return err })
		rotate(t, s, showing(row, 1, epoch(t, s)), session.Gone)
		rotate(t, s, showing(kept, 1, epoch(t, s)), session.Rotated)
		if n, err := s.Numbers(t.Context(), ann); err != nil || n != raised {
			t.Errorf("the numbers: got %+v, %v", n, err)
		}
	})
}

func TestDurable(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	s := open(t, server.Client())
	check := func(says ...string) {
		t.Helper()
		err := s.Durable(t.Context())
		if len(says) == 0 && err != nil {
			t.Errorf("got %v, expected nil", err)
		}
		for _, part := range says {
			if err == nil || !strings.Contains(err.Error(), part) || auth.CodeOf(err) != auth.Internal {
				t.Errorf("got %v, expected a warning without a code that has %q", err, part)
			}
		}
	}
	check("got appendonly no")
	server.Do("CONFIG", "SET", "appendonly", "yes")
	check("got appendfsync everysec")
	server.Do("CONFIG", "SET", "appendfsync", "always")
	check()
	server.Do("CONFIG", "SET", "no-appendfsync-on-rewrite", "yes")
	check("got no-appendfsync-on-rewrite yes")
	server.Do("CONFIG", "SET", "appendfsync", "everysec")
	check("got appendfsync everysec", "got no-appendfsync-on-rewrite yes")
	server.Do("CONFIG", "SET", "appendfsync", "always", "no-appendfsync-on-rewrite", "no")
	check()
	replica := redistest.StartReplica(t, server)
	check("got 1 replicas")
	server.Do("CONFIG", "SET", "appendfsync", "no")
	check("got 1 replicas", "got appendfsync no")
	replica.Kill()
	server.Do("CONFIG", "SET", "appendfsync", "always")
	redistest.Eventually(t, func() error { return s.Durable(t.Context()) })
	server.Do("ACL", "SETUSER", "default", "-config")
	err := s.Durable(t.Context())
	server.Do("ACL", "SETUSER", "default", "+config")
	if err == nil || !strings.Contains(err.Error(), "got appendfsync unknown") || !strings.Contains(err.Error(), "on-rewrite unknown") {
		t.Errorf("without CONFIG: got %v", err)
	}
	cluster := redistest.StartCluster(t)
	cluster.Owner("{dw}").Do("CONFIG", "SET", "appendonly", "yes")
	cluster.Owner("{dw}").Do("CONFIG", "SET", "appendfsync", "always")
	s = open(t, cluster.Client())
	check()
	cluster.Owner("{dw}").Do("CONFIG", "SET", "no-appendfsync-on-rewrite", "yes")
	check("got no-appendfsync-on-rewrite yes")
}

// STD-S07: an ending waits for every node that answers from memory, also when it is called again or sent again, and finds that
// the row is over already: another node may not have heard of it. That one is cut off here, and holds a lease.
func TestEndedBefore_STD_S07_WaitsForOthers(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(t *testing.T, s *redissession.Store, row session.Session, mine *redistest.Proxy, acted func()){
		"called again": func(t *testing.T, s *redissession.Store, row session.Session, _ *redistest.Proxy, _ func()) {
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			if _, err := s.End(ctx, row.Owner, row.ID); !errors.Is(err, revocation.ErrUnconfirmed) {
				t.Fatalf("got %v, expected that it is not confirmed", err)
			}
			if _, err := s.End(t.Context(), row.Owner, row.ID); err != nil {
				t.Fatal(err)
			}
		},
		"sent again": func(t *testing.T, s *redissession.Store, row session.Session, mine *redistest.Proxy, acted func()) {
			mine.HalfOpen()
			go func() { acted(); mine.Heal() }()
			if ended, err := s.End(t.Context(), row.Owner, row.ID); err != nil || len(ended) != 1 {
				t.Fatalf("got %q, %v", ended, err)
			}
		},
		"an old token, sent again": func(t *testing.T, s *redissession.Store, row session.Session, mine *redistest.Proxy, acted func()) {
			r := showing(row, 1, row.Epoch)
			r.Grace = 0
			rotate(t, s, r, session.Rotated)
			r.Generation = 2
			rotate(t, s, r, session.Rotated)
			r.Generation = 1
			mine.HalfOpen()
			go func() { acted(); mine.Heal() }()
			if res, err := s.Rotate(t.Context(), r); err != nil || res.Outcome != session.Reused {
				t.Fatalf("got %q, %v", res.Outcome, err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := redistest.Start(t)
			mine, theirs := redistest.NewProxy(t, server.Addr()), redistest.NewProxy(t, server.Addr())
			client := redis.NewClient(&redis.Options{Addr: mine.Addr(), ReadTimeout: 200 * time.Millisecond, MaxRetries: 20})
			t.Cleanup(func() { _ = client.Close() })
			s := open(t, client)
			load := create(t, s) // loads the scripts, so that a first sending does the work
			if _, err := s.End(t.Context(), load.Owner, load.ID); err != nil {
				t.Fatal(err)
			}
			row := create(t, s)
			other := redis.NewClient(&redis.Options{Addr: theirs.Addr()})
			t.Cleanup(func() { _ = other.Close() })
			list, err := redisrev.New(redisrev.Config{Client: other, Timeout: time.Second})
			if err != nil {
				t.Fatal(err)
			}
			node, err := revocation.NewReplica(revocation.ReplicaConfig{Feed: list})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = node.Close() })
			redistest.Eventually(t, func() error {
				if !node.Status().Leased {
					return fmt.Errorf("no lease: %+v", node.Status())
				}
				return nil
			})
			p := &auth.Principal{Issuer: row.Issuer, Subject: row.Subject, Session: row.ID, TokenID: "j", Version: 9, Epoch: row.Epoch}
			if err := node.Check(t.Context(), p); err != nil {
				t.Fatal(err)
			}
			theirs.BlackHole()
			end(t, s, row, mine, func() {
				for server.Do("EXISTS", "{dw}:s:"+row.ID) == int64(0) {
					runtime.Gosched()
				}
			})
			if err := node.Check(t.Context(), p); err == nil {
				t.Error("the other node accepts what has ended")
			}
		})
	}
}
