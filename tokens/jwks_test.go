package tokens_test

import (
	"net/http/httptest"
	"testing"

	"github.com/doorward/doorward/tokens"
)

// STD-H08, STD-H05: whatever the handler of the public keys answers, no browser sniffs it, runs it or
// shows it in a frame, and no cache keeps a refusal.
func TestSTD_H08_PublishedSet(t *testing.T) {
	remote := must(tokens.NewRemoteKeyring(tokens.RemoteConfig{URL: "https://id.example.com/"}))
	good := tokens.NewKeyring(must(tokens.GenerateKey("ES256")))
	for _, c := range []struct {
		name, method string
		ring         *tokens.Keyring
		status       int
		kind, cache  string
	}{
		{"the set", "GET", good, 200, "application/jwk-set+json", "public, max-age=300"},
		{"its head", "HEAD", good, 200, "application/jwk-set+json", "public, max-age=300"},
		{"another method", "POST", good, 405, "application/problem+json", "no-store"},
		{"another's keys", "GET", remote, 404, "application/problem+json", "no-store"},
		{"a bad key", "GET", tokens.NewKeyring(tokens.HS256("k", []byte("short"))), 500, "application/problem+json", "no-store"},
		{"a zero ring", "GET", new(tokens.Keyring), 500, "application/problem+json", "no-store"},
		{"a nil ring", "GET", nil, 500, "application/problem+json", "no-store"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := httptest.NewRecorder()
			c.ring.ServeHTTP(w, httptest.NewRequest(c.method, "/jwks.json", nil))
			if w.Code != c.status {
				t.Errorf("got %d", w.Code)
			}
			for name, want := range map[string]string{
				"Content-Type": c.kind, "Cache-Control": c.cache, "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
				"Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
			} {
				if got := w.Header().Values(name); len(got) != 1 || got[0] != want {
					t.Errorf("%s: got %q, expected %q", name, got, want)
				}
			}
		})
	}
}
