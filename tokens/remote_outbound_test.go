package tokens_test

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/doorward/doorward/tokens"
)

// counting serves and counts the connections, also those over which nothing is asked.
func counting(t *testing.T, h http.Handler) (url string, connections *atomic.Int32) {
	t.Helper()
	connections = new(atomic.Int32)
	server := httptest.NewUnstartedServer(h)
	server.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			connections.Add(1)
		}
	}
	server.Start()
	t.Cleanup(server.Close)
	return server.URL, connections
}

// STD-T13: a header that says where the key is, or what it is, has nobody connect there, whether the
// signature is the ring's own or that of the key it offers, and whatever the ring is. A ring of another
// service's keys goes nowhere but to its own URL, for a kid, not for a header.
func TestATK_J08_STD_T13_NoConnection(t *testing.T) {
	attackers := must(tokens.GenerateKey("EdDSA"))
	theirs := tokens.NewKeyring(attackers)
	evil, hits := counting(t, theirs)
	k := must(tokens.GenerateKey("EdDSA"))
	home, fetches := counting(t, tokens.NewKeyring(k))
	remote := must(tokens.NewRemoteKeyring(tokens.RemoteConfig{URL: home}))
	wantKey(t, remote, k.ID())

	jwk := strings.TrimSuffix(strings.TrimPrefix(string(publicJWKS(t, theirs)), `{"keys":[`), `]}`)
	members := []string{
		fmt.Sprintf(`"jku":%q`, evil), fmt.Sprintf(`"x5u":%q`, evil), fmt.Sprintf(`"jku":%q,"x5u":%q`, evil, evil),
		fmt.Sprintf(`"jku":"%s@id.example.com/"`, strings.Replace(evil, "http://", "https://id.example.com#", 1)),
		fmt.Sprintf(`"JKU":%q`, evil), fmt.Sprintf(`"\u006aku":%q`, evil), fmt.Sprintf(`"jku":[%q]`, evil),
		fmt.Sprintf(`"crit":["jku"],"jku":%q`, evil), `"jwk":` + jwk, fmt.Sprintf(`"x5c":["MIIB"],"x5u":%q`, evil),
	}
	now := time.Now()
	claims := claimsWith("iat", fmt.Sprint(now.Unix()), "nbf", "", "exp", fmt.Sprint(now.Add(time.Minute).Unix()))
	for _, v := range []struct {
		name    string
		ring    *tokens.Keyring
		foreign bool
	}{
		{"local", tokens.NewKeyring(k), false},
		{"local, foreign tokens", tokens.NewKeyring(k), true},
		{"remote", remote, false},
		{"remote, foreign tokens", remote, true},
	} {
		t.Run(v.name, func(t *testing.T) {
			tok := must(tokens.New(tokens.Config{Keys: v.ring, Issuer: issuer, Audience: audience, AllowForeign: v.foreign}))
			forgeBy := func(k tokens.Key, kid, member string) string {
				signed := b64(fmt.Sprintf(`{"alg":"EdDSA","typ":"at+jwt","kid":%q%s}`, kid, member)) + "." + b64(claims)
				return signed + "." + b64(string(must(tokens.SignWith(k, signed, "access", issuer))))
			}
			for _, m := range members {
				refused(t, tok, forgeBy(k, k.ID(), ","+m), tokens.ErrMalformed)
				refused(t, tok, forgeBy(attackers, k.ID(), ","+m), tokens.ErrMalformed)
				refused(t, tok, forgeBy(attackers, attackers.ID(), ","+m), tokens.ErrMalformed)
			}
			// A kid is no address either.
			refused(t, tok, forgeBy(attackers, evil, ""), tokens.ErrSignature)
			if p := accepted(t, tok, forgeBy(k, k.ID(), "")); p.Subject != "ann" {
				t.Errorf("got %+v", p)
			}
		})
	}
	if hits.Load() != 0 || fetches.Load() != 1 {
		t.Errorf("%d connections to the header's address, %d to the ring's own", hits.Load(), fetches.Load())
	}
	// The counter counts.
	wantKey(t, must(tokens.NewRemoteKeyring(tokens.RemoteConfig{URL: evil})), attackers.ID())
	if hits.Load() != 1 {
		t.Errorf("counted %d", hits.Load())
	}
}
