package redissession_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/auth/session"
	"github.com/doorward/doorward/auth/session/redissession"
	"github.com/doorward/doorward/internal/nodetest"
	"github.com/doorward/doorward/internal/redistest"
	"github.com/doorward/doorward/revocation/redisrev"
	"github.com/doorward/doorward/tokens"
)

const (
	nodeRedis = "DOORWARD_TEST_NODE_REDIS" // the Redis of a node
	nodeClock = "DOORWARD_TEST_NODE_CLOCK" // how far its clock is ahead
	issuer    = "https://api.example.com"
)

func TestMain(m *testing.M) {
	redistest.Parallel(6)
	nodetest.Main(m, serve)
}

// A kit is what one process has.
type kit struct {
	tokens   *tokens.Tokens
	sessions *session.Sessions
	store    *redissession.Store

	mu   sync.Mutex
	told map[string]int // events, by name and outcome
}

// newKit puts a process together. Without subjects the store keeps the numbers.
func newKit(client redis.UniversalClient, ahead time.Duration, subjects session.Subjects, edit ...func(*session.Config)) (*kit, error) {
	list, err := redisrev.New(redisrev.Config{Client: client, Timeout: 10 * time.Second})
	if err != nil {
		return nil, err
	}
	k := &kit{told: map[string]int{}}
	if k.store, err = redissession.New(list); err != nil {
		return nil, err
	}
	if _, err := list.Epoch(context.Background()); err == nil { // an outage is some test's own
		_ = redistest.Settle(context.Background(), client, "dw")
	}
	k.tokens, err = tokens.New(tokens.Config{
		Keys: tokens.NewKeyring(tokens.FromSecret([]byte("0123456789abcdefghijklmnopqrstuv"))), Issuer: issuer, Audience: "app", List: list,
		Now: func() time.Time { return time.Now().Add(ahead) },
	})
	if err != nil {
		return nil, err
	}
	if subjects == nil {
		subjects = session.KeepVersions(k.store, issuer, func(context.Context, string, string) (session.Subject, error) {
			return session.Subject{Roles: []string{"user"}}, nil
		})
	}
	c := session.Config{Store: k.store, Tokens: k.tokens, Subjects: subjects, Observe: k.observe}
	for _, e := range edit {
		e(&c)
	}
	k.sessions, err = session.New(c)
	return k, err
}

func (k *kit) observe(_ context.Context, e auth.Event) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.told[e.Name+" "+e.Outcome]++
}

// A reply is what a node answers.
type reply struct {
	Access, Refresh string
	Code            auth.Code
	Err             string
	Told            map[string]int
}

// serve does what the path says with the token in the body.
func serve() (http.Handler, error) {
	d, err := time.ParseDuration(os.Getenv(nodeClock))
	if err != nil {
		return nil, err
	}
	k, err := newKit(redis.NewClient(&redis.Options{Addr: os.Getenv(nodeRedis)}), d, nil)
	if err != nil {
		return nil, err
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		pair := new(auth.Pair)
		if err == nil {
			pair, err = k.do(r, strings.TrimPrefix(r.URL.Path, "/"), string(body))
		}
		var a reply
		if pair != nil {
			a = reply{Access: pair.Access, Refresh: pair.Refresh}
		}
		if err != nil {
			a.Code, a.Err = auth.CodeOf(err), err.Error()
		}
		k.mu.Lock()
		defer k.mu.Unlock()
		a.Told = k.told
		_ = json.NewEncoder(w).Encode(a)
	}), nil
}

func (k *kit) do(r *http.Request, what, text string) (*auth.Pair, error) {
	ctx, from := r.Context(), auth.ClientOf(r)
	switch what {
	case "login":
		n, err := k.store.Numbers(ctx, auth.Owner{Issuer: issuer, Subject: text})
		if err != nil {
			return nil, err
		}
		return k.sessions.Start(ctx, session.Login{Principal: &auth.Principal{Subject: text, Version: n.Version}, Client: from})
	case "refresh":
		return k.sessions.Refresh(ctx, text, from)
	case "check":
		_, err := k.tokens.Verify(ctx, text)
		return nil, err
	case "logout":
		return nil, k.sessions.Logout(ctx, text)
	case "endall":
		return nil, k.sessions.EndAll(ctx, text)
	case "told":
		return nil, nil
	}
	return nil, fmt.Errorf("a node cannot %q", what)
}

// A node is a process of its own, the test binary once more.
type node struct {
	t    *testing.T
	url  string
	http *http.Client
}

func startNode(t *testing.T, s *redistest.Server, ahead time.Duration) *node {
	t.Helper()
	url := nodetest.Start(t, nodeRedis+"="+s.Addr(), nodeClock+"="+ahead.String())
	return &node{t, url + "/", &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 32}}}
}

func (n *node) ask(what, text string) (a reply) {
	res, err := n.http.Post(n.url+what, "text/plain", strings.NewReader(text))
	if err != nil {
		n.t.Errorf("%s: %v", what, err)
		return a
	}
	defer func() { _ = res.Body.Close() }()
	if err := json.NewDecoder(res.Body).Decode(&a); err != nil {
		n.t.Errorf("%s: %v", what, err)
	}
	return a
}

func (n *node) want(code auth.Code, what, text string) reply {
	n.t.Helper()
	a := n.ask(what, text)
	if a.Code != code {
		n.t.Errorf("%s: got %q (%s), expected %q", what, a.Code, a.Err, code)
	}
	return a
}

// Three processes whose clocks are 30 s apart each, one Redis. ATK-S04's grandparent is within the grace time.
func TestProcesses_STD_S02_ATK_S01_ATK_S02_ATK_S04(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	nodes := []*node{startNode(t, s, -30*time.Second), startNode(t, s, 0), startNode(t, s, 30*time.Second)}
	rounds, racers := 200, 20
	if testing.Short() {
		rounds = 20
	}
	first := nodes[0].want("", "login", "ann")
	bystander := nodes[1].want("", "login", "ann")
	line := []string{first.Refresh}
	for round := range rounds {
		token := line[len(line)-1]
		answers := make([]reply, racers)
		var all sync.WaitGroup
		for i := range racers {
			all.Go(func() { answers[i] = nodes[(round+i)%3].ask("refresh", token) })
		}
		all.Wait()
		for i, a := range answers {
			if a.Code != "" {
				t.Fatalf("round %d: an honest client was refused: %q (%s)", round, a.Code, a.Err)
			}
			if a.Refresh == token || a.Refresh != answers[0].Refresh {
				t.Fatalf("round %d: racer %d got a sibling, or no child", round, i)
			}
		}
		line = append(line, answers[0].Refresh)
	}
	told := map[string]int{}
	for _, n := range nodes {
		for what, times := range n.ask("told", "").Told {
			told[what] += times
		}
	}
	if told["refresh ok"] != rounds || told["refresh replayed"] != rounds*(racers-1) || len(told) != 3 {
		t.Errorf("the nodes told of %v, expected %d children and %d replays", told, rounds, rounds*(racers-1))
	}

	// The node that is behind makes tokens that all accept; so what refuses them is the ending.
	last := nodes[0].want("", "refresh", line[len(line)-1])
	line = append(line, last.Refresh)
	for _, n := range nodes {
		n.want("", "check", last.Access)
	}
	nodes[2].want(auth.RefreshReused, "refresh", line[len(line)-3])
	for _, n := range nodes {
		for _, token := range line[len(line)-4:] {
			n.want(auth.TokenRevoked, "refresh", token)
		}
		n.want(auth.TokenRevoked, "check", last.Access)
		n.want("", "logout", last.Refresh) // twice is nil, anywhere
	}
	nodes[2].want("", "refresh", bystander.Refresh) // another login of hers goes on
}

// Three kits with a client each, in one process. An ending that has returned leaves nothing behind, whatever logins and
// refreshes run beside it: they lose by version, not by time.
func TestEndAll_ATK_S08_RacesLoginAndRefresh(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	kits := make([]*kit, 3)
	for i := range kits {
		var err error
		if kits[i], err = newKit(s.Client(), time.Duration(i-1)*30*time.Second, nil); err != nil {
			t.Fatal(err)
		}
	}
	rounds := 1000
	if testing.Short() {
		rounds = 50
	}
	seen := map[string]int{}
	for round := range rounds {
		owner := auth.Owner{Issuer: issuer, Subject: fmt.Sprint("u", round%7)}
		login := func(k *kit) (*auth.Pair, error) {
			n, err := k.store.Numbers(t.Context(), owner)
			if err != nil {
				t.Error(err)
			}
			return k.sessions.Start(t.Context(), session.Login{Principal: &auth.Principal{Subject: owner.Subject, Version: n.Version}})
		}
		begun, err := login(kits[0])
		if err != nil {
			t.Fatal(err)
		}
		version, err := kits[1].store.Numbers(t.Context(), owner)
		if err != nil {
			t.Fatal(err)
		}
		pairs, errs := make([]*auth.Pair, 3), make([]error, 3)
		var all sync.WaitGroup
		all.Go(func() { errs[0] = kits[0].sessions.EndAll(t.Context(), owner.Subject) })
		all.Go(func() { pairs[1], errs[1] = kits[1].sessions.Refresh(t.Context(), begun.Refresh, auth.Client{}) })
		all.Go(func() { // its password was right before the ending
			pairs[2], errs[2] = kits[2].sessions.Start(t.Context(), session.Login{Principal: &auth.Principal{Subject: owner.Subject, Version: version.Version}})
		})
		all.Wait()
		if errs[0] != nil {
			t.Fatal(errs[0])
		}
		for i, code := range []auth.Code{"", auth.TokenRevoked, auth.LoginFailed} {
			if errs[i] != nil && auth.CodeOf(errs[i]) != code {
				t.Fatalf("round %d: call %d: got %v, expected nil or %q", round, i, errs[i], code)
			}
			seen[fmt.Sprint(i, " ", auth.CodeOf(errs[i]))]++
			if pairs[i] == nil {
				continue
			}
			// A principal of what it got, so that no clock but the list decides.
			p := &auth.Principal{Issuer: issuer, Subject: owner.Subject, Session: pairs[i].Session, Version: version.Version, Epoch: epoch(t, kits[0].store)}
			if err := kits[0].store.Revocations().Check(t.Context(), p); err == nil {
				t.Fatalf("round %d: an access token of call %d is alive", round, i)
			}
			if _, err := kits[(i+1)%3].sessions.Refresh(t.Context(), pairs[i].Refresh, auth.Client{}); auth.CodeOf(err) != auth.TokenRevoked {
				t.Fatalf("round %d: the refresh token of call %d: got %v, expected token_revoked", round, i, err)
			}
		}
		if rows, err := kits[1].sessions.List(t.Context(), owner.Subject); err != nil || len(rows) > 0 {
			t.Fatalf("round %d: listed %v, %v", round, rows, err)
		}
	}
	t.Logf("call and answer: %v", seen)
}

// 1,000 logouts, each racing with a refresh on another node.
func TestLogout_ATK_S07_RacesRefresh(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	one, err := newKit(s.Client(), -30*time.Second, nil)
	if err != nil {
		t.Fatal(err)
	}
	two, err := newKit(s.Client(), 30*time.Second, nil)
	if err != nil {
		t.Fatal(err)
	}
	rounds := 1000
	if testing.Short() {
		rounds = 50
	}
	seen := map[auth.Code]int{}
	for round := range rounds {
		begun, err := one.sessions.Start(t.Context(), session.Login{Principal: &auth.Principal{Subject: "ann"}})
		if err != nil {
			t.Fatal(err)
		}
		var child *auth.Pair
		var ended, refreshed error
		var all sync.WaitGroup
		all.Go(func() { ended = one.sessions.Logout(t.Context(), begun.Refresh) })
		all.Go(func() { child, refreshed = two.sessions.Refresh(t.Context(), begun.Refresh, auth.Client{}) })
		all.Wait()
		if ended != nil || refreshed != nil && auth.CodeOf(refreshed) != auth.TokenRevoked {
			t.Fatalf("round %d: logout: %v, refresh: %v", round, ended, refreshed)
		}
		seen[auth.CodeOf(refreshed)]++
		for _, pair := range []*auth.Pair{begun, child} {
			if pair == nil {
				continue
			}
			if _, err := two.tokens.Verify(t.Context(), pair.Access); auth.CodeOf(err) != auth.TokenRevoked {
				t.Fatalf("round %d: an access token: got %v, expected token_revoked", round, err)
			}
			if _, err := two.sessions.Refresh(t.Context(), pair.Refresh, auth.Client{}); auth.CodeOf(err) != auth.TokenRevoked {
				t.Fatalf("round %d: a refresh token: got %v, expected token_revoked", round, err)
			}
		}
	}
	t.Logf("the refresh answered %v", seen)
}

func epoch(t testing.TB, s *redissession.Store) string {
	t.Helper()
	e, err := s.Revocations().Epoch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return e
}
