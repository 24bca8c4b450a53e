package redistest_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doorward/doorward/internal/redistest"
)

func TestServer(t *testing.T) {
	s := redistest.Start(t)
	s.Do("SET", "k", "saved")
	s.Save()
	s.Do("SET", "k", "lost")
	s.Kill()
	s.Restart()
	if v := s.Do("GET", "k"); v != "saved" {
		t.Errorf("after kill -9: got %v, want what was saved", v)
	}
	s.Stop()
	s.Forget()
	s.Restart()
	if v := s.Do("GET", "k"); v != nil {
		t.Errorf("after Forget: got %v, want nothing", v)
	}

	c := s.Client(func(o *redis.Options) { o.MaxRetries, o.ReadTimeout = -1, 50*time.Millisecond })
	if err := c.Ping(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	s.Pause()
	if err := c.Ping(t.Context()).Err(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("paused: got %v, want a timeout", err)
	}
	s.Resume()
	if err := c.Ping(t.Context()).Err(); err != nil {
		t.Errorf("resumed: %v", err)
	}
}

func TestReplica(t *testing.T) {
	master := redistest.Start(t)
	master.Do("SET", "k", "v")
	replica := redistest.StartReplica(t, master)
	if v := replica.Do("GET", "k"); v != "v" {
		t.Errorf("got %v, want the master's value", v)
	}
}

func TestCluster(t *testing.T) {
	c := redistest.StartCluster(t)
	if err := c.Client().Set(t.Context(), "{a}k", "v", 0).Err(); err != nil {
		t.Fatal(err)
	}
	if v := c.Owner("{a}").Do("GET", "{a}k"); v != "v" {
		t.Errorf("got %v from the slot's owner, want the value", v)
	}
}

func TestSentinels(t *testing.T) {
	t.Parallel()
	master := redistest.Start(t, "--min-replicas-to-write", "1", "--min-replicas-max-lag", "1")
	replica := redistest.StartReplica(t, master, "--min-replicas-to-write", "1", "--min-replicas-max-lag", "1")
	s := redistest.StartSentinels(t, master, 3)
	if s.Master() != master.Addr() {
		t.Fatalf("the master is %s, want %s", s.Master(), master.Addr())
	}
	c := s.Client()
	set := func(v string) {
		t.Helper()
		redistest.Eventually(t, func() error { return c.Set(t.Context(), "k", v, 0).Err() })
	}
	set("1")
	for _, step := range []struct {
		name     string
		fail     func()
		new, old *redistest.Server
	}{
		{"asked for", s.Failover, replica, master},
		{"killed", func() { replica.Kill(); s.WaitOther(replica.Addr()); replica.Restart() }, master, replica},
		{"paused", func() { master.Pause(); s.WaitOther(master.Addr()); master.Resume() }, replica, master},
	} {
		step.fail()
		if now := s.WaitSettled(1); now != step.new.Addr() {
			t.Fatalf("%s: the master is %s, want %s", step.name, now, step.new.Addr())
		}
		set(step.name) // refused without the old master as a replica
		step.old.WaitSynced()
		if v := step.new.Do("GET", "k"); v != step.name {
			t.Errorf("%s: the master has %v: the client follows another", step.name, v)
		}
	}
}

func TestTLS(t *testing.T) {
	t.Parallel()
	for _, demanded := range []string{"optional", "yes"} {
		s := redistest.StartTLS(t, "--tls-auth-clients", demanded)
		s.Do("SET", "k", "v")
		for _, test := range []struct {
			name string
			edit func(*redis.Options)
			ok   bool
		}{
			{"with a certificate", func(*redis.Options) {}, true},
			{"without", func(o *redis.Options) { o.TLSConfig.Certificates = nil }, demanded == "optional"},
			{"of a stranger", func(o *redis.Options) { o.TLSConfig = redistest.StartTLS(t).TLS() }, false},
			{"in plain text", func(o *redis.Options) { o.TLSConfig = nil }, false},
		} {
			c := s.Client(func(o *redis.Options) { o.MaxRetries, o.DialerRetries = -1, 1 }, test.edit)
			if v, err := c.Get(t.Context(), "k").Result(); (err == nil) != test.ok || test.ok && v != "v" {
				t.Errorf("%s, %s: got %q, %v, want success: %v", demanded, test.name, v, err, test.ok)
			}
		}
	}
}

func TestProxy(t *testing.T) {
	s := redistest.Start(t)
	p := redistest.NewProxy(t, s.Addr())
	c := redis.NewClient(&redis.Options{Addr: p.Addr(), MaxRetries: -1, DialerRetries: 1, ReadTimeout: 300 * time.Millisecond})
	defer func() { _ = c.Close() }()
	incr := func() error { return c.Incr(context.Background(), "n").Err() }
	timeout := func(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }
	closed := func(err error) bool {
		var op *net.OpError
		return errors.Is(err, io.EOF) || errors.As(err, &op)
	}
	fine := func(err error) bool { return err == nil }

	if err := incr(); err != nil {
		t.Fatal(err)
	}
	p.Requests()
	for i, step := range []struct {
		name string
		set  func()
		want func(error) bool
		done string // the counter afterwards: whether the request has arrived
	}{
		{"open", p.Heal, fine, "2"},
		{"half-open", p.HalfOpen, timeout, "3"},
		{"healed", p.Heal, fine, "4"},
		{"black hole", p.BlackHole, timeout, "4"},
		{"healed", p.Heal, fine, "5"},
		{"cut", p.Cut, closed, "5"},
		{"healed", p.Heal, fine, "6"},
		{"slow", func() { p.Delay(time.Second) }, timeout, "7"},
		{"slow, with patience", func() { p.Delay(time.Millisecond) }, fine, "8"},
	} {
		step.set()
		if err := incr(); !step.want(err) {
			t.Errorf("step %d, %s: %v", i, step.name, err)
		}
		if n := s.Do("GET", "n"); n != step.done {
			t.Errorf("step %d, %s: the counter is %v, want %s", i, step.name, n, step.done)
		}
		// The proxy saw the request itself, behind a handshake where the connection was new.
		if got := p.Requests(); step.want(nil) && (len(got) == 0 || got[len(got)-1] != "INCR") {
			t.Errorf("step %d, %s: the proxy saw %v, want INCR at the end", i, step.name, got)
		}
	}
}
