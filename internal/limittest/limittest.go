// Package limittest says what every ratelimit.Limiter must do, as tests that each of them runs.
//
// It does not own what only one of them can do wrong: a memory that is full, servers that fail.
package limittest

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/doorward/doorward/ratelimit"
)

// Pass lets this much time go by for a limiter.
type Pass func(time.Duration)

// slack is how much time may go by unasked, on a slow machine with a real clock.
const slack = 20 * time.Second

// login is the rate of most tests: one each 3 minutes.
var login = ratelimit.Rate{N: 5, Per: 15 * time.Minute}

// Run runs the tests. each calls test with a limiter that nobody has used.
func Run(t *testing.T, each func(t *testing.T, test func(*testing.T, ratelimit.Limiter, Pass))) {
	for _, test := range []struct {
		name string
		run  func(*testing.T, ratelimit.Limiter, Pass)
	}{
		{"burst and pace", pace},
		{"ATK-L08 edges of the window", edges},
		{"ATK-L07 refusals do not add up", refusals},
		{"STD-R10 ATK-L08 1,000 at once", parallel},
		{"all or none", allOrNone},
		{"all or none, 1,000 at once", allOrNoneParallel},
		{"given back", givenBack},
		{"STD-R02 made as new", madeAsNew},
		{"given back only with what is taken", givenBackTogether},
		{"given back while others take", givenBackParallel},
		{"given back as a span of time", givenBackAsTime},
		{"several at once", several},
		{"the tightest", tightest},
		{"STD-R09 hidden", hidden},
		{"another rate", anotherRate},
		{"uneven rates", uneven},
		{"large rates", large},
		{"invalid", invalid},
		{"odd keys", oddKeys},
	} {
		t.Run(test.name, func(t *testing.T) { each(t, test.run) })
	}
}

// Take takes, and fails the test on an error.
func Take(t testing.TB, l ratelimit.Limiter, costs ...ratelimit.Cost) ratelimit.Decision {
	t.Helper()
	d, err := l.Take(t.Context(), costs...)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// Want takes, and fails the test when the answer or what remains is another.
func Want(t testing.TB, l ratelimit.Limiter, ok bool, remaining int, costs ...ratelimit.Cost) ratelimit.Decision {
	t.Helper()
	d := Take(t, l, costs...)
	if d.OK != ok || d.Remaining != remaining {
		t.Errorf("got %t with %d remaining, want %t with %d: %+v", d.OK, d.Remaining, ok, remaining, d)
	}
	return d
}

// Count takes up to most times and returns how often it was allowed.
func Count(t testing.TB, l ratelimit.Limiter, most int, costs ...ratelimit.Cost) (allowed int) {
	t.Helper()
	for range most {
		if Take(t, l, costs...).OK {
			allowed++
		}
	}
	return allowed
}

// Parallel takes n times at once, from limiters in turn, and returns how often it was allowed.
func Parallel(t testing.TB, n int, costs []ratelimit.Cost, limiters ...ratelimit.Limiter) int {
	t.Helper()
	var allowed atomic.Int64
	var wait sync.WaitGroup
	for i := range n {
		wait.Go(func() {
			d, err := limiters[i%len(limiters)].Take(t.Context(), costs...)
			if err != nil {
				t.Error(err)
			}
			if d.OK {
				allowed.Add(1)
			}
		})
	}
	wait.Wait()
	return int(allowed.Load())
}

// about says whether d is want, or up to slack less.
func about(t testing.TB, what string, d, want time.Duration) {
	t.Helper()
	if d > want || d < want-slack {
		t.Errorf("%s: got %v, want %v", what, d, want)
	}
}

func pace(t *testing.T, l ratelimit.Limiter, pass Pass) {
	c := ratelimit.Cost{Key: "a", Rate: login}
	for i := range 5 {
		d := Want(t, l, true, 4-i, c)
		if d.Cost != c || d.RetryAfter != 0 {
			t.Errorf("take %d: got %+v, want the cost and no wait", i, d)
		}
		about(t, "Reset", d.Reset, time.Duration(i+1)*3*time.Minute)
	}
	d := Want(t, l, false, 0, c)
	about(t, "RetryAfter", d.RetryAfter, 3*time.Minute)
	about(t, "Reset", d.Reset, 15*time.Minute)
	if d.Cost != c {
		t.Errorf("refused: got %+v, want the cost", d)
	}
	pass(d.RetryAfter)
	Want(t, l, true, 0, c)
	Want(t, l, false, 0, c)
	pass(2 * login.Per)
	if n := Count(t, l, 10, c); n != 5 {
		t.Errorf("after a long time: got %d, want 5 and no more", n)
	}
	if n := Count(t, l, 10, ratelimit.Cost{Key: "b", Rate: login}); n != 5 {
		t.Errorf("another key: got %d, want 5", n)
	}
}

// No edge lets two windows' worth through: whatever the moment, it is 5, and one more each 3 minutes.
func edges(t *testing.T, l ratelimit.Limiter, pass Pass) {
	c := ratelimit.Cost{Key: "a", Rate: login}
	allowed := Count(t, l, 6, c)
	for i := range 12 {
		pass(login.Per/5 - slack)
		allowed += Count(t, l, 6, c)
		if allowed != 5+i {
			t.Errorf("just before %d times 3 minutes: got %d, want %d", i+1, allowed, 5+i)
		}
		pass(slack)
		allowed += Count(t, l, 6, c)
		if allowed != 6+i {
			t.Errorf("after %d times 3 minutes: got %d, want %d", i+1, allowed, 6+i)
		}
	}
}

func refusals(t *testing.T, l ratelimit.Limiter, pass Pass) {
	c := ratelimit.Cost{Key: "a", Rate: login}
	Count(t, l, 5, c)
	if n := Count(t, l, 200, c); n != 0 {
		t.Errorf("got %d more, want none", n)
	}
	d := Want(t, l, false, 0, c)
	about(t, "RetryAfter", d.RetryAfter, 3*time.Minute)
	pass(d.RetryAfter)
	Want(t, l, true, 0, c)
}

func parallel(t *testing.T, l ratelimit.Limiter, _ Pass) {
	if n := Parallel(t, 1000, []ratelimit.Cost{{Key: "a", Rate: login}}, l); n != 5 {
		t.Errorf("got %d, want exactly 5", n)
	}
}

func allOrNone(t *testing.T, l ratelimit.Limiter, pass Pass) {
	small := ratelimit.Cost{Key: "small", Rate: ratelimit.Rate{N: 2, Per: time.Hour}}
	big := ratelimit.Cost{Key: "big", Rate: ratelimit.Rate{N: 10, Per: 24 * time.Hour}}
	if n := Count(t, l, 20, big, small); n != 2 {
		t.Errorf("got %d, want 2", n)
	}
	if d := Take(t, l, small, big); d.OK || d.Cost != small {
		t.Errorf("got %+v, want a refusal by the small one", d)
	}
	Want(t, l, true, 7, big) // 2 and this one, nothing for the refused
	pass(time.Hour / 2)
	Want(t, l, true, 0, small, big)
}

// Two budgets, taken in both orders at once: neither more than there are, nor a deadlock.
func allOrNoneParallel(t *testing.T, l ratelimit.Limiter, _ Pass) {
	costs := make([]ratelimit.Cost, 8)
	for i := range costs {
		costs[i] = ratelimit.Cost{Key: fmt.Sprint("k", i), Rate: ratelimit.Rate{N: 20 + i, Per: 24 * time.Hour}}
	}
	var allowed [2]int
	var wait sync.WaitGroup
	wait.Go(func() { allowed[0] = Parallel(t, 500, costs, l) })
	turned := make([]ratelimit.Cost, 8)
	for i := range costs {
		turned[7-i] = costs[i]
	}
	wait.Go(func() { allowed[1] = Parallel(t, 500, turned, l) })
	wait.Wait()
	if n := allowed[0] + allowed[1]; n != 20 {
		t.Errorf("got %d, want exactly 20", n)
	}
	for i, c := range costs {
		if n := Count(t, l, 10, c); n != i {
			t.Errorf("%s: got %d left, want %d", c.Key, n, i)
		}
	}
}

func givenBack(t *testing.T, l ratelimit.Limiter, _ Pass) {
	c := ratelimit.Cost{Key: "a", Rate: login}
	back := func(n int) ratelimit.Cost { return ratelimit.Cost{Key: "a", Rate: login, N: -n} }
	Want(t, l, true, 5, back(1)) // nothing was taken
	Want(t, l, true, 5, back(3))
	if n := Count(t, l, 10, c); n != 5 {
		t.Errorf("above full: got %d, want 5", n)
	}
	Want(t, l, true, 2, back(2))
	if n := Count(t, l, 10, c); n != 2 {
		t.Errorf("two given back: got %d, want 2", n)
	}
	Want(t, l, true, 4, back(4), ratelimit.Cost{Key: "b", Rate: ratelimit.Rate{N: 1000, Per: time.Hour}})
	Want(t, l, true, 3, c)
}

func madeAsNew(t *testing.T, l ratelimit.Limiter, _ Pass) {
	account := ratelimit.Cost{Key: "account", Rate: login}
	network := ratelimit.Cost{Key: "network", Rate: ratelimit.Rate{N: 20, Per: 15 * time.Minute}}
	Count(t, l, 6, account, network)
	account.N, network.N = -login.N, -1
	Take(t, l, account, network)
	account.N, network.N = 0, 0
	if n := Count(t, l, 10, account); n != 5 {
		t.Errorf("account: got %d, want 5", n)
	}
	if n := Count(t, l, 30, network); n != 16 {
		t.Errorf("network: got %d, want the 15 that were left and its own", n)
	}
}

func givenBackTogether(t *testing.T, l ratelimit.Limiter, _ Pass) {
	a, b := ratelimit.Cost{Key: "a", Rate: login}, ratelimit.Cost{Key: "b", Rate: login}
	Count(t, l, 5, a, b)
	a.N = -1
	if d := Take(t, l, a, b); d.OK {
		t.Errorf("got %+v, want a refusal", d)
	}
	a.N = 0
	Want(t, l, false, 0, a)
}

// Each holds what it took until it gives it back: never are more out than there are.
func givenBackParallel(t *testing.T, l ratelimit.Limiter, _ Pass) {
	take := ratelimit.Cost{Key: "a", Rate: ratelimit.Rate{N: 5, Per: 300 * 24 * time.Hour}}
	back := take
	back.N = -1
	var out, most, total atomic.Int64
	var wait sync.WaitGroup
	for range 50 {
		wait.Go(func() {
			for range 20 {
				d, err := l.Take(t.Context(), take)
				if err != nil {
					t.Error(err)
				}
				if !d.OK {
					continue
				}
				n := out.Add(1)
				for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
				}
				total.Add(1)
				out.Add(-1)
				if _, err := l.Take(t.Context(), back); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wait.Wait()
	if most.Load() > 5 || total.Load() < 5 {
		t.Errorf("%d were out at once and %d in all, want at most 5 and at least 5", most.Load(), total.Load())
	}
	if n := Count(t, l, 10, take); n != 5 {
		t.Errorf("afterwards: got %d, want 5", n)
	}
}

// What one call gave to a budget is given to another one, part by part, and no more than that at any rate.
func givenBackAsTime(t *testing.T, l ratelimit.Limiter, pass Pass) {
	own := ratelimit.Cost{Key: "own", Rate: login}
	shared := ratelimit.Cost{Key: "shared", Rate: login}
	Want(t, l, true, 4, shared) // a stranger's
	Want(t, l, true, 3, own, shared)
	pass(90 * time.Second) // half of one
	back := own
	back.N = -login.N
	d := Want(t, l, true, 5, back)
	about(t, "given to the own one", d.Before-d.Reset, 90*time.Second)
	was := Take(t, l, ratelimit.Cost{Key: "shared", Rate: login, Back: 1}).Before
	d = Take(t, l, ratelimit.Cost{Key: "shared", Rate: login, Back: d.Before - d.Reset})
	if got := d.Before - d.Reset; !d.OK || d.Before > was || got > 90*time.Second || got < 90*time.Second-slack {
		t.Errorf("got %+v, of which %v was given back, want 1m30s", d, got)
	}
	about(t, "the stranger's", d.Reset, 3*time.Minute)
	if d := Take(t, l, ratelimit.Cost{Key: "shared", Rate: login, Back: 366 * 24 * time.Hour}); !d.OK || d.Reset != 0 || d.Remaining != 5 {
		t.Errorf("more than was taken: got %+v, want a full budget", d)
	}
	if n := Count(t, l, 10, shared); n != 5 {
		t.Errorf("above full: got %d, want 5", n)
	}
	// At another rate it is the same span.
	hour := ratelimit.Cost{Key: "shared", Rate: ratelimit.Rate{N: 2, Per: 15 * time.Minute}, Back: 3 * time.Minute}
	d = Take(t, l, hour)
	if got := d.Before - d.Reset; got > 3*time.Minute || got < 3*time.Minute-slack {
		t.Errorf("at another rate: %v was given back, want 3m", got)
	}
}

func several(t *testing.T, l ratelimit.Limiter, pass Pass) {
	c := ratelimit.Cost{Key: "a", Rate: login, N: 3}
	Want(t, l, true, 2, c)
	d := Want(t, l, false, 2, c)
	about(t, "RetryAfter", d.RetryAfter, 3*time.Minute)
	pass(3 * time.Minute)
	Want(t, l, true, 0, c)
	d = Want(t, l, false, 0, ratelimit.Cost{Key: "a", Rate: login, N: 5})
	about(t, "RetryAfter", d.RetryAfter, 15*time.Minute)
}

func tightest(t *testing.T, l ratelimit.Limiter, _ Pass) {
	hour := ratelimit.Cost{Key: "hour", Rate: ratelimit.Rate{N: 3, Per: time.Hour}}
	day := ratelimit.Cost{Key: "day", Rate: ratelimit.Rate{N: 4, Per: 24 * time.Hour}}
	if d := Want(t, l, true, 2, day, hour); d.Cost != hour {
		t.Errorf("got %+v, want the one with the least left", d)
	}
	Want(t, l, true, 1, hour, day)
	Want(t, l, true, 1, day)
	if d := Want(t, l, true, 0, hour, day); d.Cost != hour {
		t.Errorf("as little left of both: got %+v, want the first", d)
	}
	for _, costs := range [][]ratelimit.Cost{{hour, day}, {day, hour}} {
		d := Want(t, l, false, 0, costs...)
		if d.Cost != day {
			t.Errorf("both refuse: got %+v, want the one with the longest wait", d)
		}
		about(t, "RetryAfter", d.RetryAfter, 6*time.Hour)
	}
}

func hidden(t *testing.T, l ratelimit.Limiter, _ Pass) {
	account := ratelimit.Cost{Key: "account", Rate: login, Hidden: true}
	network := ratelimit.Cost{Key: "network", Rate: ratelimit.Rate{N: 20, Per: 15 * time.Minute}}
	Want(t, l, true, 2, ratelimit.Cost{Key: "account", Rate: login, N: 3}) // somebody else
	for i, costs := range [][]ratelimit.Cost{{account, network}, {network, account}} {
		if d := Want(t, l, true, 19-i, costs...); d.Cost != network {
			t.Errorf("got %+v, want nothing about the account", d)
		}
	}
	if d := Take(t, l, account, network); d.OK || d.Cost != account {
		t.Errorf("got %+v, want a refusal by the account", d)
	}
	account.Key = "other"
	if d := Want(t, l, true, 4, account); d.Cost != account {
		t.Errorf("alone: got %+v, want the account", d)
	}
}

// What was used stays used when the rate changes, and no wait is longer than the new rate knows.
func anotherRate(t *testing.T, l ratelimit.Limiter, _ Pass) {
	day := ratelimit.Cost{Key: "a", Rate: ratelimit.Rate{N: 5, Per: 24 * time.Hour}}
	hour := ratelimit.Cost{Key: "a", Rate: ratelimit.Rate{N: 4, Per: time.Hour}}
	Count(t, l, 5, day)
	d := Want(t, l, false, 0, hour)
	about(t, "RetryAfter", d.RetryAfter, 15*time.Minute)
	about(t, "Reset", d.Reset, time.Hour)
	hour.N = -4
	Want(t, l, true, 4, hour)
	hour.N = 0
	Want(t, l, true, 3, hour)
}

// A third of a second is no whole number of microseconds: still exactly 3 at once, and all come back.
func uneven(t *testing.T, l ratelimit.Limiter, pass Pass) {
	for _, r := range []ratelimit.Rate{
		{N: 3, Per: 1000 * time.Second}, {N: 7, Per: 24*time.Hour + 1}, {N: 999, Per: 366 * 24 * time.Hour}, {N: 2, Per: 366 * 24 * time.Hour},
	} {
		c := ratelimit.Cost{Key: fmt.Sprint(r), Rate: r, N: r.N}
		Want(t, l, true, 0, c)
		Want(t, l, false, 0, ratelimit.Cost{Key: c.Key, Rate: r})
		c.N = -r.N + 1
		Want(t, l, true, r.N-1, c)
		c.N = -1
		Want(t, l, true, r.N, c)
		c.N = r.N
		d := Want(t, l, true, 0, c)
		pass(d.Reset)
		Want(t, l, true, 0, c)
	}
}

func large(t *testing.T, l ratelimit.Limiter, _ Pass) {
	c := ratelimit.Cost{Key: "a", Rate: ratelimit.Rate{N: 1 << 30, Per: 365 * 24 * time.Hour}, N: 1 << 29}
	Want(t, l, true, 1<<29, c)
	c.N = -1 << 62
	Want(t, l, true, 1<<30, c)
	c.N = 1 << 30
	if d := Take(t, l, c); !d.OK || d.Remaining > 1<<20 {
		t.Errorf("got %+v, want all taken but what time has brought", d)
	}
}

func invalid(t *testing.T, l ratelimit.Limiter, _ Pass) {
	good := ratelimit.Cost{Key: "good", Rate: login}
	rate := func(n int, per time.Duration) ratelimit.Cost {
		return ratelimit.Cost{Key: "a", Rate: ratelimit.Rate{N: n, Per: per}}
	}
	for _, test := range []struct {
		name  string
		costs []ratelimit.Cost
	}{
		{"no cost", nil},
		{"nine", []ratelimit.Cost{good, {Key: "1", Rate: login}, {Key: "2", Rate: login}, {Key: "3", Rate: login}, {Key: "4", Rate: login},
			{Key: "5", Rate: login}, {Key: "6", Rate: login}, {Key: "7", Rate: login}, {Key: "8", Rate: login}}},
		{"no key", []ratelimit.Cost{good, {Rate: login}}},
		{"a key twice", []ratelimit.Cost{good, {Key: "a", Rate: login}, {Key: "good", Rate: login, N: -1}}},
		{"no rate", []ratelimit.Cost{good, {Key: "a"}}},
		{"zero N", []ratelimit.Cost{good, rate(0, time.Hour)}},
		{"negative N", []ratelimit.Cost{good, rate(-5, time.Hour)}},
		{"zero Per", []ratelimit.Cost{good, rate(5, 0)}},
		{"negative Per", []ratelimit.Cost{good, rate(5, -time.Hour)}},
		{"too long", []ratelimit.Cost{good, rate(5, 367*24*time.Hour)}},
		{"too fast", []ratelimit.Cost{good, rate(1_000_001, time.Second)}},
		{"much too fast", []ratelimit.Cost{good, rate(1<<62, time.Second)}},
		{"a negative span back", []ratelimit.Cost{good, {Key: "a", Rate: login, Back: -1}}},
		{"a span back and a number", []ratelimit.Cost{good, {Key: "a", Rate: login, N: -1, Back: time.Minute}}},
		{"a span back and a number taken", []ratelimit.Cost{good, {Key: "a", Rate: login, N: 1, Back: time.Minute}}},
		{"more than there ever is", []ratelimit.Cost{good, {Key: "a", Rate: login, N: 6}}},
	} {
		if d, err := l.Take(t.Context(), test.costs...); err == nil || d != (ratelimit.Decision{}) {
			t.Errorf("%s: got %+v, %v, want an error and the zero decision", test.name, d, err)
		}
	}
	Want(t, l, true, 4, good)
}

// What people type is a key: each text is its own, and none is taken for a part of the store's language.
func oddKeys(t *testing.T, l ratelimit.Limiter, _ Pass) {
	c := ratelimit.Cost{Rate: ratelimit.Rate{N: 1, Per: 24 * time.Hour}}
	keys := []string{"a", "A", "a ", "a\x00", "a\r\n", "\xff\xfe", "{a}", "{b}a", "}", "*", "a:b", "ä", "a\u0308",
		strings.Repeat("x", 1<<20), strings.Repeat("x", 1<<20) + "y"}
	for i := range 2 {
		for _, k := range keys {
			c.Key = k
			if d := Take(t, l, c); d.OK != (i == 0) {
				t.Errorf("time %d, %.40q: got %t", i, k, d.OK)
			}
		}
	}
}
