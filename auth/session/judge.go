package session

import "time"

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
//	p = c, r.Lenient, before GraceUntil                          Kept        -
//	p = c                                                        Rotated     write
//	p > c: authentic, so the store has forgotten                 RolledBack  write
//	From <= p < c before GraceUntil                              Replayed    -
//	p = c-1, and row.Epoch is not the list's                     Replayed    -
//	p = c-1, r.Lenient, and not row.Late                         Late        write
//	otherwise                                                    Reused      end
//
// A write is the returned row, where the row's Generation and Late are still those that were judged (in SQL:
// UPDATE ... WHERE generation = ? AND late = ?; no row changed: read and judge again). An end deletes the row, or leaves it over, and
// puts it on the list; without a row of the owner's, a zero one is returned and there is nothing to end.
// With r.Lend nothing is written or ended; the lines with a child are Lent then, and Reused is Late.
//
// Kept is what holds the promise to browsers. From moves at each swap, so that a second one within the grace time
// of the first would make a grandparent of a token whose racers may still be on their way. Where every showing is
// Lenient there is no such second one: within the grace time what was exchanged is p = From, and gets the child.
func (r Rotation) Judge(row Session, epoch string, now time.Time) (Session, Outcome) {
	row, outcome := r.judge(row, epoch, now)
	if r.Lend {
		switch outcome {
		case Rotated, RolledBack, Replayed, Kept:
			outcome = Lent
		case Reused:
			outcome = Late
		}
	}
	return row, outcome
}

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
	case p == c && r.Lenient && now.Before(row.GraceUntil):
		return row, Kept
	case p == c:
		return r.swap(row, p, epoch, now), Rotated
	case p > c:
		return r.swap(row, p, epoch, now), RolledBack
	case p >= row.From && now.Before(row.GraceUntil):
		return row, Replayed
	case p == c-1 && row.Epoch != epoch:
		// The answer to the last swap may have been lost with the memory that its access token hung on.
		return row, Replayed
	case p == c-1 && r.Lenient && !row.Late && !r.Lend:
		row.Late = true
		return row, Late
	}
	return row, Reused
}

// swap makes the child of p. Replays are told from theft by From: whoever shows less than it shows a
// grandparent.
func (r Rotation) swap(row Session, p int64, epoch string, now time.Time) Session {
	if r.Lend {
		return row
	}
	row.From, row.Generation = row.Generation, p+1
	row.KeyID, row.Epoch, row.Late = r.KeyID, epoch, false
	row.GraceUntil = now.Add(r.Grace)
	row.Used, row.IdleUntil = now, now.Add(row.Idle)
	if row.Until.Before(row.IdleUntil) {
		row.IdleUntil = row.Until
	}
	row.Client, row.Device = r.Client, r.Device
	return row
}
