package cookies_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/cookies"
)

const gone = "=; Path=/; Max-Age=0; HttpOnly; Secure; SameSite=Lax"

// Both cookies live as long as the session can: an expired access token must arrive to be called expired.
func TestJarLifetimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pair := auth.Pair{Access: "a", AccessExpires: time.Now().Add(time.Minute)}
		full := pair
		full.Refresh, full.RefreshUntil = "r", time.Now().Add(time.Hour)
		browser := full
		browser.RefreshUntil = time.Time{}
		attributes := "; HttpOnly; Secure; SameSite=Lax"
		for _, c := range []struct {
			name string
			pair auth.Pair
			sent string
			want []string
		}{
			{"access only", pair, "theme=dark", []string{"__Host-access=a; Path=/; Max-Age=60" + attributes}},
			{"both", full, "", []string{"__Host-access=a; Path=/; Max-Age=3600" + attributes, "__Host-refresh=r; Path=/; Max-Age=3600" + attributes}},
			{"refresh only", auth.Pair{Refresh: "r", RefreshUntil: full.RefreshUntil}, "theme=dark", []string{"__Host-refresh=r; Path=/; Max-Age=3600" + attributes}},
			{"refresh only, with an earlier session's access cookie", auth.Pair{Refresh: "r", RefreshUntil: full.RefreshUntil}, "__Host-access=old",
				[]string{"__Host-refresh=r; Path=/; Max-Age=3600" + attributes, "__Host-access" + gone}},
			{"until the browser closes", browser, "", []string{"__Host-access=a; Path=/" + attributes, "__Host-refresh=r; Path=/" + attributes}},
			{"access only, with an earlier session's refresh cookie", pair, "__Host-refresh=old",
				[]string{"__Host-access=a; Path=/; Max-Age=60" + attributes, "__Host-refresh" + gone}},
			{"access only, with two refresh cookies", pair, "__Host-refresh=old; __Host-refresh=evil",
				[]string{"__Host-access=a; Path=/; Max-Age=60" + attributes, "__Host-refresh" + gone, "__Host-refresh" + gone + "; Partitioned"}},
		} {
			w := httptest.NewRecorder()
			if err := (cookies.Jar{}).Set(w, request(c.sent), &c.pair); err != nil {
				t.Fatal(c.name, err)
			}
			if got := lines(w); !slices.Equal(got, c.want) {
				t.Errorf("%s:\ngot  %q\nwant %q", c.name, got, c.want)
			}
		}
	})
}

// STD-C08: Set after Clear, Clear after Set, Set after Set: never two of a name.
func TestSTD_C08_JarOncePerResponse(t *testing.T) {
	jar, w := cookies.Jar{Name: "shop"}, httptest.NewRecorder()
	pair := &auth.Pair{Access: "a", Refresh: "r"}
	for _, do := range []func() error{
		func() error { return jar.Clear(w, request()) },
		func() error { return jar.Set(w, request(), pair) },
		func() error { return jar.Set(w, request(), pair) },
		func() error { return jar.Clear(w, request()) },
	} {
		if err := do(); err != nil {
			t.Fatal(err)
		}
		if got := lines(w); len(got) != 2 || !strings.HasPrefix(got[0], "__Host-shop-access=") || !strings.HasPrefix(got[1], "__Host-shop-refresh=") {
			t.Fatalf("got %q", got)
		}
	}
	if want := []string{"__Host-shop-access" + gone, "__Host-shop-refresh" + gone}; !slices.Equal(lines(w), want) {
		t.Errorf("got %q, want %q", lines(w), want)
	}
}

// site is a server with a session in its jar, as an application would write it.
func site(t *testing.T, jar cookies.Jar, tls bool) (*httptest.Server, *http.Client) {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("POST /login", func(w http.ResponseWriter, r *http.Request) {
		pair := &auth.Pair{Access: "acc.ess-1", Refresh: "dwr1.re_fresh", RefreshUntil: time.Now().Add(time.Hour)}
		if err := jar.Set(w, r, pair); err != nil {
			auth.WriteProblem(w, err)
		}
	})
	mux.HandleFunc("POST /logout", func(w http.ResponseWriter, r *http.Request) {
		if err := jar.Clear(w, r); err != nil {
			auth.WriteProblem(w, err)
		}
	})
	mux.HandleFunc("GET /deep/in/session", func(w http.ResponseWriter, r *http.Request) {
		access, err := jar.Access(r)
		if err != nil {
			auth.WriteProblem(w, err)
			return
		}
		refresh, err := jar.Refresh(r)
		if err != nil {
			auth.WriteProblem(w, err)
			return
		}
		fmt.Fprint(w, access, " ", refresh)
	})
	s := httptest.NewUnstartedServer(mux)
	if tls {
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(s.Close)
	c := s.Client()
	c.Jar, _ = cookiejar.New(nil)
	return s, c
}

// call returns the status, the body and the response's header.
func call(t *testing.T, c *http.Client, method, url, cookie string) (int, string, http.Header) {
	t.Helper()
	r, err := http.NewRequest(method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if cookie != "" {
		r.Header.Set("Cookie", cookie)
	}
	answer, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(body), answer.Header
}

// A real client keeps, sends and drops the cookies as meant: over TLS in the strict form, over http on
// loopback in the development form.
func TestJarWithARealClient(t *testing.T) {
	for _, c := range []struct {
		name   string
		jar    cookies.Jar
		tls    bool
		prefix string
	}{
		{"https", cookies.Jar{}, true, "__Host-"},
		{"https sealed", cookies.Jar{Seal: sealWith("k1")}, true, "__Host-"},
		{"https named", cookies.Jar{Name: "shop"}, true, "__Host-shop-"},
		{"https on loopback with the switch on", cookies.Jar{InsecureLoopback: true}, true, "__Host-"},
		{"http on loopback with the switch on", cookies.Jar{InsecureLoopback: true}, false, ""},
		{"http on loopback with the switch on, cross-site", cookies.Jar{InsecureLoopback: true, InsecureCrossSite: true}, false, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, client := site(t, c.jar, c.tls)
			session := s.URL + "/deep/in/session"
			if status, body, _ := call(t, client, "GET", session, ""); status != 401 || !strings.Contains(body, "credentials_missing") {
				t.Fatalf("before login: %d %s", status, body)
			}
			status, body, h := call(t, client, "POST", s.URL+"/login", "")
			if status != 200 || h.Get("Cache-Control") != "no-store" || len(h["Set-Cookie"]) != 2 {
				t.Fatalf("login: %d %s %v", status, body, h)
			}
			for i, name := range []string{"access", "refresh"} {
				line := h["Set-Cookie"][i]
				if !strings.HasPrefix(line, c.prefix+name+"=") || strings.Contains(line, "; Secure") != c.tls {
					t.Errorf("login: %s", line)
				}
				if strings.Contains(line, "SameSite=None") {
					t.Errorf("SameSite=None without Secure is dropped by browsers: %s", line)
				}
			}
			if status, body, _ := call(t, client, "GET", session, ""); status != 200 || body != "acc.ess-1 dwr1.re_fresh" {
				t.Fatalf("after login: %d %s", status, body)
			}
			if status, body, _ := call(t, client, "POST", s.URL+"/logout", ""); status != 200 {
				t.Fatalf("logout: %d %s", status, body)
			}
			u, _ := url.Parse(s.URL)
			if left := client.Jar.Cookies(u); len(left) != 0 {
				t.Errorf("after logout the client still has %v", left)
			}
			if status, body, _ := call(t, client, "GET", session, ""); status != 401 {
				t.Errorf("after logout: %d %s", status, body)
			}
		})
	}
}

// STD-C07, ATK-C06: a tossed second cookie is answered with 400 over the wire, and both cookies of the jar
// are gone from the client afterwards, so that the next login starts clean.
func TestSTD_C07_TossedCookieOverTheWire(t *testing.T) {
	s, client := site(t, cookies.Jar{}, true)
	call(t, client, "POST", s.URL+"/login", "")
	u, _ := url.Parse(s.URL + "/deep/in/session")
	// What a subdomain or a plain connection could do to a browser that does not know prefixes.
	client.Jar.SetCookies(u, []*http.Cookie{{Name: "__Host-access", Value: "evil", Path: "/deep", Secure: true}})
	status, body, h := call(t, client, "GET", u.String(), "")
	if status != 400 || !strings.Contains(body, `"code":"request_malformed"`) || strings.Contains(body, "evil") {
		t.Errorf("got %d %s", status, body)
	}
	if want := []string{"__Host-access" + gone, "__Host-access" + gone + "; Partitioned", "__Host-refresh" + gone}; !slices.Equal(h["Set-Cookie"], want) {
		t.Errorf("got %q, want %q", h["Set-Cookie"], want)
	}
	if h.Get("Cache-Control") != "no-store" {
		t.Errorf("Cache-Control: %q", h.Get("Cache-Control"))
	}
	root, _ := url.Parse(s.URL + "/")
	if left := client.Jar.Cookies(root); len(left) != 0 {
		t.Errorf("the client still has %v", left)
	}
}

// A browser keeps a partitioned cookie and another one of the same name apart. Where InsecureCrossSite was switched on or off
// both come, which is 400; both must go, or the browser is locked out until its user deletes cookies by hand.
func TestJar_STD_C04_SwitchedCrossSite(t *testing.T) {
	for name, c := range map[string]struct {
		jar  cookies.Jar
		sent string
		want int // expiries of each cookie
	}{
		"switched on":              {cookies.Jar{InsecureCrossSite: true}, "__Host-access=old; __Host-access=new; __Host-refresh=old; __Host-refresh=new", 2},
		"switched on, one is left": {cookies.Jar{InsecureCrossSite: true}, "__Host-access=o d; __Host-refresh=old", 2},
		"switched off":             {cookies.Jar{}, "__Host-access=old; __Host-access=new; __Host-refresh=old; __Host-refresh=new", 2},
		"never switched":           {cookies.Jar{}, "__Host-access=o d; __Host-refresh=old", 1},
	} {
		t.Run(name, func(t *testing.T) {
			r := request(c.sent)
			cleared, refused := httptest.NewRecorder(), httptest.NewRecorder()
			if err := c.jar.Clear(cleared, r); err != nil {
				t.Fatal(err)
			}
			_, err := c.jar.Access(r)
			auth.WriteProblem(refused, err)
			for how, w := range map[string]*httptest.ResponseRecorder{"Clear": cleared, "400": refused} {
				partitioned := map[string]int{}
				plain := map[string]int{}
				for _, line := range lines(w) {
					cookie, err := http.ParseSetCookie(line)
					if err != nil || cookie.MaxAge >= 0 || !cookie.Secure || cookie.Path != "/" {
						t.Fatalf("%s: got %s, %v", how, line, err)
					}
					if cookie.Partitioned {
						partitioned[cookie.Name]++
					} else {
						plain[cookie.Name]++
					}
				}
				for _, name := range []string{"__Host-access", "__Host-refresh"} {
					if plain[name] != 1 || partitioned[name] != c.want-1 {
						t.Errorf("%s: %s: got %q", how, name, lines(w))
					}
				}
			}
		})
	}
}
