package middleware_test

import (
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/doorward/doorward/cookies"
	"github.com/doorward/doorward/middleware"
)

// STD-F10: what a browser would spell otherwise is refused, with what was expected.
func TestSTD_F10_ConfiguredOrigins(t *testing.T) {
	for name, c := range map[string]struct{ origin, expected string }{
		"empty":               {"", "https://host"},
		"null":                {"null", "https://host"},
		"host alone":          {"app.example.com", "https://host"},
		"other scheme":        {"ws://app.example.com", "https://host"},
		"file":                {"file:///", "https://host"},
		"no host":             {"https://", "https://host"},
		"port alone":          {"https://:8443", "host"},
		"path":                {"https://app.example.com/app", `"https://app.example.com"`},
		"trailing slash":      {"https://app.example.com/", `"https://app.example.com"`},
		"query":               {"https://app.example.com?a=b", `"https://app.example.com"`},
		"fragment":            {"https://app.example.com#a", `"https://app.example.com"`},
		"user":                {"https://ann@app.example.com", `"https://app.example.com"`},
		"upper case":          {"https://App.example.com", `"https://app.example.com"`},
		"upper case scheme":   {"HTTPS://app.example.com", `"https://app.example.com"`},
		"default port":        {"https://app.example.com:443", `"https://app.example.com"`},
		"default http port":   {"http://localhost:80", `"http://localhost"`},
		"port with a zero":    {"https://app.example.com:08443", `"https://app.example.com:8443"`},
		"empty port":          {"https://app.example.com:", `"https://app.example.com"`},
		"port 0":              {"https://app.example.com:0", "1 to 65535"},
		"port too high":       {"https://app.example.com:65536", "1 to 65535"},
		"wildcard":            {"https://*.example.com", "without a wildcard"},
		"wildcard alone":      {"*", "https://host"},
		"trailing dot":        {"https://app.example.com.", "one name"},
		"empty label":         {"https://app..example.com", "one name"},
		"not ASCII":           {"https://bücher.example", "in ASCII"},
		"encoded":             {"https://app%2eexample.com", ""},
		"short IPv4":          {"https://127.1", "one name"},
		"IPv4 with zeros":     {"https://010.0.0.1", "one name"},
		"IPv6 not canonical":  {"https://[0:0::1]", `"https://[::1]"`},
		"IPv6 with a zone":    {"https://[fe80::1%25eth0]", "one name"},
		"IPv6, mapped IPv4":   {"https://[::ffff:127.0.0.1]", "one name"},
		"http":                {"http://app.example.com", "expected https"},
		"http, address":       {"http://192.0.2.1:8080", "expected https"},
		"http, like loopback": {"http://localhost.example.com", "expected https"},
		"two":                 {"https://a.example,https://b.example", ""},
		"control":             {"https://app.example.com\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			for _, origins := range [][]string{{c.origin}, {own, c.origin}} {
				_, err := middleware.NewCSRF(keys, origins...)
				if err == nil {
					t.Fatalf("%q was accepted", origins)
				}
				if got := fmt.Sprintf("%q", c.origin); !strings.Contains(err.Error(), got) || !strings.Contains(err.Error(), c.expected) {
					t.Errorf("%v: lacks got %s or expected %s", err, got, c.expected)
				}
			}
		})
	}
	for _, origin := range []string{
		"https://app.example.com", "https://app.example.com:8443", "https://xn--bcher-kva.example", "https://192.0.2.1",
		"https://[2001:db8::1]:8443", "http://localhost", "http://localhost:8080", "http://spa.localhost:5173", "http://127.0.0.1:8080", "http://[::1]:8080",
	} {
		if _, err := middleware.NewCSRF(keys, origin); err != nil {
			t.Errorf("%s: %v", origin, err)
		}
	}
}

// The hosts that may have http are those to which cookies.Policy sends without Secure.
func TestHTTPOrigins_LoopbackAsInCookies(t *testing.T) {
	for host, loopback := range map[string]bool{
		"localhost": true, "localhost:8080": true, "a.localhost": true, "a.b.localhost:3000": true, "127.0.0.1": true,
		"127.255.255.254:81": true, "[::1]": true, "[::1]:8080": true,
		"localhost.": false, "localhost.evil.tld": false, "a-localhost": false, ".localhost": false, "127.1": false, "127.0.0.1.evil.tld": false,
		"128.0.0.1": false, "0.0.0.0": false, "10.0.0.1:8080": false, "[::]": false, "[::2]": false, "[::ffff:127.0.0.1]": false, "[::1%25lo]": false,
		"[::1%lo]": false, "[localhost]": false, "::1": false, "2130706433": false, "0x7f.0.0.1": false,
	} {
		if _, err := middleware.NewCSRF(keys, "http://"+host); (err == nil) != loopback {
			t.Errorf("NewCSRF, %s: got %v", host, err)
		}
		if isLoopbackForCookies(host) != loopback {
			t.Errorf("cookies, %s: got %v", host, !loopback)
		}
	}
}

func isLoopbackForCookies(host string) bool {
	r := request("GET", "/")
	r.Host = host
	return cookies.Policy{Name: "x", InsecureLoopback: true}.Clear(httptest.NewRecorder(), r) == nil
}

func TestNewCSRF_Refusals(t *testing.T) {
	for name, c := range map[string]struct {
		keys    middleware.KeySource
		origins []string
	}{
		"no keys":         {nil, []string{own}},
		"no origin":       {keys, nil},
		"no secret":       {secrets{}, []string{own}},
		"id with a space": {secrets{{"a b", "s"}}, []string{own}},
		"id too long":     {secrets{{strings.Repeat("a", 65), "s"}}, []string{own}},
		"empty id":        {secrets{{"", "s"}}, []string{own}},
		"short key":       {derive(func(string, string, string) (string, []byte, error) { return "a", make([]byte, 31), nil }), []string{own}},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := middleware.NewCSRF(c.keys, c.origins...); err == nil {
				t.Error("accepted")
			}
		})
	}
}

type derive func(id, salt, purpose string) (string, []byte, error)

func (f derive) Derive(id, salt, purpose string) (string, []byte, error) { return f(id, salt, purpose) }
