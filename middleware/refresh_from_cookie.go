package middleware

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/cookies"
)

// accessHeader gives the new access token to a page that keeps it in memory.
const accessHeader = "X-Access-Token"

// A Refresher exchanges refresh tokens; *session.Sessions is one. The codes TokenInvalid, TokenRevoked,
// RefreshReused and LoginFailed say that the token will never work again. Every other error says "not now".
type Refresher interface {
	// RefreshCookie exchanges the token for a new pair. Whoever repeats it at once gets the same refresh token,
	// and so does who shows one that was made just now.
	RefreshCookie(ctx context.Context, refresh string, from auth.Client) (*auth.Pair, error)
	// Lend returns an access token for one request and changes nothing.
	Lend(ctx context.Context, refresh string, from auth.Client) (*auth.Pair, error)
}

// Refresh is what [RefreshFromCookie] needs. Sessions, Access and CSRF are demanded.
type Refresh struct {
	Sessions Refresher
	Access   auth.Verifier // of the access tokens that Sessions makes: *tokens.Tokens
	Jar      cookies.Jar   // of both tokens; with InHeader of the refresh token only
	CSRF     *CSRF         // its origins are the ones whose pages may cause a rotation

	// InHeader is for pages that keep the access token in memory and send it in Authorization: Bearer. A new
	// one comes in the X-Access-Token header of the answer. Only requests that a script can read the answer of
	// rotate then; for all others a principal is lent. A token that does not hold any more is replaced by one of the
	// same session alone (its sid): where another tab has logged somebody else in, the guard refuses it.
	InHeader bool
}

// RefreshFromCookie stands before the routes of a page. A request whose access token holds passes untouched, and
// so does one without a refresh cookie. Where the access token is missing or does not hold any more, it
// takes a new pair by the refresh cookie, puts both into the request that goes on, and sets the new cookies on the
// answer. It lets nobody in: [RequireAuth] behind it verifies the new token as any other.
//
// Only requests of the own pages rotate, since what another site causes may never deliver its answer:
//
//	same-origin, or an Origin of CSRF's                      rotates
//	none or same-site, a GET navigation                      rotates
//	cross-site, a GET navigation                             is lent a principal for this request: no cookie, nothing ends
//	what would rotate, with Upgrade or Sec-Purpose           is lent one
//	neither Sec-Fetch-Site nor Origin, a safe method         rotates; not with Upgrade
//	anything else                                            goes on as it came
//
// An end that is definite expires both cookies in the answer and takes them out of the request: OptionalAuth sees
// nobody, RequireAuth answers why. A race or an outage changes nothing: where the request meets a guard of
// this package it is refused as auth.TokenExpired or auth.StoreUnavailable, other routes answer as always.
//
// An answer with a cookie of ours has Cache-Control: no-store and keeps the cookie, whatever the handler does to
// its header, unless the handler has set that cookie itself. The answer's Vary names the headers that decided.
// A field that is missing makes every request 500, and so does a Jar that contradicts itself.
func RefreshFromCookie(c Refresh) Middleware {
	switch {
	case c.Sessions == nil:
		return broken("RefreshFromCookie needs Sessions: got nil")
	case c.Access == nil:
		return broken("RefreshFromCookie needs Access: got nil")
	case !c.CSRF.ready():
		return broken("RefreshFromCookie needs CSRF: got one that NewCSRF did not make")
	}
	f := &cookieRefresh{Refresh: c, access: auth.Cookie(c.Jar.Access, c.Access)}
	if c.InHeader {
		f.access = auth.Bearer(c.Access)
	}
	return func(next http.Handler) http.Handler {
		next = orBroken(next)
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			forward, owed, err := f.before(w, r)
			switch {
			case err != nil:
				WriteError(w, r, err)
			case owed == nil:
				next.ServeHTTP(w, forward)
			default:
				hw := &headerWriter{ResponseWriter: w, owed: owed}
				owed.put(w.Header())
				defer hw.seal() // for a handler that writes nothing, or panics and is answered for outside
				next.ServeHTTP(hw, forward)
			}
		})
	}
}

type cookieRefresh struct {
	Refresh
	access auth.Authenticator
}

// before decides. It returns the request that goes on, and what the answer's header owes to the client.
func (f *cookieRefresh) before(w http.ResponseWriter, r *http.Request) (*http.Request, *owed, error) {
	if tried(r) != nil {
		return r, nil, nil // once a request: what the first one was answered stands
	}
	token, unreadable := f.Jar.Refresh(r)
	switch {
	case unreadable == nil:
	case unreadable == error(auth.CredentialsMissing):
		return r, nil, nil
	case isMissing(unreadable): // another cookie came
		return notRefreshed(r, unreadable.Error()), nil, nil
	case auth.CodeOf(unreadable) == auth.Internal:
		return nil, nil, unreadable // the jar contradicts itself
	case auth.CodeOf(unreadable) != auth.RequestMalformed:
		return notRefreshed(r, unreadable.Error()), nil, nil // sealed under a key that this node may not know yet
	}
	_, err := authenticate(f.access, r)
	if err == nil || !f.replaceable(r, auth.CodeOf(err)) {
		return r, nil, nil
	}
	try := &attempt{was: auth.CodeOf(err)}
	if unreadable != nil {
		try.err = unreadable // two refresh cookies, say: the guard's answer expires them
		return try.mark(r), nil, nil
	}
	// A cache must not give what this request got to one that is judged otherwise (RFC 9111 section 4.1).
	w.Header().Add("Vary", "Cookie, Origin, Sec-Fetch-Site, Sec-Fetch-Mode, Sec-Purpose")
	may := f.permit(r)
	if may == nothing {
		return notRefreshed(r, fmt.Sprintf("no page of %q caused the request: got Origin %.100q and Sec-Fetch-Site %.40q",
			f.CSRF.origins, r.Header["Origin"], r.Header["Sec-Fetch-Site"])), nil, nil
	}
	pair, err := f.exchange(r, token, may)
	if err == nil {
		return f.renewed(r, pair, may, try)
	}
	try.err = err
	if !isEnd(err) {
		return try.mark(r), nil, nil
	}
	try.over = true
	return f.ended(r, may, try)
}

// replaceable says whether a new access token may take the place of one that failed with code. With InHeader
// the Authorization header may hold what is not ours, such as an API key; that is never replaced.
func (f *cookieRefresh) replaceable(r *http.Request, code auth.Code) bool {
	switch code {
	case auth.TokenExpired, auth.TokenRevoked:
		return true
	case auth.TokenInvalid:
		return !f.InHeader
	case auth.CredentialsMissing:
		return !f.InHeader || len(r.Header["Authorization"]) == 0
	}
	return false // malformed, or the store is down: the guard says so
}

// exchange asks Sessions, and turns whatever a broken one may do into an error that ends nothing.
func (f *cookieRefresh) exchange(r *http.Request, token string, may permission) (pair *auth.Pair, err error) {
	defer func() {
		if v := recover(); v != nil {
			if v == http.ErrAbortHandler {
				panic(v)
			}
			pair, err = nil, fmt.Errorf("middleware: %T panicked: %v\n%s", f.Sessions, v, debug.Stack())
		}
	}()
	ask := f.Sessions.RefreshCookie
	if may == lend {
		ask = f.Sessions.Lend
	}
	pair, err = ask(r.Context(), token, auth.ClientOf(r))
	if err == nil && (pair == nil || pair.Access == "" || pair.Refresh == "" && may == rotate) {
		return nil, errors.New("middleware: a Refresher returned neither an error nor a pair")
	}
	return pair, err
}

// isEnd tells a definite end from "not now".
func isEnd(err error) bool {
	switch auth.CodeOf(err) {
	case auth.TokenInvalid, auth.TokenRevoked, auth.RefreshReused, auth.LoginFailed:
		return true
	}
	return false
}

// renewed puts the pair into the request and, if it was rotated, into the answer. The page of one session gets nothing
// of another: neither the access token nor an answer for it, only the cookie, which is the browser's.
func (f *cookieRefresh) renewed(r *http.Request, pair *auth.Pair, may permission, try *attempt) (*http.Request, *owed, error) {
	toPage := f.InHeader && (try.was == auth.CredentialsMissing || isOfSession(r.Header.Get("Authorization"), pair.Session))
	set := headerOnly{}
	var err error
	switch {
	case !f.InHeader && may == rotate:
		err = f.Jar.Set(set, r, pair)
	case !f.InHeader:
		err = f.Jar.Set(set, r, &auth.Pair{Access: pair.Access, AccessExpires: pair.AccessExpires})
	case may == rotate:
		err = f.Jar.Set(set, r, &auth.Pair{Refresh: pair.Refresh, RefreshUntil: pair.RefreshUntil})
	}
	if err != nil {
		return nil, nil, err
	}
	forward := try.mark(r)
	forward.Header = r.Header.Clone()
	if err := replaceCookies(forward.Header, set["Set-Cookie"], may == rotate); err != nil {
		return nil, nil, err
	}
	if toPage {
		forward.Header["Authorization"] = []string{"Bearer " + pair.Access}
		try.ambient = true
	}
	if may == lend {
		return forward, nil, nil
	}
	o := &owed{cookies: set["Set-Cookie"]}
	if toPage {
		o.access = pair.Access
	}
	return forward, o, nil
}

// ended takes the dead cookies out of the request. Only a request that may rotate also expires them in the
// browser: what another site causes changes nothing there.
func (f *cookieRefresh) ended(r *http.Request, may permission, try *attempt) (*http.Request, *owed, error) {
	expire := headerOnly{}
	if err := f.Jar.Clear(expire, r); err != nil {
		return nil, nil, err
	}
	forward := try.mark(r)
	forward.Header = r.Header.Clone()
	if err := replaceCookies(forward.Header, expire["Set-Cookie"], true); err != nil || may != rotate {
		return forward, nil, err
	}
	return forward, &owed{cookies: expire["Set-Cookie"]}, nil
}

// An attempt is what became of the refresh of one request. In the request's context it can only make a guard
// stricter, or its refusal more exact; it never lets anybody in.
type attempt struct {
	was     auth.Code // why the access token did not hold
	err     error     // why there is no new one; nil where there is
	over    bool      // err is a definite end, so that nobody is there
	ambient bool      // the token in Authorization was put there because of a cookie
}

type attemptKey struct{}

func (t *attempt) mark(r *http.Request) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), attemptKey{}, t))
}

func tried(r *http.Request) *attempt {
	t, _ := r.Context().Value(attemptKey{}).(*attempt)
	return t
}

// explain returns the reason behind a guard's err: a client that is told "log in" because the store was down
// for a moment would throw its session away. Only what the access token was refused with is explained, so
// that the refusal of another credential stands.
func explain(r *http.Request, err error) error {
	if t := tried(r); t != nil && t.err != nil {
		if code := auth.CodeOf(err); code == auth.CredentialsMissing || code == t.was {
			return auth.SessionCookie.Refuse(t.err)
		}
	}
	why, _ := r.Context().Value(notRefreshedKey{}).(string)
	if why == "" {
		return err
	}
	switch auth.CodeOf(err) {
	case auth.CredentialsMissing, auth.TokenExpired, auth.TokenInvalid, auth.TokenRevoked:
		return fmt.Errorf("%w; RefreshFromCookie left the request as it was: %s", err, why)
	}
	return err
}

type notRefreshedKey struct{}

// notRefreshed leaves word for the log of the guard behind. It changes no decision and no code.
func notRefreshed(r *http.Request, why string) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), notRefreshedKey{}, why))
}

// headerOnly collects what a jar would set.
type headerOnly http.Header

func (h headerOnly) Header() http.Header       { return http.Header(h) }
func (headerOnly) Write(b []byte) (int, error) { return len(b), nil }
func (headerOnly) WriteHeader(int)             {}
