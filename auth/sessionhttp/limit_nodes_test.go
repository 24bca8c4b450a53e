package sessionhttp_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/auth/session"
	"github.com/doorward/doorward/auth/sessionhttp"
	"github.com/doorward/doorward/internal/nodetest"
	"github.com/doorward/doorward/internal/redistest"
	"github.com/doorward/doorward/middleware"
	"github.com/doorward/doorward/ratelimit/redislimit"
	"github.com/doorward/doorward/revocation"
	"github.com/doorward/doorward/tokens"
)

// nodeRedis is where a node keeps its limits.
const nodeRedis = "DOORWARD_TEST_NODE_REDIS"

func TestMain(m *testing.M) { nodetest.Main(m, serveLogins) }

// counts is what a node tells of itself.
type counts struct {
	Checks int            // of passwords, since it began
	Told   map[string]int // events, by name and outcome
}

// serveLogins is a node. A check of a password lasts until the node is told to go on:
// all other tries come while it does.
func serveLogins() (http.Handler, error) {
	var mu sync.Mutex
	seen := counts{Told: map[string]int{}}
	observe := func(_ context.Context, e auth.Event) {
		mu.Lock()
		defer mu.Unlock()
		seen.Told[e.Name+" "+e.Outcome]++
	}
	logging.Disable() // that Redis is down is meant
	// So long that a busy machine is no outage.
	limiter, err := redislimit.New(redislimit.Config{Client: redis.NewClient(&redis.Options{Addr: os.Getenv(nodeRedis)}), Timeout: 10 * time.Second, Observe: observe})
	if err != nil {
		return nil, err
	}
	store := session.NewMemory(revocation.NewMemory())
	tok, err := tokens.New(tokens.Config{
		Keys:   tokens.NewKeyring(tokens.FromSecret([]byte("u8Zq-3bXk9_Lr2Vd5Nf7Hs1Tg4Ym6Pc0Wj-a"))),
		Issuer: origin, Audience: "app", List: store.Revocations(),
	})
	if err != nil {
		return nil, err
	}
	sessions, err := session.New(session.Config{Store: store, Tokens: tok, Subjects: &users{}})
	if err != nil {
		return nil, err
	}
	var held sync.RWMutex
	held.Lock()
	handler, err := sessionhttp.New(sessionhttp.Config{
		Sessions: sessions, Access: tok, Bearer: true, Observe: observe, Limit: middleware.LoginLimit{Limiter: limiter},
		Login: func(context.Context, string, string) (*auth.Principal, error) {
			mu.Lock()
			seen.Checks++
			mu.Unlock()
			held.RLock()
			defer held.RUnlock()
			return nil, auth.LoginFailed
		},
	})
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("/auth/", http.StripPrefix("/auth", handler))
	mux.HandleFunc("GET /counts", func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		_ = json.NewEncoder(w).Encode(seen)
	})
	mux.HandleFunc("POST /on", func(http.ResponseWriter, *http.Request) { held.Unlock() })
	mux.HandleFunc("POST /hold", func(http.ResponseWriter, *http.Request) { held.Lock() })
	return mux, nil
}

// A node is a process of its own, the test binary once more.
type node struct {
	t    *testing.T
	url  string
	http *http.Client
}

func startNode(t *testing.T, s *redistest.Server) *node {
	t.Helper()
	return &node{t, nodetest.Start(t, nodeRedis+"="+s.Addr()), &http.Client{Transport: &http.Transport{}}}
}

func (n *node) counts() (c counts) {
	n.t.Helper()
	res, err := n.http.Get(n.url + "/counts")
	ok(n.t, err)
	defer func() { _ = res.Body.Close() }()
	ok(n.t, json.NewDecoder(res.Body).Decode(&c))
	return c
}

func (n *node) do(what string) {
	n.t.Helper()
	res, err := n.http.Post(n.url+what, "", nil)
	ok(n.t, err)
	_ = res.Body.Close()
}

// A said is what a node has said to a login.
type said struct {
	status int
	header http.Header
	err    error
}

func (n *node) login(account string) said {
	body := strings.NewReader(`{"account":"` + account + `","password":"guessed"}`)
	res, err := n.http.Post(n.url+"/auth/login", "application/json", body)
	if err != nil {
		return said{err: err}
	}
	_ = res.Body.Close()
	return said{res.StatusCode, res.Header, nil}
}

// storm sends 1,000 logins at once, spread over the nodes, and returns how many each of them checked. It holds the
// checks back until every other try has its answer.
func storm(t *testing.T, nodes []*node) (checked []int) {
	t.Helper()
	const tries = 1000
	spellings := []string{"acme/ann", "ACME/Ann", " acme/ann "} // one account
	before := make([]int, len(nodes))
	for i, n := range nodes {
		before[i] = n.counts().Checks
	}
	begin, answers := make(chan struct{}), make(chan said, tries)
	for i := range tries {
		go func() {
			<-begin
			answers <- nodes[i%len(nodes)].login(spellings[i/len(nodes)%len(spellings)])
		}()
	}
	close(begin)
	checked = make([]int, len(nodes))
	all := 0
	redistest.Eventually(t, func() error {
		all = 0
		for i, n := range nodes {
			checked[i] = n.counts().Checks - before[i]
			all += checked[i]
		}
		if done := len(answers); all+done != tries {
			return fmt.Errorf("%d passwords are checked, %d tries are answered, of %d", all, done, tries)
		}
		return nil
	})
	for _, n := range nodes {
		n.do("/on")
	}
	got := map[int]int{}
	for range tries {
		a := <-answers
		ok(t, a.err)
		got[a.status]++
		if a.status != http.StatusTooManyRequests {
			continue
		}
		if after, err := strconv.Atoi(a.header.Get("Retry-After")); err != nil || after < 1 || after > 900 {
			t.Fatalf("429 with Retry-After %q, expected 1 to 900 seconds", a.header.Get("Retry-After"))
		}
	}
	if got[http.StatusUnauthorized] != all || got[http.StatusTooManyRequests] != tries-all {
		t.Errorf("got by status %v, expected %d times 401, else 429", got, all)
	}
	for _, n := range nodes {
		n.do("/hold")
	}
	t.Logf("of %d tries on %d processes %v reached the check", tries, len(nodes), checked)
	return checked
}

// Three processes that share one Redis, as they are deployed, with the limits that are the default.
func TestLogin_STD_R10_STD_R11_ATK_L08_ThreeProcesses(t *testing.T) {
	s := redistest.Start(t)
	nodes := []*node{startNode(t, s), startNode(t, s), startNode(t, s)}
	t.Run("STD-R10 ATK-L08 1,000 at once", func(t *testing.T) {
		checked := storm(t, nodes)
		if n := checked[0] + checked[1] + checked[2]; n != 5 {
			t.Errorf("%v tries reached the check of the password, expected 5 in all", checked)
		}
		for i, n := range nodes {
			if told := n.counts().Told; told["limit account"] == 0 || told["outage fallback"] != 0 {
				t.Errorf("node %d told of %v, expected the account's limit and no outage", i, told)
			}
		}
	})
	// Each process then has half the limit: an attacker gains that once, whatever the outage lasts.
	t.Run("STD-R11 ATK-L08 1,000 at once without Redis", func(t *testing.T) {
		s.Kill()
		for i, n := range storm(t, nodes) {
			if n != 2 {
				t.Errorf("%d tries reached the check on node %d, expected 2", n, i)
			}
		}
		for i, n := range nodes {
			if told := n.counts().Told; told["outage fallback"] == 0 {
				t.Errorf("node %d told of %v, expected the outage", i, told)
			}
		}
		for i, n := range storm(t, nodes) {
			if n != 0 {
				t.Errorf("again: %d tries reached the check on node %d, expected none", n, i)
			}
		}
	})
}
