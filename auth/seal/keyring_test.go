package seal_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/auth/seal"
	"github.com/doorward/doorward/internal/derive"
)

func TestNewKeyring_Refused(t *testing.T) {
	good := newKey("a")
	for name, c := range map[string]struct {
		keys []seal.Key
		want string
	}{
		"zero":             {[]seal.Key{{}}, "zero Key"},
		"zero, accepted":   {[]seal.Key{good, {}}, "zero Key"},
		"no name":          {[]seal.Key{newKey("")}, `got the key id ""`},
		"a dot in it":      {[]seal.Key{newKey("a.b")}, `"a.b"`},
		"a line break":     {[]seal.Key{newKey("a\n")}, `"a\n"`},
		"65 characters":    {[]seal.Key{newKey(strings.Repeat("a", 65))}, "1 to 64"},
		"31 bytes":         {[]seal.Key{seal.NewKey("a", secret(t)[1:])}, "got 31 bytes, expected 32"},
		"33 bytes":         {[]seal.Key{seal.NewKey("a", append(secret(t), 1))}, "got 33 bytes, expected 32"},
		"nil":              {[]seal.Key{seal.NewKey("a", nil)}, "got 0 bytes"},
		"zeros":            {[]seal.Key{seal.NewKey("a", make([]byte, 32))}, "over and over"},
		"a phrase, twice":  {[]seal.Key{seal.NewKey("a", bytes.Repeat([]byte("sixteen letters!"), 2))}, "over and over"},
		"two of one name":  {[]seal.Key{good, newKey("a")}, "two keys have the id"},
		"the same twice":   {[]seal.Key{good, good}, "two keys have the id"},
		"a bad one behind": {[]seal.Key{good, newKey("b"), newKey("ü")}, "ü"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := seal.NewKeyring(c.keys[0], c.keys[1:]...); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			ring := newKeyring(t, newKey("was"))
			if err := ring.Replace(c.keys[0], c.keys[1:]...); err == nil {
				t.Error("Replace takes it")
			}
			if id, _, err := ring.Derive("", "salt", "x"); id != "was" || err != nil {
				t.Errorf("after a failed Replace: got %q, %v", id, err)
			}
		})
	}
}

// What the caller does to its bytes afterwards does not change a key.
func TestNewKey_Copies(t *testing.T) {
	b := secret(t)
	ring := newKeyring(t, seal.NewKey("a", b))
	_, before, _ := ring.Derive("a", "salt", "x")
	clear(b)
	_, after, err := ring.Derive("a", "salt", "x")
	if err != nil || !bytes.Equal(before, after) {
		t.Errorf("the key has changed: %v", err)
	}
}

func TestKeyring_Derive(t *testing.T) {
	ring := newKeyring(t, newKey("a"), newKey("b"))
	seen := map[string]bool{}
	for _, c := range [][3]string{{"a", "s1", "p1"}, {"a", "s1", "p2"}, {"a", "s2", "p1"}, {"b", "s1", "p1"}} {
		id, key, err := ring.Derive(c[0], c[1], c[2])
		if err != nil || id != c[0] || len(key) != 32 || seen[string(key)] {
			t.Errorf("%v: got %q, %d bytes, %v, seen before: %v", c, id, len(key), err, seen[string(key)])
		}
		seen[string(key)] = true
	}
	for _, c := range [][3]string{{"", "", "p"}, {"", "s", ""}, {"c", "s", "p"}, {"A", "s", "p"}} {
		if _, key, err := ring.Derive(c[0], c[1], c[2]); err == nil || key != nil {
			t.Errorf("%v: got %v", c, err)
		}
	}
}

// No purpose that an application passes makes a key of the kit.
func TestKeyring_ApplicationsGetNoKeyOfTheKit(t *testing.T) {
	ring := newKeyring(t, newKey("a"))
	for _, use := range derive.Uses {
		_, kit, err := derive.Key(ring, "", "s", use)
		if err != nil {
			t.Fatal(err)
		}
		for _, purpose := range []string{use.String(), "doorward " + use.String(), "doorward/" + use.String(), "app/" + use.String()} {
			if _, key, err := ring.Derive("", "s", purpose); err != nil || bytes.Equal(key, kit) {
				t.Errorf("%q: the key of the kit, %v", purpose, err)
			}
		}
	}
}

// Removal acts at once: when Replace has returned, no goroutine opens with the key that went.
func TestKeyring_RemovalIsImmediate(t *testing.T) {
	old, next := newKey("old"), newKey("next")
	ring := newKeyring(t, old, next)
	s := newSealer(t, seal.Config{Keys: ring})
	v := mustSeal(t, s, totp, "secret")
	gone := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				over := false
				select {
				case <-gone:
					over = true
				default:
				}
				text, _, err := s.Open(totp, v)
				if over {
					if !errors.Is(err, seal.ErrKey) || text != "" {
						t.Errorf("after the removal: got %q, %v", text, err)
					}
					return
				}
			}
		})
	}
	if err := ring.Replace(next); err != nil {
		t.Fatal(err)
	}
	close(gone)
	wg.Wait()
}

// table is a store of sealed values by the name of their row.
type table map[string]string

func (b table) place(id string) seal.Place {
	return seal.Place{Owner: auth.Owner{Issuer: issuer, Subject: id}, Purpose: "totp"}
}

func (b table) rows() iter.Seq2[seal.Row, error] {
	return func(yield func(seal.Row, error) bool) {
		for _, id := range slices.Sorted(maps.Keys(b)) {
			if !yield(seal.Row{ID: id, Place: b.place(id), Sealed: b[id]}, nil) {
				return
			}
		}
	}
}

// replace is UPDATE … SET sealed = fresh WHERE id = … AND sealed = old.
func (b table) replace(_ context.Context, row seal.Row, fresh string) (bool, error) {
	if b[row.ID] != row.Sealed {
		return false, nil
	}
	b[row.ID] = fresh
	return true, nil
}

// STD-V03: a key is rotated: old records open, are rewritten on use and by a job, the job says what is left, and
// with nothing left the old key goes.
func TestRotation_STD_V03(t *testing.T) {
	old, next := newKey("2025"), newKey("2026")
	ring := newKeyring(t, old)
	s := newSealer(t, seal.Config{Keys: ring})
	stored := table{}
	for i := range 20 {
		id := fmt.Sprint("user", i)
		stored[id] = mustSeal(t, s, stored.place(id), "seed of "+id)
	}
	for _, step := range []error{ring.Replace(old, next), ring.Replace(next, old)} {
		if step != nil {
			t.Fatal(step)
		}
	}

	// On use.
	text, stale, err := s.Open(stored.place("user3"), stored["user3"])
	if text != "seed of user3" || !stale || err != nil {
		t.Fatalf("got %q, %v, %v", text, stale, err)
	}
	stored["user3"] = mustSeal(t, s, stored.place("user3"), text)
	if _, stale, _ := s.Open(stored.place("user3"), stored["user3"]); stale {
		t.Error("stale after it was sealed anew")
	}

	// What would be lost.
	if n, err := s.ResealAll(t.Context(), stored.rows(), nil); err != nil || n != (seal.Tally{Current: 1, Left: 19}) {
		t.Errorf("counted: got %+v, %v", n, err)
	}
	// By a job.
	if n, err := s.ResealAll(t.Context(), stored.rows(), stored.replace); err != nil || n != (seal.Tally{Current: 1, Resealed: 19}) {
		t.Errorf("the job: got %+v, %v", n, err)
	}
	if n, err := s.ResealAll(t.Context(), stored.rows(), stored.replace); err != nil || n != (seal.Tally{Current: 20}) {
		t.Errorf("the job again: got %+v, %v", n, err)
	}
	if err := ring.Replace(next); err != nil {
		t.Fatal(err)
	}
	for id, v := range stored {
		opens(t, s, stored.place(id), v, "seed of "+id)
	}
}

// STD-V03: whatever goes wrong in a row is counted as left and told; the job goes on.
func TestResealAll_STD_V03_WhatIsLeft(t *testing.T) {
	old, next := newKey("old"), newKey("next")
	ring := newKeyring(t, old)
	s := newSealer(t, seal.Config{Keys: ring})
	stored := table{}
	for _, id := range []string{"a", "b", "c", "d", "e"} {
		stored[id] = mustSeal(t, s, stored.place(id), "seed of "+id)
	}
	if err := ring.Replace(next, old); err != nil {
		t.Fatal(err)
	}
	stored["b"] = stored["a"]       // moved here by somebody
	stored["c"] = "dws1.gone.AAAA"  // cut
	down := errors.New("disk full") // for d
	raced := func(id string) { stored[id] = mustSeal(t, s, stored.place(id), "newer") }
	n, err := s.ResealAll(t.Context(), stored.rows(), func(ctx context.Context, row seal.Row, fresh string) (bool, error) {
		switch row.ID {
		case "d":
			return false, down
		case "e":
			raced("e")
		}
		return stored.replace(ctx, row, fresh)
	})
	if n != (seal.Tally{Resealed: 1, Left: 4}) || !errors.Is(err, seal.ErrOpen) || !errors.Is(err, down) {
		t.Errorf("got %+v, %v", n, err)
	}
	for _, id := range []string{`"b"`, `"c"`, `"d"`} {
		if !strings.Contains(fmt.Sprint(err), "the row "+id) {
			t.Errorf("row %s is not told: %v", id, err)
		}
	}
	opens(t, s, stored.place("e"), stored["e"], "newer")
	opens(t, s, stored.place("a"), stored["a"], "seed of a")

	// A broken table does not fill the log.
	for i := range 1000 {
		stored[fmt.Sprint("x", i)] = "nonsense"
	}
	n, err = s.ResealAll(t.Context(), stored.rows(), stored.replace)
	if lines := strings.Count(fmt.Sprint(err), "\n") + 1; n.Left != 1002 || lines != 10 {
		t.Errorf("got %+v and %d reasons", n, lines)
	}
}

// An iterator that fails, and a context that ends, end the job with an error, so that nobody takes Left = 0 for leave
// to remove a key.
func TestResealAll_Stopped(t *testing.T) {
	old, next := newKey("old"), newKey("next")
	ring := newKeyring(t, old)
	s := newSealer(t, seal.Config{Keys: ring})
	stored := table{"a": "", "b": "", "c": ""}
	for id := range stored {
		stored[id] = mustSeal(t, s, stored.place(id), "x")
	}
	if err := ring.Replace(next, old); err != nil {
		t.Fatal(err)
	}
	down := errors.New("connection lost")
	n, err := s.ResealAll(t.Context(), func(yield func(seal.Row, error) bool) {
		if yield(seal.Row{ID: "a", Place: stored.place("a"), Sealed: stored["a"]}, nil) {
			yield(seal.Row{}, down)
		}
	}, nil)
	if n != (seal.Tally{Left: 1}) || !errors.Is(err, down) {
		t.Errorf("rows fail: got %+v, %v", n, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	n, err = s.ResealAll(ctx, stored.rows(), func(ctx context.Context, row seal.Row, fresh string) (bool, error) {
		cancel()
		return stored.replace(ctx, row, fresh)
	})
	if n != (seal.Tally{Resealed: 1}) || !errors.Is(err, context.Canceled) {
		t.Errorf("context ends: got %+v, %v", n, err)
	}
}

// STD-V02, STD-V03: the values of a map keep their names, open under no other, and are resealed one and all.
func TestMap_STD_V02_STD_V03(t *testing.T) {
	old, next := newKey("old"), newKey("next")
	ring := newKeyring(t, old)
	s := newSealer(t, seal.Config{Keys: ring})
	plain := map[string]string{"access_token": "gho_x", "refresh_token": "ghr_y", "": "", "scope": "repo"}
	sealed, err := s.SealMap(totp, plain)
	if err != nil || !slices.Equal(slices.Sorted(maps.Keys(sealed)), slices.Sorted(maps.Keys(plain))) {
		t.Fatalf("got %v, %v", sealed, err)
	}
	for name, v := range sealed {
		if !seal.Sealed(v) {
			t.Errorf("%s is %s", name, v)
		}
	}
	got, stale, err := s.OpenMap(totp, sealed)
	if err != nil || stale || !maps.Equal(got, plain) {
		t.Errorf("got %v, %v, %v", got, stale, err)
	}

	// An entry is bound to its name, and is no single value, also under the empty name.
	swapped := maps.Clone(sealed)
	swapped["access_token"], swapped["refresh_token"] = sealed["refresh_token"], sealed["access_token"]
	if got, _, err := s.OpenMap(totp, swapped); !errors.Is(err, seal.ErrOpen) || got != nil || !strings.Contains(err.Error(), "_token") {
		t.Errorf("swapped: got %v, %v", got, err)
	}
	shut(t, s, totp, sealed[""], seal.ErrOpen)
	if _, _, err := s.OpenMap(totp, map[string]string{"": mustSeal(t, s, totp, "x")}); !errors.Is(err, seal.ErrOpen) {
		t.Errorf("a single value as an entry: got %v", err)
	}

	if err := ring.Replace(next, old); err != nil {
		t.Fatal(err)
	}
	before := maps.Clone(sealed)
	fresh, changed, err := s.ResealMap(totp, sealed)
	if err != nil || !changed || !maps.Equal(sealed, before) {
		t.Errorf("got %v, %v", changed, err)
	}
	if _, stale, err := s.OpenMap(totp, sealed); !stale || err != nil {
		t.Errorf("old: got %v, %v", stale, err)
	}
	fresh["scope"] = sealed["scope"] // one stale entry makes the map stale
	if _, stale, err := s.OpenMap(totp, fresh); !stale || err != nil {
		t.Errorf("half: got %v, %v", stale, err)
	}
	fresh, _, _ = s.ResealMap(totp, fresh)
	if again, changed, err := s.ResealMap(totp, fresh); changed || err != nil || !maps.Equal(again, fresh) {
		t.Errorf("again: got %v, %v", changed, err)
	}
	if err := ring.Replace(next); err != nil {
		t.Fatal(err)
	}
	if got, stale, err := s.OpenMap(totp, fresh); err != nil || stale || !maps.Equal(got, plain) {
		t.Errorf("got %v, %v, %v", got, stale, err)
	}
	if got, changed, err := s.ResealMap(totp, sealed); !errors.Is(err, seal.ErrKey) || got != nil || changed {
		t.Errorf("without the key: got %v, %v, %v", got, changed, err)
	}
	if m, err := s.SealMap(totp, nil); m != nil || err != nil {
		t.Errorf("nil: got %v, %v", m, err)
	}
}

// STD-V03: while there is no current key, nothing counts as under it, or who believes the count removes a key that is still in use.
func TestReseal_STD_V03_NoCurrentKey(t *testing.T) {
	ring := newKeyring(t, newKey("old"))
	keys := &failing{KeySource: ring}
	s := newSealer(t, seal.Config{Keys: keys})
	stored := table{"a": ""}
	stored["a"] = mustSeal(t, s, stored.place("a"), "seed")
	keys.err = errors.New("the new key is not valid yet")
	n, err := s.ResealAll(t.Context(), stored.rows(), stored.replace)
	if n != (seal.Tally{Left: 1}) || err == nil {
		t.Errorf("got %+v, %v", n, err)
	}
	opens(t, s, stored.place("a"), stored["a"], "seed")
}

// failing has no current key while err is set.
type failing struct {
	seal.KeySource
	err error
}

func (f *failing) Derive(id, salt, purpose string) (string, []byte, error) {
	if id == "" && f.err != nil {
		return "", nil, f.err
	}
	return f.KeySource.Derive(id, salt, purpose)
}

// A type that embeds a ring is an application's own source: its Derive is asked, also where it is the ring's. Its keys are those
// of an application's purposes.
func TestKeyring_ATK_J21_TypesThatEmbedTheRing(t *testing.T) {
	ring := newKeyring(t, newKey("a"))
	own := bytes.Repeat([]byte{7}, 32)
	for _, use := range derive.Uses {
		_, kit, err := derive.Key(ring, "", issuer, use)
		if err != nil {
			t.Fatal(err)
		}
		_, purpose, err := ring.Derive("", issuer, "doorward/"+use.String())
		if err != nil || bytes.Equal(purpose, kit) {
			t.Fatalf("%s: the key of the kit, %v", use, err)
		}
		for name, c := range map[string]struct {
			source derive.Source
			want   []byte
		}{
			"an override":            {overridden{ring, own}, own},
			"an override, a pointer": {&overridden{ring, own}, own},
			"no override":            {struct{ *seal.Keyring }{ring}, purpose},
			"twice":                  {struct{ *overridden }{&overridden{ring, own}}, own},
		} {
			if _, key, err := derive.Key(c.source, "", issuer, use); err != nil || !bytes.Equal(key, c.want) {
				t.Errorf("%s, %s: got another key, %v", name, use, err)
			}
		}
	}
}

// overridden is a ring whose Derive is the application's.
type overridden struct {
	*seal.Keyring
	key []byte
}

func (o overridden) Derive(string, string, string) (string, []byte, error) { return "own", o.key, nil }
