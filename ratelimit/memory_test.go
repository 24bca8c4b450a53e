package ratelimit_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/doorward/doorward/internal/limittest"
	"github.com/doorward/doorward/ratelimit"
)

var login = ratelimit.Rate{N: 5, Per: 15 * time.Minute}

func TestMemory(t *testing.T) {
	for _, test := range []struct {
		name    string
		maxKeys int
	}{
		{"of the usual size", 0},
		{"with a single set", 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			limittest.Run(t, func(t *testing.T, f func(*testing.T, ratelimit.Limiter, limittest.Pass)) {
				synctest.Test(t, func(t *testing.T) { f(t, ratelimit.NewMemory(test.maxKeys), time.Sleep) })
			})
		})
	}
}

// To the nanosecond: RetryAfter is the first moment at which it is allowed, and Reset at which all are.
func TestMemory_ATK_L08_Exact(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := ratelimit.NewMemory(0)
		c := ratelimit.Cost{Key: "a", Rate: ratelimit.Rate{N: 3, Per: time.Second}}
		limittest.Count(t, m, 3, c)
		start := time.Now()
		for range 10 {
			d := limittest.Want(t, m, false, 0, c)
			time.Sleep(d.RetryAfter - time.Nanosecond)
			if d := limittest.Want(t, m, false, 0, c); d.RetryAfter != time.Nanosecond {
				t.Errorf("a nanosecond before: got %+v", d)
			}
			time.Sleep(time.Nanosecond)
			limittest.Want(t, m, true, 0, c)
			limittest.Want(t, m, false, 0, c)
		}
		if took := time.Since(start); took < 10*time.Second/3 || took > 10*time.Second/3+10*time.Microsecond {
			t.Errorf("10 more took %v, want 3.33 s and no less", took)
		}
		d := limittest.Want(t, m, false, 0, c)
		time.Sleep(d.Reset)
		if n := limittest.Count(t, m, 9, c); n != 3 {
			t.Errorf("after Reset: got %d, want 3", n)
		}
	})
}

// Any span: never more than N and what the span brings. Tried at random moments, as often as there are.
func TestMemory_ATK_L08_AnySpan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := ratelimit.NewMemory(0)
		r := rand.New(rand.NewPCG(1, 2))
		var allowed []time.Duration
		start := time.Now()
		for range 5000 {
			time.Sleep(time.Duration(r.ExpFloat64() * float64(40*time.Second)))
			if limittest.Take(t, m, ratelimit.Cost{Key: "a", Rate: login}).OK {
				allowed = append(allowed, time.Since(start))
			}
		}
		for from := range allowed {
			for to := from; to < len(allowed) && to < from+100; to++ {
				if n, most := to-from+1, 5+int((allowed[to]-allowed[from])/(3*time.Minute)); n > most {
					t.Fatalf("%d within %v, want at most %d", n, allowed[to]-allowed[from], most)
				}
			}
		}
		if n, least := len(allowed), int(time.Since(start)/(3*time.Minute))*95/100; n < least {
			t.Errorf("%d were allowed, want at least %d", n, least)
		}
	})
}

// A flood of keys must not give an account its tries back. Each key of the flood costs a try of its own,
// as with addresses of a botnet; the memory holds a tenth of them.
func TestMemory_FloodForgetsNothing(t *testing.T) {
	for _, test := range []struct {
		name  string
		tries int // at each key of the flood
	}{
		{"each key once", 1},
		{"each key until it is refused", 6},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := ratelimit.NewMemory(100)
				victims := make([]ratelimit.Cost, 20)
				for i := range victims {
					victims[i] = ratelimit.Cost{Key: fmt.Sprint("victim", i), Rate: login}
					limittest.Count(t, m, 5, victims[i])
				}
				for i := range 1000 {
					limittest.Count(t, m, test.tries, ratelimit.Cost{Key: fmt.Sprint("flood", i), Rate: login})
				}
				for _, v := range victims {
					limittest.Want(t, m, false, 0, v)
				}
				// It passes: nothing is refused for longer than the budgets take to fill.
				time.Sleep(login.Per)
				for _, v := range victims {
					limittest.Want(t, m, true, 4, v)
				}
			})
		})
	}
}

// Where all places are taken by budgets that are used up, they keep them, and new keys share what is left
// of a budget instead of being shut out.
func TestMemory_FullHouse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := ratelimit.NewMemory(1)
		cost := func(i int) ratelimit.Cost { return ratelimit.Cost{Key: fmt.Sprint(i), Rate: login} }
		for i := range 15 {
			limittest.Count(t, m, 5, cost(i))
		}
		for i := range 4 {
			limittest.Want(t, m, true, 4-i, cost(100+i))
		}
		for i := range 15 {
			limittest.Want(t, m, false, 0, cost(i))
		}
		time.Sleep(login.Per)
		limittest.Want(t, m, true, 4, cost(200))
	})
}

// With fewer keys than it was made for, hardly anybody notices the others.
func TestMemory_HoldsWhatItWasMadeFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 20_000
		m := ratelimit.NewMemory(n)
		stricter := 0
		for i := range n {
			if d := limittest.Take(t, m, ratelimit.Cost{Key: fmt.Sprint(i), Rate: login}); d.Remaining != 4 {
				stricter++
			}
		}
		if stricter > n/200 {
			t.Errorf("%d of %d new keys did not begin with a full budget, want less than 1 of 200", stricter, n)
		}
	})
}

func TestMemory_DoesNotAllocate(t *testing.T) {
	m := ratelimit.NewMemory(0)
	a, b := ratelimit.Cost{Key: "a", Rate: login}, ratelimit.Cost{Key: "b", Rate: login, N: -1}
	for name, take := range map[string]func(){
		"one": func() { _, _ = m.Take(context.Background(), a) },
		"two": func() { _, _ = m.Take(context.Background(), a, b) },
	} {
		if n := testing.AllocsPerRun(100, take); n != 0 {
			t.Errorf("%s: %v allocations, want none", name, n)
		}
	}
}

// A memory of one set against one that forgets nothing: what the small one allows, the large one does.
// The bytes are steps: a key, how much, and how long it is until then.
func FuzzMemory_NeverLooser(f *testing.F) {
	f.Add([]byte{0, 1, 0, 1, 1, 0, 2, 1, 0, 0, 1, 0})
	all := make([]byte, 0, 900)
	for i := range 300 {
		all = append(all, byte(i*7), byte(i%5), byte(i%3))
	}
	f.Add(all)
	f.Fuzz(func(t *testing.T, steps []byte) {
		steps = steps[:min(len(steps), 3000)]
		synctest.Test(t, func(t *testing.T) {
			small, exact := ratelimit.NewMemory(1), ratelimit.NewMemory(1000)
			for ; len(steps) >= 3; steps = steps[3:] {
				c := ratelimit.Cost{Key: fmt.Sprint(steps[0] % 64), Rate: login, N: int(steps[1]%8) - 2}
				if steps[0]&64 > 0 { // a mixture of rates, some with a longer memory
					c.Rate.Per *= 7
				}
				time.Sleep(time.Duration(steps[2]) * time.Second)
				if d := limittest.Take(t, small, c); !d.OK {
					continue
				} else if e := limittest.Take(t, exact, c); !e.OK || e.Remaining < d.Remaining {
					t.Fatalf("%+v: allowed with %+v, where nothing is forgotten: %+v", c, d, e)
				}
			}
		})
	})
}
