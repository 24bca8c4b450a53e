package leasemodel_test

import (
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/doorward/doorward/internal/leasemodel"
)

type (
	model  = leasemodel.Model
	faults = leasemodel.Faults
)

// settings are the bounds of each exploration. Deep ones take minutes, and run with DOORWARD_MODEL=deep; large ones don't
// run under the race detector, which has nothing to find in a loop of one goroutine.
var settings = []struct {
	name        string
	large, deep bool
	model
}{
	// Without faults of servers.
	{name: "three nodes join", model: model{Nodes: 3, Revocations: 1, Lease: 2, Durable: true}},
	{name: "each step by itself", model: model{Nodes: 2, Revocations: 1, Lease: 2, Durable: true, EachStep: true}},
	{name: "a new revoker", model: model{Nodes: 2, Revocations: 1, Lease: 2, Durable: true, Fresh: true, OnNode: true}},
	{name: "clocks part", model: model{Nodes: 2, Revocations: 1, Lease: 2, Margin: 1, Durable: true, Faults: faults{Drift: 1}}},
	{name: "a machine sleeps", model: model{Nodes: 2, Revocations: 1, Lease: 2, Durable: true, Faults: faults{Suspend: 2}}},
	{name: "wall clocks are set", model: model{Nodes: 2, Revocations: 1, Lease: 2, Durable: true, Faults: faults{Step: 1}}},
	{name: "pages, forgetting", large: true, model: model{Nodes: 2, Revocations: 2, Lease: 2, Page: 1, Durable: true}},
	{name: "stray requests", large: true, model: model{Nodes: 1, Revocations: 2, Lease: 2, Durable: true, Faults: faults{Late: 1, Twice: 1}}},
	{name: "odd entries, closing nodes", model: model{Nodes: 2, Revocations: 1, Lease: 2, Durable: true, Faults: faults{Unknown: 1, Leave: 1, RedisHop: 1}}},

	{name: "a call is repeated", model: model{Nodes: 2, Revocations: 1, Lease: 2, Durable: true, Faults: faults{Again: 1}}},
	{name: "a call is repeated, pages", model: model{Nodes: 1, Revocations: 2, Lease: 2, Page: 1, Durable: true, Faults: faults{Again: 1}}},
	{name: "a watcher", model: model{Nodes: 2, Revocations: 1, Lease: 2, Durable: true, Watch: true}},
	{name: "a watcher, stray requests", model: model{Nodes: 1, Revocations: 1, Lease: 2, Durable: true, Watch: true, Faults: faults{Late: 1, Twice: 1}}},

	// One Redis.
	{name: "a restart", model: model{Nodes: 2, Revocations: 1, Lease: 2, Durable: true, Faults: faults{Restart: 1}}},
	{name: "a flush, a node revokes", large: true, model: model{Nodes: 2, Revocations: 1, OnNode: true, Lease: 2, Durable: true, Faults: faults{Flush: 1}}},
	{name: "a flush, each step by itself", model: model{Nodes: 1, Revocations: 1, Lease: 2, Durable: true, EachStep: true, Faults: faults{Flush: 1}}},
	{name: "a snapshot", large: true, model: model{Nodes: 2, Revocations: 1, Lease: 1, Older: 1, Faults: faults{Restore: 1}}},
	{name: "two snapshots", large: true, model: model{Nodes: 1, Revocations: 1, Lease: 2, Older: 1, Faults: faults{Restore: 2}}},

	{name: "a call is repeated, a snapshot", model: model{Nodes: 1, Revocations: 1, Lease: 2, Older: 1, Faults: faults{Restore: 1, Again: 1}}},
	{name: "a watcher, a flush", model: model{Nodes: 1, Revocations: 1, Lease: 2, Durable: true, Watch: true, Faults: faults{Flush: 1}}},

	// A master and a replica.
	{name: "failover", large: true, model: model{Nodes: 1, Revocations: 1, Lease: 2, Bound: 1, Replica: true, Durable: true, Faults: faults{Promote: 1}}},
	{name: "failover, a node revokes", large: true, model: model{Nodes: 1, Revocations: 1, OnNode: true, Lease: 2, Bound: 1, Replica: true, Durable: true, Faults: faults{Promote: 1}}},
	{name: "failover, two nodes", large: true, model: model{Nodes: 2, Revocations: 1, Lease: 1, Replica: true, Durable: true, Faults: faults{Promote: 1}}},
	{name: "failover, each step by itself", large: true, model: model{Nodes: 1, Revocations: 1, Lease: 1, Bound: 1, Replica: true, Durable: true, EachStep: true, Faults: faults{Promote: 1}}},
	{name: "failover there and back", large: true, model: model{Nodes: 1, Revocations: 1, Lease: 1, Replica: true, Durable: true, Faults: faults{Promote: 2}}},
	{name: "failover, all must follow", model: model{Nodes: 1, Revocations: 1, Lease: 2, Replica: true, All: true, Durable: true, Faults: faults{Promote: 1, Frozen: 2}}},
	{name: "failover without WAIT", large: true, model: model{Nodes: 1, Revocations: 1, Lease: 2, Bound: 1, Replica: true, Faults: faults{Promote: 1}}},

	{name: "a call is repeated, failover", model: model{Nodes: 1, Revocations: 1, Lease: 1, Bound: 1, Replica: true, Durable: true, Faults: faults{Promote: 1, Again: 1}}},
	{name: "a watcher, failover", model: model{Nodes: 1, Revocations: 1, Lease: 1, Replica: true, Durable: true, Watch: true, Faults: faults{Promote: 1}}},

	{name: "three nodes, clocks part", deep: true, model: model{Nodes: 3, Revocations: 1, Lease: 2, Margin: 1, Durable: true, Faults: faults{Drift: 1}}},
	{name: "three nodes, a restart", deep: true, model: model{Nodes: 3, Revocations: 1, Lease: 1, Durable: true, Faults: faults{Restart: 1}}},
	{name: "two flushes", deep: true, model: model{Nodes: 2, Revocations: 1, Lease: 2, Durable: true, Faults: faults{Flush: 2}}},
	{name: "two revocations and a snapshot", deep: true, model: model{Nodes: 1, Revocations: 2, Lease: 1, Faults: faults{Restore: 1}}},
	{name: "a stray request of two nodes", deep: true, model: model{Nodes: 2, Revocations: 2, Lease: 1, Durable: true, Faults: faults{Twice: 1}}},
	{name: "failover, two nodes, longer", deep: true, model: model{Nodes: 2, Revocations: 1, Lease: 1, Bound: 1, Replica: true, Durable: true, Faults: faults{Promote: 1}}},
	{name: "failover, two nodes, one revokes", deep: true, model: model{Nodes: 2, Revocations: 1, OnNode: true, Lease: 1, Replica: true, Durable: true, Faults: faults{Promote: 1}}},
	{name: "failover, two nodes, no WAIT", deep: true, model: model{Nodes: 2, Revocations: 1, Lease: 1, Replica: true, Faults: faults{Promote: 1}}},
	{name: "failover and a flush", deep: true, model: model{Nodes: 1, Revocations: 1, Lease: 2, Bound: 1, Replica: true, Durable: true, Faults: faults{Promote: 1, Flush: 1}}},
	{name: "failover, clocks part", deep: true, model: model{Nodes: 1, Revocations: 1, Lease: 2, Bound: 1, Margin: 1, Replica: true, Durable: true, Faults: faults{Promote: 1, Drift: 1}}},
	{name: "failover there and back, longer", deep: true, model: model{Nodes: 1, Revocations: 1, Lease: 2, Bound: 1, Replica: true, Durable: true, Faults: faults{Promote: 2}}},
}

// setting returns a model whose own exploration is part of TestPromise.
func setting(t *testing.T, name string) model {
	t.Helper()
	for _, s := range settings {
		if s.name == name && !s.deep {
			return s.model
		}
	}
	t.Fatalf("no setting %q", name)
	return model{}
}

// TestPromise goes through all that can happen within the bounds of each setting, and finds no check that breaks the promise.
func TestPromise(t *testing.T) {
	for _, s := range settings {
		if s.deep && os.Getenv("DOORWARD_MODEL") != "deep" || s.large && raceEnabled {
			continue
		}
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			begin := time.Now()
			r := s.Explore(leasemodel.Broken)
			if r.Trace != nil {
				t.Fatalf("broken in %s:\n%s", bounds(s.model), strings.Join(r.Trace, "\n"))
			}
			t.Logf("%d states, the farthest after %d steps, %v: %s", r.States, r.Depth, time.Since(begin).Round(time.Millisecond), bounds(s.model))
		})
	}
}

// rules says for each rule of the protocol in which setting the promise is broken without it, and by what.
var rules = []struct{ rule, setting, by string }{
	{"Expiry", "three nodes join", "a node that was stopped for longer than its lease (SIGSTOP) answers from memory when it goes on"},
	{"T0BeforeSending", "three nodes join", "a reply that took longer than a lease gives one"},
	{"TailOnly", "pages, forgetting", "1,000 of 5,000 entries give a lease"},
	{"ApplyFirst", "three nodes join", "an entry is acknowledged and not yet in the maps"},
	{"PublishLast", "three nodes join", "a lease is there before the maps"},
	{"ReadAll", "odd entries, closing nodes", "an entry of a new kind is skipped and acknowledged"},
	{"WallClock", "a machine sleeps", "a machine is suspended and its monotonic clock stands still"},
	{"MonotonicClock", "wall clocks are set", "a wall clock is set back"},
	{"DropAtEpoch", "a snapshot", "the feed has answered in another epoch, and tokens of the old one are still judged by the old maps"},
	{"OneSnapshot", "a flush, a node revokes", "a check has read the lease, and the maps are emptied for a new epoch before it looks"},
	{"LeaveLast", "odd entries, closing nodes", "a node has said that it closes, and still answers"},
	{"WaitForNodes", "three nodes join", "a node that does not know yet"},
	{"WaitForReplica", "failover", "the promoted replica does not have the ending, and a refresh finds the session"},
	{"CountFromReply", "three nodes join", "a node gets a lease between the start of the wait and the write"},
	{"CountMonotonic", "wall clocks are set", "the revoker's wall clock is set ahead"},
	{"Margin", "clocks part", "a revoker's clock is faster than a node's"},
	{"AckEpoch", "a snapshot", "a position of the old epoch is above the entry's in the new one"},
	{"AnswerEpoch", "a snapshot", "the entry is lost, and nobody is registered any more who lags"},
	{"OwnEpoch", "a flush, a node revokes", "the revoker's own reply is on its way from before the write, and its maps are made anew from it"},
	{"SeenEpoch", "a flush, a node revokes", "a flush has forgotten who holds leases"},
	{"SeenBound", "failover", "the old master still gives out leases after the promotion"},
	{"Repeat", "a snapshot", "the ending is not in the epoch that is confirmed"},
	{"ListedWaits", "a call is repeated", "the call that wrote the entry died before it had waited"},
	{"ListedHeld", "a call is repeated, failover", "WAIT counts nothing for a call that wrote nothing, and the promoted replica does not have the ending"},
	{"PresentedEpoch", "a snapshot", "a position of the old epoch is registered as one of the new"},
	{"ForgetUnchanged", "pages, forgetting", "a node that came back is forgotten, and the next revocation does not wait for it"},
	{"WatchLong", "a watcher", "a node that has just got its lease is not waited for"},
	{"CountOrder", "stray requests", "a request that was sent twice brings back the registration that a revoker has seen, which then forgets it"},
	{"NoExpiry", "odd entries, closing nodes", "Redis's clock jumps, and a registration is gone that has a lease"},
	{"MinReplicas", "failover", "the old master gives out leases for ever"},
}

// TestRules takes each rule out and shows the shortest way to an accepted token.
func TestRules(t *testing.T) {
	listed := map[string]bool{}
	for _, r := range rules {
		listed[r.rule] = true
		t.Run(r.rule, func(t *testing.T) {
			t.Parallel()
			m := setting(t, r.setting)
			reflect.ValueOf(&m.Without).Elem().FieldByName(r.rule).SetBool(true)
			found := m.Explore(leasemodel.Broken)
			if found.Trace == nil {
				t.Fatalf("nothing breaks without it in %d states of %q: %s", found.States, r.setting, bounds(m))
			}
			t.Logf("%s, after %d states:\n%s", r.by, found.States, strings.Join(found.Trace, "\n"))
		})
	}
	all := reflect.TypeFor[leasemodel.Without]()
	for i := range all.NumField() {
		if name := all.Field(i).Name; !listed[name] {
			t.Errorf("rule %s: no setting shows that it is needed", name)
		}
	}
}

// TestGoals shows that what the promise is about does happen in the model.
func TestGoals(t *testing.T) {
	for _, g := range []struct {
		name, setting string
		goal          leasemodel.Goal
	}{
		{"returns by acknowledgement", "three nodes join", leasemodel.Acknowledged},
		{"returns by acknowledgement after a page", "pages, forgetting", leasemodel.Acknowledged},
		{"returns without a silent node", "three nodes join", leasemodel.WaitedOut},
		{"returns in the epoch after", "failover", leasemodel.Repeated},
		{"says that it can't confirm", "two snapshots", leasemodel.Unconfirmed},
		{"a node refuses what it knows to be over", "failover", leasemodel.KnownDead},
	} {
		t.Run(g.name, func(t *testing.T) {
			t.Parallel()
			m := setting(t, g.setting)
			r := m.Explore(g.goal)
			if r.Trace == nil {
				t.Fatalf("never happens in %d states of %q", r.States, g.setting)
			}
			t.Logf("after %d states:\n%s", r.States, strings.Join(r.Trace, "\n"))
		})
	}
}

// TestAssumptions shows what breaks beyond what is assumed, so that nobody takes it for promised. One that no longer
// breaks is to be struck from the documents.
func TestAssumptions(t *testing.T) {
	for _, a := range []struct {
		name, setting string
		change        func(*model)
	}{
		{"both clocks of a node stand still", "three nodes join", func(m *model) { m.Faults.Stopped = 2 }},
		{"a machine sleeps and its wall clock is set back", "a machine sleeps", func(m *model) { m.Faults.Step = 1 }},
		{"clocks part by more than the margin", "clocks part", func(m *model) { m.Faults.Drift = 2 }},
		{"a master stands still during its own promotion", "failover", func(m *model) { m.Faults.Frozen = 1 }},
		{"a snapshot brings a session back", "a snapshot", func(m *model) { m.Durable = true }},
	} {
		t.Run(a.name, func(t *testing.T) {
			t.Parallel()
			m := setting(t, a.setting)
			a.change(&m)
			r := m.Explore(leasemodel.Broken)
			if r.Trace == nil {
				t.Fatalf("is survived in %d states: %s", r.States, bounds(m))
			}
			t.Logf("after %d states:\n%s", r.States, strings.Join(r.Trace, "\n"))
		})
	}
}

// bounds says what a model has that is not zero.
func bounds(m model) string {
	var all []string
	var add func(v reflect.Value)
	add = func(v reflect.Value) {
		for i := range v.NumField() {
			switch f, name := v.Field(i), v.Type().Field(i).Name; {
			case f.IsZero():
			case f.Kind() == reflect.Struct:
				add(f)
			case f.Kind() == reflect.Bool:
				all = append(all, name)
			default:
				all = append(all, fmt.Sprintf("%s %v", name, f))
			}
		}
	}
	add(reflect.ValueOf(m))
	return strings.Join(all, ", ")
}
