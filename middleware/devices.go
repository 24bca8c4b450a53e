package middleware

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/cookies"
	"github.com/doorward/doorward/internal/derive"
)

const (
	deviceLife  = 180 * 24 * time.Hour
	deviceIDLen = 22 // 128 random bits in base64url
)

// Devices knows a browser again that has completed a login of an account, by a cookie. A [LoginLimit] counts
// the tries of such a browser apart, so that nobody can lock its owner out by failing on purpose. The cookie proves
// no one and lets nobody in. Build it with [NewDevices]; it does not change afterwards.
type Devices struct {
	keys   KeySource
	issuer string
	cookie cookies.Policy
	since  func(ctx context.Context, account string) (time.Time, error)
}

// NewDevices takes the secret, the issuer whose accounts log in, as the tokens have it, and how the cookie is set; its
// Name is "device" when empty. The key depends on the issuer. So a device that staging knows is unknown in production
// although both may have one secret, and so is that of a person of the same name in another pool of users.
//
// The cookie lasts 180
// days from the last login with it. It names the account that logged in last from this browser, by a MAC that
// only shows whether a name is the right one.
//
// since returns when the account's credentials were last reset, the zero time for never: devices from before
// are not known any more, or who had stolen a password would keep his tries. It is asked for accounts that
// a valid cookie names, so the answer takes no time that would tell of others. An error is an outage, and
// the login 503. The account comes as it was typed, or as [LoginLimit].Account returned it.
//
// A nil argument, an empty issuer, a policy that contradicts itself and a key that cannot be had are errors.
func NewDevices(keys KeySource, issuer string, cookie cookies.Policy, since func(ctx context.Context, account string) (time.Time, error)) (*Devices, error) {
	if keys == nil || since == nil {
		return nil, errors.New("middleware: NewDevices needs a KeySource and a function that knows of resets: got nil")
	}
	if issuer == "" || !utf8.ValidString(issuer) || strings.TrimSpace(issuer) != issuer || len(issuer) > 512 {
		return nil, fmt.Errorf("middleware: NewDevices: got the issuer %.80q, expected that of the tokens: valid UTF-8 without surrounding spaces, 1 to 512 bytes", issuer)
	}
	if cookie.Name == "" {
		cookie.Name = "device"
	}
	strict := cookie
	strict.InsecureLoopback = false // that one is judged by a real request
	if _, err := strict.Get(&http.Request{}); auth.CodeOf(err) != auth.CredentialsMissing {
		return nil, fmt.Errorf("middleware: the cookie of devices: %w", err)
	}
	d := &Devices{keys, issuer, cookie, since}
	if _, _, err := d.derive(""); err != nil {
		return nil, err
	}
	return d, nil
}

// Format writes the cookie's name alone under every verb: package fmt would print the secrets of a KeySource.
func (d Devices) Format(s fmt.State, _ rune) { _, _ = fmt.Fprintf(s, "Devices[%q]", d.cookie.Name) }

func (d *Devices) ready() bool { return d != nil && d.keys != nil && d.since != nil }

func (d *Devices) derive(id string) (usedID string, key []byte, err error) {
	return deriveKey(d.keys, id, d.issuer, derive.Device)
}

// known returns the id of the device that r comes from, "" when it is none of this account. The cookie is the
// client's word until the MAC holds, so that whatever is wrong with it makes the device unknown.
func (d *Devices) known(r *http.Request, issuer, account string) (device string, err error) {
	value, err := d.cookie.Get(r)
	switch auth.CodeOf(err) {
	case auth.CredentialsMissing, auth.RequestMalformed, auth.TokenInvalid:
		return "", nil
	}
	if err != nil {
		return "", err
	}
	// key-id.device.time.mac, cut from the right, because a key id may hold dots.
	rest, mac := cutLast(value)
	rest, at := cutLast(rest)
	id, device := cutLast(rest)
	if !isKeyID(id) || len(device) != deviceIDLen {
		return "", nil
	}
	_, key, err := d.derive(id)
	if err != nil || !hmac.Equal([]byte(mac), []byte(textMAC(key, issuer, account, device, at))) {
		return "", nil
	}
	ms, err := strconv.ParseInt(at, 10, 64)
	seen := time.UnixMilli(ms)
	if err != nil || time.Since(seen) > deviceLife {
		return "", nil
	}
	reset, err := d.since(r.Context(), account)
	if err != nil {
		return "", fmt.Errorf("%w: when the account was reset: %w", auth.StoreUnavailable, err)
	}
	if seen.Before(reset) {
		return "", nil
	}
	return device, nil
}

// remember sets the cookie. A device that was known keeps its id.
func (d *Devices) remember(w http.ResponseWriter, r *http.Request, issuer, account, device string) error {
	if device == "" {
		random := make([]byte, deviceIDLen*6/8)
		_, _ = rand.Read(random) // crypto/rand never fails
		device = base64.RawURLEncoding.EncodeToString(random)
	}
	id, key, err := d.derive("")
	if err != nil {
		return err
	}
	now := time.Now()
	at := strconv.FormatInt(now.UnixMilli(), 10)
	value := id + "." + device + "." + at + "." + textMAC(key, issuer, account, device, at)
	return d.cookie.Set(w, r, value, now.Add(deviceLife))
}

// cutLast cuts at the last dot; last is "" when there is none.
func cutLast(s string) (rest, last string) {
	if i := strings.LastIndexByte(s, '.'); i >= 0 {
		return s[:i], s[i+1:]
	}
	return s, ""
}
