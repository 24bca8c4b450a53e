// Package redisrev is the revocation list in Redis, for any number of processes that share it.
//
// It does not own the connection (the client is the caller's, and stays open), sessions, or answers
// from memory: every Check is one round trip to the Redis that holds the truth. A [revocation.Replica] over it
// answers from memory.
//
// # What it needs
//
// Redis 7.0 or newer, single, behind Sentinel, or Cluster, with a maxmemory-policy of noeviction
// ([List.Ready] looks). Where replicas may be promoted, set [Config].Replicas, and min-replicas-to-write at Redis to the
// same, so that a master that was cut off refuses; without it, what was revoked during a failover is lost until the
// new epoch is seen. The smallest ACL for the default prefix, under nodes with a replica too:
//
//	~{dw}:* -@all +eval +evalsha +info|server +time +get +set +pexpiretime +hget +hmget +hset +hgetall +hscan +hdel +hlen +xadd +xread +xrange +xrevrange
//
// (With Ready +info; with Replicas +wait.) Persistence is not needed: a Redis that has lost its memory has
// another epoch, and every access token of the old one is refreshed.
package redisrev

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/internal/redisguard"
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
	// retries are; three quarters of it are always given. Default 500 ms: hundreds of times what an answer takes, longer than a fork of Redis or a lost
	// packet, and short enough that waiting requests do not pile up. Too short, it makes
	// outages; too long, only slow refusals.
	Timeout time.Duration

	// Replicas is how many replicas of Redis may be promoted, by Sentinel or in a Cluster: all of them. Calls that end
	// something return nil when so many have it. 0, the default, is for a Redis alone.
	Replicas int

	// MaxLag is the min-replicas-max-lag that is set at Redis: for how long a master that was cut off goes on as if it
	// were not. Calls that end something right after a failover wait for that long. Default 10 s, which is Redis's; up to
	// 1 minute. It counts only with Replicas.
	MaxLag time.Duration
}

// List is a [revocation.List] in Redis. Make it with [New]; it starts no goroutine that outlives a call
// by more than the client's own timeouts.
type List struct {
	guard    *redisguard.Guard
	keys     keys
	maxLag   time.Duration
	replicas int
	count    atomic.Int64 // of leases, so that each renewal is seen to be one
	clock    func() time.Time

	mu       sync.Mutex
	epoch    string           // that the last reply came from
	since    time.Time        // when the first did; zero when it has been so for long
	seen     map[string]sight // nodes that were behind
	watch    watch
	attached []*func(string, []revocation.Entry) // never changed, only replaced
}

// New returns the list that c describes. It does no I/O: see [List.Ready].
func New(c Config) (*List, error) {
	guard, err := redisguard.New("redisrev", c.Client, c.Prefix, c.Timeout)
	if err != nil {
		return nil, err
	}
	if c.Replicas < 0 || c.Replicas > 16 {
		return nil, fmt.Errorf("redisrev: Config.Replicas: got %d, expected 0 to 16", c.Replicas)
	}
	if c.MaxLag < 0 || c.MaxLag > time.Minute || c.MaxLag != 0 && c.Replicas == 0 {
		return nil, fmt.Errorf("redisrev: Config.MaxLag: got %v with %d Replicas, expected up to 1m where there are any, or 0 for 10s", c.MaxLag, c.Replicas)
	}
	if c.MaxLag == 0 && c.Replicas > 0 {
		c.MaxLag = 10 * time.Second
	}
	if c.Replicas > 0 {
		c.MaxLag += late
	}
	return &List{guard: guard, clock: time.Now, seen: map[string]sight{}, keys: newKeys(guard.Tag()), maxLag: c.MaxLag, replicas: c.Replicas}, nil
}

// Check implements [revocation.List] in one round trip; none for a principal without an epoch.
func (l *List) Check(ctx context.Context, p *auth.Principal) error {
	if p == nil {
		return errors.New("redisrev: Check was given a nil principal")
	}
	if p.Epoch == "" {
		return fmt.Errorf("%w: it carries no epoch (ep)", auth.TokenExpired)
	}
	asked := append(make([]string, 0, 4), l.keys.epoch, l.OwnerKey("v", p.Owner()))
	if p.Session != "" {
		asked = append(asked, l.SessionKey("s", p.Session))
	}
	if p.TokenID != "" {
		asked = append(asked, l.keys.tag+revocation.Name(auth.Revocation{Owner: auth.Owner{Issuer: p.Issuer}, TokenID: p.TokenID}))
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
		l.met(epoch, 0, nil)
		return fmt.Errorf("%w: its epoch is %q, the list's is %q", auth.TokenExpired, p.Epoch, epoch)
	}
	if len(reply) != len(asked) {
		return unreadable("check returned %d values, expected %d", len(reply), len(asked))
	}
	return verdict(p, reply[1], reply[2:])
}

// verdict reads what the keys hold: the subject's minimum, and a mark for each id that is on the list.
func verdict(p *auth.Principal, minimum any, marks []any) error {
	var stale error
	for i, v := range marks {
		switch {
		case v == nil:
		case v == "1":
			return fmt.Errorf("%w: its session, or the token itself, was ended", auth.TokenRevoked)
		case v == "0" && i == 0 && p.Session != "":
			stale = fmt.Errorf("%w: its session was replaced by another", auth.TokenExpired)
		default:
			return unreadable(`a mark is %.40q, expected "1", or "0" for a session`, v)
		}
	}
	if minimum == nil {
		return stale
	}
	text, _ := minimum.(string)
	least, err := strconv.ParseInt(text, 10, 64)
	if err != nil || least < 1 {
		return unreadable("a minimum is %.40q, expected a positive integer", minimum)
	}
	if p.Version < least {
		return fmt.Errorf("%w: its version %d is below %d", auth.TokenExpired, p.Version, least)
	}
	return stale
}

// batch is how many entries one script writes at most, so that none holds Redis up for long.
const batch = 100

// Revoke implements [revocation.List] in one round trip for each 100 entries, and then waits for the nodes that answer
// from memory: usually for a round trip or two, for 2.1 s when one of them is dead or slow. What is on the list already, with
// [revocation.Keep] or more to live, is not written again, and waited for alike. In the first moments of
// a new epoch (a Redis that was started, flushed or promoted) it waits for that long, with Replicas for MaxLag and 2 s longer,
// as that Redis does not know who answers from memory; one that forgets while the call waits costs that once more.
// [revocation.WithoutWait] does not wait.
//
// An entry is in Redis when it returns nil. How durable that is, is Redis's matter; what Redis forgets ends its epoch.
// When ctx ends first, or the answer does not come, the entries may have been written; with
// [revocation.ErrUnconfirmed] they were.
func (l *List) Revoke(ctx context.Context, rs ...auth.Revocation) error {
	for _, r := range rs {
		if err := r.Validate(); err != nil {
			return err
		}
	}
	if len(rs) == 0 {
		return nil
	}
	all := make([]revocation.Entry, len(rs))
	for i, r := range rs {
		all[i] = revocation.Entry{Name: revocation.Name(r), Value: revocation.Value(r)}
	}
	m, short, err := l.add(ctx, all)
	if err != nil {
		return err
	}
	if err = l.confirm(ctx, m); errors.Is(err, errOtherEpoch) { // the entries are gone, and with them no more than the entries
		if m, short, err = l.add(ctx, all); err != nil {
			return err
		}
		err = l.confirm(ctx, m)
	}
	return errors.Join(short, err)
}

// Epoch implements [revocation.List] in one round trip.
func (l *List) Epoch(ctx context.Context) (string, error) {
	reply, err := l.run(ctx, epochScript, []string{l.keys.epoch}, proposal())
	if err != nil {
		return "", err
	}
	epoch, err := epochOf(reply)
	if err == nil && (epoch == "" || len(reply) != 2) {
		err = unreadable("epoch returned %d values, the first %q", len(reply), epoch)
	}
	if err == nil {
		l.met(epoch, ageOf(reply[1]), nil)
	}
	return epoch, err
}

// Ready returns nil when Redis answers and keeps what it is given. Call it at start and from a readiness
// probe; it uses INFO memory.
//
// An error without a code says what may be lost, and is a warning: Redis may evict keys under its maxmemory (an entry
// that was evicted revokes nothing, and no epoch shows it), or it has replicas that nobody waits for, or a
// master of it that is cut off would go on. What min-replicas-to-write says, beyond whether it is set, is not seen.
func (l *List) Ready(ctx context.Context) error {
	reply, err := l.run(ctx, readyScript, []string{l.keys.epoch})
	if err != nil {
		return err
	}
	if len(reply) != 4 {
		return unreadable("ready returned %d values, expected 4", len(reply))
	}
	var weak []error
	if limit, policy := reply[0], reply[1]; limit != "0" && policy != "noeviction" {
		weak = append(weak, fmt.Errorf("redisrev: Redis may evict entries of the list: got maxmemory %v with maxmemory-policy %v, expected noeviction", limit, policy))
	}
	text, _ := reply[2].(string)
	if n, err := strconv.Atoi(text); err != nil || n > l.replicas {
		weak = append(weak, fmt.Errorf("redisrev: a replica of Redis that is promoted may not know the last entries: got %.20q replicas with Config.Replicas %d, expected it to count them all", text, l.replicas))
	}
	if reply[3] == "" && l.replicas > 0 {
		weak = append(weak, fmt.Errorf("redisrev: a master of Redis that is cut off would go on: got no min-replicas-to-write, expected %d, as Config.Replicas", l.replicas))
	}
	return errors.Join(weak...)
}

func unreadable(format string, args ...any) error {
	return fmt.Errorf("%w: %w: %w", auth.StoreUnavailable, revocation.ErrUnreadable, fmt.Errorf(format, args...))
}

// proposal is the id of the epoch that a script begins when there is none.
func proposal() string { return rand.Text()[:8] }

const base64url = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

// epochOf returns the epoch in a script's reply, "" for none.
func epochOf(reply []any) (string, error) {
	if len(reply) == 0 {
		return "", unreadable("the reply is empty")
	}
	epoch, ok := reply[0].(string)
	if !ok || epoch != "" && (len(epoch) != 8 || strings.Trim(epoch, base64url) != "") {
		return "", unreadable("the epoch is %.40q, expected 8 characters of A-Z a-z 0-9 - _", reply[0])
	}
	return epoch, nil
}
