package redisrev

import (
	"context"
	"time"
)

const (
	// abandoned is how long a registration must have stayed as it is, by this process's monotonic clock, before a node
	// that follows the list removes it, whether something is ended meanwhile or not. A node that holds a lease renews
	// its registration within a lease, which is 1,800 times shorter.
	abandoned = time.Hour

	// watchEvery is the pause between two rounds through the registrations.
	watchEvery = 10 * time.Minute

	forgets = 1000 // registrations that one script removes at most
)

// A sight is a registration, and when this process saw it first.
type sight struct {
	registration string
	at           time.Time
}

// A watch goes through all registrations, 1,000 or so with each renewal of the lease, and remembers since when each is
// as it is.
type watch struct {
	due         time.Time        // when the next round begins
	cursor      string           // how far the round under way has come, "" for none
	asked       bool             // a call is under way that goes on with it
	known, seen map[string]sight // by the last round, and by this one so far
}

// onward returns where the next call is to go on with the round, "" if it is not to.
func (l *List) onward() (cursor string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	w := &l.watch
	if w.asked || w.cursor == "" && l.clock().Before(w.due) {
		return ""
	}
	if w.cursor == "" {
		w.cursor, w.seen = "0", map[string]sight{}
	}
	w.asked = true
	return w.cursor
}

// watched takes what a call that began at from has read of the registrations, or nil if it failed, and returns those
// that are abandoned.
func (l *List) watched(from time.Time, round any) (dead map[string]string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	w := &l.watch
	w.asked = false
	if round == nil {
		return nil, nil
	}
	parts, _ := round.([]any)
	var cursor string
	var flat []any
	if len(parts) == 2 {
		cursor, _ = parts[0].(string)
		flat, _ = parts[1].([]any)
	}
	if cursor == "" || len(flat)%2 != 0 {
		return nil, unreadable("lease returned the registrations %.200v", round)
	}
	dead = map[string]string{}
	for i := 0; i < len(flat); i += 2 {
		node, _ := flat[i].(string)
		registration, _ := flat[i+1].(string)
		s, known := w.known[node]
		if !known || s.registration != registration {
			s = sight{registration, l.clock()}
		} else if from.Sub(s.at) >= abandoned {
			dead[node] = registration
		}
		w.seen[node] = s
	}
	if w.cursor = cursor; cursor == "0" {
		w.cursor, w.known, w.seen, w.due = "", w.seen, nil, l.clock().Add(watchEvery)
	}
	return dead, nil
}

// remove takes nodes off the account whose registrations are still what they were. One that lives, and has renewed
// meanwhile, stays; one that wakes later has no lease by its own clocks, and registers anew before it believes one.
func (l *List) remove(ctx context.Context, nodes map[string]string) {
	var args []any
	for node, registration := range nodes {
		if args = append(args, node, registration); len(args) == 2*forgets {
			_, _ = l.run(ctx, forgetScript, l.keys.all(), args...)
			args = nil
		}
	}
	if len(args) > 0 {
		_, _ = l.run(ctx, forgetScript, l.keys.all(), args...)
	}
}
