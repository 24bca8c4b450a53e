package redisguard_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/doorward/doorward/internal/redisguard"
	"github.com/doorward/doorward/internal/redistest"
)

// closed returns an address that refuses connections.
func closed(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// silent returns the address of a listener whose connections nobody reads.
func silent(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l.Addr().String()
}

// An error of an outage names the address and the cause, the first one too, and for a client that keeps deadlines itself as for
// one that does not. Issue 9, section 3: "connection refused", not "no answer in time".
func TestErrors_NameAddressAndCause(t *testing.T) {
	const secret = "hunter2-is-the-password"
	a, b, hole := closed(t), closed(t), silent(t)
	protected := redistest.Start(t, "--requirepass", "other")
	replica := redistest.StartReplica(t, redistest.Start(t))
	wrong := redistest.Start(t)
	wrong.Do("SET", "{dw}:k", "text")
	for _, test := range []struct {
		name   string // "Sentinel": go-redis asks one for two seconds before it says so
		client func(direct bool) redis.UniversalClient
		script string
		is     error
		says   []string
	}{
		{"closed port", func(direct bool) redis.UniversalClient {
			return redis.NewClient(&redis.Options{Addr: a, Password: secret, ContextTimeoutEnabled: direct})
		}, "", syscall.ECONNREFUSED, []string{"Redis at " + a + ": ", "connection refused"}},
		{"URL with a password", func(direct bool) redis.UniversalClient {
			o, err := redis.ParseURL("redis://ann:" + secret + "@" + a)
			if err != nil {
				t.Fatal(err)
			}
			o.ContextTimeoutEnabled = direct
			return redis.NewClient(o)
		}, "", syscall.ECONNREFUSED, []string{"Redis at " + a + ": ", "connection refused"}},
		{"Unix socket that is not there", func(direct bool) redis.UniversalClient {
			return redis.NewClient(&redis.Options{Network: "unix", Addr: "/nowhere/redis.sock", ContextTimeoutEnabled: direct})
		}, "", syscall.ENOENT, []string{"Redis at /nowhere/redis.sock: ", "no such file"}},
		{"no such host", func(direct bool) redis.UniversalClient {
			return redis.NewClient(&redis.Options{Addr: "redis.invalid:6379", ContextTimeoutEnabled: direct, Dialer: func(context.Context, string, string) (net.Conn, error) {
				return nil, &net.OpError{Op: "dial", Net: "tcp", Err: &net.DNSError{Err: "no such host", Name: "redis.invalid"}}
			}})
		}, "", nil, []string{"Redis at redis.invalid:6379: ", "no such host"}},
		{"black hole", func(direct bool) redis.UniversalClient {
			return redis.NewClient(&redis.Options{Addr: hole, ContextTimeoutEnabled: direct})
		}, "", redisguard.ErrMissed, []string{"Redis at " + hole + ": ", "no answer in time"}},
		{"packets are dropped", func(direct bool) redis.UniversalClient {
			return redis.NewClient(&redis.Options{Addr: "192.0.2.1:6379", ContextTimeoutEnabled: direct, Dialer: func(ctx context.Context, _, _ string) (net.Conn, error) {
				<-ctx.Done()
				return nil, ctx.Err()
			}})
		}, "", redisguard.ErrMissed, []string{"Redis at 192.0.2.1:6379: ", "no answer in time"}},
		{"TLS, which nobody speaks there", func(direct bool) redis.UniversalClient {
			return redis.NewClient(&redis.Options{Addr: protected.Addr(), ContextTimeoutEnabled: direct, TLSConfig: &tls.Config{}}) //nolint:gosec
		}, "", redisguard.ErrMissed, []string{"Redis at " + protected.Addr() + ": ", "still connecting"}},
		{"wrong password", func(direct bool) redis.UniversalClient {
			return redis.NewClient(&redis.Options{Addr: protected.Addr(), Password: secret, ContextTimeoutEnabled: direct})
		}, "", nil, []string{"Redis at " + protected.Addr() + ": ", "WRONGPASS"}},
		{"no password", func(direct bool) redis.UniversalClient {
			return redis.NewClient(&redis.Options{Addr: protected.Addr(), ContextTimeoutEnabled: direct})
		}, "", nil, []string{"Redis at " + protected.Addr() + ": ", "NOAUTH"}},
		{"replica", func(direct bool) redis.UniversalClient {
			// By default go-redis repeats this and LOADING three times within some 100 ms, and says nothing of it meanwhile.
			return redis.NewClient(&redis.Options{Addr: replica.Addr(), ContextTimeoutEnabled: direct, MaxRetries: -1})
		}, "redis.call('SET', '{dw}:k', 1)", nil, []string{"Redis at " + replica.Addr() + ": ", "READONLY"}},
		{"wrong type", func(direct bool) redis.UniversalClient {
			return redis.NewClient(&redis.Options{Addr: wrong.Addr(), ContextTimeoutEnabled: direct})
		}, "redis.call('HGET', '{dw}:k', 'f')", nil, []string{"Redis at " + wrong.Addr() + ": ", "WRONGTYPE"}},
		{"loading", func(direct bool) redis.UniversalClient {
			return redis.NewClient(&redis.Options{Addr: wrong.Addr(), ContextTimeoutEnabled: direct, MaxRetries: -1})
		}, "return redis.error_reply('LOADING Redis is loading the dataset in memory')", nil, []string{"Redis at " + wrong.Addr() + ": ", "LOADING"}},
		{"Cluster", func(direct bool) redis.UniversalClient {
			return redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{a, b}, Password: secret, ContextTimeoutEnabled: direct})
		}, "", syscall.ECONNREFUSED, []string{"Redis Cluster at " + a + ", " + b + ": ", "connection refused"}},
		{"Sentinel", func(direct bool) redis.UniversalClient {
			return redis.NewFailoverClient(&redis.FailoverOptions{
				MasterName: "m", SentinelAddrs: []string{a, b}, Password: secret, SentinelPassword: secret, ContextTimeoutEnabled: direct,
			})
		}, "", syscall.ECONNREFUSED, []string{"Redis behind Sentinel: ", a, b, "connection refused"}},
		{"Sentinel, addresses that are URLs", func(direct bool) redis.UniversalClient {
			return redis.NewFailoverClient(&redis.FailoverOptions{
				MasterName: "m", SentinelAddrs: []string{"redis://ann:" + secret + "@" + a}, ContextTimeoutEnabled: direct,
			})
		}, "", redisguard.ErrMissed, []string{"Redis behind Sentinel: ", "...@" + a}},
	} {
		for _, direct := range []bool{false, true} {
			t.Run(test.name+map[bool]string{true: ", ContextTimeoutEnabled"}[direct], func(t *testing.T) {
				t.Parallel()
				client := test.client(direct)
				defer func() { _ = client.Close() }()
				g, err := redisguard.New("test", client, "", 3*timeout)
				if err != nil {
					t.Fatal(err)
				}
				script := redis.NewScript(test.script)
				check := func(when string, err error) error {
					switch {
					case err == nil:
						return fmt.Errorf("%s: no error", when)
					case test.is != nil && !errors.Is(err, test.is):
						return fmt.Errorf("%s: got %v, want %v in its chain", when, err, test.is)
					case strings.Contains(err.Error(), secret):
						t.Fatalf("%s: the password is in %v", when, err)
					case slices.ContainsFunc(test.says, func(s string) bool { return !strings.Contains(err.Error(), s) }):
						return fmt.Errorf("%s: got %v, want it to say %q", when, err, test.says)
					}
					return nil
				}
				_, missed := g.Run(t.Context(), script, nil)
				ctx, cancel := context.WithTimeout(t.Context(), timeout)
				defer cancel()
				_, hasty := g.Run(ctx, script, nil)
				var unasked error
				for range 8 {
					_, unasked = g.Run(t.Context(), script, nil)
				}
				if strings.HasPrefix(test.name, "Sentinel") {
					if !strings.Contains(missed.Error(), "Redis behind Sentinel: ") {
						t.Errorf("the first: got %v", missed)
					}
					redistest.Eventually(t, func() error { _, err := g.Run(t.Context(), script, nil); return check("after a while", err) })
					return
				}
				if err := errors.Join(check("at the guard's deadline", missed), check("when Redis is not asked any more", unasked)); err != nil {
					t.Error(err)
				}
				if err := check("at the caller's deadline", hasty); err != nil && errors.As(test.is, new(syscall.Errno)) {
					t.Error(err)
				}
				t.Log(missed)
			})
		}
	}
}

// What was true of an address is not told after a dial that went well, nor for long.
func TestErrors_CauseIsOfNow(t *testing.T) {
	both(t, func(t *testing.T, open func(*testing.T, fake) *redisguard.Guard) {
		down := true
		client := network(handshake("close"), func(o *redis.Options) {
			pipes := o.Dialer
			o.MaxRetries, o.DialerRetries = -1, 1
			o.Dialer = func(ctx context.Context, network, addr string) (net.Conn, error) {
				if down {
					return nil, &net.OpError{Op: "dial", Net: network, Err: syscall.ECONNREFUSED}
				}
				return pipes(ctx, network, addr)
			}
		})
		g := of(t, client)
		if err := run(t, g); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("got %v", err)
		}
		down = false
		if err := run(t, g); !errors.Is(err, redisguard.ErrMissed) || errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("a connection that breaks: got %v", err)
		}
	})
}

// A client that hangs up is told so, and nothing else.
func TestErrors_HangsUp(t *testing.T) {
	both(t, func(t *testing.T, open func(*testing.T, fake) *redisguard.Guard) {
		ctx, hangUp := context.WithCancel(t.Context())
		g := open(t, func(ctx context.Context, cmd redis.Cmder) error { hangUp(); <-ctx.Done(); return ctx.Err() })
		if _, err := g.Run(ctx, script, nil); errors.Is(err, context.Canceled) && err != context.Canceled {
			t.Errorf("got %v", err)
		}
	})
}

// An address that is a URL would stand in every error, password and all.
func TestNew_RefusesAddressWithPassword(t *testing.T) {
	for _, client := range []redis.UniversalClient{
		redis.NewClient(&redis.Options{Addr: "redis://ann:hunter2@127.0.0.1:6379"}),
		redis.NewClient(&redis.Options{Addr: "ann:hunter2@127.0.0.1:6379"}),
		redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{"127.0.0.1:1", "redis://:hunter2@127.0.0.1:6379"}}),
	} {
		if _, err := redisguard.New("test", client, "", 0); err == nil || !strings.Contains(err.Error(), "expected host:port") || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("got %v", err)
		}
		_ = client.Close()
	}
	if _, err := redisguard.New("test", redis.NewClient(&redis.Options{Network: "unix", Addr: "@redis"}), "", 0); err != nil {
		t.Errorf("an abstract socket: %v", err)
	}
}
