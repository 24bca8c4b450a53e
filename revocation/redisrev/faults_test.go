package redisrev_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/internal/listtest"
	"github.com/doorward/doorward/internal/redistest"
	"github.com/doorward/doorward/revocation"
	"github.com/doorward/doorward/revocation/redisrev"
)

// timeout is the list's deadline where a test waits for it.
const timeout = 250 * time.Millisecond

// slack is what a busy machine may add to it. Each fault lasts longer than both.
const slack = 2 * time.Second

func short(c *redisrev.Config) { c.Timeout = timeout }

// A scene is a Redis behind a proxy, one list that is never restarted, a principal whose session was
// ended and one whose session lives.
type scene struct {
	t           *testing.T
	server      *redistest.Server
	proxy       *redistest.Proxy
	list        *redisrev.List
	ended, live *auth.Principal
}

func newScene(t *testing.T) *scene {
	s := &scene{t: t, server: redistest.Start(t)}
	s.proxy = redistest.NewProxy(t, s.server.Addr())
	client := redis.NewClient(&redis.Options{Addr: s.proxy.Addr()}) // go-redis's defaults: 5 s, 3 retries
	t.Cleanup(func() { _ = client.Close() })
	s.list = settled(t, client, short)
	s.ended, s.live = listtest.Principal(t, s.list, "ended"), listtest.Principal(t, s.list, "live")
	return s
}

// end ends the session of s.ended.
func (s *scene) end() {
	s.t.Helper()
	listtest.Revoke(s.t, s.list, listtest.Session(s.ended))
	listtest.Want(s.t, s.list, s.ended, auth.TokenRevoked)
	listtest.Want(s.t, s.list, s.live, "")
}

// unavailable says that every call is answered within the deadline, by 503, for long enough that the
// breaker has opened and tried again.
func (s *scene) unavailable() {
	s.t.Helper()
	for i := range 4 {
		for name, call := range map[string]func(context.Context) error{
			"Check":  func(ctx context.Context) error { return s.list.Check(ctx, s.ended) },
			"Revoke": func(ctx context.Context) error { return s.list.Revoke(ctx, listtest.TokenID(s.live)) },
			"Epoch":  func(ctx context.Context) error { _, err := s.list.Epoch(ctx); return err },
			"Ready":  s.list.Ready,
		} {
			before := time.Now()
			err := call(s.t.Context())
			if took := time.Since(before); took > timeout+slack {
				s.t.Errorf("%s %d took %v, want the deadline of %v", name, i, took, timeout)
			}
			if auth.CodeOf(err) != auth.StoreUnavailable || errors.Is(err, revocation.ErrUnreadable) {
				s.t.Errorf("%s %d: got %v, want store_unavailable", name, i, err)
			}
		}
	}
	// Only the guard that says so lets tokens through.
	listtest.Want(s.t, revocation.IgnoreOutage(s.list), s.ended, "")
}

// recovered waits until the list answers again and says that it still refuses what was ended, with this
// code, and the live principal with that one. It asks at every moment on the way.
func (s *scene) recovered(ended, live auth.Code) {
	s.t.Helper()
	redistest.Eventually(s.t, func() error {
		if err := s.list.Check(s.t.Context(), s.ended); err == nil {
			s.t.Fatal("what was ended is accepted")
		} else if auth.CodeOf(err) == auth.StoreUnavailable {
			return err
		}
		return nil
	})
	listtest.Want(s.t, s.list, s.ended, ended)
	listtest.Want(s.t, s.list, s.live, live)
	if live == auth.TokenExpired { // its owner refreshes: a new token, of the new epoch
		fresh := listtest.Principal(s.t, s.list, "live")
		listtest.Want(s.t, s.list, fresh, "")
		listtest.Want(s.t, s.list, s.ended, auth.TokenExpired)
		listtest.Revoke(s.t, s.list, listtest.Session(fresh))
		listtest.Want(s.t, s.list, fresh, auth.TokenRevoked)
	}
}

// Redis cannot be reached, and keeps its memory.
func TestOutage_STD_S10(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name        string
		spoil, mend func(*scene)
	}{
		{"ATK-D01 refused", func(s *scene) { s.proxy.Cut() }, func(s *scene) { s.proxy.Heal() }},
		{"ATK-D02 slow, 5 s", func(s *scene) { s.proxy.Delay(5 * time.Second) }, func(s *scene) { s.proxy.Heal() }},
		{"ATK-D02 black hole", func(s *scene) { s.proxy.BlackHole() }, func(s *scene) { s.proxy.Heal() }},
		{"ATK-D02 half-open", func(s *scene) { s.proxy.HalfOpen() }, func(s *scene) { s.proxy.Heal() }},
		{"ATK-D02 process stopped", func(s *scene) { s.server.Pause() }, func(s *scene) { s.server.Resume() }},
		{"ATK-D05 NOAUTH", func(s *scene) {
			s.server.Do("CONFIG", "SET", "requirepass", "x")
			s.server.Do("CLIENT", "KILL", "SKIPME", "yes", "TYPE", "normal")
		}, func(s *scene) { s.server.Do("CONFIG", "SET", "requirepass", "") }},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			s.end()
			test.spoil(s)
			s.unavailable()
			test.mend(s)
			// s.live's token id may have been written by a Revoke whose answer was lost.
			s.live.TokenID = "another"
			s.recovered(auth.TokenRevoked, "")
		})
	}
}

// Redis is there before the list is, or not.
func TestOutage_ATK_D01_DownAtStart(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	s.Kill()
	l := open(t, s.Client(), short)
	if err := l.Ready(t.Context()); auth.CodeOf(err) != auth.StoreUnavailable {
		t.Errorf("Ready: got %v, want store_unavailable", err)
	}
	s.Restart()
	redistest.Eventually(t, func() error { return l.Ready(t.Context()) })
	listtest.Want(t, l, listtest.Principal(t, l, "x"), "")
}

// Redis has forgotten: no token from before is believed, ended or not.
func TestForgotten_STD_S11(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		before func(*scene) // between the login and the ending
		forget func(*scene)
	}{
		{"stopped, back empty", nil, func(s *scene) { s.server.Stop(); s.unavailable(); s.server.Restart() }},
		{"kill -9, back from an older snapshot", func(s *scene) { s.server.Save() },
			func(s *scene) { s.server.Kill(); s.unavailable(); s.server.Restart() }},
		{"kill -9, back from the newest snapshot", nil,
			func(s *scene) { s.server.Save(); s.server.Kill(); s.server.Restart() }},
		{"ATK-D03 FLUSHALL", nil, func(s *scene) { s.server.Do("FLUSHALL") }},
		{"ATK-D03 epoch evicted", nil, func(s *scene) { s.server.Do("DEL", "{dw}:epoch") }},
		{"ATK-D03 epoch expired", nil, func(s *scene) { s.server.Do("PEXPIRE", "{dw}:epoch", "0") }},
		{"an older epoch restored", nil, func(s *scene) {
			old := s.server.Do("DUMP", "{dw}:epoch")
			s.server.Do("FLUSHALL")
			listtest.Principal(s.t, s.list, "between") // somebody logs in: a new epoch
			s.server.Kill()
			s.server.Restart()
			s.server.Do("RESTORE", "{dw}:epoch", "0", old, "REPLACE")
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			if test.before != nil {
				test.before(s)
			}
			s.end()
			test.forget(s)
			s.recovered(auth.TokenExpired, auth.TokenExpired)
		})
	}
}

// A check on a list that has forgotten must not be what makes it believable again.
func TestForgotten_ChecksBeginNoEpoch(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.end()
	s.server.Do("FLUSHALL")
	for range 3 {
		listtest.Want(t, s.list, s.live, auth.TokenExpired)
		listtest.Want(t, revocation.IgnoreOutage(s.list), s.live, auth.TokenExpired)
	}
	// An ending begins one, and is in it.
	listtest.Revoke(t, s.list, listtest.Session(s.ended))
	again := listtest.Principal(t, s.list, "ended")
	listtest.Want(t, s.list, again, auth.TokenRevoked)
	listtest.Want(t, s.list, s.ended, auth.TokenExpired)
}

// A master that was demoted refuses checks as well: its data is another's from now on.
func TestFailover_DemotedMaster(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	other := redistest.Start(t)
	s.end()
	host, port := address(other)
	s.server.Do("REPLICAOF", host, port)
	s.server.WaitSynced()
	s.unavailable()
	// The other is the master now, and its memory is another one.
	promoted := open(t, other.Client())
	listtest.Want(t, promoted, s.ended, auth.TokenExpired)
	listtest.Want(t, promoted, s.live, auth.TokenExpired)
	s.server.Do("REPLICAOF", "NO", "ONE")
	s.recovered(auth.TokenExpired, auth.TokenExpired)
}

// withReplica attaches the first replica, which begins a new history, and so an epoch.
func (s *scene) withReplica() *redistest.Server {
	s.t.Helper()
	replica := redistest.StartReplica(s.t, s.server)
	s.ended, s.live = listtest.Principal(s.t, s.list, "ended"), listtest.Principal(s.t, s.list, "live")
	redistest.Eventually(s.t, func() error {
		if replica.Do("HGET", "{dw}:epoch", "id") != s.live.Epoch {
			return errors.New("the replica has not seen the epoch")
		}
		return nil
	})
	return replica
}

// A replica may have lost the last endings, so its promotion is a new epoch. The window before that,
// ATK-D04, is closed by min-replicas-to-write: see CutOffMaster.
func TestFailover_PromotedReplica(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	replica := s.withReplica()
	replica.Do("REPLICAOF", "NO", "ONE")
	s.end() // the old master does not know yet
	s.server.Kill()
	promoted := open(t, replica.Client())
	listtest.Want(t, promoted, s.ended, auth.TokenExpired)
	listtest.Want(t, promoted, s.live, auth.TokenExpired)
	listtest.Want(t, promoted, listtest.Principal(t, promoted, "live"), "")
	listtest.Want(t, promoted, s.ended, auth.TokenExpired)
}

// There and back: the process is the one that the epoch was begun on, but it has the data of a
// replica that never saw the ending. Its run_id alone does not show it.
func TestFailover_ThereAndBack(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	replica := s.withReplica()
	replica.Do("REPLICAOF", "NO", "ONE")
	s.end() // the old master does not know yet
	host, port := address(replica)
	s.server.Do("REPLICAOF", host, port)
	s.server.WaitSynced()
	if s.server.Do("EXISTS", "{dw}:s:"+s.ended.Session) != int64(0) || s.server.Do("HGET", "{dw}:epoch", "id") != s.live.Epoch {
		t.Fatal("the scene is wrong: the ending must be lost, and the epoch must be there")
	}
	s.server.Do("REPLICAOF", "NO", "ONE")
	s.recovered(auth.TokenExpired, auth.TokenExpired)
}

// A master that its replicas cannot reach may have been replaced, so it refuses checks as well.
func TestFailover_CutOffMaster(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	replica := s.withReplica()
	s.server.Do("CONFIG", "SET", "min-replicas-to-write", "1")
	s.end()
	replica.Kill()
	redistest.Eventually(t, func() error {
		if err := s.list.Check(t.Context(), s.live); err == nil {
			return errors.New("the replica counts as reachable yet")
		}
		return nil
	})
	s.unavailable()
	replica.Restart()
	s.recovered(auth.TokenRevoked, "")
}

// A replica that takes writes is no master for all that.
func TestWritableReplica(t *testing.T) {
	t.Parallel()
	master := redistest.Start(t)
	l := open(t, master.Client())
	listtest.Principal(t, l, "x")
	replica := redistest.StartReplica(t, master, "--replica-read-only", "no")
	r := open(t, replica.Client())
	if ep, err := r.Epoch(t.Context()); auth.CodeOf(err) != auth.StoreUnavailable {
		t.Errorf("Epoch: got %q, %v, want store_unavailable", ep, err)
	}
	if err := r.Check(t.Context(), listtest.Principal(t, l, "x")); auth.CodeOf(err) != auth.StoreUnavailable {
		t.Errorf("Check: got %v, want store_unavailable", err)
	}
}

// A client that reads from replicas reads the list from the master: a replica is behind.
func TestReads_ATK_D06_GoToTheMaster(t *testing.T) {
	t.Parallel()
	master := redistest.Start(t)
	replica := redistest.StartReplica(t, master)
	client := redis.NewClusterClient(&redis.ClusterOptions{
		RouteRandomly: true,
		ClusterSlots: func(context.Context) ([]redis.ClusterSlot, error) {
			return []redis.ClusterSlot{{Start: 0, End: 16383, Nodes: []redis.ClusterNode{{Addr: master.Addr()}, {Addr: replica.Addr()}}}}, nil
		},
	})
	t.Cleanup(func() { _ = client.Close() })
	l := open(t, client)
	p := listtest.Principal(t, l, "x")
	replica.Do("CONFIG", "RESETSTAT")
	for i := range 50 {
		p.Session = fmt.Sprint("s", i)
		listtest.Want(t, l, p, "")
		listtest.Revoke(t, l, listtest.Session(p))
		listtest.Want(t, l, p, auth.TokenRevoked)
		_ = client.Get(t.Context(), "{dw}:plain").Err()
	}
	stats := replica.Do("INFO", "commandstats").(string)
	if calls := stat(stats, "evalsha"); calls != 0 {
		t.Errorf("the replica was asked %d times", calls)
	}
	if stat(stats, "get") == 0 {
		t.Errorf("this client does not read from the replica at all, so the test shows nothing: %s", stats)
	}
}
