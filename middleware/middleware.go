// Package middleware guards handlers of net/http: each middleware decides whether a request goes on to
// the handler behind it.
//
// A guard that needs a principal and finds none answers 401 by itself, so that a forgotten
// [RequireAuth] closes a route and does not open it. Server-sent events, WebSocket upgrades, Flush and
// [http.ResponseController] work through all of them: none wraps the [http.ResponseWriter] but [RefreshFromCookie],
// on the answers that it gives cookies to, and that one passes everything on.
// A constructor never fails and never panics: a nil or unusable argument makes every request answer
// 500 with the code internal, and its cause goes to the log.
//
// It does not own proofs (packages auth and tokens), cookies (package cookies), sessions or routes, nor
// CORS, for which docs/middleware.md shows github.com/rs/cors.
package middleware

import (
	"errors"
	"log/slog"
	"net/http"
	"slices"
)

// Middleware is what every router of net/http takes. It is an alias, so that neither side needs the
// other's name for it.
type Middleware = func(http.Handler) http.Handler

// Chain makes one middleware of several. The first is the outermost: it sees the request first. No
// middlewares leave a handler as it is. A nil among them makes every request answer 500, for the guard
// that was meant to stand there is missing.
func Chain(m ...Middleware) Middleware {
	m = slices.Clone(m) // the caller's slice may change later, a chain must not
	if slices.ContainsFunc(m, func(f Middleware) bool { return f == nil }) {
		return broken("Chain was given a nil Middleware")
	}
	return func(next http.Handler) http.Handler {
		for _, f := range slices.Backward(m) {
			next = f(next)
		}
		return next
	}
}

// A step is what a middleware does before the handler. It returns the request that goes on, or the
// error that is answered instead.
type step func(w http.ResponseWriter, r *http.Request) (*http.Request, error)

// wrap makes a middleware of a step.
func wrap(before step) Middleware {
	told := newTeller(Refusals{Observe: logRefusal(slog.LevelInfo)})
	return func(next http.Handler) http.Handler {
		next = orBroken(next)
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			forward, err := before(w, r)
			if err != nil {
				refuse(w, r, err, told)
				return
			}
			next.ServeHTTP(w, forward)
		})
	}
}

// orBroken stands in for a handler that is missing.
func orBroken(next http.Handler) http.Handler {
	if next == nil {
		return answer(errors.New("middleware: the handler behind a middleware is nil"))
	}
	return next
}

// broken is the middleware that a constructor returns for arguments that it cannot guard with.
func broken(cause string) Middleware {
	err := errors.New("middleware: " + cause)
	return func(http.Handler) http.Handler { return answer(err) }
}

// answer is a handler that answers every request with err.
func answer(err error) http.Handler {
	told := newTeller(Refusals{Observe: logRefusal(slog.LevelInfo)}) // of its own, so that each cause is told
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { refuse(w, r, err, told) })
}

// isSafe says whether a method is one that changes nothing (RFC 9110 section 9.2.1). TRACE is left out:
// it is of no use to an application and gives back what it was sent. So is an unknown or empty method.
func isSafe(method string) bool {
	return method == http.MethodGet || method == http.MethodHead || method == http.MethodOptions
}

// noStore is put into header maps as it is: a header's values are replaced or appended to, never changed
// in place, and the full slice expression makes an append copy it. That saves RequireAuth an allocation
// on every request.
var noStore = []string{"no-store"}[:1:1]
