package middleware

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"sync"

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
	count, err := t.addFailures(t.r.Context(), 1)
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
		err := errors.Join(t.forgive(ctx), t.forgiveFailures(ctx))
		if d := t.limit.Devices; d != nil {
			err = errors.Join(err, d.remember(t.w, t.r, t.tenant, t.account, t.device))
		}
		return err
	})
	auth.LoginSucceeded(t.r.Context()) // for a limit outside of this one
}

// busy gives everything back as it was taken.
func (t *loginTry) busy() {
	t.settle(func(ctx context.Context) error {
		_, err := t.addFailures(ctx, -1)
		return errors.Join(t.giveBack(ctx), err)
	})
	loginBusy(t.r.Context())
}

// loginBusy is called by WriteError for an error with the code busy.
func loginBusy(ctx context.Context) {
	if t, _ := ctx.Value(loginTryKey{}).(*loginTry); t != nil {
		t.busy()
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

func (t *loginTry) giveBack(ctx context.Context) error {
	_, err := t.limit.Limiter.Take(ctx, backOne(t.costs)...)
	return err
}

func backOne(costs []ratelimit.Cost) []ratelimit.Cost {
	back := slices.Clone(costs)
	for i := range back {
		back[i].N = -1
	}
	return back
}

// forgive gives each budget its part back and makes the own one new. The form gets back what the own one has
// used, and keeps what came from other spellings.
func (t *loginTry) forgive(ctx context.Context) error {
	back := backOne(t.costs)
	if len(t.own) == 1 {
		back[0].N = -back[0].Rate.N
		_, err := t.limit.Limiter.Take(ctx, back...)
		return err
	}
	for i := range back {
		back[i].Hidden = i > 0 // so that the decision is about the own one
	}
	d, err := t.limit.Limiter.Take(ctx, back...)
	used := back[0].Rate.N - d.Remaining
	if err != nil || used == 0 {
		return err
	}
	back[0].N, back[1].N = -used, -used
	_, err = t.limit.Limiter.Take(ctx, back[:2]...)
	return err
}

// addFailures adds n for each budget of the account, and returns the count of the last, which has them all. What
// has no account has no password to turn off.
func (t *loginTry) addFailures(ctx context.Context, n int) (count int, err error) {
	if t.name == "" || t.limit.Failures == nil {
		return 0, nil
	}
	for i := range t.own {
		if count, err = t.limit.Failures.Add(ctx, t.failureKey(i), n); err != nil {
			return 0, err
		}
	}
	return count, nil
}

// forgiveFailures does to the counts what forgive does to the budgets.
func (t *loginTry) forgiveFailures(ctx context.Context) error {
	f := t.limit.Failures
	if f == nil {
		return nil
	}
	count, err := f.Add(ctx, t.failureKey(0), 0)
	if err != nil {
		return err
	}
	for i := range t.own {
		_, failed := f.Add(ctx, t.failureKey(i), -count)
		err = errors.Join(err, failed)
	}
	return err
}

// failureKey hides the account: what was typed may have been a password.
func (t *loginTry) failureKey(i int) string {
	sum := sha256.Sum256([]byte(t.own[i].Key))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}
