// Package redistotp keeps the records of second factors in Redis, for any number of processes that share it.
//
// It does not own the connection (the client is the caller's, and stays open), what a record means, or its
// encryption: both are package totp's.
//
// # What it needs
//
// Redis 7.0 or newer, single, behind Sentinel, or Cluster. The smallest ACL for the default prefix:
//
//	~{dw}:t:* -@all +eval +evalsha +get +set
//
// Records never expire: use a maxmemory-policy of noeviction. They are as durable as this Redis stores. One that comes back
// from an older copy has forgotten codes that were used since, which are good again until their time is over, wrong
// codes, and factors that were made or removed since. appendonly yes with appendfsync always is the answer, and
// min-replicas-to-write where replicas may be promoted; anything less is for applications that can enrol everybody again.
package redistotp

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/internal/redisguard"
)

// Config is what [New] takes. Only Client is demanded.
type Config struct {
	// Client reaches Redis; it is the caller's to configure and to close. A *redis.Ring is refused: its shards would be
	// several truths.
	Client redis.UniversalClient

	// Prefix separates applications in one Redis: every key begins with {Prefix}, a hash tag. 1 to 64 printable ASCII
	// characters, without space and {}*?[]\, which mean something to Redis. Default "dw".
	Prefix string

	// Timeout is how long Redis may take for one of the two questions that an Update asks, 1 ms to 10 s, whatever
	// the client's own timeouts and retries are. Default 500 ms.
	Timeout time.Duration
}

// Store is a totp.Store in Redis. Make it with [New]; it starts no goroutine that outlives a call by more than the
// client's own timeouts.
type Store struct{ guard *redisguard.Guard }

// New returns the store that c describes. It does no I/O.
func New(c Config) (*Store, error) {
	guard, err := redisguard.New("redistotp", c.Client, c.Prefix, c.Timeout)
	if err != nil {
		return nil, err
	}
	return &Store{guard}, nil
}

// versionChars is how long a version is: a rand.Text, new with each write, in front of the record. The version is what is
// compared, never the record, because two calls may want to write the same one and only one of them may succeed.
const versionChars = 26

// tries bounds how often an Update begins again. Each time takes another write to the same record meanwhile.
const tries = 64

// Update implements totp.Store, in two round trips when nobody else changes the record, in one when change does
// not either. When an answer is lost and the client asks again, what it has written already counts as done.
func (s *Store) Update(ctx context.Context, owner auth.Owner, change func(record []byte) ([]byte, error)) error {
	if owner.Issuer == "" || owner.Subject == "" {
		return errors.New("redistotp: got an owner without issuer or subject, expected both")
	}
	// Hashed, each part behind its length: names may hold anything, and SLOWLOG and MONITOR show keys.
	key := s.guard.Tag() + "t:" + redisguard.Hash(owner.Issuer, owner.Subject)
	_, value, err := s.run(ctx, loadScript, key)
	if err != nil {
		return err
	}
	for range tries {
		head, record, _ := strings.Cut(value, ":")
		version := head[:min(len(head), versionChars)]
		var old []byte
		if record != "" {
			old = []byte(record)
		}
		next, err := change(old)
		if err != nil {
			return err
		}
		if string(next) == record {
			return nil
		}
		var done bool
		if done, value, err = s.run(ctx, swapScript, key, version, rand.Text(), next); done || err != nil {
			return err
		}
	}
	return fmt.Errorf("%w: redistotp: the record changed %d times within one call", auth.StoreUnavailable, tries)
}

// run returns whether the script has written, and what is there if it has not.
func (s *Store) run(ctx context.Context, script *redis.Script, key string, args ...any) (done bool, value string, err error) {
	reply, err := s.guard.Run(ctx, script, []string{key}, args...)
	if err != nil {
		return false, "", fmt.Errorf("%w: redistotp: %w", auth.StoreUnavailable, err)
	}
	if len(reply) == 0 {
		return true, "", nil
	}
	value, ok := reply[0].(string)
	if !ok || len(reply) != 1 || value != "" && strings.IndexByte(value, ':') < versionChars {
		return false, "", fmt.Errorf("%w: redistotp: what is under a record's key is no record", auth.StoreUnavailable)
	}
	return false, value, nil
}

// A key holds the last four versions, the present one first, as v,v,v,v, then a colon and the record. The versions alone stand for a
// minute where a record was removed. So a client that sends its change again finds its own, also where others have written since.
//
// The shebang without flags makes Redis refuse where it could not write: on a replica, over maxmemory, and with
// too few replicas for min-replicas-to-write. A reader must not judge by a copy that is behind either.
var loadScript = redis.NewScript(`#!lua
return {redis.call('GET', KEYS[1]) or ''}
`)

// swapScript writes if the version is still the one known. ARGV: that one, the new one, the record or nothing.
var swapScript = redis.NewScript(`#!lua
local value = redis.call('GET', KEYS[1]) or ''
local versions = string.match(value, '^[^:]*')
if string.find(versions, ARGV[2], 1, true) then
	return {}
elseif string.sub(versions, 1, 26) ~= ARGV[1] then
	return {value}
end
local head = ARGV[2] .. ',' .. string.sub(versions, 1, 80) .. ':'
if ARGV[3] == '' then
	redis.call('SET', KEYS[1], head, 'EX', '60')
else
	redis.call('SET', KEYS[1], head .. ARGV[3])
end
return {}
`)
