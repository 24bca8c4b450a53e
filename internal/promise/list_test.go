//go:build linux

package promise_test

import (
	"context"
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
	direct = "direct" // every check asks Redis
	cached = "cached" // broken: it believes an answer for a second
)

// A list is what a node needs of one.
type list interface {
	revocation.List
	Close() error
	leased() bool
}

func openList(set setup, client redis.UniversalClient) (list, error) {
	l, err := redisrev.New(redisrev.Config{Client: client, Timeout: time.Second})
	if err != nil {
		return nil, err
	}
	switch set.List {
	case direct:
		return asking{l}, nil
	case cached:
		return &believing{List: l, until: map[auth.Revocation]time.Time{}}, nil
	}
	return nil, fmt.Errorf("promise: there is no list %q", set.List)
}

// outcomeOf says what a caller of Revoke knows.
func outcomeOf(err error) result {
	if err == nil {
		return result{Outcome: history.Confirmed}
	}
	return result{history.Failed, err.Error()}
}

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
	key := auth.Revocation{Subject: p.Subject, Session: p.Session, TokenID: p.TokenID, Below: p.Version}
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
