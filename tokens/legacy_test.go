package tokens_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/tokens"
)

// older is an adapter for a system that signs with rawKey, at noon.
func older(t testing.TB, change ...func(*tokens.LegacyConfig)) *tokens.Legacy {
	t.Helper()
	c := tokens.LegacyConfig{
		Key: tokens.HS256("old", rawKey), Issuer: issuer, Until: noon.Add(30 * 24 * time.Hour), Now: func() time.Time { return noon },
		Version: func(context.Context, string) (int64, error) { return 3, nil },
	}
	for _, f := range change {
		f(&c)
	}
	l, err := tokens.NewLegacy(c)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

const oldHeader = `{"alg":"HS256","typ":"JWT"}`

func oldClaims(changes ...string) string {
	return claimsWith(append([]string{
		"iss", "", "aud", "", "nbf", "", "jti", "", "client_id", "", "sub", `"42"`, "roles", `["editor"]`, "token_version", "3", "type", `"access"`,
	}, changes...)...)
}

// D-50: tokens from before the older system had versions are good where the application says so, of a subject that was not
// reset since. What is ended stays ended: a version cannot be taken out of a token, and a reset is compared with iat.
func TestLegacy_D_50_MissingVersion(t *testing.T) {
	iat := fmt.Sprint(noon.Add(-time.Minute).Unix())
	without := oldClaims("token_version", "", "iat", iat)
	ended := forge(oldHeader, oldClaims("token_version", "2"))
	stripped := strings.Split(ended, ".")
	stripped[1] = b64(oldClaims("token_version", ""))
	reset := func(at time.Time) func(context.Context, string, time.Time) (bool, error) {
		return func(_ context.Context, subject string, issued time.Time) (bool, error) {
			if subject != "42" {
				t.Errorf("asked for %q", subject)
			}
			return at.IsZero() || issued.After(at), nil
		}
	}
	never, before, after := reset(time.Time{}), reset(noon.Add(-time.Hour)), reset(noon)
	fails := func(err error) func(context.Context, string, time.Time) (bool, error) {
		return func(context.Context, string, time.Time) (bool, error) { return true, err }
	}
	gone := func(c *tokens.LegacyConfig) {
		c.Version = func(context.Context, string) (int64, error) { return 0, auth.LoginFailed }
	}
	for _, c := range []struct {
		name  string
		raw   string
		allow func(context.Context, string, time.Time) (bool, error)
		want  error
	}{
		{"nobody said so", forge(oldHeader, without), nil, auth.TokenRevoked},
		{"never reset", forge(oldHeader, without), never, nil},
		{"never reset, no iat", forge(oldHeader, oldClaims("token_version", "", "iat", "")), never, nil},
		{"null", forge(oldHeader, oldClaims("token_version", "null", "iat", iat)), never, nil},
		{"made after the reset", forge(oldHeader, without), before, nil},
		{"made before the reset", forge(oldHeader, without), after, auth.TokenRevoked},
		{"no iat, and a reset", forge(oldHeader, oldClaims("token_version", "", "iat", "")), before, auth.TokenRevoked},
		{"an ended version", ended, never, auth.TokenRevoked},
		{"an ended version under the other name", forge(oldHeader, oldClaims("token_version", "", "ver", "2")), never, auth.TokenRevoked},
		{"version 0, which is one", forge(oldHeader, oldClaims("token_version", "0")), never, auth.TokenRevoked},
		{"an ended version taken out", strings.Join(stripped, "."), never, tokens.ErrSignature},
		{"the present version", forge(oldHeader, oldClaims()), fails(errors.New("not asked")), nil},
		{"a database that is down", forge(oldHeader, without), fails(errors.New("down")), auth.Internal},
		{"a subject that is gone, by the function", forge(oldHeader, without), fails(auth.LoginFailed), auth.TokenRevoked},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := older(t, func(k *tokens.LegacyConfig) { k.AllowMissingVersion = c.allow })
			p, err := l.Verify(t.Context(), c.raw)
			switch {
			case c.want == nil && (err != nil || p.Subject != "42"):
				t.Errorf("got %v", err)
			case c.want == auth.Internal && (err == nil || auth.CodeOf(err) != auth.Internal):
				t.Errorf("got %v, expected a fault", err)
			case c.want != nil && c.want != auth.Internal && (!errors.Is(err, c.want) || p != nil):
				t.Errorf("got %v, %v, expected %v", p, err, c.want)
			}
		})
	}
	// A subject of version 0 too: the function's no is a no.
	zero := func(c *tokens.LegacyConfig) {
		c.Version = func(context.Context, string) (int64, error) { return 0, nil }
	}
	for name, c := range map[string]struct {
		allow func(context.Context, string, time.Time) (bool, error)
		want  error
	}{
		"nobody said so": {nil, nil}, "never reset": {never, nil}, "made after the reset": {before, nil}, "made before the reset": {after, auth.TokenRevoked},
	} {
		l := older(t, zero, func(k *tokens.LegacyConfig) { k.AllowMissingVersion = c.allow })
		if p, err := l.Verify(t.Context(), forge(oldHeader, without)); !errors.Is(err, c.want) || (p == nil) != (c.want != nil) {
			t.Errorf("version 0, %s: got %v, expected %v", name, err, c.want)
		}
	}
	l := older(t, gone, func(k *tokens.LegacyConfig) { k.AllowMissingVersion = never })
	if _, err := l.Verify(t.Context(), forge(oldHeader, without)); auth.CodeOf(err) != auth.TokenRevoked {
		t.Errorf("a subject that is gone: got %v", err)
	}
}

// ATK-J: the adapter opens the door to what the older system made for it, and to nothing else.
func TestLegacy(t *testing.T) {
	exp := fmt.Sprint(noon.Add(time.Minute).Unix())
	for _, c := range []struct {
		name, header, claims string
		want                 error
	}{
		{"as python-jose writes it", oldHeader, oldClaims(), nil},
		{"no typ", `{"alg":"HS256"}`, oldClaims(), nil},
		{"ver", oldHeader, oldClaims("token_version", "", "ver", "3"), nil},
		{"a number as sub", oldHeader, oldClaims("sub", "42"), nil},
		{"a fraction", oldHeader, oldClaims("exp", exp+".5"), nil},
		{"a member of its own", oldHeader, oldClaims("email", `"a@example.com"`), nil},
		{"a refresh token", oldHeader, oldClaims("type", `"refresh"`), tokens.ErrKind},
		{"no type", oldHeader, oldClaims("type", ""), tokens.ErrKind},
		{"type null", oldHeader, oldClaims("type", "null"), tokens.ErrKind},
		{"an issuer", oldHeader, oldClaims("iss", `"x"`), tokens.ErrIssuer},
		{"an audience", oldHeader, oldClaims("aud", `"x"`), tokens.ErrAudience},
		{"an empty list as audience", oldHeader, oldClaims("aud", "[]"), tokens.ErrAudience},
		{"a kid", `{"alg":"HS256","typ":"JWT","kid":"k1"}`, oldClaims(), tokens.ErrMalformed},
		{"an access token of the kit", goodHeader, claimsWith(), tokens.ErrMalformed},
		{"another member in the header", `{"alg":"HS256","typ":"JWT","x":1}`, oldClaims(), tokens.ErrMalformed},
		{"crit", `{"alg":"HS256","crit":["x"]}`, oldClaims(), tokens.ErrMalformed},
		{"none", `{"alg":"none","typ":"JWT"}`, oldClaims(), tokens.ErrMalformed},
		{"another algorithm", `{"alg":"HS512","typ":"JWT"}`, oldClaims(), tokens.ErrMalformed},
		{"no exp", oldHeader, oldClaims("exp", ""), tokens.ErrMalformed},
		{"exp zero", oldHeader, oldClaims("exp", "0"), tokens.ErrMalformed},
		{"expired this second", oldHeader, oldClaims("exp", fmt.Sprint(noon.Unix()), "iat", ""), tokens.ErrExpired},
		{"for two days", oldHeader, oldClaims("exp", fmt.Sprint(noon.Add(48*time.Hour).Unix())), tokens.ErrMalformed},
		{"for two days, without iat", oldHeader, oldClaims("exp", fmt.Sprint(noon.Add(48*time.Hour).Unix()), "iat", ""), tokens.ErrMalformed},
		{"from tomorrow", oldHeader, oldClaims("iat", fmt.Sprint(noon.Add(24*time.Hour).Unix()), "exp", fmt.Sprint(noon.Add(25*time.Hour).Unix())), tokens.ErrNotYetValid},
		{"not before tomorrow", oldHeader, oldClaims("nbf", fmt.Sprint(noon.Add(24*time.Hour).Unix())), tokens.ErrNotYetValid},
		{"an older version", oldHeader, oldClaims("token_version", "2"), auth.TokenRevoked},
		{"a version of the future", oldHeader, oldClaims("token_version", "4"), auth.TokenRevoked},
		{"no version", oldHeader, oldClaims("token_version", ""), auth.TokenRevoked},
		{"two versions", oldHeader, oldClaims("ver", "4"), tokens.ErrMalformed},
		{"a negative version", oldHeader, oldClaims("token_version", "-1"), tokens.ErrMalformed},
		{"no sub", oldHeader, oldClaims("sub", ""), tokens.ErrMalformed},
		{"a negative sub", oldHeader, oldClaims("sub", "-1"), tokens.ErrMalformed},
		{"a fraction as sub", oldHeader, oldClaims("sub", "1.5"), tokens.ErrMalformed},
		{"sub in another case too", oldHeader, oldClaims("SUB", `"1"`), tokens.ErrMalformed},
		{"roles as one text", oldHeader, oldClaims("roles", `"admin"`), tokens.ErrMalformed},
		{"bound to a holder", oldHeader, oldClaims("cnf", `{"jkt":"x"}`), tokens.ErrMalformed},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, err := older(t).Verify(t.Context(), forge(c.header, c.claims))
			if c.want != nil {
				if !errors.Is(err, c.want) || p != nil || auth.CodeOf(err).Status() != 401 {
					t.Fatalf("got %+v, %v, expected %v", p, err, c.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			// No session, so that it opens none (session.Start), and no proof of a person's presence.
			if p.Issuer != issuer || p.Subject != "42" || p.Version != 3 || !p.HasRole("editor") || p.TokenID == "" || p.Session != "" || p.Epoch != "" || p.Service || !p.AuthTime.IsZero() || p.Methods != nil {
				t.Errorf("got %+v", p)
			}
		})
	}
}

// Its day, its secret, its own issuer, and whom it asks.
func TestLegacy_Config(t *testing.T) {
	good := forge(oldHeader, oldClaims())
	if _, err := older(t, func(c *tokens.LegacyConfig) { c.Until = noon }).Verify(t.Context(), good); !errors.Is(err, tokens.ErrExpired) {
		t.Errorf("on the day: %v", err)
	}
	if _, err := older(t).Verify(t.Context(), forgeWith([]byte(strings.Repeat("x", 40)), oldHeader, oldClaims())); !errors.Is(err, tokens.ErrSignature) {
		t.Errorf("another secret: %v", err)
	}
	named := older(t, func(c *tokens.LegacyConfig) { c.OldIssuer, c.OldAudience, c.AllowMissingType = "old", "web", true })
	if _, err := named.Verify(t.Context(), forge(oldHeader, oldClaims("iss", `"old"`, "aud", `["x","web"]`, "type", ""))); err != nil {
		t.Error(err)
	}
	if _, err := named.Verify(t.Context(), forge(oldHeader, oldClaims("iss", `"old"`, "aud", `"web"`, "type", `"refresh"`))); !errors.Is(err, tokens.ErrKind) {
		t.Errorf("a type that says another thing: %v", err)
	}
	if _, err := named.Verify(t.Context(), good); !errors.Is(err, tokens.ErrIssuer) {
		t.Errorf("no issuer: %v", err)
	}
	for _, c := range []struct{ said, want error }{
		{auth.NotFound, auth.TokenRevoked}, {auth.LoginFailed, auth.TokenRevoked}, {auth.TokenRevoked, auth.TokenRevoked},
		{auth.StoreUnavailable, auth.StoreUnavailable}, {errors.New("no code"), auth.Internal},
	} {
		var events []auth.Event
		l := older(t, func(k *tokens.LegacyConfig) {
			k.Version = func(context.Context, string) (int64, error) { return 0, c.said }
			k.Observe = func(_ context.Context, e auth.Event) { events = append(events, e) }
		})
		if _, err := l.Verify(t.Context(), good); auth.CodeOf(err) != auth.CodeOf(c.want) {
			t.Errorf("%v: got %v, expected %v", c.said, err, c.want)
		}
		if len(events) != 1 || events[0].Name != "legacy" || events[0].Subject != "42" || events[0].Err == nil {
			t.Errorf("%v: events %+v", c.said, events)
		}
	}
	for field, change := range map[string]func(*tokens.LegacyConfig){
		"Key":     func(c *tokens.LegacyConfig) { c.Key = tokens.HS256("old", rawKey[:31]) },
		"Key ":    func(c *tokens.LegacyConfig) { c.Key = tokens.FromSecret(rawKey) },
		"Key  ":   func(c *tokens.LegacyConfig) { c.Key = tokens.Key{} },
		"Issuer":  func(c *tokens.LegacyConfig) { c.Issuer = "" },
		"Until":   func(c *tokens.LegacyConfig) { c.Until = time.Time{} },
		"Until ":  func(c *tokens.LegacyConfig) { c.Until = noon.Add(367 * 24 * time.Hour) },
		"Life":    func(c *tokens.LegacyConfig) { c.Life = 32 * 24 * time.Hour },
		"Version": func(c *tokens.LegacyConfig) { c.Version = nil },
	} {
		c := tokens.LegacyConfig{Key: tokens.HS256("old", rawKey), Issuer: issuer, Until: noon, Now: func() time.Time { return noon }, Version: func(context.Context, string) (int64, error) { return 0, nil }}
		change(&c)
		if _, err := tokens.NewLegacy(c); err == nil || !strings.Contains(err.Error(), strings.TrimSpace(field)) || strings.Contains(err.Error(), string(rawKey[:8])) {
			t.Errorf("%s: got %v", field, err)
		}
	}
}

// Or sends each token to the one who made it, and only there: neither is tried on what the other refused.
func TestLegacy_Or(t *testing.T) {
	tok, _ := setup(t)
	both := older(t).Or(tok)
	for name, raw := range map[string]string{"old": forge(oldHeader, oldClaims()), "new": forge(goodHeader, claimsWith())} {
		if _, err := both.Verify(t.Context(), raw); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, raw := range map[string]string{"old claims": forge(goodHeader, oldClaims()), "new claims": forge(oldHeader, claimsWith()), "none": ""} {
		if _, err := both.Verify(t.Context(), raw); auth.CodeOf(err) != auth.TokenInvalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := older(t).Or(nil).Verify(t.Context(), forge(goodHeader, claimsWith())); auth.CodeOf(err) != auth.Internal {
		t.Errorf("nil: %v", err)
	}
}

// FuzzLegacy signs any header and any claims with the older system's key: what is accepted has every claim that is demanded.
func FuzzLegacy(f *testing.F) {
	l := older(f)
	for _, claims := range []string{oldClaims(), oldClaims("sub", "1e3"), oldClaims("exp", "1e308"), oldClaims("ver", "3"), oldClaims("Type", `"access"`), "null", "[]", "{}"} {
		f.Add(oldHeader, claims)
	}
	f.Add(`{"alg":"HS256","typ":"jwt","kid":""}`, oldClaims())
	f.Fuzz(func(t *testing.T, header, claims string) {
		p, err := l.Verify(context.Background(), forge(header, claims))
		if err != nil {
			if p != nil || auth.CodeOf(err).Status() != 401 {
				t.Fatalf("%q %q: %v", header, claims, err)
			}
			return
		}
		if p.Subject == "" || p.TokenID == "" || p.Version != 3 || p.Session != "" || !p.Expires.After(noon) {
			t.Fatalf("%q %q: accepted as %+v", header, claims, p)
		}
	})
}

// STD-V07: neither the adapter nor its configuration prints the secret, wherever they stand.
func TestLegacy_STD_V07_Masked(t *testing.T) {
	l, tok := older(t), (*tokens.Tokens)(nil)
	c := tokens.LegacyConfig{Key: tokens.HS256("old", rawKey)}
	type holder struct {
		V any
		v any
	}
	for _, v := range []any{l, *l, l.Or(tok), c, &c, holder{l, l}, holder{c, &c}, holder{l.Or(tok), l.Or(tok)}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			text := fmt.Sprintf(verb, v)
			for _, secret := range []string{string(rawKey[:12]), fmt.Sprintf("%x", rawKey[:12]), strings.Trim(fmt.Sprint(rawKey[:12]), "[]")} {
				if strings.Contains(strings.ToLower(text), strings.ToLower(secret)) {
					t.Errorf("%s of %T: %s", verb, v, text)
				}
			}
		}
		if text, _ := json.Marshal(v); strings.Contains(string(text), string(rawKey[:12])) || strings.Contains(string(text), base64.StdEncoding.EncodeToString(rawKey)) {
			t.Errorf("JSON of %T: %s", v, text)
		}
	}
}

// Who still comes with such a token is told, also when it is refused, and after the day; who forges one is not.
func TestLegacy_Observe(t *testing.T) {
	now, told := noon, []string(nil)
	l := older(t, func(c *tokens.LegacyConfig) {
		c.Now = func() time.Time { return now }
		c.Observe = func(_ context.Context, e auth.Event) { told = append(told, e.Subject+" "+e.Outcome) }
	})
	for _, raw := range []string{
		forge(oldHeader, oldClaims()), forge(oldHeader, oldClaims("type", `"refresh"`)), forge(oldHeader, oldClaims("exp", "1")),
		forgeWith([]byte(strings.Repeat("x", 40)), oldHeader, oldClaims()), "garbage",
	} {
		_, _ = l.Verify(t.Context(), raw)
	}
	now = now.Add(31 * 24 * time.Hour)
	_, _ = l.Verify(t.Context(), forge(oldHeader, oldClaims()))
	want := []string{"42 ok", "42 token_invalid", "42 token_expired", "42 token_expired"}
	if !slices.Equal(told, want) {
		t.Errorf("got %q, expected %q", told, want)
	}
}
