package storetest

import (
	"crypto/rand"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

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
		{"slots are not confused", onceSlots},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(&onceKit{t, open(t)}) })
	}
}

type onceKit struct {
	*testing.T
	store onetime.Store
}

// put makes a new id the live one of the slot.
func (k *onceKit) put(slot string) string {
	k.Helper()
	id := rand.Text()
	if err := k.store.Put(k.Context(), slot, id, time.Now().Add(long)); err != nil {
		k.Fatalf("Put: %v", err)
	}
	return id
}

func (k *onceKit) live(want bool, slot, id string) {
	k.Helper()
	if ok, err := k.store.Live(k.Context(), slot, id); err != nil || ok != want {
		k.Errorf("Live: got %t, %v, expected %t", ok, err, want)
	}
}

func (k *onceKit) take(want bool, slot, id string) {
	k.Helper()
	if ok, err := k.store.Take(k.Context(), slot, id); err != nil || ok != want {
		k.Errorf("Take: got %t, %v, expected %t", ok, err, want)
	}
}

func onceTaken(k *onceKit) {
	k.live(false, "a", rand.Text())
	k.take(false, "a", rand.Text())
	k.live(false, "a", "")
	k.take(false, "a", "")
	id := k.put("a")
	k.take(false, "a", rand.Text()) // another's try costs nothing
	k.take(false, "a", id[:25])
	k.live(true, "a", id)
	k.take(true, "a", id)
	k.live(false, "a", id)
	k.take(false, "a", id)
	again := k.put("a")
	k.take(false, "a", id)
	k.take(true, "a", again)
}

func onceRace(k *onceKit) {
	for range rounds(50) {
		id := k.put("a")
		var won atomic.Int64
		each(50, func(int) {
			ok, err := k.store.Take(k.Context(), "a", id)
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
	first := k.put("a")
	second := k.put("a")
	k.live(false, "a", first)
	k.take(false, "a", first)
	k.live(true, "a", second)
	k.take(true, "a", second)
}

// Whoever comes first, the newer one lives.
func onceNewerRace(k *onceKit) {
	for range rounds(200) {
		old, newer := k.put("a"), rand.Text()
		each(2, func(i int) {
			var err error
			if i == 0 {
				err = k.store.Put(k.Context(), "a", newer, time.Now().Add(long))
			} else {
				_, err = k.store.Take(k.Context(), "a", old)
			}
			if err != nil {
				k.Error(err)
			}
		})
		k.live(true, "a", newer)
		k.take(false, "a", old)
	}
}

func onceDropped(k *onceKit) {
	id, other := k.put("a"), k.put("b")
	for range 2 {
		if err := k.store.Drop(k.Context(), "a"); err != nil {
			k.Fatalf("Drop: %v", err)
		}
		k.live(false, "a", id)
		k.take(false, "a", id)
	}
	k.take(true, "b", other)
}

func onceOver(k *onceKit) {
	id := rand.Text()
	if err := k.store.Put(k.Context(), "a", id, time.Now().Add(50*time.Millisecond)); err != nil {
		k.Fatal(err)
	}
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(10 * time.Second); ; <-tick.C {
		ok, err := k.store.Live(k.Context(), "a", id)
		if err != nil || time.Now().After(deadline) {
			k.Fatalf("not over within 10 s: %v", err)
		}
		if !ok {
			break
		}
	}
	k.take(false, "a", id)
}

func onceSlots(k *onceKit) {
	ids := map[string]string{}
	for i := range 20 {
		slot := fmt.Sprint("slot_-", i)
		ids[slot] = k.put(slot)
	}
	for slot := range ids {
		for other, id := range ids {
			if other != slot {
				k.take(false, slot, id)
			}
		}
	}
	for slot, id := range ids {
		k.take(true, slot, id)
	}
}
