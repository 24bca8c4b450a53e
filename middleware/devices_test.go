package middleware_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/cookies"
	"github.com/doorward/doorward/middleware"
	"github.com/doorward/doorward/ratelimit"
)

func never(context.Context, string) (time.Time, error) { return time.Time{}, nil }

// isKnown says whether a cookie gets its own budget: the account's is used up.
func (a *login) isKnown(t *testing.T, account string, c *http.Cookie) bool {
	t.Helper()
	a.reached(20, account)
	w := a.try(office, account, "wrong", c)
	if w.Code != http.StatusUnauthorized && w.Code != http.StatusTooManyRequests {
		t.Fatalf("got %d %s", w.Code, w.Body)
	}
	return w.Code == http.StatusUnauthorized
}

func TestSTD_R03_DeviceCookie(t *testing.T) {
	start := func(t *testing.T) (*login, *http.Cookie) {
		a := newLogin(t, nil)
		c := device(t, a.try(home, "ann", "right"))
		if !c.HttpOnly || !c.Secure || c.Path != "/" || c.SameSite != http.SameSiteLaxMode || c.MaxAge < 15_551_990 || c.MaxAge > 180*24*3600 {
			t.Errorf("got %v", c)
		}
		if strings.Contains(c.Value, "ann") {
			t.Errorf("the cookie shows the account: %s", c.Value)
		}
		return a, c
	}
	for name, c := range map[string]struct {
		change func(a *login, c *http.Cookie)
		known  bool
	}{
		"as it is":     {func(*login, *http.Cookie) {}, true},
		"179 days old": {func(*login, *http.Cookie) { time.Sleep(179 * 24 * time.Hour) }, true},
		"181 days old": {func(*login, *http.Cookie) { time.Sleep(181 * 24 * time.Hour) }, false},
		"before a reset": {func(a *login, _ *http.Cookie) {
			time.Sleep(time.Second)
			a.resets["ann"] = time.Now()
		}, false},
		"after a reset": {func(a *login, _ *http.Cookie) { a.resets["ann"] = time.Now().Add(-time.Second) }, true},
		"another account": {func(a *login, c *http.Cookie) {
			*c = *device(t, a.try(home, "bob", "secret"))
		}, false},
		// Its owner is another one where names are told apart by letter case.
		"another spelling":     {func(a *login, c *http.Cookie) { *c = *device(t, a.try(home, "Ann", "right")) }, false},
		"made longer":          {func(_ *login, c *http.Cookie) { c.Value += "A" }, false},
		"another device id":    {func(_ *login, c *http.Cookie) { forge(c, 1, strings.ToUpper) }, false},
		"another time":         {func(_ *login, c *http.Cookie) { forge(c, 2, func(at string) string { return "1" + at }) }, false},
		"no key id":            {func(_ *login, c *http.Cookie) { c.Value = c.Value[strings.Index(c.Value, "."):] }, false},
		"an unknown key id":    {func(_ *login, c *http.Cookie) { c.Value = "x" + c.Value }, false},
		"garbage":              {func(_ *login, c *http.Cookie) { c.Value = "..." }, false},
		"one word":             {func(_ *login, c *http.Cookie) { c.Value = "x" }, false},
		"no MAC":               {func(_ *login, c *http.Cookie) { forge(c, 3, func(string) string { return "" }) }, false},
		"a byte never set":     {func(_ *login, c *http.Cookie) { c.Value = "a b" }, false},
		"under another prefix": {func(_ *login, c *http.Cookie) { c.Name = "device" }, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, cookie := start(t)
				c.change(a, cookie)
				if got := a.isKnown(t, "ann", cookie); got != c.known {
					t.Errorf("known %v, want %v", got, c.known)
				}
			})
		})
	}
	t.Run("set only after a complete login", func(t *testing.T) {
		captureLog(t)
		a := newLogin(t, nil)
		for _, password := range []string{"wrong", "busy", "outage"} {
			if set := a.try(home, "ann", password).Result().Cookies(); len(set) > 0 {
				t.Errorf("%s: got %v", password, set)
			}
		}
	})
	t.Run("keeps its id and gets younger", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a, c := start(t)
			time.Sleep(100 * 24 * time.Hour)
			again := device(t, a.try(home, "ann", "right", c))
			if part(again, 1) != part(c, 1) || again.Value == c.Value {
				t.Errorf("got %s after %s", again.Value, c.Value)
			}
			time.Sleep(100 * 24 * time.Hour)
			if a.isKnown(t, "ann", c) || !a.isKnown(t, "ann", again) {
				t.Error("the old one is known, or the new one is not")
			}
			if fresh := device(t, a.try(home, "bob", "secret", c)); part(fresh, 1) == part(c, 1) {
				t.Error("another account got the same device")
			}
		})
	})
	t.Run("of another issuer", func(t *testing.T) {
		at := func(issuer string) *login { return newLogin(t, func(a *login) { a.limit.Issuer = issuer }) }
		a, b := at("https://a.example"), at("https://b.example")
		first := device(t, a.try(home, "ann", "right"))
		same, other := device(t, a.try(home, "ann", "right", first)), device(t, b.try(home, "ann", "right", first))
		if part(same, 1) != part(first, 1) || part(other, 1) == part(first, 1) {
			t.Error("the issuer does not count")
		}
	})
}

// part returns a part of a device cookie, from the left: key id, device, time, MAC.
func part(c *http.Cookie, i int) string { return strings.Split(c.Value, ".")[i] }

// forge puts another text in place of a part.
func forge(c *http.Cookie, i int, change func(string) string) {
	parts := strings.Split(c.Value, ".")
	parts[i] = change(parts[i])
	c.Value = strings.Join(parts, ".")
}

func TestNewDevices(t *testing.T) {
	for name, c := range map[string]struct {
		keys   middleware.KeySource
		issuer string
		cookie cookies.Policy
		since  func(context.Context, string) (time.Time, error)
	}{
		"no keys":         {nil, own, cookies.Policy{}, never},
		"no issuer":       {keys, "", cookies.Policy{}, never},
		"a bad issuer":    {keys, " x", cookies.Policy{}, never},
		"no since":        {keys, own, cookies.Policy{}, nil},
		"no current key":  {secrets{}, own, cookies.Policy{}, never},
		"a bad cookie":    {keys, own, cookies.Policy{SameSite: http.SameSiteNoneMode}, never},
		"a bad name":      {keys, own, cookies.Policy{Name: "a b"}, never},
		"a bad key":       {derive(func(string, string, string) (string, []byte, error) { return "k", []byte("short"), nil }), own, cookies.Policy{}, never},
		"a bad id of key": {derive(func(string, string, string) (string, []byte, error) { return "a b", make([]byte, 32), nil }), own, cookies.Policy{}, never},
	} {
		if _, err := middleware.NewDevices(c.keys, c.issuer, c.cookie, c.since); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	d, err := middleware.NewDevices(keys, own, cookies.Policy{InsecureLoopback: true}, never)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(map[string]any{"devices": d})
	if s := fmt.Sprintf("%v %+v %#v %s %v %s", d, *d, d, d, err, text); strings.Contains(s, "secret") {
		t.Errorf("it shows its secret: %s", s)
	}
	// The development switch on a public host is a fault, and no login goes on.
	captureLog(t)
	h := middleware.RateLimitLogin(middleware.LoginLimit{Limiter: ratelimit.NewMemory(0), Issuer: own, Devices: d})(whoami)
	want(t, serve(h, post(formType, "account=ann")), auth.Internal)
}

// A device that may have been dropped is not believed while nobody can say.
func TestDeviceResetUnknown(t *testing.T) {
	captureLog(t)
	fail := false
	d, err := middleware.NewDevices(keys, own, cookies.Policy{}, func(_ context.Context, account string) (time.Time, error) {
		if account != "ann" {
			t.Errorf("asked for %q", account)
		}
		if fail {
			return time.Time{}, errors.New("down")
		}
		return time.Time{}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	a := newLogin(t, func(a *login) { a.limit.Devices = d })
	known := device(t, a.try(home, "ann", "right"))
	fail = true
	want(t, a.try(home, "ann", "right", known), auth.StoreUnavailable)
	want(t, a.try(home, "bob", "secret", known), "") // it is not asked for whom the cookie does not name
}
