//go:build linux

package promise_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/internal/history"
	"github.com/doorward/doorward/internal/redistest"
	"github.com/doorward/doorward/middleware"
	"github.com/doorward/doorward/tokens"
)

const (
	nodeSetup = "DOORWARD_TEST_NODE" // makes the test binary a node, as this setup says
	flawed    = "DOORWARD_TEST_FLAW" // names the rule that a node is to break, in a binary that was built with flaws
	issuer    = "https://api.example.com"
)

// A setup is what a node is told at its start.
type setup struct {
	List      string   // see openList
	Addr      string   // of the Redis, or
	Sentinels []string // of those who know it
	Replicas  int      // that the Redis has
	Flaw      string   // see flawed
}

// A mintage asks a node for a token.
type mintage struct {
	Subject, Session string
	Version          int64
}

// A minted token, and the id that the node gave it.
type minted struct{ Raw, ID string }

// A call asks a node to end something.
type call struct {
	What   []auth.Revocation
	Within time.Duration
}

// A result is how that went.
type result struct {
	Outcome history.Outcome
	Why     string
}

// A status is how a node is.
type status struct {
	Checks int64 // that it has sent to Redis
	Leased bool  // it answers from memory
}

// server is a node: an ordinary program with a guarded route, and a way for the test to have it end and mint
// things and lose its network.
type server struct {
	list   list
	tokens *tokens.Tokens
	wire   wire
}

// serve runs a node until its standard input ends, which is at once, or says that it is to leave in good order.
func serve(text string) error {
	var set setup
	if err := json.Unmarshal([]byte(text), &set); err != nil {
		return err
	}
	slog.SetDefault(slog.New(slog.DiscardHandler)) // every refusal in an outage is a line
	s := new(server)
	client := s.wire.client(set)
	var err error
	if s.list, err = openList(set, client); err != nil {
		return err
	}
	s.tokens, err = tokens.New(tokens.Config{
		Keys: tokens.NewKeyring(tokens.FromSecret([]byte("0123456789abcdefghijklmnopqrstuv"))), Issuer: issuer, Audience: "app", List: s.list,
	})
	if err != nil {
		return err
	}
	guard := middleware.RequireAuth(auth.Bearer(s.tokens))
	mux := http.NewServeMux()
	mux.Handle("GET /guarded", guard(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })))
	mux.Handle("POST /mint", endpoint(s.mint))
	mux.Handle("POST /revoke", endpoint(s.revoke))
	mux.Handle("POST /wire", endpoint(func(_ context.Context, m wireMode) (struct{}, error) { s.wire.set(m); return struct{}{}, nil }))
	mux.Handle("POST /status", endpoint(s.status))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	h := &http.Server{Handler: mux}
	left := make(chan error, 1)
	go func() {
		in := bufio.NewScanner(os.Stdin)
		if !in.Scan() {
			os.Exit(0)
		}
		// The list is closed while requests come in, as in a program that shuts down in a careless order.
		err := s.list.Close()
		_ = h.Shutdown(context.Background())
		left <- err
	}()
	fmt.Println(l.Addr())
	if err := h.Serve(l); err != http.ErrServerClosed {
		return err
	}
	return <-left
}

// endpoint turns f into a handler of JSON. An error is 500, its text the body.
func endpoint[In, Out any](f func(context.Context, In) (Out, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var in In
		err := json.NewDecoder(r.Body).Decode(&in)
		var out Out
		if err == nil {
			out, err = f(r.Context(), in)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		_ = json.NewEncoder(w).Encode(out)
	})
}

// mint makes tokens. They state nothing that somebody else could have changed meanwhile: see life.
func (s *server) mint(ctx context.Context, asked []mintage) (made []minted, err error) {
	stamp, err := s.tokens.Stamp(ctx)
	if err != nil {
		return nil, err
	}
	for _, m := range asked {
		raw, _, err := s.tokens.Issue(stamp, &auth.Principal{Subject: m.Subject, Session: m.Session, Version: m.Version})
		if err != nil {
			return nil, err
		}
		u, err := tokens.DecodeUnverified(raw)
		if err != nil {
			return nil, err
		}
		made = append(made, minted{raw, u.TokenID})
	}
	return made, nil
}

func (s *server) revoke(ctx context.Context, c call) (result, error) {
	ctx, cancel := context.WithTimeout(ctx, c.Within)
	defer cancel()
	return outcomeOf(s.list.Revoke(ctx, c.What...)), nil
}

func (s *server) status(context.Context, struct{}) (status, error) {
	return status{s.wire.checks.Load(), s.list.leased()}, nil
}

// A wire is the network between this node and Redis.
type wire struct {
	mode   atomic.Int32
	checks atomic.Int64
}

type wireMode int32

const (
	whole    wireMode = iota
	cut               // nothing comes through
	halfOpen          // requests come through, answers do not
)

func (w *wire) set(m wireMode) { w.mode.Store(int32(m)) }

func (w *wire) is(m wireMode) bool { return w.mode.Load() == int32(m) }

// client returns a client over the wire.
func (w *wire) client(set setup) redis.UniversalClient {
	dial := func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return &conn{Conn: c, wire: w}, nil
	}
	var c *redis.Client
	if len(set.Sentinels) > 0 {
		c = redis.NewFailoverClient(&redis.FailoverOptions{
			MasterName: redistest.MasterName, SentinelAddrs: set.Sentinels, Dialer: dial, DialTimeout: time.Second, ReadTimeout: 2 * time.Second, PoolSize: 64,
		})
	} else {
		c = redis.NewClient(&redis.Options{Addr: set.Addr, Dialer: dial, DialTimeout: time.Second, ReadTimeout: 2 * time.Second, PoolSize: 64})
	}
	c.AddHook(w)
	return c
}

func (w *wire) DialHook(next redis.DialHook) redis.DialHook { return next }

// ProcessHook counts checks: while nothing is ended, they alone name a subject.
func (w *wire) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if slices.ContainsFunc(cmd.Args(), func(a any) bool { s, _ := a.(string); return strings.HasPrefix(s, "{dw}:v:") }) {
			w.checks.Add(1)
		}
		return next(ctx, cmd)
	}
}

func (w *wire) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// A conn loses what the wire loses. What follows a loss would be out of step, so the connection is over when the wire is
// whole again; until then it is silent, as a network is that drops packets.
type conn struct {
	net.Conn
	wire  *wire
	lossy atomic.Bool
}

func (c *conn) Write(b []byte) (int, error) {
	switch {
	case c.wire.is(cut):
		c.lossy.Store(true)
		return len(b), nil
	case c.lossy.Load() && c.wire.is(whole):
		return 0, net.ErrClosed
	}
	return c.Conn.Write(b)
}

func (c *conn) Read(b []byte) (int, error) {
	for {
		n, err := c.Conn.Read(b)
		switch {
		case err != nil:
			return n, err
		case !c.wire.is(whole):
			c.lossy.Store(true)
			continue
		case c.lossy.Load():
			return 0, net.ErrClosed
		}
		return n, nil
	}
}
