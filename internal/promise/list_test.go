//go:build linux

package promise_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/internal/history"
	"github.com/doorward/doorward/revocation"
	"github.com/doorward/doorward/revocation/redisrev"
)

// The lists that are tested.
const (
	direct  = "direct"  // every check asks Redis
	replica = "replica" // checks are answered from memory
	cached  = "cached"  // broken: it believes an answer for a second
)

// A list is what a node needs of one.
type list interface {
	revocation.List
	Close() error
	leased() bool
}

func openList(set setup, client redis.UniversalClient) (list, error) {
	c := redisrev.Config{Client: client, Timeout: time.Second, Replicas: set.Replicas}
	if set.Replicas > 0 {
		c.MaxLag = maxLag
	}
	l, err := redisrev.New(c)
	if err != nil {
		return nil, err
	}
	switch set.List {
	case direct:
		return asking{l}, nil
	case replica:
		r, err := revocation.NewReplica(revocation.ReplicaConfig{Feed: l})
		return replicating{r}, err
	case cached:
		return &believing{List: l, until: map[auth.Revocation]time.Time{}}, nil
	}
	return nil, fmt.Errorf("promise: there is no list %q", set.List)
}

// outcomeOf says what a caller of Revoke knows.
func outcomeOf(err error) result {
	switch {
	case err == nil:
		return result{Outcome: history.Confirmed}
	case errors.Is(err, revocation.ErrUnconfirmed):
		return result{history.Unconfirmed, err.Error()}
	}
	return result{history.Failed, err.Error()}
}

// replicating is a list that answers from memory.
type replicating struct{ *revocation.Replica }

func (l replicating) leased() bool { return l.Status().Leased }

// asking is a list that holds nothing.
type asking struct{ revocation.List }

func (asking) Close() error { return nil }
func (asking) leased() bool { return false }

// believing is what people write at first: a list behind a cache.
type believing struct {
	revocation.List
	mu    sync.Mutex
	until map[auth.Revocation]time.Time
}

func (l *believing) Check(ctx context.Context, p *auth.Principal) error {
	key := auth.Revocation{Owner: p.Owner(), Session: p.Session, TokenID: p.TokenID, Below: p.Version}
	l.mu.Lock()
	believed := time.Now().Before(l.until[key])
	l.mu.Unlock()
	if believed {
		return nil
	}
	err := l.List.Check(ctx, p)
	if err == nil {
		l.mu.Lock()
		l.until[key] = time.Now().Add(time.Second)
		l.mu.Unlock()
	}
	return err
}

func (*believing) Close() error { return nil }
func (*believing) leased() bool { return true }
