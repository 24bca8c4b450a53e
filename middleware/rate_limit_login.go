package middleware

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/internal/sample"
	"github.com/doorward/doorward/ratelimit"
)

// The defaults of [LoginLimit].
var (
	loginPerAccount = ratelimit.Rate{N: 5, Per: 15 * time.Minute}
	loginPerNetwork = ratelimit.Rate{N: 20, Per: 15 * time.Minute}
	loginPerWide    = ratelimit.Rate{N: 100, Per: 15 * time.Minute}
)

const (
	// loginPatience bounds how long a login that has succeeded waits for its tries to be given back.
	loginPatience = 2 * time.Second

	maxEventAccount = 128 // bytes of a typed account that an event shows, before they are escaped
)

// LoginLimit says how [RateLimitLogin] counts. Limiter and Issuer are demanded, with Failures also Subject and Keys.
//
// An account is counted as typed, whether it exists or not, so that no answer tells which. The field is
// brought into one form first: NFKC, case folded, trimmed, without accents and invisible characters. Names
// that share a form are limited together; a success gives back only what was typed in the same spelling, so that
// nobody can register "ADA" to get tries at "ada". If your users table takes still other spellings for the
// same account, use Account.
type LoginLimit struct {
	Limiter ratelimit.Limiter

	// Issuer names the pool of users that logs in here, as tokens.Config.Issuer does: equal names of two issuers have
	// budgets of their own under one Limiter, and counts of their own in one Failures. In sessionhttp.Config "" is
	// the issuer of the sessions.
	Issuer string

	// Field is the member of a JSON object, or the field of a form, that has the account; "" means "account". It
	// must be the one that the handler reads. No other Content-Type is let through.
	Field string

	// Required are further fields of that body without which it is no login, such as "password". One that is missing,
	// empty or no text is 422, before a try is taken from anybody's account.
	Required []string

	// Account returns the account in the form in which the application looks it up, instead of Field, for
	// example from another part of the request. It may read the body, of at most 64 KiB; the handler gets it
	// again. Its error is answered as [WriteError] does. "" is 422.
	Account func(*http.Request) (string, error)

	Devices *Devices // browsers with a budget of their own; nil for none

	// Failures counts failures for longer than a limit does; nil does not. Subject says then whose an account is, in the
	// form in which it was typed or Account returned it: the stable id, so that all names of one user share a count, and
	// "" for an account that nobody has. It is asked at each try, after the budgets. Its error is an outage, 503.
	Failures Failures
	Subject  func(ctx context.Context, account string) (string, error)

	// Decoy does with an account what the handler does with a wrong password for it, with a text that is no password: it
	// looks the account up and hashes. Demanded with Failures; sessionhttp fills it in with its Login. It is asked where a
	// password is off, because an answer that comes at once would show which names share a user's count and, after the
	// secret of Keys has changed, which names exist. What it returns counts for nothing but an error with the code busy,
	// which is answered as the handler's is.
	Decoy func(ctx context.Context, account string) error

	// Keys gives the key of hashes of what was typed, in events and in the choice of the count that unknown names share.
	// Nil is a random key of this process: then events of two processes do not show that they are about one account.
	Keys KeySource

	// The budgets. Zero means 5, 20 and 100 tries in 15 minutes for an account, a network (IPv4 address, IPv6 /64)
	// and a /48. Overall is for all logins of Issuer together, and off when zero: above it the others are halved and
	// the event is told, but nobody is refused by it alone, for then anyone could lock out everyone.
	PerAccount, PerNetwork, PerWide, Overall ratelimit.Rate

	// Observe is told of events named "limit": each refusal with the outcome "account", "network" or "off", each try
	// above Overall with "overall", and with "kept" and the cause that a success could not give tries back. Their
	// Account is what [LoginLimit.Named] says. Of one outcome and account one is told in 10 s, of one outcome 60 a minute
	// over all accounts; its Missed says how many were left out since the last one. nil tells nobody.
	Observe func(context.Context, auth.Event)

	// AllowTypedAccounts writes the account into events as it was typed. People type passwords where it belongs, which are
	// in the log then.
	AllowTypedAccounts bool
}

// Named returns how events name an account that was typed: "#" and 22 characters of a keyed hash of its one form, so that
// who knows the account and the key finds its events, and a password that was typed there cannot be guessed at from
// a log. The key is that of Keys for Issuer, and changes with the current secret. With AllowTypedAccounts it is the
// account itself, of which the first 128 bytes are kept and then escaped (see auth.Printable). "" stays "". No Issuer and a
// key that cannot be had are errors.
func (c LoginLimit) Named(account string) (string, error) {
	return c.named(account, c.form(account))
}

// named is Named of an account whose form is known: folding is dear.
func (c *LoginLimit) named(account, form string) (string, error) {
	if account == "" || c.AllowTypedAccounts {
		return auth.Printable(account, maxEventAccount), nil
	}
	if c.Issuer == "" {
		return "", errNoIssuer("Named")
	}
	sum, err := c.hashed("event", form)
	if err != nil {
		return "", err
	}
	return "#" + base64.RawURLEncoding.EncodeToString(sum)[:22], nil
}

// errNoIssuer is for the value that an application has given to another package, which has filled in a copy.
func errNoIssuer(method string) error {
	return fmt.Errorf("middleware: LoginLimit.%s needs the Issuer: got none, expected that of the login; "+
		"where the limit stands in sessionhttp.Config set it to that of the sessions", method)
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
// The body is read, at most 64 KiB of it (413), and the handler reads it again. Of Field and Required it must leave no
// doubt: a name twice or in another letter case, or in the query, is 400; other content types are 415. One that is
// missing, empty or no text is 422 validation_failed with the fields, and takes from the network's budget alone. So is an
// account of more than 1,024 bytes, of invalid UTF-8 or with a NUL.
//
// Every answer has RateLimit-Policy and RateLimit of the network's budget, a refusal those of the budget that
// refused and Retry-After, and no-store; but for 400, 413 and 415, which are decided before a budget is asked. If the Limiter or Failures fail the answer is 503 store_unavailable. A request
// whose RemoteAddr is no address is 500: see [ClientIP] and [TrustUnixSocket].
//
// A nil Limiter, no Issuer, both Field and Account, Failures without Subject, Keys or Decoy, Devices that NewDevices did not
// make and an impossible rate make every request 500.
func RateLimitLogin(c LoginLimit) Middleware {
	if err := c.fill(); err != nil {
		return broken(err.Error())
	}
	if c.Failures != nil && c.Decoy == nil {
		return broken("RateLimitLogin needs a Decoy beside Failures: got nil")
	}
	told := &sample.Sampler{}
	return wrap(func(w http.ResponseWriter, r *http.Request) (*http.Request, error) {
		body, err := readLoginBody(w, r)
		if err != nil {
			return nil, err
		}
		t := &loginTry{limit: &c, told: told, w: w, r: r}
		if err := t.identify(body); auth.CodeOf(err) == auth.ValidationFailed {
			return nil, t.noLogin(err)
		} else if err != nil {
			return nil, err
		}
		if err := t.know(); err != nil {
			return nil, err
		}
		if err := t.reserve(); err != nil {
			return nil, err
		}
		ctx := context.WithValue(r.Context(), loginTryKey{}, t)
		return withBody(r.WithContext(auth.OnLoginSuccess(ctx, t.succeeded)), body), nil
	})
}

// Reset makes an account's budget as new and drops the count of its failures. Call it when the account's credentials were
// reset. account is as its user types it, or as Account returns it; other spellings keep their budgets. Known
// devices are dropped by what was given to [NewDevices]. No Issuer is an error: a budget belongs to one.
func (c LoginLimit) Reset(ctx context.Context, account string) error {
	if c.Issuer == "" {
		return errNoIssuer("Reset")
	}
	if err := c.fill(); err != nil {
		return errors.New("middleware: " + err.Error())
	}
	t := &loginTry{limit: &c}
	t.of(account)
	costs := t.accountCosts()
	for i := range costs {
		costs[i].N = -costs[i].Rate.N
	}
	_, err := c.Limiter.Take(ctx, costs...)
	if c.Failures == nil {
		return err
	}
	subject, failed := c.Subject(ctx, account)
	if failed == nil && subject != "" { // what unknown names share is not theirs to drop
		var key string
		if key, failed = c.failureKey(subject, t.name, ""); failed == nil {
			failed = c.Failures.Drop(ctx, key)
		}
	}
	return errors.Join(err, failed)
}

// fill puts the defaults in and says what cannot be.
func (c *LoginLimit) fill() error {
	switch {
	case c.Limiter == nil:
		return errors.New("RateLimitLogin needs a Limiter: got nil")
	case c.Issuer == "":
		return errors.New("RateLimitLogin needs an Issuer, such as that of the tokens: got none, so that two pools of users would share tries")
	case c.Failures != nil && (c.Subject == nil || c.Keys == nil):
		return fmt.Errorf("RateLimitLogin needs Subject and Keys beside Failures: got Subject %t, Keys %t", c.Subject != nil, c.Keys != nil)
	case c.Field != "" && c.Account != nil:
		return errors.New("RateLimitLogin takes Field or Account: got both")
	case c.Devices != nil && !c.Devices.ready():
		return errors.New("RateLimitLogin got Devices that NewDevices did not make")
	}
	if c.Field == "" {
		c.Field = "account"
	}
	if slices.Contains(c.Required, "") || slices.Contains(c.Required, c.Field) && c.Account == nil {
		return fmt.Errorf("RateLimitLogin got Required %q, expected names, and not %q, which is required anyway", c.Required, c.Field)
	}
	if _, err := c.hashed("", ""); err != nil {
		return fmt.Errorf("RateLimitLogin: Keys: %w", err)
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

// half is a budget of half the size. What was used of it stays the same part.
func half(r ratelimit.Rate) ratelimit.Rate {
	r.N = max(1, r.N/2)
	return r
}
