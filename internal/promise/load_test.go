//go:build linux

package promise_test

import (
	"context"
	"crypto/rand"
	"fmt"
	random "math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/internal/history"
)

// A load is clients that are busy with a cluster. Everything that they see is recorded.
type load struct {
	*cluster
	rec  *history.Recorder
	stop context.CancelFunc
	work sync.WaitGroup // clients
	late sync.WaitGroup // requests that no client waits for

	confirmed atomic.Int64 // endings, by their number
	abandoned atomic.Int64 // endings that no node confirmed
	asleep    atomic.Int64 // requests to a paused node, answered when it went on
	suspects  atomic.Int64 // accepted although the client knew that it was over: the history will tell
	honest    atomic.Int64 // requests of sessions that nobody ends, accepted
	dead      [4096]atomic.Pointer[credential]
	buried    atomic.Int64
}

// A credential is an access token and what its owner may do to end it.
type credential struct {
	raw   string
	token history.Token
	end   auth.Revocation
	over  atomic.Bool // its end is confirmed
}

func newLoad(c *cluster, rec *history.Recorder, clients int) *load {
	ctx, cancel := context.WithCancel(c.t.Context())
	l := &load{cluster: c, rec: rec, stop: cancel}
	c.t.Cleanup(l.end) // before the nodes are killed
	for i := range clients {
		l.work.Go(func() { l.life(ctx, i) })
	}
	for range 2 {
		l.work.Go(func() { l.haunt(ctx) })
	}
	l.work.Go(func() { l.stay(ctx) })
	return l
}

// end has the clients finish what they are at. Every node must run.
func (l *load) end() {
	l.stop()
	l.work.Wait()
	l.late.Wait()
}

// show shows a token to a node.
func (l *load) show(n *node, c *credential) auth.Code {
	asleep, over := n.is(paused), c.over.Load()
	done := l.rec.Request(n.name, c.token)
	code := n.get(c.raw)
	done(code)
	if asleep && code != history.Unanswered {
		l.asleep.Add(1)
	}
	if over && code == "" {
		l.suspects.Add(1)
	}
	return code
}

// showLater does it beside, unless too many wait at this node already.
func (l *load) showLater(n *node, c *credential) {
	select {
	case n.later <- struct{}{}:
	default:
		return
	}
	l.late.Go(func() {
		defer func() { <-n.later }()
		l.show(n, c)
	})
}

// mint returns tokens as a node made them.
func (l *load) mint(asked []mintage) ([]*credential, error) {
	made, err := ask[[]minted](l.pick(), "mint", asked)
	if err == nil && len(made) != len(asked) {
		err = fmt.Errorf("got %d tokens, expected %d", len(made), len(asked))
	}
	if err != nil {
		return nil, err
	}
	var cs []*credential
	for i, m := range asked {
		cs = append(cs, &credential{raw: made[i].Raw, token: history.Token{
			Owner: auth.Owner{Issuer: issuer, Subject: m.Subject}, Session: m.Session, ID: made[i].ID, Version: m.Version,
		}})
	}
	return cs, nil
}

// life is a client that logs in, works, logs out and tries its old tokens, over and over, for several at once. What
// it has once begun to end is never minted again: a list that forgets would then be right to accept it.
func (l *load) life(ctx context.Context, id int) {
	versions := mintage{Subject: fmt.Sprint("subject", id), Version: 1} // this client's alone, so that nobody raises it meanwhile
	for ctx.Err() == nil {
		asked := []mintage{versions}
		for range random.IntN(5) {
			asked = append(asked, mintage{Subject: fmt.Sprint("user", random.IntN(20)), Session: rand.Text(), Version: 1})
		}
		cs, err := l.mint(asked)
		if err != nil {
			rest(ctx, 50*time.Millisecond)
			continue
		}
		var alive []*credential
		var ends []auth.Revocation
		for i, c := range cs {
			c.end = auth.Revocation{Owner: auth.Owner{Issuer: issuer, Subject: c.token.Subject}}
			switch {
			case i == 0:
				versions.Version++
				c.end.Below = versions.Version
			case i%3 == 1:
				c.end.TokenID = c.token.ID
			default:
				c.end.Session, c.end.Replaced = c.token.Session, i%3 == 0
			}
			if l.show(l.pick(), c) == "" {
				alive, ends = append(alive, c), append(ends, c.end)
			}
		}
		if len(alive) == 0 {
			rest(ctx, 20*time.Millisecond) // in the middle of a fault
			continue
		}
		l.showLater(l.pick(), alive[0]) // in a race with its end
		if !l.revoke(ctx, ends) {
			l.abandoned.Add(int64(len(ends)))
			continue
		}
		for _, c := range alive {
			c.over.Store(true)
		}
		for _, n := range l.all() {
			for _, c := range alive {
				l.showLater(n, c)
			}
		}
		for _, c := range alive {
			l.dead[l.buried.Add(1)%int64(len(l.dead))].Store(c)
		}
	}
}

// revoke ends what it is given, at up to three nodes in turn, and says whether one of them confirmed it. Some clients hang
// up first, so that what they ask for again is on the list already, and perhaps nowhere else.
func (l *load) revoke(ctx context.Context, what []auth.Revocation) bool {
	hasty := random.IntN(4) == 0
	for range 3 {
		n := l.pick()
		done := l.rec.Revocation(n.name, what...)
		if hasty {
			hasty = false
			if r, err := ask[result](n, "revoke", call{what, 3 * time.Millisecond}); err == nil {
				done(r.Outcome, r.Why)
			}
			continue
		}
		r, err := ask[result](n, "revoke", call{what, 6 * time.Second})
		if err != nil {
			continue // nobody knows how it went
		}
		done(r.Outcome, r.Why)
		if r.Outcome == history.Confirmed {
			l.confirmed.Add(int64(len(what)))
			return true
		}
		rest(ctx, 50*time.Millisecond)
	}
	return false
}

// haunt tries tokens that have ended, at any time later: what a snapshot or a promoted replica brings back shows here.
func (l *load) haunt(ctx context.Context) {
	for ctx.Err() == nil {
		c := l.dead[random.IntN(len(l.dead))].Load()
		if c == nil {
			rest(ctx, time.Millisecond)
			continue
		}
		for _, n := range l.all() {
			if !n.is(well) {
				l.showLater(n, c)
			}
		}
		l.show(l.pick(), c)
		rest(ctx, time.Millisecond)
	}
}

// stay is clients that nobody logs out. They refresh when they are told to.
func (l *load) stay(ctx context.Context) {
	asked := make([]mintage, 10)
	for i := range asked {
		asked[i] = mintage{Subject: "resident", Session: rand.Text(), Version: 1}
	}
	var cs []*credential
	for ctx.Err() == nil {
		if cs == nil {
			cs, _ = l.mint(asked)
			rest(ctx, 20*time.Millisecond)
		}
		for _, c := range cs {
			switch l.show(l.pick(), c) {
			case "":
				l.honest.Add(1)
			case auth.TokenExpired:
				cs = nil
			}
			rest(ctx, 5*time.Millisecond)
		}
	}
}

// rest waits, or less when the load ends.
func rest(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
