// Package redisapikey keeps API keys in Redis, for any number of processes that share it.
//
// It does not own the connection (the client is the caller's, and stays open) nor the rules of a key (package
// apikey).
//
// # What it needs
//
// Redis 7.0 or newer, single, behind Sentinel, or Cluster. All keys of a prefix are in one slot. The smallest
// ACL for the default prefix:
//
//	~{dw}:k:* ~{dw}:K:* -@all +eval +evalsha +exists +hget +hmget +hset +del +zadd +zrem +zcount +zrange +zremrangebyscore +pexpire +pexpireat +time
//
// A key is looked for where it was written, never on a replica, and each is one round trip; List takes two. Revoking
// and rotating work over maxmemory, making a key does not.
//
// Keys live as durably as Redis stores. A Redis that is flushed refuses every key; one that comes back from an older
// snapshot accepts a key that was revoked since. Use a maxmemory-policy of noeviction, appendonly with appendfsync
// always, and min-replicas-to-write where a replica may be promoted. redissession.Store.Durable tells what a
// Redis may lose.
package redisapikey

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/auth/apikey"
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

// Store is an [apikey.Store] in Redis. Make it with [New]; it starts no goroutine that outlives a call by more
// than the client's own timeouts.
type Store struct{ guard *redisguard.Guard }

var _ apikey.Store = (*Store)(nil)

// New returns the store that c describes. It does no I/O.
func New(c Config) (*Store, error) {
	guard, err := redisguard.New("redisapikey", c.Client, c.Prefix, c.Timeout)
	if err != nil {
		return nil, err
	}
	return &Store{guard}, nil
}

func (s *Store) key(id string) string { return s.guard.Tag() + "k:" + id }

func (s *Store) index(o auth.Owner) string {
	return s.guard.Tag() + "K:" + redisguard.Hash(o.Issuer, o.Subject)
}

// Create implements [apikey.Store].
func (s *Store) Create(ctx context.Context, r apikey.Record, most int) (bool, error) {
	row := encode(r)
	reply, err := s.run(ctx, createScript, []string{s.key(r.ID), s.index(r.Owner)},
		append([]any{r.ID, most, r.Created.UnixMilli(), r.Expires.UnixMilli(), row[fProofs]}, pairs(row)...)...)
	if err != nil {
		return false, err
	}
	if len(reply) == 1 && reply[0] == "taken" {
		return false, fmt.Errorf("redisapikey: the id %.40q is there already", r.ID)
	}
	return yes(reply)
}

// Get implements [apikey.Store].
func (s *Store) Get(ctx context.Context, id string) (apikey.Record, error) {
	reply, err := s.run(ctx, getScript, []string{s.key(id)}, names()...)
	if err != nil {
		return apikey.Record{}, err
	}
	r, found, err := decode(id, reply)
	if err == nil && !found {
		err = errNone
	}
	return r, err
}

// Swap implements [apikey.Store].
func (s *Store) Swap(ctx context.Context, r apikey.Record, present [sha256.Size]byte) (bool, error) {
	row := encode(r)
	return s.decide(ctx, swapScript, []string{s.key(r.ID), s.index(r.Owner)},
		r.ID, fmt.Sprintf("%x", present), r.Owner.Issuer, r.Owner.Subject, row[fMade], row[fExpires], row[fProofs])
}

// Touch implements [apikey.Store].
func (s *Store) Touch(ctx context.Context, id string, at time.Time) error {
	_, err := s.decide(ctx, touchScript, []string{s.key(id)}, at.UnixMilli())
	return err
}

// Delete implements [apikey.Store].
func (s *Store) Delete(ctx context.Context, owner auth.Owner, id string) (bool, error) {
	return s.decide(ctx, deleteScript, []string{s.key(id), s.index(owner)}, id, owner.Issuer, owner.Subject, rand.Text())
}

// List implements [apikey.Store]. A row that cannot be read is an error beside the others.
func (s *Store) List(ctx context.Context, owner auth.Owner) ([]apikey.Key, error) {
	ids, err := s.run(ctx, idsScript, []string{s.index(owner)})
	if err != nil || len(ids) == 0 {
		return nil, err
	}
	keys := make([]string, len(ids))
	for i := range ids {
		id, ok := ids[i].(string)
		if !ok {
			return nil, unreadable("an index has a %T", ids[i])
		}
		keys[i] = s.key(id)
	}
	rows, err := s.run(ctx, getScript, keys, names()...)
	if err != nil {
		return nil, err
	}
	if len(rows) != len(ids)*fields {
		return nil, unreadable("a script replied %d values for %d keys", len(rows), len(ids))
	}
	var (
		list []apikey.Key
		bad  error
	)
	for i := range ids {
		r, found, err := decode(ids[i].(string), rows[i*fields:(i+1)*fields])
		switch {
		case err != nil:
			bad = err
		case !found: // expired or deleted since
		case r.Owner != owner:
			bad = unreadable("the index of an owner names another's key")
		default:
			list = append(list, r.Key)
		}
	}
	return list, bad
}

var errNone = fmt.Errorf("%w: redisapikey: no such key", auth.NotFound)

func (s *Store) run(ctx context.Context, script *redis.Script, keys []string, args ...any) ([]any, error) {
	reply, err := s.guard.Run(ctx, script, keys, args...)
	if err != nil {
		return nil, fmt.Errorf("%w: redisapikey: %w", auth.StoreUnavailable, err)
	}
	return reply, nil
}

func (s *Store) decide(ctx context.Context, script *redis.Script, keys []string, args ...any) (bool, error) {
	reply, err := s.run(ctx, script, keys, args...)
	if err != nil {
		return false, err
	}
	return yes(reply)
}

func yes(reply []any) (bool, error) {
	if len(reply) == 1 && (reply[0] == int64(0) || reply[0] == int64(1)) {
		return reply[0] == int64(1), nil
	}
	return false, unreadable("a script replied %.80v, expected a yes or no", reply)
}

// unreadable is an answer that cannot be believed: 503, as when there is none.
func unreadable(format string, args ...any) error {
	return fmt.Errorf("%w: redisapikey: %w", auth.StoreUnavailable, fmt.Errorf(format, args...))
}
