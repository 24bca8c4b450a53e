//go:build linux

package promise_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/internal/history"
	"github.com/doorward/doorward/internal/redistest"
)

// A cluster is the nodes that run at the moment.
type cluster struct {
	t       *testing.T
	program string   // the test binary, or one that was built with flaws
	lists   []string // the kinds of list that nodes have, in turn
	set     setup
	http    *http.Client

	mu      sync.RWMutex
	nodes   []*node
	started int
}

// A node is one of them as the test sees it.
type node struct {
	name, url string
	list      string
	http      *http.Client
	process   *os.Process
	in        io.Closer
	say       func(string) error
	ended     <-chan struct{}

	gone  atomic.Bool   // the test ended it
	state atomic.Int32  // condition
	later chan struct{} // places for requests that nobody waits for
}

type condition int32

const (
	well   condition = iota
	ill              // its network fails
	paused           // it does not run
)

func newCluster(t *testing.T, program string, set setup, lists ...string) *cluster {
	t.Helper()
	c := &cluster{t: t, program: program, lists: lists, set: set, http: &http.Client{
		Transport: &http.Transport{MaxIdleConnsPerHost: 512}, Timeout: 20 * time.Second,
	}}
	t.Cleanup(func() {
		for _, n := range c.all() {
			c.kill(n)
		}
	})
	for range lists {
		c.join()
	}
	return c
}

// join starts a node. It is asked from the first moment on, while it loads.
func (c *cluster) join() *node {
	c.t.Helper()
	set := c.set
	set.List = c.lists[c.started%len(c.lists)]
	c.started++
	text, err := json.Marshal(set)
	if err != nil {
		c.t.Fatal(err)
	}
	cmd := exec.Command(c.program)
	cmd.Env = append(os.Environ(), nodeSetup+"="+string(text), flawed+"="+set.Flaw, "GORACE=halt_on_error=1")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		c.t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		c.t.Fatal(err)
	}
	ended, err := redistest.Spawn(cmd)
	if err != nil {
		c.t.Fatal(err)
	}
	addr, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		c.t.Fatalf("a node says nothing: %v", err)
	}
	n := &node{
		name: fmt.Sprint("node", c.started), list: set.List, url: "http://" + strings.TrimSpace(addr), http: c.http, process: cmd.Process,
		in: in, say: func(s string) error { _, err := io.WriteString(in, s+"\n"); return err },
		ended: ended, later: make(chan struct{}, 256),
	}
	go func() {
		<-ended
		if !n.gone.Load() {
			c.t.Errorf("%s has ended by itself", n.name)
		}
	}()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.nodes = append(c.nodes, n)
	return n
}

// remove takes a node off the list, before or after it ends.
func (c *cluster) remove(n *node) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.nodes = slices.DeleteFunc(c.nodes, func(m *node) bool { return m == n })
}

// kill ends a node as kill -9 does.
func (c *cluster) kill(n *node) {
	n.gone.Store(true)
	_ = n.process.Kill()
	<-n.ended
	c.remove(n)
}

// leave has a node go in good order, still asked until it is gone.
func (c *cluster) leave(n *node) {
	c.t.Helper()
	n.gone.Store(true)
	if err := n.say("leave"); err != nil {
		c.t.Error(err)
	}
	select {
	case <-n.ended:
	case <-time.After(patience):
		c.t.Errorf("%s does not leave", n.name)
		_ = n.process.Kill()
	}
	c.remove(n)
}

func (n *node) is(s condition) bool { return n.state.Load() == int32(s) }

func (n *node) pause() {
	n.state.Store(int32(paused))
	_ = n.process.Signal(syscall.SIGSTOP)
}

func (n *node) resume() {
	_ = n.process.Signal(syscall.SIGCONT)
	n.state.Store(int32(well))
}

// wire changes the network between the node and Redis.
func (c *cluster) wire(n *node, m wireMode) {
	c.t.Helper()
	if m != whole {
		n.state.Store(int32(ill))
	}
	if _, err := ask[struct{}](n, "wire", m); err != nil {
		c.t.Error(err)
	}
	if m == whole {
		n.state.Store(int32(well))
	}
}

func (c *cluster) all() []*node {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return slices.Clone(c.nodes)
}

// pick returns a node at random that is well, and now and then one whose network fails.
func (c *cluster) pick() *node {
	nodes := c.all()
	for {
		n := nodes[rand.IntN(len(nodes))]
		if n.is(well) || n.is(ill) && rand.IntN(16) == 0 {
			return n
		}
	}
}

// get shows a token to the guarded route.
func (n *node) get(raw string) auth.Code {
	r, err := http.NewRequest(http.MethodGet, n.url+"/guarded", nil)
	if err != nil {
		return auth.Internal
	}
	r.Header.Set("Authorization", "Bearer "+raw)
	res, err := n.http.Do(r)
	if err != nil {
		return history.Unanswered
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode == http.StatusNoContent {
		return ""
	}
	var problem struct{ Code auth.Code }
	if err := json.NewDecoder(res.Body).Decode(&problem); err != nil {
		return history.Unanswered
	}
	if problem.Code == "" {
		return auth.Internal
	}
	return problem.Code
}

// ask puts a question to one of a node's endpoints.
func ask[Out any](n *node, what string, in any) (out Out, err error) {
	body, err := json.Marshal(in)
	if err != nil {
		return out, err
	}
	res, err := n.http.Post(n.url+"/"+what, "application/json", bytes.NewReader(body))
	if err != nil {
		return out, err
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(res.Body)
		return out, fmt.Errorf("%s: %s: %s: %s", n.name, what, res.Status, bytes.TrimSpace(text))
	}
	return out, json.NewDecoder(res.Body).Decode(&out)
}
