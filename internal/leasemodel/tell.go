package leasemodel

import (
	"fmt"
	"strings"
)

// tell writes down a way from the start: each step, and all that it has changed. Nodes are called A, B and C in the order in which
// they first do something, but for the one that revokes, which is A.
func (m *Model) tell(path []step) (trace []string) {
	w := m.start()
	var names []byte
	is := [maxNodes]uint8{0, 1, 2} // who stands at each place, as fold sorts them
	name := func(place uint8) string {
		for i, who := range names {
			if who == is[place] {
				return string(rune('A' + i))
			}
		}
		names = append(names, is[place])
		return string(rune('A' + len(names) - 1))
	}
	if m.OnNode {
		name(0)
	}
	for i, s := range path {
		text := s.text
		if strings.Contains(text, "NODE") {
			text = strings.ReplaceAll(text, "NODE", name(s.node))
		}
		before := m.lines(&w, name)
		s.run(&w)
		order, was := m.fold(&w), is
		for place := range order {
			is[place] = was[order[place]]
		}
		line := fmt.Sprintf("%2d. %s", i+1, text)
		after := m.lines(&w, name)
		for _, what := range []string{"Redis 1", "Redis 2", "revoker 1", "revoker 2", "the watcher", "A", "B", "C"} {
			if after[what] != before[what] {
				line += fmt.Sprintf("\n      %s: %s", what, after[what])
			}
		}
		trace = append(trace, line)
	}
	if n, session, epoch, is := m.broken(&w); is {
		trace = append(trace, fmt.Sprintf("    A check that starts now at %s accepts a token of s%d in epoch %d, which was ended", name(n), session+1, epoch))
	}
	return trace
}

// lines says of everyone what can be said in a line. A node that has done nothing yet has none.
func (m *Model) lines(w *world, name func(place uint8) string) map[string]string {
	all := map[string]string{}
	for i := range w.redis {
		if s := &w.redis[i]; s.role != absent {
			all[fmt.Sprintf("Redis %d", i+1)] = m.redisLine(s, name)
		}
	}
	for r := range m.Revocations {
		all[fmt.Sprintf("revoker %d", r+1)] = m.revokerLine(&w.revokers[r], name)
	}
	if x := &w.watch; x.there {
		all["the watcher"] = fmt.Sprintf("has seen the registration of %s as it is for %d ticks", name(x.node), x.since)
	}
	for n := range uint8(m.Nodes) {
		if x := &w.nodes[n]; *x != (node{}) {
			all[name(n)] = m.nodeLine(x)
		}
	}
	return all
}

func (m *Model) redisLine(s *redis, name func(place uint8) string) string {
	if s.role == snapshot {
		return fmt.Sprintf("a snapshot of %d entries", s.n)
	}
	line := "master"
	switch {
	case s.role == replica:
		line = "replica"
	case s.alone:
		line = "master, refuses as nobody follows it"
	case !m.accepts(s):
		line = "cut off, refuses"
	case s.cut != notCut:
		line = fmt.Sprintf("cut off %d ticks ago", s.cut)
	}
	if s.epoch != 0 {
		line += fmt.Sprintf(", epoch %d", s.epoch)
	}
	var log []string
	for _, e := range s.log[:s.n] {
		log = append(log, sessionName(e.session()))
	}
	line += fmt.Sprintf(", log %v", log)
	for n, is := range s.nodes {
		if is.there {
			line += fmt.Sprintf(", registered %s at %d of epoch %d", name(uint8(n)), is.cursor, is.epoch)
		}
	}
	return line
}

func (m *Model) nodeLine(x *node) string {
	line := "no epoch"
	if x.epoch != 0 {
		var maps []string
		for session := range uint8(olderSession + 1) {
			if x.maps.has(session) {
				maps = append(maps, sessionName(session))
			}
		}
		line = fmt.Sprintf("at %d of epoch %d, knows %v", x.cursor, x.epoch, maps)
	}
	if x.leased {
		line += fmt.Sprintf(", leased since %d ticks", x.lease.mono)
		if x.lease.mono != x.lease.wall {
			line += fmt.Sprintf(" (%d by wall time)", x.lease.wall)
		}
	}
	switch x.stage {
	case sent:
		line += fmt.Sprintf(", asked %d ticks ago", x.t0.mono)
	case answered, received, applied:
		line += fmt.Sprintf(", asked %d ticks ago, reply: epoch %d, %d entries after %d", x.t0.mono, x.reply.epoch, x.reply.n, x.reply.after)
		if !x.reply.tail {
			line += " and more"
		}
		line += []string{", on its way", ", received", ", applied"}[x.stage-answered]
	}
	if x.closing != open {
		line += ", closing"
	}
	if x.looking != 0 {
		line += fmt.Sprintf(", looks for a token of epoch %d", x.looking)
	}
	return line
}

func (m *Model) revokerLine(x *revoker, name func(place uint8) string) string {
	var line string
	switch x.stage {
	case notYet:
		line = "has not begun"
	case called:
		line = fmt.Sprintf("has begun %d ticks ago", x.since)
	case overtaken:
		line = "must repeat it"
	case failed:
		return "can't confirm it"
	case returned:
		return fmt.Sprintf("has returned in epoch %d", x.epoch)
	case written:
		line = fmt.Sprintf("entry %d of epoch %d written %d ticks ago", x.id, x.epoch, x.since)
		if !x.held {
			line += ", not yet on the replica"
		}
		for n := range uint8(m.Nodes) {
			if x.waiting.has(n) {
				line += ", waits for " + name(n)
			}
		}
	}
	for epoch, seen := range x.seen {
		if seen > 0 {
			line += fmt.Sprintf(", has seen epoch %d for %d ticks", epoch, seen-1)
		}
	}
	return line
}

func sessionName(session uint8) string {
	if session == olderSession {
		return "older"
	}
	return fmt.Sprintf("s%d", session+1)
}
