// Package sessionhttp serves the sessions of an application's own users over HTTP: log in, refresh, log out, who
// am I, list and end sessions, as one [net/http.Handler].
//
// It does not own users or passwords (the application's [Config].Login checks them), sessions (package session), or
// the guards of other routes (package middleware). A page whose sessions are to go on by themselves puts
// middleware.RefreshFromCookie before all its routes, these included.
package sessionhttp

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"time"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/auth/session"
	"github.com/doorward/doorward/cookies"
	"github.com/doorward/doorward/middleware"
	"github.com/doorward/doorward/ratelimit"
)

// maxBody is the longest body, in bytes: a password of 2048 bytes with every character escaped, and room.
const maxBody = 16 << 10

// The defaults of Config.
var (
	refreshPerSession = ratelimit.Rate{N: 300, Per: 5 * time.Minute}
	refreshPerNetwork = ratelimit.Rate{N: 60, Per: 15 * time.Minute}
	deadPerSession    = ratelimit.Rate{N: 5, Per: time.Minute} // showings of a dead token that reach the exchange
	loginsPerSubject  = ratelimit.Rate{N: 60, Per: time.Hour}
	loginsPerNetwork  = ratelimit.Rate{N: 3000, Per: time.Hour}
)

// Config is what [New] takes. Sessions, Access, Login and Limit.Limiter are demanded, and CSRF unless Bearer is set.
type Config struct {
	Sessions *session.Sessions
	Access   auth.Verifier // of the access tokens that Sessions makes, and of no others: the *tokens.Tokens of its Config

	// Login checks a password. Of the principal that it returns session.Sessions.Start says what is needed; above
	// all a Version that was read together with the password's hash. auth.LoginFailed says no, the same for an
	// unknown account, a wrong password and a blocked user, each after the same work (see package password).
	// auth.Busy says that the password was not looked at. An error without a code is an outage, 503, but for
	// sql.ErrNoRows, which is a no; so is any other code, since the client must not learn more.
	Login func(ctx context.Context, account, password string) (*auth.Principal, error)

	// SecondFactor is asked when Login has proven the password, and never before: who does not know it cannot use up a user's
	// tries at codes. p is what Login returned, code what the client has sent beside the password, "" for nothing.
	// Nil as an error says that the login is complete; what the code has proven is added to p.Methods, such as "otp" and
	// "mfa" (RFC 8176). auth.SecondFactorRequired says that the account has a factor and there is no code: the client asks
	// its user and sends the whole login again. Whether an account has one stands in its own row. Other errors are
	// answered as Login's are, auth.RateLimited included. Nil: a password alone is a login, and a code is refused.
	SecondFactor func(ctx context.Context, p *auth.Principal, code string) error

	// Limit bounds the tries at logins. Its Field stays empty, since the member is "account", and so does Required, since
	// "password" is. Where its Issuer is "" it takes that of Sessions, and where its Observe is nil the one below.
	Limit middleware.LoginLimit

	// RefreshPerSession bounds what one session is given by refresh, and what by narrow: 300 each at once, and 300 more in 5
	// minutes. A client that refreshes when its access token ends (30 s at least) never needs so many, with 20 tabs that each
	// do so, nor when all refresh at once since their tokens have become stale. The limit stops minting alone: a token that
	// gets nothing is judged whatever the budget, and takes nothing from it. So nobody who has a copy of a token keeps a
	// theft from being seen, or locks the owner out.
	//
	// RefreshPerNetwork bounds by the client's network what is no token of ours, before any store is asked, and the refusals
	// of tokens that are ours, such as a binding that is not shown: 60 in 15 minutes of an IPv4 address or an IPv6 /64, five
	// times that of a /48. That a session is over is told without a limit, with bounded work and events, and an outage costs nobody. Zero means these.
	//
	// What is above is 429, which ends nothing and expires no cookie. An office is never limited together by tokens that
	// are good. They use Limit.Limiter.
	RefreshPerSession, RefreshPerNetwork ratelimit.Rate

	// LoginsPerSubject and LoginsPerNetwork bound the logins that succeed, and the calls that end all or all other sessions of a
	// subject: 60 an hour, and 3,000 an hour of an IPv4 address or an IPv6 /64. Each leaves an entry on the revocation list
	// sooner or later, which is kept for an hour, past every limit of memory; docs/revocation.md has what that costs.
	// Zero means these. What is above is 429. A logout is never limited: its login has paid for it.
	LoginsPerSubject, LoginsPerNetwork ratelimit.Rate

	// Bearer is for programs: tokens come and go in bodies, the access token is shown in Authorization, and no
	// cookie is ever read or set. Without it the tokens are in the cookies of Jar, which no script can read, and
	// no body ever holds one. An application that has both kinds of clients mounts two handlers.
	Bearer bool

	// InHeader is for pages that keep the access token in memory: it comes in the header X-Access-Token of a login or
	// refresh and is shown in Authorization: Bearer, and the refresh token alone is in a cookie of Jar. Once a page
	// has a token it shows it with every request, a refresh or logout included and the expired one too, or
	// X-CSRF-Token: they say whose page it is, where another tab has logged somebody else in. It goes together
	// with InHeader of middleware.Refresh, not with Bearer.
	InHeader bool

	Jar  cookies.Jar      // without Bearer; its zero value is the strict setting
	CSRF *middleware.CSRF // without Bearer

	// Observe is told of logins that Login refused: an event "login" with the code as its outcome, or an "outage".
	// Its Account is what was typed, as Limit.Named says it: a keyed hash, because people type passwords where it belongs.
	// "second_factor_required" has the subject, as the password was right. Nil tells nobody. What happens to sessions
	// is told by session.Config.Observe.
	Observe func(context.Context, auth.Event)
}

// New returns the handler of these routes, below the path that it is mounted at with [http.StripPrefix]:
//
//	POST   /login          {"account", "password"}: begins a session. With SecondFactor also {"code"}; where it lacks, 401
//	                       second_factor_required, and the same again with the code
//	                       With Config.Remembered of Sessions also {"remember": true}
//	POST   /narrow         with Bearer: {"refresh_token", "tenant"}: an access token for one organisation (see
//	                       session.Sessions.Narrow); 403 tenant_forbidden where the subject is no member
//	POST   /refresh        a new pair for the refresh token. With Bearer: {"refresh_token"}
//	POST   /logout         ends the session of the refresh token, also when the access token has expired: 204, and again 204.
//	                       With Bearer: {"refresh_token"}
//	GET    /session        who am I; where a cookie proved it the answer has the session's token in X-CSRF-Token
//	GET    /sessions       the subject's live sessions, the last used first
//	DELETE /sessions       ends all of them, this one included: 204
//	DELETE /sessions?except=current   ends the others. This one's access token has to be refreshed: 204
//	DELETE /sessions/{id}  ends one: 204, or 404 for another's as for an unknown one
//
// Login and refresh answer with {"session", "expires_in"}, in seconds, and with Bearer also with "access_token",
// "token_type", "refresh_token" and "refresh_expires_in" (as RFC 6749 section 5.1 names them). With InHeader the access
// token is in X-Access-Token.
//
// Without Bearer a login must not come from another site, and a refresh or logout must be called the application's
// own by Origin or Sec-Fetch-Site, since their session is not yet known; what is guarded by the access token needs
// X-CSRF-Token as well (see middleware.CSRF). A login ends the session whose refresh cookie the browser had.
// A refresh within the grace time of another one, of RefreshFromCookie's too, answers with the same refresh token. With
// InHeader a page of one session neither refreshes nor ends the one that the cookie is of: 403 csrf_failed.
//
// Bodies are JSON of at most 16 KiB (413, 415). A member that is missing, empty, unknown or of a wrong type is 422
// validation_failed with the fields, before any store is asked; a name twice or no JSON is 400. No cache keeps an answer. Refusals are given by middleware.WriteError, as is the 404 of every
// other route and method.
//
// New says what was got and what was expected of a Config that cannot be.
func New(c Config) (http.Handler, error) {
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("sessionhttp: %w", err)
	}
	for _, rate := range []struct {
		of      *ratelimit.Rate
		usually ratelimit.Rate
		name    string
	}{
		{&c.RefreshPerSession, refreshPerSession, "RefreshPerSession"}, {&c.RefreshPerNetwork, refreshPerNetwork, "RefreshPerNetwork"},
		{&c.LoginsPerSubject, loginsPerSubject, "LoginsPerSubject"}, {&c.LoginsPerNetwork, loginsPerNetwork, "LoginsPerNetwork"},
	} {
		if *rate.of == (ratelimit.Rate{}) {
			*rate.of = rate.usually
		}
		if err := ratelimit.Validate([]ratelimit.Cost{{Key: "any", Rate: *rate.of}}); err != nil {
			return nil, fmt.Errorf("sessionhttp: Config.%s: %w", rate.name, err)
		}
	}
	if c.Observe == nil {
		c.Observe = func(context.Context, auth.Event) {}
	}
	if c.Limit.Observe == nil {
		c.Limit.Observe = c.Observe
	}
	if c.Limit.Decoy == nil { // a password that nobody has, so that what Login says counts for nothing
		c.Limit.Decoy = func(ctx context.Context, account string) error {
			_, err := c.Login(ctx, account, rand.Text())
			return err
		}
	}
	c.Limit.Issuer, c.Limit.Required = c.Sessions.Issuer(), []string{"password"}
	h := &handler{Config: c}
	h.bySession = middleware.RateLimit(c.Limit.Limiter, c.RefreshPerSession, refreshKey)
	h.byNetwork = middleware.RateLimit(c.Limit.Limiter, c.RefreshPerNetwork, nil)
	h.byLogins = middleware.Chain(middleware.RateLimit(c.Limit.Limiter, c.LoginsPerSubject, h.subjectKey), middleware.RateLimit(c.Limit.Limiter, c.LoginsPerNetwork, nil))
	asJSON := middleware.RequireJSON(maxBody)
	// Who has sent a login, and in what form, is looked at before the limit: foreign pages use up nobody's tries.
	limit := middleware.RateLimitLogin(c.Limit)
	var login, byRefresh, byAccess middleware.Middleware
	if c.Bearer {
		h.access = auth.Bearer(c.Access)
		login = middleware.Chain(asJSON, limit)
		byRefresh = asJSON
		byAccess = middleware.RequireAuth(h.access)
	} else {
		h.access = auth.Cookie(c.Jar.Access, c.Access)
		if c.InHeader {
			h.access = auth.Bearer(c.Access)
		}
		login = middleware.Chain(require(c.CSRF.CheckOrigin), asJSON, limit)
		byRefresh = require(h.isOwn) // there is no body
		byAccess = middleware.Chain(middleware.RequireAuth(h.access), middleware.RequireCSRF(c.CSRF))
	}

	mux := http.NewServeMux()
	mux.Handle("POST /login", login(endpoint(h.login)))
	mux.Handle("POST /refresh", byRefresh(endpoint(h.refresh)))
	mux.Handle("POST /logout", byRefresh(endpoint(h.logout)))
	if c.Bearer {
		mux.Handle("POST /narrow", byRefresh(endpoint(h.narrow)))
	}
	mux.Handle("GET /session", byAccess(endpoint(h.whoAmI)))
	mux.Handle("GET /sessions", byAccess(endpoint(h.list)))
	mux.Handle("DELETE /sessions", byAccess(endpoint(h.endAll)))
	mux.Handle("DELETE /sessions/{id}", byAccess(endpoint(h.end)))
	mux.Handle("/", endpoint(func(http.ResponseWriter, *http.Request) error { return auth.NotFound }))
	return h.private(mux), nil
}

// check says what is wrong.
func (c *Config) check() error {
	switch {
	case c.Sessions == nil:
		return errors.New("Config.Sessions: got nil, expected the sessions (session.New)")
	case c.Access == nil:
		return errors.New("Config.Access: got nil, expected the tokens of the sessions (tokens.New)")
	case c.Login == nil:
		return errors.New("Config.Login: got nil, expected the application's check of a password")
	case c.Limit.Limiter == nil:
		return errors.New("Config.Limit.Limiter: got nil, expected a limiter (ratelimit.NewMemory, redislimit.New): a login without a limit is a hole")
	case c.Limit.Field != "" && c.Limit.Field != "account":
		return fmt.Errorf(`Config.Limit.Field: got %q, expected none, since a login's member is "account"`, c.Limit.Field)
	}
	switch {
	case c.Limit.Issuer != "" && c.Limit.Issuer != c.Sessions.Issuer():
		return fmt.Errorf("Config.Limit.Issuer: got %q, expected that of Sessions, %q, or none", c.Limit.Issuer, c.Sessions.Issuer())
	case len(c.Limit.Required) > 0:
		return fmt.Errorf(`Config.Limit.Required: got %q, expected none, since a login's members are "account" and "password"`, c.Limit.Required)
	}
	if c.Bearer {
		switch {
		case c.CSRF != nil || !reflect.ValueOf(c.Jar).IsZero():
			return errors.New("Config.Bearer: got CSRF or Jar too, expected neither: there are no cookies")
		case c.InHeader:
			return errors.New("Config.InHeader: got Bearer too, expected one of the two: Bearer has no refresh cookie")
		case c.Limit.Devices != nil:
			return errors.New("Config.Limit.Devices: got some, expected nil with Bearer: a device is known by a cookie")
		}
		return nil
	}
	if _, err := c.CSRF.Token(&auth.Principal{Session: "any"}); err != nil {
		return fmt.Errorf("Config.CSRF: got one that makes no token, expected middleware.NewCSRF's (or Bearer, for no cookies): %w", err)
	}
	jar := c.Jar
	jar.InsecureLoopback = false // that one is judged by a real request
	if _, err := jar.Access(&http.Request{}); auth.CodeOf(err) != auth.CredentialsMissing {
		return fmt.Errorf("Config.Jar: got one that contradicts itself: %w", err)
	}
	return nil
}

// private keeps every answer out of caches and frames: each belongs to one user.
func (h *handler) private(next http.Handler) http.Handler {
	vary := "Cookie"
	switch {
	case h.Bearer:
		vary = "Authorization"
	case h.InHeader:
		vary = "Authorization, Cookie"
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header.Set("Cache-Control", "no-store")
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		header.Set("Referrer-Policy", "no-referrer")
		header.Add("Vary", vary) // for a cache that no-store does not stop
		next.ServeHTTP(w, r)
	})
}

// require makes a middleware of a decision.
func require(decide func(*http.Request) error) middleware.Middleware {
	return func(next http.Handler) http.Handler {
		return endpoint(func(w http.ResponseWriter, r *http.Request) error {
			if err := decide(r); err != nil {
				return err
			}
			next.ServeHTTP(w, r)
			return nil
		})
	}
}

// isOwn lets on what a browser says to come from the application's own pages. A session that is proven by a
// refresh cookie alone cannot be asked for its CSRF token, so that silence is refused too.
func (h *handler) isOwn(r *http.Request) error {
	if err := h.CSRF.CheckOrigin(r); err != nil {
		return err
	}
	if len(r.Header["Origin"]) == 0 && len(r.Header["Sec-Fetch-Site"]) == 0 {
		return fmt.Errorf("%w: neither Origin nor Sec-Fetch-Site; a program sends Origin, or has a handler with Bearer", auth.CSRFFailed)
	}
	return nil
}

// An endpoint answers a request, or returns what it is refused with; then it has written nothing.
type endpoint func(w http.ResponseWriter, r *http.Request) error

func (e endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if err := e(w, r); err != nil {
		middleware.WriteError(w, r, err)
	}
}
