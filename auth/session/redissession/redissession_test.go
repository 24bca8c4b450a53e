package redissession_test

import (
	"cmp"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doorward/doorward/auth/session"
	"github.com/doorward/doorward/auth/session/redissession"
	"github.com/doorward/doorward/auth/storetest"
	"github.com/doorward/doorward/internal/redistest"
	"github.com/doorward/doorward/revocation/redisrev"
)

// open returns a store over client. Its deadline is long, so that a slow machine fails no test that is
// about something else.
func open(t testing.TB, client redis.UniversalClient, edit ...func(*redisrev.Config)) *redissession.Store {
	t.Helper()
	c := redisrev.Config{Client: client, Timeout: 10 * time.Second}
	for _, e := range edit {
		e(&c)
	}
	list, err := redisrev.New(c)
	if err != nil {
		t.Fatal(err)
	}
	s, err := redissession.New(list)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := list.Epoch(t.Context()); err == nil { // an outage is some test's own
		_ = redistest.Settle(t.Context(), client, cmp.Or(c.Prefix, "dw"))
	}
	return s
}

// smallestACL is what the package comment says is enough, for prefixes that begin like the default one.
const smallestACL = "~{dw* -@all +eval +evalsha +info +time +get +set +pexpiretime +del +hmget +hset +hget +hgetall +hdel +hlen +hincrby +zadd +zrem +zrange +pexpireat +xadd +xread +xrange +xrevrange"

func TestSessions(t *testing.T) {
	t.Parallel()
	suite := func(t *testing.T, client, admin redis.UniversalClient) {
		n := 0
		storetest.Sessions(t, func(t *testing.T) (session.Store, func()) {
			n++
			prefix := fmt.Sprint("dw", n)
			return open(t, client, func(c *redisrev.Config) { c.Prefix = prefix }), func() {
				if err := admin.Del(t.Context(), "{"+prefix+"}:epoch").Err(); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
	t.Run("single", func(t *testing.T) {
		t.Parallel()
		client := redistest.Start(t).Client()
		suite(t, client, client)
	})
	t.Run("cluster", func(t *testing.T) {
		t.Parallel()
		client := redistest.StartCluster(t).Client()
		suite(t, client, client)
	})
	t.Run("smallest ACL, RESP2, ATK-D05 over maxmemory", func(t *testing.T) {
		t.Parallel()
		s := redistest.Start(t, "--maxmemory", "1kb", "--maxmemory-policy", "noeviction")
		user := []any{"ACL", "SETUSER", "kit", "on", ">secret"}
		for _, word := range strings.Fields(smallestACL) {
			user = append(user, word)
		}
		s.Do(user...)
		suite(t, s.Client(func(o *redis.Options) { o.Username, o.Password, o.Protocol = "kit", "secret", 2 }), s.Client())
	})
}
