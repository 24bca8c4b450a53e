package leasemodel

import (
	"fmt"
	"hash/maphash"
	"slices"
)

// A Goal is what an exploration looks for.
type Goal int

const (
	Broken       Goal = iota // a check that starts after its revocation has returned nil is accepted
	Acknowledged             // a revocation returns within a lease, and a node that had accepted when the entry was written refuses, both from memory
	WaitedOut                // one returns although a node has not acknowledged
	Repeated                 // one returns after it was repeated
	Unconfirmed              // one is overtaken twice and gives up
	KnownDead                // one has returned, and a node refuses from memory as the token's epoch is over
)

// A Result is what an exploration has found.
type Result struct {
	States int      // that were reached
	Depth  int      // steps to the farthest of them
	Trace  []string // the shortest way to the goal, step by step; nil if it can't be reached
}

// step is something that may happen: run changes the state, or says that it can't happen in it.
type step struct {
	text string // NODE stands for the name of node
	node uint8
	run  func(w *world) bool
}

// steps are all that may ever happen.
func (m *Model) steps() (all []step) {
	servers := uint8(1)
	if m.Replica {
		servers = 2
	}
	may := func(run func(w *world) bool, node uint8, text string, args ...any) {
		all = append(all, step{fmt.Sprintf(text, args...), node, run})
	}
	apart := m.EachStep || m.Without.ApplyFirst || m.Without.PublishLast
	for n := range uint8(m.Nodes) {
		if apart {
			may(func(w *world) bool { return m.receive(w, n) }, n, "NODE receives the reply")
			may(func(w *world) bool { return m.apply(w, n) }, n, "NODE applies the entries")
			may(func(w *world) bool { return m.publish(w, n) }, n, "NODE publishes the lease")
		} else {
			may(func(w *world) bool {
				return m.receive(w, n) && m.apply(w, n) && (m.publish(w, n) || true)
			}, n, "NODE takes the reply")
		}
		if apart || m.Faults.Late+m.Faults.Twice > 0 {
			may(func(w *world) bool { return m.send(w, n) }, n, "NODE asks for a lease")
		}
		may(func(w *world) bool { return m.lose(w, n) }, n, "the request or the reply of NODE is lost")
		may(func(w *world) bool { return m.late(w, n) }, n, "NODE gives its request up, which is on its way")
		may(func(w *world) bool { return m.twice(w, n) }, n, "the request of NODE is sent once more")
		may(func(w *world) bool { return m.leave(w, n) }, n, "NODE closes")
		may(func(w *world) bool { return m.peek(w, n) }, n, "a check at NODE reads the lease, and not yet the maps")
		may(func(w *world) bool { return m.slow(w, n) }, n, "a tick that the clocks of NODE miss")
		may(func(w *world) bool { return m.suspend(w, n) }, n, "a tick, the machine of NODE sleeps")
		may(func(w *world) bool { return m.stop(w, n) }, n, "a tick, both clocks of NODE stand still")
		may(func(w *world) bool { return m.step(w, n, -stepBy) }, n, "the wall clock of NODE is set back")
		may(func(w *world) bool { return m.step(w, n, stepBy) }, n, "the wall clock of NODE is set ahead")
		for s := range servers {
			if apart || m.Faults.Late+m.Faults.Twice > 0 {
				may(func(w *world) bool { return m.execute(w, n, s) }, n, "Redis %d answers NODE", s+1)
			} else {
				may(func(w *world) bool { return m.send(w, n) && m.execute(w, n, s) }, n, "NODE asks Redis %d for a lease, which answers", s+1)
			}
			may(func(w *world) bool { return m.sight(w, n, s) }, n, "the watcher sees the registration of NODE on Redis %d", s+1)
			may(func(w *world) bool { return m.hasten(w, n, s) }, n, "NODE acknowledges at Redis %d what it has not applied", s+1)
			may(func(w *world) bool { return m.remove(w, n, s) }, n, "NODE removes its registration on Redis %d", s+1)
		}
	}
	for r := range uint8(m.Revocations) {
		may(func(w *world) bool { return m.call(w, r) }, 0, "the revocation of s%d begins", r+1)
		may(func(w *world) bool { return m.die(w, r) }, 0, "revoker %d dies, and its call is made again", r+1)
		may(func(w *world) bool { return m.hold(w, r) }, 0, "revoker %d hears that the replica has its entry", r+1)
		may(func(w *world) bool { return m.fast(w, r) }, 0, "a tick that the clock of revoker %d counts double", r+1)
		may(func(w *world) bool { return m.stepRevoker(w, r) }, 0, "the wall clock of revoker %d is set ahead", r+1)
		for s := range servers {
			may(func(w *world) bool { return m.add(w, r, s, entry(r+1)) }, 0, "revoker %d writes the end of s%d on Redis %d", r+1, r+1, s+1)
			may(func(w *world) bool { return m.add(w, r, s, entry(r+1)|unknown) }, 0, "revoker %d writes the end of s%d on Redis %d in a way that nodes can't read", r+1, r+1, s+1)
			may(func(w *world) bool { return m.lag(w, r, s) }, 0, "revoker %d asks Redis %d who lags", r+1, s+1)
			may(func(w *world) bool { return m.look(w, r, s) }, 0, "revoker %d learns the epoch of Redis %d", r+1, s+1)
			for n := range uint8(m.Nodes) {
				if m.Revocations > 1 { // it matters to a later one
					may(func(w *world) bool { return m.forget(w, r, n, s) }, n, "revoker %d forgets NODE on Redis %d", r+1, s+1)
				}
			}
		}
	}
	for s := range servers {
		may(func(w *world) bool { return m.abandon(w, s) }, 0, "the watcher removes what it saw from Redis %d", s+1)
		may(func(w *world) bool { return m.arrive(w, s) }, 0, "the stray request arrives at Redis %d", s+1)
		may(func(w *world) bool { return m.refresh(w, s) }, 0, "a refresh begins an epoch on Redis %d", s+1)
		may(func(w *world) bool { return m.flush(w, s) }, 0, "Redis %d is flushed", s+1)
		may(func(w *world) bool { return m.restart(w, s) }, 0, "Redis %d restarts", s+1)
		may(func(w *world) bool { return m.hop(w, s) }, 0, "the clock of Redis %d jumps ahead", s+1)
		if m.Replica {
			may(func(w *world) bool { return m.replicate(w, s) }, 0, "Redis %d, the replica, is up to date", s+1)
			may(func(w *world) bool { return m.promote(w, s) }, 0, "Redis %d is promoted", s+1)
			may(func(w *world) bool { return m.demote(w, s) }, 0, "Redis %d becomes a replica", s+1)
		}
	}
	may(m.save, 0, "a snapshot is taken")
	may(m.restore, 0, "Redis 1 restarts from the snapshot")
	may(func(w *world) bool { return m.pass(w, even()) }, 0, "a tick")
	may(m.freeze, 0, "a tick, the master that was cut off stands still")
	return all
}

// start is where everything begins: an epoch, in which every session has a token, and no node that has joined.
func (m *Model) start() (w world) {
	w.epochs, w.left = 1, m.Faults
	first := &w.redis[0]
	*first = redis{role: master, epoch: 1, cut: notCut, data: data{rows: 1<<m.Revocations - 1}}
	w.redis[1].data = first.data
	switch {
	case m.Replica:
		w.redis[1].role = replica
	case m.Faults.Restore > 0:
		w.redis[1].role = snapshot
	default:
		w.redis[1] = redis{}
	}
	for range m.Older {
		first.log[first.n] = olderSession + 1
		first.n++
	}
	for r := range m.Revocations {
		w.tokens[r] = w.tokens[r].with(1)
		if !m.Fresh {
			w.revokers[r].seen[1] = 100
		}
	}
	m.fold(&w)
	return w
}

// Explore goes through all states that can be reached, the nearest first, to the goal or to the end. It remembers a state by 64 bits of
// hash: among five million, the chance that it has taken any for another is one in a million.
func (m *Model) Explore(goal Goal) (r Result) {
	c := *m
	c.history = goal != Broken
	type came struct{ from, by uint32 }
	var (
		steps = c.steps()
		level = []world{c.start()}
		known = map[uint64]struct{}{maphash.Comparable(seed, level[0]): {}}
		way   = []came{{}}
		w     world
	)
	for first := 0; len(level) > 0; r.Depth++ {
		var next []world
		for i := range level {
			for by := range steps {
				w = level[i]
				if !steps[by].run(&w) {
					continue
				}
				c.fold(&w)
				h := maphash.Comparable(seed, w)
				if _, ok := known[h]; ok {
					continue
				}
				known[h] = struct{}{}
				way = append(way, came{uint32(first + i), uint32(by)})
				if c.reached(goal, &level[i], &w) {
					var path []step
					for at := len(way) - 1; at > 0; at = int(way[at].from) {
						path = append(path, steps[way[at].by])
					}
					slices.Reverse(path)
					return Result{len(known), r.Depth + 1, c.tell(path)}
				}
				if !c.over(&w) {
					next = append(next, w)
				} else {
					way = way[:len(way)-1]
				}
			}
		}
		first += len(level)
		level = next
	}
	r.States = len(known)
	return r
}

// over says that no revocation has returned, and that none can.
func (m *Model) over(w *world) bool {
	for r := range m.Revocations {
		if w.revokers[r].stage != failed {
			return false
		}
	}
	return true
}

// reached says whether a step has led to the goal.
func (m *Model) reached(goal Goal, before, w *world) bool {
	if goal == Broken {
		_, _, _, is := m.broken(w)
		return is
	}
	for r := range uint8(m.Revocations) {
		was, x := &before.revokers[r], &w.revokers[r]
		now := x.stage == returned && was.stage != returned
		for n := range uint8(m.Nodes) {
			node := &w.nodes[n]
			switch {
			case goal == Acknowledged && now && int(was.since) < m.Lease && x.served.has(n) &&
				m.holds(node) && node.epoch == x.epoch && node.maps.has(r),
				goal == KnownDead && x.stage == returned && m.holds(node) && node.dead&w.tokens[r] != 0:
				return true
			}
		}
		switch {
		case goal == WaitedOut && now && x.waiting != 0,
			goal == Repeated && now && x.again,
			goal == Unconfirmed && x.stage == failed:
			return true
		}
	}
	return false
}
