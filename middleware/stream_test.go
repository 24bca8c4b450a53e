package middleware_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/middleware"
)

// What handlers do with their ResponseWriter beyond writing works through every middleware.
func TestEveryMiddlewareStreams(t *testing.T) {
	csrf := newCSRF(t)
	in := middleware.RequireAuth(browser)
	for name, m := range map[string]middleware.Middleware{
		"none":                 middleware.Chain(),
		"RequireAuth":          in,
		"OptionalAuth":         middleware.OptionalAuth(browser),
		"OptionalAuth, nobody": middleware.OptionalAuth(bearer),
		"RequireRole":          middleware.Chain(in, middleware.RequireRole("admin")),
		"RequireCompetency":    middleware.Chain(in, middleware.RequireCompetency("read")),
		"RequireCSRF":          middleware.Chain(in, middleware.RequireCSRF(csrf)),
		"ClientIP":             middleware.ClientIP("X-Forwarded-For", proxies...),
		"SecureHeaders":        middleware.SecureHeaders(),
		"OnError":              middleware.OnError(func(http.ResponseWriter, *http.Request, error) {}),
		"RequireJSON":          middleware.RequireJSON(1000),
		"all": middleware.Chain(middleware.SecureHeaders(), middleware.OnError(nil), middleware.ClientIP("X-Forwarded-For", proxies...),
			in, middleware.RequireCSRF(csrf), middleware.RequireRole("admin"), middleware.RequireCompetency("read"), middleware.RequireJSON(1000)),
	} {
		t.Run(name, func(t *testing.T) {
			next := make(chan struct{})
			mux := http.NewServeMux()
			mux.Handle("/events", events(next))
			mux.Handle("/upgrade", http.HandlerFunc(echo))
			mux.Handle("/controller", controller(t))
			s := httptest.NewServer(m(mux))
			t.Cleanup(s.Close)
			t.Run("server-sent events", func(t *testing.T) { readEvents(t, s.URL+"/events", next) })
			t.Run("upgrade", func(t *testing.T) { upgrade(t, s.URL+"/upgrade") })
			t.Run("controller", func(t *testing.T) {
				res := get(t, s.URL+"/controller")
				if body, err := io.ReadAll(res.Body); err != nil || string(body) != "done" {
					t.Errorf("got %q, %v", body, err)
				}
			})
		})
	}
}

func get(t *testing.T, url string, headers ...string) *http.Response {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	t.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, "GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Cookie", "access=ann")
	r.Header.Set("Origin", own)
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = res.Body.Close() })
	return res
}

// events sends one event, waits until the client has it, and sends the next.
func events(next <-chan struct{}) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for i := range 3 {
			_, _ = fmt.Fprintf(w, "data: %d\n\n", i)
			w.(http.Flusher).Flush()
			select {
			case <-next:
			case <-r.Context().Done():
				return
			}
		}
	})
}

func readEvents(t *testing.T, url string, next chan<- struct{}) {
	lines := bufio.NewScanner(get(t, url).Body)
	for i := range 3 {
		if !lines.Scan() || lines.Text() != fmt.Sprint("data: ", i) {
			t.Fatalf("event %d: got %q, %v", i, lines.Text(), lines.Err())
		}
		lines.Scan() // the empty line that ends the event
		next <- struct{}{}
	}
}

// echo takes the connection over, as WebSocket libraries do.
func echo(w http.ResponseWriter, _ *http.Request) {
	conn, rw, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	defer func() { _ = conn.Close() }()
	_, _ = rw.WriteString("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
	_ = rw.Flush()
	line, _ := rw.ReadString('\n')
	_, _ = rw.WriteString(line)
	_ = rw.Flush()
}

func upgrade(t *testing.T, url string) {
	res := get(t, url, "Upgrade", "websocket", "Connection", "Upgrade")
	if res.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("got %s", res.Status)
	}
	conn := res.Body.(io.ReadWriter)
	if _, err := io.WriteString(conn, "hello\n"); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(conn).ReadString('\n'); err != nil || line != "hello\n" {
		t.Errorf("got %q, %v", line, err)
	}
}

// controller uses everything that http.ResponseController offers, and io.ReaderFrom, which saves a copy.
func controller(t *testing.T) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		for name, err := range map[string]error{
			"SetReadDeadline":  rc.SetReadDeadline(time.Time{}),
			"SetWriteDeadline": rc.SetWriteDeadline(time.Time{}),
			"EnableFullDuplex": rc.EnableFullDuplex(),
			"Flush":            rc.Flush(),
		} {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		if _, ok := w.(io.ReaderFrom); !ok {
			t.Error("io.ReaderFrom is hidden")
		}
		if _, ok := auth.FromContext(r.Context()); ok && w.Header().Get("Cache-Control") != "no-store" {
			t.Error("no-store is not set before the handler")
		}
		_, _ = io.WriteString(w, "done")
	})
}
