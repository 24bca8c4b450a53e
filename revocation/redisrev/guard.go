package redisrev

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	inFlight  = 256 // commands under way at once: more than a pool's connections, less than a pile
	allowance = 8   // answers missed in a row before the breaker opens
)

var errMissed = errors.New("no answer in time")

// A guard gives a command a deadline that holds. go-redis keeps the socket timeouts of its options
// unless ContextTimeoutEnabled is set there, dials and retries beyond them, and the options are the
// caller's; so each command runs in a goroutine, which is left behind at the deadline and ends by the client's
// timeouts.
//
// A Redis that does not answer would pile them up. Two bounds stand against that: so many commands
// under way at once, and a breaker. After so many missed answers in a row it refuses at
// once for as long as a deadline, then lets one command try; an answer in time closes it.
//
// Only the command tells the breaker, never the caller's patience: clients that hang up can
// neither open it nor keep it open.
type guard struct {
	timeout time.Duration
	slots   chan struct{}

	mu     sync.Mutex
	missed int       // answers missed in a row
	trying bool      // a command is under way that will say whether Redis is back
	rested time.Time // when the next one may try
}

func newGuard(timeout time.Duration) *guard {
	return &guard{timeout: timeout, slots: make(chan struct{}, inFlight)}
}

type answer struct {
	value []any
	err   error
}

// do runs f and returns what it returns, or an error at the guard's deadline or when ctx ends. f's
// context does not end with ctx: go-redis would close the connection of a caller that hangs up.
func (g *guard) do(ctx context.Context, f func(context.Context) ([]any, error)) ([]any, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := g.admit(); err != nil {
		return nil, err
	}
	inner, cancel := context.WithTimeout(context.WithoutCancel(ctx), g.timeout)
	select {
	case g.slots <- struct{}{}:
	case <-inner.Done():
		cancel()
		g.told(false)
		return nil, fmt.Errorf("%w: %d commands are under way for %v", errMissed, inFlight, g.timeout)
	case <-ctx.Done():
		cancel()
		g.withdraw()
		return nil, ctx.Err()
	}
	var first sync.Once // of the answer and the deadline: that one is told
	missed := func() { first.Do(func() { g.told(false) }) }
	done := make(chan answer, 1)
	go func() {
		a := call(inner, f)
		first.Do(func() { g.told(answered(a.err)) })
		done <- a
		cancel()
		<-g.slots
	}()
	select {
	case a := <-done:
		return a.value, a.err
	case <-ctx.Done():
		context.AfterFunc(inner, missed) // nobody waits for the deadline any more
		return nil, ctx.Err()
	case <-inner.Done():
	}
	select {
	case a := <-done: // it ends the inner context itself
		return a.value, a.err
	default:
		missed()
		return nil, fmt.Errorf("%w: waited for %v", errMissed, g.timeout)
	}
}

// call turns a panic, for example in a client's hook, into an error: in a goroutine of its own it would end
// the process, not just the request.
func call(ctx context.Context, f func(context.Context) ([]any, error)) (a answer) {
	defer func() {
		if r := recover(); r != nil {
			a = answer{err: fmt.Errorf("the client panicked: %v", r)}
		}
	}()
	a.value, a.err = f(ctx)
	return a
}

// answered says whether Redis has spoken, be it to refuse.
func answered(err error) bool {
	var refusal redis.Error
	return err == nil || errors.As(err, &refusal)
}

func (g *guard) admit() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.missed < allowance {
		return nil
	}
	if g.trying || time.Now().Before(g.rested) {
		return fmt.Errorf("%w, %d times in a row: not asked", errMissed, g.missed)
	}
	g.trying = true
	return nil
}

// told says how a command ended.
func (g *guard) told(answered bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.trying = false
	if answered {
		g.missed = 0
		return
	}
	g.missed++
	g.rested = time.Now().Add(g.timeout)
}

// withdraw is for a command that never began.
func (g *guard) withdraw() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.trying = false
}
