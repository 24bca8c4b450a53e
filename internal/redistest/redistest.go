// Package redistest starts Redis servers for tests and makes them fail.
//
// Each server is a process of its own on a free loopback port, in a directory of its own; the test's
// end removes it all. It does not own assertions, and it never talks to a server that it did not start.
package redistest

import (
	"bufio"
	"context"
	"crypto/tls"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// required is the environment variable that turns a missing server from a skipped test into a failed
// one: it is set to "required" where the servers must be there, such as in CI.
const required = "DOORWARD_TEST_SERVERS"

// patience is how long a server may take for anything. It is long, because machines are slow at times.
const patience = 60 * time.Second

// Parallel has so many parallel tests run at once, unless the command line says how many: with servers they wait more than
// they work. It is for a TestMain.
func Parallel(n int) {
	if err := flag.Set("test.parallel", strconv.Itoa(n)); err != nil {
		panic(err)
	}
}

// A Server is a Redis process.
type Server struct {
	t     testing.TB
	dir   string
	port  int
	args  []string
	tls   *tls.Config // nil for plain TCP
	watch string      // a sentinel's configuration, "" for a server with data
	admin *redis.Client
	cmd   *exec.Cmd
	ended <-chan struct{}
	said  *strings.Builder // read only after ended
}

// Start runs redis-server with these arguments, for example "--maxmemory", "2mb", and waits until it
// answers. It saves nothing to disk on its own. Without an installed redis-server the test is skipped,
// or fails when DOORWARD_TEST_SERVERS=required.
func Start(t testing.TB, args ...string) *Server {
	t.Helper()
	return start(&Server{t: t, args: args})
}

// start fills in and runs s, of which everything else is set.
func start(s *Server) *Server {
	t := s.t
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		if os.Getenv(required) == "required" {
			t.Fatalf("redis-server is not installed, and %s=required: %v", required, err)
		}
		t.Skip("needs redis-server, which is not installed")
	}
	if s.dir == "" {
		s.dir = t.TempDir()
	}
	t.Cleanup(s.Kill)
	for range 5 { // a free port may be taken by someone else before the server has it
		s.port = freePort(t)
		s.writeConfig()
		if s.run() {
			s.admin = s.Client(func(o *redis.Options) { o.PoolSize = 1; o.ContextTimeoutEnabled = true })
			return s
		}
	}
	t.Fatalf("redis-server does not start: %s", s.said)
	return nil
}

// StartReplica runs a replica of master and waits until it has the master's data.
func StartReplica(t testing.TB, master *Server, args ...string) *Server {
	t.Helper()
	s := Start(t, append([]string{"--replicaof", "127.0.0.1", fmt.Sprint(master.port)}, args...)...)
	s.WaitSynced()
	return s
}

// WaitSynced waits until the server, a replica, has a live link to its master.
func (s *Server) WaitSynced() {
	s.t.Helper()
	Eventually(s.t, func() error {
		if info := s.Do("INFO", "replication").(string); !strings.Contains(info, "master_link_status:up") {
			return fmt.Errorf("the replica is not in step: %s", info)
		}
		return nil
	})
}

// Addr is the server's host:port.
func (s *Server) Addr() string { return fmt.Sprint("127.0.0.1:", s.port) }

// Client returns a client of the server, with go-redis's defaults and what edit changes.
func (s *Server) Client(edit ...func(*redis.Options)) *redis.Client {
	o := &redis.Options{Addr: s.Addr(), TLSConfig: s.TLS()}
	for _, e := range edit {
		e(o)
	}
	c := redis.NewClient(o)
	s.t.Cleanup(func() { _ = c.Close() })
	return c
}

// Do runs a command, past any proxy, and fails the test on an error.
func (s *Server) Do(args ...any) any {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	v, err := s.admin.Do(ctx, args...).Result()
	if err != nil && err != redis.Nil {
		s.t.Fatalf("%v: %v", args, err)
	}
	return v
}

// Save writes the snapshot that a later Restart begins with.
func (s *Server) Save() { s.t.Helper(); s.Do("SAVE") }

// Forget removes the snapshot: a later Restart begins with nothing.
func (s *Server) Forget() {
	s.t.Helper()
	if err := os.Remove(filepath.Join(s.dir, "dump.rdb")); err != nil && !os.IsNotExist(err) {
		s.t.Fatal(err)
	}
}

// Kill ends the process as kill -9 does. It is no error when it has ended before.
func (s *Server) Kill() {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Kill()
	<-s.ended
	s.cmd = nil
}

// Stop ends the process in good order. What was not saved is lost: it has no save points.
func (s *Server) Stop() {
	s.t.Helper()
	if err := s.cmd.Process.Signal(os.Interrupt); err != nil {
		s.t.Fatal(err)
	}
	<-s.ended
	s.cmd = nil
}

// Restart runs the server again, on the same port and with the snapshot as it is.
func (s *Server) Restart() {
	s.t.Helper()
	s.Kill()
	if !s.run() {
		s.t.Fatalf("redis-server does not start again: %s", s.said)
	}
}

// Pause stops the process without ending it: its connections stay open, and nothing answers.
func (s *Server) Pause() { s.t.Helper(); s.signal(stop) }

// Resume lets a paused process go on.
func (s *Server) Resume() { s.t.Helper(); s.signal(cont) }

func (s *Server) signal(sig os.Signal) {
	s.t.Helper()
	if sig == nil {
		s.t.Skip("needs SIGSTOP, which this system does not have")
	}
	if err := s.cmd.Process.Signal(sig); err != nil {
		s.t.Fatal(err)
	}
}

// run starts the process and says whether it answers.
func (s *Server) run() bool {
	args := append([]string{
		"--port", fmt.Sprint(s.port), "--bind", "127.0.0.1", "--dir", s.dir,
		"--save", "", "--appendonly", "no", "--repl-diskless-sync-delay", "0", "--enable-debug-command", "local",
	}, s.args...)
	if s.tls != nil {
		args[0] = "--tls-port"
		args = append(args, "--port", "0")
	}
	if s.watch != "" {
		args = []string{s.config(), "--sentinel"}
	}
	s.cmd, s.said = exec.Command("redis-server", args...), new(strings.Builder)
	s.cmd.Stdout, s.cmd.Stderr = s.said, s.said
	var err error
	if s.ended, err = Spawn(s.cmd); err != nil {
		s.cmd = nil
		s.t.Fatalf("redis-server: %v", err)
	}
	deadline := time.After(patience)
	for !s.answers() {
		select {
		case <-s.ended:
			return false
		case <-deadline:
			s.Kill()
			return false
		case <-time.After(5 * time.Millisecond):
		}
	}
	// Somebody else's server may answer at a port that ours could not get.
	select {
	case <-s.ended:
		return false
	default:
		return true
	}
}

// Spawn starts a process that the kernel ends with this one, also with a panic or a timeout of package testing,
// which run no Cleanup. The channel is closed when it has ended.
func Spawn(cmd *exec.Cmd) (ended <-chan struct{}, err error) {
	cmd.SysProcAttr = dieWithParent()
	started, done := make(chan error), make(chan struct{})
	go func() {
		// The order to die with its parent counts from the thread that starts the process, so that thread
		// is kept until the end (golang.org/issue/27505).
		runtime.LockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait()
		}
		close(done)
	}()
	return done, <-started
}

// answers says whether a server is there and has loaded its data.
func (s *Server) answers() bool {
	c, err := net.DialTimeout("tcp", s.Addr(), time.Second)
	if err != nil {
		return false
	}
	if s.tls != nil {
		c = tls.Client(c, s.TLS())
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(time.Second))
	if _, err := c.Write([]byte("PING\r\n")); err != nil {
		return false
	}
	line, err := bufio.NewReader(c).ReadString('\n')
	return err == nil && !strings.HasPrefix(line, "-LOADING")
}

func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port
}

// Eventually asks until the answer is nil, and fails the test when it never is.
func Eventually(t testing.TB, ask func() error) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := ask()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after %v: %v", patience, err)
		}
		<-time.After(10 * time.Millisecond)
	}
}

// Settle makes the epoch of a list with this prefix look old, so that a test about something else does not wait: the first
// calls that end something in a new epoch wait for leases of an earlier one. The list must have begun it.
func Settle(ctx context.Context, client redis.UniversalClient, prefix string) error {
	const script = "#!lua flags=allow-oom\nreturn redis.call('HSET', KEYS[1], 'at', 1)"
	return client.Eval(ctx, script, []string{"{" + prefix + "}:epoch"}).Err()
}
