//go:build linux

package promise_test

import (
	"math/rand/v2"
	"slices"
	"time"

	"github.com/doorward/doorward/internal/redistest"
)

// pause is how long a fault lasts: longer than a lease, with time for calls to be confirmed meanwhile.
const pause = 3500 * time.Millisecond

// some is how many endings are confirmed before the next fault.
const some = endings / 50

// patience is how long anything may take on a machine that is busy with other things.
const patience = 90 * time.Second

// A scene is a load, and the Redis below it: one server, or a master with a replica and sentinels.
type scene struct {
	*load
	servers   map[string]*redistest.Server // by address
	sentinels *redistest.Sentinels
	paused    *node // by a fault that another one happens beside
}

// A fault happens and is over when run returns.
type fault struct {
	name string
	run  func(*scene)
}

// beside is the fault while a node is paused.
func (f fault) beside() fault {
	return fault{f.name + "; meanwhile a node is paused", func(s *scene) { s.pauses(s.one(), func() { f.run(s) }) }}
}

// What happens to nodes, whatever Redis is like.
var ofNodes = []fault{
	{"a node is paused for longer than its lease", func(s *scene) { s.pauses(s.one(), func() { s.wait(pause) }) }},
	{"a node is killed, another one joins", func(s *scene) { s.kill(s.one()); s.wait(time.Second); s.join() }},
	{"a node joins, another one leaves", func(s *scene) { n := s.one(); s.join(); s.wait(time.Second / 2); s.leave(n) }},
	{"a node is cut off from Redis", func(s *scene) { s.loses(s.one(), cut, func() { s.wait(pause) }) }},
	{"a node gets no answers from Redis", func(s *scene) { s.loses(s.one(), halfOpen, func() { s.wait(pause) }) }},
}

// What happens to Redis, whatever it is like.
var ofRedis = []fault{
	{"Redis is flushed", func(s *scene) { s.master().Do("FLUSHALL") }},
	{"Redis is killed and comes back with an older snapshot", func(s *scene) {
		m := s.master()
		m.Save()
		s.progress(some) // all of which it forgets
		m.Kill()
		m.Restart()
	}},
	{"Redis is flushed while a node is paused", func(s *scene) {
		s.pauses(s.one(), func() { s.master().Do("FLUSHALL"); s.wait(pause) })
	}},
	{"Redis is flushed while a node is cut off", func(s *scene) {
		s.loses(s.one(), cut, func() { s.master().Do("FLUSHALL"); s.wait(pause) })
	}},
}

// What happens to a Redis that is alone.
var ofOne = []fault{
	{"Redis is stopped for a while", func(s *scene) {
		m := s.master()
		m.Save()
		m.Stop()
		s.wait(2 * time.Second)
		m.Restart()
	}},
	{"Redis does not run for a while", func(s *scene) { m := s.master(); m.Pause(); s.wait(pause); m.Resume() }},
}

// What happens to one with a replica. min-replicas-to-write is set, so that a master that was cut off refuses.
var ofTwo = []fault{
	{"the replica is promoted, the master lives", func(s *scene) { s.sentinels.Failover() }},
	{"the master is killed, its replica promoted", func(s *scene) {
		m := s.master()
		m.Kill()
		s.sentinels.WaitOther(m.Addr())
		m.Restart()
	}},
	{"the master does not run, its replica is promoted, the master goes on", func(s *scene) {
		m := s.master()
		m.Pause()
		s.sentinels.WaitOther(m.Addr())
		m.Resume()
	}},
	{"the replica is promoted while a node is paused", func(s *scene) {
		s.pauses(s.one(), func() { s.sentinels.Failover(); s.wait(pause) })
	}},
}

func (s *scene) master() *redistest.Server {
	s.t.Helper()
	addr := s.set.Addr
	if s.sentinels != nil {
		addr = s.sentinels.WaitSettled(1)
	}
	return s.servers[addr]
}

// one is any node that runs, of those that answer from memory if there are any: a fault of the others shows little.
func (s *scene) one() *node {
	nodes := slices.DeleteFunc(slices.Clone(s.all()), func(n *node) bool { return n == s.paused })
	if known := slices.DeleteFunc(slices.Clone(nodes), func(n *node) bool { return n.list == direct }); len(known) > 0 {
		nodes = known
	}
	return nodes[rand.IntN(len(nodes))]
}

func (s *scene) pauses(n *node, meanwhile func()) {
	n.pause()
	before := s.paused
	s.paused = n
	meanwhile()
	s.paused = before
	n.resume()
}

func (s *scene) loses(n *node, m wireMode, meanwhile func()) {
	s.wire(n, m)
	meanwhile()
	s.wire(n, whole)
}

func (s *scene) wait(d time.Duration) { rest(s.t.Context(), d) }

// progress waits until as many more endings are confirmed: the list has recovered.
func (s *scene) progress(endings int64) {
	s.t.Helper()
	want := s.confirmed.Load() + endings
	for begun := time.Now(); s.confirmed.Load() < want; s.wait(10 * time.Millisecond) {
		if time.Since(begun) > patience {
			s.t.Fatalf("in %v only %d of %d endings were confirmed", patience, endings-want+s.confirmed.Load(), endings)
		}
	}
}
