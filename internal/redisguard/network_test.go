package redisguard_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doorward/doorward/internal/redisguard"
)

// serve answers each command with what reply says of its name, in lower case; "" is never, and "close" the end.
func serve(conn net.Conn, reply func(name string) string) {
	defer func() { _ = conn.Close() }()
	in := bufio.NewReader(conn)
	length := func() int {
		line, _ := in.ReadString('\n')
		n, _ := strconv.Atoi(strings.TrimSpace(strings.TrimLeft(line, "*$")))
		return n
	}
	for {
		args := make([]string, length())
		for i := range args {
			b := make([]byte, length()+2)
			if _, err := io.ReadFull(in, b); err != nil {
				return
			}
			args[i] = string(b[:len(b)-2])
		}
		if len(args) == 0 {
			return
		}
		answer := reply(strings.ToLower(args[0]))
		if answer == "close" {
			return
		}
		if _, err := io.WriteString(conn, answer); err != nil {
			return
		}
	}
}

// handshake refuses what a connection begins with, which go-redis takes for an old Redis, and gives the
// script's command what is left.
func handshake(script string) func(string) string {
	return func(name string) string {
		if name == "evalsha" {
			return script
		}
		return "-ERR unknown command\r\n"
	}
}

// network makes a client of default options, but for edit, to a server behind pipes.
func network(reply func(string) string, edit func(*redis.Options)) *redis.Client {
	o := &redis.Options{Addr: "127.0.0.1:1", Dialer: func(context.Context, string, string) (net.Conn, error) {
		here, there := net.Pipe()
		go serve(there, reply)
		return here, nil
	}}
	if edit != nil {
		edit(o)
	}
	return redis.NewClient(o)
}

// unread is a network that takes nothing.
func unread(o *redis.Options) {
	o.Dialer = func(context.Context, string, string) (net.Conn, error) {
		here, _ := net.Pipe()
		return here, nil
	}
}

// ATK-D02: whatever a network does, and whatever the client's own timeouts and retries are, an answer takes no
// longer than the guard's deadline. There is no real clock here, so no longer is exact.
func TestDeadline_ATK_D02_Network(t *testing.T) {
	never := make(chan struct{})
	for _, c := range []struct {
		name  string
		reply func(string) string
		edit  func(*redis.Options)
	}{
		{"nobody answers", func(string) string { return "" }, nil},
		{"the handshake is answered, the command never", handshake(""), nil},
		{"half an answer", handshake("*2\r\n:1\r\n"), nil},
		{"a dial that never ends", nil, func(o *redis.Options) {
			o.Dialer = func(context.Context, string, string) (net.Conn, error) { <-never; return nil, io.EOF }
		}},
		{"dials that fail, again and again", nil, func(o *redis.Options) {
			o.DialerRetries, o.MaxRetries = 1000, 1000
			o.Dialer = func(context.Context, string, string) (net.Conn, error) { return nil, io.EOF }
		}},
		{"connections that break, again and again", handshake("close"), func(o *redis.Options) { o.MaxRetries = 1000 }},
		{"nobody reads", nil, unread},
		{"no socket timeouts", handshake(""), func(o *redis.Options) { o.ReadTimeout, o.WriteTimeout = -1, -1 }},
		{"no deadline to read by", handshake(""), func(o *redis.Options) { o.ReadTimeout, o.WriteTimeout = -2, time.Second }},
		{"no deadline to write by, and nobody reads", nil, func(o *redis.Options) {
			unread(o)
			o.ReadTimeout, o.WriteTimeout = time.Second, -2
		}},
		{"a password that never comes", handshake("*0\r\n"), func(o *redis.Options) {
			o.CredentialsProvider = func() (string, string) { <-never; return "", "" }
		}},
		{"a password that never comes, whatever the context says", handshake("*0\r\n"), func(o *redis.Options) {
			o.CredentialsProviderContext = func(context.Context) (string, string, error) { <-never; return "", "", nil }
		}},
		{"OnConnect", handshake("*0\r\n"), func(o *redis.Options) {
			o.OnConnect = func(context.Context, *redis.Conn) error { <-never; return nil }
		}},
		{"a limiter", handshake("*0\r\n"), func(o *redis.Options) { o.Limiter = limiter(never) }},
	} {
		for _, direct := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, ContextTimeoutEnabled %t", c.name, direct), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					stop := make(chan struct{})
					never = stop // of this bubble
					client := network(c.reply, func(o *redis.Options) {
						o.ContextTimeoutEnabled = direct
						if c.edit != nil {
							c.edit(o)
						}
					})
					g := of(t, client)
					t.Cleanup(func() { close(stop) })
					for range 3 {
						before := time.Now()
						if err := run(t, g); !errors.Is(err, redisguard.ErrMissed) {
							t.Errorf("got %v", err)
						}
						if took := time.Since(before); took > timeout {
							t.Errorf("it took %v, want %v at most", took, timeout)
						}
					}
				})
			})
		}
	}
}

type limiter chan struct{}

func (l limiter) Allow() error     { <-l; return nil }
func (limiter) ReportResult(error) {}

// A pool whose connections others have taken is waited for no longer than the deadline. In real time, because go-redis
// keeps the timers of its pools for the whole process.
func TestDeadline_ATK_D02_Pool(t *testing.T) {
	for _, direct := range []bool{false, true} {
		taken := make(chan struct{})
		client := network(func(name string) string {
			if name == "blpop" { // somebody else of the application
				close(taken)
				return ""
			}
			return handshake("*0\r\n")(name)
		}, func(o *redis.Options) { o.PoolSize, o.PoolTimeout, o.ContextTimeoutEnabled = 1, time.Hour, direct })
		g, err := redisguard.New("test", client, "", timeout)
		if err != nil {
			t.Fatal(err)
		}
		var all sync.WaitGroup
		all.Go(func() { client.BLPop(context.Background(), time.Hour, "k") })
		<-taken
		before := time.Now()
		if err := run(t, g); !errors.Is(err, redisguard.ErrMissed) || time.Since(before) > 50*timeout {
			t.Errorf("got %v after %v", err, time.Since(before))
		}
		_ = client.Close()
		all.Wait()
	}
}

// The tests above show something: the client alone keeps no such deadline.
func TestDeadline_NotTheClients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := network(handshake(""), nil)
		ctx, cancel := context.WithTimeout(t.Context(), timeout)
		defer cancel()
		before := time.Now()
		if err := script.Run(ctx, client, nil).Err(); time.Since(before) <= timeout {
			t.Errorf("got %v after %v", err, time.Since(before))
		}
		_ = client.Close()
		time.Sleep(time.Hour)
	})
}

// Goroutines are kept for the commands that come, as many as are under way at once, and go when none come.
func TestWorkers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := guard(t, false, func(ctx context.Context, cmd redis.Cmder) error {
			time.Sleep(timeout / 10)
			return answer(ctx, cmd)
		})
		burst := func(n int) {
			var wait sync.WaitGroup
			for range n {
				wait.Go(func() {
					if err := run(t, g); err != nil {
						t.Error(err)
					}
				})
			}
			wait.Wait()
			synctest.Wait()
		}
		running := func(what string, want int) {
			t.Helper()
			stacks := make([]byte, 1<<20)
			stacks = stacks[:runtime.Stack(stacks, true)]
			if got := strings.Count(string(stacks), "redisguard.(*Guard).work("); got > want {
				t.Errorf("%s: %d workers, expected %d at most", what, got, want)
			}
		}
		for range 3 {
			burst(20)
			running("after 20 at once", 20)
		}
		for range 100 { // ten deadlines of one after the other
			burst(1)
		}
		running("after many, one at a time", 1)
		time.Sleep(2 * timeout)
		synctest.Wait()
		running("after none", 0)
		burst(1)
	})
}
