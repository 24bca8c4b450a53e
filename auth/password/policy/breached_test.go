package policy_test

import (
	"context"
	"crypto/sha1"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/auth/password/policy"
)

// source is a Source by a function; nil knows nothing.
type source func(pw string) (bool, error)

func (f source) Breached(_ context.Context, pw string) (bool, error) {
	if f == nil {
		return false, nil
	}
	return f(pw)
}

// leaked are the passwords that the services of these tests know.
var leaked = []string{"tr0ub4dor&3 and more", "Mixed Case Was Leaked", "caf\u00e9 au lait at nine"}

// service speaks the range protocol as Pwned Passwords does: lines of 35 capital digits and a count, CRLF between, and padding
// of count 0 when asked for.
func service(t testing.TB, seen func(r *http.Request)) *httptest.Server {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if seen != nil {
			seen(r)
		}
		prefix := strings.TrimPrefix(r.URL.Path, "/range/")
		lines := []string{"0018A45C4D1DEF81644B54AB7F969B88D65:1", "00D4F6E8FA6EECAD2A3AA415EEC418D38EC:2"}
		for i, pw := range leaked {
			if digits := fmt.Sprintf("%X", sha1.Sum([]byte(pw))); digits[:5] == prefix {
				lines = append(lines, fmt.Sprintf("%s:%d", digits[5:], 3+i))
			}
		}
		if r.Header.Get("Add-Padding") == "true" {
			// Padding may be anything, also the very hash that is asked for.
			lines = append(lines, fmt.Sprintf("%X", sha1.Sum([]byte("padding is no breach")))[5:]+":0", "FFF4F6E8FA6EECAD2A3AA415EEC418D38EC:0")
		}
		w.Header().Set("Content-Type", "text/plain")
		_, _ = io.WriteString(w, strings.Join(lines, "\r\n"))
	}))
	t.Cleanup(srv.Close)
	return srv
}

func newRanges(t testing.TB, c policy.RangesConfig) *policy.Ranges {
	t.Helper()
	r, err := policy.NewRanges(c)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// STD-P07: a breached password is refused with the reason, in any letter case where the list has it in small letters or
// as it is typed; one that is only like it is not.
func TestRanges_STD_P07(t *testing.T) {
	p := newPolicy(t, policy.Config{Breached: []policy.Source{newRanges(t, policy.RangesConfig{URL: service(t, nil).URL + "/range/"})}})
	for _, pw := range []string{"tr0ub4dor&3 and more", "TR0UB4DOR&3 AND MORE", "Tr0ub4dor&3 And More", "Mixed Case Was Leaked", "cafe\u0301 au lait at nine", "CAF\u00c9 AU LAIT AT NINE"} {
		want(t, p, pw, nil, policy.Breached)
	}
	for _, pw := range []string{"tr0ub4dor&3 and more!", "xtr0ub4dor&3 and more", "padding is no breach", "correct horse battery staple"} {
		want(t, p, pw, nil)
	}
}

// The service learns five digits and nothing else: no more of the hash, no cookie, no referrer; and it is asked to hide the
// length of its answer.
func TestRanges_WhatIsSent(t *testing.T) {
	var requests []*http.Request
	srv := service(t, func(r *http.Request) { requests = append(requests, r) })
	jar, _ := cookiejar.New(nil)
	u, _ := url.Parse(srv.URL)
	jar.SetCookies(u, []*http.Cookie{{Name: "id", Value: "1"}})
	ranges := newRanges(t, policy.RangesConfig{URL: srv.URL + "/range", Client: &http.Client{Jar: jar}}) // without the slash too
	const pw = "correct horse battery staple"                                                            // SHA-1 BF6DA A94...
	if known, err := ranges.Breached(t.Context(), pw); known || err != nil {
		t.Fatalf("got %v, %v", known, err)
	}
	if len(requests) != 1 {
		t.Fatalf("%d requests for a password in small letters", len(requests))
	}
	r := requests[0]
	digits := fmt.Sprintf("%X", sha1.Sum([]byte(pw)))
	if r.Method != "GET" || r.URL.String() != "/range/"+digits[:5] || r.Header.Get("Add-Padding") != "true" || r.UserAgent() == "" {
		t.Errorf("got %s %s, %v", r.Method, r.URL, r.Header)
	}
	if all := fmt.Sprint(r.URL, r.Header); strings.Contains(all, digits[5:12]) || strings.Contains(all, "horse") || r.Header.Get("Cookie") != "" || r.Referer() != "" {
		t.Errorf("sent %s", all)
	}
}

// Whatever is no list of the protocol is an outage and never "not breached": statuses, redirects, another page in its place, an empty or endless
// one. The error names neither the password nor any of its hash.
func TestRanges_Faults(t *testing.T) {
	const pw = "tr0ub4dor&3 and more"
	digits := fmt.Sprintf("%X", sha1.Sum([]byte(pw)))
	good, padded := digits[5:]+":7", "0018A45C4D1DEF81644B54AB7F969B88D65:1"
	elsewhere := service(t, nil)
	for name, answer := range map[string]http.HandlerFunc{
		"500":             func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500); _, _ = io.WriteString(w, good) },
		"404 with a list": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(404); _, _ = io.WriteString(w, padded) },
		"206 with a list": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(206); _, _ = io.WriteString(w, padded) },
		"302 with a list": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(302); _, _ = io.WriteString(w, padded) },
		"404":             func(w http.ResponseWriter, r *http.Request) { http.NotFound(w, r) },
		"429":             func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(429) },
		"204":             func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) },
		"a redirect": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.URL+r.URL.Path, http.StatusFound)
		},
		"a permanent one": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.URL+r.URL.Path, http.StatusPermanentRedirect)
		},
		"a login page": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "<html>Welcome to the airport</html>")
		},
		"nothing":           func(http.ResponseWriter, *http.Request) {},
		"empty lines":       func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "\r\n\r\n") },
		"no count":          func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, digits[5:]+"\r\n") },
		"a count of text":   func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, digits[5:]+":many") },
		"a negative count":  func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, digits[5:]+":-1") },
		"whole hashes":      func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, digits+":7") },
		"no hexadecimals":   func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, strings.Repeat("Z", 35)+":7") },
		"a bad line behind": func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, good+"\r\n<html>") },
		"endless": func(w http.ResponseWriter, _ *http.Request) {
			for range 20_000 {
				_, _ = io.WriteString(w, good+"\r\n")
			}
		},
		"cut": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			_, _ = io.WriteString(w, good+"\r\n")
		},
		"a hang-up": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	} {
		t.Run(name, func(t *testing.T) {
			srv := httptest.NewServer(answer)
			defer srv.Close()
			known, err := newRanges(t, policy.RangesConfig{URL: srv.URL + "/range/"}).Breached(t.Context(), pw)
			if err == nil || known {
				t.Fatalf("got %v, %v", known, err)
			}
			if name == "endless" && !strings.Contains(err.Error(), "more than 524288 bytes") {
				t.Errorf("got %v", err) // a cut line would do as well, by chance
			}
			if text := err.Error(); strings.Contains(text, digits[:5]) || strings.Contains(text, "tr0ub") || len(text) > 300 {
				t.Errorf("got %v", err)
			}
		})
	}
	srv := httptest.NewServer(http.NotFoundHandler())
	srv.Close() // nobody listens
	if _, err := newRanges(t, policy.RangesConfig{URL: srv.URL + "/range/"}).Breached(t.Context(), pw); err == nil || strings.Contains(err.Error(), digits[:5]) {
		t.Errorf("got %v", err)
	}
}

// waiting is a service that answers after a time, within its own two requests.
type waiting time.Duration

func (d waiting) RoundTrip(r *http.Request) (*http.Response, error) {
	select {
	case <-time.After(time.Duration(d)):
		return &http.Response{StatusCode: 200, Body: io.NopCloser(strings.NewReader("0018A45C4D1DEF81644B54AB7F969B88D65:1")), Header: http.Header{}}, nil
	case <-r.Context().Done():
		return nil, context.Cause(r.Context())
	}
}

// The whole of a check ends within its time, two requests or one; and with the request that asked.
func TestRanges_Deadline(t *testing.T) {
	for _, c := range []struct {
		name           string
		pw             string
		each, set, max time.Duration
		ok             bool
	}{
		{"default", "all in small letters", time.Hour, 0, 2 * time.Second, false},
		{"set", "all in small letters", time.Hour, 5 * time.Second, 5 * time.Second, false},
		{"in time", "all in small letters", time.Second, 0, time.Second, true},
		{"two in time", "With Capital Letters", 900 * time.Millisecond, 0, 1800 * time.Millisecond, true},
		{"the second too late", "With Capital Letters", 1500 * time.Millisecond, 0, 2 * time.Second, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begin := time.Now()
				known, err := newRanges(t, policy.RangesConfig{Client: &http.Client{Transport: waiting(c.each)}, Timeout: c.set}).Breached(t.Context(), c.pw)
				if took := time.Since(begin); known || (err == nil) != c.ok || took != c.max {
					t.Errorf("got %v, %v after %v, want %v", known, err, took, c.max)
				}
			})
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := newRanges(t, policy.RangesConfig{Client: &http.Client{Transport: waiting(time.Hour)}}).Breached(ctx, "pw"); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestNewRanges_Refused(t *testing.T) {
	for _, c := range []policy.RangesConfig{
		{URL: "http://api.pwnedpasswords.com/range/"}, {URL: "ftp://x/"}, {URL: "range/"}, {URL: "https:///range"}, {URL: "https://user:pass@x/"},
		{URL: "https://x/?q="}, {URL: "https://x/#f"}, {URL: "https://x/\x7f"}, {Timeout: -1}, {Timeout: 31 * time.Second},
	} {
		if r, err := policy.NewRanges(c); err == nil || r != nil || strings.Contains(err.Error(), "pass@") {
			t.Errorf("%+v: got %v", c, err)
		}
	}
	for _, u := range []string{"", "https://hibp.internal.example/range", "http://127.0.0.1:8080/", "http://localhost/range/", "http://[::1]:1/"} {
		if _, err := policy.NewRanges(policy.RangesConfig{URL: u}); err != nil {
			t.Errorf("%s: %v", u, err)
		}
	}
}

// What happens while a service is away is stated: 503 by default, accepted by the named option, an event either way; the
// rules that need nobody hold, and one service that knows the password settles it.
func TestCheck_Outage(t *testing.T) {
	down := errors.New("connection refused")
	away := source(func(string) (bool, error) { return false, down })
	yes := source(func(string) (bool, error) { return true, nil })
	var told []auth.Event
	observe := func(_ context.Context, e auth.Event) { told = append(told, e) }
	const good = "correct horse battery staple"

	strict := newPolicy(t, policy.Config{Breached: []policy.Source{away}, Observe: observe})
	err := strict.Check(t.Context(), good)
	rec := httptest.NewRecorder()
	auth.WriteProblem(rec, err)
	if !errors.Is(err, auth.StoreUnavailable) || !errors.Is(err, down) || rec.Code != 503 || rec.Header().Get("Retry-After") == "" {
		t.Errorf("got %v, %d", err, rec.Code)
	}
	if len(told) != 1 || told[0].Name != "outage" || told[0].Outcome != "refused" || !errors.Is(told[0].Err, down) || told[0].Time.IsZero() {
		t.Errorf("told: %+v", told)
	}
	want(t, strict, "short", nil, policy.TooShort) // what is wrong anyhow is told as such

	loose := newPolicy(t, policy.Config{Breached: []policy.Source{away}, IgnoreOutage: true, Observe: observe})
	told = nil
	want(t, loose, good, nil)
	if len(told) != 1 || told[0].Outcome != "ignored" || !errors.Is(told[0].Err, down) {
		t.Errorf("told: %+v", told)
	}
	want(t, loose, "passwordpassword", nil, policy.Pattern)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := loose.Check(ctx, good); auth.CodeOf(err) != auth.StoreUnavailable {
		t.Errorf("a client that hangs up: got %v", err)
	}

	for _, both := range [][]policy.Source{{away, yes}, {yes, away}} {
		for _, ignore := range []bool{false, true} {
			want(t, newPolicy(t, policy.Config{Breached: both, IgnoreOutage: ignore}), good, nil, policy.Breached)
		}
	}
	if err := newPolicy(t, policy.Config{Breached: []policy.Source{source(nil), away}}).Check(t.Context(), good); auth.CodeOf(err) != auth.StoreUnavailable {
		t.Errorf("one of two away: got %v", err)
	}
}

func TestNew_Refused(t *testing.T) {
	for name, c := range map[string]struct {
		config policy.Config
		want   string
	}{
		"MaxBytes under bcrypt's":        {policy.Config{MaxBytes: 71}, "got 71, expected 0 (the default) or 72 to 2048"},
		"MaxBytes over the hasher's":     {policy.Config{MaxBytes: 2049}, "got 2049"},
		"MaxBytes below 0":               {policy.Config{MaxBytes: -1}, "got -1"},
		"a nil source":                   {policy.Config{Breached: []policy.Source{source(nil), nil}}, "nil Source"},
		"an outage that there cannot be": {policy.Config{IgnoreOutage: true}, "IgnoreOutage without"},
	} {
		t.Run(name, func(t *testing.T) {
			if p, err := policy.New(c.config); err == nil || p != nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

// What the caller does to its slices afterwards changes no policy.
func TestNew_Copies(t *testing.T) {
	var asked atomic.Int32
	sources := []policy.Source{source(func(string) (bool, error) { asked.Add(1); return true, nil })}
	words := []string{"doorward"}
	p := newPolicy(t, policy.Config{Breached: sources, Words: words})
	sources[0], words[0] = source(nil), "other"
	want(t, p, "doorward-2026-!!", nil, policy.Context, policy.Breached)
}

// STD-P07 without any service: a list of one's own, whole passwords in any letter case.
func TestList_STD_P07(t *testing.T) {
	l, err := policy.ReadList(strings.NewReader("Tr0ub4dor&3 And More\r\n\n# a comment is one\nCaf\u00e9 au lait at nine"))
	if err != nil {
		t.Fatal(err)
	}
	p := newPolicy(t, policy.Config{Breached: []policy.Source{l}})
	for _, pw := range []string{"tr0ub4dor&3 and more", "TR0UB4DOR&3 AND MORE", "# A comment is one", "cafe\u0301 AU lait at nine"} {
		want(t, p, pw, nil, policy.Breached)
	}
	want(t, p, "tr0ub4dor&3 and more!", nil)
	for name, text := range map[string]string{"empty": "", "empty lines": "\n\r\n\n", "a line of 64 KiB": strings.Repeat("x", 64<<10)} {
		if l, err := policy.ReadList(strings.NewReader(text)); err == nil || l != nil {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// FuzzRange: no answer of a service makes the reader panic; what it calls known stands in a line with a count.
func FuzzRange(f *testing.F) {
	const pw = "tr0ub4dor&3 and more"
	rest := fmt.Sprintf("%X", sha1.Sum([]byte(pw)))[5:]
	for _, body := range []string{rest + ":1", rest + ":0", strings.ToLower(rest) + ":1\r\n", rest, "", "\r\n", ":", rest + ":99999999999999999999", "<html>", rest + ":1:1", rest + ": 1", rest + ":+1"} {
		f.Add([]byte(body))
	}
	var body []byte
	ranges := newRanges(f, policy.RangesConfig{Client: &http.Client{Transport: answers{&body}}})
	f.Fuzz(func(t *testing.T, answer []byte) {
		body = answer
		known, err := ranges.Breached(t.Context(), pw)
		if known && (err != nil || !strings.Contains(strings.ToUpper(string(answer)), rest+":")) {
			t.Errorf("%q: got %v, %v", answer, known, err)
		}
		if err == nil && !known && strings.Contains(string(answer), rest+":1\r\n") {
			t.Errorf("%q: not found", answer)
		}
	})
}

// answers is a service with one body for everything.
type answers struct{ body *[]byte }

func (a answers) RoundTrip(*http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: 200, Body: io.NopCloser(strings.NewReader(string(*a.body))), Header: http.Header{}}, nil
}
