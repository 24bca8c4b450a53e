package tokens_test

import (
	"context"
	"errors"
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

// An origin is another service, without a network: the transport of a client.
type origin struct {
	mu     sync.Mutex
	calls  int
	status int
	body   string
	answer func(*http.Request) (*http.Response, error) // instead of status and body
}

func (o *origin) RoundTrip(r *http.Request) (*http.Response, error) {
	o.mu.Lock()
	o.calls++
	status, body, answer := o.status, o.body, o.answer
	o.mu.Unlock()
	if answer != nil {
		return answer(r)
	}
	return respond(status, strings.NewReader(body)), nil
}

func respond(status int, body io.Reader) *http.Response {
	return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(body)}
}

func (o *origin) publish(t *testing.T, keys ...tokens.Key) {
	t.Helper()
	body := string(publicJWKS(t, tokens.NewKeyring(keys[0], keys[1:]...)))
	o.mu.Lock()
	defer o.mu.Unlock()
	o.status, o.body, o.answer = 200, body, nil
}

func (o *origin) set(status int, body string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.status, o.body, o.answer = status, body, nil
}

func (o *origin) asked() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.calls
}

func (o *origin) ring(t *testing.T, change ...func(*tokens.RemoteConfig)) *tokens.Keyring {
	t.Helper()
	c := tokens.RemoteConfig{URL: "https://id.example.com/jwks.json?key=hunter2", Client: &http.Client{Transport: o}}
	for _, f := range change {
		f(&c)
	}
	return must(tokens.NewRemoteKeyring(c))
}

func algorithms(algs ...string) func(*tokens.RemoteConfig) {
	return func(c *tokens.RemoteConfig) { c.Algorithms = algs }
}

func wantKey(t *testing.T, ring *tokens.Keyring, id string) any {
	t.Helper()
	k, err := tokens.RingFind(t.Context(), ring, id)
	if err != nil {
		t.Fatalf("no key: %v", err)
	}
	return k
}

func wantCode(t *testing.T, ring *tokens.Keyring, id string, code auth.Code, words string) {
	t.Helper()
	_, err := tokens.RingFind(t.Context(), ring, id)
	if auth.CodeOf(err) != code || !strings.Contains(fmt.Sprint(err), words) {
		t.Errorf("got %v, expected %s and words like %q", err, code, words)
	}
	if strings.Contains(fmt.Sprint(err), "hunter2") {
		t.Errorf("the error shows the query: %v", err)
	}
}

func TestRemoteConfigIsChecked(t *testing.T) {
	const good = "https://id.example.com/jwks.json"
	for _, c := range []struct {
		name   string
		config tokens.RemoteConfig
	}{
		{"no URL", tokens.RemoteConfig{}},
		{"http", tokens.RemoteConfig{URL: "http://id.example.com/"}},
		{"http to a name like loopback", tokens.RemoteConfig{URL: "http://localhost.example.com/"}},
		{"http to 127.0.0.1 as a user", tokens.RemoteConfig{URL: "http://127.0.0.1@id.example.com/"}},
		{"http to a private address", tokens.RemoteConfig{URL: "http://10.0.0.1/"}},
		{"http to any address", tokens.RemoteConfig{URL: "http://0.0.0.0/"}},
		{"file", tokens.RemoteConfig{URL: "file:///etc/passwd"}},
		{"no host", tokens.RemoteConfig{URL: "https:///jwks.json"}},
		{"a path", tokens.RemoteConfig{URL: "/jwks.json"}},
		{"a user", tokens.RemoteConfig{URL: "https://ann:hunter2@id.example.com/"}},
		{"a fragment", tokens.RemoteConfig{URL: good + "#a"}},
		{"no URL at all", tokens.RemoteConfig{URL: "https://hunter2\x7f/"}},
		{"ATK-X04 HS256", tokens.RemoteConfig{URL: good, Algorithms: []string{"ES256", "HS256"}}},
		{"STD-T04 none", tokens.RemoteConfig{URL: good, Algorithms: []string{"none"}}},
		{"an age of seconds", tokens.RemoteConfig{URL: good, MaxAge: time.Second}},
		{"a negative age", tokens.RemoteConfig{URL: good, MaxAge: -time.Hour}},
		{"an age of days", tokens.RemoteConfig{URL: good, MaxAge: 25 * time.Hour}},
	} {
		t.Run(c.name, func(t *testing.T) {
			ring, err := tokens.NewRemoteKeyring(c.config)
			if err == nil || ring != nil {
				t.Fatal("taken")
			}
			if !strings.Contains(err.Error(), "got") || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("got %v", err)
			}
		})
	}
	for _, u := range []string{good, "http://localhost:8080/", "http://127.0.0.1:1/k", "http://[::1]/"} {
		if _, err := tokens.NewRemoteKeyring(tokens.RemoteConfig{URL: u}); err != nil {
			t.Error(err)
		}
	}
}

// A ring of another's keys verifies their tokens and does nothing else.
func TestRemoteKeyring(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		theirs := must(tokens.GenerateKey("ES256"))
		o := new(origin)
		o.publish(t, theirs)
		ring := o.ring(t)
		if o.asked() != 0 {
			t.Error("it fetched before it was asked")
		}
		ours := must(tokens.New(tokens.Config{Keys: tokens.NewKeyring(theirs), Issuer: issuer, Audience: audience}))
		tok := must(tokens.New(tokens.Config{Keys: ring, Issuer: issuer, Audience: audience}))
		raw := issue(t, ours, auth.Principal{Subject: "ann"})
		for range 100 {
			if p := accepted(t, tok, raw); p.Subject != "ann" {
				t.Errorf("got %+v", p)
			}
			accepted(t, tok, issue(t, ours, auth.Principal{Subject: "bob"}))
		}
		if o.asked() != 1 {
			t.Errorf("%d fetches", o.asked())
		}
		stamp := must(ours.Stamp(t.Context()))
		if _, _, err := tok.Issue(stamp, &auth.Principal{Subject: "ann"}); err == nil {
			t.Error("it signs")
		}
		_, _, err := ring.Derive("", issuer, "csrf")
		wantWords(t, err, "another service's")
		wantWords(t, ring.Replace(theirs), "another service's")
		w := httptest.NewRecorder()
		ring.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
		if w.Code != 404 {
			t.Errorf("it publishes: %d %s", w.Code, w.Body)
		}
		if s := fmt.Sprintf("%v %+v %#v", ring, ring, ring); strings.Contains(s, "hunter2") {
			t.Errorf("printed %s", s)
		}

		// The issuer removes the key: its tokens die with the age of the set, remembered or not.
		o.publish(t, must(tokens.GenerateKey("ES256")))
		time.Sleep(10*time.Minute + time.Second)
		refused(t, tok, raw, tokens.ErrSignature)
	})
}

// STD-A09, STD-T29: invented kids cause a fetch in 30 seconds, no more, and a new key is found all the same.
func TestSTD_T29_STD_A09_ATK_J07_UnknownKids(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first, second := must(tokens.GenerateKey("EdDSA")), must(tokens.GenerateKey("EdDSA"))
		o := new(origin)
		o.publish(t, first)
		ring := o.ring(t)
		flood := func() {
			t.Helper()
			for i := range 300 {
				wantCode(t, ring, fmt.Sprint("invented-", i), auth.TokenInvalid, "unknown key id")
			}
			for _, id := range []string{"", "../../dev/null", "http://169.254.169.254/", "\x00", strings.Repeat("x", 10<<10)} {
				wantCode(t, ring, id, auth.TokenInvalid, "unknown key id")
			}
		}
		flood()
		if o.asked() != 1 {
			t.Errorf("%d fetches at once", o.asked())
		}
		o.publish(t, first, second)
		time.Sleep(29 * time.Second)
		flood()
		if o.asked() != 1 {
			t.Errorf("%d fetches in 29 s", o.asked())
		}
		time.Sleep(time.Second)
		wantKey(t, ring, second.ID())
		flood()
		if o.asked() != 2 {
			t.Errorf("%d fetches in 30 s", o.asked())
		}
		wantKey(t, ring, first.ID())
	})
}

func TestRemoteOutage(t *testing.T) {
	t.Run("from the start", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			k := must(tokens.GenerateKey("EdDSA"))
			o := &origin{status: 503}
			ring := o.ring(t)
			for range 100 {
				wantCode(t, ring, k.ID(), auth.StoreUnavailable, "got status 503")
			}
			if o.asked() != 1 {
				t.Errorf("%d fetches", o.asked())
			}
			o.publish(t, k)
			time.Sleep(30 * time.Second)
			wantKey(t, ring, k.ID())
		})
	})
	t.Run("later", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			k := must(tokens.GenerateKey("EdDSA"))
			o := new(origin)
			o.publish(t, k)
			ring := o.ring(t)
			found := wantKey(t, ring, k.ID())
			o.set(500, "")
			start := time.Now()
			for time.Since(start) < 20*time.Minute {
				if got := wantKey(t, ring, k.ID()); got != found || !tokens.RingHolds(ring, found) {
					t.Fatalf("after %v it is another key, or not held", time.Since(start))
				}
				time.Sleep(5 * time.Second)
			}
			wantCode(t, ring, k.ID(), auth.StoreUnavailable, "got status 500")
			if tokens.RingHolds(ring, found) {
				t.Error("what was remembered is still believed")
			}
			// 7.5 to 20 minutes, once in 30 s.
			if n := o.asked(); n < 20 || n > 27 {
				t.Errorf("%d fetches", n)
			}
			// Perhaps the kid is a new one: an outage logs nobody out.
			wantCode(t, ring, "new", auth.StoreUnavailable, "got status 500")
			o.publish(t, k)
			time.Sleep(30 * time.Second)
			if wantKey(t, ring, k.ID()) != found || !tokens.RingHolds(ring, found) {
				t.Error("the unchanged key is another one")
			}
		})
	})
	t.Run("an unknown kid while the set is fresh", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			k := must(tokens.GenerateKey("EdDSA"))
			o := new(origin)
			o.publish(t, k)
			ring := o.ring(t)
			found := wantKey(t, ring, k.ID())
			o.set(500, "")
			time.Sleep(time.Minute)
			wantCode(t, ring, "new", auth.StoreUnavailable, "got status 500")
			time.Sleep(8 * time.Minute)
			if !tokens.RingHolds(ring, found) {
				t.Error("a failed fetch has shortened the set's life")
			}
		})
	})
	t.Run("ATK-J26 the clock goes back", func(t *testing.T) {
		k := must(tokens.GenerateKey("EdDSA"))
		o, clk := new(origin), &clock{noon}
		o.publish(t, k)
		ring := o.ring(t, func(c *tokens.RemoteConfig) { c.Now = clk.now })
		found := wantKey(t, ring, k.ID())
		clk.t = noon.Add(-time.Hour)
		if tokens.RingHolds(ring, found) {
			t.Error("a set from the future is believed")
		}
		wantKey(t, ring, k.ID())
		if o.asked() != 2 {
			t.Errorf("%d fetches", o.asked())
		}
		o.set(500, "")
		clk.t = noon.Add(-2 * time.Hour)
		wantCode(t, ring, k.ID(), auth.StoreUnavailable, "got status 500")
	})
}

// One fetch for all who wait. Who leaves, also the first, takes nothing from the others; and when all is
// done no goroutine is left, or the bubble would not end.
func TestRemoteSingleFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := must(tokens.GenerateKey("ES256"))
		o := new(origin)
		o.publish(t, k)
		set, gate := o.body, make(chan struct{})
		o.answer = func(r *http.Request) (*http.Response, error) {
			select {
			case <-gate:
				return respond(200, strings.NewReader(set)), nil
			case <-r.Context().Done():
				return nil, r.Context().Err()
			}
		}
		ring := o.ring(t)
		impatient, cancel := context.WithCancel(t.Context())
		left := make(chan error, 1)
		go func() {
			_, err := tokens.RingFind(impatient, ring, k.ID())
			left <- err
		}()
		synctest.Wait()
		var group sync.WaitGroup
		for i := range 100 {
			group.Go(func() {
				if _, err := tokens.RingFind(t.Context(), ring, k.ID()); err != nil {
					t.Errorf("caller %d: %v", i, err)
				}
			})
		}
		later, cancelLater := context.WithTimeout(t.Context(), time.Second)
		defer cancelLater()
		if _, err := tokens.RingFind(later, ring, k.ID()); auth.CodeOf(err) != auth.StoreUnavailable || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the one in the queue who left: %v", err)
		}
		cancel()
		if err := <-left; auth.CodeOf(err) != auth.StoreUnavailable || !errors.Is(err, context.Canceled) {
			t.Errorf("the first, who left: %v", err)
		}
		close(gate)
		group.Wait()
		if o.asked() != 1 {
			t.Errorf("%d fetches", o.asked())
		}
	})
}

// In the last quarter of its age the set is renewed beside the traffic: nobody waits for a slow issuer.
func TestRemoteRenewsAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := must(tokens.GenerateKey("ES256"))
		o := new(origin)
		o.publish(t, k)
		set := o.body
		ring := o.ring(t)
		wantKey(t, ring, k.ID())
		o.answer = func(*http.Request) (*http.Response, error) {
			time.Sleep(4 * time.Second)
			return respond(200, strings.NewReader(set)), nil
		}
		for range 60 {
			start := time.Now()
			wantKey(t, ring, k.ID())
			if waited := time.Since(start); waited > 0 {
				t.Fatalf("a caller waited %v", waited)
			}
			time.Sleep(time.Minute)
		}
		if n := o.asked(); n < 5 || n > 9 {
			t.Errorf("%d fetches in an hour", n)
		}
	})
}

// Over a real connection, with the client the ring makes itself.
func TestRemoteOverHTTP(t *testing.T) {
	k := must(tokens.GenerateKey("EdDSA"))
	hits := 0
	mux := http.NewServeMux()
	mux.Handle("/jwks.json", tokens.NewKeyring(k))
	mux.Handle("/moved", http.RedirectHandler("/followed", http.StatusFound))
	mux.HandleFunc("/followed", func(http.ResponseWriter, *http.Request) { hits++ })
	server := httptest.NewServer(mux)
	defer server.Close()
	wantKey(t, must(tokens.NewRemoteKeyring(tokens.RemoteConfig{URL: server.URL + "/jwks.json"})), k.ID())
	client := &http.Client{}
	moved := must(tokens.NewRemoteKeyring(tokens.RemoteConfig{URL: server.URL + "/moved", Client: client}))
	wantCode(t, moved, k.ID(), auth.StoreUnavailable, "got status 302")
	if hits != 0 || client.CheckRedirect != nil {
		t.Errorf("followed %d times; the caller's client was changed: %t", hits, client.CheckRedirect != nil)
	}
}
