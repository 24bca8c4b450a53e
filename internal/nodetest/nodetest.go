// Package nodetest makes of a test binary a server in a process of its own, for tests that need several.
//
// It does not own what such a node does, nor what the nodes share.
package nodetest

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// marker in the environment makes the test binary a node.
const marker = "DOORWARD_TEST_NODE"

// Main is for TestMain. It runs the tests; or, in a process that [Start] began, it serves what node returns, on a free loopback
// port, until the process that began it ends.
func Main(m *testing.M, node func() (http.Handler, error)) {
	if os.Getenv(marker) == "" {
		os.Exit(m.Run())
	}
	handler, err := node()
	if err == nil {
		var l net.Listener
		if l, err = net.Listen("tcp", "127.0.0.1:0"); err == nil {
			fmt.Println(l.Addr())
			go func() {
				_, _ = io.Copy(io.Discard, os.Stdin)
				os.Exit(0)
			}()
			err = http.Serve(l, handler)
		}
	}
	_, _ = fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// Start runs the test binary once more, as a node that finds these settings, each "NAME=value", in its environment. It returns the
// node's URL, without a slash at its end. The node ends with the test.
func Start(t testing.TB, settings ...string) string {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(append(os.Environ(), marker+"=1"), settings...)
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
