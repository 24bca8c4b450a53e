package leasemodel

const (
	maxNodes    = 3
	maxRevokers = 2
	maxLog      = 3 // two endings and an older entry
	maxEpochs   = 6
)

// world is one state of everything: a plain value that can be compared and hashed. Where something was, it has its age in ticks
// by the clock of whoever has to know.
type world struct {
	redis    [2]redis
	nodes    [maxNodes]node
	revokers [maxRevokers]revoker
	stray    request // on its way, and nobody waits for it
	watch    watch
	epochs   uint8            // begun so far; each is named by its number
	tokens   [maxRevokers]set // for each session the epochs in which it has a token
	left     Faults           // that may still happen
}

// set is a set of small numbers: sessions, nodes or epochs.
type set uint8

func (s set) has(i uint8) bool    { return s>>i&1 == 1 }
func (s set) with(i uint8) set    { return s | 1<<i }
func (s set) without(i uint8) set { return s &^ (1 << i) }
func (s set) put(i uint8, b bool) set {
	if b {
		return s.with(i)
	}
	return s.without(i)
}

// What a Redis is.
const (
	absent uint8 = iota
	master
	replica
	snapshot // what the master would come back with
)

// redis is one server.
type redis struct {
	role  uint8
	epoch uint8 // 0: there is none, or it was begun by another process or on another history
	cut   uint8 // ticks since its replica was promoted, or notCut
	alone bool  // it was promoted, and the old master does not follow it yet
	data
}

const notCut = 255

// data is what a server holds and a replica copies.
type data struct {
	n     uint8 // entries in the log; their ids are 1 to n
	log   [maxLog]entry
	nodes [maxNodes]registration
	rows  set // sessions that can refresh
}

// entry is a session that was ended, plus one, and whether it says so in a way that nodes of this release can't read.
type entry uint8

const unknown entry = 0x80

func (e entry) session() uint8 { return uint8(e&^unknown) - 1 }

// olderSession is ended by entries that are in the log from the start.
const olderSession = maxRevokers

// registration is what the hash of nodes has of one.
type registration struct {
	there   bool
	epoch   uint8 // that the node knew
	cursor  uint8 // that it had applied in that epoch
	count   uint8 // of its requests
	expired bool  // by Redis's clock, which only Without.NoExpiry asks
}

// request is what the lease script is called with. No two of a node have the same count.
type request struct {
	there                      bool
	node, epoch, cursor, count uint8
}

// watch is what the process remembers that removes registrations: one of them, and for how long it has been as it is.
type watch struct {
	there              bool
	node, count, since uint8
}

// reply is its answer: the entries after a position, and whether they reach the tail.
type reply struct {
	epoch, after, n uint8
	entries         [maxLog]entry
	tail            bool
}

// Where a node's request is.
const (
	idle uint8 = iota
	sent
	answered // the reply is on its way
	received
	applied
)

// clocks are two ages of one instant, by the two clocks of a machine.
type clocks struct{ mono, wall int8 }

// node is a process that answers from memory.
type node struct {
	epoch  uint8 // that its maps are of; 0: it has none yet
	maps   set   // sessions that were ended
	dead   set   // epochs that it knows to be over
	cursor uint8 // the last entry that was applied
	count  uint8 // of requests

	leased bool
	lease  clocks // since t0 of the request that gave it

	stage uint8
	t0    clocks // since before the request was sent
	reply reply

	closing uint8
	looking uint8 // Without.OneSnapshot: the epoch of a token whose check has read the lease, and not yet the maps
}

// How far a node is with closing.
const (
	open uint8 = iota
	halfway
	closed
)

// How far a revocation is.
const (
	notYet uint8 = iota
	called       // only Without.CountFromReply tells it from notYet
	written
	overtaken // what was written is in an epoch that is over
	returned  // nil
	failed    // ErrUnconfirmed
)

// revoker is a process that ends the session of its own number.
type revoker struct {
	stage   uint8
	again   bool                 // the ending is repeated
	epoch   uint8                // of the entry; once returned, of the answer that confirmed it
	id      uint8                // of the entry
	on      uint8                // the server that has it
	held    bool                 // the replica has it, or need not
	since   uint8                // ticks since the reply to add
	waiting set                  // registered nodes that have not acknowledged
	was     [maxNodes]uint8      // the counts of their registrations, as the add saw them
	seen    [maxEpochs + 1]uint8 // for each epoch, one more than the ticks since an answer first told it; 0: none did
	served  set                  // history: nodes that accepted from memory when the entry was written
}
