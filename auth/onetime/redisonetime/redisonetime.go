// Package redisonetime keeps the live one-time tokens in Redis, for any number of processes that share it.
//
// It does not own the connection (the client is the caller's, and stays open) nor the rules of a token (package
// onetime).
//
// # What it needs
//
// Redis 7.0 or newer, single, behind Sentinel, or Cluster. All keys of a prefix are in one slot. The smallest
// ACL for the default prefix:
//
//	~{dw}:o:* -@all +eval +evalsha +get +set +del
//
// Each call is one round trip. A Redis that is flushed makes every link dead. One that comes back from an older
// snapshot, or a replica that is promoted and lags, may bring back a token that was used since, until its time is
// over; then the subject's state in the token decides (onetime.Config.State). Use a maxmemory-policy of noeviction.
package redisonetime

import (
	"context"
	"crypto/rand"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/auth/onetime"
	"github.com/doorward/doorward/internal/redisguard"
)

// Config is what [New] takes. Only Client is demanded.
type Config struct {
	// Client reaches Redis; it is the caller's to configure and to close. A *redis.Ring is refused.
	Client redis.UniversalClient

	// Prefix separates applications in one Redis: every key begins with {Prefix}, a hash tag. 1 to 64 printable
	// ASCII characters, without space and {}*?[]\. Default "dw".
	Prefix string

	// Timeout is how long Redis may take, 1 ms to 10 s, whatever the client's own timeouts and retries are. Default
	// 500 ms. After 8 answers missed in a row Redis is asked once per Timeout only.
	Timeout time.Duration
}

// Store is a [onetime.Store] in Redis. Make it with [New]; it starts no goroutine that outlives a call by more
// than the client's own timeouts.
type Store struct{ guard *redisguard.Guard }

var _ onetime.Store = (*Store)(nil)

// New returns the store that c describes. It does no I/O.
func New(c Config) (*Store, error) {
	guard, err := redisguard.New("redisonetime", c.Client, c.Prefix, c.Timeout)
	if err != nil {
		return nil, err
	}
	return &Store{guard}, nil
}

// Put implements [onetime.Store].
func (s *Store) Put(ctx context.Context, slot onetime.Slot, id string, until time.Time) error {
	_, err := s.run(ctx, putScript, slot, id, until.UnixMilli())
	return err
}

// Live implements [onetime.Store].
func (s *Store) Live(ctx context.Context, slot onetime.Slot, id string) (bool, error) {
	return s.run(ctx, liveScript, slot, id)
}

// Take implements [onetime.Store].
func (s *Store) Take(ctx context.Context, slot onetime.Slot, id string) (bool, error) {
	return s.run(ctx, takeScript, slot, id, rand.Text())
}

// Drop implements [onetime.Store].
func (s *Store) Drop(ctx context.Context, slot onetime.Slot) error {
	_, err := s.run(ctx, dropScript, slot)
	return err
}

func (s *Store) run(ctx context.Context, script *redis.Script, slot onetime.Slot, args ...any) (bool, error) {
	key := s.guard.Tag() + "o:" + redisguard.Hash(slot.Owner.Issuer, slot.Owner.Subject, slot.Type)
	reply, err := s.guard.Run(ctx, script, []string{key}, args...)
	if err != nil {
		return false, fmt.Errorf("%w: redisonetime: %w", auth.StoreUnavailable, err)
	}
	if len(reply) == 1 && (reply[0] == int64(0) || reply[0] == int64(1)) {
		return reply[0] == int64(1), nil
	}
	return false, fmt.Errorf("%w: redisonetime: a script replied %.80v, expected a yes or no", auth.StoreUnavailable, reply)
}

// The format, for every release that shares it: {dw}:o:slot is a string, the id of the live token, and expires with
// it, where slot is a hash of issuer, subject and type; or "!" and the name of the call that took it, for a minute.
//
// None of the scripts has the flag no-writes, so that a replica (READONLY) and a master without enough replicas
// (NOREPLICAS) refuse to be asked too. allow-oom is for those that end something or ask.

// KEYS: slot. ARGV: id, until.
var putScript = redis.NewScript(`#!lua
redis.call('SET', KEYS[1], ARGV[1], 'PXAT', ARGV[2])
return {1}
`)

// KEYS: slot. ARGV: id.
var liveScript = redis.NewScript(`#!lua flags=allow-oom
return {redis.call('GET', KEYS[1]) == ARGV[1] and 1 or 0}
`)

// KEYS: slot. ARGV: id, call. go-redis sends a command again when its answer was lost; the second one meets the
// work of the first and answers as it did, so that the one who has used the token up hears of it.
var takeScript = redis.NewScript(`#!lua flags=allow-oom
local there = redis.call('GET', KEYS[1])
if there == ARGV[1] then
	redis.call('SET', KEYS[1], '!' .. ARGV[2], 'PX', 60000)
	return {1}
end
return {there == '!' .. ARGV[2] and 1 or 0}
`)

// KEYS: slot.
var dropScript = redis.NewScript(`#!lua flags=allow-oom
redis.call('DEL', KEYS[1])
return {1}
`)
