package middleware

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/ratelimit"
)

// A loginTry is one request at a login: what was taken for it, and how it is given back.
type loginTry struct {
	limit *LoginLimit
	w     http.ResponseWriter
	r     *http.Request // as it came: its context is outside of this limit

	tenant  string
	account string // as typed, or as Account returned it
	name    string // the account in one form; "" for none
	device  string // id of the known device; "" for none

	own     []ratelimit.Cost // of the account: see accountCosts
	costs   []ratelimit.Cost // all that was taken, own first
	settled sync.Once        // it is given back once at most
}

type loginTryKey struct{}

// identify finds out whose login it is said to be, and whether the device is known.
func (t *loginTry) identify(body []byte) (err error) {
	c := t.limit
	var account, tenant string
	if c.Account != nil {
		account, err = c.Account(withBody(t.r, body))
	} else {
		account, err = loginAccount(t.r, c.Field, body)
	}
	if err != nil {
		return err
	}
	if c.Tenant != nil {
		tenant = c.Tenant(t.r)
	}
	t.of(tenant, account)
	if t.name != "" && c.Devices != nil {
		// As typed: in a form that merges, another one's device could pass for one of this account.
		t.device, err = c.Devices.known(t.r, t.tenant, t.account)
	}
	return err
}

// of says whose login it is.
func (t *loginTry) of(tenant, account string) {
	t.tenant, t.account, t.name = tenant, account, account
	if t.limit.Account == nil {
		t.name = canonicalAccount(account)
	}
}

// accountCosts is one from each budget of the account. The first belongs to it alone: to its known device, to its
// name as Account says it, or to this spelling. The second, where there is one, is shared with other spellings.
// They are hidden, because strangers share them.
func (t *loginTry) accountCosts() []ratelimit.Cost {
	cost := func(kind, name string) ratelimit.Cost {
		// The length keeps the border of the tenant.
		key := "login:" + kind + ":" + strconv.Itoa(len(t.tenant)) + ":" + t.tenant + name
		return ratelimit.Cost{Key: key, Rate: t.limit.PerAccount, Hidden: true}
	}
	switch {
	case t.name == "":
		return []ratelimit.Cost{cost("nobody", "")}
	case t.device != "":
		return []ratelimit.Cost{cost("device", t.device+t.name)} // ids have one length
	case t.limit.Account != nil:
		return []ratelimit.Cost{cost("account", t.name)}
	}
	return []ratelimit.Cost{cost("spelling", t.account), cost("account", t.name)}
}

// reserve takes a try from every budget, or says why there is none.
func (t *loginTry) reserve() error {
	c := t.limit
	t.own = t.accountCosts()
	t.costs = append(slices.Clone(t.own), networkCosts("login:", t.r, c.PerNetwork, c.PerWide)...)
	d, err := t.take()
	if err != nil {
		return fmt.Errorf("%w: login limit: %w", auth.StoreUnavailable, err)
	}
	tellLimit(t.w.Header(), "login", d)
	if !d.OK {
		outcome := "network"
		if slices.ContainsFunc(t.own, func(own ratelimit.Cost) bool { return own.Key == d.Cost.Key }) {
			outcome = "account"
		}
		c.tell(t.r, outcome, d.Err())
		return d.Err()
	}
	count, err := t.addFailure(t.r.Context())
	if err != nil {
		t.settle(t.giveBack) // nothing was looked at
		return fmt.Errorf("%w: count of failures: %w", auth.StoreUnavailable, err)
	}
	if count > maxFailures {
		err := fmt.Errorf("%w: the password is off after %d failures", auth.LoginFailed, maxFailures)
		c.tell(t.r, "off", err)
		return err
	}
	return nil
}

// take takes the costs and one of the overall budget. Where only the latter is used up, it takes from halved
// budgets instead. Usually that is one step.
func (t *loginTry) take() (ratelimit.Decision, error) {
	c, ctx := t.limit, t.r.Context()
	if c.Overall == (ratelimit.Rate{}) {
		return c.Limiter.Take(ctx, t.costs...)
	}
	overall := ratelimit.Cost{Key: "login:overall", Rate: c.Overall, Hidden: true}
	all := append(slices.Clone(t.costs), overall)
	d, err := c.Limiter.Take(ctx, all...)
	if err != nil || d.OK || d.Cost.Key != overall.Key {
		t.costs = all
		return d, err
	}
	c.tell(t.r, "overall", d.Err())
	for i := range t.costs {
		t.costs[i].Rate = half(t.costs[i].Rate)
	}
	return c.Limiter.Take(ctx, t.costs...)
}

// succeeded is what auth.LoginSucceeded calls.
func (t *loginTry) succeeded() {
	t.settle(func(ctx context.Context) error {
		if t.name == "" {
			return t.giveBack(ctx) // what is shared with strangers, no success makes new
		}
		err := errors.Join(t.forgive(ctx), t.forgiveFailures(ctx, math.MaxInt))
		if d := t.limit.Devices; d != nil {
			err = errors.Join(err, d.remember(t.w, t.r, t.tenant, t.account, t.device))
		}
		return err
	})
	auth.LoginSucceeded(t.r.Context()) // for a limit outside of this one
}

// undecided gives everything back as it was taken.
func (t *loginTry) undecided() {
	t.settle(func(ctx context.Context) error {
		return errors.Join(t.giveBack(ctx), t.forgiveFailures(ctx, 1))
	})
	undecided(t.r.Context())
}

// undecided is called by WriteError for an answer that is neither a failure nor a success: the password was not looked
// at, or it was right and the code is still to come, which is then a try of its own.
func undecided(ctx context.Context) {
	if t, _ := ctx.Value(loginTryKey{}).(*loginTry); t != nil {
		t.undecided()
	}
}

// settle does it once, even when the client has gone: what a try has cost is not left to its patience.
func (t *loginTry) settle(do func(context.Context) error) {
	t.settled.Do(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.r.Context()), loginPatience)
		defer cancel()
		if err := do(ctx); err != nil {
			t.limit.tell(t.r, "kept", err)
		}
	})
}

// giveBack gives each budget the part of this try back.
func (t *loginTry) giveBack(ctx context.Context) error { return t.refund(ctx, -1) }

// forgive gives each budget its part back and makes the own one new. What came from other spellings stays.
func (t *loginTry) forgive(ctx context.Context) error { return t.refund(ctx, -t.costs[0].Rate.N) }

// refund gives n back to the own budget and one to each network. The budget that is shared with other spellings gets
// what this very step took off the own one, no more: of parallel tries one may have given back what another one took,
// and a second time it would come off the failures of strangers.
func (t *loginTry) refund(ctx context.Context, n int) error {
	back := slices.Clone(t.costs)
	for i := range back {
		back[i].N, back[i].Hidden = -1, i > 0 // the decision is about the own one
	}
	back[0].N = n
	if len(t.own) == 1 {
		_, err := t.limit.Limiter.Take(ctx, back...)
		return err
	}
	shared := finer(back[1])
	d, err := t.limit.Limiter.Take(ctx, slices.Delete(back, 1, 2)...)
	if err != nil {
		return err
	}
	_, part := shared.Spans()
	if shared.N = -int((d.Before - d.Reset) / part); shared.N == 0 {
		return nil
	}
	_, err = t.limit.Limiter.Take(ctx, shared)
	return err
}

// finer is the same budget in parts of about a microsecond: what is given back is a span of time, and is rounded down.
func finer(c ratelimit.Cost) ratelimit.Cost {
	// A multiple of N, so that no part is lost of how far from full it can be.
	parts := int(min(c.Rate.Per/time.Microsecond, math.MaxInt)) / c.Rate.N
	return ratelimit.Cost{Key: c.Key, Rate: ratelimit.Rate{N: parts * c.Rate.N, Per: c.Rate.Per}, Hidden: true}
}

// addFailure adds one for each budget of the account, and returns the highest count. What has no account has no
// password to turn off. The own count is last: after an error it may lack one that the shared one has, which
// forgives less, and never the reverse.
func (t *loginTry) addFailure(ctx context.Context) (highest int, err error) {
	if t.name == "" || t.limit.Failures == nil {
		return 0, nil
	}
	for i := range slices.Backward(t.own) {
		count, err := t.limit.Failures.Add(ctx, t.failureKey(i), 1)
		if err != nil {
			return 0, err
		}
		highest = max(highest, count)
	}
	return highest, nil
}

// forgiveFailures takes up to most off the own count, and as much off the one that is shared with other spellings.
// Reading and taking off are two steps, so one try of a spelling does it at a time. Another one leaves its failure in
// both counts, for the next success. After an error it is not known what was taken off: nobody repeats it
// before that must have come to its end.
func (t *loginTry) forgiveFailures(ctx context.Context, most int) error {
	f := t.limit.Failures
	if t.name == "" || f == nil {
		return nil
	}
	alone := ratelimit.Cost{Key: "login:forgive:" + t.own[0].Key, Rate: ratelimit.Rate{N: 1, Per: loginForgives}, Hidden: true}
	d, err := t.limit.Limiter.Take(ctx, alone)
	if err != nil || !d.OK {
		return err
	}
	count, err := f.Add(ctx, t.failureKey(0), 0)
	if err != nil {
		return err
	}
	if count = min(count, most); count > 0 {
		for i := range t.own {
			if _, err := f.Add(ctx, t.failureKey(i), -count); err != nil {
				return err
			}
		}
	}
	alone.N = -1
	_, err = t.limit.Limiter.Take(ctx, alone)
	return err
}

// failureKey hides the account: what was typed may have been a password.
func (t *loginTry) failureKey(i int) string {
	sum := sha256.Sum256([]byte(t.own[i].Key))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}
