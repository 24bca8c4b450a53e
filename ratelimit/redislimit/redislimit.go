// Package redislimit keeps the budgets of rate limits in Redis, for any number of processes that share it.
//
// It does not own the connection (the client is the caller's, and stays open) nor what is counted.
//
// # What it needs
//
// Redis 7.0 or newer, single, behind Sentinel, or Cluster. All keys of a prefix are in one slot, since
// one call decides about several. The smallest ACL for the default prefix:
//
//	~{dw}:r:* -@all +eval +evalsha +time +get +set +del
//
// Only Redis's clock counts. Each key expires at the moment at which its budget is full, and holds that
// moment, nothing else. What Redis forgets is as new: use a maxmemory-policy of noeviction; over maxmemory
// it refuses, and the fallback answers. A failover loses what the replica had not seen, usually
// less than a second of tries.
//
// # When Redis does not answer
//
// Then the limit is kept in the process, stricter, and never given up: see [Config].Fallback. A try whose
// answer was lost counts in both, and one that is given back after the change stays taken where it was.
// A command whose connection breaks is repeated by go-redis's own rules, so that it may take or give back
// twice. No budget gets more than full by any of this.
package redislimit

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/internal/redisguard"
	"github.com/doorward/doorward/ratelimit"
)

// Config is what [New] takes. Only Client is demanded.
type Config struct {
	// Client reaches Redis; it is the caller's to configure and to close. With ContextTimeoutEnabled in its
	// options a call of a *redis.Client costs a quarter less, as it then keeps Timeout itself (not so with socket
	// timeouts of -2, or with callbacks, such as a credentials provider's). A *redis.Ring is
	// refused: its shards would each count for themselves, and from zero after one of them failed.
	Client redis.UniversalClient

	// Prefix separates applications in one Redis: every key begins with {Prefix}, a hash tag. 1 to 64
	// printable ASCII characters, without space and {}*?[]\, which mean something to Redis. Default "dw".
	Prefix string

	// Timeout is how long Redis may take before the fallback answers, 1 ms to 10 s, whatever the
	// client's own timeouts and retries are; three quarters of it are always given. Default 500 ms. After 8 answers missed in a row Redis is
	// asked once per Timeout only.
	Timeout time.Duration

	// Fallback answers when Redis does not. nil is a memory of this process for 100,000 keys in which every
	// budget has half its N, at least 1. Each of n processes has its own, so that an outage lets through
	// at most n halves more. A Fallback of the caller's gets the costs as they are.
	Fallback ratelimit.Limiter

	// Observe is told of outages: an event "outage" with the outcome "fallback" and the cause when the
	// fallback begins to answer, again every 10 s that it still does, and one with the outcome "ok" when
	// Redis is back. It is called within the request and must not block. nil: nobody is told.
	Observe func(context.Context, auth.Event)
}

// Limiter is a [ratelimit.Limiter] in Redis. Make it with [New]; it starts no goroutine that outlives a
// call by more than Timeout and the client's own timeouts.
type Limiter struct {
	guard    *redisguard.Guard
	fallback ratelimit.Limiter
	observe  func(context.Context, auth.Event)

	mu   sync.Mutex
	down bool      // the last that Observe heard is that Redis does not answer
	told time.Time // when it last heard so
}

// New returns the limiter that c describes. It does no I/O.
func New(c Config) (*Limiter, error) {
	guard, err := redisguard.New("redislimit", c.Client, c.Prefix, c.Timeout)
	if err != nil {
		return nil, err
	}
	if c.Fallback == nil {
		c.Fallback = halved{ratelimit.NewMemory(0)}
	}
	return &Limiter{guard: guard, fallback: c.Fallback, observe: c.Observe}, nil
}

// Take implements [ratelimit.Limiter] in one round trip. It returns an error when the costs are not
// valid, when ctx ends first, in which case they may have been taken, and when the fallback does.
func (l *Limiter) Take(ctx context.Context, costs ...ratelimit.Cost) (ratelimit.Decision, error) {
	if err := ratelimit.Validate(costs); err != nil {
		return ratelimit.Decision{}, err
	}
	d, err := l.take(ctx, costs)
	if ctx.Err() != nil { // nobody waits; and a client that hangs up must not be taken for an outage
		return ratelimit.Decision{}, ctx.Err()
	}
	l.tell(ctx, err)
	if err == nil {
		return d, nil
	}
	d, fallbackErr := l.fallback.Take(ctx, costs...)
	if fallbackErr != nil {
		return ratelimit.Decision{}, fmt.Errorf("%w: redislimit: %w, and of the fallback: %w", auth.StoreUnavailable, err, fallbackErr)
	}
	return d, nil
}

// take asks Redis.
func (l *Limiter) take(ctx context.Context, costs []ratelimit.Cost) (ratelimit.Decision, error) {
	keys, args := make([]string, len(costs)), make([]any, 0, 2*len(costs))
	for i, c := range costs {
		full, taken := c.Spans()
		// Hashed, as people type passwords where a name belongs, and SLOWLOG and MONITOR show keys.
		keys[i] = l.guard.Tag() + "r:" + redisguard.Hash(c.Key)
		args = append(args, full.Microseconds(), taken.Microseconds())
	}
	reply, err := l.guard.Run(ctx, takeScript, keys, args...)
	if err != nil {
		return ratelimit.Decision{}, err
	}
	if len(reply) != len(costs) {
		return ratelimit.Decision{}, fmt.Errorf("take returned %d values, expected %d", len(reply), len(costs))
	}
	used := make([]time.Duration, len(costs))
	for i, v := range reply {
		n, ok := v.(int64)
		if most := args[2*i].(int64); !ok || n < 0 || n > most {
			return ratelimit.Decision{}, fmt.Errorf("take returned %.40v, expected 0 to %d", v, most)
		}
		used[i] = time.Duration(n) * time.Microsecond
	}
	return ratelimit.Decide(costs, used), nil
}

const reminder = 10 * time.Second

// tell tells the observer of a change, and from time to time of an outage that lasts. One that comes and
// goes with every call is told of no more often.
func (l *Limiter) tell(ctx context.Context, err error) {
	if l.observe == nil {
		return
	}
	now := time.Now()
	l.mu.Lock()
	begins := err != nil && now.Sub(l.told) >= reminder
	ends := err == nil && l.down
	if begins {
		l.told = now
	}
	if begins || ends {
		l.down = begins
	}
	l.mu.Unlock()
	e := auth.Event{Name: "outage", Outcome: "ok", Time: now}
	switch {
	case begins:
		e.Outcome, e.Err = "fallback", fmt.Errorf("%w: redislimit: limits are kept in the process: %w", auth.StoreUnavailable, err)
	case !ends:
		return
	}
	l.observe(ctx, e)
}

// halved is a stricter limiter: an outage must not be worth causing. What one costs is twice the time then, and -1
// gives as much back; a Cost.Back is a time that this limiter has measured itself, and stays as it is.
type halved struct{ limiter ratelimit.Limiter }

func (h halved) Take(ctx context.Context, costs ...ratelimit.Cost) (ratelimit.Decision, error) {
	half := make([]ratelimit.Cost, len(costs))
	for i, c := range costs {
		c.Rate.N = max(1, c.Rate.N/2)
		c.N = min(c.N, c.Rate.N)
		half[i] = c
	}
	return h.limiter.Take(ctx, half...)
}

// takeScript decides about the budgets and takes. KEYS: one for each budget. ARGV: for each how long it takes to fill,
// and how much of that is taken, in microseconds. It returns how far each was from full.
//
// A key holds when its budget is full, by TIME, in microseconds, and expires then: one that holds a time
// more than a minute ago is not ours. Numbers are below 2^53, exact in Lua, for the next 200 years. No budget is further from full than it can be, so a clock
// that was set back, or another rate, makes nobody wait longer than the budget takes to fill.
//
// The shebang without flags makes Redis refuse where it could not write: on a replica, over maxmemory, and with
// too few replicas for min-replicas-to-write.
var takeScript = redis.NewScript(`#!lua
local call = redis.call
local t = call('TIME')
local now = t[1] * 1000000 + t[2]
local used, after = {}, {}
local fits = true
for i, key in ipairs(KEYS) do
	local full, taken = tonumber(ARGV[2 * i - 1]), tonumber(ARGV[2 * i])
	local at, u = call('GET', key), 0
	if at then
		at = tonumber(at)
		if not at or not (at > now - 60000000 and at < 9007199254740992) then
			return redis.error_reply('DWFORMAT ' .. key .. ' holds something else than a time to come')
		end
		u = at - now
		if u < 0 then u = 0 elseif u > full then u = full end
	end
	local a = u + taken
	if a < 0 then a = 0 elseif a > full then fits = false end
	used[i], after[i] = u, a
end
if fits then
	for i, key in ipairs(KEYS) do
		local a = after[i]
		if a == 0 then
			call('DEL', key)
		elseif a ~= used[i] then
			local at = now + a
			call('SET', key, string.format('%.0f', at), 'PXAT', string.format('%.0f', math.ceil(at / 1000)))
		end
	end
end
return used
`)
