package redisonetime_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/auth/onetime/redisonetime"
	"github.com/doorward/doorward/internal/redistest"
	"github.com/doorward/doorward/middleware"
)

// nodeRedis makes the test binary a node over this Redis.
const nodeRedis = "DOORWARD_TEST_NODE_REDIS"

func TestMain(m *testing.M) {
	if addr := os.Getenv(nodeRedis); addr != "" {
		if err := serve(addr); err != nil {
			_, _ = fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// serve is a node: it redeems the token in the body, until its standard input ends.
func serve(addr string) error {
	store, err := redisonetime.New(redisonetime.Config{Client: redis.NewClient(&redis.Options{Addr: addr}), Timeout: 10 * time.Second})
	if err != nil {
		return err
	}
	k, err := newReset(store, "hash-1")
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(l.Addr())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	return http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err == nil {
			_, err = k.Redeem(r.Context(), string(body))
		}
		if err != nil {
			middleware.WriteError(w, r, err)
		}
	}))
}

// startNode runs a process of its own, the test binary once more, and returns its URL.
func startNode(t *testing.T, s *redistest.Server) string {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), nodeRedis+"="+s.Addr())
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe() // it ends with this process, however that ends
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait()
	})
	addr, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("the node says nothing: %v", err)
	}
	return "http://" + strings.TrimSpace(addr)
}

// ATK-J23: 50 tries of one token at once, over three processes and one Redis: one success.
func TestProcesses_ATK_J23(t *testing.T) {
	server := redistest.Start(t)
	nodes := []string{startNode(t, server), startNode(t, server), startNode(t, server)}
	k := reset(t, server.Client(), "hash-1")
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 32}}
	rounds := 50
	if testing.Short() {
		rounds = 5
	}
	for round := range rounds {
		link, err := k.Issue(t.Context(), "acme", "ann", struct{}{})
		if err != nil {
			t.Fatal(err)
		}
		statuses := make([]int, 50)
		var all sync.WaitGroup
		for i := range statuses {
			all.Go(func() {
				res, err := client.Post(nodes[(round+i)%3], "text/plain", strings.NewReader(link.Token.Reveal()))
				if err != nil {
					t.Error(err)
					return
				}
				_, _ = io.Copy(io.Discard, res.Body)
				_ = res.Body.Close()
				statuses[i] = res.StatusCode
			})
		}
		all.Wait()
		count := map[int]int{}
		for _, status := range statuses {
			count[status]++
		}
		if count[http.StatusOK] != 1 || count[auth.TokenInvalid.Status()] != 49 {
			t.Fatalf("round %d: got %v, expected one 200 and 49 times 401", round, count)
		}
	}
}
