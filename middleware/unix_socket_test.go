package middleware_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/middleware"
	"github.com/doorward/doorward/ratelimit"
)

// onSocket serves h on a Unix socket, and returns a client of it and the server that does.
func onSocket(t *testing.T, h http.Handler) *http.Client {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	s := &httptest.Server{Listener: l, Config: &http.Server{Handler: h}}
	s.Start()
	t.Cleanup(s.Close)
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}}}
	t.Cleanup(client.CloseIdleConnections)
	return client
}

// login sends one, and returns the status.
func loginOver(t *testing.T, c *http.Client, account string, forwarded ...string) int {
	t.Helper()
	form := strings.NewReader(url.Values{"account": {account}, "password": {"wrong"}}.Encode())
	r, err := http.NewRequestWithContext(t.Context(), "POST", "http://app/", form)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", formType)
	r.Header["X-Forwarded-For"] = forwarded
	w, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	_ = w.Body.Close()
	return w.StatusCode
}

// At d9addb9 all clients behind a proxy on a Unix socket shared the budget of one: the 21st login of the whole site was
// 429, without a word in the log.
func TestTrustUnixSocket(t *testing.T) {
	t.Run("without it the first request says so", func(t *testing.T) {
		for name, m := range map[string]middleware.Middleware{
			"ClientIP": middleware.ClientIP("X-Forwarded-For", proxies...),
			"none":     middleware.Chain(),
		} {
			log := captureLog(t)
			a := newLogin(t, func(a *login) { a.limit.Observe = nil })
			c := onSocket(t, m(a.h))
			if code := loginOver(t, c, "ann", "198.51.1.7"); code != http.StatusInternalServerError || !strings.Contains(log.String(), "TrustUnixSocket") || a.checks > 0 {
				t.Errorf("%s: got %d, %d checks, log %s", name, code, a.checks, log)
			}
		}
	})
	t.Run("with it each client counts", func(t *testing.T) {
		a := newLogin(t, nil)
		c := onSocket(t, middleware.TrustUnixSocket("X-Forwarded-For")(a.h))
		for i := range 60 {
			if code := loginOver(t, c, fmt.Sprint("u", i), fmt.Sprintf("198.51.%d.7", i)); code != http.StatusUnauthorized {
				t.Fatalf("client %d: got %d", i, code)
			}
		}
		codes := map[int]int{}
		for i := range 40 { // ATK-L04: what a client writes left of its address counts for nothing
			codes[loginOver(t, c, fmt.Sprint("v", i), fmt.Sprintf("192.0.2.%d, 198.51.100.9", i))]++
		}
		if n := codes[http.StatusTooManyRequests]; n < 18 || n > 20 || codes[http.StatusUnauthorized] != 40-n { // and what time has brought meanwhile
			t.Errorf("one client: got %v", codes)
		}
	})
	t.Run("with further proxies", func(t *testing.T) {
		a := newLogin(t, nil)
		c := onSocket(t, middleware.TrustUnixSocket("X-Forwarded-For", netip.MustParsePrefix("10.0.0.0/8"))(a.h))
		codes := map[int]int{}
		for i := range 40 {
			codes[loginOver(t, c, fmt.Sprint("v", i), fmt.Sprintf("192.0.2.%d, 198.51.100.9, 10.1.2.%d", i, i))]++
		}
		if n := codes[http.StatusTooManyRequests]; n < 18 || n > 20 {
			t.Errorf("got %v", codes)
		}
	})
	t.Run("a header that names nobody is no shared budget", func(t *testing.T) {
		log := captureLog(t)
		a := newLogin(t, func(a *login) { a.limit.Observe = nil })
		c := onSocket(t, middleware.TrustUnixSocket("X-Forwarded-For", netip.MustParsePrefix("10.0.0.0/8"))(a.h))
		for _, lines := range [][]string{nil, {""}, {"unknown"}, {"198.51.100.9, "}, {"10.0.0.1"}} {
			if code := loginOver(t, c, "ann", lines...); code != http.StatusInternalServerError {
				t.Errorf("%q: got %d", lines, code)
			}
		}
		if a.checks > 0 || !strings.Contains(log.String(), "limit by network") {
			t.Errorf("%d checks, log %s", a.checks, log)
		}
	})
}

// It trusts sockets, not whatever has no address, and peers with one by their network alone.
func TestTrustUnixSocket_Peers(t *testing.T) {
	captureLog(t)
	seen := ""
	keep := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { seen = r.RemoteAddr })
	h := middleware.TrustUnixSocket("X-Forwarded-For", netip.MustParsePrefix("10.0.0.0/8"))(keep)
	for _, c := range []struct {
		peer, want string
		local      net.Addr
	}{
		{"@", "203.0.113.9:0", nil},
		{"", "203.0.113.9:0", nil},
		{"/run/proxy.sock", "203.0.113.9:0", &net.UnixAddr{Name: "/run/app.sock", Net: "unix"}},
		{"10.1.2.3:4711", "203.0.113.9:0", &net.TCPAddr{}},
		{"198.51.100.1:4711", "198.51.100.1:4711", &net.TCPAddr{}},
		{"@", "", &net.TCPAddr{}},
		{"198.51.100.1", "", nil}, // what another middleware may have put there
		{"unknown", "", nil},
	} {
		seen = ""
		r := request("GET", "/", "X-Forwarded-For: 203.0.113.9")
		r.RemoteAddr = c.peer
		if c.local != nil {
			r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, c.local))
		}
		if w := serve(h, r); seen != c.want || (c.want == "") != (w.Code == http.StatusInternalServerError) {
			t.Errorf("%q: got %d %q, want %q", c.peer, w.Code, seen, c.want)
		}
	}
	for _, m := range []middleware.Middleware{
		middleware.TrustUnixSocket(""), middleware.TrustUnixSocket("a b"), middleware.TrustUnixSocket("X-Real-IP", netip.Prefix{}),
	} {
		want(t, serve(m(whoami), request("GET", "/")), auth.Internal)
	}
}

// A limit by network needs an address, one by another key does not.
func TestRateLimit_NoAddress(t *testing.T) {
	log := captureLog(t)
	rate := ratelimit.Rate{N: 1, Per: time.Hour}
	r := request("GET", "/")
	r.RemoteAddr = "198.51.100.1" // no port: some routers' own "real IP" writes so
	want(t, serve(middleware.RateLimit(ratelimit.NewMemory(0), rate, nil)(whoami), r), auth.Internal)
	if !strings.Contains(log.String(), "address:port") {
		t.Errorf("log %s", log)
	}
	want(t, serve(middleware.RateLimit(ratelimit.NewMemory(0), rate, func(*http.Request) string { return "one" })(whoami), r), "")
}

// ATK-L05: a peer on a Unix socket chooses what its own end is called. Called like a proxy's address it is no proxy, and called
// like a client's it is no client.
func TestUnixSocket_ATK_L05_APeerThatIsCalledLikeAnAddress(t *testing.T) {
	seen := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = fmt.Fprint(w, r.RemoteAddr) })
	t.Chdir(t.TempDir())
	for name, c := range map[string]struct {
		m      middleware.Middleware
		header string
		want   string
	}{
		"ClientIP":                     {middleware.ClientIP("X-Forwarded-For", proxies...), "X-Forwarded-For: 192.0.2.99", " 500 "},
		"TrustUnixSocket":              {middleware.TrustUnixSocket("X-Forwarded-For"), "X-Forwarded-For: 192.0.2.99", "\n192.0.2.99:0"},
		"TrustUnixSocket, nobody":      {middleware.TrustUnixSocket("X-Forwarded-For"), "X: y", "\n@"},
		"both, the outer one has read": {middleware.Chain(middleware.TrustUnixSocket("X-Forwarded-For"), middleware.ClientIP("X-Forwarded-For", proxies...)), "X-Forwarded-For: 192.0.2.99", "\n192.0.2.99:0"},
	} {
		t.Run(name, func(t *testing.T) {
			l, err := net.Listen("unix", "s")
			if err != nil {
				t.Fatal(err)
			}
			s := &httptest.Server{Listener: l, Config: &http.Server{Handler: c.m(seen)}}
			s.Start()
			defer s.Close()
			const called = "10.0.0.1:80"
			conn, err := net.DialUnix("unix", &net.UnixAddr{Name: called, Net: "unix"}, &net.UnixAddr{Name: "s", Net: "unix"})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _, _ = conn.Close(), os.Remove(called) }()
			_, _ = fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: x\r\n%s\r\nConnection: close\r\n\r\n", c.header)
			answer, err := io.ReadAll(conn)
			if err != nil || !strings.Contains(string(answer), c.want) {
				t.Errorf("got %q, %v, expected %q", answer, err, c.want)
			}
		})
	}
}
