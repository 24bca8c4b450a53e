package storetest

import (
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/auth/apikey"
)

// APIKeys runs the tests of an apikey.Store, each on a store of its own from open. Stores may share a server as long
// as they share no keys. They wait for nothing.
func APIKeys(t *testing.T, open func(t *testing.T) apikey.Store) {
	for _, test := range []struct {
		name string
		run  func(k *apiKit)
	}{
		{"records keep what they are given", apiKeeps},
		{"none", apiNone},
		{"create: an id that is there", apiTwice},
		{"create: the most of one owner", apiMost},
		{"create: racing for the most", apiMostRace},
		{"swap", apiSwap},
		{"swap: one of 20 at once", apiSwapRace},
		{"swap and delete never bring a key back", apiReviveRace},
		{"touch: once a minute", apiTouch},
		{"touch: 20 at once", apiTouchRace},
		{"ATK-J28 delete: another's", apiDeleteAnothers},
		{"delete", apiDelete},
		{"ATK-I06 owners are not confused", apiOwners},
		{"ATK-S11 U-24 two issuers", apiIssuers},
		{"U-24 two organisations", apiOrganisations},
		{"U-24 swap widens nothing", apiSwapWidens},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(&apiKit{t, open(t)}) })
	}
}

type apiKit struct {
	*testing.T
	store apikey.Store
}

// apiMoment is the present to the millisecond, as stores keep it.
func apiMoment() time.Time { return time.UnixMilli(time.Now().UnixMilli()) }

// ann has the keys of most tests.
var ann = apiOwner("ann")

func apiOwner(subject string) auth.Owner {
	return auth.Owner{Issuer: "https://api.example.com", Subject: subject}
}

// apiRecord returns a key of ann's that is limited to acme.
func apiRecord(change ...func(*apikey.Record)) apikey.Record {
	now := apiMoment()
	r := apikey.Record{
		Key: apikey.Key{
			ID: rand.Text()[:17], Owner: ann, Tenant: "acme", Name: "nightly build", Scopes: []string{"read", "write:all"},
			Created: now, Made: now, Expires: now.Add(long),
		},
		Proofs: []apikey.Proof{{Hash: apiProof(), Until: now.Add(long)}},
	}
	for _, f := range change {
		f(&r)
	}
	return r
}

func apiProof() (hash [sha256.Size]byte) {
	_, _ = rand.Read(hash[:])
	return hash
}

func apiOf(owner auth.Owner) func(*apikey.Record) {
	return func(r *apikey.Record) { r.Owner = owner }
}

func (k *apiKit) create(change ...func(*apikey.Record)) apikey.Record {
	k.Helper()
	r := apiRecord(change...)
	if ok, err := k.store.Create(k.Context(), r, 1000); err != nil || !ok {
		k.Fatalf("Create: got %t, %v", ok, err)
	}
	return r
}

func (k *apiKit) get(id string) apikey.Record {
	k.Helper()
	r, err := k.store.Get(k.Context(), id)
	if err != nil {
		k.Fatalf("Get: %v", err)
	}
	return r
}

// want demands that the store has exactly this.
func (k *apiKit) want(r apikey.Record) {
	k.Helper()
	got := k.get(r.ID)
	if text := apiText(got); text != apiText(r) {
		k.Errorf("got  %s\nwant %s", text, apiText(r))
	}
	list := k.list(r.Owner)
	if !slices.ContainsFunc(list, func(key apikey.Key) bool {
		return apiText(apikey.Record{Key: key}) == apiText(apikey.Record{Key: r.Key})
	}) {
		k.Errorf("not listed, or otherwise: %+v", list)
	}
}

// apiText writes a record without what two equal ones may differ in: time zones, and nil for empty.
func apiText(r apikey.Record) string {
	times := []time.Time{r.Created, r.Made, r.Expires, r.LastUsed}
	text := fmt.Sprintf("%q %q %q %q %q %q", r.ID, r.Owner.Issuer, r.Owner.Subject, r.Tenant, r.Name, r.Scopes)
	for _, p := range r.Proofs {
		times = append(times, p.Until)
		text += fmt.Sprintf(" %x", p.Hash)
	}
	for _, t := range times {
		text += fmt.Sprint(" ", t.UnixMilli())
	}
	return text
}

func (k *apiKit) list(owner auth.Owner) []apikey.Key {
	k.Helper()
	list, err := k.store.List(k.Context(), owner)
	if err != nil {
		k.Fatalf("List: %v", err)
	}
	return list
}

func (k *apiKit) gone(r apikey.Record) {
	k.Helper()
	if got, err := k.store.Get(k.Context(), r.ID); auth.CodeOf(err) != auth.NotFound {
		k.Errorf("Get: got %v, %v, expected not_found", got.ID, err)
	}
	for _, key := range k.list(r.Owner) {
		if key.ID == r.ID {
			k.Error("it is listed")
		}
	}
}

func (k *apiKit) swap(want bool, r apikey.Record, present [sha256.Size]byte) {
	k.Helper()
	if ok, err := k.store.Swap(k.Context(), r, present); err != nil || ok != want {
		k.Errorf("Swap: got %t, %v, expected %t", ok, err, want)
	}
}

func (k *apiKit) touch(id string, at time.Time) {
	k.Helper()
	if err := k.store.Touch(k.Context(), id, at); err != nil {
		k.Errorf("Touch: %v", err)
	}
}

func (k *apiKit) delete(want bool, owner auth.Owner, id string) {
	k.Helper()
	if ok, err := k.store.Delete(k.Context(), owner, id); err != nil || ok != want {
		k.Errorf("Delete: got %t, %v, expected %t", ok, err, want)
	}
}

func apiKeeps(k *apiKit) {
	k.want(k.create())
	k.want(k.create(func(r *apikey.Record) { r.Scopes, r.Tenant, r.Name = nil, "", `"ein" 'Schlüssel', {x} 🔑` }))
	full := k.create(func(r *apikey.Record) {
		for i := range 32 {
			r.Scopes = append(r.Scopes, strings.Repeat("s", 60)+fmt.Sprint(i))
		}
		for i := range 3 {
			r.Proofs = append(r.Proofs, apikey.Proof{Hash: apiProof(), Until: r.Expires.Add(-time.Duration(i) * time.Minute)})
		}
	})
	k.want(full)
	// What a caller does to what it gave or got does not reach the store.
	full.Scopes[0], full.Proofs[0].Hash[0] = "changed", full.Proofs[0].Hash[0]+1
	got := k.get(full.ID)
	got.Scopes[1], got.Proofs[1].Hash[0] = "changed", got.Proofs[1].Hash[0]+1
	if again := k.get(full.ID); again.Scopes[0] == "changed" || again.Scopes[1] == "changed" || again.Proofs[0].Hash == full.Proofs[0].Hash || again.Proofs[1].Hash == got.Proofs[1].Hash {
		k.Error("the store shares its slices")
	}
}

func apiNone(k *apiKit) {
	r := apiRecord()
	k.gone(r)
	k.swap(false, r, r.Proofs[0].Hash)
	k.touch(r.ID, apiMoment())
	k.delete(false, r.Owner, r.ID)
	k.gone(r)
}

// Ids are random; one that is there must not be taken over, whoever asks.
func apiTwice(k *apiKit) {
	r := k.create()
	eve := apiOwner("eve")
	for _, owner := range []auth.Owner{ann, eve} {
		twice := apiRecord(apiOf(owner), func(t *apikey.Record) { t.ID = r.ID })
		if ok, err := k.store.Create(k.Context(), twice, 1000); err == nil {
			k.Errorf("for %s: got %t, expected an error", owner, ok)
		}
	}
	k.want(r)
	if list := k.list(eve); len(list) > 0 {
		k.Errorf("eve has %v", list)
	}
}

func apiMost(k *apiKit) {
	at := func(ago time.Duration) func(*apikey.Record) {
		return func(r *apikey.Record) {
			r.Created, r.Made = r.Created.Add(-ago), r.Made.Add(-ago)
			r.Expires = r.Created.Add(2 * long)
			r.Proofs[0].Until = r.Expires
		}
	}
	try := func(want bool, change ...func(*apikey.Record)) apikey.Record {
		k.Helper()
		r := apiRecord(change...)
		ok, err := k.store.Create(k.Context(), r, 3)
		if err != nil || ok != want {
			k.Fatalf("got %t, %v, expected %t", ok, err, want)
		}
		return r
	}
	first := try(true, at(long))
	try(true)
	try(true)
	refused := try(false)
	k.gone(refused)
	try(false, func(r *apikey.Record) { r.Tenant = "other" }) // the organisation is no other owner
	try(true, apiOf(apiOwner("bob")))
	try(true, apiOf(auth.Owner{Issuer: "https://other.example.com", Subject: "ann"}))
	k.delete(true, ann, first.ID)
	try(true, func(r *apikey.Record) { r.Expires = r.Created.Add(2 * long) })
	try(false)
	// The hour of two of them is over at the moment at which the next is made.
	try(true, func(r *apikey.Record) { r.Created = r.Created.Add(long + time.Minute); r.Expires = r.Created.Add(long) })
}

func apiMostRace(k *apiKit) {
	for round := range rounds(20) {
		owner := apiOwner(fmt.Sprint("u", round))
		var made atomic.Int64
		each(20, func(int) {
			ok, err := k.store.Create(k.Context(), apiRecord(apiOf(owner)), 5)
			if err != nil {
				k.Error(err)
			}
			if ok {
				made.Add(1)
			}
		})
		if n := len(k.list(owner)); made.Load() != 5 || n != 5 {
			k.Fatalf("%d were made and %d are listed, expected 5", made.Load(), n)
		}
	}
}

// apiRotated is r with another secret.
func apiRotated(r apikey.Record) apikey.Record {
	r.Made, r.Expires = r.Made.Add(time.Minute), r.Expires.Add(time.Minute)
	r.Proofs = append([]apikey.Proof{{Hash: apiProof(), Until: r.Expires}}, r.Proofs...)
	if len(r.Proofs) > 4 {
		r.Proofs = r.Proofs[:4]
	}
	return r
}

func apiSwap(k *apiKit) {
	other := k.create()
	old := k.create()
	used := apiMoment()
	k.touch(old.ID, used)
	next := apiRotated(old) // read before the use was noted
	k.swap(false, next, apiProof())
	k.swap(false, next, other.Proofs[0].Hash)
	old.LastUsed = used
	k.want(old)
	k.swap(true, next, old.Proofs[0].Hash)
	next.LastUsed = used
	k.want(next)
	k.swap(false, apiRotated(old), old.Proofs[0].Hash) // it is a former one now
	k.swap(false, apiRotated(next), next.Proofs[1].Hash)
	k.want(next)
	k.want(other)
}

func apiSwapRace(k *apiKit) {
	for range rounds(50) {
		old := k.create()
		var won atomic.Int64
		var winner atomic.Value
		each(20, func(int) {
			next := apiRotated(old)
			ok, err := k.store.Swap(k.Context(), next, old.Proofs[0].Hash)
			if err != nil {
				k.Error(err)
			}
			if ok {
				won.Add(1)
				winner.Store(next)
			}
		})
		if won.Load() != 1 {
			k.Fatalf("%d won, expected 1", won.Load())
		}
		if got := k.get(old.ID); got.Proofs[0].Hash != winner.Load().(apikey.Record).Proofs[0].Hash {
			k.Fatal("another is there than the one that won")
		}
		k.delete(true, old.Owner, old.ID)
	}
}

func apiReviveRace(k *apiKit) {
	for range rounds(200) {
		old := k.create()
		var errs [3]error
		each(3, func(i int) {
			switch i {
			case 0:
				_, errs[i] = k.store.Swap(k.Context(), apiRotated(old), old.Proofs[0].Hash)
			case 1:
				_, errs[i] = k.store.Delete(k.Context(), old.Owner, old.ID)
			default:
				errs[i] = k.store.Touch(k.Context(), old.ID, apiMoment())
			}
		})
		for _, err := range errs {
			if err != nil {
				k.Fatal(err)
			}
		}
		k.gone(old)
	}
}

func apiTouch(k *apiKit) {
	r := k.create()
	first := apiMoment()
	for _, step := range []struct {
		at   time.Duration
		want time.Duration
	}{{0, 0}, {time.Minute - time.Millisecond, 0}, {-time.Hour, 0}, {time.Minute, time.Minute}, {time.Minute + 1, time.Minute}, {time.Hour, time.Hour}} {
		k.touch(r.ID, first.Add(step.at))
		if got := k.get(r.ID).LastUsed; !got.Equal(first.Add(step.want)) {
			k.Errorf("touched at %s: got %s, expected %s", step.at, got.Sub(first), step.want)
		}
	}
}

func apiTouchRace(k *apiKit) {
	r := k.create()
	first := apiMoment()
	each(20, func(i int) { k.touch(r.ID, first.Add(time.Duration(i)*time.Second)) })
	got := k.get(r.ID).LastUsed
	if d := got.Sub(first); d < 0 || d > 20*time.Second {
		k.Errorf("got %s", d)
	}
	k.touch(r.ID, first.Add(59*time.Second))
	if again := k.get(r.ID).LastUsed; !again.Equal(got) {
		k.Errorf("written twice within a minute: %s and %s", got, again)
	}
}

func apiDeleteAnothers(k *apiKit) {
	r := k.create()
	for _, o := range []auth.Owner{apiOwner("bob"), {Issuer: "https://other.example.com", Subject: "ann"}, {Subject: "ann"}, apiOwner(""), {Issuer: "ann", Subject: ann.Issuer}} {
		k.delete(false, o, r.ID)
	}
	k.want(r)
}

func apiDelete(k *apiKit) {
	r, other := k.create(), k.create()
	k.delete(true, r.Owner, r.ID)
	k.gone(r)
	k.delete(false, r.Owner, r.ID)
	k.swap(false, apiRotated(r), r.Proofs[0].Hash)
	k.touch(r.ID, apiMoment())
	k.gone(r)
	k.want(other)
}

// Names that mean something to a store, or that flow into each other.
func apiOwners(k *apiKit) {
	names := [][2]string{{"a", "bc"}, {"ab", "c"}, {"", "abc"}, {"a:b", "c"}, {"a", "b:c"}, {"*", "*"}, {"{x}", "{y}"}, {"a\r\nb", "\x00"}, {"", "acme"}, {"ACME", "ann"}, {"acme", "ann "}}
	want := map[auth.Owner]string{}
	for _, n := range names {
		o := auth.Owner{Issuer: n[0], Subject: n[1]}
		want[o] = k.create(apiOf(o)).ID
	}
	for o, id := range want {
		if list := k.list(o); len(list) != 1 || list[0].ID != id {
			k.Errorf("%q: got %v", o, list)
		}
	}
}

// ATK-S11, U-24: equal subjects of two issuers share nothing, whatever organisation their keys are limited to.
func apiIssuers(k *apiKit) {
	other := auth.Owner{Issuer: "https://other.example.com", Subject: ann.Subject}
	mine, theirs := k.create(), k.create(apiOf(other))
	for _, r := range []apikey.Record{mine, theirs} {
		if list := k.list(r.Owner); len(list) != 1 || list[0].ID != r.ID {
			k.Errorf("%v: got %v", r.Owner, list)
		}
	}
	k.delete(false, other, mine.ID)
	k.delete(false, ann, theirs.ID)
	stolen := apiRotated(mine)
	stolen.Owner = other
	k.swap(false, stolen, mine.Proofs[0].Hash)
	k.want(mine)
	k.want(theirs)
	if list := k.list(other); len(list) != 1 {
		k.Errorf("a swap put another's key into the list: %v", list)
	}
	k.delete(true, ann, mine.ID)
	k.want(theirs)
}

// U-24: a subject that belongs to two organisations has one list.
func apiOrganisations(k *apiKit) {
	in := func(tenant string) func(*apikey.Record) {
		return func(r *apikey.Record) { r.Tenant = tenant }
	}
	want := map[string]string{}
	for _, tenant := range []string{"acme", "other", ""} {
		want[k.create(in(tenant)).ID] = tenant
	}
	list := k.list(ann)
	for _, key := range list {
		if tenant, ok := want[key.ID]; !ok || tenant != key.Tenant {
			k.Errorf("got %+v", key)
		}
	}
	if len(list) != len(want) {
		k.Errorf("got %d keys, expected %d", len(list), len(want))
	}
	for id := range want {
		k.delete(true, ann, id)
	}
}

// U-24: what a rotation may change is the secret and its times.
func apiSwapWidens(k *apiKit) {
	old := k.create()
	next := apiRotated(old)
	wide := next
	wide.Tenant, wide.Name, wide.Scopes, wide.Created = "", "mighty", []string{"everything"}, next.Created.Add(time.Hour)
	k.swap(true, wide, old.Proofs[0].Hash)
	k.want(next)
}
