// Package ratelimit says how often something may happen: budgets that a [Limiter] takes from and gives back to.
//
// It does not own what is counted, nor the answer to the client (package middleware), nor Redis (package
// redislimit).
package ratelimit

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/doorward/doorward/auth"
)

// A Rate is a budget: N at once when nothing was used, and one more for each Per/N that passes. So in
// any span s there are at most N + s·N/Per. This is GCRA, a leaky bucket as a meter (ITU-T I.371).
//
// N is at least 1, Per at most 366 days, and Per/N at least a microsecond. Per/N is rounded up to whole
// microseconds: above 10,000 a second the pace is up to a hundredth slower than it says, never faster.
type Rate struct {
	N   int
	Per time.Duration
}

// A Cost is what one call takes from the budget of Key.
//
// Key is any text but the empty one. Limiters keep only a hash of it, because people type passwords
// where a name belongs. Two kinds of key must not meet: begin each with its kind, as in "account:" + name.
// A budget may change its Rate; what was used stays used.
type Cost struct {
	Key  string
	Rate Rate

	// N is how much is taken; 0 means 1. A negative N gives back, never above full, so that -Rate.N
	// makes the budget as new. More than Rate.N can never be had, and is an error.
	N int

	// Back gives back so much of the time that the budget takes to fill, never above full, in place of N, which is 0
	// then; negative is an error. It is for a budget that strangers share: what a call really gave to one budget is
	// [Decision].Before less [Decision].Reset, and as a span it is the same in another one, whatever Rate a
	// limiter counts both at.
	Back time.Duration

	// Hidden keeps the count from the client: an allowing Decision is about another cost of the call,
	// if there is one that is not hidden. Hide what strangers share, such as the budget of an account:
	// its count would tell one how much the other did.
	Hidden bool
}

// A Decision is the answer to a Take. The zero value refuses.
type Decision struct {
	OK bool

	// Cost is the tightest of the call: of an allowing Decision the one with the least left, of a refusing
	// one that with the longest wait. The other fields are about its budget, after what was taken.
	Cost       Cost
	Remaining  int           // what is left of it now
	Before     time.Duration // how far from full it was; less Reset, it is what giving back really gave
	Reset      time.Duration // until it is full again
	RetryAfter time.Duration // until the same cost can be had; 0 when OK
}

// A Limiter keeps budgets. *Memory and *redislimit.Limiter are Limiters.
//
// Take takes all the costs or, when one of them cannot be had, none; and gives back only together with
// what it takes. It is one step: of any number of parallel calls, on any number of nodes that share the
// Limiter, no more succeed than one after the other would. A refused call changes nothing, so that
// trying on does not make the wait longer.
//
// The costs are 1 to 8 and have different keys. An error always comes with a Decision that refuses;
// what a client sent can only cause one by ending ctx.
type Limiter interface {
	Take(ctx context.Context, costs ...Cost) (Decision, error)
}

const (
	maxCosts = 8
	maxPer   = 366 * 24 * time.Hour
)

// Validate returns an error when the costs are not what [Limiter] demands. Every Limiter asks it first.
func Validate(costs []Cost) error {
	if len(costs) == 0 || len(costs) > maxCosts {
		return fmt.Errorf("ratelimit: got %d costs, expected 1 to %d", len(costs), maxCosts)
	}
	for i := range costs {
		c := &costs[i]
		if c.Key == "" {
			return errors.New("ratelimit: a cost has no key")
		}
		if r := c.Rate; !r.valid() {
			return fmt.Errorf("ratelimit: got the rate %d per %v, expected at least 1 and at most %v, and no more than one per microsecond", r.N, r.Per, maxPer)
		}
		if c.Back < 0 || c.Back > 0 && c.N != 0 {
			return fmt.Errorf("ratelimit: got Back %v beside N %d, expected a span of 0 or more, and no N beside it", c.Back, c.N)
		}
		if c.N > c.Rate.N {
			return fmt.Errorf("ratelimit: a cost of %d can never be had from %d per %v", c.N, c.Rate.N, c.Rate.Per)
		}
		for j := range i {
			if costs[j].Key == c.Key {
				return errors.New("ratelimit: two costs have the same key")
			}
		}
	}
	return nil
}

// Spans returns the cost in the measure that Limiters count in, which is time: how long the budget
// takes to fill, and how much of that the cost takes, negative when it gives back. A budget is then
// one instant, the one at which it is full again. The cost must be valid.
func (c Cost) Spans() (full, taken time.Duration) {
	unit, n := c.Rate.unit(), c.N
	full = time.Duration(c.Rate.N) * unit
	if c.Back > 0 {
		return full, -min(c.Back, full)
	}
	if n == 0 {
		n = 1
	}
	return full, time.Duration(max(n, -c.Rate.N)) * unit
}

func (r Rate) valid() bool {
	return r.N >= 1 && r.Per <= maxPer && r.Per/time.Microsecond >= time.Duration(r.N)
}

// unit is the time that makes up for one.
func (r Rate) unit() time.Duration {
	ns := time.Duration(r.N) * time.Microsecond
	return (r.Per + ns - 1) / ns * time.Microsecond
}

// Decide is the decision of a Limiter that found its budgets so far from full, each from 0 to the
// cost's whole span: OK when for every cost what it takes fits. It is what every Limiter answers with, so that all
// of them mean the same. The costs must be valid, and there must be as many of both.
func Decide(costs []Cost, used []time.Duration) Decision {
	var d Decision
	for i := range costs {
		full, taken := costs[i].Spans()
		if wait := used[i] + taken - full; wait > d.RetryAfter {
			d = Decision{Cost: costs[i], Remaining: left(costs[i], used[i]), Before: used[i], Reset: used[i], RetryAfter: wait}
		}
	}
	if d.RetryAfter > 0 {
		return d
	}
	for i := range costs {
		_, taken := costs[i].Spans()
		after := max(0, used[i]+taken)
		remaining := left(costs[i], after)
		first, shown := !d.OK, d.Cost.Hidden && !costs[i].Hidden
		if first || shown || remaining < d.Remaining && d.Cost.Hidden == costs[i].Hidden {
			d = Decision{OK: true, Cost: costs[i], Remaining: remaining, Before: used[i], Reset: after}
		}
	}
	return d
}

// left is how many can be had from a budget that is so far from full.
func left(c Cost, used time.Duration) int {
	unit := c.Rate.unit()
	return int((time.Duration(c.Rate.N)*unit - used) / unit)
}

// Err returns nil for an allowing Decision, and otherwise an error with the code [auth.RateLimited] that
// auth.WriteProblem answers with 429 and Retry-After (RFC 6585 section 4). It does not name the key.
func (d Decision) Err() error {
	if d.OK {
		return nil
	}
	return refusal{d.Cost.Rate, d.RetryAfter}
}

type refusal struct {
	rate  Rate
	after time.Duration
}

func (r refusal) Error() string {
	return fmt.Sprintf("%v: more than %d per %v, again in %v", auth.RateLimited, r.rate.N, r.rate.Per, r.after)
}

func (r refusal) Unwrap() error { return auth.RateLimited }

// RetryAfter is read by auth.WriteProblem.
func (r refusal) RetryAfter() time.Duration { return r.after }
