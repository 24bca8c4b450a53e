package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/doorward/doorward/internal/redistest"
)

// start serves the example with a user and an administrator on a loopback address of its own.
func start(t *testing.T) string {
	t.Helper()
	users, _, err := demoUsers()
	if err != nil {
		t.Fatal(err)
	}
	for name, role := range map[string]string{"ann": "editor", "root": "admin"} {
		if err := users.add(name, "password of "+name, role); err != nil {
			t.Fatal(err)
		}
	}
	s := httptest.NewUnstartedServer(nil)
	origin := "http://" + s.Listener.Addr().String()
	if s.Config.Handler, err = newServer(origin, users); err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(s.Close)
	return origin
}

type call struct {
	method, url, body string
	header            map[string]string
}

func (c call) do(t *testing.T, client *http.Client) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequest(c.method, c.url, strings.NewReader(c.body))
	if err != nil {
		t.Fatal(err)
	}
	if c.body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for k, v := range c.header {
		r.Header.Set(k, v)
	}
	res, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(text)
}

func want(t *testing.T, res *http.Response, body string, status int, says string) {
	t.Helper()
	if res.StatusCode != status || !strings.Contains(body, says) {
		t.Fatalf("%s %s: got %d %s, expected %d with %q", res.Request.Method, res.Request.URL.Path, res.StatusCode, body, status, says)
	}
}

const annLogin = `{"account":"ann","password":"password of ann"}`

func login(t *testing.T, url, body string) map[string]string {
	t.Helper()
	res, text := call{"POST", url + "/login", body, nil}.do(t, http.DefaultClient)
	want(t, res, text, 200, "access_token")
	var in struct {
		Token string `json:"access_token"`
	}
	if err := json.Unmarshal([]byte(text), &in); err != nil {
		t.Fatal(err)
	}
	return map[string]string{"Authorization": "Bearer " + in.Token}
}

// What the README shows, by a program's bearer token; with the list in memory and in a real Redis.
func TestTheREADMEsStory(t *testing.T) {
	for _, store := range []string{"memory", "redis"} {
		t.Run(store, func(t *testing.T) {
			if store == "redis" {
				t.Setenv("REDIS_URL", "redis://"+redistest.Start(t).Addr())
			}
			url := start(t)
			ann, root := login(t, url, annLogin), login(t, url, `{"account":"root","password":"password of root"}`)
			for _, step := range []struct {
				call   call
				status int
				says   string
			}{
				{call{"GET", url + "/me", "", nil}, 401, "credentials_missing"},
				{call{"GET", url + "/me", "", ann}, 200, `"subject":"ann"`},
				{call{"GET", url + "/admin", "", ann}, 403, "role_missing"},
				{call{"GET", url + "/admin", "", root}, 200, "coffee"},
				{call{"GET", url + "/logout", "", ann}, 404, ""}, // STD-F11: a link changes nothing
				{call{"GET", url + "/me", "", ann}, 200, ""},
				{call{"POST", url + "/logout", "", ann}, 204, ""},
				{call{"GET", url + "/me", "", ann}, 401, "token_revoked"},
				{call{"POST", url + "/logout", "", ann}, 401, "token_revoked"},
				{call{"GET", url + "/me", "", root}, 200, ""},
				{call{"POST", url + "/logout/everywhere", "", root}, 204, ""},
				{call{"GET", url + "/me", "", root}, 401, "token_expired"},
			} {
				res, body := step.call.do(t, http.DefaultClient)
				want(t, res, body, step.status, step.says)
			}
			res, body := call{"GET", url + "/me", "", login(t, url, annLogin)}.do(t, http.DefaultClient)
			want(t, res, body, 200, "")
		})
	}
}

func TestLoginRefuses(t *testing.T) {
	url := start(t)
	var answers []string
	for name, c := range map[string]struct {
		body   string
		header map[string]string
		status int
		says   string
	}{
		"wrong password":             {`{"account":"ann","password":"wrong"}`, nil, 401, "login_failed"},
		"unknown user":               {`{"account":"bob","password":"wrong"}`, nil, 401, "login_failed"},
		"no password":                {`{"account":"ann"}`, nil, 401, "login_failed"},
		"STD-F08 text/plain":         {annLogin, map[string]string{"Content-Type": "text/plain"}, 415, "media_type"},
		"STD-F08 form":               {annLogin, map[string]string{"Content-Type": "application/x-www-form-urlencoded"}, 415, "media_type"},
		"too large":                  {`{"account":"` + strings.Repeat("a", 5<<10) + `"}`, nil, 413, "too_large"},
		"no JSON":                    {`{`, nil, 400, "request_malformed"},
		"doubled member":             {`{"account":"ann","account":"root","password":"password of root"}`, nil, 400, "request_malformed"},
		"other letter case":          {`{"Account":"ann","Password":"password of ann"}`, nil, 400, "request_malformed"},
		"ATK-L18 a role in the body": {`{"account":"ann","password":"password of ann","roles":["admin"]}`, nil, 400, "request_malformed"},
		"ATK-S06 from another site":  {annLogin, map[string]string{"Origin": "https://evil.example"}, 403, "csrf_failed"},
		"ATK-S06 by Sec-Fetch-Site":  {annLogin, map[string]string{"Sec-Fetch-Site": "cross-site"}, 403, "csrf_failed"},
	} {
		t.Run(name, func(t *testing.T) {
			res, body := call{"POST", url + "/login", c.body, c.header}.do(t, http.DefaultClient)
			want(t, res, body, c.status, c.says)
			if c.says == "login_failed" {
				answers = append(answers, body)
			}
		})
	}
	for _, a := range answers {
		if a != answers[0] {
			t.Errorf("ATK-L01: the answers differ: %q and %q", a, answers[0])
		}
	}
}

// A browser: the token in a cookie that is sealed, the CSRF token in a header.
func TestBrowser(t *testing.T) {
	url := start(t)
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Jar: jar}
	page := map[string]string{"Origin": url, "Sec-Fetch-Site": "same-origin"}

	res, body := call{"GET", url + "/", "", nil}.do(t, client)
	want(t, res, body, 200, "app.js")
	res, body = call{"POST", url + "/login", annLogin, page}.do(t, client)
	want(t, res, body, 200, "access_token")
	if set := strings.Join(res.Header.Values("Set-Cookie"), " "); !strings.Contains(set, "HttpOnly") || strings.Contains(set, "eyJ") {
		t.Errorf("the cookie is readable: %s", set)
	}
	res, body = call{"GET", url + "/me", "", nil}.do(t, client)
	want(t, res, body, 200, `"ann"`)
	token := res.Header.Get("X-CSRF-Token")

	for name, header := range map[string]map[string]string{
		"no CSRF token":           page,
		"a wrong one":             {"Origin": url, "X-CSRF-Token": token[:len(token)-2] + "xx"},
		"another site, by a form": {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site", "X-CSRF-Token": token},
	} {
		t.Run(name, func(t *testing.T) {
			res, body := call{"POST", url + "/logout", "", header}.do(t, client)
			want(t, res, body, 403, "csrf_failed")
		})
	}
	res, body = call{"GET", url + "/me", "", nil}.do(t, client)
	want(t, res, body, 200, `"ann"`)
	res, body = call{"POST", url + "/logout", "", map[string]string{"Origin": url, "X-CSRF-Token": token}}.do(t, client)
	want(t, res, body, 204, "")
	res, body = call{"GET", url + "/me", "", nil}.do(t, client)
	want(t, res, body, 401, "credentials_missing")
}

func TestCORSIsStrict(t *testing.T) {
	t.Setenv("CORS_ORIGIN", "http://localhost:5173")
	url := start(t)
	preflight := func(origin string) http.Header {
		res, _ := call{"OPTIONS", url + "/me", "", map[string]string{"Origin": origin, "Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "authorization"}}.do(t, http.DefaultClient)
		return res.Header
	}
	if h := preflight("http://localhost:5173"); h.Get("Access-Control-Allow-Origin") != "http://localhost:5173" || h.Get("Access-Control-Allow-Credentials") != "" {
		t.Errorf("the one origin: got %v", h)
	}
	for _, origin := range []string{"https://evil.example", "http://localhost:5174", "null", "http://localhost:5173.evil.example"} {
		if h := preflight(origin); h.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s is allowed", origin)
		}
	}
}

// The README's first command, as a process: it needs no set-up, prints how to log in, and what it prints works.
func TestGoRun(t *testing.T) {
	goTool, err := exec.LookPath("go")
	if err != nil {
		t.Skip("the go command is not on the PATH")
	}
	binary := filepath.Join(t.TempDir(), "example")
	if out, err := exec.Command(goTool, "build", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary)
	cmd.Env = append(os.Environ(), "ADDR="+addr, "REDIS_URL=", "DOORWARD_SECRET=", "DOORWARD_SECRET_FILE=", "CORS_ORIGIN=")
	var log bytes.Buffer // read only when the process has ended
	cmd.Stderr = &log
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stop := func() string {
		cancel()
		_ = cmd.Wait() // it was killed
		return log.String()
	}
	defer stop()
	var body string
	lines := bufio.NewScanner(out)
	for lines.Scan() && body == "" {
		if m := regexp.MustCompile(`--json '([^']*"ann"[^']*)'`).FindStringSubmatch(lines.Text()); m != nil {
			body = m[1]
		}
	}
	if body == "" {
		t.Fatalf("it printed no login for ann; its log: %s", stop())
	}
	// It listens a moment after it has printed; the dialler waits for that.
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		for {
			c, err := (&net.Dialer{}).DialContext(ctx, network, addr)
			if err == nil || ctx.Err() != nil {
				return c, err
			}
		}
	}}, Timeout: 30 * time.Second}
	res, text := call{"POST", "http://" + addr + "/login", body, nil}.do(t, client)
	want(t, res, text, 200, "access_token")
	if text := stop(); strings.Contains(text, "eyJ") {
		t.Errorf("a token is in the log: %s", text)
	}
}
