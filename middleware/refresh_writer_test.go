package middleware_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/http/httputil"
	"net/textproto"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/cookies"
	"github.com/doorward/doorward/middleware"
)

// Whatever a handler does with its header and however it sends it, the cookies arrive, once each, and no cache
// keeps them (STD-H07, STD-C08, ATK-S14).
func TestATK_S14_RefreshedAnswersAreNotStored(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, bytes.Repeat([]byte("0123456789"), 1000), 0o600); err != nil {
		t.Fatal(err)
	}
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Cache-Control", "public, max-age=3600")
		w.Header().Set("CDN-Cache-Control", "max-age=3600")
		http.SetCookie(w, &http.Cookie{Name: "theme", Value: "dark"})
	}))
	t.Cleanup(upstream.Close)
	target, err := url.Parse(upstream.URL)
	if err != nil {
		t.Fatal(err)
	}
	public := func(h http.HandlerFunc) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Cache-Control", "public, max-age=3600")
			w.Header().Set("Expires", "Fri, 01 Jan 2100 00:00:00 GMT")
			h(w, r)
		}
	}
	newer := []string{"__Host-access=newer", "__Host-refresh=newest"}
	for name, c := range map[string]struct {
		handler http.Handler
		status  int
		cookies []string
	}{
		"nothing":     {public(func(http.ResponseWriter, *http.Request) {}), 200, both},
		"WriteHeader": {public(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) }), 204, both},
		"Write":       {public(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("x")) }), 200, both},
		"Write of nothing": {public(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write(nil)
			w.Header().Set("Cache-Control", "public")
		}), 200, both},
		"WriteString": {public(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "x") }), 200, both},
		"Flush":       {public(func(w http.ResponseWriter, _ *http.Request) { w.(http.Flusher).Flush() }), 200, both},
		"FlushError":  {public(func(w http.ResponseWriter, _ *http.Request) { _ = http.NewResponseController(w).Flush() }), 200, both},
		"ReadFrom": {public(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.(io.ReaderFrom).ReadFrom(strings.NewReader("x"))
		}), 200, both},
		"past the writer": {http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.(interface{ Unwrap() http.ResponseWriter }).Unwrap().WriteHeader(201)
		}), 201, both},
		"ReadFrom nothing, then a change of mind": {public(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.(io.ReaderFrom).ReadFrom(strings.NewReader(""))
			w.Header().Set("Cache-Control", "public")
			w.WriteHeader(201)
		}), 201, both},
		"ServeFile":            {public(func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, file) }), 200, both},
		"FileServer, 404":      {public(http.StripPrefix("/", http.FileServer(http.FS(fstest.MapFS{}))).ServeHTTP), 404, both},
		"Redirect":             {public(func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/x", http.StatusSeeOther) }), http.StatusSeeOther, both},
		"not modified":         {public(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(304) }), 304, both},
		"TimeoutHandler":       {http.TimeoutHandler(public(func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Set-Cookie", "theme=dark") }), time.Minute, ""), 200, slices.Concat(both, []string{"theme=dark"})},
		"ReverseProxy":         {httputil.NewSingleHostReverseProxy(target), 200, slices.Concat(both, []string{"theme=dark"})},
		"all headers deleted":  {public(func(w http.ResponseWriter, _ *http.Request) { clear(w.Header()) }), 200, both},
		"cookies replaced":     {public(func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Set-Cookie", "theme=dark") }), 200, slices.Concat(both, []string{"theme=dark"})},
		"a login behind":       {public(func(w http.ResponseWriter, r *http.Request) { newerPair(t, w, r) }), 200, newer},
		"a login behind all":   {http.TimeoutHandler(public(func(w http.ResponseWriter, r *http.Request) { newerPair(t, w, r) }), time.Minute, ""), 200, newer},
		"a logout behind":      {public(func(w http.ResponseWriter, r *http.Request) { _ = jar.Clear(w, r) }), 200, cleared},
		"a problem":            {public(func(w http.ResponseWriter, r *http.Request) { middleware.WriteError(w, r, auth.RoleMissing) }), 403, both},
		"a panic, caught":      {public(func(http.ResponseWriter, *http.Request) { panic("x") }), 500, both},
		"interim answer first": {public(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(103); w.WriteHeader(200) }), 200, both},
	} {
		for mode, change := range map[string]func(*middleware.Refresh){"cookies": func(*middleware.Refresh) {}, "header": inHeader} {
			t.Run(name+" "+mode, func(t *testing.T) {
				m := middleware.Chain(catch, refreshing(t, &fakeSessions{}, change))
				s := httptest.NewServer(m(c.handler))
				t.Cleanup(s.Close)
				var interim textproto.MIMEHeader
				ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
					Got1xxResponse: func(_ int, h textproto.MIMEHeader) error { interim = h; return nil },
				})
				res := send(t, ctx, s.URL+"/missing", noAccess, sameOrigin)
				if res.StatusCode != c.status {
					t.Fatalf("got %s", res.Status)
				}
				h, set, access := res.Header, slices.Clone(c.cookies), ""
				if mode == "header" {
					if slices.Contains(set, newChild) { // or who is logged in has changed, and the token is of before
						access = "ann"
					}
					set = slices.DeleteFunc(set, func(s string) bool { return s == newAccess })
				}
				if !slices.Equal(cookiesOf(h), set) || h.Get("X-Access-Token") != access {
					t.Errorf("set %q and %q, want %q", cookiesOf(h), h.Get("X-Access-Token"), set)
				}
				if !slices.Equal(h["Cache-Control"], []string{"no-store"}) || h.Get("Expires") != "" || h.Get("CDN-Cache-Control") != "" {
					t.Errorf("a cache may keep it: %v", h)
				}
				if len(interim["Set-Cookie"])+len(interim["X-Access-Token"]) > 0 {
					t.Errorf("in the interim answer: %v", interim)
				}
			})
		}
	}
}

func newerPair(t *testing.T, w http.ResponseWriter, r *http.Request) {
	if err := jar.Set(w, r, &auth.Pair{Access: "newer", Refresh: "newest"}); err != nil {
		t.Error(err)
	}
}

// catch answers for a handler that panics, as recovering middlewares do.
func catch(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			if recover() != nil {
				w.WriteHeader(http.StatusInternalServerError)
			}
		}()
		next.ServeHTTP(w, r)
	})
}

// send does one request, without following redirects.
func send(t *testing.T, ctx context.Context, url string, headers ...string) *http.Response {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	t.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, "GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header = request("GET", "/", headers...).Header
	res, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = res.Body.Close() })
	return res
}

// What handlers do with their ResponseWriter beyond writing works on a refreshed answer, on HTTP/1 and HTTP/2.
func TestRefreshedAnswersStream(t *testing.T) {
	for proto, two := range map[string]bool{"HTTP/1": false, "HTTP/2": true} {
		next := make(chan struct{})
		mux := http.NewServeMux()
		mux.Handle("/events", events(next))
		mux.Handle("/controller", controller(t))
		m := middleware.Chain(refreshing(t, &fakeSessions{}), middleware.RequireAuth(jarBrowser))
		s := httptest.NewUnstartedServer(m(mux))
		s.EnableHTTP2 = two
		s.StartTLS()
		t.Cleanup(s.Close)
		open := func(path string) *http.Response {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			t.Cleanup(cancel)
			r, err := http.NewRequestWithContext(ctx, "GET", s.URL+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Header = request("GET", "/", stale, sameOrigin).Header
			res, err := s.Client().Do(r)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = res.Body.Close() })
			if !slices.Equal(cookiesOf(res.Header), both) || res.ProtoMajor == 2 != two {
				t.Fatalf("%s %q", res.Proto, cookiesOf(res.Header))
			}
			return res
		}
		t.Run(proto+" server-sent events", func(t *testing.T) {
			lines := bufio.NewScanner(open("/events").Body)
			for i := range 3 {
				if !lines.Scan() || lines.Text() != fmt.Sprint("data: ", i) {
					t.Fatalf("event %d: got %q, %v", i, lines.Text(), lines.Err())
				}
				lines.Scan()
				next <- struct{}{}
			}
		})
		t.Run(proto+" controller", func(t *testing.T) {
			if body, err := io.ReadAll(open("/controller").Body); err != nil || string(body) != "done" {
				t.Errorf("got %q, %v", body, err)
			}
		})
	}
}

// A WebSocket is lent its principal: the handler has the server's own writer.
func TestLentUpgrade(t *testing.T) {
	f := &fakeSessions{}
	s := httptest.NewServer(middleware.Chain(refreshing(t, f), middleware.RequireAuth(jarBrowser))(http.HandlerFunc(echo)))
	t.Cleanup(s.Close)
	res := send(t, t.Context(), s.URL, stale, sameOrigin, "Origin: "+own, "Upgrade: websocket", "Connection: Upgrade")
	if res.StatusCode != http.StatusSwitchingProtocols || len(res.Header["Set-Cookie"]) > 0 || !slices.Equal(f.calls, []string{"lend r1"}) {
		t.Fatalf("got %s, set %q, asked %q", res.Status, res.Header["Set-Cookie"], f.calls)
	}
	conn := res.Body.(io.ReadWriter)
	if _, err := io.WriteString(conn, "hello\n"); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(conn).ReadString('\n'); err != nil || line != "hello\n" {
		t.Errorf("got %q, %v", line, err)
	}
}

// A handler that takes the connection over writes its own header: the cookies go into it.
func TestRefreshedAnswerHijacked(t *testing.T) {
	const answer = "HTTP/1.1 200 OK\r\nCache-Control: public\r\nContent-Length: 5\r\n\r\nhello"
	long := "HTTP/1.1 200 " + strings.Repeat("x", 2000) + "\r\nContent-Length: 5\r\n\r\nhello"
	for name, c := range map[string]struct {
		text  string
		write func(net.Conn, *bufio.ReadWriter, string)
		set   []string
	}{
		"buffered": {answer, func(_ net.Conn, rw *bufio.ReadWriter, s string) { _, _ = rw.WriteString(s); _ = rw.Flush() }, both},
		"direct":   {answer, func(c net.Conn, _ *bufio.ReadWriter, s string) { _, _ = io.WriteString(c, s) }, both},
		"byte by byte": {answer, func(c net.Conn, _ *bufio.ReadWriter, s string) {
			for i := range len(s) {
				if n, err := c.Write([]byte{s[i]}); n != 1 || err != nil {
					t.Errorf("byte %d: %d, %v", i, n, err)
				}
			}
		}, both},
		// Nothing is held back for ever, and nothing is put into what is no status line.
		"a status line without an end": {long, func(c net.Conn, _ *bufio.ReadWriter, s string) {
			_, _ = io.WriteString(c, s[:1500])
			_, _ = io.WriteString(c, s[1500:])
		}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			s := httptest.NewServer(refreshing(t, &fakeSessions{})(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				conn, rw, err := http.NewResponseController(w).Hijack()
				if err != nil {
					t.Error(err)
					return
				}
				c.write(conn, rw, c.text)
				_ = conn.Close()
			})))
			t.Cleanup(s.Close)
			res := send(t, t.Context(), s.URL, stale, sameOrigin)
			body, err := io.ReadAll(res.Body)
			if err != nil || string(body) != "hello" || !slices.Equal(cookiesOf(res.Header), c.set) {
				t.Errorf("got %q %v, set %q", body, err, cookiesOf(res.Header))
			}
			if c.set != nil && !slices.Contains(res.Header["Cache-Control"], "no-store") {
				t.Errorf("Cache-Control: %q", res.Header["Cache-Control"])
			}
		})
	}
	t.Run("another protocol", func(t *testing.T) {
		const text = "RTSP/1.0 200 OK\r\n\r\n"
		s := httptest.NewServer(refreshing(t, &fakeSessions{})(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if conn, _, err := w.(http.Hijacker).Hijack(); err == nil {
				_, _ = io.WriteString(conn, text)
				_ = conn.Close()
			}
		})))
		t.Cleanup(s.Close)
		conn, err := net.Dial("tcp", s.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n"+stale+"\r\n"+sameOrigin+"\r\n\r\n")
		if got, err := io.ReadAll(conn); err != nil || string(got) != text {
			t.Errorf("got %q, %v", got, err)
		}
	})
	t.Run("after the header is gone", func(t *testing.T) {
		s := httptest.NewServer(refreshing(t, &fakeSessions{})(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "5")
			_ = http.NewResponseController(w).Flush()
			conn, _, err := w.(http.Hijacker).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			_, _ = io.WriteString(conn, "hello")
			_ = conn.Close()
		})))
		t.Cleanup(s.Close)
		res := send(t, t.Context(), s.URL, stale, sameOrigin)
		if body, err := io.ReadAll(res.Body); err != nil || string(body) != "hello" || !slices.Equal(cookiesOf(res.Header), both) {
			t.Errorf("got %q %v, set %q", body, err, cookiesOf(res.Header))
		}
	})
	t.Run("a server that cannot", func(t *testing.T) {
		w := httptest.NewRecorder()
		refreshing(t, &fakeSessions{})(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if _, _, err := w.(http.Hijacker).Hijack(); !errors.Is(err, http.ErrNotSupported) {
				t.Errorf("got %v", err)
			}
			w.WriteHeader(http.StatusNotImplemented)
		})).ServeHTTP(w, request("GET", "/", stale, sameOrigin))
		if w.Code != http.StatusNotImplemented || !slices.Equal(cookiesOf(w.Result().Header), both) {
			t.Errorf("got %d, set %q", w.Code, cookiesOf(w.Result().Header))
		}
	})
}

// A writer without ReadFrom still gets what is read.
func TestRefreshedAnswerCopiedToPlainWriter(t *testing.T) {
	w := httptest.NewRecorder()
	refreshing(t, &fakeSessions{})(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if n, err := w.(io.ReaderFrom).ReadFrom(strings.NewReader("hello")); n != 5 || err != nil {
			t.Errorf("got %d, %v", n, err)
		}
	})).ServeHTTP(w, request("GET", "/", stale, sameOrigin))
	if w.Body.String() != "hello" || !slices.Equal(cookiesOf(w.Result().Header), both) {
		t.Errorf("got %q, set %q", w.Body, cookiesOf(w.Result().Header))
	}
}

// A handler that hands out a token itself, as a login does, is not overruled.
func TestRefreshedAnswerWithATokenOfTheHandlers(t *testing.T) {
	w := serve(refreshing(t, &fakeSessions{}, inHeader)(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Access-Token", "newer")
		w.WriteHeader(http.StatusOK)
	})), request("GET", "/", noAccess, sameOrigin))
	if got := w.Result().Header["X-Access-Token"]; !slices.Equal(got, []string{"newer"}) {
		t.Errorf("got %q", got)
	}
}

// STD-C04: the expiry of a partitioned cookie is two lines of one name, and both go out, also where a handler sets others.
func TestRefreshWriter_STD_C04_BothExpiriesGoOut(t *testing.T) {
	jar := cookies.Jar{InsecureCrossSite: true}
	h := refreshing(t, &fakeSessions{err: auth.TokenRevoked}, func(c *middleware.Refresh) { c.Jar = jar })(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Add("Set-Cookie", "theme=dark")
	}))
	w := serve(h, request("GET", "/", stale, sameOrigin))
	count := map[string]int{}
	for _, line := range w.Header()["Set-Cookie"] {
		count[line]++
	}
	for _, name := range []string{"__Host-access", "__Host-refresh"} {
		const gone = "=; Path=/; Max-Age=0; HttpOnly; Secure; SameSite=None"
		if count[name+gone] != 1 || count[name+gone+"; Partitioned"] != 1 {
			t.Errorf("%s: got %q", name, w.Header()["Set-Cookie"])
		}
	}
}
