package middleware

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/ratelimit"
)

// The defaults of [LoginLimit].
var (
	loginPerAccount = ratelimit.Rate{N: 5, Per: 15 * time.Minute}
	loginPerNetwork = ratelimit.Rate{N: 20, Per: 15 * time.Minute}
	loginPerWide    = ratelimit.Rate{N: 100, Per: 15 * time.Minute}
)

const (
	// maxFailures in a row turn a password off (NIST SP 800-63B-4 section 3.2.2).
	maxFailures = 100
	// loginPatience bounds how long a login that has succeeded waits for its tries to be given back.
	loginPatience = 2 * time.Second
	// loginForgives is how long one login keeps others of its spelling from taking failures off, if it stops midway.
	// It is much longer than loginPatience.
	loginForgives = time.Minute
)

// LoginLimit says how [RateLimitLogin] counts. Only Limiter is demanded.
//
// An account is counted as typed, whether it exists or not, so that no answer tells which. The field is
// brought into one form first: NFKC, case folded, trimmed, without accents and invisible characters. Names
// that share a form are limited together; a success gives back only what was typed in the same spelling, so that
// nobody can register "ADA" to get tries at "ada". If your users table takes still other spellings for the
// same account, use Account.
type LoginLimit struct {
	Limiter ratelimit.Limiter

	// Field is the member of a JSON object, or the field of a form, that has the account; "" means "account". It
	// must be the one that the handler reads. No other Content-Type is let through.
	Field string

	// Account returns the account in the form in which the application looks it up, instead of Field, for
	// example from another part of the request. It may read the body, of at most 64 KiB; the handler gets it
	// again. Its error is answered as [WriteError] does. "" is no account: such requests share one budget.
	Account func(*http.Request) (string, error)

	// Tenant keeps equal names of tenants apart; nil is one tenant. It must return "" for what is no tenant, or
	// whoever makes tenants up has a new budget for each.
	Tenant func(*http.Request) string

	Devices  *Devices // browsers with a budget of their own; nil for none
	Failures Failures // counts failures for longer than a limit does; nil does not

	// The budgets. Zero means 5, 20 and 100 tries in 15 minutes for an account, a network (IPv4 address, IPv6 /64)
	// and a /48. Overall is for all logins together, and off when zero: above it the others are halved and the
	// event is told, but nobody is refused by it alone, for then anyone could lock out everyone.
	PerAccount, PerNetwork, PerWide, Overall ratelimit.Rate

	// Observe is told of events named "limit": each refusal with the outcome "account", "network" or "off", each try
	// above Overall with "overall", and with "kept" and the cause that a success could not give tries back. They
	// do not name the account, because people type passwords where it belongs. nil tells nobody.
	Observe func(context.Context, auth.Event)
}

// Failures counts failed logins without end, in a database: a limit forgets, and 5 tries in 15 minutes
// are 480 a day for ever. At 100 in a row the password is off: every login answers login_failed unasked, except
// from known devices, which have counts of their own, until [LoginLimit.Reset].
//
// Add adds n, which may be negative or 0, to the count of key, not below 0, and returns the new count, in one
// atomic step; a key that is new has 0. A key is 43 letters, digits, "-" and "_" that do not show the account.
// Keys of accounts that do not exist must be kept like others, or their logins would show it. A count that nobody
// has touched for a year may go. An error makes the login 503.
type Failures interface {
	Add(ctx context.Context, key string, n int) (count int, err error)
}

// RateLimitLogin limits the tries at a login, for a route that does nothing else. Put [ClientIP] outside where a
// proxy stands in front, and the check of the origin too ([CSRF.CheckOrigin]), or foreign pages use up tries.
//
// One is taken from each budget before the handler, in one step, so that parallel tries gain nothing. What is
// above is 429 rate_limited. The handler declares a complete login with auth.LoginSucceeded, before it writes;
// starting a session of package session does. Then the account's budget is made new, the network gets its
// part back, and the device is remembered. An error that the handler answers by [WriteError] gives all
// parts back when its code is busy, as the password was not looked at, or second_factor_required, as it was right. Anything
// else gives nothing back.
//
// The body is read, at most 64 KiB of it (413), and the handler reads it again. Of Field it must leave no doubt: a
// name twice or in another letter case, in the query, or no string is 400; other content types are 415.
//
// Every answer has RateLimit-Policy and RateLimit of the network's budget, a refusal those of the budget that
// refused and Retry-After, and no-store. If the Limiter fails the answer is 503 store_unavailable.
//
// A nil Limiter, both Field and Account, Devices that NewDevices did not make and an impossible rate make
// every request 500.
func RateLimitLogin(c LoginLimit) Middleware {
	if err := c.fill(); err != nil {
		return broken(err.Error())
	}
	return wrap(func(w http.ResponseWriter, r *http.Request) (*http.Request, error) {
		body, err := readLoginBody(w, r)
		if err != nil {
			return nil, err
		}
		t := &loginTry{limit: &c, w: w, r: r}
		if err := t.identify(body); err != nil {
			return nil, err
		}
		if err := t.reserve(); err != nil {
			return nil, err
		}
		ctx := context.WithValue(r.Context(), loginTryKey{}, t)
		return withBody(r.WithContext(auth.OnLoginSuccess(ctx, t.succeeded)), body), nil
	})
}

// Reset makes an account's budget as new and forgets its failures. Call it when the account's credentials were
// reset. account is as its user types it, or as Account returns it: of another spelling, the own count stays, and
// past 100 failures that spelling stays off until it is given here, too. Known devices are dropped by
// what was given to [NewDevices].
func (c LoginLimit) Reset(ctx context.Context, tenant, account string) error {
	if err := c.fill(); err != nil {
		return errors.New("middleware: " + err.Error())
	}
	t := &loginTry{limit: &c}
	t.of(tenant, account)
	t.own = t.accountCosts()
	costs := slices.Clone(t.own)
	for i := range costs {
		costs[i].N = -costs[i].Rate.N
	}
	_, err := c.Limiter.Take(ctx, costs...)
	if c.Failures == nil {
		return err
	}
	for i := range t.own {
		n, failed := c.Failures.Add(ctx, t.failureKey(i), 0)
		if failed == nil {
			_, failed = c.Failures.Add(ctx, t.failureKey(i), -n)
		}
		err = errors.Join(err, failed)
	}
	return err
}

// fill puts the defaults in and says what cannot be.
func (c *LoginLimit) fill() error {
	switch {
	case c.Limiter == nil:
		return errors.New("RateLimitLogin needs a Limiter: got nil")
	case c.Field != "" && c.Account != nil:
		return errors.New("RateLimitLogin takes Field or Account: got both")
	case c.Devices != nil && !c.Devices.ready():
		return errors.New("RateLimitLogin got Devices that NewDevices did not make")
	}
	if c.Field == "" {
		c.Field = "account"
	}
	for _, rate := range []struct {
		of      *ratelimit.Rate
		usually ratelimit.Rate
	}{{&c.PerAccount, loginPerAccount}, {&c.PerNetwork, loginPerNetwork}, {&c.PerWide, loginPerWide}, {&c.Overall, c.Overall}} {
		if *rate.of == (ratelimit.Rate{}) {
			*rate.of = rate.usually
		}
		if *rate.of == (ratelimit.Rate{}) {
			continue // Overall is off
		}
		if err := ratelimit.Validate([]ratelimit.Cost{{Key: "login", Rate: *rate.of}}); err != nil {
			return fmt.Errorf("RateLimitLogin: %w", err)
		}
	}
	return nil
}

// tell tells Observe.
func (c *LoginLimit) tell(r *http.Request, outcome string, err error) {
	if c.Observe != nil {
		c.Observe(r.Context(), auth.Event{Name: "limit", Outcome: outcome, Time: time.Now(), Client: auth.ClientOf(r), Err: err})
	}
}

// half is a budget of half the size. What was used of it stays the same part.
func half(r ratelimit.Rate) ratelimit.Rate {
	r.N = max(1, r.N/2)
	return r
}
