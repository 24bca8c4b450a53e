package totp_test

import (
	"net/url"
	"strings"
	"testing"

	"github.com/doorward/doorward/auth/totp"
)

const plainSecret = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"

// A URI has nothing but unreserved characters in its names, spaces as %20, and every reader finds the same in it.
func TestURI_AnyScript(t *testing.T) {
	for _, service := range []string{"Example", "Example Ltd", "A+B & C = 100 %?", "a/b#c", "Пример", "例え株式会社", "क्षितिज\u200d", "😀", "%20", "+", "it's \"q\"; <b>"} {
		k := newKit(t, func(c *totp.Config) { c.ServiceName = service })
		key, err := k.Begin(t.Context(), subject, "o'neill+x &/y@example.com")
		if err != nil {
			t.Fatal(err)
		}
		uri := key.URI()
		label, query, _ := strings.Cut(strings.TrimPrefix(uri, "otpauth://totp/"), "?")
		if strings.Trim(strings.Replace(label, ":", "", 1), "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~%") != "" || strings.Contains(uri, "+") || strings.Contains(uri, " ") {
			t.Errorf("%q: %s", service, uri)
		}
		u, err := url.Parse(uri)
		if err != nil || u.Scheme != "otpauth" || u.Host != "totp" || u.Path != "/"+service+":o'neill+x &/y@example.com" || u.Fragment != "" {
			t.Errorf("%q: net/url reads %+v, %v", service, u, err)
		}
		if v, err := url.ParseQuery(query); err != nil || len(v) != 2 || v.Get("secret") != key.Secret() || v.Get("issuer") != service {
			t.Errorf("%q: net/url reads the members %v, %v", service, v, err)
		}
		if again, err := totp.ParseKey(uri); err != nil || again.URI() != uri {
			t.Errorf("%q: it does not come back: %v", service, err)
		}
	}
}

// Members that apps write, in the ways in which they write them.
func TestParseKey_URIs(t *testing.T) {
	const secret = "?secret=" + plainSecret
	for text, want := range map[string]string{
		"otpauth://totp/ann" + secret:                                          "otpauth://totp/ann" + secret,
		"otpauth://totp/Ex:ann" + secret:                                       "otpauth://totp/Ex:ann" + secret + "&issuer=Ex",
		"otpauth://totp/Ex%3Aann" + secret:                                     "otpauth://totp/Ex:ann" + secret + "&issuer=Ex",
		"otpauth://totp/Ex:%20ann%40b" + secret:                                "otpauth://totp/Ex:ann%40b" + secret + "&issuer=Ex",
		"otpauth://totp/ann" + secret + "&issuer=Ex":                           "otpauth://totp/Ex:ann" + secret + "&issuer=Ex",
		"otpauth://totp/Old:ann" + secret + "&issuer=New":                      "otpauth://totp/New:ann" + secret + "&issuer=New",
		"otpauth://totp/A%20B:ann" + secret + "&issuer=A+B":                    "otpauth://totp/A%20B:ann" + secret + "&issuer=A%20B",
		"otpauth://totp/A+B:ann" + secret:                                      "otpauth://totp/A%2BB:ann" + secret + "&issuer=A%2BB",
		"otpauth://totp/ann" + secret + "&algorithm=SHA1&digits=6&period=30":   "otpauth://totp/ann" + secret,
		"otpauth://totp/ann" + secret + "&algorithm=sha256&digits=8&period=60": "otpauth://totp/ann" + secret + "&algorithm=SHA256&digits=8&period=60",
		"otpauth://totp/ann" + secret + "&image=https%3A%2F%2Fx%2Fy&color=1":   "otpauth://totp/ann" + secret,
		"otpauth://totp/" + secret:                                             "otpauth://totp/" + secret,
		"  OtpAuth://TotP/ann" + secret + "\n":                                 "otpauth://totp/ann" + secret,
	} {
		key, err := totp.ParseKey(text)
		if err != nil || key.URI() != want {
			t.Errorf("%q:\ngot  %q, %v\nwant %q", text, key.URI(), err, want)
		}
	}
	for name, bad := range map[string]string{
		"hotp":                             "otpauth://hotp/ann" + secret + "&counter=0",
		"another kind":                     "otpauth://yaotp/ann" + secret,
		"no kind":                          "otpauth:///ann" + secret,
		"a user":                           "otpauth://ann@totp/ann" + secret,
		"a port":                           "otpauth://totp:1/ann" + secret,
		"one slash":                        "otpauth:/totp/ann" + secret,
		"another scheme":                   "https://totp/ann" + secret,
		"no secret":                        "otpauth://totp/ann?issuer=Ex",
		"no members":                       "otpauth://totp/ann",
		"an empty secret":                  "otpauth://totp/ann?secret=",
		"a short one":                      "otpauth://totp/ann?secret=JBSWY3DPEHPK3PXP",
		"two secrets":                      "otpauth://totp/ann" + secret + "&secret=" + plainSecret,
		"two digits":                       "otpauth://totp/ann" + secret + "&digits=6&digits=8",
		"7 digits":                         "otpauth://totp/ann" + secret + "&digits=7",
		"0 digits":                         "otpauth://totp/ann" + secret + "&digits=0",
		"empty digits":                     "otpauth://totp/ann" + secret + "&digits=",
		"digits with a sign":               "otpauth://totp/ann" + secret + "&digits=%2B6",
		"many digits":                      "otpauth://totp/ann" + secret + "&digits=99999999999999999999",
		"MD5":                              "otpauth://totp/ann" + secret + "&algorithm=MD5",
		"a long s":                         "otpauth://totp/ann" + secret + "&algorithm=%C5%BFHA1",
		"an empty algorithm":               "otpauth://totp/ann" + secret + "&algorithm=",
		"Steam":                            "otpauth://totp/ann" + secret + "&encoder=steam",
		"period 0":                         "otpauth://totp/ann" + secret + "&period=0",
		"period 14":                        "otpauth://totp/ann" + secret + "&period=14",
		"period 61":                        "otpauth://totp/ann" + secret + "&period=61",
		"a negative period":                "otpauth://totp/ann" + secret + "&period=-30",
		"a semicolon":                      "otpauth://totp/ann" + secret + ";issuer=a",
		"two secrets, one of them escaped": "otpauth://totp/ann" + secret + "&%73ecret=" + plainSecret,
		"a secret not escaped well":        "otpauth://totp/ann" + secret + "%zz",
		"digits not escaped well":          "otpauth://totp/ann" + secret + "&digits=6%",
		"Steam, not escaped well":          "otpauth://totp/ann" + secret + "&encoder=%",
		"Steam, the second time":           "otpauth://totp/ann" + secret + "&encoder=&encoder=steam",
		"Steam, without a label":           "otpauth://totp" + secret + "&encoder=steam",
		"two periods around a #":           "otpauth://totp/ann?issuer=C#&period=30&period=60&" + secret[1:],
	} {
		key, err := totp.ParseKey(bad)
		if err == nil || key != (totp.Key{}) {
			t.Errorf("%s: %q was taken", name, bad)
			continue
		}
		if strings.Contains(err.Error(), plainSecret) || strings.Contains(err.Error(), "otpauth:") || strings.ContainsAny(err.Error(), "\r\n\x00\u202e") || !strings.HasPrefix(err.Error(), "totp: ") {
			t.Errorf("%s: the error shows too much: %v", name, err)
		}
	}
}

// nameless are names that no code depends on, and that somebody's key has.
var nameless = []string{
	"localhost:3000", "http://[::1]:80/x", ":", "::", " : ", "a:b:c", "100%", "%zz", "%", "a;b", "a b", "+", "C#", "#", "a/b", "//", "=", "a=b", "\"<b>\"",
	"line\r\nX-Header: 1", "\x00", "\x1b[2J", "\u202eann", "\u2066", "\u2028", "\xff\xfe", " ", "\t", "", "😀", "क्षिति\u200dज",
	strings.Repeat("a", 5000), strings.Repeat("語", 100), strings.Repeat("\u202e", 300) + "a", "data:image/png;base64," + strings.Repeat("A", 50_000),
}

// nothing in the label, the issuer, an image or an unknown member refuses a key, however it is written, or changes its
// codes. What comes out of it is a URI that is escaped, fits into a QR code, and comes back.
func TestParseKey_Q_33_NamesRefuseNothing(t *testing.T) {
	const code = "&digits=8&algorithm=SHA256&period=60"
	plain, err := totp.ParseKey("otpauth://totp/?secret=" + plainSecret + code)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range nameless {
		raw := strings.NewReplacer("?", "", "&", "").Replace(name) // these two end a name for every reader
		for form, text := range map[string]string{
			"label":                  "otpauth://totp/" + url.PathEscape(name) + "?secret=" + plainSecret + code,
			"raw label":              "otpauth://totp/" + raw + "?secret=" + plainSecret + code,
			"label with issuer":      "otpauth://totp/" + url.PathEscape(name) + ":" + url.PathEscape(name) + "?secret=" + plainSecret + code,
			"issuer":                 "otpauth://totp/ann?secret=" + plainSecret + code + "&issuer=" + url.QueryEscape(name),
			"raw issuer":             "otpauth://totp/ann?secret=" + plainSecret + code + "&issuer=" + raw,
			"raw issuer first":       "otpauth://totp/ann?issuer=" + raw + "&secret=" + plainSecret + code,
			"issuer in both":         "otpauth://totp/" + raw + ":ann?secret=" + plainSecret + code + "&issuer=" + raw,
			"two issuers":            "otpauth://totp/ann?secret=" + plainSecret + code + "&issuer=" + raw + "&issuer=Ex",
			"image":                  "otpauth://totp/ann?secret=" + plainSecret + code + "&image=" + raw,
			"unknown member":         "otpauth://totp/ann?" + url.QueryEscape(name) + "=1&secret=" + plainSecret + code,
			"raw unknown member":     "otpauth://totp/ann?x" + raw + "&secret=" + plainSecret + code,
			"fragment":               "otpauth://totp/ann?secret=" + plainSecret + code + "#" + raw,
			"fragment like a member": "otpauth://totp/ann?secret=" + plainSecret + code + "#&digits=6&secret=" + raw,
			"no label":               "otpauth://totp?secret=" + plainSecret + code + "&issuer=" + raw,
		} {
			key, err := totp.ParseKey(text)
			if err != nil {
				t.Errorf("%.40q as %s: %v", name, form, err)
				continue
			}
			if key.Secret() != plainSecret || totp.CodeAt(key, 1) != totp.CodeAt(plain, 1) || !strings.Contains(key.URI(), "&period=60") {
				t.Errorf("%.40q as %s: another key: %s", name, form, key.URI())
			}
			if again, err := totp.ParseKey(key.URI()); err != nil || again.URI() != key.URI() {
				t.Errorf("%.40q as %s: %s comes back as %s, %v", name, form, key.URI(), again.URI(), err)
			}
			if strings.ContainsAny(key.URI(), " +<>\"'#\r\n\x00\x1b") {
				t.Errorf("%.40q as %s: not escaped: %s", name, form, key.URI())
			}
			if _, err := key.SVG(); err != nil {
				t.Errorf("%.40q as %s: %v", name, form, err)
			}
		}
	}
}

// The names that are left are those that were meant, a port included.
func TestParseKey_Q_33_Names(t *testing.T) {
	const secret = "?secret=" + plainSecret
	for text, want := range map[string]string{
		"otpauth://totp/ann" + secret + "&issuer=localhost%3A3000":                  "otpauth://totp/ann" + secret + "&issuer=localhost%3A3000",
		"otpauth://totp/localhost%3A3000:ann" + secret + "&issuer=localhost%3A3000": "otpauth://totp/ann" + secret + "&issuer=localhost%3A3000",
		"otpauth://totp/localhost:3000:a:b" + secret + "&issuer=localhost:3000":     "otpauth://totp/localhost%3A3000:a%3Ab" + secret + "&issuer=localhost%3A3000",
		"otpauth://totp/:a:b" + secret:                                              "otpauth://totp/:a%3Ab" + secret,
		"otpauth://totp/ann" + secret + "&issuer=100%":                              "otpauth://totp/100%25:ann" + secret + "&issuer=100%25",
		"otpauth://totp/ann" + secret + "&issuer=a&issuer=b":                        "otpauth://totp/a:ann" + secret + "&issuer=a",
		"otpauth://totp/ann#1" + secret:                                             "otpauth://totp/ann%231" + secret,
		"otpauth://totp/a?issuer=C#&secret=" + plainSecret:                          "otpauth://totp/C%23:a" + secret + "&issuer=C%23",
		"otpauth://totp/%E2%80%AEann%0D%0A" + secret + "&issuer=%FFEx":              "otpauth://totp/Ex:ann" + secret + "&issuer=Ex",
		"otpauth://totp/" + strings.Repeat("a", 255) + secret:                       "otpauth://totp/" + strings.Repeat("a", 254) + secret,
		"otpauth://totp/" + strings.Repeat("語", 85) + secret:                        "otpauth://totp/" + strings.Repeat("%E8%AA%9E", 84) + secret,
		"otpauth://totp" + secret:                                                   "otpauth://totp/" + secret,
	} {
		key, err := totp.ParseKey(text)
		if err != nil || key.URI() != want {
			t.Errorf("%q:\ngot  %q, %v\nwant %q", text, key.URI(), err, want)
		}
	}
}

// a URI from a secret and a name, with an issuer or without.
func TestNamed_Q_33(t *testing.T) {
	bare, err := totp.ParseKey(plainSecret)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ service, account, want string }{
		{"", "ann", "otpauth://totp/ann?secret=" + plainSecret},
		{"", "a:b", "otpauth://totp/:a%3Ab?secret=" + plainSecret},
		{"Quill", "ann@example.com", "otpauth://totp/Quill:ann%40example.com?secret=" + plainSecret + "&issuer=Quill"},
		{"Quill", "a:b", "otpauth://totp/Quill:a%3Ab?secret=" + plainSecret + "&issuer=Quill"},
	} {
		key, err := bare.Named(test.service, test.account)
		if err != nil || key.URI() != test.want {
			t.Errorf("%q, %q:\ngot  %s, %v\nwant %s", test.service, test.account, key.URI(), err, test.want)
		}
		if again, err := totp.ParseKey(key.URI()); err != nil || again.URI() != test.want {
			t.Errorf("%s comes back as %s, %v", test.want, again.URI(), err)
		}
	}
	if bare.URI() != "otpauth://totp/?secret="+plainSecret {
		t.Errorf("the key itself is now %s", bare.URI())
	}
	k := newKit(t)
	begun := k.begin()
	if key, err := begun.Named("", account); err != nil || key.URI() != "otpauth://totp/ann%40example.com?secret="+begun.Secret() {
		t.Errorf("got %v", err)
	}
	for _, bad := range [][2]string{{"a:b", "ann"}, {"a\nb", "ann"}, {strings.Repeat("a", 101), "ann"}, {"", ""}, {"", "a\nb"}, {"Quill", "\u202eann"}, {"", strings.Repeat("a", 255)}} {
		if key, err := bare.Named(bad[0], bad[1]); err == nil || key != (totp.Key{}) || strings.ContainsAny(err.Error(), "\n\u202e") {
			t.Errorf("%q: got %v", bad, err)
		}
	}
	if _, err := (totp.Key{}).Named("", "ann"); err == nil {
		t.Error("a zero key was taken")
	}
}

// an unescaped ? ends the label for every reader, so that the secret is not found: the error says so. Elsewhere it refuses nothing.
func TestParseKey_Q_33_QuestionMark(t *testing.T) {
	for _, text := range []string{"otpauth://totp/who?:ann?secret=" + plainSecret, "otpauth://totp/ann??secret=" + plainSecret, "otpauth://totp/ann"} {
		if key, err := totp.ParseKey(text); err == nil || key != (totp.Key{}) || !strings.Contains(err.Error(), "%3F") || strings.Contains(err.Error(), plainSecret) {
			t.Errorf("%q: got %v", text, err)
		}
	}
	for text, want := range map[string]string{
		"otpauth://totp/who%3F:ann?secret=" + plainSecret:             "otpauth://totp/who%3F:ann?secret=" + plainSecret + "&issuer=who%3F",
		"otpauth://totp/ann?issuer=who?&secret=" + plainSecret:        "otpauth://totp/who%3F:ann?secret=" + plainSecret + "&issuer=who%3F",
		"otpauth://totp/ann?secret=" + plainSecret + "&issuer=who?ok": "otpauth://totp/who%3Fok:ann?secret=" + plainSecret + "&issuer=who%3Fok",
	} {
		if key, err := totp.ParseKey(text); err != nil || key.URI() != want {
			t.Errorf("%q:\ngot  %q, %v\nwant %q", text, key.URI(), err, want)
		}
	}
}
