package middleware

import (
	"context"
	"errors"
	"log/slog"
	"net/http"

	"github.com/doorward/doorward/auth"
)

// A renderer answers a request with an error.
type renderer = func(http.ResponseWriter, *http.Request, error)

type rendererKey struct{}

// OnError makes f answer for every middleware inside it, and for [WriteError] in the handler. Put it
// outside of the guards. err is the whole chain: [auth.CodeOf] gives its code, its words are for the log
// only, and f has to log them where they matter. A WriteError inside f answers in the default way. A nil f
// is the default, also inside another OnError.
func OnError(f func(w http.ResponseWriter, r *http.Request, err error)) Middleware {
	return wrap(func(_ http.ResponseWriter, r *http.Request) (*http.Request, error) {
		return withRenderer(r, f), nil
	})
}

func withRenderer(r *http.Request, f renderer) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), rendererKey{}, f))
}

// WriteError answers r with err, as http.Error does with a text: by the function of [OnError] where there is
// one, otherwise by [auth.WriteProblem]. In the latter case the cause of a status from 500 on goes to
// slog.Default with the method and the path, escaped and cut; the query and the headers, where secrets
// are, never do. A nil err is a mistake of the caller and is answered with 500. Behind [RateLimitLogin] an error
// with the code busy or second_factor_required gives the try back.
func WriteError(w http.ResponseWriter, r *http.Request, err error) {
	if err == nil {
		err = errors.New("middleware: WriteError was given a nil error")
	}
	if code := auth.CodeOf(err); code == auth.Busy || code == auth.SecondFactorRequired {
		undecided(r.Context())
	}
	if f, _ := r.Context().Value(rendererKey{}).(renderer); f != nil {
		f(w, withRenderer(r, nil), err) // without f, so that a WriteError in f does not call f again
		return
	}
	if code := auth.CodeOf(err); code.Status() >= http.StatusInternalServerError {
		slog.LogAttrs(r.Context(), slog.LevelError, "request failed",
			slog.String("method", auth.Printable(r.Method, 16)),
			slog.String("path", auth.Printable(r.URL.EscapedPath(), 256)),
			slog.String("code", string(code)),
			slog.String("err", auth.Printable(err.Error(), 4096)))
	}
	auth.WriteProblem(w, challenged(r, err))
}
