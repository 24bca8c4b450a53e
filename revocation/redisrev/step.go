package redisrev

import (
	"context"
	"fmt"

	"github.com/redis/go-redis/v9"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/revocation"
)

// What is exported here is for package redissession, which ends sessions and puts them on the list in one step.
// Applications have no use for it.

// NewScript returns a script that writes to the list in the same step as to keys of its own. In front of body
// stands what the list's own writing scripts begin with: see step in scripts.go. body ends with return reply(...).
func NewScript(body string) *redis.Script { return redis.NewScript(step + body) }

// Step runs a script of [NewScript] within the list's Timeout, in one round trip. KEYS from the fourth are
// keys, all made by SessionKey and OwnerKey; ARGV from the third are args. It returns the list's epoch, "" where there
// is none and the script began none, and what body gave to reply. Errors are like those of [List.Revoke].
func (l *List) Step(ctx context.Context, s *redis.Script, keys []string, args ...any) (epoch string, found []any, err error) {
	reply, err := l.run(ctx, s, append([]string{l.keys.epoch, l.keys.log, l.keys.nodes}, keys...),
		append([]any{proposal(), revocation.Keep.Milliseconds()}, args...)...)
	if err != nil {
		return "", nil, err
	}
	if epoch, err = epochOf(reply); err != nil {
		return "", nil, err
	}
	if len(reply) < 3 {
		return "", nil, unreadable("a step returned %d values, expected 3 or more", len(reply))
	}
	if nodes, ok := reply[2].([]any); !ok || len(nodes) > 0 && reply[1] != nil {
		// Nodes that answer from memory belong to a newer release. The entry stands, but only that release
		// knows how to wait until they have seen it, so nil would be a promise that nobody keeps.
		return "", nil, fmt.Errorf("%w: redisrev: %d nodes answer from memory, and this release cannot wait for them", auth.StoreUnavailable, len(nodes)/2)
	}
	return epoch, reply[3:], nil
}

// Do runs f with the list's client, within its Timeout. Errors have a code; the context of f may outlive ctx.
func (l *List) Do(ctx context.Context, f func(context.Context, redis.UniversalClient) ([]any, error)) ([]any, error) {
	reply, err := l.guard.do(ctx, func(ctx context.Context) ([]any, error) { return f(ctx, l.client) })
	if err == nil {
		return reply, nil
	}
	if redis.HasErrorPrefix(err, "WRONGTYPE") || redis.HasErrorPrefix(err, "DWFORMAT") {
		return nil, unreadable("%w", err)
	}
	return nil, fmt.Errorf("%w: redisrev: %w", auth.StoreUnavailable, err)
}

// SessionKey names what is kept by a session's id, kind s on the list: by the id as it is; by "~" and a hash
// for one that the kit would not make.
func (l *List) SessionKey(kind, id string) string {
	if len(id) <= 64 && plain(id) {
		return l.keys.tag + kind + ":" + id
	}
	return l.keys.tag + kind + ":~" + hash(id)
}

// OwnerKey names what is kept for a subject, kind v on the list. Its last 22 characters are the owner's hash.
func (l *List) OwnerKey(kind, issuer, tenant, subject string) string {
	return l.keys.tag + kind + ":" + hash(issuer, tenant, subject)
}
