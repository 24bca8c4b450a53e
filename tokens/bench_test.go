package tokens_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/middleware"
	"github.com/doorward/doorward/revocation"
	"github.com/doorward/doorward/tokens"
	"github.com/golang-jwt/jwt/v5"
)

// benchPrincipal has what a real access token carries.
var benchPrincipal = auth.Principal{
	Subject: "01J9ZC2N8F6S9M0T3K4V5W6X7Y", Tenant: "acme", Session: "S3CKDJ2GQ5ZVKZ7HWJ4F2A6TQY", Version: 3,
	Roles: []string{"editor", "viewer"}, Competencies: []string{"sign"}, Methods: []string{"pwd", "otp"}, AuthTime: noon,
}

// peerClaims is the same set of claims for golang-jwt's own parser.
type peerClaims struct {
	jwt.RegisteredClaims
	Session      string   `json:"sid"`
	Version      int64    `json:"ver"`
	Epoch        string   `json:"ep"`
	Tenant       string   `json:"tenant"`
	Roles        []string `json:"roles"`
	Competencies []string `json:"competencies"`
	Methods      []string `json:"amr"`
	AuthTime     int64    `json:"auth_time"`
	ClientID     string   `json:"client_id"`
}

func benchToken(b *testing.B, cache int) (*tokens.Tokens, string) {
	tok, clk := setup(b, func(c *tokens.Config) { c.Cache = cache })
	clk.t = time.Now() // golang-jwt reads the real clock
	return tok, issue(b, tok, benchPrincipal)
}

// BenchmarkVerify compares, in one run: golang-jwt's parser with the usual options, our verification of a token
// never seen, and of one in the cache.
func BenchmarkVerify(b *testing.B) {
	b.Run("peer=golang-jwt", func(b *testing.B) {
		_, raw := benchToken(b, -1)
		parser := jwt.NewParser(jwt.WithValidMethods([]string{"HS256"}), jwt.WithIssuer(issuer), jwt.WithAudience(audience), jwt.WithExpirationRequired())
		b.ReportAllocs()
		for b.Loop() {
			var c peerClaims
			if _, err := parser.ParseWithClaims(raw, &c, func(*jwt.Token) (any, error) { return rawKey, nil }); err != nil {
				b.Fatal(err)
			}
		}
	})
	for name, cache := range map[string]int{"cold": -1, "warm": 0} {
		b.Run(name, func(b *testing.B) {
			tok, raw := benchToken(b, cache)
			ctx := context.Background()
			b.ReportAllocs()
			for b.Loop() {
				if _, err := tok.Verify(ctx, raw); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// guarded is a whole guarded route: header, token, list, context, handler.
func guarded(t testing.TB, cache int) (http.Handler, *http.Request) {
	t.Helper()
	tok, err := tokens.New(tokens.Config{
		Keys: tokens.NewKeyring(tokens.HS256("k1", rawKey)), Issuer: issuer, Audience: audience, List: revocation.NewMemory(), Cache: cache,
	})
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("Authorization", "Bearer "+issue(t, tok, benchPrincipal))
	return middleware.RequireAuth(auth.Bearer(tok))(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})), r
}

// nothing is a ResponseWriter that costs nothing, so that only ours is measured.
type nothing struct{ h http.Header }

func (n nothing) Header() http.Header       { return n.h }
func (nothing) Write(p []byte) (int, error) { return len(p), nil }
func (nothing) WriteHeader(int)             {}

// BenchmarkRequireAuth is a guarded route with the memory list, beside golang-jwt's parser in BenchmarkVerify.
func BenchmarkRequireAuth(b *testing.B) {
	for name, cache := range map[string]int{"cold": -1, "warm": 0} {
		b.Run(name, func(b *testing.B) {
			h, r := guarded(b, cache)
			w := nothing{http.Header{}}
			b.ReportAllocs()
			for b.Loop() {
				h.ServeHTTP(w, r)
			}
		})
	}
}

// Three allocations: the principal, the context, the request that carries it.
func TestWarmRequireAuthAllocations(t *testing.T) {
	h, r := guarded(t, 0)
	w := nothing{http.Header{}}
	if n := testing.AllocsPerRun(1000, func() { h.ServeHTTP(w, r) }); n > 3 {
		t.Errorf("got %v allocations, at most 3", n)
	}
}

func BenchmarkIssue(b *testing.B) {
	b.Run("peer=golang-jwt", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			now := jwt.NewNumericDate(time.Now())
			c := peerClaims{
				RegisteredClaims: jwt.RegisteredClaims{Issuer: issuer, Subject: benchPrincipal.Subject, Audience: jwt.ClaimStrings{audience}, IssuedAt: now, NotBefore: now, ExpiresAt: now, ID: "S3CKDJ2GQ5ZVKZ7HWJ4F2A6TQY"},
				Session:          benchPrincipal.Session, Version: 3, Tenant: "acme", Roles: benchPrincipal.Roles, Competencies: benchPrincipal.Competencies, Methods: benchPrincipal.Methods,
			}
			if _, err := jwt.NewWithClaims(jwt.SigningMethodHS256, c).SignedString(rawKey); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("ours", func(b *testing.B) {
		tok, _ := benchToken(b, -1)
		ctx := context.Background()
		b.ReportAllocs()
		for b.Loop() {
			stamp, _ := tok.Stamp(ctx)
			if _, _, err := tok.Issue(stamp, &benchPrincipal); err != nil {
				b.Fatal(err)
			}
		}
	})
}
