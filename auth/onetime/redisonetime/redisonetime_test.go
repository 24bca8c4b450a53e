package redisonetime_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/auth/onetime"
	"github.com/doorward/doorward/auth/onetime/redisonetime"
	"github.com/doorward/doorward/auth/storetest"
	"github.com/doorward/doorward/internal/redisguard"
	"github.com/doorward/doorward/internal/redistest"
	"github.com/doorward/doorward/tokens"
)

// open returns a store over client. Its deadline is long, so that a slow machine fails no test that is about
// something else.
func open(t testing.TB, client redis.UniversalClient, edit ...func(*redisonetime.Config)) *redisonetime.Store {
	t.Helper()
	c := redisonetime.Config{Client: client, Timeout: 10 * time.Second}
	for _, e := range edit {
		e(&c)
	}
	s, err := redisonetime.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// anns is the slot of the tests that ask the store itself.
var anns = onetime.Slot{Owner: auth.Owner{Issuer: "https://api.example.com", Subject: "ann"}, Type: tokens.ResetPassword}

// smallestACL is what the package comment says is enough.
const smallestACL = "~{dw}:o:* -@all +eval +evalsha +get +set +del"

func TestOneTime(t *testing.T) {
	suite := func(t *testing.T, client redis.UniversalClient, server *redistest.Server) {
		storetest.OneTime(t, func(t *testing.T) onetime.Store {
			server.Do("FLUSHALL")
			return open(t, client)
		})
	}
	t.Run("single", func(t *testing.T) {
		s := redistest.Start(t)
		suite(t, s.Client(), s)
	})
	t.Run("cluster", func(t *testing.T) {
		c := redistest.StartCluster(t)
		suite(t, c.Client(), c.Owner("{dw}"))
	})
	t.Run("smallest ACL, RESP2, a client that keeps deadlines", func(t *testing.T) {
		s := redistest.Start(t)
		rule := []any{"ACL", "SETUSER", "kit", "on", ">secret"}
		for _, w := range strings.Fields(smallestACL) {
			rule = append(rule, w)
		}
		s.Do(rule...)
		suite(t, s.Client(func(o *redis.Options) {
			o.Username, o.Password, o.Protocol, o.ContextTimeoutEnabled = "kit", "secret", 2, true
		}), s)
	})
}

func TestNew_Refuses(t *testing.T) {
	client := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1"})
	defer func() { _ = client.Close() }()
	for says, c := range map[string]redisonetime.Config{
		"redisonetime: Config.Client: got nil": {},
		"redisonetime: Config.Prefix":          {Client: client, Prefix: "a}b"},
		"redisonetime: Config.Timeout":         {Client: client, Timeout: time.Minute},
	} {
		if s, err := redisonetime.New(c); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("got %v, %v, expected %q", s, err, says)
		}
	}
}

// Counted on the wire: one round trip each.
func TestRoundTrips(t *testing.T) {
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server.Addr())
	client := redis.NewClient(&redis.Options{Addr: proxy.Addr()})
	t.Cleanup(func() { _ = client.Close() })
	s := open(t, client)
	steps := []struct {
		name string
		do   func() error
	}{
		{"put", func() error { return s.Put(t.Context(), anns, "id", time.Now().Add(time.Hour)) }},
		{"live", func() error { _, err := s.Live(t.Context(), anns, "id"); return err }},
		{"take", func() error { _, err := s.Take(t.Context(), anns, "id"); return err }},
		{"drop", func() error { return s.Drop(t.Context(), anns) }},
	}
	for round := range 2 {
		for _, step := range steps {
			proxy.Requests()
			if err := step.do(); err != nil {
				t.Fatalf("%s: %v", step.name, err)
			}
			if got := proxy.Requests(); round > 0 && !slices.Equal(got, []string{"EVALSHA"}) {
				t.Errorf("%s: got %v on the wire", step.name, got)
			}
		}
	}
}

// STD-V04: what is in Redis is the name of a token, and a hash of whose it is; it goes when the token does.
func TestDump_STD_V04(t *testing.T) {
	server := redistest.Start(t)
	k := reset(t, server.Client(), "hash-1")
	link, err := k.Issue(t.Context(), "ann@example.com", struct{}{}, 0)
	if err != nil {
		t.Fatal(err)
	}
	key := fmt.Sprint(server.Do("KEYS", "*").([]any)...)
	dump := key + " " + fmt.Sprint(server.Do("GET", key))
	raw := link.Token.Reveal()
	u, err := tokens.DecodeUnverified(raw)
	if err != nil || !strings.Contains(dump, u.TokenID) {
		t.Fatalf("the dump does not show the token: %s, %v", dump, err)
	}
	for _, part := range append(strings.Split(raw, "."), "ann@example.com", "api.example.com", "hash-1") {
		if strings.Contains(dump, part) {
			t.Errorf("Redis holds %.20q: %s", part, dump)
		}
	}
	if at := server.Do("PEXPIRETIME", key); at != u.Expires.UnixMilli() {
		t.Errorf("it expires at %v, the token at %d", at, u.Expires.UnixMilli())
	}
	if _, err := k.Redeem(t.Context(), raw); err != nil {
		t.Fatal(err)
	}
	if ms := server.Do("PTTL", key).(int64); ms < 1 || ms > 60_000 {
		t.Errorf("what is left of a used token lives %d ms, expected up to a minute", ms)
	}
}

// go-redis sends a command again when its answer was lost: the second sending hears what the first would have.
func TestLostAnswers_ATK_D04(t *testing.T) {
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server.Addr())
	client := redis.NewClient(&redis.Options{Addr: proxy.Addr(), ReadTimeout: 200 * time.Millisecond, MaxRetries: 8})
	t.Cleanup(func() { _ = client.Close() })
	s := open(t, client)
	if err := s.Put(t.Context(), anns, "id", time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the scripts are loaded, so that the take below is one command
		if ok, err := s.Take(t.Context(), anns, "another"); ok || err != nil {
			t.Fatalf("got %t, %v", ok, err)
		}
	}
	proxy.Delay(time.Second) // each answer comes later than the client waits
	done := make(chan error, 1)
	go func() {
		ok, err := s.Take(t.Context(), anns, "id")
		if err == nil && !ok {
			err = errors.New("the one who has used the token up is told that it was used")
		}
		done <- err
	}()
	redistest.Eventually(t, func() error {
		if v := fmt.Sprint(server.Do("GET", "{dw}:o:"+redisguard.Hash(anns.Owner.Issuer, anns.Owner.Subject, anns.Type))); !strings.HasPrefix(v, "!") {
			return fmt.Errorf("not taken yet: %s", v)
		}
		return nil
	})
	proxy.Heal()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if ok, err := s.Take(t.Context(), anns, "id"); ok || err != nil {
		t.Errorf("another call: got %t, %v", ok, err)
	}
}

// Whatever is wrong with Redis, no token is redeemed, within the deadline.
func TestOutage(t *testing.T) {
	const timeout, slack = 250 * time.Millisecond, 2 * time.Second
	for _, test := range []struct {
		name        string
		spoil, mend func(*redistest.Server, *redistest.Proxy)
	}{
		{"ATK-D01 refused", func(_ *redistest.Server, p *redistest.Proxy) { p.Cut() }, heal},
		{"ATK-D02 black hole", func(_ *redistest.Server, p *redistest.Proxy) { p.BlackHole() }, heal},
		{"ATK-D05 READONLY", func(s *redistest.Server, _ *redistest.Proxy) { s.Do("REPLICAOF", "127.0.0.1", "1") },
			func(s *redistest.Server, _ *redistest.Proxy) { s.Do("REPLICAOF", "NO", "ONE") }},
		{"ATK-D05 NOREPLICAS", func(s *redistest.Server, _ *redistest.Proxy) { s.Do("CONFIG", "SET", "min-replicas-to-write", "1") },
			func(s *redistest.Server, _ *redistest.Proxy) { s.Do("CONFIG", "SET", "min-replicas-to-write", "0") }},
		{"ATK-D05 WRONGTYPE, ATK-D07", func(s *redistest.Server, _ *redistest.Proxy) {
			key := s.Do("KEYS", "*").([]any)[0]
			s.Do("RENAME", key, "kept")
			s.Do("HSET", key, "a", "b")
			s.Do("SET", "name", key)
		}, func(s *redistest.Server, _ *redistest.Proxy) { s.Do("RENAME", "kept", s.Do("GET", "name")) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			server := redistest.Start(t)
			proxy := redistest.NewProxy(t, server.Addr())
			client := redis.NewClient(&redis.Options{Addr: proxy.Addr()})
			t.Cleanup(func() { _ = client.Close() })
			k := reset(t, client, "hash-1", func(c *redisonetime.Config) { c.Timeout = timeout })
			link, err := reset(t, server.Client(), "hash-1").Issue(t.Context(), "ann", struct{}{}, 0)
			if err != nil {
				t.Fatal(err)
			}
			test.spoil(server, proxy)
			for name, do := range map[string]func() error{
				"Check":  func() error { _, err := k.Check(t.Context(), link.Token.Reveal()); return err },
				"Redeem": func() error { _, err := k.Redeem(t.Context(), link.Token.Reveal()); return err },
			} {
				before := time.Now()
				if err := do(); auth.CodeOf(err) != auth.StoreUnavailable {
					t.Errorf("%s: got %v, expected store_unavailable", name, err)
				}
				if took := time.Since(before); took > timeout+slack {
					t.Errorf("%s took %v, expected the deadline of %v", name, took, timeout)
				}
			}
			test.mend(server, proxy)
			redistest.Eventually(t, func() error { _, err := k.Check(t.Context(), link.Token.Reveal()); return err })
		})
	}
}

func heal(_ *redistest.Server, p *redistest.Proxy) { p.Heal() }

// ATK-D03: a Redis that forgot makes links dead. One that comes back from an older copy brings a used token back, and
// the subject's state refuses it.
func TestForgets_ATK_D03(t *testing.T) {
	server := redistest.Start(t)
	k := reset(t, server.Client(), "hash-1")
	link, err := k.Issue(t.Context(), "ann", struct{}{}, 0)
	if err != nil {
		t.Fatal(err)
	}
	server.Save()
	if _, err := k.Redeem(t.Context(), link.Token.Reveal()); err != nil {
		t.Fatal(err)
	}
	server.Restart()
	if _, err := reset(t, server.Client(), "hash-1").Check(t.Context(), link.Token.Reveal()); err != nil {
		t.Fatalf("the older copy does not hold the token: %v", err)
	}
	if _, err := reset(t, server.Client(), "hash-2").Redeem(t.Context(), link.Token.Reveal()); auth.CodeOf(err) != auth.TokenInvalid {
		t.Errorf("after the restart: got %v, expected token_invalid", err)
	}
	server.Do("FLUSHALL")
	if _, err := reset(t, server.Client(), "hash-1").Redeem(t.Context(), link.Token.Reveal()); auth.CodeOf(err) != auth.TokenInvalid {
		t.Errorf("after a flush: got %v, expected token_invalid", err)
	}
}

// reset is a kind for a user with this hash.
func reset(t testing.TB, client redis.UniversalClient, hash string, edit ...func(*redisonetime.Config)) *onetime.Kind[struct{}] {
	t.Helper()
	k, err := newReset(open(t, client, edit...), hash)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func newReset(store onetime.Store, hash string) (*onetime.Kind[struct{}], error) {
	tok, err := tokens.New(tokens.Config{
		Keys:   tokens.NewKeyring(tokens.FromSecret([]byte("0123456789abcdefghijklmnopqrstuv"))),
		Issuer: "https://api.example.com", Audience: "app",
	})
	if err != nil {
		return nil, err
	}
	return onetime.New(onetime.Config[struct{}]{
		Tokens: tok, Store: store, Type: tokens.ResetPassword, URL: "https://app.example.com/reset",
		State: func(context.Context, string, struct{}) ([]string, error) { return []string{hash}, nil },
	})
}
