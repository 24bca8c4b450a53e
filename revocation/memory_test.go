package revocation_test

import (
	"fmt"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/internal/listtest"
	"github.com/doorward/doorward/revocation"
)

func TestMemory(t *testing.T) {
	listtest.Run(t, func(*testing.T) revocation.List { return revocation.NewMemory() })
}

// A restarted process has forgotten everything, so it must not believe what was made before.
func TestMemory_STD_S11_RestartIsAnotherEpoch(t *testing.T) {
	before := revocation.NewMemory()
	p := listtest.Principal(t, before, "restart")
	listtest.Revoke(t, before, listtest.Session(p))
	after := revocation.NewMemory()
	listtest.Want(t, after, p, auth.TokenExpired)
}

// Entries stay at least until no token that they concern can be accepted, and not for ever.
func TestMemory_STD_S09_Keep(t *testing.T) {
	if revocation.Keep < time.Hour+60*time.Second {
		t.Fatalf("Keep is %v: less than the longest access life and the leeway", revocation.Keep)
	}
	synctest.Test(t, func(t *testing.T) {
		l := revocation.NewMemory()
		s, j, v, renewed := listtest.Principal(t, l, "s"), listtest.Principal(t, l, "j"), listtest.Principal(t, l, "v"), listtest.Principal(t, l, "r")
		listtest.Revoke(t, l, listtest.Session(s), listtest.TokenID(j), listtest.Below(v, 2), listtest.Below(renewed, 2))
		time.Sleep(revocation.Keep - time.Nanosecond) // inside the bubble: no time passes
		listtest.Want(t, l, s, auth.TokenRevoked)
		listtest.Want(t, l, j, auth.TokenRevoked)
		listtest.Want(t, l, v, auth.TokenExpired)
		listtest.Revoke(t, l, listtest.Below(renewed, 1))
		time.Sleep(time.Nanosecond)
		listtest.Want(t, l, s, "")
		listtest.Want(t, l, j, "")
		listtest.Want(t, l, v, "")
		listtest.Want(t, l, renewed, auth.TokenExpired) // a lower minimum renews the higher one's life
		time.Sleep(revocation.Keep)
		listtest.Want(t, l, renewed, "")
	})
}

// One dead name that is ended 3,000 times makes one entry, whatever it names, and the last call renews its life.
func TestMemory_RepeatedIsOneEntry(t *testing.T) {
	l := revocation.NewMemory()
	for i, r := range []auth.Revocation{
		{Owner: auth.Owner{Issuer: "i", Subject: "u"}, Session: "dead"},
		{Owner: auth.Owner{Issuer: "i", Subject: "u"}, Session: "replaced", Replaced: true},
		{Owner: auth.Owner{Issuer: "i", Subject: "u"}, TokenID: "dead"},
		{Owner: auth.Owner{Issuer: "i", Subject: "u"}, Below: 7},
	} {
		for range 3000 {
			listtest.Revoke(t, l, r)
		}
		if n := revocation.Len(l); n != i+1 {
			t.Errorf("%+v, 3,000 times: %d entries, want %d", r, n, i+1)
		}
	}
}

// What is over gives its memory back with the next ending, without a goroutine.
func TestMemory_GivesMemoryBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := revocation.NewMemory()
		heap := func() uint64 {
			var m runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&m)
			return m.HeapAlloc
		}
		empty := heap()
		for i := range 100_000 {
			listtest.Revoke(t, l, auth.Revocation{Owner: auth.Owner{Issuer: "i", Subject: "u"}, Session: fmt.Sprint("session", i)})
		}
		full := heap()
		time.Sleep(revocation.Keep)
		listtest.Revoke(t, l, auth.Revocation{Owner: auth.Owner{Issuer: "i", Subject: "u"}, Session: "last"})
		if left := heap(); left > empty+(full-empty)/10 {
			t.Errorf("the heap was %d, with 100,000 entries %d, and %d after their end: want a tenth at most", empty, full, left)
		}
		p := listtest.Principal(t, l, "x")
		p.Session = "last"
		listtest.Want(t, l, p, auth.TokenRevoked) // the sweep took only what was over
	})
}

func TestMemory_CheckAllocatesNothing(t *testing.T) {
	l := filled(t, 1000)
	p := listtest.Principal(t, l, "x")
	if n := testing.AllocsPerRun(1000, func() { _ = l.Check(t.Context(), p) }); n != 0 {
		t.Errorf("Check: %v allocations, want 0", n)
	}
	p.Session = "session7"
	if n := testing.AllocsPerRun(1000, func() { _ = l.Check(t.Context(), p) }); n != 0 {
		t.Errorf("Check of an ended session: %v allocations, want 0", n)
	}
}

func filled(t testing.TB, n int) *revocation.Memory {
	l := revocation.NewMemory()
	for i := range n {
		r := auth.Revocation{Owner: auth.Owner{Issuer: "https://api.example.com", Subject: fmt.Sprint("subject", i)}}
		switch i % 3 {
		case 0:
			r.TokenID = fmt.Sprint("token", i)
		case 1:
			r.Session = fmt.Sprint("session", i)
		case 2:
			r.Below = 2
		}
		listtest.Revoke(t, l, r)
	}
	return l
}

func BenchmarkMemory_Check(b *testing.B) {
	for _, n := range []int{0, 100_000} {
		l := filled(b, n)
		p := listtest.Principal(b, l, "x")
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := l.Check(b.Context(), p); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprint(n, "/parallel"), func(b *testing.B) {
			b.ReportAllocs()
			var next atomic.Int64
			b.RunParallel(func(pb *testing.PB) {
				p := listtest.Principal(b, l, fmt.Sprint(next.Add(1)))
				for pb.Next() {
					if err := l.Check(b.Context(), p); err != nil {
						b.Fatal(err)
					}
				}
			})
		})
	}
}

func BenchmarkMemory_Revoke(b *testing.B) {
	l := revocation.NewMemory()
	r := auth.Revocation{Owner: auth.Owner{Issuer: "i", Subject: "u"}, Session: "s"}
	b.ReportAllocs()
	for b.Loop() {
		_ = l.Revoke(b.Context(), r)
	}
}

// Who was never ended is never refused, while others are: a reader that finds a free slot must not believe what a writer puts
// there a moment later.
func TestMemory_OthersWhileEntriesCome(t *testing.T) {
	for range 30 {
		list := revocation.NewMemory() // a small table, in which keys meet
		epoch, err := list.Epoch(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		p := &auth.Principal{Issuer: "https://api.example.com", Subject: "ann", Session: "alive", TokenID: "alive", Version: 1, Epoch: epoch}
		var writer sync.WaitGroup
		writer.Go(func() {
			for i := range 3000 {
				id := strconv.Itoa(i)
				_ = list.Revoke(t.Context(), auth.Revocation{Owner: auth.Owner{Issuer: p.Issuer, Subject: "bob"}, Session: id}, auth.Revocation{Owner: auth.Owner{Issuer: p.Issuer, Subject: "bob"}, TokenID: id})
			}
		})
		ended := make(chan struct{})
		go func() { writer.Wait(); close(ended) }()
		for done := false; !done; {
			select {
			case <-ended:
				done = true
			default:
			}
			if err := list.Check(t.Context(), p); err != nil {
				t.Fatal(err)
			}
		}
	}
}
