package redissession

import (
	"context"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"

	"github.com/doorward/doorward/revocation/redisrev"
)

// KEYS: index, for its slot alone.
var durableScript = redisrev.NewScript(`
local text = redis.call('INFO', 'persistence')
return reply(string.match(text, '\naof_enabled:(%d)') or '', string.match(info, '\nconnected_slaves:(%d+)') or '')
`)

// Durable returns nil when Redis says that it keeps what was ended through a crash: one master without replicas,
// appendonly yes, appendfsync always, no-appendfsync-on-rewrite no. Call it at start and tell somebody what it
// returns; it is a warning and no reason to stop, unless it has a code: then Redis could not be asked. It uses INFO
// and CONFIG GET.
//
// An error without a code says what may be lost. Then a session that was logged out, or a refresh token that was
// exchanged, may be good once more after a crash or a failover; access tokens are not. The numbers of
// [session.KeepVersions] fall back alike. [redisrev.List.Ready] says whether Redis may evict rows.
func (s *Store) Durable(ctx context.Context) error {
	key := s.list.SessionKey("S", "durable")
	a, err := s.step(ctx, durableScript, []string{key})
	if err != nil {
		return err
	}
	if len(a.found) != 1 {
		return a.odd()
	}
	aof, replicas := a.outcome, a.found[0]
	var weak []error
	if aof != "1" {
		weak = append(weak, errors.New("redissession: Redis may forget endings when it restarts: got appendonly no, expected yes with appendfsync always"))
	} else {
		sync, lax := s.fsync(ctx, key)
		if sync != "always" {
			weak = append(weak, fmt.Errorf("redissession: Redis may forget the last endings when it crashes: got appendfsync %s, expected always", sync))
		}
		if lax != "no" {
			weak = append(weak, fmt.Errorf("redissession: Redis may forget the endings of a whole rewrite when it crashes during one: got no-appendfsync-on-rewrite %s, expected no", lax))
		}
	}
	if replicas != "0" {
		weak = append(weak, fmt.Errorf("redissession: a replica that is promoted may not know the last endings: got %v replicas, whom nobody waits for", replicas))
	}
	return errors.Join(weak...)
}

// fsync returns two settings of the master that has the key, appendfsync and no-appendfsync-on-rewrite, which takes
// the first back while a log is rewritten; or why they cannot be known: many services refuse CONFIG.
func (s *Store) fsync(ctx context.Context, key string) (sync, lax string) {
	reply, err := s.list.Do(ctx, func(ctx context.Context, client redis.UniversalClient) ([]any, error) {
		node := redis.Cmdable(client)
		if cluster, ok := client.(*redis.ClusterClient); ok {
			master, err := cluster.MasterForKey(ctx, key)
			if err != nil {
				return nil, err
			}
			node = master
		}
		values, err := node.ConfigGet(ctx, "*appendfsync*").Result() // one question for both
		return []any{values["appendfsync"], values["no-appendfsync-on-rewrite"]}, err
	})
	if err != nil {
		why := fmt.Sprintf("unknown (%v)", err)
		return why, why
	}
	return fmt.Sprint(reply[0]), fmt.Sprint(reply[1])
}
