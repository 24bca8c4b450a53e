package session

import (
	"net/netip"
	"time"

	"github.com/doorward/doorward/auth"
)

// Judge decides what showing generation p of r does to the row, by the list's present epoch and the
// store's clock. It is the one table for every store: memory calls it, SQL calls it between its SELECT and its
// UPDATE, a Redis script spells it out. A zero row stands for none. The first line that holds counts.
//
//	the list's epoch is not r.Epoch                              OtherEpoch  -
//	no row, or row.Owner is not r.Owner                          Gone        -
//	row.IdleUntil or row.Until has come                          Gone        end
//	row.Replaced                                                 Replaced    -
//	begun below r.Numbers.EndedBelow, and not Except             Gone        end
//	r.EndOnOtherEpoch, and row.Epoch is not the list's           Gone        end
//	row.Binding is set and is not r.Binding                      Unbound     -
//	r.EndOnOtherClient, and row.Client is not r.Client's like    Moved       end
//	row.Terms are not r.Terms                                    OtherTerms  -
//	p = c, r.Lenient, before GraceUntil                          Kept        -
//	p = c                                                        Rotated     write
//	p > c: authentic, so the store has forgotten                 RolledBack  write
//	From <= p < c before GraceUntil                              Replayed    -
//	p = c-1, row.Epoch is not the list's, swap 10 min old at most Replayed    -
//	p = c-1, r.Lenient, no LateUntil                             Late        write
//	p = c-1, r.Lenient, before LateUntil                         Late        -
//	otherwise                                                    Reused      end
//
// A write is the returned row, where the row's Generation, LateUntil and Replaced are still those that were judged (in SQL:
// UPDATE ... WHERE generation = ? AND late_until = ? AND NOT replaced; no row changed: read and judge again). An end deletes the row, or leaves it over, and
// puts it on the list; without a row of the owner's, a zero one is returned and there is nothing to end.
// With r.Lend nothing is written or ended; the lines with a child are Lent then, Reused and Moved are Late. With r.Narrow
// the lines with a child are Lent too, and nothing is written on them; all others do what they say.
//
// A swap is at row.Used. Two clients are alike if their user agents are equal and their addresses, where both are known, are of
// one network (IPv4 /24, IPv6 /48).
//
// Kept is what holds the promise to browsers. From moves at each swap, so that a second one within the grace time
// of the first would make a grandparent of a token whose racers may still be on their way. Where every showing is
// Lenient there is no such second one: within the grace time what was exchanged is p = From, and gets the child.
func (r Rotation) Judge(row Session, epoch string, now time.Time) (Session, Outcome) {
	row, outcome := r.judge(row, epoch, now)
	switch outcome {
	case Rotated, RolledBack, Replayed, Kept:
		if r.Lend || r.Narrow {
			outcome = Lent
		}
	case Reused, Moved:
		if r.Lend {
			outcome = Late
		}
	}
	return row, outcome
}

const (
	// lateFor is how long late showings of a parent are forgiven, from the first: parallel uploads span a rotation by more
	// than the grace time. A thief who shows the parent gets nothing for it but this time.
	lateFor = time.Minute
	// interrupted is how old a swap may be whose answer may have been lost with the memory of the list. Without a bound
	// each new epoch would revive a parent of any age.
	interrupted = 10 * time.Minute
)

func (r Rotation) judge(row Session, epoch string, now time.Time) (Session, Outcome) {
	p, c := r.Generation, row.Generation
	switch {
	case epoch != r.Epoch:
		return Session{}, OtherEpoch
	case row.ID == "" || row.Owner != r.Owner:
		return Session{}, Gone
	case !now.Before(row.IdleUntil), !now.Before(row.Until):
		return row, Gone
	case row.Replaced:
		return row, Replaced
	case !r.Numbers.spares(row.ID, row.Version):
		return row, Gone
	case r.EndOnOtherEpoch && row.Epoch != epoch:
		return row, Gone
	case row.Binding != "" && row.Binding != r.Binding:
		return row, Unbound
	case r.EndOnOtherClient && !Alike(row.Client, r.Client):
		return row, Moved
	case !row.Terms.equal(r.Terms):
		return row, OtherTerms
	case p == c && r.Lenient && now.Before(row.GraceUntil):
		return row, Kept
	case p == c:
		return r.swap(row, p, epoch, now), Rotated
	case p > c:
		return r.swap(row, p, epoch, now), RolledBack
	case p >= row.From && now.Before(row.GraceUntil):
		return row, Replayed
	case p == c-1 && row.Epoch != epoch && now.Sub(row.Used) <= interrupted:
		// The answer to the last swap may have been lost with the memory that its access token hung on.
		return row, Replayed
	case p == c-1 && r.Lenient && row.LateUntil.IsZero():
		if !r.Lend {
			row.LateUntil = now.Add(lateFor)
		}
		return row, Late
	case p == c-1 && r.Lenient && now.Before(row.LateUntil):
		return row, Late
	}
	return row, Reused
}

// swap makes the child of p. Replays are told from theft by From: whoever shows less than it shows a
// grandparent.
func (r Rotation) swap(row Session, p int64, epoch string, now time.Time) Session {
	if r.Lend || r.Narrow {
		return row
	}
	row.From, row.Generation = row.Generation, p+1
	row.KeyID, row.Epoch, row.LateUntil = r.KeyID, epoch, time.Time{}
	row.GraceUntil = now.Add(r.Grace)
	row.Used, row.IdleUntil = now, now.Add(row.Idle)
	if row.Until.Before(row.IdleUntil) {
		row.IdleUntil = row.Until
	}
	row.Client, row.Device, row.Place = r.Client, r.Device, r.Place
	return row
}

// Alike says whether two requests may be one client's: equal user agents, and addresses of one network where both
// are known. It tells a person something; it proves nothing, since phones change networks and thieves copy agents.
func Alike(a, b auth.Client) bool {
	return a.UserAgent == b.UserAgent && (Network(a.Addr) == Network(b.Addr) || !a.Addr.IsValid() || !b.Addr.IsValid())
}

// Network is the network of an address as text, IPv4 /24 or IPv6 /48, "" for none: what a store compares for [Alike].
func Network(a netip.Addr) string {
	bits := 48
	switch {
	case !a.IsValid():
		return ""
	case a.Is4():
		bits = 24
	}
	return netip.PrefixFrom(a, bits).Masked().String()
}
