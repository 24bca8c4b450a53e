package history

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/doorward/doorward/auth"
)

// line is one record. Which of its fields are there says what it is.
type line struct {
	Token *Token `json:",omitempty"` // introduces T
	T     int    `json:",omitempty"` // a token of this file: a request

	What []auth.Revocation `json:",omitempty"` // introduces R: a call has begun
	R    int               `json:",omitempty"` // a call of this file: it has returned

	Node    string        `json:",omitempty"`
	Begin   time.Duration `json:",omitempty"`
	End     time.Duration `json:",omitempty"`
	Code    auth.Code     `json:",omitempty"`
	Outcome Outcome       `json:",omitempty"`
	Why     string        `json:",omitempty"`
}

// Read puts together what several processes of one machine recorded.
func Read(paths ...string) (*History, error) {
	h := new(History)
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		if err := h.read(text); err != nil {
			return nil, fmt.Errorf("history: %s: %w", path, err)
		}
	}
	return h, nil
}

func (h *History) read(text []byte) error {
	tokens, calls := map[int]*Token{}, map[int]int{}
	for n := 1; ; n++ {
		record, rest, whole := bytes.Cut(text, []byte("\n"))
		if !whole {
			return nil // the last line of a process that was killed has no end
		}
		text = rest
		var l line
		if err := json.Unmarshal(record, &l); err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
		switch call, begun := calls[l.R]; {
		case l.Token != nil && tokens[l.T] == nil:
			tokens[l.T] = l.Token
		case l.T != 0 && tokens[l.T] != nil && l.Begin <= l.End:
			h.Requests = append(h.Requests, Request{l.Node, tokens[l.T], l.Begin, l.End, l.Code})
		case l.What != nil && !begun:
			calls[l.R] = len(h.Revocations)
			h.Revocations = append(h.Revocations, Revocation{Node: l.Node, What: l.What, Begin: l.Begin, Outcome: Unreturned})
		case l.R != 0 && begun && h.Revocations[call].Outcome == Unreturned && h.Revocations[call].Begin <= l.End:
			r := &h.Revocations[call]
			r.End, r.Outcome, r.Why = l.End, l.Outcome, l.Why
		default:
			return fmt.Errorf("line %d is no record: %s", n, record)
		}
	}
}
