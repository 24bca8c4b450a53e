package history_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/internal/history"
)

const issuer = "https://api.example.com"

// ann is a token of hers with everything set.
func ann() *history.Token {
	return &history.Token{Owner: auth.Owner{Issuer: issuer, Subject: "ann"}, Session: "s1", ID: "j1", Version: 3}
}

var (
	session = auth.Revocation{Owner: auth.Owner{Issuer: issuer, Subject: "ann"}, Session: "s1"}
	tokenID = auth.Revocation{Owner: auth.Owner{Issuer: issuer, Subject: "ann"}, TokenID: "j1"}
	below4  = auth.Revocation{Owner: auth.Owner{Issuer: issuer, Subject: "ann"}, Below: 4}
)

// call is one that ended at 20, having begun at 10.
func call(o history.Outcome, what ...auth.Revocation) history.Revocation {
	r := history.Revocation{Node: "n1", What: what, Begin: 10, End: 20, Outcome: o}
	if o == history.Unreturned {
		r.End = 0
	}
	return r
}

// shown is one request at another node, answered five after it began.
func shown(begin time.Duration, code auth.Code) history.Request {
	return history.Request{Node: "n2", Token: ann(), Begin: begin, End: begin + 5, Code: code}
}

func TestCheck(t *testing.T) {
	later := func(r history.Revocation) history.Revocation { r.Begin, r.End = 30, 40; return r }
	for _, test := range []struct {
		name                 string
		calls                []history.Revocation
		requests             []history.Request
		violations, spurious int
		before, after        int
	}{
		{"nothing", nil, nil, 0, 0, 0, 0},
		{"accepted, never ended", nil, []history.Request{shown(0, "")}, 0, 0, 0, 0},
		{"refused afterwards", []history.Revocation{call(history.Confirmed, session)},
			[]history.Request{shown(0, ""), shown(21, auth.TokenRevoked)}, 0, 0, 1, 1},
		{"accepted afterwards, by its session", []history.Revocation{call(history.Confirmed, session)},
			[]history.Request{shown(21, "")}, 1, 0, 0, 0},
		{"by its token id", []history.Revocation{call(history.Confirmed, tokenID)}, []history.Request{shown(21, "")}, 1, 0, 0, 0},
		{"by its version", []history.Revocation{call(history.Confirmed, below4)}, []history.Request{shown(21, "")}, 1, 0, 0, 0},
		{"by the last of several", []history.Revocation{call(history.Confirmed,
			auth.Revocation{Owner: auth.Owner{Issuer: issuer, Subject: "bob"}, Session: "s9"}, tokenID)}, []history.Request{shown(21, "")}, 1, 0, 0, 0},
		{"long afterwards, refused in between", []history.Revocation{call(history.Confirmed, session)},
			[]history.Request{shown(21, auth.TokenRevoked), shown(time.Hour, "")}, 1, 0, 0, 1},
		{"refused for another reason, or by none", []history.Revocation{call(history.Confirmed, session)},
			[]history.Request{shown(21, auth.TokenExpired), shown(21, auth.StoreUnavailable), shown(21, history.Unanswered)}, 0, 0, 0, 2},

		{"began in the call, ended after it", []history.Revocation{call(history.Confirmed, session)},
			[]history.Request{shown(19, "")}, 0, 0, 1, 0},
		{"began at the moment of the return", []history.Revocation{call(history.Confirmed, session)},
			[]history.Request{shown(20, "")}, 0, 0, 1, 0},
		{"refused in the call", []history.Revocation{call(history.Confirmed, session)},
			[]history.Request{shown(5, auth.TokenRevoked), shown(12, auth.TokenRevoked)}, 0, 0, 0, 0},

		{"the call did not confirm", []history.Revocation{call(history.Unconfirmed, session)}, []history.Request{shown(21, "")}, 0, 0, 0, 0},
		{"the call failed", []history.Revocation{call(history.Failed, session)}, []history.Request{shown(21, "")}, 0, 0, 0, 0},
		{"the call did not return", []history.Revocation{call(history.Unreturned, session)}, []history.Request{shown(21, "")}, 0, 0, 0, 0},
		{"confirmed at the second try", []history.Revocation{call(history.Failed, session), later(call(history.Confirmed, session))},
			[]history.Request{shown(21, ""), shown(41, "")}, 1, 0, 1, 0},
		{"confirmed twice: the first counts", []history.Revocation{later(call(history.Confirmed, session)), call(history.Confirmed, session)},
			[]history.Request{shown(21, "")}, 1, 0, 0, 0},

		{"another's session", []history.Revocation{call(history.Confirmed,
			auth.Revocation{Owner: auth.Owner{Issuer: issuer, Subject: "ann"}, Session: "s2"})}, []history.Request{shown(21, "")}, 0, 0, 0, 0},
		{"another issuer's token", []history.Revocation{call(history.Confirmed,
			auth.Revocation{Owner: auth.Owner{Issuer: "https://other.example.com", Subject: "ann"}, TokenID: "j1"})}, []history.Request{shown(21, "")}, 0, 0, 0, 0},
		{"a version that is not below", []history.Revocation{call(history.Confirmed,
			auth.Revocation{Owner: auth.Owner{Issuer: issuer, Subject: "ann"}, Below: 3})}, []history.Request{shown(21, "")}, 0, 0, 0, 0},

		{"refused as revoked and never named", nil, []history.Request{shown(0, auth.TokenRevoked)}, 0, 1, 0, 0},
		{"refused as revoked before the first call", []history.Revocation{later(call(history.Confirmed, session)), call(history.Failed, tokenID)},
			[]history.Request{shown(4, auth.TokenRevoked), shown(6, auth.TokenRevoked)}, 0, 1, 0, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			// The order in which things were recorded is nobody's business.
			h := &history.History{Requests: slices.Clone(test.requests), Revocations: slices.Clone(test.calls)}
			for range 2 {
				r := history.Check(h)
				if len(r.Violations) != test.violations || len(r.Spurious) != test.spurious || r.Before != test.before || r.After != test.after {
					t.Errorf("got %v, expected %d violations, %d spurious, %d before and %d after", r, test.violations, test.spurious, test.before, test.after)
				}
				if err := r.Err(); (err != nil) != (test.violations+test.spurious > 0) {
					t.Errorf("Err is %v", err)
				}
				slices.Reverse(h.Requests)
				slices.Reverse(h.Revocations)
			}
		})
	}
}

func TestReport(t *testing.T) {
	other := &history.Token{Owner: auth.Owner{Issuer: issuer, Subject: "bob"}, Session: "s2", ID: "j2"}
	token := ann()
	h := &history.History{
		Revocations: []history.Revocation{
			call(history.Confirmed, session, auth.Revocation{Owner: auth.Owner{Issuer: issuer, Subject: "bob"}, Session: "s2"}),
			call(history.Unconfirmed, below4), call(history.Unconfirmed, tokenID), call(history.Unreturned, tokenID),
		},
		Requests: []history.Request{
			{Node: "n1", Token: token, Begin: 1, End: 2}, {Node: "n1", Token: token, Begin: 30, End: 31, Code: auth.TokenRevoked},
			{Node: "n1", Token: other, Begin: 1, End: 11}, // not surely before
			{Node: "n3", Token: other, Begin: time.Second, End: 2 * time.Second, Code: auth.TokenExpired},
			{Node: "n3", Token: other, Begin: time.Second, End: 2 * time.Second},
		},
	}
	r := history.Check(h)
	if r.Ended[history.Confirmed] != 2 || r.Calls[history.Confirmed] != 1 || r.Calls[history.Unconfirmed] != 2 || r.Calls[history.Unreturned] != 1 || r.Calls[history.Failed] != 0 {
		t.Errorf("calls and endings: %v", r)
	}
	if r.Before != 2 || r.After != 2 || r.Prompt != 1 || r.Witnessed != 1 || r.Answers[""] != 3 || r.Answers[auth.TokenExpired] != 1 {
		t.Errorf("requests: %v", r)
	}
	err := r.Err()
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"1 requests", `n3 accepted session "s2"`, "from 1s to 2s", "n1 had confirmed at 20ns", "begun at 10ns"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, expected it to say %q", err, want)
		}
	}
}
