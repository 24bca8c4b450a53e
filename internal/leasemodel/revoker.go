package leasemodel

// What a revoker does, and the promise.

// add writes the ending, for the first time or once more. On a node, it holds there at once. Each registered node may hold a lease
// without it and is waited for: the own one too, unless its maps are of the entry's epoch and so have it now.
func (m *Model) add(w *world, r, server uint8, e entry) bool {
	x, s := &w.revokers[r], &w.redis[server]
	first := notYet
	if m.Without.CountFromReply {
		first = called
	}
	if x.stage != first && x.stage != overtaken || !m.accepts(s) {
		return false
	}
	if e&unknown != 0 {
		if w.left.Unknown == 0 {
			return false
		}
		w.left.Unknown--
	}
	if m.history {
		for n := range uint8(m.Nodes) {
			y := &w.nodes[n]
			x.served = x.served.put(n, m.holds(y) && !y.maps.has(r) && w.tokens[r].has(y.epoch))
		}
	}
	if x.stage != called {
		x.since = 0
	}
	x.stage, x.on, x.waiting = written, server, 0
	x.held = !m.Replica || !m.Durable || m.Without.WaitForReplica
	var nodes [maxNodes]registration
	var listed bool
	x.epoch, x.id, listed, nodes = w.addScript(s, e)
	x.held = x.held || listed && m.Without.ListedHeld
	x.meet(x.epoch)
	for n, is := range nodes {
		if is.there && !is.expired && !m.Without.WaitForNodes && !(listed && m.Without.ListedWaits) {
			x.waiting, x.was[n] = x.waiting.with(uint8(n)), is.count
		}
	}
	if m.OnNode && r == 0 {
		own := &w.nodes[0]
		if own.epoch == x.epoch {
			own.maps = own.maps.with(r)
		} else {
			own.leased = false
		}
		if own.epoch == x.epoch || m.Without.OwnEpoch {
			x.waiting = x.waiting.without(0)
		}
	}
	return true
}

// hold is the answer of WAIT: the replica has the entry.
func (m *Model) hold(w *world, r uint8) bool {
	x := &w.revokers[r]
	if x.stage != written || x.held {
		return false
	}
	from, to := &w.redis[x.on], &w.redis[1-x.on]
	x.held = from.role == master && to.role == replica && to.n >= x.id
	return x.held
}

// lag asks who has not acknowledged, and returns when nobody can hold a lease any more that does not know of the ending: because
// all have acknowledged, or because every lease from before the reply to add is over, by the revoker's own clock. Either way the
// epoch must be the entry's, and one that the revoker has seen for so long that leases of an earlier one are over, too.
func (m *Model) lag(w *world, r, server uint8) bool {
	x, s := &w.revokers[r], &w.redis[server]
	if x.stage != written || !x.held || !m.accepts(s) {
		return false
	}
	x.meet(s.epoch)
	if s.epoch != x.epoch && !m.Without.AnswerEpoch {
		switch {
		case m.Without.Repeat:
			x.epoch, x.again = s.epoch, true
			return s.epoch != 0
		case x.again:
			x.stage = failed
		default:
			x.stage, x.again = overtaken, true
		}
		return true
	}
	for n := range uint8(m.Nodes) {
		if !m.lagScript(s, n, x.epoch, x.id) {
			x.waiting = x.waiting.without(n)
		}
	}
	enough := x.waiting == 0 || int(x.since) >= m.leasesOver()
	if x.again {
		enough = int(x.since) >= m.Bound+m.leasesOver()
	}
	if enough && m.seenLong(x.seen[s.epoch]) {
		x.stage, x.epoch = returned, s.epoch
	}
	return true
}

// leasesOver is how long it takes by a revoker's clock until a lease is over by any node's clocks.
func (m *Model) leasesOver() int {
	if m.Without.Margin {
		return m.Lease
	}
	return m.Lease + m.Margin
}

// seenLong says whether leases of the epoch before one are over. A promoted server may never have seen who holds them, and
// a flushed one has forgotten; the old master gave them out for B after that.
func (m *Model) seenLong(seen uint8) bool {
	need := m.leasesOver()
	if !m.Without.SeenBound {
		need += m.Bound
	}
	return int(seen) > need || m.Without.SeenEpoch
}

// meet notes the arrival of an answer that tells an epoch.
func (x *revoker) meet(epoch uint8) {
	if epoch != 0 && x.seen[epoch] == 0 {
		x.seen[epoch] = 1
	}
}

// look is any other answer that tells it.
func (m *Model) look(w *world, r, server uint8) bool {
	x, s := &w.revokers[r], &w.redis[server]
	if x.stage == returned || x.stage == failed || !m.accepts(s) || s.epoch == 0 || x.seen[s.epoch] != 0 {
		return false
	}
	x.meet(s.epoch)
	return true
}

// forget removes a node that has been silent for all that time, so that later revocations don't wait for it.
func (m *Model) forget(w *world, r, n, server uint8) bool {
	x, s := &w.revokers[r], &w.redis[server]
	over := x.stage == returned || x.stage == written && int(x.since) >= m.leasesOver()
	return over && x.waiting.has(n) && m.accepts(s) && m.forgetScript(s, n, x.was[n])
}

// die is a revoker whose process is gone, or whose client has hung up, before it has returned. The same is asked for again.
func (m *Model) die(w *world, r uint8) bool {
	x := &w.revokers[r]
	if x.stage != written || !use(&w.left.Again) {
		return false
	}
	x.stage, x.again, x.held = notYet, false, false
	return true
}

// sight is the watcher looking at a registration. It may have looked at another one before.
func (m *Model) sight(w *world, n, server uint8) bool {
	s := &w.redis[server]
	if !m.Watch || !m.accepts(s) || !s.nodes[n].there {
		return false
	}
	w.watch = watch{there: true, node: n, count: s.nodes[n].count}
	return true
}

// abandon removes the registration that the watcher remembers, if it is what it was.
func (m *Model) abandon(w *world, server uint8) bool {
	x, s := &w.watch, &w.redis[server]
	if !x.there || int(x.since) < m.leasesOver() && !m.Without.WatchLong || !m.accepts(s) || !m.forgetScript(s, x.node, x.count) {
		return false
	}
	*x = watch{}
	return true
}

// call is the start of a revocation that counts from there: Without.CountFromReply.
func (m *Model) call(w *world, r uint8) bool {
	x := &w.revokers[r]
	if !m.Without.CountFromReply || x.stage != notYet {
		return false
	}
	x.stage, x.since = called, 0
	return true
}

// broken looks for a check that would break the promise if it started now: accepted at node n, for a token of a session whose ending
// has returned.
func (m *Model) broken(w *world) (n, session, epoch uint8, is bool) {
	for session := range uint8(m.Revocations) {
		x := &w.revokers[session]
		if x.stage != returned {
			continue
		}
		for epoch := uint8(1); epoch <= w.epochs; epoch++ {
			if !w.tokens[session].has(epoch) || epoch > x.epoch && !m.Durable {
				continue
			}
			for n := range uint8(m.Nodes) {
				looking := w.nodes[n].looking == epoch && !w.nodes[n].maps.has(session)
				if looking || m.accepted(w, n, session, epoch) {
					return n, session, epoch, true
				}
			}
		}
	}
	return 0, 0, 0, false
}
