package middleware_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/middleware"
)

func TestOnError(t *testing.T) {
	log := captureLog(t)
	var got error
	own := middleware.OnError(func(w http.ResponseWriter, _ *http.Request, err error) {
		got = err
		w.WriteHeader(http.StatusTeapot)
	})
	fails := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		middleware.WriteError(w, r, fmt.Errorf("%w: why", auth.StoreUnavailable))
	})
	for name, c := range map[string]struct {
		h      http.Handler
		status int
		code   auth.Code
	}{
		"a guard inside":        {own(middleware.RequireAuth(bearer)(whoami)), http.StatusTeapot, auth.CredentialsMissing},
		"the handler":           {own(fails), http.StatusTeapot, auth.StoreUnavailable},
		"a broken guard":        {own(middleware.RequireRole("")(whoami)), http.StatusTeapot, auth.Internal},
		"a guard outside":       {middleware.RequireRole("admin")(own(whoami)), http.StatusUnauthorized, ""},
		"nil is the default":    {middleware.OnError(nil)(fails), http.StatusServiceUnavailable, ""},
		"nil inside of another": {own(middleware.OnError(nil)(fails)), http.StatusServiceUnavailable, ""},
	} {
		t.Run(name, func(t *testing.T) {
			got = nil
			log.Reset()
			w := serve(c.h, request("GET", "/"))
			if w.Code != c.status || c.code != "" && auth.CodeOf(got) != c.code || c.code == "" && got != nil {
				t.Errorf("got %d and %v, want %d and %s", w.Code, got, c.status, c.code)
			}
			if c.status == http.StatusTeapot && log.Len() > 0 {
				t.Errorf("logged behind the back of the own function: %s", log)
			}
		})
	}
	t.Run("WriteError inside of it is the default", func(t *testing.T) {
		again := middleware.OnError(func(w http.ResponseWriter, r *http.Request, err error) { middleware.WriteError(w, r, err) })
		want(t, serve(again(fails), request("GET", "/")), auth.StoreUnavailable)
	})
}

// STD-H05, STD-H06: a fixed text for the client, the cause for the log; nothing of ours is silent, nothing of the
// client's is noise.
func TestSTD_H06_WriteError(t *testing.T) {
	for name, c := range map[string]struct {
		err    error
		code   auth.Code
		logged string
	}{
		"nil":           {nil, auth.Internal, "nil error"},
		"without code":  {errors.New("pq: password of root"), auth.Internal, "pq: password of root"},
		"store":         {fmt.Errorf("%w: 10.1.2.3 refused", auth.StoreUnavailable), auth.StoreUnavailable, "10.1.2.3 refused"},
		"client's":      {fmt.Errorf("%w: ver 3 < 4", auth.TokenExpired), auth.TokenExpired, ""},
		"busy":          {auth.Busy, auth.Busy, "busy"},
		"not logged in": {auth.CredentialsMissing, auth.CredentialsMissing, ""},
	} {
		t.Run(name, func(t *testing.T) {
			log := captureLog(t)
			h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { middleware.WriteError(w, r, c.err) })
			w := serve(h, request("PUT", "/things/1", "Authorization: Bearer ann"))
			want(t, w, c.code)
			if c.err != nil && c.logged != "" && c.logged != "busy" && strings.Contains(w.Body.String(), c.logged) {
				t.Errorf("the answer tells the cause: %s", w.Body)
			}
			if c.logged == "" {
				if log.Len() > 0 {
					t.Errorf("logged: %s", log)
				}
				return
			}
			var line struct{ Level, Method, Path, Code, Err string }
			if err := json.Unmarshal(log.Bytes(), &line); err != nil {
				t.Fatalf("%v: %s", err, log)
			}
			if line.Level != "ERROR" || line.Method != "PUT" || line.Path != "/things/1" || line.Code != string(c.code) || !strings.Contains(line.Err, c.logged) {
				t.Errorf("got %+v", line)
			}
		})
	}
}

// rawHandler is a log handler that escapes nothing: what it writes was clean before.
type rawHandler struct{ io.Writer }

func (h rawHandler) Enabled(context.Context, slog.Level) bool { return true }
func (h rawHandler) WithAttrs([]slog.Attr) slog.Handler       { return h }
func (h rawHandler) WithGroup(string) slog.Handler            { return h }
func (h rawHandler) Handle(_ context.Context, r slog.Record) error {
	r.Attrs(func(a slog.Attr) bool {
		_, _ = io.WriteString(h, a.Key+"="+a.Value.String()+" ")
		return true
	})
	return nil
}

// ATK-I04, ATK-I05: whatever stands in a request makes one line, printable and short, without query and headers.
func TestATK_I04_LogInjection(t *testing.T) {
	long := strings.Repeat("a", 1<<20)
	for name, dirt := range map[string]string{
		"line break":      "/a\r\nlevel=ERROR msg=forged",
		"ANSI":            "/\x1b[31mred",
		"direction mark":  "/\u202eexe.txt",
		"line separator":  "/a\u2028b",
		"NUL":             "/a\x00b",
		"invalid UTF-8":   "/a\xff\xfeb",
		"C1 control":      "/a\u009bb",
		"JSON":            `/","admin":true,"x":"`,
		"1 MiB":           "/" + long,
		"1 MiB of breaks": "/" + strings.Repeat("\n", 1<<20),
	} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			before := slog.Default()
			slog.SetDefault(slog.New(rawHandler{&b}))
			defer slog.SetDefault(before)
			r := request("GET", "/?token=hunter2", "Authorization: Bearer hunter2", "Cookie: access=hunter2")
			r.Method, r.URL.Path = dirt, dirt
			serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				middleware.WriteError(w, r, fmt.Errorf("%s is gone", dirt))
			}), r)
			got := b.String()
			if got == "" || len(got) > 20_000 {
				t.Errorf("%d bytes were logged", len(got))
			}
			for _, c := range got {
				if c < ' ' || c == 0x7f || c == '\u2028' || c == '\u202e' || c == '\u009b' || c == '\ufffd' {
					t.Fatalf("%q was logged", c)
				}
			}
			if strings.Contains(got, "hunter2") {
				t.Errorf("a secret was logged: %s", got)
			}
		})
	}
	t.Run("raw path", func(t *testing.T) {
		log := captureLog(t)
		r := request("GET", "/")
		r.URL, _ = url.Parse("/a%0a%1b[31m")
		serve(middleware.RequireRole("")(whoami), r)
		if !strings.Contains(log.String(), `"path":"/a%0a%1b[31m"`) {
			t.Errorf("got %s", log)
		}
	})
}
