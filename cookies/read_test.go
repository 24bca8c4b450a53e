package cookies_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/cookies"
)

// tossed are Cookie headers that an attack makes. The jar is the zero one; fault says which cookie, if
// any, must be refused as malformed; access is what may be read otherwise, "" for nothing.
var tossed = []struct {
	name   string
	header []string
	fault  bool
	access string
}{
	{"alone", []string{"__Host-access=good"}, false, "good"},
	{"among others", []string{"a=b; __Host-access=good; c=d"}, false, "good"},
	{"without spaces", []string{"a=b;__Host-access=good;c=d"}, false, "good"},
	{"tab and spaces round the pair", []string{"a=b;\t __Host-access=good \t;"}, false, "good"},
	{"second header line", []string{"a=b", "__Host-access=good"}, false, "good"},
	{"none", []string{"a=b"}, false, ""},
	{"no header", nil, false, ""},
	{"empty header", []string{""}, false, ""},
	{"semicolons only", []string{";;; ; ;"}, false, ""},

	{"ATK-C06 twice", []string{"__Host-access=good; __Host-access=evil"}, true, ""},
	{"ATK-C06 twice the same", []string{"__Host-access=good; __Host-access=good"}, true, ""},
	{"ATK-C06 twice in two header lines", []string{"__Host-access=good", "__Host-access=evil"}, true, ""},
	{"ATK-C06 three times", []string{"__Host-access=a; __Host-access=b; __Host-access=c"}, true, ""},
	{"ATK-C06 second empty", []string{"__Host-access=good; __Host-access="}, true, ""},
	{"ATK-C06 second quoted", []string{`__Host-access=good; __Host-access="evil"`}, true, ""},
	{"ATK-C06 second that net/http would skip", []string{"__Host-access=good; __Host-access=e\x01vil"}, true, ""},
	{"ATK-C06 nameless cookie of our name", []string{"__Host-access=good; __Host-access"}, true, ""},
	{"ATK-C06 inside another's quotes", []string{`a="; __Host-access=evil; b="; __Host-access=good`}, true, ""},
	{"ATK-C06 jar overflow has thrown ours out", []string{strings.Repeat("junk=1; ", 180)}, false, ""},
	{"ATK-C06 behind more cookies than net/http reads", []string{strings.Repeat("junk=1; ", 4000) + "__Host-access=good"}, false, "good"},
	{"ATK-C06 two behind more cookies than net/http reads", []string{strings.Repeat("junk=1; ", 4000) + "__Host-access=a; __Host-access=b"}, true, ""},

	{"STD-C09 __host- is not ours", []string{"__host-access=evil"}, false, ""},
	{"STD-C09 __HOST- is not ours", []string{"__HOST-access=evil"}, false, ""},
	{"STD-C09 __Host-Access is not ours", []string{"__Host-Access=evil"}, false, ""},
	{"STD-C09 __Secure- is not ours", []string{"__Secure-access=evil"}, false, ""},
	{"STD-C09 no prefix is not ours", []string{"access=evil"}, false, ""},
	{"STD-C09 other spellings beside ours", []string{"__host-access=evil; __Host-access=good; access=evil; __Secure-access=evil"}, false, "good"},
	{"ATK-C06 name with a space before =", []string{"__Host-access =evil"}, false, ""},
	{"ATK-C06 name with a space beside ours", []string{"__Host-access =evil; __Host-access=good"}, false, "good"},
	{"ATK-C06 name with U+2000 before it", []string{"\u2000__Host-access=evil; __Host-access=good"}, false, "good"},
	{"ATK-C06 name with U+0085 as a byte", []string{"\x85__Host-access=evil; __Host-access=good"}, false, "good"},
	{"ATK-C06 name with NUL", []string{"__Host-access\x00=evil"}, false, ""},
	{"ATK-C06 longer name", []string{"__Host-access2=evil; x__Host-access=evil"}, false, ""},
	{"ATK-C06 our name as a value", []string{"=__Host-access=evil; x=__Host-access=evil"}, false, ""},
	{"ATK-C06 $Version", []string{`$Version=1; __Host-access=good; $Path="/"`}, false, "good"},
	{"ATK-C06 comma is no separator", []string{"a=b, __Host-access=evil"}, false, ""},

	{"ATK-C10 = in the value", []string{"__Host-access=a=b"}, true, ""},
	{"ATK-C10 space after =", []string{"__Host-access= good"}, true, ""},
	{"ATK-C10 5 KiB", []string{"__Host-access=" + strings.Repeat("v", 5<<10)}, true, ""},
}

// STD-C07, STD-C09, ATK-C06, ATK-C10: only the one cookie of the exact name and the right form is read;
// two, or an odd one, are 400 with both cookies expired.
func TestATK_C06_TossedCookies(t *testing.T) {
	for _, c := range tossed {
		t.Run(c.name, func(t *testing.T) {
			value, err := cookies.Jar{}.Access(request(c.header...))
			switch {
			case c.fault:
				isMalformed(t, value, err)
			case c.access == "":
				if value != "" || auth.CodeOf(err) != auth.CredentialsMissing {
					t.Errorf("got %q, %v, want none", value, err)
				}
			case value != c.access || err != nil:
				t.Errorf("got %q, %v, want %q", value, err, c.access)
			}
		})
	}
	// Over the wire a server splits at the semicolon, so that value is covered by the table above.
	for _, c := range odd {
		if strings.Contains(c.value, ";") {
			continue
		}
		t.Run("ATK-C10 "+c.name, func(t *testing.T) {
			value, err := cookies.Jar{}.Refresh(request("__Host-refresh=" + c.value + "; a=b"))
			isMalformed(t, value, err)
		})
	}
}

// isMalformed demands a 400 that expires both cookies and repeats nothing of what was sent.
func isMalformed(t *testing.T, value string, err error) {
	t.Helper()
	if value != "" || !errors.Is(err, auth.RequestMalformed) || auth.CodeOf(err) != auth.RequestMalformed {
		t.Fatalf("got %q, %v, want request_malformed", value, err)
	}
	if strings.Contains(err.Error(), "evil") || strings.Contains(err.Error(), "good") {
		t.Errorf("the error repeats a value: %v", err)
	}
	for range 2 { // an error may be written to two answers
		w := httptest.NewRecorder()
		auth.WriteProblem(w, err)
		if w.Code != http.StatusBadRequest {
			t.Errorf("status %d", w.Code)
		}
		got := slices.DeleteFunc(lines(w), func(line string) bool { // of a cookie that came twice, both go
			return strings.HasSuffix(line, "; Partitioned") && strings.Contains(err.Error(), "two cookies")
		})
		if want := []string{"__Host-access" + gone, "__Host-refresh" + gone}; !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// A policy of one cookie expires that one.
func TestSTD_C07_PolicyExpiresItsOwn(t *testing.T) {
	_, err := cookies.Policy{Name: "x", Path: "/a"}.Get(request("__Secure-x=1; __Secure-x=2"))
	w := httptest.NewRecorder()
	auth.WriteProblem(w, err)
	const line = "__Secure-x=; Path=/a; Max-Age=0; HttpOnly; Secure; SameSite=Lax"
	if want := []string{line, line + "; Partitioned"}; w.Code != 400 || !slices.Equal(lines(w), want) {
		t.Errorf("got %d %q, want %q", w.Code, lines(w), want)
	}
}

// The method value is what package auth expects, and the principal is one that CSRF applies to.
func TestAccessIsAnAuthenticator(t *testing.T) {
	a := auth.Cookie(cookies.Jar{}.Access, subject{})
	if _, err := a.Authenticate(request()); auth.CodeOf(err) != auth.CredentialsMissing {
		t.Errorf("no cookie: %v", err)
	}
	if _, err := a.Authenticate(request("__Host-access=a; __Host-access=b")); auth.CodeOf(err) != auth.RequestMalformed {
		t.Errorf("two cookies: %v", err)
	}
	p, err := a.Authenticate(request("__Host-access=ann"))
	if err != nil || p.Subject != "ann" || !p.Ambient {
		t.Errorf("got %+v, %v", p, err)
	}
}

// Reading is on the warm path of every request that a cookie guards.
func TestAccessAllocatesNothing(t *testing.T) {
	for name, jar := range map[string]cookies.Jar{"__Host-access": {}, "__Host-shop-access": {Name: "shop"}} {
		r := browserRequest(name)
		if n := testing.AllocsPerRun(100, func() {
			if v, err := jar.Access(r); v == "" || err != nil {
				t.Fatal(v, err)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// FuzzCookieReader holds the reader against a slow and simple one, and against net/http: what is read is
// the one cookie of the exact name, it is what net/http sees too, and it could have been set by us.
func FuzzCookieReader(f *testing.F) {
	for _, c := range tossed {
		f.Add(strings.Join(c.header, "; "))
	}
	for _, c := range odd {
		f.Add("a=b; __Host-access=" + c.value)
	}
	seal := sealWith("k1")
	f.Add(sealedLine(f, cookies.Jar{Seal: seal}, "good"))
	f.Fuzz(func(t *testing.T, header string) {
		r := request(header)
		value, err := cookies.Jar{}.Access(r)
		ours := 0
		for pair := range strings.SplitSeq(header, ";") {
			pair = strings.Trim(pair, " \t\r\n")
			if pair == "__Host-access" || strings.HasPrefix(pair, "__Host-access=") {
				ours++
			}
		}
		switch code := auth.CodeOf(err); {
		case err == nil:
			if ours != 1 || value == "" {
				t.Fatalf("%d cookies of our name, and got %q", ours, value)
			}
			if seen := r.CookiesNamed("__Host-access"); strings.Count(header, ";") < 3000 &&
				!slices.ContainsFunc(seen, func(c *http.Cookie) bool { return c.Value == value && !c.Quoted }) {
				t.Fatalf("got %q, net/http %v", value, seen)
			}
			w := httptest.NewRecorder()
			if err := (cookies.Jar{}).Set(w, request(), &auth.Pair{Access: value}); err != nil {
				t.Fatalf("read but not settable: %v", err)
			}
		case value != "":
			t.Fatalf("%q and an error: %v", value, err)
		case code == auth.CredentialsMissing && ours != 0, code == auth.RequestMalformed && ours == 0:
			t.Fatalf("%d cookies of our name: %v", ours, err)
		case code != auth.CredentialsMissing && code != auth.RequestMalformed:
			t.Fatal(err)
		}
		if v, err := (cookies.Jar{Seal: seal}).Access(r); err == nil && v != "good" {
			t.Fatalf("a forged seal opened: %q", v)
		}
	})
}

// subject takes every credential for the name of a subject.
type subject struct{}

func (subject) Verify(_ context.Context, credential string) (*auth.Principal, error) {
	return &auth.Principal{Subject: credential}, nil
}
