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
	for _, issuer := range []string{"Example", "Example Ltd", "A+B & C = 100 %?", "a/b#c", "Пример", "例え株式会社", "क्षितिज\u200d", "😀", "%20", "+", "it's \"q\"; <b>"} {
		k := newKit(t, func(c *totp.Config) { c.Issuer = issuer })
		key, err := k.Begin(t.Context(), tenant, subject, "o'neill+x &/y@example.com")
		if err != nil {
			t.Fatal(err)
		}
		uri := key.URI()
		label, query, _ := strings.Cut(strings.TrimPrefix(uri, "otpauth://totp/"), "?")
		if strings.Trim(strings.Replace(label, ":", "", 1), "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~%") != "" || strings.Contains(uri, "+") || strings.Contains(uri, " ") {
			t.Errorf("%q: %s", issuer, uri)
		}
		u, err := url.Parse(uri)
		if err != nil || u.Scheme != "otpauth" || u.Host != "totp" || u.Path != "/"+issuer+":o'neill+x &/y@example.com" || u.Fragment != "" {
			t.Errorf("%q: net/url reads %+v, %v", issuer, u, err)
		}
		if v, err := url.ParseQuery(query); err != nil || len(v) != 2 || v.Get("secret") != key.Secret() || v.Get("issuer") != issuer {
			t.Errorf("%q: net/url reads the members %v, %v", issuer, v, err)
		}
		if again, err := totp.ParseKey(uri); err != nil || again.URI() != uri {
			t.Errorf("%q: it does not come back: %v", issuer, err)
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
		"hotp":                  "otpauth://hotp/ann" + secret + "&counter=0",
		"another kind":          "otpauth://yaotp/ann" + secret,
		"no kind":               "otpauth:///ann" + secret,
		"a user":                "otpauth://ann@totp/ann" + secret,
		"a port":                "otpauth://totp:1/ann" + secret,
		"one slash":             "otpauth:/totp/ann" + secret,
		"another scheme":        "https://totp/ann" + secret,
		"no secret":             "otpauth://totp/ann?issuer=Ex",
		"no members":            "otpauth://totp/ann",
		"an empty secret":       "otpauth://totp/ann?secret=",
		"a short one":           "otpauth://totp/ann?secret=JBSWY3DPEHPK3PXP",
		"two secrets":           "otpauth://totp/ann" + secret + "&secret=" + plainSecret,
		"two digits":            "otpauth://totp/ann" + secret + "&digits=6&digits=8",
		"two issuers":           "otpauth://totp/ann" + secret + "&issuer=a&issuer=b",
		"7 digits":              "otpauth://totp/ann" + secret + "&digits=7",
		"0 digits":              "otpauth://totp/ann" + secret + "&digits=0",
		"empty digits":          "otpauth://totp/ann" + secret + "&digits=",
		"digits with a sign":    "otpauth://totp/ann" + secret + "&digits=%2B6",
		"many digits":           "otpauth://totp/ann" + secret + "&digits=99999999999999999999",
		"MD5":                   "otpauth://totp/ann" + secret + "&algorithm=MD5",
		"a long s":              "otpauth://totp/ann" + secret + "&algorithm=%C5%BFHA1",
		"an empty algorithm":    "otpauth://totp/ann" + secret + "&algorithm=",
		"Steam":                 "otpauth://totp/ann" + secret + "&encoder=steam",
		"period 0":              "otpauth://totp/ann" + secret + "&period=0",
		"period 14":             "otpauth://totp/ann" + secret + "&period=14",
		"period 61":             "otpauth://totp/ann" + secret + "&period=61",
		"a negative period":     "otpauth://totp/ann" + secret + "&period=-30",
		"a fragment":            "otpauth://totp/ann" + secret + "#x",
		"bad escapes":           "otpauth://totp/a%zz" + secret,
		"bad escapes in query":  "otpauth://totp/ann" + secret + "&issuer=%zz",
		"a semicolon":           "otpauth://totp/ann" + secret + ";issuer=a",
		"a colon in the issuer": "otpauth://totp/ann" + secret + "&issuer=a%3Ab",
		"a line end":            "otpauth://totp/ann%0d%0aX-Y%3A1" + secret,
		"a NUL":                 "otpauth://totp/ann%00" + secret,
		"a direction mark":      "otpauth://totp/%E2%80%AEann" + secret,
		"invalid UTF-8":         "otpauth://totp/%FF" + secret,
		"a long account":        "otpauth://totp/" + strings.Repeat("a", 255) + secret,
		"a long text":           "otpauth://totp/ann" + secret + "&x=" + strings.Repeat("a", 5000),
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
