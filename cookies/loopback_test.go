package cookies_test

import (
	"crypto/tls"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/doorward/doorward/cookies"
)

// hosts are Host headers with what InsecureLoopback makes of them.
var hosts = []struct {
	host     string
	loopback bool
}{
	{"localhost", true},
	{"localhost:8080", true},
	{"LocalHost:8080", true},
	{"app.localhost", true},
	{"a.b.localhost:3000", true},
	{"127.0.0.1", true},
	{"127.0.0.1:8080", true},
	{"127.255.255.254:80", true},
	{"[::1]", true},
	{"[::1]:8080", true},

	{"", false},
	{"app.example.com", false},
	{"localhost.evil.tld", false},
	{"localhost.evil.tld:8080", false},
	{"127.0.0.1.evil.tld", false},
	{"127.0.0.1.nip.io", false},
	{"evil-localhost", false},
	{"evillocalhost", false},
	{"localhostevil", false},
	{".localhost", false},
	{"a..localhost", false},
	{"localhost.", false},
	{"a@localhost", false},
	{"evil.tld/.localhost", false},
	{"evil.tld#.localhost", false},
	{"evil.tld?.localhost", false},
	{`evil.tld\.localhost`, false},
	{"evil.tld%00.localhost", false},
	{"localhost:80@evil.tld", false},
	{"localhost:evil", false},
	{"localhost:", false},
	{"localhost:80:80", false},
	{"localhost\x00.evil.tld", false},
	{"localhost, evil.tld", false},
	{"localhost ", false},
	{"lοcalhost", false}, // a Greek omicron
	{"2130706433", false},
	{"017700000001", false},
	{"0177.0.0.1", false},
	{"0x7f.0.0.1", false},
	{"0x7f000001", false},
	{"127.1", false},
	{"127.0.0.01", false},
	{"127.0.0.256", false},
	{"128.0.0.1", false},
	{"10.127.0.1", false},
	{"192.168.1.10:8080", false},
	{"0.0.0.0:8080", false},
	{"::1", false},
	{"::1:8080", false},
	{"[::]", false},
	{"[::2]", false},
	{"[::1%25lo]", false},
	{"[::ffff:127.0.0.1]", false},
	{"[::1].evil.tld", false},
	{"[::1].evil.tld]", false},
	{"[localhost]", false},
	{"[127.0.0.1]", false},
}

// The development switch drops prefix and Secure for loopback hosts over http, and refuses every other host.
func TestInsecureLoopbackHosts(t *testing.T) {
	for _, c := range hosts {
		t.Run(c.host, func(t *testing.T) {
			r := request("x=loose; __Host-x=strict")
			r.Host = c.host
			p := cookies.Policy{Name: "x", InsecureLoopback: true}
			if !c.loopback {
				refusesAll(t, p, r)
				r.TLS = &tls.ConnectionState{}
				refusesAll(t, p, r)
				return
			}
			want := func(set, cleared, read string) {
				t.Helper()
				w := httptest.NewRecorder()
				if err := p.Set(w, r, "v", time.Time{}); err != nil || !slices.Equal(lines(w), []string{set}) {
					t.Errorf("Set: got %q, %v, want %q", lines(w), err, set)
				}
				if err := p.Clear(w, r); err != nil || !slices.Equal(lines(w), []string{cleared}) {
					t.Errorf("Clear: got %q, %v, want %q", lines(w), err, cleared)
				}
				if v, err := p.Get(r); v != read || err != nil {
					t.Errorf("Get: got %q, %v, want %q", v, err, read)
				}
			}
			want("x=v; Path=/; HttpOnly; SameSite=Lax", "x=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax", "loose")
			r.TLS = &tls.ConnectionState{}
			want("__Host-x=v; Path=/; HttpOnly; Secure; SameSite=Lax", "__Host-x=; Path=/; Max-Age=0; HttpOnly; Secure; SameSite=Lax", "strict")
		})
	}
}

// What a proxy says is never taken for a loopback host, and one that hides the public host behind
// "localhost" is found by what it adds and by the browser's Origin.
func TestInsecureLoopbackBehindAProxy(t *testing.T) {
	for _, c := range []struct {
		name, host, header, value string
		refused                   bool
	}{
		{"public host, forwarded host loopback", "app.example.com", "X-Forwarded-Host", "localhost", true},
		{"public host, forwarded by loopback", "app.example.com", "X-Forwarded-For", "127.0.0.1", true},
		{"public host, Forwarded loopback", "app.example.com", "Forwarded", "host=localhost;proto=http", true},
		{"public host, loopback Origin", "app.example.com", "Origin", "http://localhost:8080", true},
		{"loopback upstream, forwarded host", "127.0.0.1:8080", "X-Forwarded-Host", "app.example.com", true},
		{"loopback upstream, forwarded proto", "127.0.0.1:8080", "X-Forwarded-Proto", "https", true},
		{"loopback upstream, forwarded for", "127.0.0.1:8080", "X-Forwarded-For", "203.0.113.9", true},
		{"loopback upstream, Forwarded", "127.0.0.1:8080", "Forwarded", "for=203.0.113.9", true},
		{"loopback upstream, X-Real-IP", "127.0.0.1:8080", "X-Real-Ip", "203.0.113.9", true},
		{"loopback upstream, Via", "127.0.0.1:8080", "Via", "1.1 proxy", true},
		{"loopback upstream that adds nothing, browser's Origin", "127.0.0.1:8080", "Origin", "https://app.example.com", true},
		{"loopback upstream, Origin null", "127.0.0.1:8080", "Origin", "null", true},
		{"loopback upstream, Origin made to look so", "127.0.0.1:8080", "Origin", "https://localhost@app.example.com", true},
		{"direct, own Origin", "localhost:8080", "Origin", "http://localhost:8080", false},
		{"direct, development server's Origin", "localhost:8080", "Origin", "http://localhost:5173", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := request("x=v")
			r.Host = c.host
			r.Header.Set(c.header, c.value)
			p := cookies.Policy{Name: "x", InsecureLoopback: true}
			if c.refused {
				refusesAll(t, p, r)
			} else if v, err := p.Get(r); v != "v" || err != nil {
				t.Errorf("got %q, %v", v, err)
			}
		})
	}
	refusesAll(t, cookies.Policy{Name: "x", InsecureLoopback: true}, nil)
}

// Without the switch nothing about the host matters.
func TestStrictOnLoopback(t *testing.T) {
	for _, c := range hosts {
		r, w := request(), httptest.NewRecorder()
		r.Host = c.host
		if err := (cookies.Policy{Name: "x"}).Set(w, r, "v", time.Time{}); err != nil || !strings.HasPrefix(lines(w)[0], "__Host-x=v; Path=/; HttpOnly; Secure") {
			t.Errorf("%s: got %q, %v", c.host, lines(w), err)
		}
	}
}

// FuzzLoopbackHost holds the switch against how a browser would read the host.
func FuzzLoopbackHost(f *testing.F) {
	for _, c := range hosts {
		f.Add(c.host)
	}
	f.Fuzz(func(t *testing.T, host string) {
		r := request()
		r.Host = host
		if (cookies.Policy{Name: "x", InsecureLoopback: true}).Clear(httptest.NewRecorder(), r) != nil {
			return
		}
		u, err := url.Parse("http://" + host + "/")
		if err != nil || u.Host != host || u.User != nil {
			t.Fatalf("%q passes, and is no host: %v", host, err)
		}
		name := strings.ToLower(u.Hostname())
		addr, err := netip.ParseAddr(name)
		if name != "localhost" && !strings.HasSuffix(name, ".localhost") && (err != nil || !addr.IsLoopback()) {
			t.Fatalf("%q passes as loopback", host)
		}
	})
}
