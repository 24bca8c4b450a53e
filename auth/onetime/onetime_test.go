package onetime_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/auth/onetime"
	"github.com/doorward/doorward/tokens"
)

func b64(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

func unb64(s string) string {
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return string(b)
}

func TestRedeem(t *testing.T) {
	w := setup(t)
	raw := link(w, w.reset, annsMail())
	for range 3 {
		checked, err := w.reset.Check(ctx, raw)
		ok(t, err)
		if checked.Payload != annsMail() {
			t.Errorf("got %+v", checked)
		}
	}
	token, err := w.reset.Redeem(ctx, raw)
	ok(t, err)
	if token.Subject != "ann" || token.Payload != annsMail() || token.ID == "" || token.Expires.Sub(token.IssuedAt) != 30*minute {
		t.Errorf("got %+v", token)
	}
	w.wantTold("link_issue ok", "link_redeem ok")
}

// ATK-J23: twice.
func TestATK_J23_Twice(t *testing.T) {
	w := setup(t)
	for _, typ := range []string{tokens.Invite, tokens.ResetPassword, tokens.VerifyEmail, tokens.MagicLink} {
		k := kind(w, typ)
		raw := link(w, k, annsMail())
		_, err := k.Redeem(ctx, raw)
		ok(t, err)
		refused(w, typ+", used", k, ctx, raw, auth.TokenInvalid)
	}
}

// ATK-J23: 50 at once. (Three processes and a real Redis: package redisonetime.)
func TestATK_J23_FiftyAtOnce(t *testing.T) {
	w := setup(t)
	for range 20 {
		raw := link(w, w.reset, annsMail())
		var won atomic.Int64
		each(50, func(int) {
			switch _, err := w.reset.Redeem(ctx, raw); {
			case err == nil:
				won.Add(1)
			case auth.CodeOf(err) != auth.TokenInvalid:
				t.Error(err)
			}
		})
		if won.Load() != 1 {
			t.Fatalf("%d succeeded, expected 1", won.Load())
		}
	}
}

// ATK-J23: what the token hangs on has changed, or the subject is gone; also when the store is an older copy of
// itself, in which the token is still the live one.
func TestATK_J23_State(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*user)
	}{
		{"after password change", func(u *user) { u.hash = "hash-9" }},
		{"after email change", func(u *user) { u.mail = "ann@new.example" }},
		{"deleted user", nil},
	} {
		w := setup(t)
		raw := link(w, w.reset, annsMail())
		before := w.users["ann"]
		w.set("ann", c.change)
		refused(w, c.name, w.reset, ctx, raw, auth.TokenInvalid)
		w.wantTold("link_issue ok", "link_redeem token_invalid", "link_redeem token_invalid")
		w.set("ann", func(u *user) { *u = before })
		_, err := w.reset.Redeem(ctx, raw) // none of the tries has used it up
		ok(t, err)
	}

	// One part of a state does not flow into the next.
	w := setup(t)
	w.set("ann", func(u *user) { u.hash, u.mail = "ab", "c" })
	raw := link(w, w.reset, annsMail())
	w.set("ann", func(u *user) { u.hash, u.mail = "a", "bc" })
	refused(w, "parts of a state", w.reset, ctx, raw, auth.TokenInvalid)
}

// ATK-J23: by another user who is logged in; by nobody and by the owner it works.
func TestATK_J23_AnotherUser(t *testing.T) {
	w := setup(t)
	raw := link(w, w.reset, annsMail())
	for name, p := range map[string]*auth.Principal{
		"another user":   {Issuer: issuer, Subject: "bob"},
		"another issuer": {Issuer: "https://evil.example", Subject: "ann"},
		"no issuer":      {Subject: "ann"},
	} {
		refused(w, name, w.reset, as(p), raw, auth.TokenInvalid)
	}
	_, err := w.reset.Redeem(as(&auth.Principal{Issuer: issuer, Subject: "ann"}), raw)
	ok(t, err)
	// She is one person, in whichever organisation her login holds.
	_, err = w.reset.Redeem(as(&auth.Principal{Issuer: issuer, Tenant: "club", Subject: "ann"}), link(w, w.reset, annsMail()))
	ok(t, err)
	_, err = w.reset.Redeem(ctx, link(w, w.reset, annsMail()))
	ok(t, err)
}

// ATK-L16: earlier links die, those of another purpose or subject do not.
func TestATK_L16_EarlierLinksDie(t *testing.T) {
	w := setup(t)
	verify := kind(w, tokens.VerifyEmail)
	other := link(w, verify, annsMail())
	bob, err := w.reset.Issue(ctx, "bob", mailed{"bob@example.com"}, 0)
	ok(t, err)
	// ATK-S11: the ann of another issuer, over the same store.
	elsewhere := setup(t)
	elsewhere.store = w.store
	elsewhere.tokens, err = tokens.New(tokens.Config{Keys: w.tokens.Config().Keys, Issuer: "https://other.example.com", Audience: "app"})
	ok(t, err)
	others := kind(elsewhere, tokens.ResetPassword)
	namesake, err := others.Issue(ctx, "ann", annsMail(), 0)
	ok(t, err)
	var links []string
	for range 20 {
		links = append(links, link(w, w.reset, annsMail()))
	}
	for _, raw := range links[:19] {
		refused(w, "an earlier link", w.reset, ctx, raw, auth.TokenInvalid)
	}
	refused(w, "another issuer's", w.reset, ctx, namesake.Token.Reveal(), auth.TokenInvalid)
	refused(elsewhere, "another issuer's", others, ctx, links[19], auth.TokenInvalid)
	for _, raw := range []string{links[19], bob.Token.Reveal()} {
		_, err := w.reset.Redeem(ctx, raw)
		ok(t, err)
	}
	ok(t, w.reset.Void(ctx, "ann"))
	_, err = others.Redeem(ctx, namesake.Token.Reveal())
	ok(t, err)
	_, err = verify.Redeem(ctx, other)
	ok(t, err)

	taken := link(w, w.reset, annsMail())
	ok(t, w.reset.Void(ctx, "ann"))
	refused(w, "taken back", w.reset, ctx, taken, auth.TokenInvalid)
}

// ATK-J24: a link is the configured URL and nothing else; a URL that could be somebody else's is refused.
func TestATK_J24_URL(t *testing.T) {
	w := setup(t)
	c := onetime.Config[mailed]{Tokens: w.tokens, Store: w.store, Type: tokens.ResetPassword, State: w.state}
	for _, u := range []string{
		"", "/reset", "app.example.com/reset", "//app.example.com/reset", "http://app.example.com/reset", "ftp://app.example.com/reset",
		"https://", "https:///reset", "https://user@app.example.com/reset", "https://app.example.com/reset?", "https://app.example.com/reset?next=x",
		"https://app.example.com/reset#", "https://app.example.com/reset#x", "https://APP.example.com/reset", "https://app.example.com:443/reset",
		"https://app.example.com/re set", "https://app.example.com/\nreset", "http://127.0.0.1.example.com/reset", "javascript:alert(1)",
	} {
		c.URL = u
		if _, err := onetime.New(c); err == nil || !strings.Contains(err.Error(), "Config.URL") {
			t.Errorf("%q: got %v", u, err)
		}
	}
	for _, u := range []string{"https://app.example.com", "https://app.example.com:8443/a/b", "http://127.0.0.1:8080/reset", "http://localhost:8080/reset", "http://[::1]:8080/reset"} {
		c.URL = u
		k, err := onetime.New(c)
		ok(t, err)
		l, err := k.Issue(ctx, "ann", annsMail(), 0)
		ok(t, err)
		if got := l.URL.Reveal(); got != u+"#token="+l.Token.Reveal() {
			t.Errorf("got %q", got)
		}
	}
}

// Lives: by purpose, and no longer.
func TestLives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := setup(t)
		for typ, life := range map[string]time.Duration{
			tokens.Invite: 7 * day, tokens.VerifyEmail: day, tokens.ResetPassword: 30 * minute, tokens.MagicLink: 15 * minute,
		} {
			k := kind(w, typ)
			l, err := k.Issue(ctx, "ann", annsMail(), 0)
			ok(t, err)
			time.Sleep(life - time.Second)
			_, err = k.Check(ctx, l.Token.Reveal())
			ok(t, err)
			time.Sleep(time.Second)
			refused(w, typ, k, ctx, l.Token.Reveal(), auth.TokenExpired)
		}
		k := kind(w, "unsubscribe+jwt", func(c *onetime.Config[mailed]) { c.Life = 366 * day })
		_, err := k.Redeem(ctx, link(w, k, annsMail()))
		ok(t, err)
	})
}

// each invitation may have a life of its own, up to the most that its kind allows.
func TestIssue_Q_42_LifeOfOneLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := setup(t)
		k := kind(w, tokens.Invite, func(c *onetime.Config[mailed]) { c.MaxLife = 30 * day })
		for asked, life := range map[time.Duration]time.Duration{0: 7 * day, time.Second: time.Second, hour: hour, 30 * day: 30 * day} {
			l, err := k.Issue(ctx, "ann", annsMail(), asked)
			ok(t, err)
			if got := time.Until(l.Expires); got > life || got < life-time.Second {
				t.Errorf("asked for %s: the link says %s", asked, got)
			}
			time.Sleep(life - time.Second)
			if life > time.Second {
				_, err = k.Check(ctx, l.Token.Reveal())
				ok(t, err)
			}
			time.Sleep(time.Second)
			refused(w, "over", k, ctx, l.Token.Reveal(), auth.TokenExpired)
		}

		// What cannot be is told by field, and leaves the link that is on its way alive.
		alive := link(w, k, annsMail())
		for _, kind := range []*onetime.Kind[mailed]{k, w.reset} { // the one with a longer life, and one without
			for _, asked := range []time.Duration{-1, -hour, time.Millisecond, 30*day + 1, 1 << 62} {
				l, err := kind.Issue(ctx, "ann", annsMail(), asked)
				var fields interface{ Fields() map[string]string }
				if auth.CodeOf(err) != auth.ValidationFailed || !errors.As(err, &fields) || fields.Fields()["life"] == "" || l.Token.Reveal() != "" {
					t.Errorf("asked for %s: got %v", asked, err)
				}
			}
		}
		if _, err := w.reset.Issue(ctx, "ann", annsMail(), 31*minute); auth.CodeOf(err) != auth.ValidationFailed {
			t.Errorf("longer than a kind without MaxLife: got %v", err)
		}
		_, err := k.Redeem(ctx, alive)
		ok(t, err)

		// A token that lives longer than the kind allows by now is refused.
		long, err := k.Issue(ctx, "ann", annsMail(), 30*day)
		ok(t, err)
		refused(w, "a lowered MaxLife", kind(w, tokens.Invite), ctx, long.Token.Reveal(), auth.TokenInvalid)
	})
}

// ATK-J21: a token of one purpose, another service or another installation opens no other.
func TestATK_J21_Purposes(t *testing.T) {
	w := setup(t)
	verify := kind(w, tokens.VerifyEmail)
	refused(w, "verify at reset", w.reset, ctx, link(w, verify, annsMail()), auth.TokenInvalid)
	foreign := setup(t)
	var err error
	foreign.tokens, err = tokens.New(tokens.Config{Keys: tokens.NewKeyring(tokens.FromSecret(secret)), Issuer: "https://staging.example.com", Audience: "app"})
	ok(t, err)
	foreign.store = w.store
	refused(w, "staging's", w.reset, ctx, link(foreign, kind(foreign, tokens.ResetPassword), annsMail()), auth.TokenInvalid)
	// A kind of package tokens without this one's envelope.
	plain, err := tokens.NewKind[mailed](tokens.ResetPassword, minute).Issue(w.tokens, "ann", annsMail(), 0)
	ok(t, err)
	refused(w, "a token that names no state", w.reset, ctx, plain, auth.TokenInvalid)
	for name, raw := range map[string]string{"empty": "", "garbage": "x.y.z", "1 MiB": strings.Repeat("A", 1<<20)} {
		refused(w, name, w.reset, ctx, raw, auth.TokenInvalid)
	}
}

// A key that was removed takes its tokens along; one that was rotated does not.
func TestKeys(t *testing.T) {
	w := setup(t)
	keys := w.tokens.Config().Keys
	old, newer := tokens.FromSecret(secret), tokens.FromSecret([]byte(tokens.GenerateSecret()))
	raw := link(w, w.reset, annsMail())
	ok(t, keys.Replace(newer, old))
	_, err := w.reset.Check(ctx, raw)
	ok(t, err)
	ok(t, keys.Replace(newer))
	refused(w, "of a removed key", w.reset, ctx, raw, auth.TokenInvalid)

	// The key of the states alone.
	states := tokens.NewKeyring(old)
	k := kind(w, tokens.Invite, func(c *onetime.Config[mailed]) { c.Keys = states })
	raw = link(w, k, annsMail())
	_, err = k.Check(ctx, raw)
	ok(t, err)
	ok(t, states.Replace(newer))
	refused(w, "of a removed state key", k, ctx, raw, auth.TokenInvalid)
}

// ATK-D08: an outage of the users' table uses nothing up.
func TestOutages_ATK_D08(t *testing.T) {
	w := setup(t)
	raw := link(w, w.reset, annsMail())
	w.down = errOutage
	refused(w, "users down", w.reset, ctx, raw, auth.StoreUnavailable)
	if _, err := w.reset.Issue(ctx, "ann", annsMail(), 0); auth.CodeOf(err) != auth.StoreUnavailable {
		t.Errorf("Issue: got %v", err)
	}
	w.down = nil
	_, err := w.reset.Redeem(ctx, raw)
	ok(t, err)
	if _, err := w.reset.Issue(ctx, "eve", annsMail(), 0); auth.CodeOf(err) != auth.NotFound {
		t.Errorf("an unknown subject: got %v", err)
	}

	down := kind(w, tokens.Invite, func(c *onetime.Config[mailed]) { c.Store = broken{} })
	if _, err := down.Issue(ctx, "ann", annsMail(), 0); auth.CodeOf(err) != auth.StoreUnavailable {
		t.Errorf("Issue: got %v", err)
	}
	raw = link(w, kind(w, tokens.Invite), annsMail())
	refused(w, "store down", down, ctx, raw, auth.StoreUnavailable)
	if err := down.Void(ctx, "ann"); auth.CodeOf(err) != auth.StoreUnavailable {
		t.Errorf("Void: got %v", err)
	}
}

// broken is a store that is down.
type broken struct{}

func (broken) Put(context.Context, onetime.Slot, string, time.Time) error { return errOutage }
func (broken) Live(context.Context, onetime.Slot, string) (bool, error)   { return true, errOutage }
func (broken) Take(context.Context, onetime.Slot, string) (bool, error)   { return true, errOutage }
func (broken) Drop(context.Context, onetime.Slot) error                   { return errOutage }

func TestNewRefuses(t *testing.T) {
	w := setup(t)
	foreign, err := tokens.New(tokens.Config{Keys: w.tokens.Config().Keys, Issuer: issuer, Audience: "app", AllowForeign: true})
	ok(t, err)
	raw, err := tokens.New(tokens.Config{Keys: tokens.NewKeyring(tokens.HS256("k", secret)), Issuer: issuer, Audience: "app"})
	ok(t, err)
	for says, change := range map[string]func(*onetime.Config[mailed]){
		"Config.Tokens: got nil":          func(c *onetime.Config[mailed]) { c.Tokens = nil },
		"expected a Tokens of our own":    func(c *onetime.Config[mailed]) { c.Tokens = foreign },
		"Config.Keys: tokens: Derive":     func(c *onetime.Config[mailed]) { c.Tokens = raw },
		"Config.Store: got nil":           func(c *onetime.Config[mailed]) { c.Store = nil },
		"Config.State: got nil":           func(c *onetime.Config[mailed]) { c.State = nil },
		"Config.Life: got 0":              func(c *onetime.Config[mailed]) { c.Type = "own+jwt" },
		"Config.Type, Life or MaxLife: t": func(c *onetime.Config[mailed]) { c.Type, c.Life = tokens.Access, hour },
		"got a life of 1ms":               func(c *onetime.Config[mailed]) { c.Life = time.Millisecond },
		"Config.Life: validation_failed":  func(c *onetime.Config[mailed]) { c.Life, c.MaxLife = -hour, hour },
		"Config.MaxLife: got 10m0s":       func(c *onetime.Config[mailed]) { c.MaxLife = 10 * minute },
		"got a life of 8808h0m0s":         func(c *onetime.Config[mailed]) { c.MaxLife = 367 * day },
	} {
		c := onetime.Config[mailed]{Tokens: w.tokens, Store: w.store, Type: tokens.ResetPassword, URL: base, State: w.state}
		change(&c)
		if _, err := onetime.New(c); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("got %v, expected %q", err, says)
		}
	}
}

// ATK-I05, STD-V04, STD-V07: a link is masked, and neither its token nor a plain state stands anywhere else: not in the
// store, and of the state nothing in the token.
func TestSTD_V04_Secrets(t *testing.T) {
	w := setup(t)
	l, err := w.reset.Issue(ctx, "ann", annsMail(), 0)
	ok(t, err)
	var out bytes.Buffer
	_, _ = fmt.Fprintf(&out, "%v %+v %#v %s", l, &l, l, struct{ l onetime.Link }{l})
	slog.New(slog.NewJSONHandler(&out, nil)).Info("made", "link", l)
	ok(t, json.NewEncoder(&out).Encode(l))
	_, _ = fmt.Fprintf(&out, "%+v %+v", w.store, w.events)
	parts := strings.Split(l.Token.Reveal(), ".")
	for _, secret := range append(parts, base+"#") {
		if strings.Contains(out.String(), secret) {
			t.Errorf("%.20q is shown: %s", secret, out.String())
		}
	}
	if body := unb64(parts[1]); strings.Contains(body, "hash-1") || strings.Contains(body, b64("hash-1")) {
		t.Errorf("the state is in the token: %s", body)
	}
	same, err := w.reset.Issue(ctx, "ann", annsMail(), 0)
	ok(t, err)
	if unb64(strings.Split(same.Token.Reveal(), ".")[1]) == unb64(parts[1]) {
		t.Error("two tokens are equal")
	}
}
