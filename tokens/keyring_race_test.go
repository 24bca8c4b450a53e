package tokens_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/tokens"
)

// STD-T29: whoever begins to verify after Replace has returned gets nothing under a removed key, while
// seven others put tokens into the cache that were still good when they began.
func TestATK_J22_RemovedKeyUnderLoad(t *testing.T) {
	const callers, rounds, after = 8, 5, 20
	goes, stays := tokens.FromSecret(rootSecret), tokens.FromSecret([]byte(tokens.GenerateSecret()))
	for _, cache := range []int{0, 4, -1} { // remembered, mostly pushed out, off
		t.Run(fmt.Sprint("cache ", cache), func(t *testing.T) {
			ring := tokens.NewKeyring(goes, stays)
			tok, _ := setup(t, func(c *tokens.Config) { c.Keys, c.Cache = ring, cache })
			raws := make([]string, 20)
			for i := range raws {
				raws[i] = issue(t, tok, auth.Principal{Subject: "ann"})
			}
			for range rounds {
				var removed atomic.Bool
				var warm, group sync.WaitGroup
				warm.Add(callers)
				for g := range callers {
					group.Go(func() {
						// Through the removal, and so many times beyond it.
						for i, late := g, 0; late < after; i++ {
							begunAfter := removed.Load()
							_, err := tok.Verify(t.Context(), raws[i%len(raws)])
							if begunAfter {
								late++
							}
							if begunAfter && err == nil {
								t.Error("accepted under a removed key")
								return
							}
							if i == g+len(raws) {
								warm.Done()
							}
						}
					})
				}
				warm.Wait()
				if err := ring.Replace(stays); err != nil {
					t.Error(err)
				}
				removed.Store(true)
				group.Wait()
				if err := ring.Replace(goes, stays); err != nil {
					t.Error(err)
				}
				accepted(t, tok, raws[0])
			}
		})
	}
}
