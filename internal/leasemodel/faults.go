package leasemodel

// What happens to messages, servers and clocks.

// use takes one of the faults that are left.
func use(left *uint8) bool {
	if *left == 0 {
		return false
	}
	*left--
	return true
}

// late leaves a request on its way that its node has given up.
func (m *Model) late(w *world, n uint8) bool {
	x := &w.nodes[n]
	if x.stage != sent || w.stray.there || !use(&w.left.Late) {
		return false
	}
	w.stray, x.stage = x.request(n), idle
	return true
}

// twice sends a request once more.
func (m *Model) twice(w *world, n uint8) bool {
	x := &w.nodes[n]
	if x.stage != sent || w.stray.there || !use(&w.left.Twice) {
		return false
	}
	w.stray = x.request(n)
	return true
}

// arrive is the execution of such a request. Nobody reads the reply.
func (m *Model) arrive(w *world, server uint8) bool {
	s := &w.redis[server]
	if !w.stray.there || !m.accepts(s) {
		return false
	}
	m.leaseScript(w, s, w.stray)
	w.stray = request{}
	return true
}

// refresh is one that meets a server without an epoch, and so begins the one that its token is of.
func (m *Model) refresh(w *world, server uint8) bool {
	s := &w.redis[server]
	if s.epoch != 0 || s.rows == 0 || !m.accepts(s) {
		return false
	}
	w.begin(s)
	return true
}

// flush empties a server: list, registrations and sessions.
func (m *Model) flush(w *world, server uint8) bool {
	s := &w.redis[server]
	if s.role != master || !use(&w.left.Flush) {
		return false
	}
	s.data, s.epoch = data{}, 0
	return true
}

// restart keeps all data. The epoch was of the process that is gone.
func (m *Model) restart(w *world, server uint8) bool {
	s := &w.redis[server]
	if s.role != master || !use(&w.left.Restart) {
		return false
	}
	s.epoch = 0
	return true
}

// save takes a snapshot.
func (m *Model) save(w *world) bool {
	if w.redis[1].role != snapshot || w.redis[1].data == w.redis[0].data || w.left.Restore == 0 {
		return false
	}
	w.redis[1].data = w.redis[0].data
	return true
}

// restore is a restart with it.
func (m *Model) restore(w *world) bool {
	if w.redis[1].role != snapshot || !use(&w.left.Restore) {
		return false
	}
	w.redis[0].data, w.redis[0].epoch = w.redis[1].data, 0
	return true
}

// replicate brings a replica to where its master is. It may happen at any time, so the replica may be behind by anything.
func (m *Model) replicate(w *world, server uint8) bool {
	from, to := &w.redis[1-server], &w.redis[server]
	if to.role != replica || from.role != master || from.data == to.data {
		return false
	}
	to.data = from.data
	return true
}

// promote makes the replica a master, whose epoch is of another server. The old master learns that later.
func (m *Model) promote(w *world, server uint8) bool {
	s, old := &w.redis[server], &w.redis[1-server]
	if s.role != replica || !use(&w.left.Promote) {
		return false
	}
	s.role, s.epoch, s.cut, s.alone, old.cut = master, 0, notCut, m.All, 0
	return true
}

// demote is that time: it becomes the new one's replica and takes its data.
func (m *Model) demote(w *world, server uint8) bool {
	s, now := &w.redis[server], &w.redis[1-server]
	if s.role != master || s.cut == notCut || now.role != master {
		return false
	}
	*s, now.alone = redis{role: replica, data: now.data}, false
	return true
}

// hop is a jump of Redis's clock: what ends by it has ended.
func (m *Model) hop(w *world, server uint8) bool {
	s := &w.redis[server]
	if s.role != master || !use(&w.left.RedisHop) {
		return false
	}
	for n := range s.nodes {
		s.nodes[n].expired = s.nodes[n].there && m.Without.NoExpiry
	}
	return true
}

// ticks are what each clock counts while one tick passes.
type ticks struct {
	nodes    [maxNodes]clocks
	revokers [maxRevokers]uint8
	cut      uint8
}

func even() ticks {
	return ticks{[maxNodes]clocks{{1, 1}, {1, 1}, {1, 1}}, [maxRevokers]uint8{1, 1}, 1}
}

func (m *Model) pass(w *world, t ticks) bool {
	for i := range w.redis {
		if s := &w.redis[i]; s.role == master && s.cut != notCut {
			s.cut += t.cut
		}
	}
	for n := range w.nodes {
		x, by := &w.nodes[n], t.nodes[n]
		x.lease.mono, x.lease.wall = x.lease.mono+by.mono, x.lease.wall+by.wall
		x.t0.mono, x.t0.wall = x.t0.mono+by.mono, x.t0.wall+by.wall
	}
	for r := range w.revokers {
		w.revokers[r].count(t.revokers[r])
	}
	w.watch.since++
	return true
}

func (x *revoker) count(ticks uint8) {
	x.since += ticks
	for epoch, seen := range x.seen {
		if seen > 0 {
			x.seen[epoch] += ticks
		}
	}
}

// slow is a tick that a node's clocks miss.
func (m *Model) slow(w *world, n uint8) bool {
	t := even()
	t.nodes[n] = clocks{0, 0}
	return use(&w.left.Drift) && m.pass(w, t)
}

// fast is one that a revoker's clock counts double.
func (m *Model) fast(w *world, r uint8) bool {
	t := even()
	t.revokers[r] = 2
	return use(&w.left.Drift) && m.pass(w, t)
}

// suspend is one for which a node's machine sleeps.
func (m *Model) suspend(w *world, n uint8) bool {
	t := even()
	t.nodes[n] = clocks{0, 1}
	return use(&w.left.Suspend) && m.pass(w, t)
}

// stop is one for which a hypervisor stops a node and both of its clocks.
func (m *Model) stop(w *world, n uint8) bool {
	t := even()
	t.nodes[n] = clocks{0, 0}
	return use(&w.left.Stopped) && m.pass(w, t)
}

// freeze is one for which a master that was cut off stands still, and what it knows of its replicas does not grow older.
func (m *Model) freeze(w *world) bool {
	t := even()
	t.cut = 0
	return use(&w.left.Frozen) && m.pass(w, t)
}

// stepBy is how far a wall clock is set.
const stepBy = 2

// step sets a node's wall clock.
func (m *Model) step(w *world, n uint8, by int8) bool {
	if !use(&w.left.Step) {
		return false
	}
	w.nodes[n].lease.wall += by
	w.nodes[n].t0.wall += by
	return true
}

// stepRevoker sets a revoker's wall clock ahead. Only Without.CountMonotonic looks at that.
func (m *Model) stepRevoker(w *world, r uint8) bool {
	if !m.Without.CountMonotonic || !use(&w.left.Step) {
		return false
	}
	w.revokers[r].count(stepBy)
	return true
}
