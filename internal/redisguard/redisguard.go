// Package redisguard is what the kit's stores in Redis share: a caller's go-redis client under deadlines
// that hold, and names of keys.
//
// It does not own scripts, formats, or what a missing answer means.
package redisguard

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doorward/doorward/internal/shorthash"
)

const (
	inFlight  = 256 // commands under way at once: more than a pool's connections, less than a pile
	allowance = 8   // answers missed in a row before the breaker opens
)

// ErrMissed is in the chain of errors that say that Redis did not answer in time, or was not asked since
// it had not answered before.
var ErrMissed = errors.New("no answer in time")

// A Guard gives a command a deadline that holds. go-redis keeps the socket timeouts of its options
// unless ContextTimeoutEnabled is set there, dials and retries beyond them, and the options are the
// caller's; so the command runs in a goroutine of the guard's, which is left behind at the deadline and ends by
// the client's timeouts. A *redis.Client with ContextTimeoutEnabled keeps a deadline itself (see keeps), in the
// caller's goroutine, and is spared the price of waking another: see docs/performance.md.
//
// Another client over the caller's pool, as WithTimeout makes it, could be made to keep deadlines; but it has none of
// the caller's hooks (go-redis 9.23), so that what traces or counts commands would not see ours.
//
// A Redis that does not answer would pile them up. Two bounds stand against that: so many commands
// under way at once, and a breaker. After so many missed answers in a row it refuses at
// once for as long as a deadline, then lets one command try; an answer in time closes it.
//
// Only the command tells the breaker, never the caller's patience: clients that hang up can
// neither open it nor keep it open.
type Guard struct {
	client  redis.UniversalClient
	direct  bool // the client keeps deadlines itself
	peer    *peer
	tag     string
	timeout time.Duration
	slots   chan struct{}

	mu     sync.Mutex
	missed int       // answers missed in a row
	trying bool      // a command is under way that will say whether Redis is back
	rested time.Time // when the next one may try
	window *window   // of the commands that begin now
	renew  time.Time // when it is time for another
	open   int       // windows whose end is to come
	idle   []chan *job
}

// New returns the guard of a client. owner is the package that errors name; prefix "" is "dw", timeout 0
// is 500 ms. A *redis.Ring is refused: its shards would be several truths. The client gets a hook that sees its dials.
func New(owner string, client redis.UniversalClient, prefix string, timeout time.Duration) (*Guard, error) {
	direct := false
	switch c := client.(type) {
	case nil:
		return nil, errors.New(owner + ": Config.Client: got nil, expected a *redis.Client or *redis.ClusterClient")
	case *redis.Ring:
		return nil, errors.New(owner + ": Config.Client: got a *redis.Ring, whose shards would be several truths, expected a *redis.Client or *redis.ClusterClient")
	case *redis.Client:
		if c == nil {
			return nil, errors.New(owner + ": Config.Client: got a nil *redis.Client, expected an open one")
		}
		direct = keeps(c.Options())
	case *redis.ClusterClient:
		if c == nil {
			return nil, errors.New(owner + ": Config.Client: got a nil *redis.ClusterClient, expected an open one")
		}
	}
	if secretAddr(client) {
		return nil, errors.New(owner + ": Config.Client: got an address with a user or password in it, expected host:port: see redis.ParseURL")
	}
	if prefix == "" {
		prefix = "dw"
	}
	if len(prefix) > 64 || strings.ContainsFunc(prefix, func(r rune) bool {
		return r <= ' ' || r > '~' || strings.ContainsRune(`{}*?[]\`, r)
	}) {
		return nil, fmt.Errorf(`%s: Config.Prefix: got %.80q, expected 1 to 64 printable ASCII characters without space and {}*?[]\`, owner, prefix)
	}
	if timeout == 0 {
		timeout = 500 * time.Millisecond
	}
	if timeout < time.Millisecond || timeout > 10*time.Second {
		return nil, fmt.Errorf("%s: Config.Timeout: got %v, expected 1ms to 10s, or 0 for 500ms", owner, timeout)
	}
	return &Guard{client: client, direct: direct, peer: newPeer(client), tag: "{" + prefix + "}:", timeout: timeout, slots: make(chan struct{}, inFlight)}, nil
}

// keeps says whether a client of these options is done with a command when its context is. It waits for a connection,
// dials and retries no longer; sockets have the context's deadline, unless a timeout of -2 (-1 here) leaves them without any;
// and no code of the caller's runs within a command that need not know of deadlines: to get a password, say. Hooks
// cannot be seen: one that waits whatever its context says delays a direct command by as much.
func keeps(o *redis.Options) bool {
	return o.ContextTimeoutEnabled && o.ReadTimeout >= 0 && o.WriteTimeout >= 0 && o.OnConnect == nil && o.Limiter == nil &&
		o.CredentialsProvider == nil && o.CredentialsProviderContext == nil && o.StreamingCredentialsProvider == nil
}

// Client is the caller's, and Timeout what one answer may take, for what goes past the guard.
func (g *Guard) Client() redis.UniversalClient { return g.client }
func (g *Guard) Timeout() time.Duration        { return g.timeout }

// Tag is what every key begins with: the prefix as a hash tag, so that all of them are in one slot of a
// Cluster, and a colon.
func (g *Guard) Tag() string { return g.tag }

// Hash names what a client may have chosen: see [shorthash.Of].
func Hash(parts ...string) string {
	h := shorthash.Of(parts...)
	return string(h[:])
}

// Run runs a script and returns its reply. For the rest see Do.
func (g *Guard) Run(ctx context.Context, s *redis.Script, keys []string, args ...any) ([]any, error) {
	return g.Do(ctx, func(ctx context.Context, client redis.UniversalClient) ([]any, error) {
		return s.Run(ctx, client, keys, args...).Slice()
	})
}

// A Command asks a client something. It uses the context that it is given.
type Command func(context.Context, redis.UniversalClient) ([]any, error)

// Do runs a command with the guard's client and returns its reply, or an error at the guard's deadline, which is three
// quarters of its timeout away or more, or, if that comes first, at ctx's. The command does not end with ctx, as go-redis
// would close the connection of a caller that hangs up: after an error it may have run, be running or run later.
//
// An error names the Redis and, unless it has spoken, why the last dials failed. Where ctx was cancelled it is ctx's alone.
func (g *Guard) Do(ctx context.Context, f Command) ([]any, error) {
	reply, err := g.do(ctx, f)
	if err == nil || ctx.Err() == context.Canceled && errors.Is(err, context.Canceled) {
		return reply, err
	}
	return nil, g.peer.explain(err)
}

func (g *Guard) do(ctx context.Context, f Command) ([]any, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	w, err := g.begin()
	if err != nil {
		return nil, err
	}
	select {
	case g.slots <- struct{}{}:
	case <-w.over:
		return nil, fmt.Errorf("%w: %d commands are under way for %v", ErrMissed, inFlight, g.timeout)
	case <-ctx.Done():
		g.withdraw(w)
		return nil, ctx.Err()
	}
	if end, ok := ctx.Deadline(); g.direct && !(ok && end.Before(w.end)) {
		a := g.call(patience{ctx, w}, f)
		return a.value, a.err
	}
	j := &job{patience{ctx, w}, f, make(chan answer, 1)}
	g.hand(j)
	select {
	case a := <-j.done:
		return a.value, a.err
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-w.over:
		return nil, fmt.Errorf("%w: waited for %v", ErrMissed, g.timeout)
	}
}

type answer struct {
	value []any
	err   error
}

// A job is a command for another goroutine.
type job struct {
	ctx  patience
	f    Command
	done chan answer
}

// hand gives j to a worker that waits for one, or to a new one. A new goroutine's stack has to grow to the depth of
// go-redis first, which is half of the price of a goroutine for each command.
func (g *Guard) hand(j *job) {
	g.mu.Lock()
	defer g.mu.Unlock()
	last := len(g.idle) - 1
	if last < 0 {
		go g.work(j)
		return
	}
	g.idle[last] <- j // the one that worked last
	g.idle = g.idle[:last]
}

// work does j, and others as long as they come: see close.
func (g *Guard) work(j *job) {
	next := make(chan *job, 1)
	for ok := true; ok; j, ok = <-next {
		a := g.call(j.ctx, j.f)
		g.mu.Lock()
		if g.open > 0 {
			g.idle = append(g.idle, next) // before the answer, so that the caller's next command finds it
		} else {
			close(next)
		}
		g.mu.Unlock()
		j.done <- a
	}
}

// call runs the command and tells how it ended. It turns a panic, for example in a client's hook, into an
// error: in a goroutine of its own it would end the process, not just the request.
func (g *Guard) call(ctx patience, f Command) (a answer) {
	defer func() {
		if r := recover(); r != nil {
			a = answer{err: fmt.Errorf("%w: the client panicked: %v", ErrMissed, r)}
		}
		<-g.slots
		g.end(ctx.window, answered(a.err))
	}()
	a.value, a.err = f(ctx, g.client)
	if !answered(a.err) {
		a.err = fmt.Errorf("%w: %w", ErrMissed, a.err)
	}
	return a
}

// answered says whether Redis has spoken, be it to refuse.
func answered(err error) bool {
	var refusal redis.Error
	return err == nil || errors.As(err, &refusal)
}

// A window is a deadline of commands that begin within a quarter of it, so that not each sets a timer.
type window struct {
	end   time.Time
	over  chan struct{}
	under int // commands under way
}

// patience is a context with the values of a caller's, for tracing, and the deadline of a window.
type patience struct {
	context.Context
	window *window
}

func (p patience) Deadline() (time.Time, bool) { return p.window.end, true }
func (p patience) Done() <-chan struct{}       { return p.window.over }
func (p patience) Err() error {
	select {
	case <-p.window.over:
		return context.DeadlineExceeded
	default:
		return nil
	}
}

// begin returns the window of a command that begins now, or why Redis is not to be asked.
func (g *Guard) begin() (*window, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	if g.missed >= allowance {
		if g.trying || now.Before(g.rested) {
			return nil, fmt.Errorf("%w, %d times in a row: not asked", ErrMissed, g.missed)
		}
		g.trying = true
	}
	if !now.Before(g.renew) {
		w := &window{end: now.Add(g.timeout), over: make(chan struct{})}
		time.AfterFunc(g.timeout, func() { g.close(w) })
		g.window, g.renew = w, now.Add(g.timeout/4)
		g.open++
	}
	g.window.under++
	return g.window, nil
}

// end is for a command that has ended. One that is late has been counted.
func (g *Guard) end(w *window, answered bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if w.under > 0 {
		w.under--
		g.told(answered)
	}
}

// withdraw is for a command that never began.
func (g *Guard) withdraw(w *window) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if w.under > 0 {
		w.under--
		g.trying = false
	}
}

// close ends a window: what is still under way has missed it. Of the workers with nothing to do it sends half
// home, and all when no command has begun since.
func (g *Guard) close(w *window) {
	g.mu.Lock()
	defer g.mu.Unlock()
	home := len(g.idle) / 2
	if g.open--; g.open == 0 {
		home = len(g.idle)
	}
	for _, next := range g.idle[:home] {
		close(next)
	}
	g.idle = slices.Delete(g.idle, 0, home)
	for ; w.under > 0; w.under-- {
		g.told(false)
	}
	close(w.over)
}

// told tells the breaker how a command ended.
func (g *Guard) told(answered bool) {
	g.trying = false
	if answered {
		g.missed = 0
		return
	}
	g.missed++
	g.rested = time.Now().Add(g.timeout)
}
