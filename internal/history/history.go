// Package history writes down what clients of a revocation list saw and judges it afterwards, as histories of databases
// are judged: no request that starts after a call that ended its token had returned is accepted.
//
// It does not own the clients, the load or the faults.
package history

import (
	"fmt"
	"time"

	"github.com/doorward/doorward/auth"
)

// A Token is what a list may know an access token by.
type Token struct {
	auth.Owner
	Session, ID string
	Version     int64
}

// A Request showed a token to a node. Times are those of the machine's monotonic clock.
type Request struct {
	Node       string
	Token      *Token
	Begin, End time.Duration
	Code       auth.Code // "" when it was accepted, [Unanswered] when nobody knows
}

// Unanswered is the code of a request that got no answer: its node was killed, for example.
const Unanswered auth.Code = "unanswered"

// A Revocation is one call that ends tokens, made at a node.
type Revocation struct {
	Node       string
	What       []auth.Revocation
	Begin, End time.Duration // no End unless it returned
	Outcome    Outcome
	Why        string // the error's text
}

// An Outcome is how a call ended.
type Outcome string

const (
	Confirmed   Outcome = "confirmed"   // it returned nil: the promise holds from here
	Unconfirmed Outcome = "unconfirmed" // it said that the entry is written and that some node may not have it yet
	Failed      Outcome = "failed"      // it returned another error: what it named may have ended or not
	Unreturned  Outcome = "unreturned"  // it never came back, or whoever recorded it did not
)

// A History is what was recorded.
type History struct {
	Requests    []Request
	Revocations []Revocation
}

// A Report says whether a history keeps the promise, and whether it could have shown that it does not.
type Report struct {
	Violations []Violation
	Spurious   []Request // refused as revoked before anybody had begun to revoke them

	Calls, Ended map[Outcome]int   // calls, and what they named
	Answers      map[auth.Code]int // requests by their answer

	Before    int // accepted requests with tokens whose end was confirmed later
	After     int // refused ones that began after that
	Prompt    int // those of After that began within 10 ms of the end
	Witnessed int // tokens that were accepted before the call which ended them and refused after it had returned
}

// A Violation is a request that was accepted although a call that ended its token had returned before.
type Violation struct {
	Request    Request
	Revocation Revocation
}

// String gives both records.
func (v Violation) String() string {
	q, r := v.Request, v.Revocation
	return fmt.Sprintf("%s accepted session %q, token %q, subject %q version %d in a request from %v to %v, that is %v after %s had confirmed at %v the ending (%v, begun at %v)",
		q.Node, q.Token.Session, q.Token.ID, q.Token.Subject, q.Token.Version, q.Begin, q.End, q.Begin-r.End, r.Node, r.End, r.What, r.Begin)
}

// Err is nil for a history that keeps the promise. It names the first few violations.
func (r *Report) Err() error {
	switch {
	case len(r.Violations) > 0:
		return fmt.Errorf("history: %d requests were accepted after their end was confirmed, such as:\n%v", len(r.Violations), lines(r.Violations))
	case len(r.Spurious) > 0:
		return fmt.Errorf("history: %d requests were refused as revoked and nobody had revoked them, such as:\n%v", len(r.Spurious), lines(r.Spurious))
	}
	return nil
}

func lines[T any](s []T) (text string) {
	for _, v := range s[:min(len(s), 5)] {
		text += fmt.Sprintf("\t%v\n", v)
	}
	return text
}

// String sums the report up.
func (r *Report) String() string {
	return fmt.Sprintf("calls %v, endings %v, answers %v; accepted before %d, refused after %d, %d of them within 10 ms; %d tokens seen on both sides of their end; %d violations, %d spurious refusals",
		r.Calls, r.Ended, r.Answers, r.Before, r.After, r.Prompt, r.Witnessed, len(r.Violations), len(r.Spurious))
}
