// Package redisrev is the revocation list in Redis, for any number of processes that share it.
//
// It does not own the connection (the client is the caller's, and stays open), sessions, or answers
// from memory: every Check is one round trip to the Redis that holds the truth.
//
// # What it needs
//
// Redis 7.0 or newer, single, behind Sentinel, or Cluster, with a maxmemory-policy of noeviction
// ([List.Ready] looks). Where replicas may be promoted, set min-replicas-to-write, so that a master that
// was cut off refuses; without it, what was revoked during a failover is lost until the new
// epoch is seen. The smallest ACL for the default prefix:
//
//	~{dw}:* -@all +eval +evalsha +info +time +get +set +hmget +hset +hgetall +xadd
//
// (+info|server is enough without Ready.) Persistence is not needed: a Redis that has
// lost its memory has another epoch, and every access token of the old one is refreshed.
package redisrev

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/revocation"
)

// Config is what [New] takes. Only Client is demanded.
type Config struct {
	// Client reaches Redis; it is the caller's to configure and to close. A *redis.Ring is refused: its
	// shards would each hold a part of the truth, and another part after one of them failed. Its timeouts do
	// not delay answers, see Timeout, but leave its ReadTimeout on: a command that the list no longer waits
	// for holds one of 256 places until the client gives up.
	Client redis.UniversalClient

	// Prefix separates lists in one Redis: every key begins with {Prefix}, a hash tag, so that all of
	// them are in one slot of a Cluster. 1 to 64 printable ASCII characters, without space and {}*?[]\,
	// which mean something to Redis. Default "dw".
	Prefix string

	// Timeout is how long one answer may take, 1 ms to 10 s, whatever the client's own timeouts and
	// retries are. Default 500 ms: hundreds of times what an answer takes, longer than a fork of Redis or a lost
	// packet, and short enough that waiting requests do not pile up. Too short, it makes
	// outages; too long, only slow refusals.
	Timeout time.Duration
}

// List is a [revocation.List] in Redis. Make it with [New]; it starts no goroutine that outlives a call
// by more than the client's own timeouts.
type List struct {
	client redis.UniversalClient
	keys   keys
	guard  *guard
}

// New returns the list that c describes. It does no I/O: see [List.Ready].
func New(c Config) (*List, error) {
	switch client := c.Client.(type) {
	case nil:
		return nil, errors.New("redisrev: Config.Client: got nil, expected a *redis.Client or *redis.ClusterClient")
	case *redis.Ring:
		return nil, errors.New("redisrev: Config.Client: got a *redis.Ring, whose shards would be several truths, expected a *redis.Client or *redis.ClusterClient")
	case *redis.Client:
		if client == nil {
			return nil, errors.New("redisrev: Config.Client: got a nil *redis.Client, expected an open one")
		}
	case *redis.ClusterClient:
		if client == nil {
			return nil, errors.New("redisrev: Config.Client: got a nil *redis.ClusterClient, expected an open one")
		}
	}
	if c.Prefix == "" {
		c.Prefix = "dw"
	}
	if len(c.Prefix) > 64 || strings.ContainsFunc(c.Prefix, func(r rune) bool {
		return r <= ' ' || r > '~' || strings.ContainsRune(`{}*?[]\`, r)
	}) {
		return nil, fmt.Errorf(`redisrev: Config.Prefix: got %.80q, expected 1 to 64 printable ASCII characters without space and {}*?[]\`, c.Prefix)
	}
	if c.Timeout == 0 {
		c.Timeout = 500 * time.Millisecond
	}
	if c.Timeout < time.Millisecond || c.Timeout > 10*time.Second {
		return nil, fmt.Errorf("redisrev: Config.Timeout: got %v, expected 1ms to 10s, or 0 for 500ms", c.Timeout)
	}
	return &List{client: c.Client, keys: newKeys(c.Prefix), guard: newGuard(c.Timeout)}, nil
}

// Check implements [revocation.List] in one round trip; none for a principal without an epoch.
func (l *List) Check(ctx context.Context, p *auth.Principal) error {
	if p == nil {
		return errors.New("redisrev: Check was given a nil principal")
	}
	if p.Epoch == "" {
		return fmt.Errorf("%w: it carries no epoch (ep)", auth.TokenExpired)
	}
	asked := append(make([]string, 0, 4), l.keys.epoch, l.OwnerKey("v", p.Issuer, p.Tenant, p.Subject))
	if p.Session != "" {
		asked = append(asked, l.SessionKey("s", p.Session))
	}
	if p.TokenID != "" {
		asked = append(asked, l.keys.token(p.Issuer, p.TokenID))
	}
	reply, err := l.run(ctx, checkScript, asked)
	if err != nil {
		return err
	}
	epoch, err := epochOf(reply)
	if err != nil {
		return err
	}
	if epoch != p.Epoch {
		return fmt.Errorf("%w: its epoch is %q, the list's is %q", auth.TokenExpired, p.Epoch, epoch)
	}
	return verdict(p.Version, reply[1:], len(asked)-1)
}

// verdict reads what the keys hold: the subject's minimum, and a mark for each id that has ended.
func verdict(version int64, values []any, asked int) error {
	if len(values) != asked {
		return unreadable("check returned %d values, expected %d", len(values), asked)
	}
	for _, v := range values[1:] {
		switch v {
		case nil:
		case "1":
			return fmt.Errorf("%w: its session, or the token itself, was ended", auth.TokenRevoked)
		default:
			return unreadable(`a mark is %.40q, expected "1"`, v)
		}
	}
	if values[0] == nil {
		return nil
	}
	text, _ := values[0].(string)
	least, err := strconv.ParseInt(text, 10, 64)
	if err != nil || least < 1 {
		return unreadable("a minimum is %.40q, expected a positive integer", values[0])
	}
	if version < least {
		return fmt.Errorf("%w: its version %d is below %d", auth.TokenExpired, version, least)
	}
	return nil
}

// batch is how many entries one script writes at most, so that none holds Redis up for long.
const batch = 100

// Revoke implements [revocation.List] in one round trip for each 100 entries. An entry is in Redis when
// it returns nil. How durable that is, is Redis's matter; what Redis forgets ends its epoch.
//
// When ctx ends first, or the answer does not come, the entries may have been written.
func (l *List) Revoke(ctx context.Context, rs ...auth.Revocation) error {
	for _, r := range rs {
		if err := r.Validate(); err != nil {
			return err
		}
	}
	for len(rs) > 0 {
		n := min(len(rs), batch)
		if err := l.add(ctx, rs[:n]); err != nil {
			return err
		}
		rs = rs[n:]
	}
	return nil
}

func (l *List) add(ctx context.Context, rs []auth.Revocation) error {
	written, least := make([]string, 0, len(rs)), make([]any, 0, len(rs))
	for _, r := range rs {
		key, m := l.OwnerKey("v", r.Issuer, r.Tenant, r.Subject), ""
		switch {
		case r.Session != "":
			key = l.SessionKey("s", r.Session)
		case r.TokenID != "":
			key = l.keys.token(r.Issuer, r.TokenID)
		default:
			m = strconv.FormatInt(r.Below, 10)
		}
		written, least = append(written, key), append(least, m)
	}
	epoch, _, err := l.Step(ctx, addScript, written, least...)
	if err == nil && epoch == "" {
		err = unreadable("add returned no epoch")
	}
	return err
}

// Epoch implements [revocation.List] in one round trip.
func (l *List) Epoch(ctx context.Context) (string, error) {
	reply, err := l.run(ctx, epochScript, []string{l.keys.epoch}, proposal())
	if err != nil {
		return "", err
	}
	epoch, err := epochOf(reply)
	if err == nil && epoch == "" {
		err = unreadable("epoch returned none")
	}
	return epoch, err
}

// Ready returns nil when Redis answers and keeps what it is given. Call it at start and from a readiness
// probe; it uses INFO memory.
//
// An error without a code says that Redis may evict keys under its maxmemory: an entry that was evicted
// revokes nothing, and no epoch shows it. Set maxmemory-policy to noeviction.
func (l *List) Ready(ctx context.Context) error {
	reply, err := l.run(ctx, readyScript, []string{l.keys.epoch})
	if err != nil {
		return err
	}
	if len(reply) != 2 {
		return unreadable("ready returned %d values, expected 2", len(reply))
	}
	if limit, policy := reply[0], reply[1]; limit != "0" && policy != "noeviction" {
		return fmt.Errorf("redisrev: Redis may evict entries of the list: got maxmemory %v with maxmemory-policy %v, expected noeviction", limit, policy)
	}
	return nil
}

// run runs a script within the list's own time, and gives each error its code.
func (l *List) run(ctx context.Context, s *redis.Script, keys []string, args ...any) ([]any, error) {
	return l.Do(ctx, func(ctx context.Context, client redis.UniversalClient) ([]any, error) {
		return s.Run(ctx, client, keys, args...).Slice()
	})
}

func unreadable(format string, args ...any) error {
	return fmt.Errorf("%w: %w: %w", auth.StoreUnavailable, revocation.ErrUnreadable, fmt.Errorf(format, args...))
}

// proposal is the id of the epoch that a script begins when there is none.
func proposal() string { return rand.Text()[:8] }

// epochOf returns the epoch in a script's reply, "" for none.
func epochOf(reply []any) (string, error) {
	if len(reply) == 0 {
		return "", unreadable("the reply is empty")
	}
	epoch, ok := reply[0].(string)
	if !ok || epoch != "" && (len(epoch) != 8 || !plain(epoch)) {
		return "", unreadable("the epoch is %.40q, expected 8 characters of A-Z a-z 0-9 - _", reply[0])
	}
	return epoch, nil
}
