package middleware

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"sync"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/internal/sample"
	"github.com/doorward/doorward/ratelimit"
)

// A loginTry is one request at a login: what was taken for it, and how it is given back.
type loginTry struct {
	limit *LoginLimit
	told  *sample.Sampler // of the events of limit
	w     http.ResponseWriter
	r     *http.Request // as it came: its context is outside of this limit

	account string // as typed, or as Account returned it
	name    string // the account in one form
	device  string // id of the known device; "" for none

	own     []ratelimit.Cost // of the account: see accountCosts
	costs   []ratelimit.Cost // all that was taken, own first
	key     string           // of the count of failures; "" where nothing counts
	taken   string           // from that count
	settled sync.Once        // it is given back once at most
}

type loginTryKey struct{}

// identify finds out whose login it is said to be. A body that is no login has an error with the code validation_failed.
func (t *loginTry) identify(body []byte) error {
	c := t.limit
	names := c.Required
	if c.Account == nil {
		names = append([]string{c.Field}, names...)
	}
	var values map[string]string
	lacks := invalidFields{}
	if len(names) > 0 {
		read, wrong, err := loginFields(t.r, body, names)
		if err != nil {
			return err
		}
		for _, name := range names {
			if wrong[name] != "" {
				lacks[name] = wrong[name]
			} else if read[name] == "" {
				lacks[name] = "required"
			}
		}
		values = read
	}
	account := values[c.Field]
	if c.Account != nil {
		var err error
		if account, err = c.Account(withBody(t.r, body)); err != nil {
			return err
		}
	}
	if wrong := wrongAccount(account); wrong != "" { // looked at before anything that a long one makes dear
		lacks[c.Field] = wrong
	} else if t.of(account); t.name == "" && lacks[c.Field] == "" { // blank, say
		lacks[c.Field] = "required"
	}
	if len(lacks) > 0 {
		return lacks
	}
	return nil
}

// of says whose login it is.
func (t *loginTry) of(account string) {
	t.account, t.name = account, t.limit.form(account)
}

// form is the one form of an account that stands for all that are counted together.
func (c *LoginLimit) form(account string) string {
	if c.Account != nil || wrongAccount(account) != "" {
		return account
	}
	return canonicalAccount(account)
}

// know finds out whether the device is known.
func (t *loginTry) know() (err error) {
	if d := t.limit.Devices; d != nil {
		// As typed: in a form that merges, another one's device could pass for one of this account.
		t.device, err = d.known(t.r, t.limit.Issuer, t.account)
	}
	return err
}

// accountCosts is one from each budget of the account. The first belongs to it alone: to its known device, to its
// name as Account says it, or to this spelling. The second, where there is one, is shared with other spellings.
// They are hidden, because strangers share them.
func (t *loginTry) accountCosts() []ratelimit.Cost {
	cost := func(kind, name string) ratelimit.Cost {
		return ratelimit.Cost{Key: t.limit.budget(kind, name), Rate: t.limit.PerAccount, Hidden: true}
	}
	switch {
	case t.device != "":
		return []ratelimit.Cost{cost("device", t.device+t.name)} // ids have one length
	case t.limit.Account != nil:
		return []ratelimit.Cost{cost("account", t.name)}
	}
	return []ratelimit.Cost{cost("spelling", t.account), cost("account", t.name)}
}

// budget is the key of a budget. The length keeps the border of the issuer.
func (c *LoginLimit) budget(kind, name string) string {
	return "login:" + kind + ":" + strconv.Itoa(len(c.Issuer)) + ":" + c.Issuer + name
}

// noLogin takes a try from the network alone: a body that is no login is tried at nobody's account.
func (t *loginTry) noLogin(lacks error) error {
	network, err := networkCosts("login:", t.r, t.limit.PerNetwork, t.limit.PerWide)
	if err != nil {
		return err
	}
	d, err := t.limit.Limiter.Take(t.r.Context(), network...)
	if err != nil {
		return fmt.Errorf("%w: login limit: %w", auth.StoreUnavailable, err)
	}
	tellLimit(t.w.Header(), "login", d)
	if !d.OK {
		t.tell("network", d.Err())
		return d.Err()
	}
	return lacks
}

// reserve takes a try from every budget, or says why there is none.
func (t *loginTry) reserve() error {
	c := t.limit
	network, err := networkCosts("login:", t.r, c.PerNetwork, c.PerWide)
	if err != nil {
		return err
	}
	t.own = t.accountCosts()
	t.costs = append(slices.Clone(t.own), network...)
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
		t.tell(outcome, d.Err())
		return d.Err()
	}
	if c.Failures == nil {
		return nil
	}
	if err := t.takeFailure(); err != nil {
		t.settle(t.giveBack) // nothing was looked at
		return fmt.Errorf("%w: count of failures: %w", auth.StoreUnavailable, err)
	}
	if t.taken == "" {
		err := fmt.Errorf("%w: the password is off after %d failures in %v", auth.LoginFailed, maxFailures, failureSpan)
		t.tell("off", err)
		if busy := c.Decoy(t.r.Context(), t.account); auth.CodeOf(busy) == auth.Busy {
			t.settle(t.giveBack) // as where a password was not looked at
			return busy
		}
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
	overall := ratelimit.Cost{Key: c.budget("overall", ""), Rate: c.Overall, Hidden: true}
	all := append(slices.Clone(t.costs), overall)
	d, err := c.Limiter.Take(ctx, all...)
	if err != nil || d.OK || d.Cost.Key != overall.Key {
		t.costs = all
		return d, err
	}
	t.tell("overall", d.Err())
	for i := range t.costs {
		t.costs[i].Rate = half(t.costs[i].Rate)
	}
	return c.Limiter.Take(ctx, t.costs...)
}

// takeFailure takes a try from the count that lasts, before anything is compared.
func (t *loginTry) takeFailure() (err error) {
	c, ctx := t.limit, t.r.Context()
	subject, err := c.Subject(ctx, t.account)
	if err != nil {
		return err
	}
	if t.key, err = c.failureKey(subject, t.name, t.device); err != nil {
		return err
	}
	t.taken, err = c.Failures.Take(ctx, t.key, maxFailures, failureSpan)
	return err
}

// giveFailure gives back what this try took from that count, and no more: a guesser's failures outlast each login.
func (t *loginTry) giveFailure(ctx context.Context) error {
	if t.taken == "" {
		return nil
	}
	return t.limit.Failures.Give(ctx, t.key, t.taken)
}

// succeeded is what auth.LoginSucceeded calls.
func (t *loginTry) succeeded() {
	t.settle(func(ctx context.Context) error {
		err := errors.Join(t.forgive(ctx), t.giveFailure(ctx))
		if d := t.limit.Devices; d != nil {
			err = errors.Join(err, d.remember(t.w, t.r, t.limit.Issuer, t.account, t.device))
		}
		return err
	})
	auth.LoginSucceeded(t.r.Context()) // for a limit outside of this one
}

// undecided gives everything back as it was taken.
func (t *loginTry) undecided() {
	t.settle(func(ctx context.Context) error { return errors.Join(t.giveBack(ctx), t.giveFailure(ctx)) })
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
			t.tell("kept", err)
		}
	})
}

// giveBack gives each budget the part of this try back.
func (t *loginTry) giveBack(ctx context.Context) error { return t.refund(ctx, -1) }

// forgive gives each budget its part back and makes the own one new. What came from other spellings stays.
func (t *loginTry) forgive(ctx context.Context) error { return t.refund(ctx, -t.costs[0].Rate.N) }

// refund gives n back to the own budget and one to each network. The budget that is shared with other spellings gets
// what this very step took off the own one, no more: of parallel tries one may have given back what another one took,
// and a second time it would come off the failures of strangers. It gets it as a span of time, since the limiter may
// count both at another rate than it was asked for.
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
	shared := back[1]
	d, err := t.limit.Limiter.Take(ctx, slices.Delete(back, 1, 2)...)
	if err != nil {
		return err
	}
	if shared.N, shared.Back = 0, d.Before-d.Reset; shared.Back <= 0 {
		return nil
	}
	_, err = t.limit.Limiter.Take(ctx, shared)
	return err
}

// tell tells Observe.
func (t *loginTry) tell(outcome string, err error) {
	c := t.limit
	if c.Observe == nil {
		return
	}
	account, _ := c.named(t.account, t.name) // RateLimitLogin has tried the key; one that cannot be had now is ""
	now, missed, due := t.told.Due(sample.Kind{Word: outcome, Place: account})
	if !due {
		return
	}
	c.Observe(t.r.Context(), auth.Event{
		Name: "limit", Outcome: outcome, Time: now, Missed: missed, Account: account, Client: auth.ClientOf(t.r), Err: err,
	})
}
