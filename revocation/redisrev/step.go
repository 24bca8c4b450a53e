package redisrev

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/revocation"
)

// What is exported here is for package redissession, which ends sessions and puts them on the list in one step.
// Applications have no use for it.

// NewScript returns a script that writes to the list in the same step as to keys of its own. In front of body
// stands what the list's own writing scripts begin with: see step in scripts.go. body ends with return reply(...).
func NewScript(body string) *redis.Script { return redis.NewScript(step + body) }

// Step runs a script of [NewScript] within the list's Timeout, in one round trip, and then waits as
// [List.Revoke] does, if it put anything on the list. If Redis forgets meanwhile, that is [revocation.ErrUnconfirmed]: not only
// the entry may be gone. KEYS from the fourth are keys, all made by SessionKey and
// OwnerKey; ARGV from the third are args. It returns the list's epoch, "" where there is none and the script began
// none, and what body gave to reply. With [revocation.ErrUnconfirmed] both are there too: the script has run. Errors are
// like those of [List.Revoke].
func (l *List) Step(ctx context.Context, s *redis.Script, keys []string, args ...any) (epoch string, found []any, err error) {
	made, found, err := l.step(ctx, s, keys, args...)
	if err == nil || errors.Is(err, revocation.ErrUnconfirmed) {
		err = errors.Join(err, l.confirm(ctx, made))
	}
	return made.epoch, found, err
}

// Look is [List.Step] for a script that nobody relies on having written anything: it waits for nobody.
func (l *List) Look(ctx context.Context, s *redis.Script, keys []string, args ...any) (epoch string, found []any, err error) {
	m, found, err := l.read(ctx, l.run, s, keys, args)
	return m.epoch, found, err
}

// life is for how long an entry is written: an eighth longer than it must live, as step in scripts.go says. One that is
// found on the list may have Keep left.
const life = revocation.Keep + revocation.Keep/8

// A made is what a step left on the list.
type made struct {
	epoch string
	last  string             // id of the last entry to wait for, "" for none
	nodes int                // that answer from memory
	added []revocation.Entry // or found there
}

// step runs the script, and tells this process's replicas what it has added.
func (l *List) step(ctx context.Context, s *redis.Script, keys []string, args ...any) (m made, found []any, err error) {
	return l.read(ctx, l.write, s, keys, args)
}

type runner func(ctx context.Context, s *redis.Script, keys []string, args ...any) ([]any, error)

// read runs the script by run and reads what stands in front of every reply.
func (l *List) read(ctx context.Context, run runner, s *redis.Script, keys []string, args []any) (m made, found []any, err error) {
	reply, err := run(ctx, s, append(l.keys.all(), keys...), append([]any{proposal(), revocation.Keep.Milliseconds()}, args...)...)
	if err != nil && !errors.Is(err, revocation.ErrUnconfirmed) {
		return made{}, nil, err
	}
	short := err
	if m.epoch, err = epochOf(reply); err != nil {
		return made{}, nil, err
	}
	if len(reply) < 5 {
		return made{}, nil, unreadable("a step returned %d values, expected 5 or more", len(reply))
	}
	m.last, _ = reply[1].(string)
	nodes, ok := reply[2].(int64)
	if m.added, err = told(reply[4]); err != nil || !ok || m.last != "" && m.epoch == "" || m.last == "" && len(m.added) > 0 {
		return made{}, nil, unreadable("a step returned %.200v", reply[:5])
	}
	m.nodes = int(nodes)
	l.met(m.epoch, ageOf(reply[3]), m.added)
	return m, reply[5:], short
}

// told reads which entries a script has added, or found on the list.
func told(v any) ([]revocation.Entry, error) {
	flat, ok := v.([]any)
	if !ok || len(flat)%2 != 0 {
		return nil, unreadable("a script told %.40v of what it added", v)
	}
	var added []revocation.Entry
	for i := 0; i < len(flat); i += 2 {
		e, err := entry(flat[i], flat[i+1])
		if err != nil {
			return nil, err
		}
		e.Left = life
		added = append(added, e)
	}
	return added, nil
}

// entry reads a name and its value.
func entry(name, value any) (revocation.Entry, error) {
	k, _ := name.(string)
	m, _ := value.(string)
	v, err := strconv.ParseInt(m, 10, 64)
	var fine bool
	if len(k) > 2 && len(k) <= 67 && k[1] == ':' && err == nil && v >= 0 && strconv.FormatInt(v, 10) == m {
		switch k[0] {
		case 's':
			fine = v <= 1
		case 'j':
			fine = v == 1
		case 'v':
			fine = v >= 1
		}
	}
	if !fine {
		return revocation.Entry{}, unreadable("the log has the entry %.80q with the value %.40q", name, value)
	}
	return revocation.Entry{Name: k, Value: v}, nil
}

// ageOf reads how old an epoch is by Redis's clock. What is no number is 0: as if it had just begun.
func ageOf(v any) time.Duration {
	text, _ := v.(string)
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 || n > 1<<42 {
		return 0
	}
	return time.Duration(n) * time.Millisecond
}

// Do runs f with the list's client, within its Timeout. Errors have a code; the context of f may outlive ctx.
func (l *List) Do(ctx context.Context, f func(context.Context, redis.UniversalClient) ([]any, error)) ([]any, error) {
	reply, err := l.guard.Do(ctx, f)
	if err == nil {
		return reply, nil
	}
	if redis.HasErrorPrefix(err, "WRONGTYPE") || redis.HasErrorPrefix(err, "DWFORMAT") {
		return nil, unreadable("%w", err)
	}
	return nil, fmt.Errorf("%w: redisrev: %w", auth.StoreUnavailable, err)
}

// run runs a script within the list's own time, and gives each error its code.
func (l *List) run(ctx context.Context, s *redis.Script, keys []string, args ...any) ([]any, error) {
	return l.Do(ctx, func(ctx context.Context, client redis.UniversalClient) ([]any, error) {
		return s.Run(ctx, client, keys, args...).Slice()
	})
}

// write is run for a script that writes: where replicas may be promoted, it has them confirm on the same connection.
// Without enough of them the reply is there, and the error is [revocation.ErrUnconfirmed].
func (l *List) write(ctx context.Context, s *redis.Script, keys []string, args ...any) ([]any, error) {
	if l.replicas == 0 {
		return l.run(ctx, s, keys, args...)
	}
	have := 0
	reply, err := l.Do(ctx, func(ctx context.Context, client redis.UniversalClient) ([]any, error) {
		node := redis.Cmdable(client)
		if cluster, ok := client.(*redis.ClusterClient); ok {
			master, err := cluster.MasterForKey(ctx, keys[0])
			if err != nil {
				return nil, err
			}
			node = master
		}
		cmd, n, err := replicated(ctx, node, l.replicas, l.guard.Timeout(), func(p redis.Scripter) *redis.Cmd { return s.EvalSha(ctx, p, keys, args...) })
		if redis.HasErrorPrefix(err, "NOSCRIPT") {
			cmd, n, err = replicated(ctx, node, l.replicas, l.guard.Timeout(), func(p redis.Scripter) *redis.Cmd { return s.Eval(ctx, p, keys, args...) })
		}
		if err != nil {
			return nil, err
		}
		have = n
		return cmd.Slice()
	})
	if err == nil && have < l.replicas {
		err = fmt.Errorf("%w: redisrev: %d replicas have it, expected %d", revocation.ErrUnconfirmed, have, l.replicas)
	}
	return reply, err
}

// replicated sends a script and WAIT in one go: WAIT counts what its own connection wrote.
func replicated(ctx context.Context, node redis.Cmdable, replicas int, timeout time.Duration, eval func(redis.Scripter) *redis.Cmd) (*redis.Cmd, int, error) {
	pipe := node.Pipeline()
	cmd := eval(pipe)
	wait := pipe.Do(ctx, "WAIT", replicas, max(1, (timeout*3/8).Milliseconds())) // there may be two, where the script is new
	_, _ = pipe.Exec(ctx)                                                        // each has its own error
	if err := cmd.Err(); err != nil {
		return nil, 0, err
	}
	n, err := wait.Int()
	if err != nil { // the script has run all the same
		n = 0
	}
	return cmd, n, nil
}

// SessionKey names what is kept by a session's id, kind s on the list.
func (l *List) SessionKey(kind, id string) string {
	return l.keys.tag + kind + revocation.Name(auth.Revocation{Session: id})[1:]
}

// OwnerKey names what is kept for a subject, kind v on the list. Its last 22 characters are the owner's hash.
func (l *List) OwnerKey(kind string, owner auth.Owner) string {
	return l.keys.tag + kind + revocation.Name(auth.Revocation{Owner: owner})[1:]
}
