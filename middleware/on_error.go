package middleware

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/internal/sample"
)

// A renderer answers a request with an error.
type renderer = func(http.ResponseWriter, *http.Request, error)

type rendererKey struct{}

// OnError makes f answer for every middleware inside it, and for [WriteError] in the handler. Put it
// outside of the guards. err is the whole chain: [auth.CodeOf] gives its code, its words are for the log
// only, and f has to log them where they matter. An answer by [auth.WriteProblem] challenges for what was shown, as the
// default does. A WriteError inside f answers in the default way. A nil f
// is the default, also inside another OnError. [ObserveRefusals] is told all the same.
func OnError(f func(w http.ResponseWriter, r *http.Request, err error)) Middleware {
	return wrap(func(_ http.ResponseWriter, r *http.Request) (*http.Request, error) {
		return withRenderer(r, f), nil
	})
}

func withRenderer(r *http.Request, f renderer) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), rendererKey{}, f))
}

// WriteError answers r with err, as http.Error does with a text: by the function of [OnError] where there is
// one, otherwise by [auth.WriteProblem]. The observer of [ObserveRefusals] is told before. Without OnError and without an
// observer the cause of a status from 500 on goes to slog.Default at level error, with the method and the path, escaped and
// cut: of one code and pattern once in 10 s, of one code 60 times a minute, with the number of those before it as
// "missed", since strangers can make a server busy. Where slog.Default has level debug each does, and that of any other
// status too. The query and the values of headers, where secrets are, never do. A nil err is a mistake of the caller and is answered with 500. Behind [RateLimitLogin] an error
// with the code busy or second_factor_required gives the try back.
func WriteError(w http.ResponseWriter, r *http.Request, err error) { refuse(w, r, err, nil) }

// refuse is WriteError for a guard. guard tells where the application has said nothing; nil is a handler, not a guard.
func refuse(w http.ResponseWriter, r *http.Request, err error, guard *teller) {
	if err == nil {
		err = errors.New("middleware: WriteError was given a nil error")
	}
	if code := auth.CodeOf(err); code == auth.Busy || code == auth.SecondFactorRequired {
		undecided(r.Context())
	}
	told, _ := r.Context().Value(tellerKey{}).(*teller)
	if told != nil {
		told.tell(r, err)
	}
	err = challenged(r, err)
	if f, _ := r.Context().Value(rendererKey{}).(renderer); f != nil {
		inner := withRenderer(r, nil) // without f, so that a WriteError in f does not call f again
		if told != nil {
			inner = withTeller(inner, silent)
		}
		f(w, inner, err)
		return
	}
	if told == nil {
		logError(r, err, guard)
	}
	auth.WriteProblem(w, err)
}

// logError is what happens where no observer is.
func logError(r *http.Request, err error, guard *teller) {
	code, logger := auth.CodeOf(err), slog.Default()
	whole := logger.Enabled(r.Context(), slog.LevelDebug)
	switch {
	case code.Status() >= http.StatusInternalServerError:
		missed := 0
		if !whole {
			lines := failuresOf(logger)
			if guard != nil {
				lines = &guard.Sampler
			}
			var due bool
			if _, missed, due = lines.Due(sample.Kind{Word: string(code), Place: r.Pattern}); !due {
				return
			}
		}
		attrs := []slog.Attr{
			slog.String("method", auth.Printable(r.Method, 16)),
			slog.String("path", auth.Printable(r.URL.EscapedPath(), 256)),
			slog.String("code", string(code)),
			slog.String("err", auth.Printable(err.Error(), 4096)),
		}
		if missed > 0 {
			attrs = append(attrs, slog.Int("missed", missed))
		}
		logger.LogAttrs(r.Context(), slog.LevelError, "request failed", attrs...)
	case whole:
		everything.tell(r, err)
	case guard != nil:
		guard.tell(r, err)
	}
}

// failures bounds the lines of handlers, which have no guard's bounds: for one logger, as another one has had no line yet.
var failures struct {
	sync.Mutex
	of    *slog.Logger
	lines *sample.Sampler
}

func failuresOf(l *slog.Logger) *sample.Sampler {
	failures.Lock()
	defer failures.Unlock()
	if failures.of != l {
		failures.of, failures.lines = l, &sample.Sampler{}
	}
	return failures.lines
}
