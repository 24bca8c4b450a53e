package storetest

import (
	"crypto/rand"
	"sync/atomic"
	"testing"
	"time"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/auth/onetime"
)

// OneTime runs the tests of a onetime.Store, each on a store of its own from open. Stores may share a server as long
// as they share no keys. They wait for nothing but one short expiry.
func OneTime(t *testing.T, open func(t *testing.T) onetime.Store) {
	for _, test := range []struct {
		name string
		run  func(k *onceKit)
	}{
		{"ATK-J23 taken once", onceTaken},
		{"ATK-J23 one of 50 at once", onceRace},
		{"ATK-L16 a newer one voids the older", onceNewer},
		{"a newer one racing with take", onceNewerRace},
		{"drop", onceDropped},
		{"over", onceOver},
		{"ATK-S11 ATK-I06 slots are not confused", onceSlots},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(&onceKit{t, open(t)}) })
	}
}

// Two slots of most tests.
var (
	slotA = onetime.Slot{Owner: auth.Owner{Issuer: "https://api.example.com", Subject: "ann"}, Type: "invite+jwt"}
	slotB = onetime.Slot{Owner: auth.Owner{Issuer: "https://api.example.com", Subject: "bob"}, Type: "invite+jwt"}
)

type onceKit struct {
	*testing.T
	store onetime.Store
}

// put makes a new id the live one of the slot.
func (k *onceKit) put(slot onetime.Slot) string {
	k.Helper()
	id := rand.Text()
	if err := k.store.Put(k.Context(), slot, id, time.Now().Add(long)); err != nil {
		k.Fatalf("Put: %v", err)
	}
	return id
}

func (k *onceKit) live(want bool, slot onetime.Slot, id string) {
	k.Helper()
	if ok, err := k.store.Live(k.Context(), slot, id); err != nil || ok != want {
		k.Errorf("Live: got %t, %v, expected %t", ok, err, want)
	}
}

func (k *onceKit) take(want bool, slot onetime.Slot, id string) {
	k.Helper()
	if ok, err := k.store.Take(k.Context(), slot, id); err != nil || ok != want {
		k.Errorf("Take: got %t, %v, expected %t", ok, err, want)
	}
}

func onceTaken(k *onceKit) {
	k.live(false, slotA, rand.Text())
	k.take(false, slotA, rand.Text())
	k.live(false, slotA, "")
	k.take(false, slotA, "")
	id := k.put(slotA)
	k.take(false, slotA, rand.Text()) // another's try costs nothing
	k.take(false, slotA, id[:25])
	k.live(true, slotA, id)
	k.take(true, slotA, id)
	k.live(false, slotA, id)
	k.take(false, slotA, id)
	again := k.put(slotA)
	k.take(false, slotA, id)
	k.take(true, slotA, again)
}

func onceRace(k *onceKit) {
	for range rounds(50) {
		id := k.put(slotA)
		var won atomic.Int64
		each(50, func(int) {
			ok, err := k.store.Take(k.Context(), slotA, id)
			if err != nil {
				k.Error(err)
			}
			if ok {
				won.Add(1)
			}
		})
		if won.Load() != 1 {
			k.Fatalf("%d won, expected 1", won.Load())
		}
	}
}

func onceNewer(k *onceKit) {
	first := k.put(slotA)
	second := k.put(slotA)
	k.live(false, slotA, first)
	k.take(false, slotA, first)
	k.live(true, slotA, second)
	k.take(true, slotA, second)
}

// Whoever comes first, the newer one lives.
func onceNewerRace(k *onceKit) {
	for range rounds(200) {
		old, newer := k.put(slotA), rand.Text()
		each(2, func(i int) {
			var err error
			if i == 0 {
				err = k.store.Put(k.Context(), slotA, newer, time.Now().Add(long))
			} else {
				_, err = k.store.Take(k.Context(), slotA, old)
			}
			if err != nil {
				k.Error(err)
			}
		})
		k.live(true, slotA, newer)
		k.take(false, slotA, old)
	}
}

func onceDropped(k *onceKit) {
	id, other := k.put(slotA), k.put(slotB)
	for range 2 {
		if err := k.store.Drop(k.Context(), slotA); err != nil {
			k.Fatalf("Drop: %v", err)
		}
		k.live(false, slotA, id)
		k.take(false, slotA, id)
	}
	k.take(true, slotB, other)
}

func onceOver(k *onceKit) {
	id := rand.Text()
	if err := k.store.Put(k.Context(), slotA, id, time.Now().Add(50*time.Millisecond)); err != nil {
		k.Fatal(err)
	}
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(10 * time.Second); ; <-tick.C {
		ok, err := k.store.Live(k.Context(), slotA, id)
		if err != nil || time.Now().After(deadline) {
			k.Fatalf("not over within 10 s: %v", err)
		}
		if !ok {
			break
		}
	}
	k.take(false, slotA, id)
}

// Owners and purposes whose names flow into each other, or mean something to a store. ATK-S11: also equal subjects of two
// issuers share nothing.
func onceSlots(k *onceKit) {
	ids := map[onetime.Slot]string{}
	for _, n := range [][3]string{
		{"https://api.example.com", "ann", "invite+jwt"}, {"https://other.example.com", "ann", "invite+jwt"},
		{"https://api.example.com", "ann", "reset-password+jwt"}, {"https://api.example.com", "Ann", "invite+jwt"}, {"", "ann", "invite+jwt"},
		{"a", "bc", "x+jwt"}, {"ab", "c", "x+jwt"}, {"a", "b", "cx+jwt"}, {"abc", "", "x+jwt"}, {"a:b", "c", "x+jwt"}, {"a", "b:c", "x+jwt"},
		{"*", "*", "x+jwt"}, {"{x}", "{y}", "x+jwt"}, {"a\r\nb", "\x00", "x+jwt"}, {"ann", "https://api.example.com", "invite+jwt"},
	} {
		slot := onetime.Slot{Owner: auth.Owner{Issuer: n[0], Subject: n[1]}, Type: n[2]}
		ids[slot] = k.put(slot)
	}
	for slot := range ids {
		for other, id := range ids {
			if other != slot {
				k.live(false, slot, id)
				k.take(false, slot, id)
			}
		}
	}
	for slot, id := range ids {
		k.live(true, slot, id)
		if err := k.store.Drop(k.Context(), slot); err != nil {
			k.Fatal(err)
		}
		delete(ids, slot)
		for other, id := range ids {
			k.live(true, other, id)
		}
	}
}
