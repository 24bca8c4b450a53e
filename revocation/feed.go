package revocation

import (
	"context"
	"fmt"
	"time"

	"github.com/doorward/doorward/auth"
)

// Lease is how long a node may answer from memory without hearing from its feed, counted from before it asked. It is part
// of the format: every node and every revoker of a list counts with it, so it has no setting.
const Lease = 2 * time.Second

// ErrUnconfirmed says that what was to be ended stands on the list, and that it is not known yet whether every node
// that answers from memory has seen it: the context ended first, or the store failed meanwhile. Each of them has when
// [Lease] has passed. Its code is [auth.StoreUnavailable]; the call may be repeated.
var ErrUnconfirmed = fmt.Errorf("%w: revocation: written, and not yet confirmed on every node", auth.StoreUnavailable)

type withoutWait struct{}

// WithoutWait returns a context for calls that end something, of this package and of package session: they return as
// soon as it stands on the list and holds on this node, with nil. Other nodes that answer from memory follow within
// moments, and within [Lease] at worst.
func WithoutWait(ctx context.Context) context.Context {
	return context.WithValue(ctx, withoutWait{}, true)
}

// Waits says whether a call with this context is to wait for other nodes: it is for those who write a [Feed].
func Waits(ctx context.Context) bool { return ctx.Value(withoutWait{}) == nil }

// A Feed is a list whose entries can be followed, so that a [Replica] answers from memory. redisrev.List is one.
//
// It keeps account of who follows: its calls that end something return nil when every node that holds a lease has
// acknowledged the entry, or could not hold one without it any more. So it is the Feed that waits, not the Replica.
type Feed interface {
	List

	// Next does three things in one step: it acknowledges that the node has applied everything up to at, says
	// what was added behind that, and, if that reaches the end (Batch.End), registers the node as one that may
	// answer from memory for Lease, counted from before the call. The zero Position is the start. A position
	// in another epoch than the list's, or beyond its end, is answered from the start.
	//
	// An entry that cannot be read is an error: the node must not acknowledge what it did not understand.
	Next(ctx context.Context, node string, at Position) (Batch, error)

	// Wait returns nil when something was added behind at, or after at most a second or two. Any error means that it
	// did not wait. It is a hint, which may be early, late or lost.
	Wait(ctx context.Context, at Position) error

	// Leave takes the node off the account: nobody waits for it any more.
	Leave(ctx context.Context, node string) error

	// Attach has heard called with what calls of this process add, or find on the list, before they return, also with
	// an epoch that they met and nothing added. heard must not block. detach ends that.
	Attach(heard func(epoch string, added []Entry)) (detach func())
}

// A Position is how far a node has read: an epoch, and the last entry in it.
type Position struct{ Epoch, Entry string }

// A Batch is what a [Feed] says at once.
type Batch struct {
	Entries []Entry
	At      Position // behind Entries
	Start   bool     // Entries begin at the start
	End     bool     // and reach the end
}

// An Entry is one line of a list. See [Name] and [Value].
type Entry struct {
	Name  string
	Value int64
	Left  time.Duration // how long it is still to be kept; a Replica believes twice Keep at most
}
