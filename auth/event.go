package auth

import (
	"context"
	"log/slog"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// A Client is where a request came from. Both parts are the sender's word as far as anything is:
// middleware.ClientIP makes the address true behind proxies, nothing makes the user agent so.
type Client struct {
	Addr      netip.Addr // without zone; invalid when not known
	UserAgent string     // at most 512 bytes of valid UTF-8
}

// ClientOf reads the client of a request from r.RemoteAddr, which middleware.ClientIP has corrected where
// it stands outside, and from the User-Agent header.
func ClientOf(r *http.Request) Client {
	peer, _ := netip.ParseAddrPort(r.RemoteAddr)
	return Client{peer.Addr().Unmap().WithZone(""), clean(r.UserAgent(), 512)}
}

// An Event is something that happened to a login or a session and that somebody may want to know:
// to log it, to count it, to write a mail. It holds no secret.
type Event struct {
	Name    string // what: "login", "refresh", "logout", "end", "reuse", "limit", "key", "legacy", "refused", "outage", ...; the Observe field that is told says which
	Outcome string // how it went: "ok", or a word of its own such as "replayed", or the code of Err
	Time    time.Time

	Owner          // whose login, session, factor or key; zero when not known
	Session string // id of the session that it is about
	Key     string // id of the API key that it is about
	Client  Client // who sent the request
	Former  Client // whom the session was used by before, where that is what the event tells; zero otherwise
	Err     error  // the cause; nil when it went well

	// Account is what was typed at a login, as middleware.LoginLimit.Named says it: a keyed hash, "#...", or escaped text.
	Account string

	Route  string // of a "refused": the route's pattern, never a path (http.Request.Pattern); "" outside of a router
	Missed int    // how many of the same kind were not told before, to bound their number
}

// LogValue gives the event as a group whose every text is escaped and capped: names and user agents are
// strangers' words, and must not forge or hide a log line.
func (e Event) LogValue() slog.Value {
	attrs := make([]slog.Attr, 0, 14)
	add := func(key, value string, most int) {
		if value != "" {
			attrs = append(attrs, slog.String(key, Printable(value, most)))
		}
	}
	add("name", e.Name, 32)
	add("outcome", e.Outcome, 64)
	add("issuer", e.Issuer, 128)
	add("subject", e.Subject, 128)
	add("session", e.Session, 64)
	add("account", e.Account, 256)
	add("key", e.Key, 64)
	if e.Client.Addr.IsValid() {
		add("addr", e.Client.Addr.String(), 64)
	}
	add("agent", e.Client.UserAgent, 256)
	if e.Former.Addr.IsValid() {
		add("former_addr", e.Former.Addr.String(), 64)
	}
	add("former_agent", e.Former.UserAgent, 256)
	add("route", e.Route, 256)
	if e.Missed > 0 {
		attrs = append(attrs, slog.Int("missed", e.Missed))
	}
	if e.Err != nil {
		add("err", e.Err.Error(), 1024)
	}
	return slog.GroupValue(attrs...)
}

// Log returns a ready hook for the Observe fields of the kit: each event is one line, a warning where
// its Err is set. A nil logger is slog.Default at the time of the event.
func Log(l *slog.Logger) func(context.Context, Event) {
	return func(ctx context.Context, e Event) {
		to, level := l, slog.LevelInfo
		if to == nil {
			to = slog.Default()
		}
		if e.Err != nil {
			level = slog.LevelWarn
		}
		to.LogAttrs(ctx, level, "auth", slog.Any("event", e))
	}
}

// clean cuts s to about most bytes of valid UTF-8.
func clean(s string, most int) string {
	if len(s) > most {
		s = s[:most]
	}
	return strings.ToValidUTF8(s, "")
}

// Printable cuts s to about most bytes and escapes line breaks, terminal escapes, direction marks and
// everything else that is no printable character: what a stranger wrote must not forge or hide a log line.
func Printable(s string, most int) string {
	cut := len(s) > most
	if cut {
		s = s[:most]
	}
	var b strings.Builder
	for len(s) > 0 {
		r, size := utf8.DecodeRuneInString(s)
		if r == utf8.RuneError && size == 1 || !strconv.IsPrint(r) {
			quoted := strconv.QuoteToASCII(s[:size])
			b.WriteString(quoted[1 : len(quoted)-1])
		} else {
			b.WriteString(s[:size])
		}
		s = s[size:]
	}
	if cut {
		b.WriteString("...")
	}
	return b.String()
}

type loginKey struct{}

// OnLoginSuccess returns a context in which [LoginSucceeded] calls f. The login limit puts its way of
// giving tries back there.
func OnLoginSuccess(ctx context.Context, f func()) context.Context {
	return context.WithValue(ctx, loginKey{}, f)
}

// LoginSucceeded declares that the login of this request is complete, all factors included, so that the
// limit gives back what it took. A status is not read for it: a handler may answer 200 to a wrong password.
// Starting a session declares it already. Without a limit it does nothing.
func LoginSucceeded(ctx context.Context) {
	if f, _ := ctx.Value(loginKey{}).(func()); f != nil {
		f()
	}
}
