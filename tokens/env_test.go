package tokens_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/internal/derive"
	"github.com/doorward/doorward/tokens"
)

// setenv sets these variables, without the name of the kit before each, and clears the others.
func setenv(t *testing.T, env map[string]string) {
	t.Helper()
	for _, name := range []string{"SECRET", "SECRET_FILE", "KEYS", "KEYS_FILE", "ALGORITHM", "ISSUER", "AUDIENCE", "ACCESS_LIFETIME", "REFRESH_LIFETIME"} {
		t.Setenv("DOORWARD_"+name, env[name])
	}
}

// F-21, U-44: RSA and EC keys from the environment, alone and beside a secret.
func TestKeysFromEnv_F_21_U_44(t *testing.T) {
	const secret, older = "J4Y1zHcB6mQp0x9vWk3nT8sLr2dGfUeA", "another-old-secret-of-32-bytes-or-more"
	rsaKey, ecKey := rsa3072(), must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	rsaPEM, ecPEM := pkcs8(rsaKey), pkcs8(ecKey)
	rsaJWKS := string(must(tokens.ExportPrivate(tokens.NewKey("r1", "RS256", rsaKey), tokens.NewKey("e1", "ES256", ecKey))))
	file := func(text string) string {
		name := filepath.Join(t.TempDir(), "keys")
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	for _, c := range []struct {
		name    string
		env     map[string]string
		alg     string // of what is signed
		derives string // the secret that derives the rest; "" for none
	}{
		{"EC", map[string]string{"KEYS": ecPEM}, "ES256", ""},
		{"EC from a file", map[string]string{"KEYS_FILE": file(ecPEM)}, "ES256", ""},
		{"RSA in PEM", map[string]string{"KEYS_FILE": file(rsaPEM), "ALGORITHM": "RS256"}, "RS256", ""},
		{"RSA in PEM, the other one", map[string]string{"KEYS_FILE": file(rsaPEM), "ALGORITHM": "PS256"}, "PS256", ""},
		{"RSA and EC in PEM", map[string]string{"KEYS_FILE": file(ecPEM + rsaPEM), "ALGORITHM": "RS256, ES256"}, "ES256", ""},
		{"JWKS says its algorithms", map[string]string{"KEYS_FILE": file(rsaJWKS)}, "RS256", ""},
		{"beside a secret", map[string]string{"KEYS_FILE": file(rsaPEM), "ALGORITHM": "RS256", "SECRET": secret + "\n" + older}, "RS256", secret},
		{"beside a secret from a file", map[string]string{"KEYS": ecPEM, "SECRET_FILE": file(secret + "\n" + older)}, "ES256", secret},
		{"a public key first", map[string]string{"KEYS_FILE": file(pkix(&ecKey.PublicKey)), "SECRET": secret}, "HS256", secret},
		{"a secret alone", map[string]string{"SECRET": secret}, "HS256", secret},
		{"a secret and its algorithm", map[string]string{"SECRET": secret, "ALGORITHM": "HS256"}, "HS256", secret},
	} {
		t.Run(c.name, func(t *testing.T) {
			env := map[string]string{"ISSUER": issuer, "AUDIENCE": audience}
			maps.Copy(env, c.env)
			setenv(t, env)
			cfg, _, err := tokens.ConfigFromEnv()
			if err != nil {
				t.Fatal(err)
			}
			tok := must(tokens.New(cfg))
			raw := issue(t, tok, auth.Principal{Subject: "ann"})
			if head := string(must(base64.RawURLEncoding.DecodeString(strings.Split(raw, ".")[0]))); !strings.Contains(head, `"alg":"`+c.alg+`"`) {
				t.Errorf("signed as %s", head)
			}
			accepted(t, tok, raw)
			id, _, err := derive.Key(cfg.Keys, "", issuer, derive.Refresh)
			if c.derives == "" && err == nil || c.derives != "" && id != tokens.FromSecret([]byte(c.derives)).ID() {
				t.Errorf("got the secret %q, %v", id, err)
			}
			if c.derives != "" { // what the secret signed before is good still
				before, _ := setup(t, func(c *tokens.Config) {
					c.Keys, c.Now = tokens.NewKeyring(tokens.FromSecret([]byte(secret))), nil
				})
				accepted(t, tok, issue(t, before, auth.Principal{Subject: "ann"}))
			}
		})
	}
	// The two steps of the change from a secret to a key: the nodes of either step take the tokens of both.
	t.Run("from a secret to a key", func(t *testing.T) {
		node := func(keys string) *tokens.Tokens {
			setenv(t, map[string]string{"SECRET": secret, "KEYS": keys})
			tok, _ := setup(t, func(c *tokens.Config) { c.Keys = must(tokens.KeysFromEnv()) })
			return tok
		}
		steps := []*tokens.Tokens{node(""), node(pkix(&ecKey.PublicKey)), node(ecPEM)}
		for i := range 2 {
			for _, made := range steps[i : i+2] {
				for _, at := range steps[i : i+2] {
					accepted(t, at, issue(t, made, auth.Principal{Subject: "ann"}))
				}
			}
		}
	})
	type env = map[string]string
	for _, c := range []struct {
		name string
		env  env
		says string
	}{
		{"RSA in PEM without an algorithm", env{"KEYS": rsaPEM}, `DOORWARD_KEYS, DOORWARD_ALGORITHM "": tokens: ParseKeys: PEM block 1: got an RSA key without alg, for RS256 or PS256: name one of them only`},
		{"another algorithm than the key's", env{"KEYS": ecPEM, "ALGORITHM": "RS256"}, "got a key for ES256, which was not asked for"},
		{"a secret as the algorithm", env{"KEYS": ecPEM, "ALGORITHM": secret}, "DOORWARD_ALGORITHM \"" + secret[:16] + "\": tokens: got algorithm \"" + secret[:16] + "\","},
		{"no algorithm", env{"KEYS": ecPEM, "ALGORITHM": "none"}, `got algorithm "none"`},
		{"an algorithm that a secret has not", env{"SECRET": secret, "ALGORITHM": "RS256"}, "which makes keys for HS256, expected keys for [RS256]"},
		{"a key as a secret", env{"SECRET": ecPEM}, "DOORWARD_SECRET: got PEM or JWKS, expected a secret; keys stand in DOORWARD_KEYS_FILE"},
		{"an RSA key as a secret", env{"SECRET": rsaPEM, "ALGORITHM": "RS256"}, "keys stand in DOORWARD_KEYS_FILE"},
		{"a secret as a key", env{"KEYS": secret}, "DOORWARD_KEYS: got no PEM and no JWKS; a secret stands in DOORWARD_SECRET"},
		{"both forms", env{"KEYS": ecPEM, "KEYS_FILE": file(ecPEM)}, "got both DOORWARD_KEYS and DOORWARD_KEYS_FILE"},
		{"no such file", env{"KEYS_FILE": "/nowhere"}, "DOORWARD_KEYS_FILE"},
		{"public keys alone", env{"KEYS": pkix(&ecKey.PublicKey)}, "cannot sign"},
		{"short RSA", env{"KEYS": pkcs8(must(rsa.GenerateKey(rand.Reader, 2048))), "ALGORITHM": "RS256"}, "AllowRSA2048"},
		{"a key that is bad beside a secret", env{"KEYS": "-----BEGIN PRIVATE KEY-----", "SECRET": secret}, "DOORWARD_KEYS"},
		{"nothing", nil, "nor keys in DOORWARD_KEYS_FILE"},
	} {
		t.Run("refused: "+c.name, func(t *testing.T) {
			setenv(t, c.env)
			ring, err := tokens.KeysFromEnv()
			if err == nil || ring != nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, expected %q", err, c.says)
			}
			if err != nil && strings.Contains(err.Error(), secret) {
				t.Errorf("the error shows the secret: %v", err)
			}
		})
	}
}

func TestConfigFromEnv(t *testing.T) {
	const secret = "J4Y1zHcB6mQp0x9vWk3nT8sLr2dGfUeA"
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte(secret+"\nanother-old-secret-of-32-bytes-or-more\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	good := map[string]string{"SECRET": secret, "ISSUER": issuer, "AUDIENCE": audience}
	with := func(changes ...string) map[string]string {
		m := map[string]string{}
		for k, v := range good {
			m[k] = v
		}
		for i := 0; i < len(changes); i += 2 {
			m[changes[i]] = changes[i+1]
		}
		return m
	}
	for _, c := range []struct {
		name string
		env  map[string]string
		says string
	}{
		{"good", good, ""},
		{"a file", with("SECRET", "", "SECRET_FILE", file), ""},
		{"lifetimes", with("ACCESS_LIFETIME", "5m", "REFRESH_LIFETIME", "48h"), ""},
		{"nothing at all", nil, "DOORWARD_KEYS_FILE, expected a secret"},
		{"a short secret", with("SECRET", "changeme"), "DOORWARD_SECRET"},
		{"both", with("SECRET_FILE", file), "got both"},
		{"no such file", with("SECRET", "", "SECRET_FILE", file+"x"), "DOORWARD_SECRET_FILE"},
		{"no issuer", with("ISSUER", ""), "DOORWARD_ISSUER: got an empty"},
		{"no audience", with("AUDIENCE", ""), "DOORWARD_AUDIENCE: got an empty"},
		{"a life in words", with("ACCESS_LIFETIME", "soon"), `DOORWARD_ACCESS_LIFETIME: got "soon", expected a duration from 30s to 24h`},
		{"a life without a unit", with("ACCESS_LIFETIME", "900"), "DOORWARD_ACCESS_LIFETIME"},
		{"a negative life", with("ACCESS_LIFETIME", "-5m"), "DOORWARD_ACCESS_LIFETIME"},
		{"refresh shorter than access", with("ACCESS_LIFETIME", "1h", "REFRESH_LIFETIME", "30m"), "DOORWARD_REFRESH_LIFETIME"},
		{"refresh over 400 days", with("REFRESH_LIFETIME", "9601h"), "DOORWARD_REFRESH_LIFETIME"},
	} {
		t.Run(c.name, func(t *testing.T) {
			setenv(t, c.env)
			cfg, refresh, err := tokens.ConfigFromEnv()
			if c.says != "" {
				if err == nil || !strings.Contains(err.Error(), c.says) || cfg.Keys != nil {
					t.Errorf("got %v, expected an error with %q", err, c.says)
				}
				if err != nil && strings.Contains(err.Error(), "changeme") {
					t.Errorf("the error quotes the secret: %v", err)
				}
				return
			}
			if err != nil || refresh <= cfg.Lifetime {
				t.Fatalf("got %s, %v", refresh, err)
			}
			tok, err := tokens.New(cfg)
			if err != nil {
				t.Fatal(err)
			}
			accepted(t, tok, issue(t, tok, auth.Principal{Subject: "ann"}))
		})
	}
	t.Run("everything wrong is told at once", func(t *testing.T) {
		setenv(t, map[string]string{"ACCESS_LIFETIME": "x"})
		_, _, err := tokens.ConfigFromEnv()
		for _, name := range []string{"DOORWARD_SECRET", "DOORWARD_ISSUER", "DOORWARD_AUDIENCE", "DOORWARD_ACCESS_LIFETIME"} {
			if err == nil || !strings.Contains(err.Error(), name) {
				t.Errorf("%s is not in %v", name, err)
			}
		}
	})
}
