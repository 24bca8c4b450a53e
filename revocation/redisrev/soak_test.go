package redisrev_test

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/internal/listtest"
	"github.com/doorward/doorward/internal/redistest"
)

// At full load nothing grows but what is alive: here the same 2,000 sessions are ended over and over. DOORWARD_SOAK=10m is the
// long form.
func TestReplica_NoGrowth(t *testing.T) {
	const names = 2000
	long := 3 * time.Second
	if text := os.Getenv("DOORWARD_SOAK"); text != "" {
		var err error
		if long, err = time.ParseDuration(text); err != nil {
			t.Fatalf("DOORWARD_SOAK: %v", err)
		}
	}
	s := redistest.Start(t)
	a, b := leased(t, replicate(t, settled(t, s.Client()))), leased(t, replicate(t, settled(t, s.Client())))
	p := listtest.Principal(t, a, "p")
	ctx, stop := context.WithCancel(t.Context())
	var work sync.WaitGroup
	var checks, endings atomic.Int64
	for range 2 {
		work.Go(func() {
			for ctx.Err() == nil {
				for range 1000 {
					if err := a.Check(ctx, p); err != nil && ctx.Err() == nil {
						t.Errorf("Check: %v", err)
						return
					}
				}
				checks.Add(1000)
				runtime.Gosched()
			}
		})
	}
	for range 4 {
		work.Go(func() {
			for ctx.Err() == nil {
				rs := make([]auth.Revocation, 100)
				for i := range rs {
					rs[i] = auth.Revocation{Owner: auth.Owner{Issuer: "i", Subject: "u"}, Session: fmt.Sprint((endings.Add(1)) % names)}
				}
				if err := b.Revoke(ctx, rs...); err != nil && ctx.Err() == nil {
					t.Errorf("Revoke: %v", err)
					return
				}
			}
		})
	}
	usage := func() (heap uint64, goroutines int) {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc, runtime.NumGoroutine()
	}
	redistest.Eventually(t, func() error {
		if n := endings.Load(); n < 3*names {
			return fmt.Errorf("%d endings", n)
		}
		return nil
	})
	heap, goroutines := usage()
	<-time.After(long)
	heap2, goroutines2 := usage()
	stop()
	work.Wait()
	t.Logf("%d checks, %d endings, in %v: heap %d to %d, goroutines %d to %d", checks.Load(), endings.Load(), long, heap, heap2, goroutines, goroutines2)
	if heap2 > heap+heap/4+1<<20 || goroutines2 > goroutines+8 {
		t.Errorf("heap %d to %d bytes, goroutines %d to %d", heap, heap2, goroutines, goroutines2)
	}
	if n := a.Status().Entries; n != names {
		t.Errorf("%d entries, expected %d", n, names)
	}
}
