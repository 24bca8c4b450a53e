package cookies_test

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/cookies"
)

const day = 24 * time.Hour

// request is one that a browser sends to a public host over https, where a proxy has ended TLS.
func request(cookieHeaders ...string) *http.Request {
	r := httptest.NewRequest("GET", "/", nil)
	r.Host = "app.example.com"
	r.Header["Cookie"] = cookieHeaders
	return r
}

// lines are the response's Set-Cookie headers.
func lines(w http.ResponseWriter) []string { return w.Header()["Set-Cookie"] }

// refused demands an error and a response that was not touched.
func refused(t *testing.T, w *httptest.ResponseRecorder, err error) {
	t.Helper()
	if err == nil {
		t.Error("no error")
	}
	if len(w.Header()) != 0 {
		t.Errorf("an error, and yet headers: %v", w.Header())
	}
}

// STD-C01: the defaults are __Host-, Secure, HttpOnly, SameSite=Lax, Path=/ and no Domain.
func TestSTD_C01_DefaultsAreTheStrictest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const attributes = "; Path=/; Max-Age=60; HttpOnly; Secure; SameSite=Lax"
		w := httptest.NewRecorder()
		if err := (cookies.Policy{Name: "x"}).Set(w, request(), "v", time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		pair := &auth.Pair{Access: "a", Refresh: "r", RefreshUntil: time.Now().Add(time.Minute)}
		if err := (cookies.Jar{}).Set(w, request(), pair); err != nil {
			t.Fatal(err)
		}
		want := []string{"__Host-x=v" + attributes, "__Host-access=a" + attributes, "__Host-refresh=r" + attributes}
		if got := lines(w); !slices.Equal(got, want) {
			t.Errorf("got  %q\nwant %q", got, want)
		}
		if got := w.Header().Get("Cache-Control"); got != "no-store" {
			t.Errorf("Cache-Control: got %q, want no-store", got)
		}
	})
}

// STD-C02: what contradicts the prefix is refused by every method. There is no field for a Domain.
func TestSTD_C02_ContradictionsAreRefused(t *testing.T) {
	for _, c := range []struct {
		name   string
		policy cookies.Policy
	}{
		{"no name", cookies.Policy{}},
		{"own __Host-", cookies.Policy{Name: "__Host-x"}},
		{"own __Host- and a path", cookies.Policy{Name: "__Host-x", Path: "/a"}},
		{"own __host-", cookies.Policy{Name: "__host-x"}},
		{"own __HOST-", cookies.Policy{Name: "__HOST-x"}},
		{"own __Secure-", cookies.Policy{Name: "__Secure-x"}},
		{"own __secure-", cookies.Policy{Name: "__secure-x"}},
		{"own __Http-", cookies.Policy{Name: "__Http-x"}},
		{"own __Host-Http-", cookies.Policy{Name: "__Host-Http-x"}},
		{"name with a space", cookies.Policy{Name: "a b"}},
		{"name with =", cookies.Policy{Name: "a=b"}},
		{"name with ;", cookies.Policy{Name: "a;b"}},
		{"name with a tab", cookies.Policy{Name: "a\t"}},
		{"name with CRLF", cookies.Policy{Name: "a\r\nX: y"}},
		{"name with NUL", cookies.Policy{Name: "a\x00"}},
		{"name not ASCII", cookies.Policy{Name: "sitzung-ä"}},
		{"path without slash", cookies.Policy{Name: "x", Path: "auth"}},
		{"path with an attribute", cookies.Policy{Name: "x", Path: "/; Domain=example.com"}},
		{"path with CRLF", cookies.Policy{Name: "x", Path: "/\r\nX: y"}},
		{"path with a space", cookies.Policy{Name: "x", Path: "/ "}},
		{"path not ASCII", cookies.Policy{Name: "x", Path: "/ä"}},
		{"path above 1024", cookies.Policy{Name: "x", Path: "/" + strings.Repeat("a", 1024)}},
		{"SameSite default mode", cookies.Policy{Name: "x", SameSite: http.SameSiteDefaultMode}},
		{"SameSite unknown", cookies.Policy{Name: "x", SameSite: 9}},
		{"SameSite negative", cookies.Policy{Name: "x", SameSite: -1}},
		{"seal without an issuer", cookies.Policy{Name: "x", Seal: cookies.Seal{Keys: newKeys("k1")}}},
		{"seal without keys", cookies.Policy{Name: "x", Seal: cookies.Seal{Issuer: issuer}}},
	} {
		t.Run(c.name, func(t *testing.T) { refusesAll(t, c.policy, request("x=v")) })
	}
}

func refusesAll(t *testing.T, p cookies.Policy, r *http.Request) {
	t.Helper()
	w := httptest.NewRecorder()
	refused(t, w, p.Set(w, r, "v", time.Time{}))
	refused(t, w, p.Clear(w, r))
	value, err := p.Get(r)
	refused(t, w, err)
	code := auth.Internal // the application's fault
	if strings.Contains(fmt.Sprint(err), "got Origin") {
		code = auth.CSRFFailed // the request's
	}
	if value != "" || auth.CodeOf(err) != code {
		t.Errorf("Get: got %q, %v", value, err)
	}
}

// STD-C02: a path takes __Host- away, "/" does not.
func TestSTD_C02_PathTurnsThePrefix(t *testing.T) {
	for path, want := range map[string]string{
		"":      "__Host-x=v; Path=/; HttpOnly; Secure; SameSite=Lax",
		"/":     "__Host-x=v; Path=/; HttpOnly; Secure; SameSite=Lax",
		"/auth": "__Secure-x=v; Path=/auth; HttpOnly; Secure; SameSite=Lax",
	} {
		w, p := httptest.NewRecorder(), cookies.Policy{Name: "x", Path: path}
		if err := p.Set(w, request(), "v", time.Time{}); err != nil {
			t.Fatal(err)
		}
		if got := lines(w); !slices.Equal(got, []string{want}) {
			t.Errorf("%q: got %q, want %q", path, got, want)
		}
		name, _, _ := strings.Cut(want, "=")
		if v, err := p.Get(request(name + "=v")); v != "v" || err != nil {
			t.Errorf("%q: Get: %q, %v", path, v, err)
		}
	}
}

// STD-C03: whatever is set in a policy, the cookie is HttpOnly, and no field speaks of it. A field added
// later fails here until somebody has thought of it.
func TestSTD_C03_HttpOnlyCannotBeTurnedOff(t *testing.T) {
	fields := []string{"Name", "Path", "SameSite", "InsecureCrossSite", "InsecureLoopback", "Seal"}
	for _, of := range []reflect.Type{reflect.TypeFor[cookies.Policy](), reflect.TypeFor[cookies.Jar]()} {
		for _, f := range reflect.VisibleFields(of) {
			if f.IsExported() && !slices.Contains(fields, f.Name) {
				t.Errorf("%s has an unexpected field %s", of, f.Name)
			}
		}
	}
	loopback := request()
	loopback.Host = "localhost"
	for _, p := range []cookies.Policy{
		{Name: "x"},
		{Name: "x", Path: "/a", SameSite: http.SameSiteStrictMode},
		{Name: "x", InsecureCrossSite: true, InsecureLoopback: true, Seal: sealWith("k1")},
	} {
		w := httptest.NewRecorder()
		if err := errors.Join(p.Set(w, loopback, "v", time.Time{}), p.Clear(w, loopback)); err != nil {
			t.Fatal(err)
		}
		for _, line := range lines(w) {
			if !strings.Contains(line, "; HttpOnly") {
				t.Errorf("%+v: %s", p, line)
			}
		}
	}
}

// STD-C04: Lax or Strict; None only by its own option, which is not combined with another mode.
func TestSTD_C04_SameSite(t *testing.T) {
	for _, c := range []struct {
		name  string
		mode  http.SameSite
		cross bool
		want  string // "" for refused
	}{
		{"default", 0, false, "Lax"},
		{"lax", http.SameSiteLaxMode, false, "Lax"},
		{"strict", http.SameSiteStrictMode, false, "Strict"},
		{"none alone", http.SameSiteNoneMode, false, ""},
		{"none by name", http.SameSiteNoneMode, true, "None; Partitioned"},
		{"the name alone", 0, true, "None; Partitioned"},
		{"the name with lax", http.SameSiteLaxMode, true, ""},
		{"the name with strict", http.SameSiteStrictMode, true, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			jar := cookies.Jar{SameSite: c.mode, InsecureCrossSite: c.cross}
			w := httptest.NewRecorder()
			err := jar.Set(w, request(), &auth.Pair{Access: "a", Refresh: "r"})
			if c.want == "" {
				refused(t, w, err)
				return
			}
			if err != nil || len(lines(w)) != 2 {
				t.Fatal(err, lines(w))
			}
			for _, line := range lines(w) {
				if !strings.HasSuffix(line, "; Secure; SameSite="+c.want) {
					t.Errorf("got %s", line)
				}
			}
		})
	}
}

// A browser that blocks cookies of other sites keeps a partitioned one alone, and looks for it by that word when it
// is expired. Chromium demands Secure and Path=/ of it; plain http has neither Secure nor the word.
func TestSTD_C04_Partitioned(t *testing.T) {
	jar := cookies.Jar{InsecureCrossSite: true, InsecureLoopback: true}
	sent := request("__Host-refresh=old")
	for name, call := range map[string]func(http.ResponseWriter) error{
		"both":            func(w http.ResponseWriter) error { return jar.Set(w, sent, &auth.Pair{Access: "a", Refresh: "r"}) },
		"one, other goes": func(w http.ResponseWriter) error { return jar.Set(w, sent, &auth.Pair{Access: "a"}) },
		"both go":         func(w http.ResponseWriter) error { return jar.Clear(w, sent) },
		"a policy": func(w http.ResponseWriter) error {
			return cookies.Policy{Name: "x", InsecureCrossSite: true}.Set(w, sent, "v", time.Time{})
		},
		"a policy expires": func(w http.ResponseWriter) error {
			return cookies.Policy{Name: "x", InsecureCrossSite: true}.Clear(w, sent)
		},
	} {
		sent.Host = "localhost"
		sent.TLS = &tls.ConnectionState{}
		w := httptest.NewRecorder()
		if err := call(w); err != nil || len(lines(w)) == 0 {
			t.Fatalf("%s: got %v, %q", name, err, lines(w))
		}
		for _, line := range lines(w) {
			line, _ = strings.CutSuffix(line, "; Partitioned")
			if !strings.HasSuffix(line, "; Secure; SameSite=None") || strings.Contains(line, "Max-Age=0") != slices.Contains(lines(w), line) || !strings.Contains(line, "; Path=/;") {
				t.Errorf("%s: got %s", name, line)
			}
		}
	}
	plain := request()
	plain.Host, plain.TLS = "localhost", nil
	for _, call := range []func(http.ResponseWriter) error{
		func(w http.ResponseWriter) error { return jar.Set(w, plain, &auth.Pair{Access: "a", Refresh: "r"}) },
		func(w http.ResponseWriter) error { return jar.Clear(w, plain) },
	} {
		w := httptest.NewRecorder()
		if err := call(w); err != nil || len(lines(w)) != 2 || strings.Contains(strings.Join(lines(w), ""), "Partitioned") {
			t.Errorf("plain http: got %v, %q", err, lines(w))
		}
	}
	w := httptest.NewRecorder()
	if err := (cookies.Jar{}).Set(w, request(), &auth.Pair{Access: "a", Refresh: "r"}); err != nil || strings.Contains(strings.Join(lines(w), ""), "Partitioned") {
		t.Errorf("a page of the own site: got %v, %q", err, lines(w))
	}
}

// STD-C05: browsers cut a life above 400 days; here it is an error. One in the past would be a deletion.
func TestSTD_C05_Lifetime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, c := range []struct {
			name string
			in   time.Duration
			want string // "" for refused
		}{
			{"400 days", 400 * day, "; Max-Age=34560000;"},
			{"one second", time.Second, "; Max-Age=1;"},
			{"rounded down", 1999 * time.Millisecond, "; Max-Age=1;"},
			{"400 days and a nanosecond", 400*day + 1, ""},
			{"292 years", 1<<63 - 1, ""},
			{"less than a second", time.Second - 1, ""},
			{"now", 0, ""},
			{"past", -time.Hour, ""},
		} {
			w := httptest.NewRecorder()
			err := cookies.Policy{Name: "x"}.Set(w, request(), "v", time.Now().Add(c.in))
			if c.want == "" {
				refused(t, w, err)
			} else if err != nil || len(lines(w)) != 1 || !strings.Contains(lines(w)[0], c.want) {
				t.Errorf("%s: got %v, %q, want %s", c.name, err, lines(w), c.want)
			}
		}
		w := httptest.NewRecorder()
		far := &auth.Pair{Access: "a", Refresh: "r", RefreshUntil: time.Now().Add(401 * day)}
		refused(t, w, cookies.Jar{}.Set(w, request(), far))
	})
}

// STD-C06, ATK-C10: name and value of 4096 bytes pass, one more is an error, at Set as at Get.
func TestSTD_C06_Size(t *testing.T) {
	p := cookies.Policy{Name: "x"}
	fits := strings.Repeat("v", 4096-len("__Host-x"))
	w := httptest.NewRecorder()
	if err := p.Set(w, request(), fits, time.Time{}); err != nil || len(lines(w)) != 1 {
		t.Error(err, len(lines(w)))
	}
	if v, err := p.Get(request("__Host-x=" + fits)); v != fits || err != nil {
		t.Errorf("Get at the limit: %d bytes, %v", len(v), err)
	}
	for _, long := range []string{fits + "v", strings.Repeat("v", 5<<10), strings.Repeat("v", 1<<20)} {
		w := httptest.NewRecorder()
		refused(t, w, p.Set(w, request(), long, time.Time{}))
		if v, err := p.Get(request("__Host-x=" + long)); v != "" || !errors.Is(err, auth.RequestMalformed) {
			t.Errorf("Get of %d bytes: got %d bytes, %v", len(long), len(v), err)
		}
	}
	t.Run("the refresh cookie too long", func(t *testing.T) {
		w := httptest.NewRecorder()
		refused(t, w, cookies.Jar{}.Set(w, request(), &auth.Pair{Access: "a", Refresh: fits}))
	})
	t.Run("sealed", func(t *testing.T) {
		w := httptest.NewRecorder()
		refused(t, w, cookies.Policy{Name: "x", Seal: sealWith("k1")}.Set(w, request(), strings.Repeat("v", 3100), time.Time{}))
	})
}

// odd are values that are never set: net/http sends most of them changed, and only logs it.
var odd = []struct{ name, value string }{
	{"empty", ""},
	{"quotes", `"v"`},
	{"one quote", `"v`},
	{"comma", "a,b"},
	{"semicolon", "a;b"},
	{"space", "a b"},
	{"tab", "a\tb"},
	{"backslash", `a\b`},
	{"NUL", "a\x00b"},
	{"CRLF", "a\r\nSet-Cookie: b=c"},
	{"DEL", "a\x7fb"},
	{"not ASCII", "é"},
	{"invalid UTF-8", "a\xffb"},
	{"padding", "YQ=="},
	{"percent", "a%20b"},
	{"e-mail address", "ann@example.com"},
	{"JSON", `{"sub":"ann"}`},
}

// ATK-C10, STD-C10: a value outside the alphabet is an error, not a cookie with bytes missing. An
// e-mail address is one.
func TestATK_C10_OddValuesAreNotSet(t *testing.T) {
	for _, c := range odd {
		t.Run(c.name, func(t *testing.T) {
			w := httptest.NewRecorder()
			refused(t, w, cookies.Policy{Name: "x"}.Set(w, request(), c.value, time.Time{}))
			refused(t, w, cookies.Jar{}.Set(w, request(), &auth.Pair{Access: c.value, Refresh: c.value}))
			if c.value != "" { // one token alone is no mistake
				refused(t, w, cookies.Jar{}.Set(w, request(), &auth.Pair{Access: c.value, Refresh: "r"}))
				refused(t, w, cookies.Jar{}.Set(w, request(), &auth.Pair{Access: "a", Refresh: c.value}))
			}
		})
	}
	w := httptest.NewRecorder()
	refused(t, w, cookies.Jar{}.Set(w, request(), nil))
}

// STD-C08: whatever was set before, one Set-Cookie a name; and a deletion repeats prefix, Path, Secure.
func TestSTD_C08_OncePerResponse(t *testing.T) {
	const host, secure = "; Path=/; HttpOnly; Secure; SameSite=Lax", "; Path=/a; HttpOnly; Secure; SameSite=Lax"
	x, y := cookies.Policy{Name: "x"}, cookies.Policy{Name: "y", Path: "/a"}
	set := func(p cookies.Policy, v string) func(http.ResponseWriter) error {
		return func(w http.ResponseWriter) error { return p.Set(w, request(), v, time.Time{}) }
	}
	clear := func(p cookies.Policy) func(http.ResponseWriter) error {
		return func(w http.ResponseWriter) error { return p.Clear(w, request()) }
	}
	raw := func(line string) func(http.ResponseWriter) error {
		return func(w http.ResponseWriter) error { w.Header().Add("Set-Cookie", line); return nil }
	}
	type steps = []func(http.ResponseWriter) error
	for _, c := range []struct {
		name string
		do   steps
		want []string
	}{
		{"set twice", steps{set(x, "1"), set(x, "2")}, []string{"__Host-x=2" + host}},
		{"set, clear", steps{set(x, "1"), clear(x)}, []string{"__Host-x=; Path=/; Max-Age=0; HttpOnly; Secure; SameSite=Lax"}},
		{"clear, set", steps{clear(x), set(x, "1")}, []string{"__Host-x=1" + host}},
		{"clear twice", steps{clear(y), clear(y)}, []string{"__Secure-y=; Path=/a; Max-Age=0; HttpOnly; Secure; SameSite=Lax"}},
		{"others stay", steps{raw("theme=dark"), set(y, "1"), set(x, "1"), clear(x), set(y, "2")},
			[]string{"theme=dark", "__Host-x=; Path=/; Max-Age=0; HttpOnly; Secure; SameSite=Lax", "__Secure-y=2" + secure}},
		{"the application's own of our name goes", steps{raw("__Host-x=evil"), raw(" __Host-x = evil"), set(x, "1")}, []string{"__Host-x=1" + host}},
		{"names that look alike stay", steps{raw("__host-x=1"), raw("__Host-x1=1"), set(x, "1")},
			[]string{"__host-x=1", "__Host-x1=1", "__Host-x=1" + host}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := httptest.NewRecorder()
			for _, do := range c.do {
				w.Header().Set("Cache-Control", "public, max-age=600")
				if err := do(w); err != nil {
					t.Fatal(err)
				}
			}
			if got := lines(w); !slices.Equal(got, c.want) {
				t.Errorf("got  %q\nwant %q", got, c.want)
			}
			if got := w.Header()["Cache-Control"]; !slices.Equal(got, []string{"no-store"}) {
				t.Errorf("Cache-Control: got %q", got)
			}
		})
	}
}
