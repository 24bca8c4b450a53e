package redisapikey_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/auth/apikey"
	"github.com/doorward/doorward/auth/apikey/redisapikey"
	"github.com/doorward/doorward/auth/storetest"
	"github.com/doorward/doorward/internal/redistest"
)

// open returns a store over client. Its deadline is long, so that a slow machine fails no test that is about
// something else.
func open(t testing.TB, client redis.UniversalClient, edit ...func(*redisapikey.Config)) *redisapikey.Store {
	t.Helper()
	c := redisapikey.Config{Client: client, Timeout: 10 * time.Second}
	for _, e := range edit {
		e(&c)
	}
	s, err := redisapikey.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// smallestACL is what the package comment says is enough.
const smallestACL = "~{dw}:k:* ~{dw}:K:* -@all +eval +evalsha +exists +hget +hmget +hset +del +zadd +zrem +zcount +zrange +zremrangebyscore +pexpire +pexpireat +time"

func TestAPIKeys(t *testing.T) {
	suite := func(t *testing.T, client redis.UniversalClient, server *redistest.Server) {
		storetest.APIKeys(t, func(t *testing.T) apikey.Store {
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
	for says, c := range map[string]redisapikey.Config{
		"redisapikey: Config.Client: got nil": {},
		"redisapikey: Config.Prefix":          {Client: client, Prefix: "a}b"},
		"redisapikey: Config.Timeout":         {Client: client, Timeout: time.Minute},
	} {
		if s, err := redisapikey.New(c); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("got %v, %v, expected %q", s, err, says)
		}
	}
}

const issuer = "https://api.example.com"

func keys(t testing.TB, store apikey.Store) *apikey.Keys {
	t.Helper()
	k, err := apikey.New(apikey.Config{Store: store, Issuer: issuer})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func create(t testing.TB, k *apikey.Keys) (string, apikey.Key) {
	t.Helper()
	secret, key, err := k.Create(t.Context(), apikey.Spec{Subject: "ann", Tenant: "acme", Name: "build", Scopes: []string{"read"}})
	if err != nil {
		t.Fatal(err)
	}
	return secret.Reveal(), key
}

// compose makes the text of a key, written down a second time: the checksum is GitHub's, over what stands before.
func compose(prefix, id, secret string) string {
	const digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	text := prefix + "_" + id + "_" + secret
	sum, tail := crc32.ChecksumIEEE([]byte(text)), ""
	for range 6 {
		tail, sum = string(digits[sum%62])+tail, sum/62
	}
	return text + "_" + tail
}

// ATK-S11, U-24: two issuers under one prefix, a subject "ann" each. The key of the one is no key at the other, and two
// organisations of one ann are one list.
func TestTwoIssuersUnderOnePrefix_ATK_S11_U_24(t *testing.T) {
	server := redistest.Start(t)
	store := open(t, server.Client())
	k := keys(t, store)
	other, err := apikey.New(apikey.Config{Store: store, Issuer: "https://other.example.com"})
	if err != nil {
		t.Fatal(err)
	}
	text, key := create(t, k)
	if _, _, err := k.Create(t.Context(), apikey.Spec{Subject: "ann", Tenant: "club", Name: "x"}); err != nil {
		t.Fatal(err)
	}
	if p, err := other.Verify(t.Context(), text); auth.CodeOf(err) != auth.APIKeyInvalid {
		t.Errorf("at the other issuer: got %+v, %v", p, err)
	}
	if err := other.RevokeAll(t.Context(), "ann"); err != nil {
		t.Error(err)
	}
	if err := other.Revoke(t.Context(), "ann", "", key.ID); auth.CodeOf(err) != auth.NotFound {
		t.Errorf("revoked by the other issuer: %v", err)
	}
	if list, err := other.List(t.Context(), "ann", ""); err != nil || len(list) > 0 {
		t.Errorf("listed at the other issuer: %v, %v", list, err)
	}
	if list, err := k.List(t.Context(), "ann", ""); err != nil || len(list) != 2 {
		t.Errorf("got %d keys, %v, expected those of both organisations", len(list), err)
	}
	if p, err := k.Verify(t.Context(), text); err != nil || p.Tenant != "acme" {
		t.Errorf("got %+v, %v", p, err)
	}
	if indexes := server.Do("KEYS", "{dw}:K:*").([]any); len(indexes) != 1 {
		t.Errorf("got the indexes %v, expected one of ann", indexes)
	}
}

// Counted on the wire. ATK-J28: an unknown id and a wrong secret are one round trip each, garbage is none.
func TestRoundTrips_ATK_J28(t *testing.T) {
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server.Addr())
	client := redis.NewClient(&redis.Options{Addr: proxy.Addr()})
	t.Cleanup(func() { _ = client.Close() })
	k := keys(t, open(t, client))
	text, key := create(t, k)
	other, gone := create(t, k)
	if err := k.Revoke(t.Context(), "ann", "", gone.ID); err != nil {
		t.Fatal(err)
	}
	mixed := compose("dwk", key.ID, strings.Split(other, "_")[2])
	verify := func(text string, code auth.Code) func() {
		return func() {
			if _, err := k.Verify(t.Context(), text); (err == nil) != (code == "") || err != nil && auth.CodeOf(err) != code {
				t.Errorf("got %v, expected %q", err, code)
			}
		}
	}
	verify(text, "")() // loads the scripts
	if _, err := k.List(t.Context(), "ann", ""); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		name string
		do   func()
		want []string
	}{
		{"used again within the minute", verify(text, ""), []string{"EVALSHA"}},
		{"unknown id", verify(other, auth.APIKeyInvalid), []string{"EVALSHA"}},
		{"wrong secret", verify(mixed, auth.APIKeyInvalid), []string{"EVALSHA"}},
		{"wrong checksum", verify(text[:len(text)-1]+"!", auth.APIKeyInvalid), nil},
		{"list", func() { _, _ = k.List(t.Context(), "ann", "") }, []string{"EVALSHA", "EVALSHA"}},
		{"list of none", func() { _, _ = k.List(t.Context(), "bob", "") }, []string{"EVALSHA"}},
		{"ATK-D05 NOSCRIPT", func() { server.Do("SCRIPT", "FLUSH"); verify(text, "")() }, []string{"EVALSHA", "EVAL"}},
	} {
		proxy.Requests()
		step.do()
		if got := proxy.Requests(); !slices.Equal(got, step.want) {
			t.Errorf("%s: got %v on the wire, expected %v", step.name, got, step.want)
		}
	}
}

// STD-V04, STD-V05: what is in Redis is of no use to who reads it, and goes when the key does.
func TestDump_STD_V04_STD_V05(t *testing.T) {
	server := redistest.Start(t)
	k := keys(t, open(t, server.Client()))
	text, key := create(t, k)
	next, _, err := k.Rotate(t.Context(), "ann", "", key.ID, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.Verify(t.Context(), text); err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, name := range server.Do("KEYS", "*").([]any) {
		_, _ = fmt.Fprintln(&all, name)
		if server.Do("TYPE", name) == "hash" {
			_, _ = fmt.Fprintln(&all, server.Do("HGETALL", name))
		} else {
			_, _ = fmt.Fprintln(&all, server.Do("ZRANGE", name, 0, -1, "WITHSCORES"))
		}
		if ms := server.Do("PEXPIRETIME", name).(int64); ms < key.Expires.UnixMilli() || ms > key.Expires.UnixMilli()+60_000 {
			t.Errorf("%s expires at %d, the key at %d", name, ms, key.Expires.UnixMilli())
		}
	}
	dump := all.String()
	for _, there := range []string{key.ID, "build", fmt.Sprintf("%x", sha256.Sum256([]byte(text)))} {
		if !strings.Contains(dump, there) {
			t.Fatalf("the dump does not show %q: %s", there, dump)
		}
	}
	for _, secret := range []string{text, next.Reveal()} {
		for _, part := range append(strings.Split(secret, "_")[2:], secret) {
			if strings.Contains(dump, part) {
				t.Errorf("Redis holds %.12q...:\n%s", part, dump)
			}
		}
	}
	// Whoever has the dump has what is in it to try, and no more.
	for _, word := range strings.FieldsFunc(dump, func(r rune) bool { return strings.ContainsRune("[] \n:", r) }) {
		for _, try := range []string{word, compose("dwk", key.ID, word), compose("dwk", key.ID, (word + strings.Repeat("0", 43))[:43])} {
			if p, err := k.Verify(t.Context(), try); err == nil {
				t.Errorf("%q of the dump lets %s in", try, p.Subject)
			}
		}
	}
	if err := k.Revoke(t.Context(), "ann", "", key.ID); err != nil {
		t.Fatal(err)
	}
	left := server.Dump() // for a minute: see scripts.go
	if !strings.HasPrefix(left, "{dw}:k:"+key.ID+" map[gone:") || strings.Count(left, "\n") != 1 || strings.Contains(left, "ann") {
		t.Errorf("left are %s", left)
	}
}

// Whatever is wrong with Redis, nobody is let in, within the deadline; and when it is back, the key works.
func TestOutage(t *testing.T) {
	const timeout, slack = 250 * time.Millisecond, 2 * time.Second
	for _, test := range []struct {
		name        string
		spoil, mend func(*redistest.Server, *redistest.Proxy)
	}{
		{"ATK-D01 refused", func(_ *redistest.Server, p *redistest.Proxy) { p.Cut() }, heal},
		{"ATK-D02 black hole", func(_ *redistest.Server, p *redistest.Proxy) { p.BlackHole() }, heal},
		{"ATK-D02 slow, 5 s", func(_ *redistest.Server, p *redistest.Proxy) { p.Delay(5 * time.Second) }, heal},
		{"ATK-D05 READONLY", func(s *redistest.Server, _ *redistest.Proxy) { s.Do("REPLICAOF", "127.0.0.1", "1") },
			func(s *redistest.Server, _ *redistest.Proxy) { s.Do("REPLICAOF", "NO", "ONE") }},
		{"ATK-D05 NOREPLICAS", func(s *redistest.Server, _ *redistest.Proxy) { s.Do("CONFIG", "SET", "min-replicas-to-write", "1") },
			func(s *redistest.Server, _ *redistest.Proxy) { s.Do("CONFIG", "SET", "min-replicas-to-write", "0") }},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			server := redistest.Start(t)
			proxy := redistest.NewProxy(t, server.Addr())
			client := redis.NewClient(&redis.Options{Addr: proxy.Addr()})
			t.Cleanup(func() { _ = client.Close() })
			k := keys(t, open(t, client, func(c *redisapikey.Config) { c.Timeout = timeout }))
			text, key := create(t, keys(t, open(t, server.Client())))
			test.spoil(server, proxy)
			for _, call := range []struct {
				name string
				do   func() error
			}{
				{"verify", func() error { _, err := k.Verify(t.Context(), text); return err }},
				{"list", func() error { _, err := k.List(t.Context(), "ann", ""); return err }},
				{"rotate", func() error { _, _, err := k.Rotate(t.Context(), "ann", "", key.ID, time.Hour); return err }},
				{"revoke", func() error { return k.Revoke(t.Context(), "bob", "", key.ID) }},
				{"create", func() error {
					_, _, err := k.Create(t.Context(), apikey.Spec{Subject: "ann", Name: "x"})
					return err
				}},
			} {
				before := time.Now()
				if err := call.do(); auth.CodeOf(err) != auth.StoreUnavailable {
					t.Errorf("%s: got %v, expected store_unavailable", call.name, err)
				}
				if took := time.Since(before); took > timeout+slack {
					t.Errorf("%s took %v, expected the deadline of %v", call.name, took, timeout)
				}
			}
			test.mend(server, proxy)
			redistest.Eventually(t, func() error { _, err := k.Verify(t.Context(), text); return err })
		})
	}
}

func heal(_ *redistest.Server, p *redistest.Proxy) { p.Heal() }

// ATK-D05 OOM: over maxmemory keys are verified, rotated and revoked, but none is made.
func TestOverMaxmemory_ATK_D05(t *testing.T) {
	server := redistest.Start(t)
	k := keys(t, open(t, server.Client()))
	text, key := create(t, k)
	server.Do("CONFIG", "SET", "maxmemory", "1kb")
	if _, err := k.Verify(t.Context(), text); err != nil {
		t.Errorf("verify: %v", err)
	}
	next, _, err := k.Rotate(t.Context(), "ann", "", key.ID, 0)
	if err != nil {
		t.Fatalf("rotate: %v", err)
	}
	if _, _, err := k.Create(t.Context(), apikey.Spec{Subject: "ann", Name: "x"}); auth.CodeOf(err) != auth.StoreUnavailable {
		t.Errorf("create: got %v, expected store_unavailable", err)
	}
	if err := k.Revoke(t.Context(), "ann", "", key.ID); err != nil {
		t.Errorf("revoke: %v", err)
	}
	for _, text := range []string{text, next.Reveal()} {
		if _, err := k.Verify(t.Context(), text); auth.CodeOf(err) != auth.APIKeyInvalid {
			t.Errorf("verify: got %v, expected api_key_invalid", err)
		}
	}
}

// ATK-D07, ATK-D05 WRONGTYPE: what nobody of ours has written is no key.
func TestGarbage_ATK_D07(t *testing.T) {
	server := redistest.Start(t)
	k := keys(t, open(t, server.Client()))
	for _, test := range []struct {
		name  string
		write func(row string)
	}{
		{"WRONGTYPE", func(row string) { server.Do("DEL", row); server.Do("SET", row, "x") }},
		{"no subject", func(row string) { server.Do("HDEL", row, "subject") }},
		{"an empty subject", func(row string) { server.Do("HSET", row, "subject", "") }},
		{"no issuer", func(row string) { server.Do("HDEL", row, "issuer") }},
		{"an empty issuer", func(row string) { server.Do("HSET", row, "issuer", "") }},
		{"no tenant", func(row string) { server.Do("HDEL", row, "tenant") }},
		{"no proofs", func(row string) { server.Do("HDEL", row, "proofs") }},
		{"empty proofs", func(row string) { server.Do("HSET", row, "proofs", "") }},
		{"a short hash", func(row string) { server.Do("HSET", row, "proofs", "00:1") }},
		{"five proofs", func(row string) {
			p := fmt.Sprint(server.Do("HGET", row, "proofs"))
			server.Do("HSET", row, "proofs", strings.Repeat(p+" ", 4)+p)
		}},
		{"a proof without a time", func(row string) {
			p, _, _ := strings.Cut(fmt.Sprint(server.Do("HGET", row, "proofs")), ":")
			server.Do("HSET", row, "proofs", p)
		}},
		{"a time that is none", func(row string) { server.Do("HSET", row, "expires", "never") }},
		{"a negative time", func(row string) { server.Do("HSET", row, "made", "-1") }},
	} {
		server.Do("FLUSHALL")
		text, key := create(t, k)
		test.write("{dw}:k:" + key.ID)
		if p, err := k.Verify(t.Context(), text); auth.CodeOf(err) != auth.StoreUnavailable {
			t.Errorf("%s: got %v, %v, expected store_unavailable", test.name, p, err)
		}
	}
	// An index that names another's key.
	server.Do("FLUSHALL")
	_, key := create(t, k)
	if _, _, err := k.Create(t.Context(), apikey.Spec{Subject: "bob", Name: "x"}); err != nil {
		t.Fatal(err)
	}
	for _, index := range server.Do("KEYS", "{dw}:K:*").([]any) {
		server.Do("ZADD", index, key.Expires.UnixMilli(), key.ID)
	}
	if list, err := k.List(t.Context(), "bob", ""); auth.CodeOf(err) != auth.StoreUnavailable {
		t.Errorf("got %v, %v, expected store_unavailable", list, err)
	}
}

// ATK-D03: a Redis that forgot refuses every key.
func TestForgets_ATK_D03(t *testing.T) {
	server := redistest.Start(t)
	k := keys(t, open(t, server.Client()))
	text, _ := create(t, k)
	server.Do("FLUSHALL")
	if _, err := k.Verify(t.Context(), text); auth.CodeOf(err) != auth.APIKeyInvalid {
		t.Errorf("got %v, expected api_key_invalid", err)
	}
}

// go-redis sends a command again when its answer was lost; the second one meets the work of the first.
func TestLostAnswers(t *testing.T) {
	server := redistest.Start(t)
	store := open(t, server.Client())
	now := time.UnixMilli(time.Now().UnixMilli())
	r := apikey.Record{
		Key:    apikey.Key{ID: strings.Repeat("A", 17), Owner: auth.Owner{Issuer: issuer, Subject: "ann"}, Name: "x", Created: now, Made: now, Expires: now.Add(time.Hour)},
		Proofs: []apikey.Proof{{Hash: sha256.Sum256([]byte("1")), Until: now.Add(time.Hour)}},
	}
	next := r
	next.Proofs = []apikey.Proof{{Hash: sha256.Sum256([]byte("2")), Until: now.Add(time.Hour)}}
	for range 2 {
		if ok, err := store.Create(t.Context(), r, 1); !ok || err != nil {
			t.Errorf("create: got %t, %v", ok, err)
		}
	}
	for range 2 {
		if ok, err := store.Swap(t.Context(), next, r.Proofs[0].Hash); !ok || err != nil {
			t.Errorf("swap: got %t, %v", ok, err)
		}
	}
}

// ATK-D12: a client that hangs up learns nothing.
func TestHangUp_ATK_D12(t *testing.T) {
	server := redistest.Start(t)
	k := keys(t, open(t, server.Client()))
	text, _ := create(t, k)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if p, err := k.Verify(ended, text); p != nil || !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, %v, expected the end of the context", p, err)
	}
}

// An answer is lost after the key was ended, and the client library sends the command again: that is the same call. What made
// the key, sent again after that, does not make it once more.
func TestLostAnswers_STD_V05_Delete(t *testing.T) {
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server.Addr())
	client := redis.NewClient(&redis.Options{Addr: proxy.Addr(), ReadTimeout: 100 * time.Millisecond, MaxRetries: 20})
	t.Cleanup(func() { _ = client.Close() })
	store, beside := open(t, client), keys(t, open(t, server.Client()))
	_, key := create(t, keys(t, store))
	if err := keys(t, store).Revoke(t.Context(), "ann", "", key.ID); err != nil { // the script is known from now on
		t.Fatal(err)
	}
	text, key := create(t, keys(t, store))
	record, err := store.Get(t.Context(), key.ID)
	if err != nil {
		t.Fatal(err)
	}
	proxy.HalfOpen()
	ended := make(chan error)
	go func() { ended <- keys(t, store).Revoke(t.Context(), "ann", "", key.ID) }()
	redistest.Eventually(t, func() error {
		if _, err := beside.Verify(t.Context(), text); auth.CodeOf(err) != auth.APIKeyInvalid {
			return fmt.Errorf("it still works: %v", err)
		}
		return nil
	})
	proxy.Heal()
	if err := <-ended; err != nil {
		t.Errorf("Revoke: %v", err)
	}
	if err := beside.Revoke(t.Context(), "ann", "", key.ID); auth.CodeOf(err) != auth.NotFound {
		t.Errorf("another call: %v", err)
	}
	if ok, err := store.Create(t.Context(), record, 50); ok || err == nil {
		t.Errorf("it was made again: %t, %v", ok, err)
	}
	if err := store.Touch(t.Context(), key.ID, time.Now()); err != nil {
		t.Error(err)
	}
	if ok, err := store.Swap(t.Context(), record, record.Proofs[0].Hash); ok || err != nil {
		t.Errorf("swap: %t, %v", ok, err)
	}
	if _, err := beside.Verify(t.Context(), text); auth.CodeOf(err) != auth.APIKeyInvalid {
		t.Errorf("got %v", err)
	}
	if ms := server.Do("PTTL", "{dw}:k:"+key.ID).(int64); ms < 1 || ms > 60_000 {
		t.Errorf("what is left of it lives %d ms, expected up to a minute", ms)
	}
}

// STD-V05: a node whose clock is ahead hides no key that still works, and a row that nobody can read saves no other.
func TestRevokeAll_STD_V05(t *testing.T) {
	server := redistest.Start(t)
	store := open(t, server.Client())
	k := keys(t, store)
	text, _ := create(t, k)
	ahead, err := apikey.New(apikey.Config{Store: store, Issuer: issuer, Now: func() time.Time { return time.Now().Add(365 * 24 * time.Hour) }})
	if err != nil {
		t.Fatal(err)
	}
	create(t, ahead)
	if list, err := k.List(t.Context(), "ann", ""); err != nil || len(list) != 2 {
		t.Errorf("got %d keys, %v", len(list), err)
	}
	_, broken := create(t, k)
	server.Do("HSET", "{dw}:k:"+broken.ID, "created", "garbage")
	if err := k.RevokeAll(t.Context(), "ann"); auth.CodeOf(err) != auth.StoreUnavailable {
		t.Errorf("got %v, expected to be told of the broken one", err)
	}
	if _, err := k.Verify(t.Context(), text); auth.CodeOf(err) != auth.APIKeyInvalid {
		t.Errorf("a good one still works: %v", err)
	}
}
