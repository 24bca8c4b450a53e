package cookies_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/cookies"
)

// F-56: login and guard whose jars differ. The cookie stays missing; the error's text names it, and no value.
func TestMissing_F_56_NamesTheOtherCookie(t *testing.T) {
	const secret = "hunter2hunter2"
	shop, zero := cookies.Jar{Name: "shop"}, cookies.Jar{}
	device := cookies.Policy{Name: "device"}
	for name, c := range map[string]struct {
		read   func(*http.Request) (string, error)
		header string
		want   string // the name of the cookie that came, "" for the bare code
	}{
		"a jar with a name":          {shop.Access, "theme=dark; __Host-access=" + secret, "__Host-access"},
		"a jar without":              {zero.Access, "__Host-shop-access=" + secret, "__Host-shop-access"},
		"a jar of another name":      {shop.Refresh, "__Host-admin-refresh=" + secret, "__Host-admin-refresh"},
		"InsecureLoopback":           {zero.Access, "access=" + secret, "access"},
		"a policy with a path":       {device.Get, "__Secure-device=" + secret, "__Secure-device"},
		"in another letter case":     {zero.Access, "__host-access=" + secret, "__host-access"},
		"nothing":                    {zero.Access, "", ""},
		"cookies of others":          {zero.Access, "theme=dark; sid=" + secret, ""},
		"the other token of a jar":   {zero.Access, "__Host-refresh=" + secret, ""},
		"a longer word":              {zero.Access, "noaccess=" + secret, ""},
		"a value without a name":     {zero.Access, secret + "-access", ""},
		"a name that is no name":     {zero.Access, "=__Host-access=" + secret, ""},
		"a token that looks like it": {zero.Access, strings.Repeat(secret, 5) + "-access=", ""},
	} {
		t.Run(name, func(t *testing.T) {
			value, err := c.read(&http.Request{Header: http.Header{"Cookie": {c.header}}})
			if value != "" || auth.CodeOf(err) != auth.CredentialsMissing {
				t.Fatalf("got %q, %v", value, err)
			}
			if bare := err == error(auth.CredentialsMissing); bare != (c.want == "") {
				t.Errorf("got %v", err)
			}
			if !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), secret) {
				t.Errorf("got %v, expected it to name %q", err, c.want)
			}
		})
	}
}

// A request that has another cookie, or none, costs nothing more than it did: a good bearer token comes that way.
func TestMissing_Allocations(t *testing.T) {
	jar := cookies.Jar{Name: "shop"}
	r := &http.Request{Header: http.Header{"Cookie": {"theme=dark; _ga=GA1.1.1; sid=x"}}}
	if n := testing.AllocsPerRun(100, func() { _, _ = jar.Access(r) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
