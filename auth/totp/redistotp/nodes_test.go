package redistotp_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	library "github.com/pquerna/otp/totp"
	"github.com/redis/go-redis/v9"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/auth/totp"
	"github.com/doorward/doorward/auth/totp/redistotp"
	"github.com/doorward/doorward/internal/nodetest"
	"github.com/doorward/doorward/internal/redistest"
)

const (
	nodeRedis = "DOORWARD_TEST_NODE_REDIS" // the Redis of a node
	nodeClock = "DOORWARD_TEST_NODE_CLOCK" // what its clock says, in seconds since 1970
)

func TestMain(m *testing.M) {
	redistest.Parallel(4)
	nodetest.Main(m, serve)
}

// nodeFactors is what a process has.
func nodeFactors(client redis.UniversalClient, at int64) (*totp.Factors, error) {
	store, err := redistotp.New(redistotp.Config{Client: client, Timeout: 10 * time.Second})
	if err != nil {
		return nil, err
	}
	return totp.New(totp.Config{Issuer: issuer, ServiceName: "Example", Store: store, AllowUnsealed: true, Now: func() time.Time { return time.Unix(at, 0) }})
}

// A reply is what a node answers.
type reply struct {
	Code auth.Code
	Err  string
}

// serve does what the path says with the user and the code of the form.
func serve() (http.Handler, error) {
	at, err := strconv.ParseInt(os.Getenv(nodeClock), 10, 64)
	if err != nil {
		return nil, err
	}
	f, err := nodeFactors(redis.NewClient(&redis.Options{Addr: os.Getenv(nodeRedis)}), at)
	if err != nil {
		return nil, err
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var a reply
		if err := do(r, f, r.FormValue("user"), r.FormValue("code")); err != nil {
			a = reply{auth.CodeOf(err), err.Error()}
		}
		_ = json.NewEncoder(w).Encode(a)
	}), nil
}

func do(r *http.Request, f *totp.Factors, user, code string) (err error) {
	switch ctx := r.Context(); r.URL.Path {
	case "/verify":
		return f.Verify(ctx, user, code)
	case "/recover":
		_, err = f.Recover(ctx, user, code)
		return err
	case "/confirm":
		_, err = f.Confirm(ctx, user, code)
		return err
	}
	return fmt.Errorf("a node cannot %q", r.URL.Path)
}

// A node is a process of its own, the test binary once more.
type node struct {
	t    *testing.T
	url  string
	http *http.Client
}

func startNode(t *testing.T, s *redistest.Server, at int64) *node {
	t.Helper()
	url := nodetest.Start(t, nodeRedis+"="+s.Addr(), nodeClock+"="+fmt.Sprint(at))
	return &node{t, url + "/", &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 32}}}
}

func (n *node) ask(what, user, code string) (a reply) {
	res, err := n.http.PostForm(n.url+what, url.Values{"user": {user}, "code": {code}})
	if err != nil {
		n.t.Errorf("%s: %v", what, err)
		return reply{Code: "nothing"}
	}
	defer func() { _ = res.Body.Close() }()
	if err := json.NewDecoder(res.Body).Decode(&a); err != nil {
		n.t.Errorf("%s: %v", what, err)
		return reply{Code: "nothing"}
	}
	return a
}

// Three processes whose clocks are 30 s apart each, one Redis: of 50 parallel tries of one code, of the code that
// confirms an enrolment, and of one recovery code, one succeeds. Before and after, no node takes what was used.
func TestProcesses_STD_O02_STD_O08_ATK_O01_ATK_O07(t *testing.T) {
	const at, tries = 1_800_000_010, 50
	s := redistest.Start(t)
	f, err := nodeFactors(s.Client(), at)
	if err != nil {
		t.Fatal(err)
	}
	nodes := []*node{startNode(t, s, at-30), startNode(t, s, at), startNode(t, s, at+30)}
	race := func(what, user, code string) {
		t.Helper()
		answers := make([]reply, tries)
		var all sync.WaitGroup
		for i := range tries {
			all.Go(func() { answers[i] = nodes[i%3].ask(what, user, code) })
		}
		all.Wait()
		good := 0
		for _, a := range answers {
			switch a.Code {
			case "":
				good++
			case auth.LoginFailed, auth.RateLimited:
			case auth.ValidationFailed:
				if what != "confirm" {
					t.Errorf("%s: %s (%s)", what, a.Code, a.Err)
				}
			default:
				t.Errorf("%s: %s (%s)", what, a.Code, a.Err)
			}
		}
		if good != 1 {
			t.Fatalf("%s: %d of %d succeeded, expected 1", what, good, tries)
		}
		for _, n := range nodes {
			if a := n.ask(what, user, code); a.Code == "" {
				t.Errorf("%s: taken again afterwards", what)
			}
		}
	}
	rounds := 50
	if testing.Short() {
		rounds = 5
	}
	for round := range rounds {
		user := fmt.Sprint("user", round)
		key, err := f.Begin(t.Context(), user, "ann")
		if err != nil {
			t.Fatal(err)
		}
		now := code(t, key, at)
		if round%2 == 0 {
			race("confirm", user, now)
			for _, n := range nodes { // the code that enrolled opens nothing
				if a := n.ask("verify", user, now); a.Code != auth.LoginFailed {
					t.Errorf("the code of the enrolment: got %q (%s)", a.Code, a.Err)
				}
			}
			continue
		}
		if err := f.Import(t.Context(), user, key); err != nil {
			t.Fatal(err)
		}
		race("verify", user, now)
		// Recovery codes come with a proof: the next step's code, which the third node's clock has reached.
		codes, err := f.Regenerate(t.Context(), user, code(t, key, at+30))
		if err != nil {
			t.Fatal(err)
		}
		race("recover", user, codes.List()[round%10])
	}
}

// code is what the app shows at a moment.
func code(t testing.TB, key totp.Key, at int64) string {
	t.Helper()
	c, err := library.GenerateCode(key.Secret(), time.Unix(at, 0))
	if err != nil {
		t.Fatal(err)
	}
	return c
}
