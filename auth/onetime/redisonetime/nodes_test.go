package redisonetime_test

import (
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/auth/onetime/redisonetime"
	"github.com/doorward/doorward/internal/nodetest"
	"github.com/doorward/doorward/internal/redistest"
	"github.com/doorward/doorward/middleware"
)

// nodeRedis is the Redis of a node.
const nodeRedis = "DOORWARD_TEST_NODE_REDIS"

func TestMain(m *testing.M) { nodetest.Main(m, node) }

// node redeems the token in the body.
func node() (http.Handler, error) {
	store, err := redisonetime.New(redisonetime.Config{Client: redis.NewClient(&redis.Options{Addr: os.Getenv(nodeRedis)}), Timeout: 10 * time.Second})
	if err != nil {
		return nil, err
	}
	k, err := newReset(store, "hash-1")
	if err != nil {
		return nil, err
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err == nil {
			_, err = k.Redeem(r.Context(), string(body))
		}
		if err != nil {
			middleware.WriteError(w, r, err)
		}
	}), nil
}

// ATK-J23: 50 tries of one token at once, over three processes and one Redis: one success.
func TestProcesses_ATK_J23(t *testing.T) {
	server := redistest.Start(t)
	redisOf := nodeRedis + "=" + server.Addr()
	nodes := []string{nodetest.Start(t, redisOf), nodetest.Start(t, redisOf), nodetest.Start(t, redisOf)}
	k := reset(t, server.Client(), "hash-1")
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 32}}
	rounds := 50
	if testing.Short() {
		rounds = 5
	}
	for round := range rounds {
		link, err := k.Issue(t.Context(), "ann", struct{}{}, 0)
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
