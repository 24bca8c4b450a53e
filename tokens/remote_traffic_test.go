package tokens_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/tokens"
)

// verifierOf is a service that verifies by the ring, with its cache on, and a token of the key for it. It
// is for bubbles, which end only when no goroutine is left: a fetch under way has its 5 seconds for that.
func verifierOf(t *testing.T, ring *tokens.Keyring, k tokens.Key) (*tokens.Tokens, string) {
	t.Helper()
	t.Cleanup(func() {
		time.Sleep(5 * time.Second) // of the bubble
		synctest.Wait()
	})
	ours := must(tokens.New(tokens.Config{Keys: tokens.NewKeyring(k), Issuer: issuer, Audience: audience, Lifetime: 24 * time.Hour}))
	return must(tokens.New(tokens.Config{Keys: ring, Issuer: issuer, Audience: audience})), issue(t, ours, auth.Principal{Subject: "ann"})
}

// slowly answers with the set after a wait.
func slowly(wait time.Duration, set string) func(*http.Request) (*http.Response, error) {
	return func(*http.Request) (*http.Response, error) {
		time.Sleep(wait) // of the bubble
		return respond(200, strings.NewReader(set)), nil
	}
}

func (o *origin) serve(f func(*http.Request) (*http.Response, error)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.answer = f
}

// silence never answers: an issuer behind a firewall that drops.
func silence(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, r.Context().Err()
}

// traffic verifies the token once a second. It returns how long the longest took, and when it was first refused.
func traffic(t *testing.T, tok *tokens.Tokens, raw string, during time.Duration) (worst, refusedAfter time.Duration) {
	t.Helper()
	for begin := time.Now(); time.Since(begin) < during; time.Sleep(time.Second) {
		at := time.Now()
		_, err := tok.Verify(t.Context(), raw)
		worst = max(worst, time.Since(at))
		if err != nil {
			return worst, time.Since(begin)
		}
	}
	return worst, 0
}

// A token that is remembered goes past the signature, and past the lookup of its key. It may be all the
// traffic there is, so it too must have the set renewed, and wait for nobody.
func TestRemoteWarm(t *testing.T) {
	for _, maxAge := range []time.Duration{time.Minute, 10 * time.Minute} {
		t.Run(maxAge.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := must(tokens.GenerateKey("ES256"))
				o := new(origin)
				o.publish(t, k)
				tok, raw := verifierOf(t, o.ring(t, func(c *tokens.RemoteConfig) { c.MaxAge = maxAge }), k)
				accepted(t, tok, raw)
				o.serve(slowly(4*time.Second, o.body))
				worst, after := traffic(t, tok, raw, time.Hour)
				if worst > 0 || after > 0 {
					t.Errorf("a caller waited %v, or was refused after %v", worst, after)
				}
				if n, every := o.asked(), maxAge/4*3; n < int(time.Hour/(every+5*time.Second)) || n > int(time.Hour/every)+1 {
					t.Errorf("%d fetches in an hour", n)
				}
			})
		})
	}
}

// All who find the set due at once start one fetch, and so does one who looked at it before it was renewed.
func TestRemoteWarmSingleFlight(t *testing.T) {
	t.Run("at once", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			k := must(tokens.GenerateKey("ES256"))
			o := new(origin)
			o.publish(t, k)
			tok, raw := verifierOf(t, o.ring(t), k)
			accepted(t, tok, raw)
			o.serve(slowly(time.Second, o.body))
			time.Sleep(8 * time.Minute)
			var group sync.WaitGroup
			for range 100 {
				group.Go(func() {
					if _, err := tok.Verify(t.Context(), raw); err != nil {
						t.Error(err)
					}
				})
			}
			group.Wait()
			if time.Sleep(time.Second); o.asked() != 2 {
				t.Errorf("%d fetches", o.asked())
			}
		})
	})
	t.Run("behind the renewal", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			k := must(tokens.GenerateKey("ES256"))
			o := new(origin)
			o.publish(t, k)
			var between func() // runs after a caller has looked at the set and before it acts on it
			ring := o.ring(t, func(c *tokens.RemoteConfig) {
				c.Now = func() time.Time {
					if f := between; f != nil {
						between = nil
						f()
					}
					return time.Now()
				}
			})
			found := wantKey(t, ring, k.ID())
			time.Sleep(8 * time.Minute)
			between = func() {
				wantKey(t, ring, k.ID())
				synctest.Wait()
			}
			if !tokens.RingHolds(ring, found) {
				t.Error("the set is not believed")
			}
			if synctest.Wait(); o.asked() != 2 {
				t.Errorf("%d fetches", o.asked())
			}
		})
	})
}

// What a cache remembers, and a set that is believed while it is renewed, do not lengthen the life of a
// removed key: MaxAge and one fetch, whenever it was removed and whether or not there is traffic.
func TestSTD_T29_RemoteRemovedKeyDies(t *testing.T) {
	const maxAge, fetch = 10 * time.Minute, 4 * time.Second
	start := func(t *testing.T) (o *origin, tok *tokens.Tokens, raw string) {
		k := must(tokens.GenerateKey("ES256"))
		o = new(origin)
		o.publish(t, k)
		tok, raw = verifierOf(t, o.ring(t), k)
		accepted(t, tok, raw)
		o.serve(slowly(fetch, o.body))
		return o, tok, raw
	}
	remove := func(t *testing.T, o *origin) {
		o.publish(t, must(tokens.GenerateKey("ES256")))
		o.serve(slowly(fetch, o.body))
	}
	for _, at := range []time.Duration{0, time.Minute, 7*time.Minute + 31*time.Second, 9 * time.Minute, 14 * time.Minute} {
		t.Run(fmt.Sprint("under traffic, removed after ", at), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o, tok, raw := start(t)
				if _, after := traffic(t, tok, raw, at); after > 0 {
					t.Fatalf("refused after %v", after)
				}
				remove(t, o)
				if _, after := traffic(t, tok, raw, time.Hour); after == 0 || after > maxAge+fetch {
					t.Errorf("refused after %v (0: not at all)", after)
				}
				refused(t, tok, raw, tokens.ErrSignature)
			})
		})
	}
	for _, idle := range []time.Duration{maxAge, maxAge + time.Second, 2*maxAge - time.Second, 2 * maxAge, 5 * maxAge} {
		t.Run(fmt.Sprint("without traffic for ", idle), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o, tok, raw := start(t)
				remove(t, o)
				time.Sleep(idle) // of the bubble
				refused(t, tok, raw, tokens.ErrSignature)
			})
		})
	}
	// That a fetch failed when none was due says nothing of the time when one is.
	t.Run("without traffic, after an early failure", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			o, tok, raw := start(t)
			o.set(503, "")
			time.Sleep(time.Minute) // of the bubble
			invented := must(tokens.New(tokens.Config{Keys: tokens.NewKeyring(must(tokens.GenerateKey("ES256"))), Issuer: issuer, Audience: audience}))
			if _, err := tok.Verify(t.Context(), issue(t, invented, auth.Principal{Subject: "ann"})); auth.CodeOf(err) != auth.StoreUnavailable {
				t.Errorf("an invented kid: %v", err)
			}
			remove(t, o)
			time.Sleep(maxAge)
			refused(t, tok, raw, tokens.ErrSignature)
		})
	})
	t.Run("after an outage", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			o, tok, raw := start(t)
			o.set(503, "")
			if _, after := traffic(t, tok, raw, 15*time.Minute); after > 0 {
				t.Fatalf("refused after %v", after)
			}
			remove(t, o)
			if _, after := traffic(t, tok, raw, time.Hour); after == 0 || after > 36*time.Second {
				t.Errorf("refused after %v (0: not at all)", after)
			}
		})
	})
}

// An issuer that does not answer holds up nobody while its keys may be believed, and is asked once in 30
// seconds, for 5 seconds. Then it is an outage, and nobody is logged out.
func TestRemoteBlackHole(t *testing.T) {
	for _, c := range []struct {
		name          string
		maxAge, quiet time.Duration
		worst         time.Duration // the one who may find out waits for a fetch
	}{
		{"10m", 10 * time.Minute, 0, 0},
		{"1m", time.Minute, 0, 0},
		{"10m, after a quiet time", 10 * time.Minute, 12 * time.Minute, 5 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := must(tokens.GenerateKey("ES256"))
				o := new(origin)
				o.publish(t, k)
				ring := o.ring(t, func(rc *tokens.RemoteConfig) { rc.MaxAge = c.maxAge })
				tok, raw := verifierOf(t, ring, k)
				accepted(t, tok, raw)
				begin := time.Now()
				var mu sync.Mutex
				var last, longest time.Duration
				least := time.Hour
				o.serve(func(r *http.Request) (*http.Response, error) {
					at := time.Since(begin)
					res, err := silence(r)
					mu.Lock()
					defer mu.Unlock()
					least, last, longest = min(least, at-last), at, max(longest, time.Since(begin)-at)
					return res, err
				})
				time.Sleep(c.quiet) // of the bubble
				worst, after := traffic(t, tok, raw, 2*c.maxAge-c.quiet-10*time.Second)
				if worst > c.worst || after > 0 {
					t.Errorf("a caller waited %v, or was refused after %v", worst, after)
				}
				time.Sleep(10 * time.Second)
				if _, err := tok.Verify(t.Context(), raw); auth.CodeOf(err) != auth.StoreUnavailable {
					t.Errorf("past the second age: %v", err)
				}
				mu.Lock()
				if o.asked() < 3 || least < 30*time.Second || longest > 5*time.Second {
					t.Errorf("%d fetches, two within %v, one of %v", o.asked(), least, longest)
				}
				mu.Unlock()
				o.publish(t, k)
				time.Sleep(30 * time.Second)
				accepted(t, tok, raw)
			})
		})
	}
	// With a short MaxAge a fetch for an invented kid can put the renewal off beyond the set's age.
	t.Run("1m, with an invented kid", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			k := must(tokens.GenerateKey("ES256"))
			o := new(origin)
			o.publish(t, k)
			ring := o.ring(t, func(c *tokens.RemoteConfig) { c.MaxAge = time.Minute })
			tok, raw := verifierOf(t, ring, k)
			accepted(t, tok, raw)
			begin := time.Now()
			o.serve(silence)
			time.Sleep(40 * time.Second)
			wantCode(t, ring, "invented", auth.StoreUnavailable, "deadline exceeded")
			for fetches, until := range []time.Duration{70 * time.Second, 100 * time.Second, 110 * time.Second} {
				if worst, after := traffic(t, tok, raw, until-time.Since(begin)); worst > 0 || after > 0 {
					t.Errorf("until %v: a caller waited %v, or was refused after %v", until, worst, after)
				}
				if n := o.asked(); n != fetches+2 {
					t.Errorf("until %v: %d fetches", until, n)
				}
			}
		})
	})
}

// The fetch runs in a goroutine of ours, where a panic of the caller's transport would end the process.
func TestRemotePanicIsAFailure(t *testing.T) {
	for _, c := range []struct {
		name, words string
		serve       func(*http.Request) (*http.Response, error)
	}{
		{"in the transport", "panicked with a value of type string", func(r *http.Request) (*http.Response, error) {
			panic("unexpected request of " + r.URL.String())
		}},
		{"of the runtime", "index out of range", func(r *http.Request) (*http.Response, error) {
			return respond(200, strings.NewReader(strings.Split(r.URL.Path, "/")[9])), nil
		}},
		{"in the body", "panicked with a value of type *errors.errorString", func(*http.Request) (*http.Response, error) {
			return respond(200, bomb{}), nil
		}},
		{"at the end of the body", "panicked with a value of type *errors.errorString", func(*http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 200, Header: http.Header{}, Body: bomb{strings.NewReader(`{"keys":[]}`)}}, nil
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := must(tokens.GenerateKey("EdDSA"))
				o := &origin{answer: c.serve}
				ring := o.ring(t)
				for range 10 {
					wantCode(t, ring, k.ID(), auth.StoreUnavailable, c.words)
				}
				if o.asked() != 1 {
					t.Errorf("%d fetches", o.asked())
				}
				o.publish(t, k)
				time.Sleep(30 * time.Second)
				found := wantKey(t, ring, k.ID())
				o.serve(c.serve)
				time.Sleep(9 * time.Minute)
				for range 60 { // also beside the traffic
					if !tokens.RingHolds(ring, found) {
						t.Fatal("the known key is gone")
					}
					time.Sleep(time.Second)
				}
			})
		})
	}
}

type bomb struct{ io.Reader }

func (b bomb) Read(p []byte) (int, error) {
	if b.Reader != nil {
		return b.Reader.Read(p)
	}
	panic(errReset)
}

func (bomb) Close() error { panic(errReset) }

// BenchmarkRemoteHolds is what a remembered token pays for the ring being another service's.
func BenchmarkRemoteHolds(b *testing.B) {
	k := must(tokens.GenerateKey("EdDSA"))
	server := httptest.NewServer(tokens.NewKeyring(k))
	defer server.Close()
	ring := must(tokens.NewRemoteKeyring(tokens.RemoteConfig{URL: server.URL}))
	found, err := tokens.RingFind(context.Background(), ring, k.ID())
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if !tokens.RingHolds(ring, found) {
			b.Fatal("not held")
		}
	}
}
