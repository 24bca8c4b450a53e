package leasemodel

import "slices"

// The scripts. Each is one atomic step on one server, if that accepts it.

// accepts says whether a server runs scripts. All of them count as writes, checks included, so that neither a replica
// does nor, after B, a master whose replica was promoted (min-replicas-to-write with min-replicas-max-lag).
func (m *Model) accepts(s *redis) bool {
	if s.alone {
		return false
	}
	return s.role == master && (s.cut == notCut || int(s.cut) <= m.Bound || m.Without.MinReplicas)
}

// begin is how each writing script starts. An epoch is valid on the server, and on the history of data, that it was begun on. Where
// there is none, the memory may be gone, and a new one begins, whose name was never used.
func (w *world) begin(s *redis) {
	if s.epoch != 0 {
		return
	}
	w.epochs++
	s.epoch = w.epochs
	for session := range uint8(maxRevokers) {
		if s.rows.has(session) {
			w.tokens[session] = w.tokens[session].with(s.epoch)
		}
	}
}

// leaseScript registers a node, acknowledges what it has applied, and reads on, in one.
func (m *Model) leaseScript(w *world, s *redis, r request) reply {
	w.begin(s)
	after := r.cursor
	if r.epoch != s.epoch || r.cursor > s.n {
		after = 0 // from the start
	}
	to := s.n
	if m.Page > 0 {
		to = min(to, after+m.Page)
	}
	a := reply{epoch: s.epoch, after: after, n: to - after, tail: to == s.n}
	copy(a.entries[:], s.log[after:to])

	// Who does not reach the tail gets no lease, and need not be waited for. A request that was overtaken
	// by a later one must not bring back what that has replaced: forgetScript would take it for unchanged.
	is := &s.nodes[r.node]
	if (a.tail || m.Without.TailOnly) && (!is.there || r.count >= is.count || m.Without.CountOrder) {
		*is = registration{there: true, epoch: r.epoch, cursor: r.cursor, count: r.count}
		if r.epoch == s.epoch {
			is.cursor = after // a cursor above the last id is no acknowledgement
		}
		if m.Without.PresentedEpoch {
			is.epoch = s.epoch
		}
	}
	return a
}

// addScript ends a session: its row goes and its entry is there. One that is in the log is not written again. It returns the last
// entry, which is the new one or stands behind it, and the nodes that may hold a lease without that.
func (w *world) addScript(s *redis, e entry) (epoch, id uint8, listed bool, nodes [maxNodes]registration) {
	s.rows = s.rows.without(e.session())
	w.begin(s)
	listed = slices.ContainsFunc(s.log[:s.n], func(is entry) bool { return is.session() == e.session() })
	if !listed {
		s.log[s.n] = e
		s.n++
	}
	return s.epoch, s.n, listed, s.nodes
}

// checkScript answers for a token. It writes nothing: without an epoch it refuses.
func (s *redis) checkScript(session, epoch uint8) bool {
	if s.epoch == 0 || s.epoch != epoch {
		return false
	}
	for _, e := range s.log[:s.n] { // the look-up keys: there is one for each entry, also for kinds that nodes can't read
		if e.session() == session {
			return false
		}
	}
	return true
}

// lagScript answers whether a node may still hold a lease without an entry. One that is not registered any more holds none.
func (m *Model) lagScript(s *redis, n, epoch, id uint8) bool {
	is := s.nodes[n]
	acknowledged := is.cursor >= id && (is.epoch == epoch || m.Without.AckEpoch || m.Without.AnswerEpoch)
	return is.there && !acknowledged
}

// forgetScript removes a registration that is as it was seen. Counts are never the same for two of a node, so they stand for the
// whole value.
func (m *Model) forgetScript(s *redis, n, count uint8) bool {
	is := &s.nodes[n]
	if !is.there || is.count != count && !m.Without.ForgetUnchanged {
		return false
	}
	*is = registration{}
	return true
}
