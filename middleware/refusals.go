package middleware

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/doorward/doorward/auth"
)

const (
	refusalsEvery     = 10 * time.Second
	refusalsPerMinute = 60   // of one observer, over all codes and routes
	maxRefusalKeys    = 1024 // pairs of code and route that are counted apart
)

// Refusals is what [ObserveRefusals] needs. Its zero value logs to slog.Default, in a bounded number of lines.
type Refusals struct {
	// Observe is told of each refusal: an event "refused". Its Outcome is the code, its Err the whole chain, its Route the
	// pattern of the route. Subject and Session are set where a guard outside has proven them. It is called before
	// the answer is written, and must be quick. Nil is auth.Log(nil).
	Observe func(context.Context, auth.Event)

	// Every is the shortest time between two events of one code on one route; 0 is 10 s. All codes and routes together are
	// told of at most 60 times a minute. An event counts in Missed what was left out before it.
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

	mu     sync.Mutex
	counts map[refusalKey]*refusalCount
	minute time.Time // when the present one began
	told   int       // in it
}

// A refusalKey has no part that a client could choose: codes are a closed set, patterns are the application's.
type refusalKey struct {
	code  auth.Code
	route string
}

type refusalCount struct {
	last   time.Time // the last event
	missed int       // since then
}

func newTeller(c Refusals) *teller {
	if c.Every == 0 {
		c.Every = refusalsEvery
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return &teller{Refusals: c}
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
		e.Time, e.Err = t.Now(), fmt.Errorf("%w; %s", err, came(r))
	case err.Error() == string(auth.CredentialsMissing):
		return
	default:
		if e.Time, e.Missed, due = t.due(refusalKey{code, r.Pattern}); !due {
			return
		}
	}
	e.Client = auth.ClientOf(r)
	if p, ok := auth.FromContext(r.Context()); ok {
		e.Owner, e.Session = p.Owner(), p.Session
	}
	t.Observe(r.Context(), e)
}

// due says whether a refusal is to be told now, and how many of its kind were not.
func (t *teller) due(key refusalKey) (now time.Time, missed int, due bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now = t.Now() // under the lock, so that no goroutine sees time go back
	c := t.counts[key]
	if c == nil && len(t.counts) >= maxRefusalKeys { // patterns that somebody makes up as he goes share one count
		key = refusalKey{}
		c = t.counts[key]
	}
	if c == nil {
		if t.counts == nil {
			t.counts = map[refusalKey]*refusalCount{}
		}
		c = &refusalCount{}
		t.counts[key] = c
	}
	if !within(now, t.minute, time.Minute) {
		t.minute, t.told = now, 0
	}
	if within(now, c.last, t.Every) || t.told >= refusalsPerMinute {
		c.missed++
		return now, 0, false
	}
	missed = c.missed
	*c = refusalCount{last: now}
	t.told++
	return now, missed, true
}

// within says whether now is less than d after begin. A clock that was set back is not.
func within(now, begin time.Time, d time.Duration) bool {
	since := now.Sub(begin)
	return since >= 0 && since < d
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
