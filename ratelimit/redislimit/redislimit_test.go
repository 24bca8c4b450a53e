package redislimit_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/internal/limittest"
	"github.com/doorward/doorward/internal/redistest"
	"github.com/doorward/doorward/ratelimit"
	"github.com/doorward/doorward/ratelimit/redislimit"
)

var login = ratelimit.Rate{N: 5, Per: 15 * time.Minute}

func TestMain(m *testing.M) {
	redistest.Parallel(4)
	m.Run()
}

// open returns a limiter over client; edit may change its configuration. Its deadline is long, so that
// a slow machine fails no test that is about something else, and its fallback fails every test.
func open(t testing.TB, client redis.UniversalClient, edit ...func(*redislimit.Config)) *redislimit.Limiter {
	t.Helper()
	c := redislimit.Config{Client: client, Timeout: 10 * time.Second, Fallback: unwanted{t}}
	for _, e := range edit {
		e(&c)
	}
	l, err := redislimit.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

type unwanted struct{ t testing.TB }

func (u unwanted) Take(context.Context, ...ratelimit.Cost) (ratelimit.Decision, error) {
	u.t.Error("the fallback is asked")
	return ratelimit.Decision{}, errors.New("unwanted")
}

// smallestACL is what the package comment says is enough.
const smallestACL = "~{dw}:r:* -@all +eval +evalsha +time +get +set +del"

func TestLimiter(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		client func(t *testing.T) (redis.UniversalClient, *redistest.Server)
	}{
		{"single", func(t *testing.T) (redis.UniversalClient, *redistest.Server) {
			s := redistest.Start(t)
			return s.Client(), s
		}},
		{"RESP2", func(t *testing.T) (redis.UniversalClient, *redistest.Server) {
			s := redistest.Start(t)
			return s.Client(func(o *redis.Options) { o.Protocol = 2 }), s
		}},
		{"a client that keeps deadlines", func(t *testing.T) (redis.UniversalClient, *redistest.Server) {
			s := redistest.Start(t)
			return s.Client(func(o *redis.Options) { o.ContextTimeoutEnabled = true }), s
		}},
		{"smallest ACL", func(t *testing.T) (redis.UniversalClient, *redistest.Server) {
			s := redistest.Start(t)
			rule := []any{"ACL", "SETUSER", "kit", "on", ">secret"}
			for _, w := range strings.Fields(smallestACL) {
				rule = append(rule, w)
			}
			s.Do(rule...)
			return s.Client(func(o *redis.Options) { o.Username, o.Password = "kit", "secret" }), s
		}},
		{"cluster", func(t *testing.T) (redis.UniversalClient, *redistest.Server) {
			c := redistest.StartCluster(t)
			return c.Client(), c.Owner("{dw}")
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			client, server := test.client(t)
			limittest.Run(t, func(t *testing.T, f func(*testing.T, ratelimit.Limiter, limittest.Pass)) {
				server.Do("FLUSHALL")
				f(t, open(t, client), func(d time.Duration) { age(server, d) })
			})
		})
	}
}

// age lets time pass for the budgets: to them it is the same whether the clock goes on or they come nearer.
func age(s *redistest.Server, d time.Duration) {
	for _, k := range s.Do("KEYS", "{dw}:r:*").([]any) {
		text, _ := s.Do("GET", k).(string)
		if text == "" {
			continue // expired meanwhile
		}
		at, _ := strconv.ParseInt(text, 10, 64)
		if at -= d.Microseconds(); at/1000 <= time.Now().UnixMilli() {
			s.Do("DEL", k)
			continue
		}
		s.Do("SET", k, at, "PXAT", (at+999)/1000)
	}
}

// STD-R10, ATK-L08: nodes with clients of their own, against one Redis.
func TestLimiter_STD_R10_ThreeNodes(t *testing.T) {
	s := redistest.Start(t)
	nodes := []ratelimit.Limiter{open(t, s.Client()), open(t, s.Client()), open(t, s.Client())}
	costs := []ratelimit.Cost{{Key: "account:ada", Rate: login}, {Key: "network:192.0.2.1", Rate: ratelimit.Rate{N: 20, Per: 15 * time.Minute}}}
	if n := limittest.Parallel(t, 1000, costs, nodes...); n != 5 {
		t.Errorf("got %d, want exactly 5", n)
	}
	// What one gives back, another has.
	limittest.Want(t, nodes[0], true, 5, ratelimit.Cost{Key: "account:ada", Rate: login, N: -5})
	limittest.Want(t, nodes[1], true, 4, costs[0])
}

func TestNew_Refuses(t *testing.T) {
	ring := redis.NewRing(&redis.RingOptions{})
	defer func() { _ = ring.Close() }()
	client := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1"})
	defer func() { _ = client.Close() }()
	for _, test := range []struct {
		name   string
		config redislimit.Config
		says   string
	}{
		{"no client", redislimit.Config{}, "redislimit: Config.Client: got nil"},
		{"ring", redislimit.Config{Client: ring}, "redislimit: Config.Client: got a *redis.Ring"},
		{"prefix", redislimit.Config{Client: client, Prefix: "a}b"}, "redislimit: Config.Prefix"},
		{"timeout", redislimit.Config{Client: client, Timeout: time.Minute}, "redislimit: Config.Timeout"},
	} {
		if l, err := redislimit.New(test.config); err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: got %v, %v, want an error with %q", test.name, l, err, test.says)
		}
	}
	// Nothing listens at the client's address: New does no I/O.
	if _, err := redislimit.New(redislimit.Config{Client: client, Prefix: "app"}); err != nil {
		t.Error(err)
	}
}

// Counted on the wire: one round trip, whatever the call does and however many budgets there are.
func TestRoundTrips(t *testing.T) {
	s := redistest.Start(t)
	proxy := redistest.NewProxy(t, s.Addr())
	client := redis.NewClient(&redis.Options{Addr: proxy.Addr()})
	t.Cleanup(func() { _ = client.Close() })
	l := open(t, client)
	eight := make([]ratelimit.Cost, 8)
	for i := range eight {
		eight[i] = ratelimit.Cost{Key: fmt.Sprint(i), Rate: login}
	}
	a := ratelimit.Cost{Key: "a", Rate: login}
	limittest.Take(t, l, a)
	for _, step := range []struct {
		name string
		do   func()
		want []string
	}{
		{"one budget", func() { limittest.Count(t, l, 1, a) }, []string{"EVALSHA"}},
		{"eight", func() { limittest.Count(t, l, 1, eight...) }, []string{"EVALSHA"}},
		{"refused", func() { limittest.Count(t, l, 5, a) }, slices.Repeat([]string{"EVALSHA"}, 5)},
		{"given back", func() { limittest.Count(t, l, 1, ratelimit.Cost{Key: "a", Rate: login, N: -5}) }, []string{"EVALSHA"}},
		{"ATK-D05 NOSCRIPT", func() { s.Do("SCRIPT", "FLUSH"); limittest.Want(t, l, true, 4, a) }, []string{"EVALSHA", "EVAL"}},
		{"invalid", func() { _, _ = l.Take(t.Context(), ratelimit.Cost{Key: "a"}) }, nil},
	} {
		proxy.Requests()
		step.do()
		if got := proxy.Requests(); !slices.Equal(got, step.want) {
			t.Errorf("%s: got %v on the wire, want %v", step.name, got, step.want)
		}
	}
}

// The format that other releases read, and nothing beside it: no names, and no key for longer than its
// budget needs to fill.
func TestFormat(t *testing.T) {
	s := redistest.Start(t)
	l := open(t, s.Client())
	limittest.Count(t, l, 2, ratelimit.Cost{Key: "account:ada@example.com", Rate: login})
	// Computed with another program: the length in 8 bytes and the text.
	const key = "{dw}:r:20WuKyjdSo-XsO4UQPiAhp"
	if got := fmt.Sprint(s.Do("KEYS", "*")); got != "["+key+"]" {
		t.Fatalf("keys: got %v, want %s alone", got, key)
	}
	at, err := strconv.ParseInt(s.Do("GET", key).(string), 10, 64)
	if left := time.Until(time.UnixMicro(at)); err != nil || left > 6*time.Minute || left < 5*time.Minute {
		t.Errorf("got %d, %v: full in %v, want 6 minutes", at, err, left)
	}
	if expires := s.Do("PEXPIRETIME", key); expires != (at+999)/1000 {
		t.Errorf("it expires at %v, want %d, when it is full", expires, at)
	}
	for _, gone := range []struct {
		name string
		do   func()
	}{
		{"made as new", func() { limittest.Take(t, l, ratelimit.Cost{Key: "account:ada@example.com", Rate: login, N: -5}) }},
		{"nothing to give back", func() { limittest.Take(t, l, ratelimit.Cost{Key: "b", Rate: login, N: -1}) }},
		{"full again", func() {
			limittest.Take(t, l, ratelimit.Cost{Key: "c", Rate: ratelimit.Rate{N: 1, Per: 20 * time.Millisecond}})
			redistest.Eventually(t, func() error {
				if n := s.Do("DBSIZE"); n != int64(0) {
					return fmt.Errorf("%v keys are there", n)
				}
				return nil
			})
		}},
	} {
		gone.do()
		if n := s.Do("DBSIZE"); n != int64(0) {
			t.Errorf("%s: %v keys are left", gone.name, n)
		}
	}
}

// Redis's clock may be set. Back: nobody waits longer than the budget takes to fill. Ahead: it is full early.
func TestClockSet_ATK_L07(t *testing.T) {
	s := redistest.Start(t)
	l := open(t, s.Client())
	c := ratelimit.Cost{Key: "a", Rate: login}
	limittest.Count(t, l, 5, c)
	age(s, -1000*time.Hour)
	if d := limittest.Want(t, l, false, 0, c); d.RetryAfter != 3*time.Minute || d.Reset != 15*time.Minute {
		t.Errorf("set back: got %+v, want to wait 3 minutes", d)
	}
	age(s, 2000*time.Hour)
	limittest.Want(t, l, true, 4, c)
}

func TestPrefix(t *testing.T) {
	s := redistest.Start(t)
	a, b := open(t, s.Client()), open(t, s.Client(), func(c *redislimit.Config) { c.Prefix = "other" })
	c := ratelimit.Cost{Key: "a", Rate: ratelimit.Rate{N: 1, Per: time.Hour}}
	limittest.Want(t, a, true, 0, c)
	limittest.Want(t, a, false, 0, c)
	limittest.Want(t, b, true, 0, c)
}

// events records what an observer is told.
type events struct {
	mu  sync.Mutex
	all []auth.Event
}

func (e *events) observe(_ context.Context, ev auth.Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.all = append(e.all, ev)
}

// outcomes returns what was told since the last call.
func (e *events) outcomes() (o []string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, ev := range e.all {
		o = append(o, ev.Name+" "+ev.Outcome)
	}
	e.all = nil
	return o
}
