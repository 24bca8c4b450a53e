package main

import (
	"net/url"
	"strings"
	"testing"

	"github.com/doorward/doorward/internal/browsertest"
)

// The page in a real browser: what it shows, what its scripts can read, and the page that a link leads to.
func TestPageInABrowser(t *testing.T) {
	origin := start(t)
	b := browsertest.Start(t)
	login := func(name, code string) {
		t.Helper()
		b.Type("#login [name=account]", name)
		b.Type("#login [name=password]", "password of "+name)
		if code != "" {
			b.Type("#login [name=code]", code)
		}
		b.Click("#login button")
	}
	b.Open(origin)
	if shown := b.Run("return document.querySelector('#code').offsetHeight"); shown != "0" {
		t.Errorf("the field for a code is shown before it is asked for: %s", shown)
	}
	login("root", "")
	b.See("#answer", "200")
	b.See("#sessions", "this one")
	if seen := b.Run("return document.cookie + JSON.stringify(localStorage) + JSON.stringify(sessionStorage)"); strings.Contains(seen, "example") || len(seen) > 4 {
		t.Errorf("a script reads %q", seen)
	}
	b.Click("[data-call='GET me']")
	b.See("#answer", `"root"`)

	// A second factor: the QR code is drawn, and the code of the app is asked for.
	b.Click("[data-call='POST admin/shred']")
	b.See("#answer", "step_up_required")
	b.Click("[data-call='POST factor']")
	_, secret, _ := strings.Cut(b.See("#answer", `"secret"`), `"secret": "`)
	secret, _, _ = strings.Cut(secret, `"`)
	if drawn := b.Run("return document.querySelector('#factor svg').getBoundingClientRect().width"); drawn == "" || drawn == "0" {
		t.Errorf("the QR code is %s wide", drawn)
	}
	b.Type("[data-post='factor/confirm'] [name=code]", code(t, secret, 0))
	b.Click("[data-post='factor/confirm'] button")
	b.See("#answer", "recovery_codes")
	b.Click("[data-call='POST auth/logout']")
	b.See("#answer", "204")
	login("root", "")
	b.See("#answer", "second_factor_required")
	login("root", code(t, secret, 1))
	b.See("#answer", "200")
	b.Click("[data-call='POST admin/shred']")
	b.See("#answer", "everything")

	// A key, and an invitation, whose page takes the token out of the fragment.
	b.Type("[data-post='keys'] [name=name]", "cron")
	b.Click("[data-post='keys'] button")
	b.See("#answer", "dwk_")
	b.Type("[data-post='admin/invites'] [name=account]", "eve")
	b.Click("[data-post='admin/invites'] button")
	_, link, _ := strings.Cut(b.See("#answer", "#token="), `"link": "`)
	link, _, _ = strings.Cut(link, `"`)
	if _, err := url.Parse(link); err != nil {
		t.Fatal(err)
	}
	b.Click("[data-call='POST auth/logout']")
	b.See("#answer", "204")
	b.Open(link)
	b.See("h1", "Welcome")
	if left := b.Run("return location.hash"); left != "" {
		t.Errorf("the token is still in the address: %s", left)
	}
	b.Type("[name=password]", "a good one, for a guest")
	b.Click("form button")
	b.See("h1", "Doorward example")
	b.Type("#login [name=account]", "eve")
	b.Type("#login [name=password]", "a good one, for a guest")
	b.Click("#login button")
	b.See("#answer", "200")
	b.Click("[data-call='GET me']")
	b.See("#answer", `"eve"`)
	b.Click("[data-call='GET admin']")
	b.See("#answer", "role_missing")
}
