package auth_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/doorward/doorward/auth"
)

// ATK-I04, ATK-S15: one line an event, whatever strangers call themselves.
func TestATK_I04_EventsAreOneLine(t *testing.T) {
	var out bytes.Buffer
	// A handler that escapes nothing by itself.
	log := auth.Log(slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr { return a }})))
	nasty := "a\r\nlevel=ERROR msg=forged\x1b[2J\u202e\u2028\x00\xff" + strings.Repeat("x", 1<<20)
	log(context.Background(), auth.Event{
		Name: "login", Outcome: nasty, Owner: auth.Owner{Issuer: nasty, Subject: nasty}, Session: nasty, Key: nasty, Err: errors.New(nasty),
		Client: auth.Client{Addr: netip.MustParseAddr("192.0.2.1"), UserAgent: nasty}, Former: auth.Client{UserAgent: nasty},
	})
	text := out.String()
	if strings.Count(text, "\n") != 1 || strings.ContainsAny(text, "\r\x1b\x00\u202e\u2028") || len(text) > 4096 {
		t.Errorf("%d bytes, %d lines: %.300q", len(text), strings.Count(text, "\n"), text)
	}
	for _, want := range []string{"event.name=login", "event.addr=192.0.2.1", "level=WARN"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing in %.300q", want, text)
		}
	}
}

func TestClientOf(t *testing.T) {
	for remote, want := range map[string]string{
		"192.0.2.1:80": "192.0.2.1", "[::ffff:192.0.2.1]:80": "192.0.2.1", "[fe80::1%eth0]:80": "fe80::1", "@": "invalid IP", "": "invalid IP",
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr = remote
		r.Header.Set("User-Agent", "x\xff"+strings.Repeat("y", 1<<20))
		c := auth.ClientOf(r)
		if c.Addr.String() != want || len(c.UserAgent) > 512 || !strings.HasPrefix(c.UserAgent, "xy") {
			t.Errorf("%q: got %s, %.20q", remote, c.Addr, c.UserAgent)
		}
	}
}

func TestLoginSucceeded(t *testing.T) {
	n := 0
	auth.LoginSucceeded(context.Background()) // without a limit: nothing
	auth.LoginSucceeded(auth.OnLoginSuccess(context.Background(), func() { n++ }))
	if n != 1 {
		t.Errorf("called %d times", n)
	}
}
