package redistest

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// A Proxy stands between a client and a server. It reads the requests that pass it, so that a test
// counts what went over the wire rather than what a client says of itself, and it spoils the way.
type Proxy struct {
	t        testing.TB
	target   string
	listener net.Listener
	wait     sync.WaitGroup

	mu       sync.Mutex
	mode     mode
	delay    time.Duration
	requests []string
	conns    map[*pipe]bool
	closed   chan struct{}
}

type mode int

const (
	open      mode = iota
	blackHole      // nothing comes through
	halfOpen       // requests come through, answers do not
	cut            // every connection is closed at once
)

// A pipe is one client's connection and the one behind it.
type pipe struct {
	client, server net.Conn
	lossy          bool // bytes were swallowed, so what follows would be out of step
}

func (p *pipe) close() { _ = p.client.Close(); _ = p.server.Close() }

// NewProxy returns a proxy to the server at addr, which lets everything through.
func NewProxy(t testing.TB, addr string) *Proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{t: t, target: addr, listener: l, conns: make(map[*pipe]bool), closed: make(chan struct{})}
	p.wait.Go(p.accept)
	t.Cleanup(func() {
		close(p.closed)
		_ = l.Close()
		p.set(cut, 0)
		p.wait.Wait()
	})
	return p
}

// Addr is the proxy's host:port.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Delay holds every answer back for d.
func (p *Proxy) Delay(d time.Duration) { p.set(open, d) }

// BlackHole swallows requests and answers. Connections stay open, and new ones are accepted.
func (p *Proxy) BlackHole() { p.set(blackHole, 0) }

// HalfOpen lets requests through and swallows the answers: what was asked is done, and nobody knows.
func (p *Proxy) HalfOpen() { p.set(halfOpen, 0) }

// Cut closes every connection, and each new one at once.
func (p *Proxy) Cut() { p.set(cut, 0) }

// Heal lets everything through again. Connections that lost something are closed.
func (p *Proxy) Heal() { p.set(open, 0) }

// Requests returns the names of the commands that clients sent, in upper case, since the last call.
func (p *Proxy) Requests() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.requests
	p.requests = nil
	return r
}

func (p *Proxy) set(m mode, d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mode, p.delay = m, d
	for c := range p.conns {
		if m == cut || m == open && c.lossy {
			c.close()
		}
	}
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		refuse := p.mode == cut
		p.mu.Unlock()
		if refuse {
			_ = client.Close()
			continue
		}
		server, err := net.Dial("tcp", p.target)
		if err != nil {
			_ = client.Close()
			continue
		}
		c := &pipe{client: client, server: server}
		p.mu.Lock()
		p.conns[c] = true
		if p.mode == cut {
			c.close()
		}
		p.mu.Unlock()
		p.wait.Go(func() {
			var up sync.WaitGroup
			up.Go(func() { p.up(c); c.close() })
			p.down(c)
			c.close()
			up.Wait()
			p.mu.Lock()
			delete(p.conns, c)
			p.mu.Unlock()
		})
	}
}

// up carries requests, one at a time.
func (p *Proxy) up(c *pipe) {
	r := bufio.NewReader(c.client)
	for {
		raw, name, err := readRequest(r)
		if err != nil {
			return
		}
		p.mu.Lock()
		p.requests = append(p.requests, name)
		lost := p.mode == blackHole
		c.lossy = c.lossy || lost
		p.mu.Unlock()
		if lost {
			continue
		}
		if _, err := c.server.Write(raw); err != nil {
			return
		}
	}
}

// down carries answers.
func (p *Proxy) down(c *pipe) {
	buf := make([]byte, 64<<10)
	for {
		n, err := c.server.Read(buf)
		if err != nil {
			return
		}
		p.mu.Lock()
		d := p.delay
		p.mu.Unlock()
		if d > 0 {
			select {
			case <-time.After(d):
			case <-p.closed:
				return
			}
		}
		p.mu.Lock()
		lost := p.mode == blackHole || p.mode == halfOpen
		c.lossy = c.lossy || lost
		p.mu.Unlock()
		if lost {
			continue
		}
		if _, err := c.client.Write(buf[:n]); err != nil {
			return
		}
	}
}

// readRequest reads one command, an array of bulk strings, and returns its bytes and its name.
func readRequest(r *bufio.Reader) (raw []byte, name string, err error) {
	number := func(kind byte) (int, error) {
		line, err := r.ReadString('\n')
		if err != nil {
			return 0, err
		}
		raw = append(raw, line...)
		if line[0] != kind {
			return 0, fmt.Errorf("redistest: a request has %q where %q was expected", line, kind)
		}
		return strconv.Atoi(strings.TrimSpace(line[1:]))
	}
	n, err := number('*')
	if err != nil {
		return nil, "", err
	}
	for i := range n {
		size, err := number('$')
		if err != nil {
			return nil, "", err
		}
		at := len(raw)
		raw = append(raw, make([]byte, size+2)...)
		if _, err := io.ReadFull(r, raw[at:]); err != nil {
			return nil, "", err
		}
		if i == 0 {
			name = strings.ToUpper(string(raw[at : at+size]))
		}
	}
	return raw, name, nil
}
