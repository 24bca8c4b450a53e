package redisrev_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/internal/listtest"
	"github.com/doorward/doorward/internal/redistest"
	"github.com/doorward/doorward/revocation"
	"github.com/doorward/doorward/revocation/redisrev"
)

func TestMain(m *testing.M) {
	redistest.Parallel(6)
	m.Run()
}

// open returns a list over client; edit may change its configuration. Its default deadline is long,
// so that a slow machine fails no test that is about something else.
func open(t testing.TB, client redis.UniversalClient, edit ...func(*redisrev.Config)) *redisrev.List {
	t.Helper()
	c := redisrev.Config{Client: client, Timeout: 10 * time.Second}
	for _, e := range edit {
		e(&c)
	}
	l, err := redisrev.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// settled is open for a test that does not want to wait for an epoch to be old.
func settled(t testing.TB, client redis.UniversalClient, edit ...func(*redisrev.Config)) *redisrev.List {
	t.Helper()
	l := open(t, client, edit...)
	// More than once, where the deadline is short: the first call dials, and the machine may be slow.
	redistest.Eventually(t, func() error { _, err := l.Epoch(t.Context()); return err })
	if err := redistest.Settle(t.Context(), client, "dw"); err != nil {
		t.Fatal(err)
	}
	return l
}

// smallestACL is what the package comment says is enough.
const smallestACL = "~{dw}:* -@all +eval +evalsha +info|server +time +get +set +pexpiretime +hget +hmget +hset +hgetall +hscan +hdel +hlen +xadd +xread +xrange +xrevrange"

func TestList(t *testing.T) {
	for _, test := range []struct {
		name   string
		client func(t *testing.T) redis.UniversalClient
	}{
		{"single", func(t *testing.T) redis.UniversalClient { return redistest.Start(t).Client() }},
		{"RESP2", func(t *testing.T) redis.UniversalClient {
			return redistest.Start(t).Client(func(o *redis.Options) { o.Protocol = 2 })
		}},
		{"smallest ACL", func(t *testing.T) redis.UniversalClient {
			s := redistest.Start(t)
			s.Do(append([]any{"ACL", "SETUSER", "kit", "on", ">secret"}, fields(smallestACL)...)...)
			return s.Client(func(o *redis.Options) { o.Username, o.Password = "kit", "secret" })
		}},
		{"ATK-D05 over maxmemory", func(t *testing.T) redis.UniversalClient {
			return redistest.Start(t, "--maxmemory", "1kb", "--maxmemory-policy", "noeviction").Client()
		}},
		{"context deadlines in the client", func(t *testing.T) redis.UniversalClient {
			return redistest.Start(t).Client(func(o *redis.Options) { o.ContextTimeoutEnabled = true })
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			client := test.client(t)
			listtest.Run(t, func(t *testing.T) revocation.List { return settled(t, client) })
		})
	}
	t.Run("two nodes", func(t *testing.T) {
		t.Parallel()
		s := redistest.Start(t)
		a, b := s.Client(), s.Client()
		listtest.Run(t, func(t *testing.T) revocation.List { return twoNodes{settled(t, a), settled(t, b)} })
	})
}

// twoNodes ends on one node and asks on another.
type twoNodes struct {
	*redisrev.List
	asked *redisrev.List
}

func (n twoNodes) Check(ctx context.Context, p *auth.Principal) error { return n.asked.Check(ctx, p) }

func fields(s string) (f []any) {
	for _, w := range strings.Fields(s) {
		f = append(f, w)
	}
	return f
}

func TestNew_Refuses(t *testing.T) {
	client := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1"})
	defer func() { _ = client.Close() }()
	ring := redis.NewRing(&redis.RingOptions{})
	defer func() { _ = ring.Close() }()
	for _, test := range []struct {
		name   string
		config redisrev.Config
		says   string
	}{
		{"no client", redisrev.Config{}, "got nil, expected a *redis.Client"},
		{"nil *Client", redisrev.Config{Client: (*redis.Client)(nil)}, "got a nil *redis.Client"},
		{"nil *ClusterClient", redisrev.Config{Client: (*redis.ClusterClient)(nil)}, "got a nil *redis.ClusterClient"},
		{"ring", redisrev.Config{Client: ring}, "got a *redis.Ring"},
		{"brace", redisrev.Config{Client: client, Prefix: "a{b"}, `got "a{b", expected`},
		{"closing brace", redisrev.Config{Client: client, Prefix: "a}b"}, "expected 1 to 64"},
		{"space", redisrev.Config{Client: client, Prefix: "a b"}, "expected 1 to 64"},
		{"line end", redisrev.Config{Client: client, Prefix: "a\r\n"}, `got "a\r\n", expected`},
		{"delete", redisrev.Config{Client: client, Prefix: "a\x7f"}, "expected 1 to 64"},
		{"glob", redisrev.Config{Client: client, Prefix: "a*"}, "expected 1 to 64"},
		{"not ASCII", redisrev.Config{Client: client, Prefix: "é"}, "expected 1 to 64"},
		{"long", redisrev.Config{Client: client, Prefix: strings.Repeat("a", 65)}, "expected 1 to 64"},
		{"negative timeout", redisrev.Config{Client: client, Timeout: -1}, "got -1ns, expected 1ms to 10s"},
		{"no time at all", redisrev.Config{Client: client, Timeout: 999 * time.Microsecond}, "got 999µs, expected 1ms to 10s"},
		{"too long", redisrev.Config{Client: client, Timeout: time.Minute}, "got 1m0s, expected 1ms to 10s"},
	} {
		if l, err := redisrev.New(test.config); err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: got %v, %v, want an error with %q", test.name, l, err, test.says)
		}
	}
	// Nothing listens at the client's address: New does no I/O.
	if _, err := redisrev.New(redisrev.Config{Client: client, Prefix: "app:v1/x.y_z-0"}); err != nil {
		t.Error(err)
	}
}

// Counted on the wire: what the proxy saw, not what the client says.
func TestRoundTrips(t *testing.T) {
	s := redistest.Start(t)
	proxy := redistest.NewProxy(t, s.Addr())
	client := redis.NewClient(&redis.Options{Addr: proxy.Addr()})
	t.Cleanup(func() { _ = client.Close() })
	l := settled(t, client)
	p := listtest.Principal(t, l, "x")
	many := make([]auth.Revocation, 101)
	for i := range many {
		many[i] = auth.Revocation{Owner: auth.Owner{Issuer: "i", Subject: "u"}, TokenID: fmt.Sprint(i)}
	}
	listtest.Revoke(t, l, listtest.Session(listtest.Principal(t, l, "y")))
	listtest.Want(t, l, p, "")
	for _, step := range []struct {
		name string
		do   func()
		want []string
	}{
		{"check", func() { listtest.Want(t, l, p, "") }, []string{"EVALSHA"}},
		{"check of a subject alone", func() {
			listtest.Want(t, l, &auth.Principal{Issuer: p.Issuer, Subject: "service", Epoch: p.Epoch}, "")
		}, []string{"EVALSHA"}},
		{"check without an epoch", func() {
			listtest.Want(t, l, &auth.Principal{Issuer: p.Issuer, Subject: "u"}, auth.TokenExpired)
		}, nil},
		{"revoke", func() { listtest.Revoke(t, l, listtest.Session(p)) }, []string{"EVALSHA"}},
		{"check of an ended session", func() { listtest.Want(t, l, p, auth.TokenRevoked) }, []string{"EVALSHA"}},
		{"revoke 100", func() { listtest.Revoke(t, l, many[:100]...) }, []string{"EVALSHA"}},
		{"revoke 101", func() { listtest.Revoke(t, l, many...) }, []string{"EVALSHA", "EVALSHA"}},
		{"revoke nothing", func() { listtest.Revoke(t, l) }, nil},
		{"refused", func() { _ = l.Revoke(t.Context(), auth.Revocation{}) }, nil},
		{"epoch", func() { _, _ = l.Epoch(t.Context()) }, []string{"EVALSHA"}},
		{"ATK-D05 NOSCRIPT", func() { s.Do("SCRIPT", "FLUSH"); listtest.Want(t, l, p, auth.TokenRevoked) }, []string{"EVALSHA", "EVAL"}},
		{"then as before", func() { listtest.Want(t, l, p, auth.TokenRevoked) }, []string{"EVALSHA"}},
	} {
		proxy.Requests()
		step.do()
		if got := proxy.Requests(); !slices.Equal(got, step.want) {
			t.Errorf("%s: got %v on the wire, want %v", step.name, got, step.want)
		}
	}
}

// The format that other releases read: see the table in scripts.go.
func TestFormat(t *testing.T) {
	s := redistest.Start(t)
	l := settled(t, s.Client())
	p := &auth.Principal{Issuer: "https://api.example.com", Tenant: "acme", Subject: "ada", Session: "4711", TokenID: "a:b"}
	listtest.Revoke(t, l, listtest.Session(p), listtest.TokenID(p), listtest.Below(p, 7), listtest.Below(p, 3))
	// Computed with another program: the length in 8 bytes and the text, of issuer and id; of issuer, tenant, subject.
	const token, subject = "j:4n3ydky9x1t8PMbJCW6Mq_", "v:SP7sPm5bBAdn2A78ZjINhy"

	keys := s.Do("KEYS", "*").([]any)
	slices.SortFunc(keys, func(a, b any) int { return strings.Compare(a.(string), b.(string)) })
	if got, want := fmt.Sprint(keys), fmt.Sprint([]string{"{dw}:epoch", "{dw}:" + token, "{dw}:log", "{dw}:s:4711", "{dw}:" + subject}); got != want {
		t.Errorf("keys: got %v, want %v", got, want)
	}
	for key, want := range map[string]string{"{dw}:s:4711": "1", "{dw}:" + token: "1", "{dw}:" + subject: "7"} {
		if got := s.Do("GET", key); got != want {
			t.Errorf("%s: got %v, want %s", key, got, want)
		}
		// STD-S09: until no token can be accepted that the entry concerns, and an eighth longer: see TestRevoke_LivesKeepFromTheLastCall.
		const life = revocation.Keep + revocation.Keep/8
		if left := time.Duration(s.Do("PTTL", key).(int64)) * time.Millisecond; left > life || left < life-time.Minute {
			t.Errorf("%s lives for %v, want %v", key, left, life)
		}
	}
	epoch, _ := l.Epoch(t.Context())
	if got := fmt.Sprint(s.Do("HMGET", "{dw}:epoch", "fmt", "id")); got != fmt.Sprintf("[1 %s]", epoch) {
		t.Errorf("epoch: got %v, want fmt 1 and the id %s", got, epoch)
	}
	if left := s.Do("PTTL", "{dw}:epoch"); left != int64(-1) {
		t.Errorf("the epoch has a time to live: %v", left)
	}
	var entries []string
	for _, e := range s.Do("XRANGE", "{dw}:log", "-", "+").([]any) {
		entries = append(entries, fmt.Sprint(e.([]any)[1]))
	}
	want := []string{"[k s:4711]", "[k " + token + "]", "[k " + subject + " m 7]"} // 3 is no news
	if !slices.Equal(entries, want) {
		t.Errorf("log: got %q, want %q", entries, want)
	}
}

// A name from outside never stands in a key as it is unless it is short and harmless: it could be
// another key, match a pattern, leave the hash tag's slot, or take as much memory as it likes.
func TestFormat_ATK_I06_OddNames(t *testing.T) {
	s := redistest.Start(t)
	client := s.Client()
	for session, want := range map[string]string{
		strings.Repeat("x", 64):    "{dw}:s:" + strings.Repeat("x", 64),
		"a:b":                      "{dw}:s:~N_BMGGqQKxH5X0KdpV1Fs3",
		"{x}":                      "{dw}:s:~KUuCAm7WEU5z6qaI7AMORZ",
		"~AZaz09-_":                "{dw}:s:~lt20KvxB6nSiChwQbxWUko",
		"a\r\nb":                   "{dw}:s:~o-RJdEi9P5KPMzEvhdRiQV",
		strings.Repeat("x", 65):    "{dw}:s:~_6pxeAABQXQAmPFi7yc-EL",
		strings.Repeat("y", 1<<20): "{dw}:s:~6FpbHRNGNMii0q7T0ippL2",
	} {
		s.Do("FLUSHALL")
		listtest.Revoke(t, settled(t, client), auth.Revocation{Owner: auth.Owner{Issuer: "i", Subject: "u"}, Session: session})
		if keys := fmt.Sprint(s.Do("KEYS", "{dw}:s:*")); keys != "["+want+"]" {
			t.Errorf("session %.70q: got the key %.100s, want %s", session, keys, want)
		}
	}
	odd := strings.Repeat("{*}:\r\n", 1<<17)
	s.Do("FLUSHALL")
	listtest.Revoke(t, settled(t, client), auth.Revocation{Owner: auth.Owner{Issuer: odd, Subject: odd}, TokenID: odd}, auth.Revocation{Owner: auth.Owner{Issuer: odd, Subject: odd}, Below: 1})
	for _, k := range s.Do("KEYS", "*").([]any) {
		if k := k.(string); len(k) > len("{dw}:v:")+22 {
			t.Errorf("a key of %d bytes: %.100q", len(k), k)
		}
	}
}

// An ending renews the life of its key where that would be too short, and trims the log of what is over.
func TestLog_TrimmedAndRenewed(t *testing.T) {
	s := redistest.Start(t)
	l := settled(t, s.Client())
	p := listtest.Principal(t, l, "x")
	listtest.Revoke(t, l, listtest.Below(p, 5))
	old := time.Now().Add(-revocation.Keep - revocation.Keep/8 - time.Minute).UnixMilli()
	s.Do("DEL", "{dw}:log")
	for i := range 1000 {
		s.Do("XADD", "{dw}:log", fmt.Sprint(old, "-", i), "k", "s:old")
	}
	var v string
	for _, k := range s.Do("KEYS", "{dw}:v:*").([]any) {
		v = k.(string)
	}
	s.Do("PEXPIRE", v, 60_000)
	listtest.Revoke(t, l, listtest.Below(p, 4))
	if left := s.Do("PTTL", v).(int64); left < 120_000 {
		t.Errorf("a lower minimum left the higher one %d ms, want a life renewed", left)
	}
	if n := s.Do("XLEN", "{dw}:log").(int64); n > 100 {
		t.Errorf("the log has %d entries, of which 1,000 were over: want at most the last 100", n)
	}
	listtest.Want(t, l, p, auth.TokenExpired)
}

// A check must not write: it would cost replication, and a list that lets checks begin epochs would
// let a token choose when.
func TestCheck_WritesNothing(t *testing.T) {
	s := redistest.Start(t)
	l := open(t, s.Client())
	changes := func() string {
		_, after, _ := strings.Cut(s.Do("INFO", "persistence").(string), "rdb_changes_since_last_save:")
		n, _, _ := strings.Cut(after, "\r")
		return n
	}
	p := &auth.Principal{Issuer: "i", Subject: "u", Session: "s", TokenID: "j", Epoch: "AAAAAAAA"}
	listtest.Want(t, l, p, auth.TokenExpired) // no epoch yet
	if n := changes(); n != "0" {
		t.Errorf("a check without an epoch made %s changes", n)
	}
	p.Epoch, _ = l.Epoch(t.Context())
	before := changes()
	listtest.Want(t, l, p, "")
	if n := changes(); n != before || n == "0" {
		t.Errorf("a check made changes: %s before, %s after", before, n)
	}
}

// Two prefixes are two lists.
func TestPrefix(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	a, b := open(t, s.Client()), open(t, s.Client(), func(c *redisrev.Config) { c.Prefix = "other" })
	p, q := listtest.Principal(t, a, "x"), listtest.Principal(t, b, "x")
	listtest.Revoke(t, a, listtest.Session(p))
	listtest.Want(t, a, p, auth.TokenRevoked)
	listtest.Want(t, b, q, "")
	listtest.Want(t, b, p, auth.TokenExpired)
}

// address returns a server's host and port as REPLICAOF wants them.
func address(s *redistest.Server) (host, port string) {
	host, port, _ = strings.Cut(s.Addr(), ":")
	return host, port
}

// stat returns how often a command was called.
func stat(commandstats, name string) (calls int) {
	_, after, _ := strings.Cut(commandstats, "cmdstat_"+name+":calls=")
	_, _ = fmt.Sscanf(after, "%d", &calls)
	return calls
}
