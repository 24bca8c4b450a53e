// Package leasemodel is the protocol of the revocation list's replica and its lease, written so that all that can
// happen to it can be tried.
//
// Three files are the protocol: redis.go has the scripts, node.go what a node that answers from memory does, revoker.go what
// ends a session and when that has happened. faults.go is the world that they live in. The tests go through every
// state that can be reached, and through those of the same protocol without one of its rules, which each must break.
//
// It does not own the code that serves: nothing of it is imported by a program. What that code does beyond this is not shown here.
//
// # The promise
//
// No check that starts after a revocation has returned nil is accepted, on any node, from memory or by asking Redis, for a token
// of the session that it ended. Which tokens these are depends on the setting:
//
//   - In all of them, every token of an epoch that began no later than the one in which the revocation was confirmed, whenever
//     it was minted.
//   - Where what was written survives each fault ([Model.Durable]: one Redis that loses nothing at a restart; replicas, when
//     an entry counts only once the replica has it; a flush, which takes the sessions along), tokens of later epochs
//     as well: a refresh finds no row and there are none.
//   - Where it does not (a snapshot older than the ending, a replica promoted without it), the session's row is back, and a
//     refresh may mint a token in the new epoch. That is the exception that the documents state.
//
// # What is assumed
//
// At most one of a node's two clocks stands still or is set during a lease. Clocks part by at most Margin during a wait. A
// master whose replica was promoted accepts nothing for longer than Bound after that: one that stands still during its own
// promotion and wakes later is beyond that, as min-replicas-to-write asks what the master knew before. With [Model.All]
// neither matters. The counts of a node's requests rise, and a process that starts again has another name. The tests show
// what breaks beyond these.
//
// # How it is small
//
// Time is ticks, and a state holds no instants but ages, so that the states of all times are finitely many. Nothing has to
// happen: a process that is paused, dead or not there yet is one that takes no step. So no step needs a pause in it. What
// can only make an answer stricter or a revocation later is left out, as it can't break the promise:
//
//   - A revoker's replies arrive at once. A check is one step, as it reads what was published as one.
//   - A request is executed when it is sent, and a reply is received, applied and published in one step, unless [Model.EachStep] or a
//     fault is about what may come between.
//   - A session that can refresh has a token in an epoch as soon as that begins.
//   - A promoted server accepts at once, as if it had replicas of its own, unless [Model.All]; the old master's time to refuse
//     begins with the promotion.
//   - An entry's id is its place in the log, so that ids come again after a loss. Entries don't leave. What that needs is
//     shown elsewhere: one that is on the list is written anew when it would end too early (redisrev's tests).
//   - The process that removes registrations which nobody renews remembers one of them at a time, for as long as a revoker
//     waits and not for an hour.
package leasemodel

// A Model is the protocol in one setting: who takes part, what may go wrong, and which rule is left out.
type Model struct {
	Nodes       int   // 1 to 3
	Revocations int   // 1 or 2, each of a session of its own, by a process of its own
	OnNode      bool  // the first of them is made on the first node; otherwise revokers are no nodes
	Fresh       bool  // revokers have not seen the first epoch yet
	Page        uint8 // entries that a reply holds at most; 0: all
	Watch       bool  // a process removes registrations that are not renewed
	Older       uint8 // entries of other sessions in the log at the start that no replica and no snapshot has

	Lease  int // L, in ticks of a node's clocks
	Margin int // what a revoker waits beyond L, for clocks that part
	Bound  int // B, the ticks for which a master accepts after its replica was promoted

	Replica bool // a second Redis follows the first and may be promoted
	All     bool // min-replicas-to-write counts all that may be promoted: such a server refuses until the old master follows it
	Durable bool // tokens of later epochs count; with a replica, an entry counts once it is there

	EachStep bool // no two steps are taken as one

	Faults  Faults
	Without Without

	history bool // keep what goals beside Broken ask for
}

// Faults are what may go wrong beside lost and late messages, and how often.
type Faults struct {
	Flush    uint8 // Redis is emptied
	Restart  uint8 // Redis restarts with all it had
	Restore  uint8 // Redis restarts with what it had at some time before
	Promote  uint8 // the replica is promoted with what it has; the old master becomes its replica at some time
	Late     uint8 // a lease request arrives after its node gave it up
	Twice    uint8 // a lease request arrives twice: a client library sends again after a timeout
	Unknown  uint8 // an entry is of a kind that nodes of this release can't read
	Leave    uint8 // a node closes
	Again    uint8 // a revoker dies before it returns, and its call is made once more
	RedisHop uint8 // Redis's own clock jumps ahead
	Drift    uint8 // a tick that a node's clocks miss, or a revoker's clock counts double
	Suspend  uint8 // a tick for which a machine sleeps: its monotonic clock stands still, wall time goes on
	Step     uint8 // a wall clock is set by two ticks

	Stopped uint8 // beyond what is assumed: a tick for which both clocks of a node stand still
	Frozen  uint8 // beyond what is assumed: a tick for which a cut-off master stands still
}

// Without are rules to leave out. Each is there because of a schedule that breaks the promise without it.
type Without struct {
	// Of nodes.
	Expiry          bool // a lease ends
	T0BeforeSending bool // it counts from before the request was sent
	TailOnly        bool // only a reply that reaches the tail gives one, and registers
	ApplyFirst      bool // entries are applied, then acknowledged
	PublishLast     bool // entries are applied, then the lease is published
	ReadAll         bool // an entry that can't be read ends the lease and is not acknowledged
	WallClock       bool // a lease ends by wall time, also when that goes backwards
	MonotonicClock  bool // a lease ends by monotonic time
	DropAtEpoch     bool // a reply of another epoch drops lease and maps
	OneSnapshot     bool // a check looks into the maps that the lease was published with, not into what they became
	LeaveLast       bool // a node that closes answers from memory no more, then removes its registration

	// Of revokers.
	WaitForNodes   bool // nodes that have not acknowledged are waited for
	WaitForReplica bool // an entry counts when the replica has it
	CountFromReply bool // the wait counts from the reply to add
	CountMonotonic bool // it counts by the monotonic clock
	Margin         bool // it is longer than a lease by what clocks may part
	AckEpoch       bool // only what was acknowledged in the entry's epoch counts
	AnswerEpoch    bool // only an answer of the entry's epoch tells who acknowledged
	OwnEpoch       bool // the own node is done only if its maps are of the entry's epoch
	SeenEpoch      bool // the epoch must have been seen for B + L
	SeenBound      bool // B is part of that
	Repeat         bool // an ending whose epoch is over is repeated in the new one
	ListedWaits    bool // an ending that finds its entry in the log waits for nodes all the same
	ListedHeld     bool // and for the replica

	// Of Redis.
	PresentedEpoch  bool // a registration holds the epoch that the node knew
	ForgetUnchanged bool // a node is forgotten only if its registration is as the add, or the watcher, saw it
	WatchLong       bool // the watcher removes only what has been as it is for longer than a lease
	CountOrder      bool // a request that is older than the registration does not register
	NoExpiry        bool // registrations don't end by Redis's clock
	MinReplicas     bool // a master without its replica refuses everything after B
}
