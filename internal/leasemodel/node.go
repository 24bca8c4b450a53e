package leasemodel

// What a node does. A step that can't happen in a state returns false.

// send asks for a lease. t0 is before that. A node has one request under way, and may send the next whenever it has none: every
// 0.6 s, when it is woken, and at once after a reply with entries, which acknowledges these.
func (m *Model) send(w *world, n uint8) bool {
	x := &w.nodes[n]
	if x.stage != idle || x.closing != open {
		return false
	}
	x.count++
	x.stage, x.t0 = sent, clocks{}
	return true
}

func (x *node) request(n uint8) request { return request{true, n, x.epoch, x.cursor, x.count} }

// execute is the request on a server.
func (m *Model) execute(w *world, n, server uint8) bool {
	x, s := &w.nodes[n], &w.redis[server]
	if x.stage != sent || !m.accepts(s) {
		return false
	}
	x.stage, x.reply = answered, m.leaseScript(w, s, x.request(n))
	return true
}

// lose is a request or a reply that does not arrive, or not while the node waits for it. What comes later is not looked at.
func (m *Model) lose(w *world, n uint8) bool {
	x := &w.nodes[n]
	if x.stage != sent && x.stage != answered {
		return false
	}
	x.stage = idle
	return true
}

// receive looks at the epoch of a reply. If it is another, the node's own is over: lease and maps go at once.
func (m *Model) receive(w *world, n uint8) bool {
	x := &w.nodes[n]
	if x.stage != answered {
		return false
	}
	x.stage = received
	if m.OnNode && n == 0 {
		w.revokers[0].meet(x.reply.epoch)
	}
	switch {
	case x.reply.epoch == x.epoch && x.reply.after == x.cursor:
	case m.Without.DropAtEpoch && x.epoch != 0:
		x.cursor = x.reply.after
	default:
		x.dead = x.dead.with(x.epoch).without(x.reply.epoch).without(0)
		x.epoch, x.maps, x.cursor, x.leased = x.reply.epoch, 0, 0, false
	}
	if m.Without.PublishLast {
		m.lease(x)
	}
	return true
}

// apply puts the entries into the maps, and then moves the cursor.
func (m *Model) apply(w *world, n uint8) bool {
	x := &w.nodes[n]
	if x.stage != received {
		return false
	}
	x.stage = applied
	for _, e := range x.reply.entries[:x.reply.n] {
		if e&unknown == 0 {
			x.maps = x.maps.with(e.session())
		} else if !m.Without.ReadAll {
			x.leased, x.stage = false, idle // it asks Redis from now on
			return true
		}
		x.cursor++
	}
	return true
}

// publish makes the lease known that a reply which reached the tail has given.
func (m *Model) publish(w *world, n uint8) bool {
	x := &w.nodes[n]
	if x.stage != applied {
		return false
	}
	x.stage = idle
	m.lease(x)
	return true
}

func (m *Model) lease(x *node) {
	if !x.reply.tail && !m.Without.TailOnly {
		return
	}
	x.leased, x.lease = true, x.t0
	if m.Without.T0BeforeSending {
		x.lease = clocks{}
	}
}

// holds says whether a lease is in force: for less than L since t0, by both clocks.
func (m *Model) holds(x *node) bool {
	mono := int(x.lease.mono) < m.Lease || m.Without.MonotonicClock
	wall := int(x.lease.wall) < m.Lease && x.lease.wall >= 0 || m.Without.WallClock
	return x.leased && (mono && wall || m.Without.Expiry)
}

// accepted answers a check that starts now. Lease, epoch and maps are read as one.
func (m *Model) accepted(w *world, n, session, epoch uint8) bool {
	x := &w.nodes[n]
	switch {
	case m.holds(x) && x.epoch == epoch:
		return !x.maps.has(session)
	case m.holds(x) && x.dead.has(epoch):
		return false
	}
	for i := range w.redis { // whichever it asks
		if s := &w.redis[i]; m.accepts(s) && s.checkScript(session, epoch) {
			return true
		}
	}
	return false
}

// leave is a node that closes: it answers from memory no more.
func (m *Model) leave(w *world, n uint8) bool {
	x := &w.nodes[n]
	switch {
	case m.Without.LeaveLast && x.closing == halfway:
		x.closing = closed
	case x.closing == open && w.left.Leave > 0:
		w.left.Leave--
		x.closing = halfway
	default:
		return false
	}
	x.stage = idle
	if x.closing == closed || !m.Without.LeaveLast {
		x.leased = false
	}
	return true
}

// remove is what it does then: it takes itself out of the hash of nodes.
func (m *Model) remove(w *world, n, server uint8) bool {
	x, s := &w.nodes[n], &w.redis[server]
	if x.closing != halfway || !m.accepts(s) || !s.nodes[n].there {
		return false
	}
	s.nodes[n] = registration{}
	if !m.Without.LeaveLast {
		x.closing = closed
	}
	return true
}

// hasten is the next request, sent before what it acknowledges is applied: Without.ApplyFirst.
func (m *Model) hasten(w *world, n, server uint8) bool {
	x, s := &w.nodes[n], &w.redis[server]
	if !m.Without.ApplyFirst || x.stage != received || x.reply.n == 0 || !m.accepts(s) {
		return false
	}
	x.count++
	r := x.request(n)
	r.cursor += x.reply.n
	m.leaseScript(w, s, r)
	return true
}

// peek is a check that has read the lease, for a token of its epoch, and has the maps before it: Without.OneSnapshot.
func (m *Model) peek(w *world, n uint8) bool {
	x := &w.nodes[n]
	if !m.Without.OneSnapshot || x.looking != 0 || w.revokers[0].stage != returned || !m.holds(x) {
		return false
	}
	x.looking = x.epoch
	return true
}
