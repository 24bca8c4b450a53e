package redistotp_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/auth/totp"
	"github.com/doorward/doorward/auth/totp/redistotp"
	"github.com/doorward/doorward/internal/redistest"
)

// right is ann's code: RFC 6238 appendix B, the last six digits.
const (
	right = "081804"
	next  = "050471" // of the step after it
)

// enrolled returns factors over the store, ann's among them.
func enrolled(t testing.TB, s totp.Store) *totp.Factors {
	t.Helper()
	f, err := totp.New(totp.Config{Issuer: issuer, ServiceName: "Example", Store: s, AllowUnsealed: true, Now: func() time.Time { return time.Unix(1111111109, 0) }})
	if err != nil {
		t.Fatal(err)
	}
	key, err := totp.ParseKey("GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ")
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Import(t.Context(), "ann", key); err != nil {
		t.Fatal(err)
	}
	return f
}

// Redis does not answer, or may not be believed: 503 within the deadline, and the same code is good afterwards.
func TestOutage_ATK_O05_FailClosed(t *testing.T) {
	const timeout, slack = 200 * time.Millisecond, 2 * time.Second
	for _, test := range []struct {
		name        string
		spoil, mend func(*redistest.Server, *redistest.Proxy)
	}{
		{"ATK-D01 refused", func(_ *redistest.Server, p *redistest.Proxy) { p.Cut() }, func(_ *redistest.Server, p *redistest.Proxy) { p.Heal() }},
		{"ATK-D02 black hole", func(_ *redistest.Server, p *redistest.Proxy) { p.BlackHole() }, func(_ *redistest.Server, p *redistest.Proxy) { p.Heal() }},
		{"ATK-D05 over maxmemory", func(s *redistest.Server, _ *redistest.Proxy) { s.Do("CONFIG", "SET", "maxmemory", "1kb") },
			func(s *redistest.Server, _ *redistest.Proxy) { s.Do("CONFIG", "SET", "maxmemory", "0") }},
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
			f := enrolled(t, open(t, client, func(c *redistotp.Config) { c.Timeout = timeout }))
			test.spoil(server, proxy)
			for name, call := range map[string]func() error{
				"Verify":               func() error { return f.Verify(t.Context(), "ann", right) },
				"Verify of a stranger": func() error { return f.Verify(t.Context(), "bob", right) },
				"Status": func() error {
					s, err := f.Status(t.Context(), "ann")
					if s != (totp.Status{}) {
						t.Errorf("Status: got %+v", s)
					}
					return err
				},
				"Begin": func() error { _, err := f.Begin(t.Context(), "ann", "ann"); return err },
			} {
				before := time.Now()
				if err := call(); auth.CodeOf(err) != auth.StoreUnavailable {
					t.Errorf("%s: got %v, expected store_unavailable", name, err)
				}
				if took := time.Since(before); took > timeout+slack {
					t.Errorf("%s took %v", name, took)
				}
			}
			test.mend(server, proxy)
			redistest.Eventually(t, func() error { _, err := f.Status(t.Context(), "ann"); return err })
			if err := f.Verify(t.Context(), "ann", right); err != nil {
				t.Errorf("afterwards: %v", err)
			}
			if err := f.Verify(t.Context(), "ann", right); !errors.Is(err, totp.ErrWrong) {
				t.Errorf("afterwards, again: got %v, expected ErrWrong", err)
			}
		})
	}
}

// An answer is lost after the write was done, and the client library sends the command again: that is the same call, and
// its code is good. Another call with the code is not.
func TestLostAnswers_ATK_O01(t *testing.T) {
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server.Addr())
	client := redis.NewClient(&redis.Options{Addr: proxy.Addr(), ReadTimeout: 100 * time.Millisecond, MaxRetries: 20})
	t.Cleanup(func() { _ = client.Close() })
	s := open(t, client)
	f := enrolled(t, s)
	held := func() string {
		key := server.Do("KEYS", "*").([]any)[0]
		return server.Do("GET", key).(string)
	}
	// lost makes the call while answers to the write are swallowed, until Redis has done it.
	lost := func(name string, call func(totp.Store) error, meanwhile ...func()) error {
		t.Helper()
		before, reached := held(), make(chan struct{})
		var once sync.Once
		var err error
		answered := make(chan struct{})
		go func() {
			defer close(answered)
			err = call(hooked{s, func() {
				once.Do(func() {
					proxy.HalfOpen()
					close(reached)
				})
			}})
		}()
		<-reached
		redistest.Eventually(t, func() error {
			if held() == before {
				return fmt.Errorf("%s: nothing was written", name)
			}
			return nil
		})
		for _, f := range meanwhile {
			f()
		}
		proxy.Heal()
		<-answered
		return err
	}
	with := func(s totp.Store) *totp.Factors {
		f, err := totp.New(totp.Config{Issuer: issuer, ServiceName: "Example", Store: s, AllowUnsealed: true, Now: func() time.Time { return time.Unix(1111111109, 0) }})
		if err != nil {
			t.Error(err)
		}
		return f
	}
	if err := lost("Verify", func(s totp.Store) error { return with(s).Verify(t.Context(), "ann", right) }); err != nil {
		t.Errorf("Verify: %v", err)
	}
	if err := f.Verify(t.Context(), "ann", right); !errors.Is(err, totp.ErrWrong) {
		t.Errorf("the code again: got %v, expected ErrWrong", err)
	}
	direct := with(open(t, server.Client()))
	// And somebody else has written before it asks again.
	var fresh totp.RecoveryCodes
	if err := lost("Regenerate", func(s totp.Store) (err error) {
		fresh, err = with(s).Regenerate(t.Context(), "ann", next)
		return err
	}, func() {
		for range 3 {
			if err := direct.Verify(t.Context(), "ann", "000000"); !errors.Is(err, totp.ErrWrong) {
				t.Errorf("a wrong code: %v", err)
			}
		}
	}); err != nil {
		t.Errorf("Regenerate, and three wrong codes: %v", err)
	}
	if _, err := f.Recover(t.Context(), "ann", fresh.List()[0]); err != nil {
		t.Errorf("a code of the new set: %v", err)
	}
	if err := lost("Reset", func(s totp.Store) error { return with(s).Reset(t.Context(), "ann") }); err != nil {
		t.Errorf("Reset: %v", err)
	}
	if got := get(t, s); got != "" {
		t.Errorf("after Reset: %q", got)
	}
}

// hooked does something between reading and writing.
type hooked struct {
	totp.Store
	between func()
}

func (h hooked) Update(ctx context.Context, owner auth.Owner, change func([]byte) ([]byte, error)) error {
	return h.Store.Update(ctx, owner, func(old []byte) ([]byte, error) {
		next, err := change(old)
		h.between()
		return next, err
	})
}

// What is under a record's key and is no record: 503, and it is not written over.
func TestGarbage_ATK_D07(t *testing.T) {
	server := redistest.Start(t)
	s := open(t, server.Client())
	f := enrolled(t, s)
	key := server.Do("KEYS", "*").([]any)[0]
	for name, write := range map[string][]any{
		"a hash":            {"HSET", key, "a", "b"},
		"a list":            {"RPUSH", key, "a"},
		"short":             {"SET", key, "1"},
		"a text":            {"SET", key, strings.Repeat("x", 100)},
		"JSON of no record": {"SET", key, strings.Repeat("A", 26) + ",:{}"},
		"a number":          {"SET", key, "12345678901234567890123456789"},
	} {
		server.Do("DEL", key)
		server.Do(write...)
		before := server.Do("DUMP", key)
		for _, err := range []error{
			f.Verify(t.Context(), "ann", right), f.Reset(t.Context(), "ann"),
			func() error { _, err := f.Begin(t.Context(), "ann", "ann"); return err }(),
			func() error { _, err := f.Status(t.Context(), "ann"); return err }(),
		} {
			if auth.CodeOf(err) != auth.StoreUnavailable {
				t.Errorf("%s: got %v, expected store_unavailable", name, err)
			}
		}
		if server.Do("DUMP", key) != before {
			t.Errorf("%s: something was written", name)
		}
	}
}

// ATK-D06: a client that reads from replicas asks the master, since a replica does not know yet what was used.
func TestReads_ATK_D06_GoToTheMaster(t *testing.T) {
	master := redistest.Start(t)
	behind := redistest.StartReplica(t, master)
	client := redis.NewClusterClient(&redis.ClusterOptions{
		RouteRandomly: true,
		ClusterSlots: func(context.Context) ([]redis.ClusterSlot, error) {
			return []redis.ClusterSlot{{Start: 0, End: 16383, Nodes: []redis.ClusterNode{{Addr: master.Addr()}, {Addr: behind.Addr()}}}}, nil
		},
	})
	t.Cleanup(func() { _ = client.Close() })
	s := open(t, client)
	behind.Do("CONFIG", "RESETSTAT")
	for i := range 20 {
		put(t, s, fmt.Sprint(i))
		if got := get(t, s); got != fmt.Sprint(i) {
			t.Errorf("got %q, expected %d", got, i)
		}
	}
	if stats := behind.Do("INFO", "commandstats").(string); strings.Contains(stats, "cmdstat_eval") {
		t.Errorf("the replica was asked: %s", stats)
	}
}
