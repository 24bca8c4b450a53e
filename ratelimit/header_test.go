package ratelimit_test

import (
	"math"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dunglas/httpsfv"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/internal/limittest"
	"github.com/doorward/doorward/ratelimit"
)

// The fields of a login that fails on and on, as the client reads them.
func TestHeader_STD_R07(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := ratelimit.NewMemory(0)
		c := ratelimit.Cost{Key: "a", Rate: login}
		for _, step := range []struct {
			after time.Duration
			limit string
		}{
			{0, `"login";r=4;t=720`},
			{0, `"login";r=3;t=540`},
			{0, `"login";r=2;t=360`},
			{0, `"login";r=1;t=180`},
			{0, `"login";r=0;t=180`},
			{0, `"login";r=0;t=180`}, // refused
			{59500 * time.Millisecond, `"login";r=0;t=121`},
			{121 * time.Second, `"login";r=0;t=180`}, // allowed, half a second late
		} {
			time.Sleep(step.after)
			policy, limit := limittest.Take(t, m, c).Header("login")
			if policy != `"login";q=5;w=900` {
				t.Errorf("policy: got %s", policy)
			}
			if limit != step.limit {
				t.Errorf("limit: got %s, want %s", limit, step.limit)
			}
		}
	})
}

// Seconds are rounded up, and a window is at least one.
func TestHeader_ShortWindows(t *testing.T) {
	for _, test := range []struct {
		rate          ratelimit.Rate
		policy, limit string
	}{
		{ratelimit.Rate{N: 10, Per: 100 * time.Millisecond}, `"x";q=10;w=1`, `"x";r=9;t=1`},
		{ratelimit.Rate{N: 3, Per: 1500 * time.Millisecond}, `"x";q=3;w=2`, `"x";r=2;t=1`},
		{ratelimit.Rate{N: 10_000, Per: 1000 * time.Second}, `"x";q=10000;w=1000`, `"x";r=9999;t=1000`},
		{ratelimit.Rate{N: 1, Per: 366 * 24 * time.Hour}, `"x";q=1;w=31622400`, `"x";r=0;t=31622400`},
	} {
		policy, limit := limittest.Take(t, ratelimit.NewMemory(0), ratelimit.Cost{Key: "a", Rate: test.rate}).Header("x")
		if policy != test.policy || limit != test.limit {
			t.Errorf("%+v: got %s and %s, want %s and %s", test.rate, policy, limit, test.policy, test.limit)
		}
	}
	if policy, limit := (ratelimit.Decision{}).Header("x"); policy != "" || limit != "" {
		t.Errorf("the zero decision: got %q and %q, want nothing", policy, limit)
	}
}

// The draft's own fault to avoid (section 8.5): a client that spreads r over t must not be invited to more than the policy.
func TestHeader_KeepsToThePolicy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := ratelimit.NewMemory(0)
		c := ratelimit.Cost{Key: "a", Rate: ratelimit.Rate{N: 100, Per: 1000 * time.Second}}
		for range 300 {
			_, limit := limittest.Take(t, m, c).Header("x")
			if r, sec := field(t, limit, "x", "r", "t"); r*1000 > sec*100 {
				t.Errorf("%s is faster than 100 in 1000 s", limit)
			}
			time.Sleep(3 * time.Second)
		}
	})
}

// STD-R06, STD-R08: what auth.WriteProblem makes of a refusal.
func TestErr(t *testing.T) {
	if err := (ratelimit.Decision{OK: true}).Err(); err != nil {
		t.Errorf("allowed: got %v", err)
	}
	for _, test := range []struct {
		name string
		rate ratelimit.Rate
		n    int
	}{
		{"long", login, 1},
		{"STD-R06 shorter than a second", ratelimit.Rate{N: 1000, Per: 10 * time.Second}, 1000},
		{"several at once", ratelimit.Rate{N: 7, Per: 10 * time.Second}, 4},
		{"a microsecond", ratelimit.Rate{N: 1000, Per: time.Millisecond}, 1000},
	} {
		synctest.Test(t, func(t *testing.T) {
			m := ratelimit.NewMemory(0)
			c := ratelimit.Cost{Key: "hunter2", Rate: test.rate, N: test.n}
			for limittest.Take(t, m, c).OK {
			}
			d := limittest.Take(t, m, c)
			w := httptest.NewRecorder()
			auth.WriteProblem(w, d.Err())
			if w.Code != 429 || w.Header().Get("Cache-Control") != "no-store" {
				t.Errorf("%s: STD-R06: got %d and Cache-Control %q", test.name, w.Code, w.Header().Get("Cache-Control"))
			}
			after, err := strconv.ParseInt(w.Header().Get("Retry-After"), 10, 64)
			if err != nil || after < 1 {
				t.Errorf("%s: STD-R06: Retry-After is %q", test.name, w.Header().Get("Retry-After"))
			}
			_, limit := d.Header("login")
			if _, sec := field(t, limit, "login", "r", "t"); after < sec {
				t.Errorf("%s: STD-R08: Retry-After %d is earlier than %s", test.name, after, limit)
			}
			if text := d.Err().Error() + w.Body.String(); strings.Contains(text, "hunter2") {
				t.Errorf("%s: STD-R09: the key is told: %s", test.name, text)
			}
			time.Sleep(time.Duration(after) * time.Second)
			if !limittest.Take(t, m, c).OK {
				t.Errorf("%s: refused after Retry-After", test.name)
			}
		})
	}
}

// field reads a field of one item, and two of its parameters.
func field(t testing.TB, text, name, first, second string) (a, b int64) {
	t.Helper()
	list, err := httpsfv.UnmarshalList([]string{text})
	if err != nil || len(list) != 1 {
		t.Fatalf("%s: %d items, %v", text, len(list), err)
	}
	item, ok := list[0].(httpsfv.Item)
	if !ok || item.Value != name || len(item.Params.Names()) != 2 {
		t.Fatalf("%s: got %v, want the string %q with 2 parameters", text, list[0], name)
	}
	values := [2]int64{}
	for i, p := range []string{first, second} {
		v, _ := item.Params.Get(p)
		n, ok := v.(int64)
		if !ok || n < 0 {
			t.Fatalf("%s: %s is %v, want a non-negative integer", text, p, v)
		}
		values[i] = n
	}
	return values[0], values[1]
}

// STD-R07, STD-R08: whatever the name and the numbers, the fields parse and keep their promises.
func FuzzHeader(f *testing.F) {
	f.Add("login", true, 5, int64(15*time.Minute), 3, int64(time.Minute), int64(0))
	f.Add("a\"b\\c\r\nSet-Cookie: x=1\x00é\xff", false, 1, int64(time.Second), 0, int64(time.Hour), int64(-5))
	f.Add("less than none", true, 5, int64(time.Minute), -1, int64(time.Hour), int64(0))
	f.Add("more than all", true, 5, int64(time.Minute), 9, int64(0), int64(0))
	f.Add("", false, math.MaxInt, int64(math.MaxInt64), -1, int64(math.MinInt64), int64(math.MaxInt64))
	f.Add("x", false, 1_000_000_000, int64(366*24*time.Hour), 1_000_000_000, int64(math.MaxInt64), int64(math.MaxInt64))
	f.Fuzz(func(t *testing.T, name string, ok bool, n int, per int64, remaining int, reset, after int64) {
		d := ratelimit.Decision{OK: ok, Cost: ratelimit.Cost{Key: "a", Rate: ratelimit.Rate{N: n, Per: time.Duration(per)}},
			Remaining: remaining, Reset: time.Duration(reset), RetryAfter: time.Duration(after)}
		policy, limit := d.Header(name)
		if ratelimit.Validate([]ratelimit.Cost{d.Cost}) != nil {
			if policy != "" || limit != "" {
				t.Fatalf("got %q and %q of an invalid rate, want nothing", policy, limit)
			}
			return
		}
		want := []byte(name)
		for i, c := range want {
			if c < ' ' || c > '~' {
				want[i] = '_'
			}
		}
		q, w := field(t, policy, string(want), "q", "w")
		r, sec := field(t, limit, string(want), "r", "t")
		if q != int64(n) || w < 1 || r > q {
			t.Fatalf("got %s and %s for %+v", policy, limit, d)
		}
		if retry := max(1, (after-1)/int64(time.Second)+1); !ok && sec > retry {
			t.Fatalf("%s is later than Retry-After: %d", limit, retry)
		}
	})
}
