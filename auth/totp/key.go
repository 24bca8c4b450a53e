package totp

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base32"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/pquerna/otp"
	"github.com/pquerna/otp/hotp"
)

// What a secret and its codes may be.
const (
	secretBytes = 20 // RFC 4226 section 4, R6: 160 bits are recommended,
	leastSecret = 16 // 128 demanded
	mostSecret  = 128
	period      = 30 // seconds of a step (RFC 6238 section 5.2)
	leastPeriod = 15 // of a secret that is brought along
	mostPeriod  = 60
	mostService = 100 // bytes; twice this and an account, escaped, still fit into a QR code
	mostAccount = 254
)

// base32text is how secrets are written: without padding, since "=" would have to be escaped in a URI.
var base32text = base32.StdEncoding.WithPadding(base32.NoPadding)

// algorithm returns the library's by its name in an otpauth URI. MD5, which the library knows too, is none of ours.
func algorithm(name string) (a otp.Algorithm, ok bool) {
	for _, a := range []otp.Algorithm{otp.AlgorithmSHA1, otp.AlgorithmSHA256, otp.AlgorithmSHA512} {
		if a.String() == name {
			return a, true
		}
	}
	return 0, false
}

// params are what codes are made from.
type params struct {
	Secret    []byte `json:"secret"`
	Algorithm string `json:"alg"`
	Digits    int    `json:"digits"`
	Period    int64  `json:"period"`
}

// check says what is wrong, without the secret.
func (p *params) check() error {
	_, known := algorithm(p.Algorithm)
	switch {
	case len(p.Secret) < leastSecret || len(p.Secret) > mostSecret:
		return fmt.Errorf("got a secret of %d bytes, expected %d to %d (RFC 4226 section 4)", len(p.Secret), leastSecret, mostSecret)
	case !known:
		return errors.New("got an unknown algorithm, expected SHA1, SHA256 or SHA512")
	case p.Digits != 6 && p.Digits != 8:
		return fmt.Errorf("got %d digits, expected 6 or 8", p.Digits)
	case p.Period < leastPeriod || p.Period > mostPeriod:
		return fmt.Errorf("got a period of %d s, expected %d to %d", p.Period, leastPeriod, mostPeriod)
	}
	return nil
}

// code returns the code of a step (RFC 6238 section 4.2), "" if the library has none: it fits nothing.
func (p *params) code(step int64) string {
	a, _ := algorithm(p.Algorithm)
	code, err := hotp.GenerateCodeCustom(base32text.EncodeToString(p.Secret), uint64(step), hotp.ValidateOpts{
		Digits: otp.Digits(p.Digits), Algorithm: a,
	})
	if err != nil {
		return ""
	}
	return code
}

// match looks for the code in the steps around now and returns the last that has it, 0 if none does. used says that
// one up to the step last has it: whoever saw the code typed must not be served by the rare chance that
// the next step has the same.
func (p *params) match(code string, now time.Time, window, last int64) (step int64, used bool) {
	present := now.Unix() / p.Period
	for s := max(1, present-window); s <= present+window; s++ {
		if subtle.ConstantTimeCompare([]byte(p.code(s)), []byte(code)) == 1 {
			step = s
			used = used || s <= last
		}
	}
	return step, used
}

// A Key is a secret with what an app must know about it, to be shown once. It is immutable, and masked however it is
// printed, logged or marshalled. Its methods that return the secret in some form say so.
type Key struct {
	masked
	k *key
}

// key has the secret behind one more pointer: package fmt prints a Key in somebody's unexported field without asking
// its methods, and %s follows one pointer there.
type key struct {
	service, account string // service is called the issuer in an otpauth URI
	params           *params
}

func newKey(c Config, account string) Key {
	secret := make([]byte, secretBytes)
	_, _ = rand.Read(secret) // it never fails: it ends the process instead
	return Key{k: &key{c.ServiceName, account, &params{secret, c.Algorithm, c.Digits, period}}}
}

// ParseKey reads a secret that an app, pyotp or another service has: an otpauth URI, or the secret alone in base32, which
// then makes 6 digits by SHA1 every 30 seconds. Case, spaces, dashes and padding do not matter. In a URI a
// period of 15 to 60 seconds is taken; counters (hotp) and Steam's codes are not, nor is a secret of less than 128 bits
// (RFC 4226 section 4, R6). No error shows the text.
//
// What no code depends on refuses no key: label, issuer, image and unknown members may hold anything, but for a ? in
// the label, which ends it for every reader: there it must be %3F. ParseKey leaves out of the names what an app cannot show: control characters, direction marks, and what is longer than Begin takes.
func ParseKey(text string) (Key, error) {
	k := &key{params: &params{Algorithm: "SHA1", Digits: 6, Period: period}}
	text = strings.TrimSpace(text)
	const scheme = "otpauth:"
	var err error
	switch {
	case len(text) >= len(scheme) && strings.EqualFold(text[:len(scheme)], scheme):
		err = k.parseURI(text[len(scheme):])
	default:
		k.params.Secret, err = parseSecret(text)
	}
	if err == nil {
		err = k.params.check()
	}
	if err != nil {
		return Key{}, fmt.Errorf("totp: %w", err)
	}
	return Key{k: k}, nil
}

func parseSecret(text string) ([]byte, error) {
	text = upper(strings.TrimRight(strings.NewReplacer(" ", "", "-", "").Replace(text), "="))
	secret, err := base32text.DecodeString(text)
	// The decoder skips line ends and characters that make no byte; its error names a place in the secret. The bits
	// behind the last byte are nobody's.
	if err != nil || len(text) != base32text.EncodedLen(len(secret)) {
		return nil, errors.New("the secret is not base32")
	}
	return secret, nil
}

// upper touches ASCII letters only: to package strings a long s is an S as well.
func upper(s string) string {
	return strings.Map(func(r rune) rune {
		if 'a' <= r && r <= 'z' {
			return r - 'a' + 'A'
		}
		return r
	}, s)
}

// parseURI reads what follows "otpauth:". A member that says how codes are made is there once at most.
func (k *key) parseURI(rest string) error {
	label, query, _ := strings.Cut(rest, "?")
	label, slashes := strings.CutPrefix(label, "//")
	host, label, _ := strings.Cut(label, "/")
	if !slashes || !strings.EqualFold(host, "totp") {
		return errors.New("the otpauth URI is none of a TOTP secret")
	}
	// What follows a # is a fragment (RFC 3986 section 3.5), unless the secret is there: then a name holds the #.
	before, _, _ := strings.Cut(query, "#")
	m := parseMembers(before)
	if m["secret"] == nil {
		m = parseMembers(query)
	}
	if slices.ContainsFunc(m["encoder"], func(v string) bool { return v != "" }) {
		return errors.New("the otpauth URI has an encoder: its codes are no digits")
	}
	hash, err := m.one("algorithm", k.params.Algorithm)
	if err != nil {
		return err
	}
	k.params.Algorithm = upper(hash)
	digits, err := m.number("digits", int64(k.params.Digits))
	if err != nil {
		return err
	}
	k.params.Digits = int(digits)
	if k.params.Period, err = m.number("period", k.params.Period); err != nil {
		return err
	}
	secret, err := m.one("secret", "")
	switch {
	case err != nil:
		return err
	case secret == "":
		return errors.New("the otpauth URI has no secret, or a ? in its label that is not escaped as %3F")
	}
	k.params.Secret, err = parseSecret(secret)
	k.service, k.account = parseNames(label, m)
	return err
}

// members are those of an otpauth URI's query, by their names. The values are as they came, escaped or not.
type members map[string][]string

func parseMembers(query string) members {
	m := members{}
	for _, pair := range strings.Split(query, "&") {
		name, value, _ := strings.Cut(pair, "=")
		if name, err := url.QueryUnescape(name); err == nil {
			m[name] = append(m[name], value)
		}
	}
	return m
}

// one returns the value of a member that codes depend on.
func (m members) one(name, def string) (string, error) {
	switch len(m[name]) {
	case 0:
		return def, nil
	case 1:
		value, err := url.QueryUnescape(m[name][0])
		if err != nil {
			return "", fmt.Errorf("the otpauth URI's %s is not escaped well", name)
		}
		return value, nil
	}
	return "", fmt.Errorf("the otpauth URI has %d times %s, expected one", len(m[name]), name)
}

func (m members) number(name string, def int64) (int64, error) {
	value, err := m.one(name, strconv.FormatInt(def, 10))
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseUint(value, 10, 16)
	if err != nil {
		return 0, fmt.Errorf("the otpauth URI's %s is no number", name)
	}
	return int64(n), nil
}

// parseNames reads who is who: the member issuer goes before what the label has in front of its colon. No code depends
// on either, so nothing is refused: what is not escaped well is taken as it is.
func parseNames(label string, m members) (service, account string) {
	if text, err := url.PathUnescape(label); err == nil {
		label = text
	}
	if v := m["issuer"]; len(v) > 0 {
		service = v[0]
		if text, err := url.QueryUnescape(service); err == nil {
			service = text
		}
	}
	// Some write an issuer that has a colon, such as localhost:3000, into the label as well.
	account, found := strings.CutPrefix(label, service+":")
	if !found || service == "" {
		prefix, after, found := strings.Cut(label, ":")
		if account = label; found {
			account = after
			if service == "" {
				service = prefix
			}
		}
	}
	return cleanName(service, mostService), cleanName(account, mostAccount)
}

// checkService refuses a colon, which ends the issuer in an otpauth URI's label.
func checkService(s string) error {
	if strings.Contains(s, ":") {
		return fmt.Errorf("got %.120q, expected a name without a colon, which ends it in an otpauth URI", s)
	}
	return checkName(s, mostService)
}

// checkName refuses what could hide or forge something where apps show it: line ends, controls, and marks that
// turn the direction of writing. Joiners, which several scripts need, are allowed.
func checkName(s string, most int) error {
	switch {
	case len(s) > most:
		return fmt.Errorf("got %d bytes, expected %d or less", len(s), most)
	case !utf8.ValidString(s):
		return errors.New("got invalid UTF-8")
	case s != strings.TrimSpace(s):
		return fmt.Errorf("got %.120q, expected no space at its ends", s)
	case strings.ContainsFunc(s, hides):
		return fmt.Errorf("got %.120q, expected no control characters", s)
	}
	return nil
}

func hides(r rune) bool {
	return unicode.IsControl(r) || unicode.In(r, unicode.Bidi_Control, unicode.Zl, unicode.Zp)
}

// cleanName makes a name that [checkName] takes, of one that somebody else has chosen.
func cleanName(s string, most int) string {
	s = strings.Map(func(r rune) rune {
		if hides(r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, ""))
	return strings.TrimSpace(strings.ToValidUTF8(s[:min(len(s), most)], ""))
}

// Named returns the key under other names, for its URI and its QR code; the secret is the same. service is as
// Config.ServiceName, or "" for a URI without an issuer; account is as for [Factors.Begin].
func (k Key) Named(service, account string) (Key, error) {
	if k.k == nil {
		return Key{}, errors.New("totp: a zero Key; make one with Factors.Begin or ParseKey")
	}
	if err := checkService(service); err != nil {
		return Key{}, fmt.Errorf("totp: the service: %w", err)
	}
	if err := checkAccount(account); err != nil {
		return Key{}, err
	}
	return Key{k: &key{service, account, k.k.params}}, nil
}

// Secret returns the secret in base32, to be typed into an app that has no camera.
func (k Key) Secret() string {
	if k.k == nil {
		return ""
	}
	return base32text.EncodeToString(k.k.params.Secret)
}

// URI returns the key as an otpauth URI, secret included, in the form that Google Authenticator began with and
// pyotp writes. What apps assume anyway is left out, so that the QR code is small.
func (k Key) URI() string {
	if k.k == nil {
		return ""
	}
	p := k.k.params
	label := escape(k.k.account)
	// Readers end the issuer at the label's first colon. So one that has a colon itself, as another system's may, stands
	// in its member alone, where the account lets it.
	if strings.Contains(k.k.account, ":") || k.k.service != "" && !strings.Contains(k.k.service, ":") {
		label = escape(k.k.service) + ":" + label
	}
	uri := "otpauth://totp/" + label + "?secret=" + k.Secret()
	if k.k.service != "" {
		uri += "&issuer=" + escape(k.k.service)
	}
	if p.Algorithm != "SHA1" {
		uri += "&algorithm=" + p.Algorithm
	}
	if p.Digits != 6 {
		uri += fmt.Sprint("&digits=", p.Digits)
	}
	if p.Period != period {
		uri += fmt.Sprint("&period=", p.Period)
	}
	return uri
}

// escape leaves nothing but unreserved characters (RFC 3986 section 2.3). A space is %20: apps show a + as it is.
func escape(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }

// masked is part of what must not be printed.
type masked struct{}

const mask = "[secret]"

// Format masks the value under every verb of package fmt.
func (masked) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, mask) }

// MarshalText masks the value in JSON and every other encoding.
func (masked) MarshalText() ([]byte, error) { return []byte(mask), nil }

// LogValue masks the value in package slog.
func (masked) LogValue() slog.Value { return slog.StringValue(mask) }
