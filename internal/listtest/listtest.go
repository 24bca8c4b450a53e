// Package listtest says what every revocation.List must do, as tests that each of them runs.
//
// It does not own what only one of them can do wrong: servers that fail, clocks, keys.
package listtest

import (
	"context"
	"fmt"
	"math"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/revocation"
)

// Run runs the tests, each on a list of its own. Lists from open may share a store, but no owner,
// session or token of one test is used by another.
func Run(t *testing.T, open func(t *testing.T) revocation.List) {
	for _, test := range []struct {
		name string
		run  func(t *testing.T, l revocation.List)
	}{
		{"epoch", epoch},
		{"session", session},
		{"ATK-I06 odd names", oddNames},
		{"STD-S09 token id", tokenID},
		{"version", version},
		{"owners are not confused", owners},
		{"order of the answers", order},
		{"principals without ids", bare},
		{"refused revocations", refused},
		{"many at once", many},
		{"nil principal", nobody},
		{"ended means ended, in parallel", parallel},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, open(t)) })
	}
}

// Principal returns one with every id set, unlike that of any other name, in the list's epoch.
func Principal(t testing.TB, l revocation.List, name string) *auth.Principal {
	t.Helper()
	ep, err := l.Epoch(t.Context())
	if err != nil {
		t.Fatalf("Epoch: %v", err)
	}
	return &auth.Principal{Issuer: "https://api.example.com", Tenant: "acme", Subject: "u-" + name,
		Session: "s-" + name, TokenID: "j-" + name, Version: 1, Epoch: ep}
}

// Want fails the test unless Check answers with this code; "" is nil.
func Want(t testing.TB, l revocation.List, p *auth.Principal, code auth.Code) {
	t.Helper()
	err := l.Check(t.Context(), p)
	switch {
	case code == "" && err == nil:
	case code != "" && err != nil && auth.CodeOf(err) == code:
	default:
		t.Errorf("Check of %.40q, session %.40q, token %.40q, version %d: got %v, want code %q",
			p.Subject, p.Session, p.TokenID, p.Version, err, code)
	}
}

// Revoke fails the test unless the list accepts all of it.
func Revoke(t testing.TB, l revocation.List, r ...auth.Revocation) {
	t.Helper()
	if err := l.Revoke(t.Context(), r...); err != nil {
		t.Fatalf("Revoke: %v", err)
	}
}

// Session names p's session, to be ended.
func Session(p *auth.Principal) auth.Revocation {
	return auth.Revocation{Owner: p.Owner(), Session: p.Session}
}

// TokenID names p's token, to be ended.
func TokenID(p *auth.Principal) auth.Revocation {
	return auth.Revocation{Owner: p.Owner(), TokenID: p.TokenID}
}

// Below names p's subject, whose tokens below this version are to be ended.
func Below(p *auth.Principal, version int64) auth.Revocation {
	return auth.Revocation{Owner: p.Owner(), Below: version}
}

// with returns a copy of p that change has changed.
func with(p *auth.Principal, change func(*auth.Principal)) *auth.Principal {
	q := *p
	change(&q)
	return &q
}

func epoch(t *testing.T, l revocation.List) {
	p := Principal(t, l, "epoch")
	if len(p.Epoch) != 8 {
		t.Errorf("the epoch %q has %d characters, want 8", p.Epoch, len(p.Epoch))
	}
	if again, err := l.Epoch(t.Context()); err != nil || again != p.Epoch {
		t.Errorf("the second Epoch: got %q, %v, want %q", again, err, p.Epoch)
	}
	Want(t, l, p, "")
	Want(t, l, with(p, func(p *auth.Principal) { p.Epoch = "" }), auth.TokenExpired)
	Want(t, l, with(p, func(p *auth.Principal) { p.Epoch = "AAAAAAAA" }), auth.TokenExpired)
	Want(t, l, with(p, func(p *auth.Principal) { p.Epoch += " " }), auth.TokenExpired)
	Want(t, l, with(p, func(p *auth.Principal) { p.Epoch = strings.ToLower(p.Epoch) + "x" }), auth.TokenExpired)
}

func session(t *testing.T, l revocation.List) {
	p, other := Principal(t, l, "session"), Principal(t, l, "session2")
	Revoke(t, l, Session(p))
	Revoke(t, l, Session(p)) // a logout that is repeated is one
	Want(t, l, p, auth.TokenRevoked)
	Want(t, l, with(p, func(p *auth.Principal) { p.TokenID = "another" }), auth.TokenRevoked)
	Want(t, l, other, "")
	// The same subject's other login goes on.
	Want(t, l, with(p, func(p *auth.Principal) { p.Session = other.Session }), "")
}

func oddNames(t *testing.T, l revocation.List) {
	names := []string{
		"a:b", "*", "{x}", "}", "{", "a\r\nDEL b", "\x00", " ", ".", "~", "é", "\xff", "a/b+c=",
		strings.Repeat("x", 64), strings.Repeat("x", 65), strings.Repeat("y", 1<<20),
	}
	p := Principal(t, l, "odd")
	odd := func(n string) *auth.Principal {
		return with(p, func(p *auth.Principal) { p.Subject, p.Session, p.TokenID = n, n, n })
	}
	for i, n := range names {
		for _, later := range names[i:] {
			Want(t, l, odd(later), "")
		}
		switch q := odd(n); i % 3 {
		case 0:
			Revoke(t, l, Session(q))
			Want(t, l, with(q, func(p *auth.Principal) { p.Subject, p.TokenID = "u", "j" }), auth.TokenRevoked)
		case 1:
			Revoke(t, l, TokenID(q))
			Want(t, l, with(q, func(p *auth.Principal) { p.Subject, p.Session = "u", "s" }), auth.TokenRevoked)
		case 2:
			Revoke(t, l, Below(q, 2))
			Want(t, l, with(q, func(p *auth.Principal) { p.Session, p.TokenID = "s", "j" }), auth.TokenExpired)
		}
	}
}

func tokenID(t *testing.T, l revocation.List) {
	p := Principal(t, l, "jti")
	Revoke(t, l, TokenID(p))
	Want(t, l, p, auth.TokenRevoked)
	// By its id, not by its owner or session: the same login's other tokens go on.
	Want(t, l, with(p, func(p *auth.Principal) { p.TokenID += "2" }), "")
	// Another issuer may number its tokens alike.
	Want(t, l, with(p, func(p *auth.Principal) { p.Issuer = "https://other.example.com" }), "")
}

func version(t *testing.T, l revocation.List) {
	p := Principal(t, l, "version")
	at := func(v int64) *auth.Principal { return with(p, func(p *auth.Principal) { p.Version = v }) }
	Revoke(t, l, Below(p, 5))
	Want(t, l, at(0), auth.TokenExpired)
	Want(t, l, at(-1), auth.TokenExpired)
	Want(t, l, at(4), auth.TokenExpired)
	Want(t, l, at(5), "")
	Revoke(t, l, Below(p, 3)) // late news: the minimum must not fall
	Want(t, l, at(4), auth.TokenExpired)
	Revoke(t, l, Below(p, 6), Below(p, 10), Below(p, 9))
	Want(t, l, at(9), auth.TokenExpired)
	Want(t, l, at(10), "")
	// Numbers above 2^53 are no floating-point numbers.
	Revoke(t, l, Below(p, 1<<53+1))
	Want(t, l, at(1<<53), auth.TokenExpired)
	Want(t, l, at(1<<53+1), "")
	Revoke(t, l, Below(p, math.MaxInt64))
	Revoke(t, l, Below(p, math.MaxInt64-1))
	Want(t, l, at(math.MaxInt64-1), auth.TokenExpired)
	Want(t, l, at(math.MaxInt64), "")
}

func owners(t *testing.T, l revocation.List) {
	p := Principal(t, l, "owners")
	p.Issuer, p.Subject = "own", "sub"
	Revoke(t, l, Below(p, 2))
	Want(t, l, p, auth.TokenExpired)
	// The organisation that a token is limited to is no part of its owner: an ending reaches the tokens of all of them.
	for _, tenant := range []string{"", "acme", "other"} {
		Want(t, l, with(p, func(p *auth.Principal) { p.Tenant = tenant }), auth.TokenExpired)
	}
	for _, other := range []auth.Owner{
		{Issuer: "own2", Subject: "sub"}, {Issuer: "own", Subject: "sub2"}, {Issuer: "ownsub"}, {Issuer: "ow", Subject: "nsub"},
		{Issuer: "owns", Subject: "ub"}, {Subject: "ownsub"}, {Issuer: "own\x00sub"}, {Issuer: "own\x03sub"}, {Issuer: "sub", Subject: "own"},
	} {
		Want(t, l, with(p, func(p *auth.Principal) { p.Issuer, p.Subject = other.Issuer, other.Subject }), "")
	}
}

func order(t *testing.T, l revocation.List) {
	p := Principal(t, l, "order")
	Revoke(t, l, Below(p, 2))
	Want(t, l, p, auth.TokenExpired)
	Revoke(t, l, TokenID(p))
	Want(t, l, p, auth.TokenRevoked) // ended is more than stale
	Revoke(t, l, Session(p))
	Want(t, l, p, auth.TokenRevoked)
	// A list that may have forgotten must not be believed, in either direction.
	Want(t, l, with(p, func(p *auth.Principal) { p.Epoch = "AAAAAAAA" }), auth.TokenExpired)
}

func bare(t *testing.T, l revocation.List) {
	p := Principal(t, l, "bare")
	p.Session, p.TokenID = "", ""
	Revoke(t, l, Session(Principal(t, l, "bare")), TokenID(Principal(t, l, "bare")))
	Want(t, l, p, "")
	Revoke(t, l, Below(p, 2))
	Want(t, l, p, auth.TokenExpired)
}

func refused(t *testing.T, l revocation.List) {
	if err := l.Revoke(t.Context()); err != nil {
		t.Errorf("Revoke of nothing: %v", err)
	}
	p := Principal(t, l, "refused")
	for name, bad := range map[string]auth.Revocation{
		"zero":       {},
		"no issuer":  {Owner: auth.Owner{Subject: "u"}, Session: "s"},
		"no subject": {Owner: auth.Owner{Issuer: "i"}, Session: "s"},
		"nothing":    {Owner: auth.Owner{Issuer: "i", Subject: "u"}},
		"two":        {Owner: auth.Owner{Issuer: "i", Subject: "u"}, Session: "s", TokenID: "j"},
		"negative":   {Owner: auth.Owner{Issuer: "i", Subject: "u"}, Below: -1},
	} {
		if err := l.Revoke(t.Context(), Session(p), bad); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	Want(t, l, p, "") // one bad entry among them: nothing was written
}

func many(t *testing.T, l revocation.List) {
	const n = 250
	ps, rs := make([]*auth.Principal, n), make([]auth.Revocation, n)
	for i := range ps {
		ps[i] = Principal(t, l, fmt.Sprint("many", i))
		rs[i] = []auth.Revocation{Session(ps[i]), TokenID(ps[i]), Below(ps[i], 2)}[i%3]
	}
	Revoke(t, l, rs...)
	for i, p := range ps {
		Want(t, l, p, []auth.Code{auth.TokenRevoked, auth.TokenRevoked, auth.TokenExpired}[i%3])
	}
}

func nobody(t *testing.T, l revocation.List) {
	if err := l.Check(t.Context(), nil); err == nil || auth.CodeOf(err) != auth.Internal {
		t.Errorf("Check of a nil principal: got %v, want an error with the code internal", err)
	}
}

// parallel ends one thing after the other while readers ask all the time. A reader takes note of how
// far the endings have come, and then asks: what had been ended before it asked must be refused.
func parallel(t *testing.T, l revocation.List) {
	const n = 200
	ps := make([]*auth.Principal, n)
	for i := range ps {
		ps[i] = Principal(t, l, fmt.Sprint("parallel", i))
	}
	var ended atomic.Int64 // the first so many of ps
	ctx, stop := context.WithCancel(t.Context())
	var readers sync.WaitGroup
	for r := range 8 {
		readers.Go(func() {
			for i := r; ctx.Err() == nil; i++ {
				done := int(ended.Load())
				if done == 0 {
					continue
				}
				runtime.Gosched()              // a list that answers from memory must get to hear of news
				k := done - 1 - i%min(done, 8) // most often the latest
				if err := l.Check(context.WithoutCancel(ctx), ps[k]); err == nil {
					t.Errorf("%d were ended, and number %d was accepted", done, k)
					return
				} else if c := auth.CodeOf(err); c != auth.TokenRevoked && c != auth.TokenExpired {
					t.Errorf("number %d: %v", k, err)
					return
				}
			}
		})
	}
	for i, p := range ps {
		r := []auth.Revocation{Session(p), TokenID(p), Below(p, 2)}[i%3]
		if err := l.Revoke(t.Context(), r); err != nil {
			t.Errorf("Revoke: %v", err)
			break
		}
		ended.Store(int64(i + 1))
	}
	stop()
	readers.Wait()
}
