package tokens_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/middleware"
	"github.com/doorward/doorward/tokens"
)

// publicJWKS is what the keyring publishes.
func publicJWKS(t *testing.T, ring *tokens.Keyring) []byte {
	t.Helper()
	w := httptest.NewRecorder()
	ring.ServeHTTP(w, httptest.NewRequest("GET", "/jwks.json", nil))
	return w.Body.Bytes()
}

// STD-T22, RFC 9068 section 2.2.
func TestIssuedClaims(t *testing.T) {
	tok, _ := setup(t)
	p := auth.Principal{
		Tenant: "acme", Subject: "ann", Session: "s1", Version: 7, Roles: []string{"editor"}, Competencies: []string{"sign"},
		Methods: []string{"pwd", "otp"}, AuthTime: noon.Add(-time.Hour), ClientID: "spa",
	}
	raw := issue(t, tok, p)
	got := accepted(t, tok, raw)
	want := p
	want.Issuer, want.TokenID, want.IssuedAt, want.Expires = issuer, got.TokenID, noon, noon.Add(15*time.Minute)
	if fmt.Sprintf("%+v", utc(*got)) != fmt.Sprintf("%+v", utc(want)) {
		t.Errorf("got      %+v\nexpected %+v", utc(*got), utc(want))
	}
	u, err := tokens.DecodeUnverified(raw)
	if err != nil {
		t.Fatal(err)
	}
	if u.Type != "at+jwt" || u.Algorithm != "HS256" || u.KeyID != "k1" || !slices.Equal(u.Audience, []string{audience}) ||
		u.Issuer != issuer || u.Subject != "ann" || u.TokenID != got.TokenID || !u.NotBefore.Equal(noon) {
		t.Errorf("got %+v", u)
	}
	if !u.IsKind(tokens.Access) || u.IsKind(tokens.Invite) || u.Expired(noon) || !u.Expired(noon.Add(time.Hour)) {
		t.Errorf("helpers disagree with %+v", u)
	}
	t.Run("RFC 9068 section 2.2: a first-party client is the audience", func(t *testing.T) {
		if got := accepted(t, tok, issue(t, tok, auth.Principal{Subject: "ann"})); got.ClientID != audience {
			t.Errorf("got the client %q", got.ClientID)
		}
	})
}

func utc(p auth.Principal) auth.Principal {
	p.AuthTime, p.IssuedAt, p.Expires = p.AuthTime.UTC(), p.IssuedAt.UTC(), p.Expires.UTC()
	return p
}

// STD-T21.
func TestTypeIsDemanded(t *testing.T) {
	tok, _ := setup(t)
	for _, typ := range []string{`"at+jwt"`, `"AT+JWT"`, `"application/at+jwt"`, `"Application/At+Jwt"`} {
		accepted(t, tok, forge(`{"alg":"HS256","typ":`+typ+`,"kid":"k1"}`, claimsWith()))
	}
	for _, typ := range []string{`"JWT"`, `"jwt"`, `""`, `null`, `"at"`, `"at+jwt "`, `"application/application/at+jwt"`, `"text/at+jwt"`, `"refresh+jwt"`, `"logout+jwt"`} {
		refused(t, tok, forge(`{"alg":"HS256","typ":`+typ+`,"kid":"k1"}`, claimsWith()), tokens.ErrKind)
	}
	refused(t, tok, forge(`{"alg":"HS256","typ":["at+jwt"],"kid":"k1"}`, claimsWith()), tokens.ErrMalformed)
}

// STD-T23: the issue's million, in a size that a test can wait for; rand.Text has 130 bits.
func TestTokenIDsAreUnique(t *testing.T) {
	tok, _ := setup(t)
	seen := map[string]bool{}
	for range 20_000 {
		u, err := tokens.DecodeUnverified(issue(t, tok, auth.Principal{Subject: "ann"}))
		if err != nil {
			t.Fatal(err)
		}
		if len(u.TokenID) < 26 || seen[u.TokenID] {
			t.Fatalf("the jti %q is short or came twice", u.TokenID)
		}
		seen[u.TokenID] = true
	}
}

type invitation struct {
	Resource string `json:"resource"`
	Mail     string `json:"mail"`
}

// verifierFunc makes a door of a function, so that every kind stands behind the same guard.
type verifierFunc func(ctx context.Context, raw string) (*auth.Principal, error)

func (f verifierFunc) Verify(ctx context.Context, raw string) (*auth.Principal, error) {
	return f(ctx, raw)
}

// STD-T20, ATK-J21: every kind of token meets every verifier, each behind a route of its own, under one raw key
// and under one root secret. Beside the kinds stand the neighbours that share the key: another service and
// staging; and a CSRF token, which is no token at any of the doors, nor any of them one at its.
func TestATK_J21_RouteTable(t *testing.T) {
	root := []byte("a root secret of more than thirty-two bytes")
	for _, keys := range []struct {
		name string
		ring func() *tokens.Keyring
	}{
		{"raw key", func() *tokens.Keyring { return tokens.NewKeyring(tokens.HS256("k1", rawKey)) }},
		{"root secret", func() *tokens.Keyring { return tokens.NewKeyring(tokens.FromSecret(root)) }},
	} {
		t.Run(keys.name, func(t *testing.T) {
			mux, made := http.NewServeMux(), map[string]string{}
			door := func(name, raw string, v auth.Verifier) {
				made[name] = raw
				mux.Handle("GET /"+name, middleware.RequireAuth(auth.Bearer(v))(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})))
			}
			access := func(name string, change func(*tokens.Config)) {
				tok, _ := setup(t, func(c *tokens.Config) { c.Keys = keys.ring(); change(c) })
				p := auth.Principal{Subject: "ann"}
				if tok.Config().Type == tokens.Access {
					p.Session = "s1"
				}
				door(name, issue(t, tok, p), tok)
			}
			access("access", func(*tokens.Config) {})
			access("service", func(c *tokens.Config) { c.Type = tokens.Service })
			access("another-service", func(c *tokens.Config) { c.Audience = "billing" })
			access("staging", func(c *tokens.Config) { c.Issuer = "https://staging.example.com" })
			tok, _ := setup(t, func(c *tokens.Config) { c.Keys = keys.ring() })
			for _, typ := range []string{tokens.Invite, tokens.VerifyEmail, tokens.ResetPassword, tokens.MagicLink, tokens.PendingLogin, "own+jwt"} {
				kind := tokens.NewKind[invitation](typ, time.Hour)
				raw, err := kind.Issue(tok, "ann", invitation{"doc", "a@example.com"}, 0)
				if err != nil {
					t.Fatal(err)
				}
				door(strings.TrimSuffix(typ, "+jwt"), raw, verifierFunc(func(ctx context.Context, raw string) (*auth.Principal, error) {
					c, _, err := kind.Verify(ctx, tok, raw)
					if err != nil {
						return nil, err
					}
					return &c.Principal, nil
				}))
			}
			csrf, err := middleware.NewCSRF(tokens.NewKeyring(tokens.FromSecret(root)), issuer)
			if err != nil {
				t.Fatal(err)
			}
			if made["csrf"], err = csrf.Token(&auth.Principal{Session: "s1"}); err != nil {
				t.Fatal(err)
			}
			ambient := verifierFunc(func(context.Context, string) (*auth.Principal, error) {
				return &auth.Principal{Subject: "ann", Session: "s1"}, nil
			})
			read := func(*http.Request) (string, error) { return "x", nil }
			mux.Handle("POST /csrf", middleware.Chain(middleware.RequireAuth(auth.Cookie(read, ambient)), middleware.RequireCSRF(csrf))(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})))

			for from, raw := range made {
				for to := range made {
					r, status := httptest.NewRequest("GET", "/"+to, nil), http.StatusUnauthorized
					if to == "csrf" {
						r, status = httptest.NewRequest("POST", "/csrf", nil), http.StatusForbidden
						r.Header.Set("X-CSRF-Token", raw)
					} else {
						r.Header.Set("Authorization", "Bearer "+raw)
					}
					if from == to {
						status = http.StatusOK
					}
					w := httptest.NewRecorder()
					mux.ServeHTTP(w, r)
					if w.Code != status {
						t.Errorf("a token of %s at the door of %s: got %d %s, expected %d", from, to, w.Code, w.Body, status)
					}
				}
			}
		})
	}
}

// PROTOCOLS 1: with one root secret a token of another use does not even verify, whatever its typ says.
func TestUsesHaveKeysOfTheirOwn(t *testing.T) {
	root := tokens.FromSecret([]byte("a root secret of more than thirty-two bytes"))
	tok, _ := setup(t, func(c *tokens.Config) { c.Keys = tokens.NewKeyring(root) })
	raw, err := tokens.NewKind[string](tokens.Invite, time.Hour).Issue(tok, "ann", "x", 0)
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(raw, ".")
	retyped := b64(`{"alg":"HS256","typ":"at+jwt","kid":"` + root.ID() + `"}`)
	refused(t, tok, retyped+"."+parts[1]+"."+parts[2], tokens.ErrSignature)
}

func TestKinds(t *testing.T) {
	tok, clk := setup(t)
	ctx := context.Background()
	kind := tokens.NewKind[invitation](tokens.Invite, 7*24*time.Hour)
	raw, err := kind.Issue(tok, "ann", invitation{"doc", "a@example.com"}, 0)
	if err != nil {
		t.Fatal(err)
	}
	c, payload, err := kind.Verify(ctx, tok, raw)
	if err != nil || payload != (invitation{"doc", "a@example.com"}) || c.Subject != "ann" || c.Tenant != "" || c.Type != tokens.Invite || c.TokenID == "" {
		t.Errorf("got %+v, %+v, %v", c, payload, err)
	}
	clk.t = noon.Add(7 * 24 * time.Hour)
	if _, _, err := kind.Verify(ctx, tok, raw); !errors.Is(err, tokens.ErrExpired) {
		t.Errorf("after its life: got %v", err)
	}
	clk.t = noon
	if _, _, err := tokens.NewKind[invitation](tokens.Invite, time.Hour).Verify(ctx, tok, raw); !errors.Is(err, tokens.ErrMalformed) {
		t.Errorf("a longer life than the kind's: got %v", err)
	}
	if _, _, err := tokens.NewKind[struct{ Other int }](tokens.Invite, 7*24*time.Hour).Verify(ctx, tok, raw); !errors.Is(err, tokens.ErrMalformed) {
		t.Errorf("another payload: got %v", err)
	}
	for name, k := range map[string]tokens.Kind[string]{
		"access": tokens.NewKind[string](tokens.Access, time.Hour), "service": tokens.NewKind[string](tokens.Service, time.Hour),
		"upper case": tokens.NewKind[string]("Invite+jwt", time.Hour), "JWT": tokens.NewKind[string]("JWT", time.Hour), "empty": tokens.NewKind[string]("", time.Hour),
		"application/": tokens.NewKind[string]("application/at+jwt", time.Hour),
		"no life":      tokens.NewKind[string](tokens.Invite, 0), "two years": tokens.NewKind[string](tokens.Invite, 2*366*24*time.Hour), "zero": {},
	} {
		if _, err := k.Issue(tok, "ann", "x", 0); err == nil {
			t.Errorf("%s: issued", name)
		}
		if _, _, err := k.Verify(ctx, tok, raw); err == nil {
			t.Errorf("%s: verified", name)
		}
	}
	if _, err := kind.Issue(tok, "", invitation{}, 0); err == nil {
		t.Error("issued without a subject")
	}
}

// a token may live shorter than its kind, never longer, and ends when it says.
func TestKinds_Q_42_LifeOfOneToken(t *testing.T) {
	tok, clk := setup(t)
	kind := tokens.NewKind[string](tokens.Invite, 7*24*time.Hour)
	for _, life := range []time.Duration{time.Second, time.Hour, 7 * 24 * time.Hour} {
		clk.t = noon
		raw, err := kind.Issue(tok, "ann", "x", life)
		if err != nil {
			t.Fatal(err)
		}
		clk.t = noon.Add(life - time.Second)
		if c, _, err := kind.Verify(t.Context(), tok, raw); err != nil || !c.Expires.Equal(noon.Add(life)) {
			t.Errorf("%s: got %+v, %v", life, c, err)
		}
		clk.t = noon.Add(life)
		if _, _, err := kind.Verify(t.Context(), tok, raw); !errors.Is(err, tokens.ErrExpired) {
			t.Errorf("%s: over, got %v", life, err)
		}
	}
	for _, life := range []time.Duration{-1, -time.Hour, time.Millisecond, 7*24*time.Hour + 1, 1 << 62} {
		if raw, err := kind.Issue(tok, "ann", "x", life); err == nil || raw != "" {
			t.Errorf("%s: issued", life)
		}
	}
}

func TestBadConfigurationIsRefused(t *testing.T) {
	good := func() tokens.Config {
		return tokens.Config{Keys: tokens.NewKeyring(tokens.HS256("k1", rawKey)), Issuer: issuer, Audience: audience}
	}
	list := &memoryList{epoch: "e1"}
	for name, c := range map[string]struct {
		change func(*tokens.Config)
		says   string
	}{
		"no keys":                {func(c *tokens.Config) { c.Keys = nil }, "Config.Keys: got nil"},
		"no issuer":              {func(c *tokens.Config) { c.Issuer = "" }, "Config.Issuer: got an empty"},
		"issuer with space":      {func(c *tokens.Config) { c.Issuer = " x" }, "Config.Issuer: got"},
		"no audience":            {func(c *tokens.Config) { c.Audience = "" }, "Config.Audience: got an empty"},
		"negative leeway":        {func(c *tokens.Config) { c.Leeway = -1 }, "Config.Leeway: got -1ns"},
		"STD-T16 leeway of 61 s": {func(c *tokens.Config) { c.Leeway = 61 * time.Second }, "expected 0 to 1m0s"},
		"life of 29 s":           {func(c *tokens.Config) { c.Lifetime = 29 * time.Second }, "Config.Lifetime: got 29s, expected 30s to 24h"},
		"life of a nanosecond":   {func(c *tokens.Config) { c.Lifetime = 1 }, "Config.Lifetime: got 1ns"},
		"negative life":          {func(c *tokens.Config) { c.Lifetime = -time.Hour }, "Config.Lifetime: got -1h"},
		"life of 25 h":           {func(c *tokens.Config) { c.Lifetime = 25 * time.Hour }, "Config.Lifetime: got 25h"},
		"PROTOCOLS 4 a life of 61 min with a list": {func(c *tokens.Config) { c.Lifetime, c.List = 61*time.Minute, list }, "expected 30s to 1h"},
		"an own type":       {func(c *tokens.Config) { c.Type = "my+jwt" }, "Config.Type: got"},
		"a kind as type":    {func(c *tokens.Config) { c.Type = tokens.Invite }, "Config.Type: got"},
		"a kind as foreign": {func(c *tokens.Config) { c.Type, c.AllowForeign = "Application/Invite+JWT", true }, "Config.Type: got"},
		"claims that collide": {func(c *tokens.Config) {
			c.Claims = tokens.CustomClaims[struct {
				Sub string `json:"sub"`
			}]()
		}, `"sub"`},
		"claims that differ by case": {func(c *tokens.Config) { c.Claims = tokens.CustomClaims[struct{ Tenant, Plan string }]() }, `"tenant"`},
		"a list for foreign tokens":  {func(c *tokens.Config) { c.AllowForeign, c.List = true, list }, "carries no epoch"},
		"own tokens without a typ":   {func(c *tokens.Config) { c.AllowMissingType = true }, "AllowMissingType"},
		"claims of no struct":        {func(c *tokens.Config) { c.Claims = tokens.CustomClaims[[]string]() }, "expected a struct"},
		"a map of numbers":           {func(c *tokens.Config) { c.Claims = tokens.CustomClaims[map[int]any]() }, "a map with string keys"},
		"claims that catch all": {func(c *tokens.Config) {
			c.Claims = tokens.CustomClaims[struct {
				All map[string]any `json:",embed"`
			}]()
		}, "takes the name"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := good()
			c.change(&cfg)
			tok, err := tokens.New(cfg)
			if err == nil || tok != nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, expected an error with %q", err, c.says)
			}
		})
	}
}

// memoryList is what the tests of this package need of a revocation list; the real ones are tested with it in theirs.
type memoryList struct {
	epoch  string
	err    error
	checks int
}

func (l *memoryList) Epoch(context.Context) (string, error) { return l.epoch, l.err }
func (l *memoryList) Check(_ context.Context, p *auth.Principal) error {
	l.checks++
	if l.err == nil && p.Epoch != l.epoch {
		return auth.TokenExpired
	}
	return l.err
}

// PROTOCOLS 3 and 4: the list is asked at every verification, cached or not, and for the epoch at every issue.
func TestListIsAlwaysAsked(t *testing.T) {
	list := &memoryList{epoch: "e1"}
	tok, _ := setup(t, func(c *tokens.Config) { c.List = list })
	ctx := context.Background()
	raw := issue(t, tok, auth.Principal{Subject: "ann"})
	if p := accepted(t, tok, raw); p.Epoch != "e1" {
		t.Errorf("got the epoch %q", p.Epoch)
	}
	accepted(t, tok, raw)
	if list.checks != 2 {
		t.Errorf("asked %d times in 2 verifications", list.checks)
	}
	list.epoch = "e2"
	refused(t, tok, raw, auth.TokenExpired)
	list.epoch, list.err = "e1", auth.TokenRevoked
	refused(t, tok, raw, auth.TokenRevoked)
	list.err = fmt.Errorf("%w: down", auth.StoreUnavailable)
	if _, err := tok.Verify(ctx, raw); auth.CodeOf(err) != auth.StoreUnavailable {
		t.Errorf("STD-S10: list down: got %v", err)
	}
	if _, err := tok.Stamp(ctx); auth.CodeOf(err) != auth.StoreUnavailable {
		t.Errorf("STD-S10: a stamp without an epoch: got %v", err)
	}
	list.err, list.epoch = nil, ""
	if _, err := tok.Stamp(ctx); auth.CodeOf(err) != auth.StoreUnavailable {
		t.Errorf("an empty epoch: got %v", err)
	}
	if _, _, err := tok.Issue(tokens.Stamp{}, &auth.Principal{Subject: "ann"}); err == nil || !strings.Contains(err.Error(), "zero Stamp") {
		t.Errorf("issued on a zero stamp: %v", err)
	}
	t.Run("a life over an hour is refused where a list is set", func(t *testing.T) {
		raw := forge(goodHeader, claimsWith("exp", fmt.Sprint(noon.Add(61*time.Minute).Unix())))
		refused(t, tok, raw, tokens.ErrMalformed)
		plain, _ := setup(t)
		accepted(t, plain, raw)
	})
}

// PROTOCOLS 4: [refresh, an hour's pause, mint: a fresh token of a dead session].
func TestStampIsTheOriginOfTime(t *testing.T) {
	tok, clk := setup(t)
	stamp, err := tok.Stamp(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	clk.t = noon.Add(10 * time.Minute)
	raw, expires, err := tok.Issue(stamp, &auth.Principal{Subject: "ann"})
	if err != nil || !expires.Equal(noon.Add(15*time.Minute)) {
		t.Fatalf("got %s, %v", expires, err)
	}
	if p := accepted(t, tok, raw); !p.IssuedAt.Equal(noon) {
		t.Errorf("iat is %s", p.IssuedAt)
	}
	clk.t = noon.Add(time.Hour)
	if raw, _, err := tok.Issue(stamp, &auth.Principal{Subject: "ann"}); err == nil {
		t.Errorf("issued after an hour's pause: %s", raw)
	}
}

// A store that knows the epoch makes the stamp itself; the token says what the stamp said, not what the list says now.
func TestStampAt(t *testing.T) {
	list := &memoryList{epoch: "e2"}
	tok, _ := setup(t, func(c *tokens.Config) { c.List = list })
	raw, expires, err := tok.Issue(tok.StampAt(noon.Add(-time.Minute), "e1"), &auth.Principal{Subject: "ann"})
	if err != nil || !expires.Equal(noon.Add(14*time.Minute)) {
		t.Fatalf("got %s, %v", expires, err)
	}
	refused(t, tok, raw, auth.TokenExpired)
	list.epoch = "e1"
	accepted(t, tok, raw)
	if _, _, err := tok.Issue(tok.StampAt(noon.Add(31*time.Second), "e1"), &auth.Principal{Subject: "ann"}); err == nil {
		t.Error("issued on a stamp from the future")
	}
	if _, _, err := tok.Issue(tok.StampAt(noon, ""), &auth.Principal{Subject: "ann"}); err == nil {
		t.Error("issued without an epoch where a list is set")
	}
}

func TestIssueRefuses(t *testing.T) {
	tok, _ := setup(t)
	stamp, _ := tok.Stamp(context.Background())
	if _, _, err := tok.Issue(tokens.Stamp{}, &auth.Principal{Subject: "ann"}); err == nil || !strings.Contains(err.Error(), "zero Stamp") {
		t.Errorf("issued on a zero stamp: %v", err)
	}
	for name, p := range map[string]*auth.Principal{
		"nil": nil, "no subject": {}, "another issuer": {Subject: "ann", Issuer: "https://evil.example"}, "a negative version": {Subject: "ann", Version: -1},
		"claims without a type": {Subject: "ann", Claims: 1}, "an expiry in the past": {Subject: "ann", Expires: noon}, "invalid UTF-8 in a role": {Subject: "ann", Roles: []string{"\xff"}},
	} {
		if raw, _, err := tok.Issue(stamp, p); err == nil || raw != "" {
			t.Errorf("%s: got %q, %v", name, raw, err)
		}
	}
	_, expires, err := tok.Issue(stamp, &auth.Principal{Subject: "ann", Expires: noon.Add(time.Minute)})
	if err != nil || !expires.Equal(noon.Add(time.Minute)) {
		t.Errorf("a shorter life: got %s, %v", expires, err)
	}
	foreign, _ := setup(t, func(c *tokens.Config) { c.AllowForeign = true })
	if _, _, err := foreign.Issue(stamp, &auth.Principal{Subject: "ann"}); err == nil {
		t.Error("a token was issued in a foreign name")
	}
}

// F-33, P-03: a life that is longer than the configured one is refused, not cut in silence; a shorter one is kept.
func TestIssue_F_33_P_03_Expires(t *testing.T) {
	for _, life := range []time.Duration{0, 30 * time.Second, 15 * time.Minute, 24 * time.Hour} {
		for _, at := range []time.Time{noon, noon.Add(999 * time.Millisecond)} {
			tok, clk := setup(t, func(c *tokens.Config) { c.Lifetime = life })
			clk.t = at
			stamp, _ := tok.Stamp(context.Background())
			most := tok.Config().Lifetime
			for _, asked := range []time.Duration{time.Second, most - time.Second, most} {
				raw, expires, err := tok.Issue(stamp, &auth.Principal{Subject: "ann", Expires: at.Add(asked)})
				if err != nil || !expires.Equal(at.Add(asked).Truncate(time.Second)) {
					t.Errorf("%s of %s: got %s, %v", asked, most, expires, err)
					continue
				}
				accepted(t, tok, raw)
			}
			for _, asked := range []time.Duration{most + time.Second, most + time.Hour, 1 << 62} {
				raw, expires, err := tok.Issue(stamp, &auth.Principal{Subject: "ann", Expires: at.Add(asked)})
				if err == nil || raw != "" || !expires.IsZero() || !strings.Contains(err.Error(), "got "+asked.String()) || !strings.Contains(err.Error(), most.String()) {
					t.Errorf("%s of %s: got %q, %s, %v", asked, most, raw, expires, err)
				}
			}
		}
	}
}

// The shortest life is long enough to be issued across the end of a second, by a clock that is slow to answer.
func TestShortestLife(t *testing.T) {
	tok, clk := setup(t, func(c *tokens.Config) { c.Lifetime = 30 * time.Second })
	clk.t = noon.Add(999 * time.Millisecond)
	stamp, _ := tok.Stamp(context.Background())
	clk.t = noon.Add(25 * time.Second)
	raw, _, err := tok.Issue(stamp, &auth.Principal{Subject: "ann"})
	if err != nil {
		t.Fatal(err)
	}
	accepted(t, tok, raw)
}

type plan struct {
	Org   string `json:"org_id"`
	Seats int    `json:"seats,omitzero"`
}

func TestCustomClaims(t *testing.T) {
	tok, _ := setup(t, func(c *tokens.Config) { c.Claims = tokens.CustomClaims[plan]() })
	p := accepted(t, tok, issue(t, tok, auth.Principal{Subject: "ann", Claims: plan{"acme", 3}}))
	if p.Claims != (plan{"acme", 3}) {
		t.Errorf("got %+v", p.Claims)
	}
	if p := accepted(t, tok, issue(t, tok, auth.Principal{Subject: "ann"})); p.Claims != (plan{}) {
		t.Errorf("without claims: got %+v", p.Claims)
	}
	if p := accepted(t, tok, forge(goodHeader, claimsWith("org_id", `"acme"`, "more", `{"a":1}`))); p.Claims != (plan{Org: "acme"}) {
		t.Errorf("beside unknown members: got %+v", p.Claims)
	}
	refused(t, tok, forge(goodHeader, claimsWith("org_id", `7`)), tokens.ErrMalformed)
	refused(t, tok, forge(goodHeader, claimsWith("seats", `"3"`)), tokens.ErrMalformed)
	stamp, _ := tok.Stamp(context.Background())
	if _, _, err := tok.Issue(stamp, &auth.Principal{Subject: "ann", Claims: "acme"}); err == nil {
		t.Error("claims of another type were issued")
	}
}

// Validate runs every time, also on a remembered token, so that it may look at state.
func TestValidate(t *testing.T) {
	var verdict error
	runs := 0
	tok, _ := setup(t, func(c *tokens.Config) {
		c.Validate = func(_ context.Context, c *tokens.Claims) error {
			runs++
			c.Roles = append(c.Roles, "filled-in")
			return verdict
		}
	})
	raw := issue(t, tok, auth.Principal{Subject: "ann", Roles: []string{"a"}})
	for range 2 {
		if p := accepted(t, tok, raw); !slices.Equal(p.Roles, []string{"a", "filled-in"}) {
			t.Errorf("got the roles %q", p.Roles)
		}
	}
	verdict = fmt.Errorf("%w: not on Sundays", auth.TokenInvalid)
	refused(t, tok, raw, auth.TokenInvalid)
	for code, err := range map[auth.Code]error{auth.StoreUnavailable: auth.StoreUnavailable, auth.Internal: context.DeadlineExceeded} {
		verdict = err // an outage must not look like a bad token, which logs honest clients out
		if _, err := tok.Verify(context.Background(), raw); auth.CodeOf(err) != code {
			t.Errorf("got %v, expected %s", err, code)
		}
	}
	if runs != 6 {
		t.Errorf("ran %d times in 6 verifications", runs)
	}
	_, _ = tok.Verify(context.Background(), raw+"x")
	if runs != 6 {
		t.Error("ran before the signature was checked")
	}
}

// What one request does to its principal does not reach the next one.
func TestPrincipalsAreNotShared(t *testing.T) {
	for _, n := range []int{1, 3, 20} {
		tok, _ := setup(t)
		var roles, can, amr []string
		for i := range n {
			roles, can, amr = append(roles, fmt.Sprint("r", i)), append(can, fmt.Sprint("c", i)), append(amr, fmt.Sprint("m", i))
		}
		raw := issue(t, tok, auth.Principal{Subject: "ann", Roles: roles, Competencies: can, Methods: amr})
		for range 3 {
			p := accepted(t, tok, raw)
			if !slices.Equal(p.Roles, roles) || !slices.Equal(p.Competencies, can) || !slices.Equal(p.Methods, amr) {
				t.Fatalf("got %q %q %q", p.Roles, p.Competencies, p.Methods)
			}
			p.Roles[0], p.Competencies[0], p.Methods[0], p.Ambient = "admin", "all", "x", true
			_ = append(p.Roles, "admin")
			if p.Competencies[0] != "all" {
				t.Fatal("appending to one list wrote into another")
			}
		}
	}
}

// Nor does what Validate put in, or what the application's own claims hold.
func TestClaimsAreNotShared(t *testing.T) {
	type realm struct {
		Roles []string          `json:"realm_roles"`
		Map   map[string]string `json:"map"`
	}
	tok, _ := setup(t, func(c *tokens.Config) {
		c.Claims = tokens.CustomClaims[realm]()
		c.Validate = func(_ context.Context, c *tokens.Claims) error {
			c.Roles = c.Claims.(realm).Roles
			return nil
		}
	})
	raw := forge(goodHeader, claimsWith("realm_roles", `["a","b","c"]`, "map", `{"k":"v"}`))
	for range 3 {
		p := accepted(t, tok, raw)
		own := p.Claims.(realm)
		if !slices.Equal(p.Roles, []string{"a", "b", "c"}) || !slices.Equal(own.Roles, p.Roles) || len(own.Map) != 1 || own.Map["k"] != "v" {
			t.Fatalf("got %q and %v", p.Roles, own)
		}
		first, second := append(p.Roles, "auditor"), append(accepted(t, tok, raw).Roles, "admin")
		if first[3] != "auditor" || second[3] != "admin" {
			t.Fatal("two requests append to one array")
		}
		p.Roles[0], own.Roles[0], own.Map["k"], own.Map["x"] = "admin", "admin", "admin", "y"
	}
}

// A credential from a cookie is a part of the whole Cookie line; the cache must not keep that alive.
func TestCacheKeepsTheTokenAlone(t *testing.T) {
	tok, _ := setup(t)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range 50 {
		raw := forge(goodHeader, claimsWith("jti", fmt.Sprintf(`"%d"`, i)))
		line := strings.Repeat("x", 1<<20) + raw
		accepted(t, tok, line[1<<20:])
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 10<<20 {
		t.Errorf("50 tokens keep %d bytes alive", grown)
	}
	runtime.KeepAlive(tok)
}

func TestForeignTokens(t *testing.T) {
	tok, clk := setup(t, func(c *tokens.Config) { c.AllowForeign, c.Type = true, "JWT" })
	header := `{"alg":"HS256","typ":"JWT","kid":"k1","x5t":"abc"}`
	accepted(t, tok, forge(header, claimsWith("jti", "", "client_id", "", "nbf", "")))
	accepted(t, tok, forge(header, claimsWith("iat", "")))
	refused(t, tok, forge(header, claimsWith("iat", "", "exp", fmt.Sprint(noon.Add(25*time.Hour).Unix()))), tokens.ErrMalformed)
	refused(t, tok, forge(header, claimsWith("exp", "")), tokens.ErrMalformed)
	refused(t, tok, forge(header, claimsWith("exp", "", "iat", "", "nbf", "")), tokens.ErrMalformed)
	refused(t, tok, forge(header, claimsWith("exp", "-1", "iat", "", "nbf", "")), tokens.ErrMalformed)
	refused(t, tok, forge(header, claimsWith("sub", "")), tokens.ErrMalformed)
	refused(t, tok, forge(`{"alg":"HS256","typ":"JWT"}`, claimsWith()), tokens.ErrMalformed)
	accepted(t, tok, forge(header, claimsWith("nbf", fmt.Sprint(noon.Unix())+".5", "iat", fmt.Sprint(noon.Unix())+".25")))
	for _, exp := range []string{"1e308", "-1.5", `"1"`, "true", "[1]"} {
		refused(t, tok, forge(header, claimsWith("exp", exp)), tokens.ErrMalformed)
	}
	// What another issuer means by our private names is its own affair: of any type, and not believed.
	p := accepted(t, tok, forge(header, claimsWith("ver", `"2.0"`, "roles", `["admin"]`, "tenant", `{"id":1}`, "amr", `"pwd"`, "sid", `"s"`, "ep", `"e"`, "Roles", `["admin"]`, "competencies", `["all"]`)))
	if p.HasRole("admin") || p.Can("all") || p.Version != 0 || p.Tenant != "" || p.Session != "" || p.Epoch != "" {
		t.Errorf("claims of another issuer were believed: %+v", p)
	}
	refused(t, tok, forge(header, claimsWith("SUB", `"bob"`)), tokens.ErrMalformed)
	refused(t, tok, forge(`{"alg":"HS256","kid":"k1"}`, claimsWith()), tokens.ErrKind)
	untyped, _ := setup(t, func(c *tokens.Config) { c.AllowForeign, c.Type, c.AllowMissingType = true, "JWT", true })
	accepted(t, untyped, forge(`{"alg":"HS256","kid":"k1"}`, claimsWith()))
	accepted(t, untyped, forge(header, claimsWith()))
	refused(t, untyped, forge(goodHeader, claimsWith()), tokens.ErrKind)
	clk.t = noon.Add(10 * time.Minute)
	refused(t, tok, forge(header, claimsWith("iat", "")), tokens.ErrExpired)
}

// An issuer's own names may be the members of T, also those that are ours in our own tokens.
func TestForeignClaimsOfOurNames(t *testing.T) {
	type theirs struct {
		Roles []string `json:"roles"`
		Ver   string   `json:"ver"`
	}
	tok, _ := setup(t, func(c *tokens.Config) {
		c.AllowForeign, c.Type, c.Claims = true, "JWT", tokens.CustomClaims[theirs]()
	})
	p := accepted(t, tok, forge(`{"alg":"HS256","typ":"JWT","kid":"k1"}`, claimsWith("ver", `"2.0"`, "roles", `["admin"]`)))
	if got := p.Claims.(theirs); got.Ver != "2.0" || !slices.Equal(got.Roles, []string{"admin"}) {
		t.Errorf("got %+v", got)
	}
}

func TestDecodeUnverifiedRefuses(t *testing.T) {
	for _, raw := range []string{"", "a.b", "a.b.c", forge(`null`, claimsWith()), forge(goodHeader, `[]`), strings.Repeat("a", 1<<20)} {
		if u, err := tokens.DecodeUnverified(raw); !errors.Is(err, tokens.ErrMalformed) || u.Subject != "" {
			t.Errorf("%.40q: got %+v, %v", raw, u, err)
		}
	}
	if u, err := tokens.DecodeUnverified(forgeWith([]byte("x"), goodHeader, claimsWith())); err != nil || u.Subject != "ann" {
		t.Errorf("a forged token is to be read, by its name: got %v", err)
	}
}

// ATK-I05, STD-V07: neither a key, nor a keyring, nor a configuration that holds one, shows a secret.
func TestKeysAreMasked(t *testing.T) {
	secret := "hunter2-hunter2-0123456789-abcdefghij"
	key := tokens.HS256("k1", []byte(secret))
	ring := tokens.NewKeyring(key, tokens.FromSecret([]byte("x"+secret)))
	cfg := tokens.Config{Keys: ring, Issuer: issuer, Audience: audience}
	tok, err := tokens.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	for _, v := range []any{key, &key, ring, *tok, tok, struct{ K tokens.Key }{key}, []tokens.Key{key}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%q"} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
		slog.New(slog.NewTextHandler(&out, nil)).Info("x", "v", v)
		slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "v", v)
		if text, err := json.Marshal(v); err == nil {
			out.Write(text)
		}
	}
	for _, leak := range []string{"hunter2", fmt.Sprintf("%x", "hunter2"), "aHVudGVyM", "104 117 110 116", "0x68, 0x75"} {
		if strings.Contains(out.String(), leak) {
			t.Errorf("printed as %q", leak)
		}
	}
}
