package middleware_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/middleware"
)

const partner = "https://partner.example"

// origins are requests by what the browser says, and what the origin part decides.
var originTable = map[string]struct {
	headers []string
	foreign bool
}{
	"STD-F02 same-origin":                       {[]string{"Sec-Fetch-Site: same-origin"}, false},
	"STD-F02 none":                              {[]string{"Sec-Fetch-Site: none"}, false},
	"STD-F02 same-origin, own Origin":           {[]string{"Sec-Fetch-Site: same-origin", "Origin: " + own}, false},
	"STD-F02 cross-site, trusted Origin":        {[]string{"Sec-Fetch-Site: cross-site", "Origin: " + partner}, false},
	"STD-F02 same-site, own Origin":             {[]string{"Sec-Fetch-Site: same-site", "Origin: " + own}, false},
	"STD-F02 unknown, trusted Origin":           {[]string{"Sec-Fetch-Site: new-word", "Origin: " + partner}, false},
	"STD-F02 cross-site, foreign Origin":        {[]string{"Sec-Fetch-Site: cross-site", "Origin: https://evil.example"}, true},
	"STD-F03 own Origin alone":                  {[]string{"Origin: " + own}, false},
	"STD-F04 ATK-C02 null, same-origin":         {[]string{"Sec-Fetch-Site: same-origin", "Origin: null"}, false},
	"STD-F04 ATK-C02 null alone":                {[]string{"Origin: null"}, true},
	"ATK-C02 null, cross-site":                  {[]string{"Sec-Fetch-Site: cross-site", "Origin: null"}, true},
	"ATK-C02 null, same-site":                   {[]string{"Sec-Fetch-Site: same-site", "Origin: null"}, true},
	"ATK-C02 null, none":                        {[]string{"Sec-Fetch-Site: none", "Origin: null"}, true},
	"ATK-C02 Null, same-origin":                 {[]string{"Sec-Fetch-Site: same-origin", "Origin: Null"}, true},
	"ATK-C03 same-site":                         {[]string{"Sec-Fetch-Site: same-site"}, true},
	"ATK-C03 cross-site":                        {[]string{"Sec-Fetch-Site: cross-site"}, true},
	"ATK-C03 unknown word":                      {[]string{"Sec-Fetch-Site: sameorigin"}, true},
	"ATK-C03 upper case":                        {[]string{"Sec-Fetch-Site: Same-Origin"}, true},
	"ATK-C03 empty":                             {[]string{"Sec-Fetch-Site: "}, true},
	"ATK-C03 two in one":                        {[]string{"Sec-Fetch-Site: same-origin, same-origin"}, true},
	"ATK-C03 two values":                        {[]string{"Sec-Fetch-Site: same-origin", "Sec-Fetch-Site: cross-site"}, true},
	"ATK-C03 two values, trusted Origin":        {[]string{"Sec-Fetch-Site: same-origin", "Sec-Fetch-Site: cross-site", "Origin: " + own}, true},
	"ATK-C05 http of the own host":              {[]string{"Origin: http://app.example.com"}, true},
	"ATK-C05 http of the own host, same-origin": {[]string{"Sec-Fetch-Site: same-origin", "Origin: http://app.example.com"}, true},
	"ATK-C05 other port":                        {[]string{"Origin: https://app.example.com:8443"}, true},
	"ATK-C05 default port":                      {[]string{"Origin: https://app.example.com:443"}, true},
	"ATK-C05 prefix":                            {[]string{"Origin: https://app.example.com.evil.tld"}, true},
	"ATK-C05 suffix":                            {[]string{"Origin: https://evil-app.example.com"}, true},
	"ATK-C05 subdomain":                         {[]string{"Origin: https://x.app.example.com"}, true},
	"ATK-C05 user":                              {[]string{"Origin: https://app.example.com@evil.example"}, true},
	"ATK-C05 trailing dot":                      {[]string{"Origin: https://app.example.com."}, true},
	"ATK-C05 upper case":                        {[]string{"Origin: https://APP.example.com"}, true},
	"ATK-C05 punycode twin":                     {[]string{"Origin: https://xn--pp-8kc.example.com"}, true},
	"ATK-C05 path":                              {[]string{"Origin: https://app.example.com/"}, true},
	"ATK-C05 list":                              {[]string{"Origin: https://app.example.com https://evil.example"}, true},
	"ATK-C05 the Host of the request":           {[]string{"Origin: https://example.com"}, true}, // httptest's default Host
	"two Origins":                               {[]string{"Origin: " + own, "Origin: " + own}, true},
	"empty Origin":                              {[]string{"Origin: "}, true},
	"foreign Origin, same-origin":               {[]string{"Sec-Fetch-Site: same-origin", "Origin: https://evil.example"}, true},
	"foreign Origin, none":                      {[]string{"Sec-Fetch-Site: none", "Origin: https://evil.example"}, true},
}

// With a good token in every request the origin part alone decides; it decides alike on a login.
func TestCSRF_Origins(t *testing.T) {
	c := newCSRF(t, partner)
	good := "X-CSRF-Token: " + token(t, c, "sid-ann")
	for name, o := range originTable {
		t.Run(name, func(t *testing.T) {
			var code auth.Code
			if o.foreign {
				code = auth.CSRFFailed
			}
			for _, method := range []string{"POST", "DELETE", "TRACE"} {
				r := as(request(method, "/", append(o.headers, good)...), ambient("sid-ann"))
				want(t, serve(middleware.RequireCSRF(c)(whoami), r), code)
				want(t, serve(middleware.RequireCSRF(c.AllowMissingToken())(whoami), r), code)
			}
			r := as(request("POST", "/", o.headers...), ambient("sid-ann"))
			want(t, serve(middleware.RequireCSRF(c)(whoami), r), auth.CSRFFailed) // STD-F05: never without the token
			want(t, serve(middleware.RequireCSRF(c.AllowMissingToken())(whoami), r), code)

			// ATK-S06: a login has no principal yet.
			if err := c.CheckOrigin(request("POST", "/login", o.headers...)); (err != nil) != o.foreign {
				t.Errorf("CheckOrigin: got %v, want foreign %v", err, o.foreign)
			} else if err != nil && auth.CodeOf(err) != auth.CSRFFailed {
				t.Errorf("CheckOrigin: got code %s", auth.CodeOf(err))
			}

			// ATK-C09: a WebSocket needs the origin and no token; scripts cannot set its headers.
			upgrade := append([]string{"Upgrade: websocket", "Connection: Upgrade"}, o.headers...)
			w := serve(middleware.RequireCSRF(c)(whoami), as(request("GET", "/", upgrade...), ambient("sid-ann")))
			want(t, w, code)
			if got := w.Header().Get("Vary"); got != "Origin, Sec-Fetch-Site" {
				t.Errorf("STD-F09: Vary: got %q", got)
			}
		})
	}
}

// STD-F05, ATK-C04: where no header speaks, the token is demanded, also from who may miss it otherwise and from
// an upgrade. A login passes: no browser sends it like that.
func TestATK_C04_NeitherHeader(t *testing.T) {
	c := newCSRF(t)
	good := "X-CSRF-Token: " + token(t, c, "sid-ann")
	for _, m := range []middleware.Middleware{middleware.RequireCSRF(c), middleware.RequireCSRF(c.AllowMissingToken())} {
		want(t, serve(m(whoami), as(request("POST", "/"), ambient("sid-ann"))), auth.CSRFFailed)
		want(t, serve(m(whoami), as(request("POST", "/", good), ambient("sid-ann"))), "")
		want(t, serve(m(whoami), as(request("GET", "/", "Upgrade: websocket"), ambient("sid-ann"))), auth.CSRFFailed)
		want(t, serve(m(whoami), as(request("GET", "/", "Upgrade: websocket", good), ambient("sid-ann"))), "")
	}
	if err := c.CheckOrigin(request("POST", "/login")); err != nil {
		t.Errorf("CheckOrigin refused a program: %v", err)
	}
}

// ATK-C09: whatever is not h2c alone is held for a WebSocket, however it is spelt; h2c is a GET, which programs
// send with cookies and without an origin.
func TestATK_C09_Upgrades(t *testing.T) {
	h := middleware.RequireCSRF(newCSRF(t))(whoami)
	for _, lines := range [][]string{
		{"websocket"}, {"WebSocket"}, {"websocket/13"}, {"h2c, websocket"}, {"websocket,h2c"}, {"h2c", "websocket"}, {"websocket", "h2c"},
		{"h2c;websocket"}, {"h2c websocket"}, {"h2c,"}, {""}, {"h2"}, {"h2c/1"}, {"TLS/1.0"}, {"SPDY/3.1"}, {"tcp"},
	} {
		for _, site := range []string{"Sec-Fetch-Site: cross-site", "Origin: https://evil.example", "Accept: */*"} {
			r := as(request("GET", "/", site), ambient("sid-ann"))
			r.Header["Upgrade"] = lines
			if w := serve(h, r); w.Code != http.StatusForbidden {
				t.Errorf("%q with %s: got %d", lines, site, w.Code)
			}
		}
	}
	for _, lines := range [][]string{{"h2c"}, {"H2C"}, {"h2c", "h2c"}, {"h2c , h2c"}} {
		r := as(request("GET", "/", "Connection: Upgrade, HTTP2-Settings", "Http2-Settings: AAMAAABkAAQAoAAAAAIAAAAA"), ambient("sid-ann"))
		r.Header["Upgrade"] = lines
		want(t, serve(h, r), "")
		r.Method = "POST"
		want(t, serve(h, r), auth.CSRFFailed)
	}
}

// STD-F06, STD-F07, ATK-C01, ATK-S05: a shown token that is not of this session is 403, whatever else holds.
func TestCSRF_WrongTokens(t *testing.T) {
	c := newCSRF(t, partner)
	old := secrets{{"2025-01", "an older secret"}}
	removed, _ := middleware.NewCSRF(old, own)
	staging, _ := middleware.NewCSRF(keys, "https://staging.example.com", own)
	good := token(t, c, "sid-ann")
	id, rest, _ := strings.Cut(good, ".")
	random, mac, _ := strings.Cut(rest, ".")
	flip := func(s string, i int) string {
		b := []byte(s)
		if b[i] == 'A' {
			b[i] = 'B'
		} else {
			b[i] = 'A'
		}
		return string(b)
	}
	for name, shown := range map[string]string{
		"ATK-C01 STD-F06 another session":        token(t, c, "sid-bob"),
		"ATK-C01 STD-F06 before login":           token(t, c, "anonymous"),
		"ATK-C01 longer session":                 token(t, c, "sid-ann2"),
		"STD-F07 double submit":                  "agreed",
		"STD-F07 double submit, foreign mac":     token(t, removed, "sid-ann"),
		"another origin's":                       token(t, staging, "sid-ann"),
		"removed key's mac, current key's id":    id + strings.TrimPrefix(token(t, removed, "sid-ann"), "2025-01"),
		"unknown key id":                         "x." + random + "." + mac,
		"unknown key id, MACed with no key":      "x." + random + "." + macWithoutKey(random, "sid-ann"),
		"empty key id":                           "." + random + "." + mac,
		"empty":                                  "",
		"dots":                                   "..",
		"no mac":                                 id + "." + random + ".",
		"no random part":                         id + ".." + mac,
		"mac alone":                              mac,
		"changed random part":                    id + "." + flip(random, 0) + "." + mac,
		"random part, spare bits":                id + "." + flip(random, len(random)-1) + "." + mac,
		"changed mac":                            id + "." + random + "." + flip(mac, 0),
		"mac, spare bits":                        id + "." + random + "." + flip(mac, len(mac)-1),
		"mac cut":                                good[:len(good)-1],
		"padded":                                 good + "=",
		"space before":                           " " + good,
		"space behind":                           good + " ",
		"twice in one":                           good + ", " + good,
		"upper case":                             strings.ToUpper(good),
		"quoted":                                 `"` + good + `"`,
		"border between random part and session": id + "." + random[:21] + "." + mac,
		"ATK-J20 long":                           strings.Repeat("a", 1<<20) + "." + random + "." + mac,
		"NUL in the key id":                      "2026\x0011." + random + "." + mac,
	} {
		t.Run(name, func(t *testing.T) {
			for _, h := range []http.Handler{middleware.RequireCSRF(c)(whoami), middleware.RequireCSRF(c.AllowMissingToken())(whoami)} {
				r := as(request("POST", "/", "Origin: "+own, "Sec-Fetch-Site: same-origin"), ambient("sid-ann"))
				r.Header["X-Csrf-Token"] = []string{shown}
				r.AddCookie(&http.Cookie{Name: "csrf", Value: "agreed"})
				w := serve(h, r)
				want(t, w, auth.CSRFFailed)
				if strings.Contains(w.Body.String(), mac) {
					t.Error("the answer tells a token")
				}
			}
		})
	}
	t.Run("twice", func(t *testing.T) {
		r := as(request("POST", "/", "Origin: "+own, "X-CSRF-Token: "+good, "X-CSRF-Token: "+good), ambient("sid-ann"))
		want(t, serve(middleware.RequireCSRF(c)(whoami), r), auth.CSRFFailed)
	})
	t.Run("in a form", func(t *testing.T) {
		r := as(request("POST", "/?X-CSRF-Token="+good, "Origin: "+own), ambient("sid-ann"))
		want(t, serve(middleware.RequireCSRF(c)(whoami), r), auth.CSRFFailed)
	})
}

// macWithoutKey is what everybody can compute.
func macWithoutKey(parts ...string) string {
	h := hmac.New(sha256.New, nil)
	for _, p := range parts {
		_, _ = fmt.Fprintf(h, "%s%s", binary.BigEndian.AppendUint64(nil, uint64(len(p))), p)
	}
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}

// Nothing but a key id reaches the KeySource: what a client writes there may be anything.
func TestCSRF_KeyIDAlphabet(t *testing.T) {
	var asked []string
	c, err := middleware.NewCSRF(derive(func(id, salt, purpose string) (string, []byte, error) {
		asked = append(asked, id)
		return keys.Derive(id, salt, purpose)
	}), own)
	if err != nil {
		t.Fatal(err)
	}
	tail := "." + strings.Repeat("A", 22) + "." + strings.Repeat("A", 43)
	for _, id := range []string{"", "a b", "../../dev/null", "' OR 1", "a\x00", "*", "é", strings.Repeat("a", 65)} {
		asked = nil
		r := as(request("POST", "/", "Origin: "+own), ambient("sid-ann"))
		r.Header["X-Csrf-Token"] = []string{id + tail}
		if err := c.Check(r); auth.CodeOf(err) != auth.CSRFFailed || len(asked) > 0 {
			t.Errorf("%q: got %v and asked for %q", id, err, asked)
		}
	}
}

// STD-F01, ATK-C08: only GET, HEAD and OPTIONS are safe, in this spelling, wherever the route lies.
func TestSTD_F01_Methods(t *testing.T) {
	mux := http.NewServeMux()
	mux.Handle("/a", whoami)
	h := middleware.RequireCSRF(newCSRF(t))(mux)
	for _, method := range []string{"POST", "PUT", "PATCH", "DELETE", "TRACE", "CONNECT", "QUERY", "BREW", "get", "Head", "GET2", ""} {
		for _, path := range []string{"/a", "//a", "/a/", "/%61", "/x/../a", "/a;get"} {
			r := as(request("GET", path, "Sec-Fetch-Site: same-origin"), ambient("sid-ann"))
			r.Method = method
			want(t, serve(h, r), auth.CSRFFailed)
		}
	}
	for _, method := range []string{"GET", "HEAD", "OPTIONS"} {
		// also from a foreign page, which a link or an image may cause
		want(t, serve(h, as(request(method, "/a", "Sec-Fetch-Site: cross-site"), ambient("sid-ann"))), "")
		want(t, serve(h, request(method, "/a")), "") // without a principal
	}
}

// ATK-C07: what a request says of another method changes nothing, in neither direction.
func TestATK_C07_MethodOverride(t *testing.T) {
	h := middleware.RequireCSRF(newCSRF(t))(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Method)
	}))
	for _, name := range []string{"X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"} {
		r := as(request("POST", "/?_method=GET", name+": GET", "Sec-Fetch-Site: same-origin"), ambient("sid-ann"))
		want(t, serve(h, r), auth.CSRFFailed)
		w := serve(h, as(request("GET", "/?_method=DELETE", name+": DELETE"), ambient("sid-ann")))
		if want(t, w, ""); w.Body.String() != "GET" {
			t.Errorf("the handler saw %s", w.Body)
		}
	}
	r := as(request("POST", "/", "Content-Type: application/x-www-form-urlencoded", "Sec-Fetch-Site: same-origin"), ambient("sid-ann"))
	r.Body = io.NopCloser(strings.NewReader("_method=GET"))
	want(t, serve(h, r), auth.CSRFFailed)
}

// STD-F05: what no browser sends by itself is exempt from all of it.
func TestSTD_F05_NotAmbient(t *testing.T) {
	h := middleware.RequireCSRF(newCSRF(t))(whoami)
	p := &auth.Principal{Subject: "ann", Session: "sid-ann"}
	w := serve(h, as(request("POST", "/", "Origin: https://evil.example", "Sec-Fetch-Site: cross-site", "X-CSRF-Token: wrong"), p))
	want(t, w, "")
	if w = serve(h, as(request("GET", "/"), p)); w.Header().Get("X-CSRF-Token") != "" {
		t.Error("a token was handed to a principal that needs none")
	}
}

// A cookie that proves neither a session nor a subject is a fault of the application: refused, with the cause in the log.
func TestCSRF_AmbientNobody(t *testing.T) {
	log := captureLog(t)
	c := newCSRF(t)
	h := middleware.RequireCSRF(c.AllowMissingToken())(whoami)
	nobody := &auth.Principal{Ambient: true, Roles: []string{"admin"}}
	want(t, serve(h, as(request("POST", "/", "Origin: "+own), nobody)), auth.Internal)
	if !strings.Contains(log.String(), "without Session and Subject") {
		t.Errorf("the log lacks the cause: %s", log)
	}
	w := serve(h, as(request("GET", "/"), nobody))
	if want(t, w, ""); w.Header().Get("X-CSRF-Token") != "" {
		t.Error("a token of nobody was handed out")
	}
	for _, p := range []*auth.Principal{nil, {}, nobody} {
		if _, err := c.Token(p); err == nil {
			t.Errorf("Token made one for %+v", p)
		}
	}
}

// an ambient principal without a session has a token of its owner, which no session's can stand for. At d9addb9 it
// was 500.
func TestCSRF_Q_25_BoundToOwner(t *testing.T) {
	c := newCSRF(t)
	h := middleware.RequireCSRF(c)(whoami)
	owner := func(issuer, subject string) *auth.Principal {
		return &auth.Principal{Issuer: issuer, Subject: subject, Ambient: true}
	}
	ann := owner("https://id.example", "ann")
	shown := serve(h, as(request("GET", "/"), ann)).Header().Get("X-CSRF-Token")
	post := func(p *auth.Principal, token string) *httptest.ResponseRecorder {
		return serve(h, as(request("POST", "/", "Origin: "+own, "X-CSRF-Token: "+token), p))
	}
	want(t, post(ann, shown), "")
	want(t, post(ann, ""), auth.CSRFFailed)
	want(t, serve(h, as(request("POST", "/", "Origin: "+own), ann)), auth.CSRFFailed)
	want(t, serve(h, as(request("POST", "/", "Origin: https://evil.example", "X-CSRF-Token: "+shown), ann)), auth.CSRFFailed)
	for name, p := range map[string]*auth.Principal{
		"another subject":            owner("https://id.example", "bob"),
		"another issuer":             owner("https://other.example", "ann"),
		"no issuer":                  owner("", "ann"),
		"the border elsewhere":       owner("https://id.examplea", "nn"),
		"a session of hers":          {Issuer: "https://id.example", Subject: "ann", Session: "sid", Ambient: true},
		"a session of that name":     {Issuer: "https://id.example", Subject: "bob", Session: "ann", Ambient: true},
		"a session of both names":    {Subject: "bob", Session: "https://id.exampleann", Ambient: true},
		"a session of the same text": {Subject: "bob", Session: "owner\x00https://id.example\x00ann", Ambient: true},
	} {
		if w := post(p, shown); w.Code != http.StatusForbidden {
			t.Errorf("%s: got %d", name, w.Code)
		}
		theirs, err := c.Token(p)
		if err != nil {
			t.Fatal(err)
		}
		if w := post(ann, theirs); w.Code != http.StatusForbidden {
			t.Errorf("the token of %s: got %d", name, w.Code)
		}
		want(t, post(p, theirs), "")
	}
	// Nor is a session that is named as a subject of no issuer, which an application's own authenticator may give.
	plain, named := owner("", "sid-ann"), &auth.Principal{Subject: "bob", Session: "sid-ann", Ambient: true}
	want(t, post(plain, token(t, c, "sid-ann")), auth.CSRFFailed)
	theirs, err := c.Token(plain)
	if err != nil {
		t.Fatal(err)
	}
	want(t, post(named, theirs), auth.CSRFFailed)
	// A session's token is bound to nothing else: sessionhttp makes it from the session alone.
	of, err := c.Token(&auth.Principal{Session: "sid-ann"})
	if err != nil {
		t.Fatal(err)
	}
	want(t, post(&auth.Principal{Issuer: "i", Subject: "ann", Session: "sid-ann", Ambient: true}, of), "")
}

// RequireCSRF hands out what it accepts, afresh each time, and to nobody's cache.
func TestCSRF_HandsOut(t *testing.T) {
	c := newCSRF(t)
	h := middleware.RequireCSRF(c)(whoami)
	seen := map[string]bool{}
	for _, method := range []string{"GET", "HEAD", "OPTIONS", "GET"} {
		w := serve(h, as(request(method, "/", "X-CSRF-Token: stale"), ambient("sid-ann")))
		shown := w.Header().Get("X-CSRF-Token")
		if shown == "" || seen[shown] || w.Header().Get("Cache-Control") != "no-store" {
			t.Fatalf("%s: got %q, %v", method, shown, w.Header())
		}
		seen[shown] = true
		want(t, serve(h, as(request("POST", "/", "Sec-Fetch-Site: same-origin", "X-CSRF-Token: "+shown), ambient("sid-ann"))), "")
	}
	for name, r := range map[string]*http.Request{
		"nobody":  request("GET", "/"),
		"upgrade": as(request("GET", "/", "Upgrade: websocket", "Origin: https://evil.example"), ambient("sid-ann")),
		"unsafe":  as(request("POST", "/", "Origin: "+own, "X-CSRF-Token: "+token(t, c, "sid-ann")), ambient("sid-ann")),
	} {
		if got := serve(h, r).Header().Get("X-CSRF-Token"); got != "" {
			t.Errorf("%s: got a token", name)
		}
	}
}

// Rotation: a token of an accepted older key holds until that key is removed. A key id may hold dots.
func TestCSRF_KeyRotation(t *testing.T) {
	before, _ := middleware.NewCSRF(secrets{{"a.b", "old"}}, own)
	during, _ := middleware.NewCSRF(secrets{{"c", "new"}, {"a.b", "old"}}, own)
	after, _ := middleware.NewCSRF(secrets{{"c", "new"}}, own)
	shown := "X-CSRF-Token: " + token(t, before, "sid-ann")
	for name, c := range map[string]struct {
		csrf *middleware.CSRF
		code auth.Code
	}{"before": {before, ""}, "during": {during, ""}, "removed": {after, auth.CSRFFailed}} {
		r := as(request("POST", "/", "Origin: "+own, shown), ambient("sid-ann"))
		t.Run(name, func(t *testing.T) { want(t, serve(middleware.RequireCSRF(c.csrf)(whoami), r), c.code) })
	}
}

// A secret that goes away is a fault of ours: 500 where a token is to be made, and never a pass.
func TestCSRF_KeysGone(t *testing.T) {
	log, gone := captureLog(t), false
	c, err := middleware.NewCSRF(derive(func(id, salt, purpose string) (string, []byte, error) {
		if gone {
			return secrets{}.Derive(id, salt, purpose)
		}
		return keys.Derive(id, salt, purpose)
	}), own)
	if err != nil {
		t.Fatal(err)
	}
	shown := token(t, c, "sid-ann")
	gone = true
	h := middleware.RequireCSRF(c)(whoami)
	want(t, serve(h, as(request("GET", "/"), ambient("sid-ann"))), auth.Internal)
	want(t, serve(h, as(request("POST", "/", "Origin: "+own, "X-CSRF-Token: "+shown), ambient("sid-ann"))), auth.CSRFFailed)
	if !strings.Contains(log.String(), "unknown key id") {
		t.Errorf("the log lacks the cause: %s", log)
	}
}

// AllowMissingToken loosens a copy; the one it was called on stays strict.
func TestCSRF_AllowMissingTokenCopies(t *testing.T) {
	c := newCSRF(t)
	_ = c.AllowMissingToken()
	r := as(request("POST", "/", "Sec-Fetch-Site: same-origin"), ambient("sid-ann"))
	want(t, serve(middleware.RequireCSRF(c)(whoami), r), auth.CSRFFailed)
}

// A CSRF that NewCSRF did not make lets nothing through, also when it is asked directly.
func TestCSRF_Unmade(t *testing.T) {
	var none *middleware.CSRF
	for _, c := range []*middleware.CSRF{none, {}} {
		if c.Check(request("GET", "/")) == nil || c.CheckOrigin(request("GET", "/")) == nil {
			t.Error("a check passed")
		}
		if _, err := c.Token(&auth.Principal{Session: "sid-ann"}); err == nil {
			t.Error("a token was made")
		}
	}
}

// ATK-I05: a CSRF holds what makes keys, and prints none of it.
func TestATK_I05_CSRFIsMasked(t *testing.T) {
	c := newCSRF(t)
	var b bytes.Buffer
	for _, v := range []any{c, *c, struct{ C *middleware.CSRF }{c}} {
		_, _ = fmt.Fprintf(&b, "%v %+v %#v %s %q %x\n", v, v, v, v, v, v)
		_ = json.NewEncoder(&b).Encode(v)
		slog.New(slog.NewTextHandler(&b, nil)).Info("x", "csrf", v)
		slog.New(slog.NewJSONHandler(&b, nil)).Info("x", "csrf", v)
	}
	if strings.Contains(b.String(), keys[0].secret) || strings.Contains(b.String(), fmt.Sprintf("%x", keys[0].secret)) {
		t.Errorf("printed: %s", b.String())
	}
	if !strings.Contains(b.String(), own) {
		t.Errorf("its origins are not shown: %s", b.String())
	}
}
