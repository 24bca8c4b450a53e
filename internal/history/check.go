package history

import (
	"time"

	"github.com/doorward/doorward/auth"
)

// Check judges a history. Only what must have been in this order counts: a request that began before a call
// returned may be answered either way.
func Check(h *History) *Report {
	r := &Report{Calls: map[Outcome]int{}, Ended: map[Outcome]int{}, Answers: map[auth.Code]int{}}
	calls := index{}
	for i := range h.Revocations {
		call := &h.Revocations[i]
		r.Calls[call.Outcome]++
		r.Ended[call.Outcome] += len(call.What)
		for _, what := range call.What {
			k := keyOf(what)
			calls[k] = append(calls[k], named{call, what.Below})
		}
	}
	fates := map[*Token]*fate{}
	for _, q := range h.Requests {
		r.Answers[q.Code]++
		f := fates[q.Token]
		if f == nil {
			f = calls.fate(q.Token)
			fates[q.Token] = f
		}
		if q.Code == auth.TokenRevoked && (!f.named || q.End < f.first) {
			r.Spurious = append(r.Spurious, q)
		}
		if f.confirmed == nil || q.Code == Unanswered {
			continue
		}
		switch after := q.Begin > f.confirmed.End; {
		case after && q.Code == "":
			r.Violations = append(r.Violations, Violation{q, *f.confirmed})
		case after:
			r.After++
			f.refused = true
			if q.Begin-f.confirmed.End <= 10*time.Millisecond {
				r.Prompt++
			}
		case q.Code == "":
			r.Before++
			f.accepted = f.accepted || q.End < f.first
		}
	}
	for _, f := range fates {
		if f.accepted && f.refused {
			r.Witnessed++
		}
	}
	return r
}

// index holds the calls by what they named.
type index map[auth.Revocation][]named

type named struct {
	call  *Revocation
	below int64
}

// keyOf makes the forms equal that a list takes for the same: sessions are looked up by their id alone, token ids
// with their issuer, subjects by all three.
func keyOf(what auth.Revocation) auth.Revocation {
	switch {
	case what.Session != "":
		return auth.Revocation{Session: what.Session}
	case what.TokenID != "":
		return auth.Revocation{Owner: auth.Owner{Issuer: what.Issuer}, TokenID: what.TokenID}
	}
	what.Below = 0
	return what
}

// fate is what the calls did to one token.
type fate struct {
	named     bool          // by any call
	first     time.Duration // when the first of those began
	confirmed *Revocation   // the first of those that confirmed

	accepted, refused bool // before the first began, after it was confirmed
}

func (x index) fate(t *Token) *fate {
	f := &fate{}
	for _, k := range []auth.Revocation{
		{Session: t.Session},
		{Owner: auth.Owner{Issuer: t.Issuer}, TokenID: t.ID},
		{Owner: t.Owner},
	} {
		for _, n := range x[k] {
			if n.below != 0 && t.Version >= n.below {
				continue
			}
			if !f.named || n.call.Begin < f.first {
				f.named, f.first = true, n.call.Begin
			}
			if n.call.Outcome == Confirmed && (f.confirmed == nil || n.call.End < f.confirmed.End) {
				f.confirmed = n.call
			}
		}
	}
	return f
}
