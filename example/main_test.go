package main

import (
	"bufio"
	"bytes"
	"cmp"
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
	"testing/synctest"
	"time"

	"github.com/doorward/doorward/auth/password"
	"github.com/doorward/doorward/auth/session"
	"github.com/doorward/doorward/internal/redistest"
)

// start serves the example with a user and an administrator on a loopback address of its own.
func start(t *testing.T) string {
	t.Helper()
	s := httptest.NewUnstartedServer(nil)
	origin := "http://" + s.Listener.Addr().String()
	var err error
	var closeStores func()
	if s.Config.Handler, closeStores, err = newServer(origin, demo(t)); err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Close(); closeStores() })
	return origin
}

// demo has an editor and an administrator.
func demo(t *testing.T) *users {
	t.Helper()
	users, _, err := demoUsers()
	if err != nil {
		t.Fatal(err)
	}
	for name, role := range map[string]string{"ann": "editor", "root": "admin"} {
		delete(users.rows, name) // whose password nobody knows
		hash, err := users.hasher.Hash(t.Context(), "password of "+name)
		if err != nil {
			t.Fatal(err)
		}
		users.add(name, hash, role)
	}
	return users
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

// A holder is a program with its tokens.
type holder struct {
	Access  string `json:"access_token"`
	Refresh string `json:"refresh_token"`
}

func (k holder) header() map[string]string {
	return map[string]string{"Authorization": "Bearer " + k.Access}
}

func (k holder) body() string { return `{"refresh_token":"` + k.Refresh + `"}` }

func login(t *testing.T, url, body string) (k holder) {
	t.Helper()
	res, text := call{"POST", url + "/token/login", body, nil}.do(t, http.DefaultClient)
	want(t, res, text, 200, "access_token")
	if err := json.Unmarshal([]byte(text), &k); err != nil {
		t.Fatal(err)
	}
	return k
}

// stores runs f in memory and with a real Redis.
func stores(t *testing.T, f func(t *testing.T)) {
	for _, store := range []string{"memory", "redis"} {
		t.Run(store, func(t *testing.T) {
			if store == "redis" {
				t.Setenv("REDIS_URL", "redis://"+redistest.Start(t).Addr())
			}
			f(t)
		})
	}
}

// What the README shows, by a program's bearer token.
func TestTheREADMEsStory(t *testing.T) {
	stores(t, func(t *testing.T) {
		url := start(t)
		ann, root := login(t, url, annLogin), login(t, url, `{"account":"root","password":"password of root"}`)
		for _, step := range []struct {
			call   call
			status int
			says   string
		}{
			{call{"GET", url + "/me", "", nil}, 401, "credentials_missing"},
			{call{"GET", url + "/me", "", ann.header()}, 200, `"subject":"ann"`},
			{call{"GET", url + "/admin", "", ann.header()}, 403, "role_missing"},
			{call{"GET", url + "/admin", "", root.header()}, 200, "coffee"},
			{call{"GET", url + "/token/logout", "", ann.header()}, 404, ""}, // STD-F11: a link changes nothing
			{call{"GET", url + "/me", "", ann.header()}, 200, ""},
			{call{"POST", url + "/token/logout", ann.body(), nil}, 204, ""},
			{call{"GET", url + "/me", "", ann.header()}, 401, "token_revoked"},
			{call{"POST", url + "/token/refresh", ann.body(), nil}, 401, "token_revoked"},
			{call{"POST", url + "/token/logout", ann.body(), nil}, 204, ""}, // STD-S07
			{call{"GET", url + "/me", "", root.header()}, 200, ""},
			{call{"DELETE", url + "/token/sessions", "", root.header()}, 204, ""},
			{call{"GET", url + "/me", "", root.header()}, 401, "token_"},
			{call{"POST", url + "/token/refresh", root.body(), nil}, 401, "token_revoked"},
		} {
			res, body := step.call.do(t, http.DefaultClient)
			want(t, res, body, step.status, step.says)
		}
		ann = login(t, url, annLogin)
		res, body := call{"POST", url + "/token/refresh", ann.body(), nil}.do(t, http.DefaultClient)
		want(t, res, body, 200, "refresh_token")
		res, body = call{"GET", url + "/me", "", ann.header()}.do(t, http.DefaultClient)
		want(t, res, body, 200, "")
	})
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
		"no password":                {`{"account":"root"}`, nil, 422, `"password":"required"`},
		"STD-F08 text/plain":         {annLogin, map[string]string{"Content-Type": "text/plain"}, 415, "media_type"},
		"doubled member":             {`{"account":"ann","account":"root","password":"password of root"}`, nil, 400, "request_malformed"},
		"ATK-L18 a role in the body": {`{"account":"ann","password":"password of ann","roles":["admin"]}`, nil, 422, "validation_failed"},
		"ATK-S06 from another site":  {annLogin, map[string]string{"Origin": "https://evil.example"}, 403, "csrf_failed"},
		"ATK-S06 by Sec-Fetch-Site":  {annLogin, map[string]string{"Sec-Fetch-Site": "cross-site"}, 403, "csrf_failed"},
	} {
		t.Run(name, func(t *testing.T) {
			res, body := call{"POST", url + "/auth/login", c.body, c.header}.do(t, http.DefaultClient)
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

// The login limit: five wrong passwords, then not even the right one, from the page or by a program; others go on.
func TestTheLoginLimitBites(t *testing.T) {
	stores(t, func(t *testing.T) {
		url := start(t)
		for range 5 {
			res, body := call{"POST", url + "/token/login", `{"account":"ann","password":"wrong"}`, nil}.do(t, http.DefaultClient)
			want(t, res, body, 401, "login_failed")
		}
		for _, path := range []string{"/token/login", "/auth/login"} {
			res, body := call{"POST", url + path, annLogin, nil}.do(t, http.DefaultClient)
			want(t, res, body, 429, "rate_limited")
			if res.Header.Get("Retry-After") == "" {
				t.Error("no Retry-After")
			}
		}
		login(t, url, `{"account":"root","password":"password of root"}`)
	})
}

// A browser is a client with cookies and what the page's script adds.
type browser struct {
	client *http.Client
	url    string
	csrf   string
}

func newBrowser(t *testing.T, url string) *browser {
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &browser{&http.Client{Jar: jar}, url, ""}
}

func (b *browser) want(t *testing.T, method, path, body string, status int, says string) (*http.Response, string) {
	t.Helper()
	header := map[string]string{"Sec-Fetch-Site": "same-origin"}
	if method != "GET" {
		header["Origin"], header["X-CSRF-Token"] = b.url, b.csrf
	}
	res, text := call{method, b.url + path, body, header}.do(t, b.client)
	want(t, res, text, status, says)
	b.csrf = cmp.Or(res.Header.Get("X-CSRF-Token"), b.csrf)
	return res, text
}

// list returns the ids of the sessions, the own one first.
func (b *browser) list(t *testing.T) (ids []string) {
	t.Helper()
	_, text := b.want(t, "GET", "/auth/sessions", "", 200, "")
	var in struct {
		Sessions []struct {
			ID      string
			Current bool
		}
	}
	if err := json.Unmarshal([]byte(text), &in); err != nil {
		t.Fatal(err)
	}
	for _, s := range in.Sessions {
		if s.Current {
			ids = append([]string{s.ID}, ids...)
		} else {
			ids = append(ids, s.ID)
		}
	}
	return ids
}

// The page: tokens in sealed cookies, the CSRF token in a header, several devices, and ending each of them.
func TestBrowser(t *testing.T) {
	stores(t, func(t *testing.T) {
		url := start(t)
		laptop, phone, tablet := newBrowser(t, url), newBrowser(t, url), newBrowser(t, url)
		laptop.want(t, "GET", "/", "", 200, "app.js")
		laptop.want(t, "GET", "/auth/session", "", 401, "credentials_missing")
		for _, b := range []*browser{laptop, phone, tablet} {
			res, text := b.want(t, "POST", "/auth/login", annLogin, 200, "expires_in")
			if set := strings.Join(res.Header.Values("Set-Cookie"), " "); !strings.Contains(set, "HttpOnly") || strings.Contains(set+text, "eyJ") || strings.Contains(set+text, "dwr1.") {
				t.Errorf("a token is readable: %s %s", set, text)
			}
		}
		for name, header := range map[string]map[string]string{
			"no CSRF token":           {"Origin": url},
			"a wrong one":             {"Origin": url, "X-CSRF-Token": laptop.csrf[:len(laptop.csrf)-2] + "xx"},
			"another's":               {"Origin": url, "X-CSRF-Token": phone.csrf},
			"another site, by a form": {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site", "X-CSRF-Token": laptop.csrf},
		} {
			t.Run(name, func(t *testing.T) {
				res, body := call{"DELETE", url + "/auth/sessions", "", header}.do(t, laptop.client)
				want(t, res, body, 403, "csrf_failed")
			})
		}
		laptop.want(t, "GET", "/me", "", 200, `"ann"`)

		// One ends: its cookies open nothing any more.
		ids := laptop.list(t)
		if len(ids) != 3 {
			t.Fatalf("got %d sessions, expected 3", len(ids))
		}
		other := phone
		if ids[1] != phone.list(t)[0] {
			other = tablet
		}
		laptop.want(t, "DELETE", "/auth/sessions/"+ids[1], "", 204, "")
		other.want(t, "GET", "/me", "", 401, "token_revoked")
		laptop.want(t, "DELETE", "/auth/sessions/"+ids[1], "", 404, "not_found")

		// The others end. The laptop's access token is stale now, and it does not notice.
		other.want(t, "POST", "/auth/login", annLogin, 200, "")
		laptop.want(t, "DELETE", "/auth/sessions?except=current", "", 204, "")
		phone.want(t, "GET", "/me", "", 401, "token_revoked")
		tablet.want(t, "GET", "/me", "", 401, "token_revoked")
		res, _ := laptop.want(t, "GET", "/me", "", 200, `"ann"`)
		if len(res.Header["Set-Cookie"]) != 2 {
			t.Errorf("it was not refreshed: %v", res.Header)
		}

		// All end.
		phone.want(t, "POST", "/auth/login", annLogin, 200, "")
		laptop.want(t, "DELETE", "/auth/sessions", "", 204, "")
		laptop.want(t, "GET", "/me", "", 401, "credentials_missing")
		phone.want(t, "GET", "/me", "", 401, "token_revoked")

		// And a plain logout, twice.
		laptop.want(t, "POST", "/auth/login", annLogin, 200, "")
		laptop.want(t, "POST", "/auth/logout", "", 204, "")
		laptop.want(t, "POST", "/auth/logout", "", 204, "")
		laptop.want(t, "GET", "/me", "", 401, "credentials_missing")
	})
}

// Logged in for days: the access token expires again and again, and each visit within the idle time refreshes it,
// until the session's absolute end.
func TestStaysLoggedIn(t *testing.T) {
	// argon2id's memory is counted by a cleanup of the runtime, which may not wake anybody in a bubble. bcrypt has none.
	hasher, err := password.New(password.Config{Bcrypt: 12})
	if err != nil {
		t.Fatal(err)
	}
	const hash = "$2b$12$bIRGj4QPPoSUMWsJE.4Pk.T1qTpDWz7HhMnuiQhGzGinKPsx/HQdq" // of "password"
	users := &users{hasher: hasher, rows: map[string]*user{"ann": {hash: hash, numbers: session.Numbers{Version: 1}}}}
	synctest.Test(t, func(t *testing.T) {
		const url = "http://127.0.0.1:8080"
		handler, _, err := newServer(url, users)
		if err != nil {
			t.Fatal(err)
		}
		b := newBrowser(t, url)
		b.client.Transport = direct{handler}
		b.want(t, "POST", "/auth/login", `{"account":"ann","password":"password"}`, 200, "")
		for range 4 {
			time.Sleep(6 * 24 * time.Hour) // the bubble's
			if res, _ := b.want(t, "GET", "/me", "", 200, `"ann"`); len(res.Header["Set-Cookie"]) != 2 {
				t.Errorf("it was not refreshed: %v", res.Header)
			}
			if res, _ := b.want(t, "GET", "/me", "", 200, `"ann"`); len(res.Header["Set-Cookie"]) != 0 {
				t.Errorf("it was refreshed without need: %v", res.Header)
			}
			if ids := b.list(t); len(ids) != 1 {
				t.Errorf("got %d sessions, expected the one", len(ids))
			}
		}
		time.Sleep(6 * 24 * time.Hour) // in all 30 days
		b.want(t, "GET", "/me", "", 401, "")
	})
}

// direct calls a handler without a network, for which time in a bubble would stand still.
type direct struct{ http.Handler }

func (d direct) RoundTrip(r *http.Request) (*http.Response, error) {
	in := r.Clone(r.Context())
	in.RemoteAddr, in.Host = "127.0.0.1:1", r.URL.Host
	if in.Body == nil {
		in.Body = http.NoBody
	}
	w := httptest.NewRecorder()
	d.ServeHTTP(w, in)
	res := w.Result()
	res.Request = r
	return res, nil
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
	binary, addr := build(t), freeAddr(t)
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
	res, text := call{"POST", "http://" + addr + "/token/login", body, nil}.do(t, client)
	want(t, res, text, 200, "access_token")
	if text := stop(); strings.Contains(text, "eyJ") {
		t.Errorf("a token is in the log: %s", text)
	}
}

// build makes the program, and returns its path.
func build(t *testing.T) string {
	t.Helper()
	goTool, err := exec.LookPath("go")
	if err != nil { // go test puts its own directory on the PATH
		t.Fatal(err)
	}
	binary := filepath.Join(t.TempDir(), "example")
	if out, err := exec.Command(goTool, "build", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return binary
}

// freeAddr returns a loopback address on which nobody listens.
func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// Without its Redis it says so, with the address and the cause, and only then that it listens; the password stays in REDIS_URL.
func TestGoRun_RedisIsDown(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd, down := exec.CommandContext(ctx, build(t)), freeAddr(t)
	cmd.Env = append(os.Environ(), "ADDR="+freeAddr(t), "REDIS_URL=redis://ann:hunter2@"+down, "DOORWARD_SECRET=", "DOORWARD_SECRET_FILE=")
	out, in, err := os.Pipe() // one for both, so that their order is seen
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr = in, in
	err = cmd.Start()
	in.Close()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { cancel(); _ = cmd.Wait() }() // it was killed
	said := ""
	lines := bufio.NewScanner(out)
	for lines.Scan() && !strings.Contains(lines.Text(), "Listening") {
		said += lines.Text() + "\n"
	}
	for _, word := range []string{"REDIS_URL", "503", "Redis at " + down, "connection refused"} {
		if !strings.Contains(said, word) {
			t.Errorf("before it listens it says:\n%s\nwant it to say %q", said, word)
		}
	}
	if strings.Contains(said, "hunter2") {
		t.Errorf("the password is in the log:\n%s", said)
	}
}
