package tokens

import (
	"cmp"
	"context"
	"crypto"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/doorward/doorward/auth"
)

const (
	fetchTimeout = 5 * time.Second
	// fetchEvery is the least time between two fetches: a stream of invented kids must not become a
	// stream of requests to the issuer, nor an issuer that is down be asked by every caller.
	fetchEvery    = 30 * time.Second
	maxRemoteKeys = 100
)

// RemoteConfig says whose keys a remote keyring takes. URL is demanded.
type RemoteConfig struct {
	URL        string   // of the JWK set: https, or http to a loopback host
	Algorithms []string // what its keys may be for; by default ES256, ES384 and EdDSA. RSA by name; HS* is refused

	// Client fetches the set; nil: one without settings. It is copied, and follows no redirect. Where the
	// set's address must not be private, give it a dialer that refuses: TLS already keeps another host from
	// answering for the URL's, so that by default an issuer within one's own network is fine. Its transport
	// must heed the request's context, by which a fetch ends in time.
	Client *http.Client

	// MaxAge is how old the set may be: 10 minutes by default, 1 minute to 24 hours. A key that the
	// issuer removed is believed this long. When the set could not be renewed, twice as long at most.
	MaxAge time.Duration

	AllowRSA2048 bool             // see [Key.AllowRSA2048]
	Now          func() time.Time // nil: time.Now
}

// A remote fetches another service's key set. What it knows stands in the keyring's ring.
type remote struct {
	url, host string
	client    http.Client
	algs      []string
	maxAge    time.Duration
	rsa2048   bool
	now       func() time.Time
	turn      chan struct{} // of size 1: who has put something in may fetch
}

// A remoteState is what a ring knows of its own age.
type remoteState struct {
	fetched time.Time        // when the set was asked for that the ring holds; zero: none yet
	renew   time.Time        // from then on it is fetched anew, beside the traffic
	until   time.Time        // it is believed without waiting for a fetch
	asked   time.Time        // the last attempt
	failed  error            // what became of it; nil: it brought the set
	leftOut map[string]error // why a key of the set is not here, by its kid
}

// NewRemoteKeyring returns a ring that verifies by another service's JWK set (RFC 7517 section 5). It
// cannot sign nor derive keys.
//
// The set is fetched when it is first needed, when a token's kid is not in it, and when it is older than
// MaxAge, once in 30 seconds at most and by one caller for all. Under traffic nobody waits for that: in
// the last quarter of MaxAge the set is renewed beside it. A fetch takes 5 seconds and 1 MiB at most. If
// a renewal fails, the keys known serve on without waiting, for one more MaxAge, then verification
// answers [auth.StoreUnavailable]. A set with a private or secret key, or with the id of a signing key
// twice, is refused as a whole; keys for other algorithms are left out.
func NewRemoteKeyring(c RemoteConfig) (*Keyring, error) {
	u, err := url.Parse(c.URL)
	if err != nil {
		return nil, errors.New("tokens: RemoteConfig.URL: got something else than a URL") // the error would quote it
	}
	if u.User != nil || u.Fragment != "" || u.Hostname() == "" ||
		u.Scheme != "https" && !(u.Scheme == "http" && isLoopback(u.Hostname())) {
		return nil, fmt.Errorf("tokens: RemoteConfig.URL: got %s://%s, expected https, or http to a loopback host, without user or fragment", u.Scheme, u.Host)
	}
	maxAge := cmp.Or(c.MaxAge, 10*time.Minute)
	if maxAge < time.Minute || maxAge > 24*time.Hour {
		return nil, fmt.Errorf("tokens: RemoteConfig.MaxAge: got %v, expected 1 minute to 24 hours", maxAge)
	}
	algs := slices.Clone(c.Algorithms)
	if len(algs) == 0 {
		algs = []string{algES256, algES384, algEdDSA}
	}
	for _, alg := range algs {
		if methods[alg] == nil || strings.HasPrefix(alg, "HS") {
			return nil, fmt.Errorf("tokens: RemoteConfig.Algorithms: got %.16q, expected some of EdDSA, ES256, ES384, PS256, RS256", alg)
		}
	}
	r := &remote{url: u.String(), host: u.Host, algs: algs, maxAge: maxAge, rsa2048: c.AllowRSA2048, now: c.Now, turn: make(chan struct{}, 1)}
	if c.Client != nil {
		r.client = *c.Client
	}
	// A redirect would let whoever controls one path of the issuer choose where keys come from.
	r.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	if r.now == nil {
		// The wall clock alone: the monotonic one stands still while a machine sleeps, and the set ages.
		r.now = func() time.Time { return time.Now().Round(0) }
	}
	k := &Keyring{remote: r}
	k.state.Store(new(ring))
	return k, nil
}

func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.IsLoopback()
}

// find returns the key of this id, waiting for a fetch when that may help.
func (r *remote) find(ctx context.Context, state *atomic.Pointer[ring], id string) (*key, error) {
	seen, now := state.Load(), r.now()
	if k := seen.byID[id]; k != nil && r.believes(state, seen, now) {
		return k, nil
	}
	if r.mayAsk(seen, now) {
		if err := r.refresh(ctx, state, seen, now); err != nil {
			return nil, err
		}
	}
	return r.answer(state.Load(), id)
}

// believes says whether the set seen serves without waiting, and sees to it that it is renewed in time.
// Remembered tokens come here with every request, so in between it compares three times and no more.
func (r *remote) believes(state *atomic.Pointer[ring], seen *ring, now time.Time) bool {
	if now.Before(seen.fetched) || !now.Before(seen.until) {
		return false
	}
	if !now.Before(seen.renew) {
		select {
		case r.turn <- struct{}{}:
			r.start(state, seen, now)
		default: // somebody is at it
		}
	}
	return true
}

// answer is what the set says as it is, stale or not.
func (r *remote) answer(known *ring, id string) (*key, error) {
	age := r.now().Sub(known.fetched)
	usable := !known.fetched.IsZero() && age >= 0 && age < 2*r.maxAge
	k := known.byID[id]
	switch {
	case usable && k != nil:
		return k, nil
	case known.failed != nil:
		// Perhaps the key is a new one: then a 401 would log an honest client out.
		return nil, fmt.Errorf("%w: key set of %s: %w", auth.StoreUnavailable, r.host, known.failed)
	case !usable:
		return nil, fmt.Errorf("%w: key set of %s: too old, or the clock went back", auth.StoreUnavailable, r.host)
	case known.leftOut[id] != nil:
		return nil, fmt.Errorf("%w: in the set of %s, but left out: %w", errUnknownKey, r.host, known.leftOut[id])
	}
	return nil, fmt.Errorf("%w: not in the set of %s", errUnknownKey, r.host)
}

func (r *remote) mayAsk(known *ring, now time.Time) bool {
	return known.asked.IsZero() || now.Sub(known.asked) >= fetchEvery || now.Before(known.asked)
}

// refresh returns when the set has been fetched, by whomever, since the caller saw it. A caller whose
// context ends leaves; the fetch goes on for the others.
func (r *remote) refresh(ctx context.Context, state *atomic.Pointer[ring], seen *ring, now time.Time) error {
	select {
	case r.turn <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("%w: key set of %s: %w", auth.StoreUnavailable, r.host, context.Cause(ctx))
	}
	select {
	case <-r.start(state, seen, now):
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%w: key set of %s: %w", auth.StoreUnavailable, r.host, context.Cause(ctx))
	}
}

// start fetches in a goroutine that ends by itself, within fetchTimeout, unless somebody else has fetched
// since the caller saw the set. The caller has the turn, and start gives it back.
func (r *remote) start(state *atomic.Pointer[ring], seen *ring, now time.Time) (done <-chan struct{}) {
	c := make(chan struct{})
	if state.Load() != seen {
		<-r.turn
		close(c)
		return c
	}
	go func() {
		defer close(c)
		defer func() { <-r.turn }()
		state.Store(r.next(seen, now))
	}()
	return c
}

// next fetches the set and makes the ring that follows the known one.
func (r *remote) next(known *ring, asked time.Time) *ring {
	n, err := r.fetch(known)
	if err == nil {
		n.fetched, n.asked = asked, asked
		n.renew, n.until = asked.Add(r.maxAge/4*3), asked.Add(r.maxAge)
		return n
	}
	old := *known
	old.asked, old.failed = asked, err
	if due := old.fetched.Add(r.maxAge / 4 * 3); !old.fetched.IsZero() && asked.Add(fetchEvery).After(due) {
		// It was the renewal that failed, or it puts that off. So that an issuer that is down holds up
		// nobody, its keys are believed for their second age. A set that nobody tried to renew is not:
		// it may still have a key that was removed long ago.
		old.renew, old.until = asked.Add(fetchEvery), old.fetched.Add(2*r.maxAge)
	}
	return &old
}

func (r *remote) fetch(known *ring) (n *ring, err error) {
	// It runs in a goroutine of ours, where a panic of the caller's transport would end the process.
	defer func() {
		if p := recover(); p != nil {
			n, err = nil, panicked(p)
		}
	}()
	// Not the caller's context: its end would fail the fetch for everybody who waits.
	ctx, cancel := context.WithTimeout(context.Background(), fetchTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.url, nil)
	if err != nil {
		return nil, errors.New("not a URL to fetch")
	}
	req.Header.Set("Accept", "application/jwk-set+json, application/json")
	req.Close = true // the next one is minutes away
	res, err := r.client.Do(req)
	if err != nil {
		if e, ok := errors.AsType[*url.Error](err); ok {
			err = e.Err // without the URL, whose query may be a secret
		}
		return nil, err
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("got status %d, expected 200", res.StatusCode)
	}
	text, err := io.ReadAll(io.LimitReader(res.Body, maxKeyText+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxKeyText {
		return nil, fmt.Errorf("got a set of more than %d bytes", maxKeyText)
	}
	return r.parse(text, known)
}

// panicked tells what the runtime says of a panic, but of another value its type only: it may quote the
// URL, whose query may be a secret.
func panicked(p any) error {
	if e, ok := p.(runtime.Error); ok {
		return fmt.Errorf("the fetch panicked: %w", e)
	}
	return fmt.Errorf("the fetch panicked with a value of type %T", p)
}

// parse reads a set that a stranger wrote.
func (r *remote) parse(text []byte, known *ring) (*ring, error) {
	set, err := decodeJWKs(text)
	if err != nil {
		return nil, err
	}
	if len(set) > maxRemoteKeys {
		return nil, fmt.Errorf("got %d keys, expected %d at most", len(set), maxRemoteKeys)
	}
	var keys []Key
	leftOut, ids := map[string]error{}, map[string]bool{}
	for i, j := range set {
		if j.secret() {
			return nil, fmt.Errorf("key %d of the set is private or secret, and published: none of them can be trusted", i+1)
		}
		if !j.signs() {
			continue
		}
		// Also when one of the two would be left out: whose the id is, is then ours to guess.
		if j.Kid != "" && ids[j.Kid] {
			return nil, fmt.Errorf("two keys have the id %.80q", j.Kid)
		}
		ids[j.Kid] = true
		k, err := r.key(&j)
		if err != nil {
			leftOut[j.Kid] = err
			continue
		}
		// An unchanged key stays the same one: what was verified under it stays verified.
		if old := known.byID[k.k.id]; old != nil && old.alg == k.k.alg && samePublic(old.public, k.k.public) {
			k = Key{old}
		}
		keys = append(keys, k)
	}
	n, err := ringOf(keys)
	if err != nil {
		return nil, err
	}
	n.leftOut = leftOut
	return n, nil
}

func (r *remote) key(j *jwk) (Key, error) {
	alg, err := j.algorithm(r.algs)
	if err != nil {
		return Key{}, err
	}
	// Others name their keys as they like (RFC 7517 section 4.5), within reason.
	if len(j.Kid) == 0 || len(j.Kid) > 256 || strings.ContainsFunc(j.Kid, func(c rune) bool { return c <= ' ' || c > '~' }) {
		return Key{}, fmt.Errorf("got a kid of %d bytes, expected 1 to 256 of printable ASCII", len(j.Kid))
	}
	material, err := j.material()
	if err != nil {
		return Key{}, err
	}
	k := newKey(j.Kid, alg, material)
	if r.rsa2048 {
		k = k.AllowRSA2048()
	}
	return k, k.problem()
}

func samePublic(a, b any) bool {
	e, ok := a.(interface{ Equal(crypto.PublicKey) bool })
	return ok && e.Equal(b)
}
