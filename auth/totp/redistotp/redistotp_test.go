package redistotp_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/auth/storetest"
	"github.com/doorward/doorward/auth/totp"
	"github.com/doorward/doorward/auth/totp/redistotp"
	"github.com/doorward/doorward/internal/redistest"
)

// issuer is whose subjects these are, and ann one of them.
const issuer = "https://app.example.com"

var ann = auth.Owner{Issuer: issuer, Subject: "ann"}

// open returns a store over client. Its deadline is long, so that a slow machine fails no test that is about
// something else.
func open(t testing.TB, client redis.UniversalClient, edit ...func(*redistotp.Config)) *redistotp.Store {
	t.Helper()
	c := redistotp.Config{Client: client, Timeout: 10 * time.Second}
	for _, e := range edit {
		e(&c)
	}
	s, err := redistotp.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// put and get are the plainest changes.
func put(t testing.TB, s totp.Store, record string) {
	t.Helper()
	if err := s.Update(t.Context(), ann, func([]byte) ([]byte, error) { return []byte(record), nil }); err != nil {
		t.Fatal(err)
	}
}

func get(t testing.TB, s totp.Store) (record string) {
	t.Helper()
	err := s.Update(t.Context(), ann, func(old []byte) ([]byte, error) {
		record = string(old)
		return old, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return record
}

// smallestACL is what the package comment says is enough, for prefixes that begin like the default one.
const smallestACL = "~{dw*}:t:* -@all +eval +evalsha +get +set"

func TestTOTP(t *testing.T) {
	t.Parallel()
	suite := func(t *testing.T, client redis.UniversalClient) {
		n := 0
		storetest.TOTP(t, func(t *testing.T) totp.Store {
			n++
			return open(t, client, func(c *redistotp.Config) { c.Prefix = fmt.Sprint("dw", n) })
		})
	}
	t.Run("single", func(t *testing.T) { t.Parallel(); suite(t, redistest.Start(t).Client()) })
	t.Run("cluster", func(t *testing.T) { t.Parallel(); suite(t, redistest.StartCluster(t).Client()) })
	t.Run("smallest ACL, RESP2", func(t *testing.T) {
		t.Parallel()
		s := redistest.Start(t)
		user := []any{"ACL", "SETUSER", "kit", "on", ">secret"}
		for _, word := range strings.Fields(smallestACL) {
			user = append(user, word)
		}
		s.Do(user...)
		suite(t, s.Client(func(o *redis.Options) { o.Username, o.Password, o.Protocol = "kit", "secret", 2 }))
	})
}

// What is in Redis: one key for a user, whose name says nothing, and which stays. A removed record goes within a minute.
func TestKeys(t *testing.T) {
	server := redistest.Start(t)
	s := open(t, server.Client())
	put(t, s, "a record")
	keys := server.Do("KEYS", "*").([]any)
	if len(keys) != 1 || !strings.HasPrefix(keys[0].(string), "{dw}:t:") || len(keys[0].(string)) != len("{dw}:t:")+22 {
		t.Fatalf("got the keys %q", keys)
	}
	if ttl := server.Do("TTL", keys[0]); ttl != int64(-1) {
		t.Errorf("the record lives %v s, expected for ever", ttl)
	}
	if value := server.Do("GET", keys[0]).(string); !strings.HasSuffix(value, ",:a record") {
		t.Errorf("got %q", value)
	}
	put(t, s, "")
	if ttl := server.Do("TTL", keys[0]).(int64); ttl < 1 || ttl > 60 {
		t.Errorf("what is left of a removed record lives %d s, expected 60", ttl)
	}
	put(t, s, "a record again")
	if ttl := server.Do("TTL", keys[0]); ttl != int64(-1) {
		t.Errorf("the record made again lives %v s, expected for ever", ttl)
	}
	if got := get(t, s); got != "a record again" {
		t.Errorf("got %q", got)
	}
}

// Reading costs one round trip, a change two.
func TestRoundTrips(t *testing.T) {
	server := redistest.Start(t)
	s := open(t, server.Client())
	put(t, s, "a")
	put(t, s, "b")
	trips := func(call func()) (n int) {
		server.Do("CONFIG", "RESETSTAT")
		call()
		for _, line := range strings.Split(server.Do("INFO", "commandstats").(string), "\n") {
			calls := 0
			if _, err := fmt.Sscanf(line, "cmdstat_evalsha:calls=%d", &calls); err == nil {
				n += calls
			}
		}
		return n
	}
	if n := trips(func() { get(t, s) }); n != 1 {
		t.Errorf("reading took %d round trips, expected 1", n)
	}
	if n := trips(func() { put(t, s, "c") }); n != 2 {
		t.Errorf("a change took %d round trips, expected 2", n)
	}
}

// Somebody who always comes first: the call gives up, and has changed nothing.
func TestContention(t *testing.T) {
	s := open(t, redistest.Start(t).Client())
	calls := 0
	err := s.Update(t.Context(), ann, func([]byte) ([]byte, error) {
		calls++
		put(t, s, fmt.Sprint("another ", calls))
		return []byte("mine"), nil
	})
	if auth.CodeOf(err) != auth.StoreUnavailable || calls < 50 || calls > 100 {
		t.Errorf("got %v after %d calls of change", err, calls)
	}
	if got := get(t, s); got != fmt.Sprint("another ", calls) {
		t.Errorf("got %q", got)
	}
}

// Removed and made again with the same bytes between reading and writing: another record.
func TestMadeAgain_ATK_O01(t *testing.T) {
	s := open(t, redistest.Start(t).Client())
	put(t, s, "a")
	calls := 0
	err := s.Update(t.Context(), ann, func(old []byte) ([]byte, error) {
		if calls++; calls == 1 {
			put(t, s, "")
			put(t, s, "a")
		}
		return fmt.Append(old, calls), nil
	})
	if err != nil || calls != 2 || get(t, s) != "a2" {
		t.Errorf("got %v and %q after %d calls of change, expected 2", err, get(t, s), calls)
	}
}

func TestNew_Refuses(t *testing.T) {
	client := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1"})
	for name, c := range map[string]redistotp.Config{
		"no client":    {},
		"a nil client": {Client: (*redis.Client)(nil)},
		"a ring":       {Client: redis.NewRing(&redis.RingOptions{})},
		"a prefix":     {Client: client, Prefix: "a b"},
		"a timeout":    {Client: client, Timeout: time.Hour},
	} {
		if s, err := redistotp.New(c); err == nil || s != nil || !strings.HasPrefix(err.Error(), "redistotp: Config.") {
			t.Errorf("%s: got %v", name, err)
		}
	}
}
