package leasemodel

import (
	"hash/maphash"
	"math/bits"
	"slices"
)

// seed is of all hashes of states.
var seed = maphash.MakeSeed()

// fold gives all states that nothing can tell apart one form. Nodes are the same to everyone, so it sorts them, and returns
// which of them has come to each place.
func (m *Model) fold(w *world) (order [maxNodes]uint8) {
	var alive set // epochs that a server still answers in
	for i := range w.redis {
		s := &w.redis[i]
		if s.cut != notCut {
			s.cut = min(s.cut, uint8(m.Bound)+1)
		}
		if s.role == master && s.epoch != 0 {
			alive = alive.with(s.epoch)
		}
	}
	waits := false // somebody will, or does
	for r := range w.revokers {
		m.foldRevoker(w, uint8(r), alive)
		waits = waits || r < m.Revocations && w.revokers[r].stage != returned && w.revokers[r].stage != failed
	}
	if !waits {
		w.stray, w.watch = request{}, watch{}
	}
	w.watch.since = min(w.watch.since, uint8(m.Lease+m.Margin))
	if !w.watch.there {
		w.watch.since = 0
	}
	for n := range w.nodes {
		m.foldNode(&w.nodes[n], alive)
		for i := range w.redis {
			is := &w.redis[i].nodes[n]
			if !waits {
				*is = registration{}
			} else if is.epoch != w.redis[i].epoch && !m.foreignCounts() {
				is.epoch, is.cursor = 0, 0 // acknowledges nothing
			}
		}
		m.foldCounts(w, uint8(n))
	}
	return m.sort(w)
}

// foreignCounts says that what was acknowledged in one epoch may count in another.
func (m *Model) foreignCounts() bool {
	return m.Without.AckEpoch || m.Without.AnswerEpoch || m.Without.PresentedEpoch
}

func (m *Model) foldNode(x *node, alive set) {
	if x.stage == idle {
		x.t0, x.reply = clocks{}, reply{}
	}
	never := int8(m.Lease)
	late := never // by wall time, from where a step back may still return
	if m.Faults.Step > 0 {
		late += stepBy
	}
	for _, c := range []*clocks{&x.t0, &x.lease} {
		c.mono, c.wall = min(c.mono, never), min(max(c.wall, -never), late)
	}
	over := x.lease.mono >= never && !m.Without.MonotonicClock ||
		x.lease.wall >= never && !m.Without.WallClock && m.Faults.Step == 0
	x.leased = x.leased && (!over || m.Without.Expiry)
	if !x.leased {
		x.lease = clocks{}
	}
	// Nobody accepts a token of an epoch in which no server answers, but a node whose lease is of that epoch.
	x.dead &= alive
	if !alive.has(x.epoch) && x.stage <= sent && !m.Without.DropAtEpoch && !m.foreignCounts() {
		x.cursor = 0
		if !x.leased {
			x.epoch, x.maps = 0, 0
		}
	}
}

func (m *Model) foldRevoker(w *world, r uint8, alive set) {
	x, long := &w.revokers[r], uint8(m.Bound+m.Lease+m.Margin)
	for epoch, seen := range x.seen {
		x.seen[epoch] = min(seen, long+1)
		if !alive.has(uint8(epoch)) {
			x.seen[epoch] = 0
		}
	}
	x.since = min(x.since, long)
	if x.stage == notYet || x.stage == overtaken {
		x.since = 0
	}
	if x.stage == returned || x.stage == failed {
		x.since, x.id, x.on, x.seen = 0, 0, 0, [maxEpochs + 1]uint8{}
	}
	forgets := m.Revocations > 1 && w.revokers[1-r].stage < returned // as that matters to the other
	if x.stage != written && !(x.stage == returned && (forgets || m.history)) {
		x.waiting = 0
	}
	for n := range x.was {
		if !x.waiting.has(uint8(n)) || m.Revocations == 1 {
			x.was[n] = 0
		}
	}
}

// foldCounts keeps of a node's counts only what the protocol asks: which are the same and, where a stray request may come, which
// are higher.
func (m *Model) foldCounts(w *world, n uint8) {
	var (
		counts [2 + 1 + 1 + maxRevokers]*uint8
		k      int
		asked  uint64
		any    = w.stray.there || w.left.Late+w.left.Twice > 0 || m.Watch
		x      = &w.nodes[n]
	)
	for r := range w.revokers {
		y := &w.revokers[r]
		if y.was[n] != 0 {
			asked |= 1 << y.was[n]
			counts[k] = &y.was[n]
			k++
		}
		any = any || m.Revocations > 1 && (y.stage < written || y.stage == overtaken)
	}
	for i := range w.redis {
		switch is := &w.redis[i].nodes[n]; {
		case !is.there:
		case any || asked>>is.count&1 == 1:
			counts[k] = &is.count
			k++
		default:
			is.count = 0
		}
	}
	if w.stray.there && w.stray.node == n {
		counts[k] = &w.stray.count
		k++
	}
	if w.watch.there && w.watch.node == n {
		counts[k] = &w.watch.count
		k++
	}
	var all uint64
	for _, c := range counts[:k] {
		all |= 1 << *c
	}
	for _, c := range counts[:k] {
		*c = uint8(bits.OnesCount64(all&(1<<*c-1))) + 1
	}
	// The request under way, if there is one, has the highest; the next one's will be higher.
	newest := uint8(bits.OnesCount64(all))
	if x.stage == sent && all>>x.count&1 == 0 {
		newest++
	}
	x.count = newest
}

// view is all that a state has of one node.
type view struct {
	node          node
	registered    [2]registration
	waiting, from [maxRevokers]bool
	was           [maxRevokers]uint8
	stray, watch  bool
}

func (w *world) view(n uint8) (v view) {
	v.node, v.stray, v.watch = w.nodes[n], w.stray.there && w.stray.node == n, w.watch.there && w.watch.node == n
	for i := range w.redis {
		v.registered[i] = w.redis[i].nodes[n]
	}
	for r := range w.revokers {
		x := &w.revokers[r]
		v.waiting[r], v.from[r], v.was[r] = x.waiting.has(n), x.served.has(n), x.was[n]
	}
	return v
}

func (w *world) setView(n uint8, v *view) {
	w.nodes[n] = v.node
	if v.stray {
		w.stray.node = n
	}
	if v.watch {
		w.watch.node = n
	}
	for i := range w.redis {
		w.redis[i].nodes[n] = v.registered[i]
	}
	for r := range w.revokers {
		x := &w.revokers[r]
		x.waiting, x.served, x.was[n] = x.waiting.put(n, v.waiting[r]), x.served.put(n, v.from[r]), v.was[r]
	}
}

// sort puts the nodes into the order of their hashes. A node that revokes is not like the others, and stays the first.
func (m *Model) sort(w *world) (order [maxNodes]uint8) {
	order = [maxNodes]uint8{0, 1, 2}
	first := 0
	if m.OnNode {
		first = 1
	}
	if m.Nodes-first < 2 {
		return order
	}
	var views [maxNodes]view
	var hashes [maxNodes]uint64
	for n := first; n < m.Nodes; n++ {
		views[n] = w.view(uint8(n))
		hashes[n] = maphash.Comparable(seed, views[n])
	}
	slices.SortStableFunc(order[first:m.Nodes], func(a, b uint8) int {
		switch {
		case hashes[a] < hashes[b]:
			return -1
		case hashes[a] > hashes[b]:
			return 1
		}
		return 0
	})
	for n := first; n < m.Nodes; n++ {
		w.setView(uint8(n), &views[order[n]])
	}
	return order
}
