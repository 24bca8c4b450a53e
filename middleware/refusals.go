package middleware

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/internal/sample"
)

// Refusals is what [ObserveRefusals] needs. Its zero value logs to slog.Default, in a bounded number of lines.
type Refusals struct {
	// Observe is told of each refusal: an event "refused". Its Outcome is the code, its Err the whole chain, its Route the
	// pattern of the route. Subject and Session are set where a guard outside has proven them. It is called before
	// the answer is written, and must be quick. Nil is auth.Log(nil).
	Observe func(context.Context, auth.Event)

	// Every is the shortest time between two events of one code on one route; 0 is 10 s. One code is told of at most 60 times
	// a minute over all routes, so that a flood of one code hides no other code. An event counts in Missed what was left
	// out of its code and route since the last one; what no later event follows is told by none.
	Every time.Duration

	// Debug tells of every refusal, also of requests without any credential, and adds to Err what the request came
	// with: method, path, scheme of Authorization, names of cookies, Origin and Sec-Fetch-Site. It never shows a
	// credential. A stranger decides then how much is written, so turn it off again.
	Debug bool

	Now func() time.Time // nil is time.Now
}

// ObserveRefusals tells c.Observe why the guards inside it refuse requests. It also tells of what a handler answers by
// [WriteError]. It stands outside of all guards; of two, the inner one counts. The answer stays as it is, also with [OnError].
//
// A request that shows no credential at all is normal traffic and is told with Debug only. One that shows a cookie which
// is not the expected one is told always.
//
// Without ObserveRefusals and OnError each guard writes its refusals to slog.Default: at level info, in the bounds of the
// zero Refusals; where slog.Default has level debug, all of them, as Debug does. Refusals of handlers are written at
// level debug only, as handlers have observers of their own. For answers from 500 on see [WriteError].
//
// It costs a request that is not refused two allocations. A negative Every makes every request 500.
func ObserveRefusals(c Refusals) Middleware {
	if c.Every < 0 {
		return broken(fmt.Sprintf("ObserveRefusals: Every: got %s, expected 0 or more", c.Every))
	}
	if c.Observe == nil {
		c.Observe = auth.Log(nil)
	}
	t := newTeller(c)
	return wrap(func(_ http.ResponseWriter, r *http.Request) (*http.Request, error) {
		return withTeller(r, t), nil
	})
}

type tellerKey struct{}

func withTeller(r *http.Request, t *teller) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), tellerKey{}, t))
}

// A teller tells of refusals, and counts what it leaves out.
type teller struct {
	Refusals
	sample.Sampler // by code and pattern: a closed set and the application's own
}

func newTeller(c Refusals) *teller {
	if c.Now == nil {
		c.Now = time.Now
	}
	return &teller{Refusals: c, Sampler: sample.Sampler{Every: c.Every, Now: c.Now}}
}

// silent tells nobody: what it is asked to tell has been told.
var silent = &teller{}

// everything is for slog.Default at level debug. It counts nothing, so it never changes.
var everything = newTeller(Refusals{Observe: logRefusal(slog.LevelDebug), Debug: true})

func logRefusal(level slog.Level) func(context.Context, auth.Event) {
	return func(ctx context.Context, e auth.Event) {
		slog.LogAttrs(ctx, level, "request refused", slog.Any("event", e))
	}
}

// tell tells of a refusal, if it is due.
func (t *teller) tell(r *http.Request, err error) {
	if t.Observe == nil {
		return
	}
	code, due := auth.CodeOf(err), true
	e := auth.Event{Name: "refused", Outcome: string(code), Err: err, Route: r.Pattern}
	switch {
	case t.Debug:
		e.Time, e.Err = t.Refusals.Now(), fmt.Errorf("%w; %s", err, came(r))
	case err.Error() == string(auth.CredentialsMissing):
		return
	default:
		if e.Time, e.Missed, due = t.Due(sample.Kind{Word: string(code), Place: r.Pattern}); !due {
			return
		}
	}
	e.Client = auth.ClientOf(r)
	if p, ok := auth.FromContext(r.Context()); ok {
		e.Owner, e.Session = p.Owner(), p.Session
	}
	t.Observe(r.Context(), e)
}

// Bounds of what came says, in cookies and in bytes of a cookie's name.
const (
	maxCameCookies = 20
	maxCameName    = 40
)

// came says what may have decided on r, and no value of a credential.
func came(r *http.Request) string {
	var b strings.Builder
	_, _ = fmt.Fprintf(&b, "%s %s came with Authorization %q, cookies %q", // errors of a Builder do not exist
		auth.Printable(r.Method, 16), auth.Printable(r.URL.EscapedPath(), 256), schemes(r), cookieNames(r))
	for _, name := range []string{"Origin", "Sec-Fetch-Site"} {
		_, _ = fmt.Fprintf(&b, ", %s %.100q", name, r.Header[name])
	}
	return b.String()
}

// schemes returns the schemes of Authorization that it knows. Another word might be the credential itself.
func schemes(r *http.Request) []string {
	found := []string{}
	for _, line := range r.Header["Authorization"] {
		word, _, more := strings.Cut(line, " ")
		switch scheme := strings.ToLower(word); scheme {
		case "bearer", "basic", "digest", "dpop", "negotiate":
			if more {
				found = append(found, scheme)
				continue
			}
		}
		found = append(found, "another scheme")
	}
	return found
}

// cookieNames returns the names of the cookies of r. A pair without a name is a value, and a value with "=" in it
// could look like a name: only a short name is shown, for no credential of ours is as short.
func cookieNames(r *http.Request) []string {
	names := []string{}
	for _, line := range r.Header["Cookie"] {
		for pair := range strings.SplitSeq(line, ";") {
			name, _, named := strings.Cut(strings.Trim(pair, " \t"), "=")
			switch {
			case len(names) == maxCameCookies:
				return append(names, "...")
			case !named || name == "":
				names = append(names, "(no name)")
			case len(name) > maxCameName:
				names = append(names, fmt.Sprintf("(a name of %d bytes)", len(name)))
			default:
				names = append(names, name)
			}
		}
	}
	return names
}
