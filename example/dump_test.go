package main

import (
	"encoding/base32"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"unicode"

	"github.com/doorward/doorward/auth/seal"
	"github.com/doorward/doorward/auth/totp"
	"github.com/doorward/doorward/auth/totp/redistotp"
	"github.com/doorward/doorward/internal/redistest"
	"github.com/doorward/doorward/tokens"
)

// STD-V04: who has a dump of all stores has no credential: none that was ever handed out stands in it, in whatever form, and
// nothing that stands in it works as one.
func TestDump_STD_V04(t *testing.T) {
	server := redistest.Start(t)
	t.Setenv("REDIS_URL", "redis://"+server.Addr())
	origin := start(t)

	// Somebody uses everything.
	root := newBrowser(t, origin)
	root.post(t, "/auth/login", withCode("root", ""), 200, "session")
	secret := root.post(t, "/factor", "", 200, "otpauth://").Secret
	recovery := root.post(t, "/factor/confirm", `{"code":"`+code(t, secret, 0)+`"}`, 200, "recovery_codes").Recovery
	ann := newBrowser(t, origin)
	ann.post(t, "/auth/login", annLogin, 200, "session")
	key := ann.post(t, "/keys", `{"name":"cron","scopes":["report:read"]}`, 200, "dwk_")
	root.post(t, "/auth/login", withCode("root", code(t, secret, 1)), 200, "session")
	link, err := url.Parse(root.post(t, "/admin/invites", `{"account":"eve","role":"admin"}`, 200, "#token=").Link)
	if err != nil {
		t.Fatal(err)
	}
	program := login(t, origin, annLogin)
	old := program
	res, text := call{"POST", origin + "/token/refresh", program.body(), nil}.do(t, http.DefaultClient)
	want(t, res, text, 200, "refresh_token")
	if err := json.Unmarshal([]byte(text), &program); err != nil {
		t.Fatal(err)
	}

	secrets := map[string]string{"TOTP secret": secret, "API key": strings.Replace(key.Key, key.ID, "", 1), "password": "password of ann", "one-time token": strings.TrimPrefix(link.Fragment, "token=")}
	for name, k := range map[string]holder{"old": old, "new": program} {
		secrets[name+" access token"], secrets[name+" refresh token"] = k.Access, k.Refresh
	}
	for _, b := range []*browser{ann, root} {
		at, _ := url.Parse(origin)
		for _, c := range b.client.Jar.Cookies(at) {
			secrets["cookie "+c.Name] = c.Value
		}
	}
	for _, c := range recovery {
		secrets["recovery code "+c[:3]] = c
	}
	inRedis, codes := enrolled(t, server)
	secrets["TOTP secret in Redis"] = inRedis
	for i, c := range codes {
		secrets["recovery code in Redis "+strconv.Itoa(i)] = c
	}
	dump := server.Dump()
	for _, store := range []string{"{dw}:S:", "{dw}:t:", "{dw}:k:", "{dw}:o:"} { // sessions, factors, keys, links
		if !strings.Contains(dump, store) {
			t.Errorf("the dump has no %s: %s", store, dump)
		}
	}
	for name, secret := range secrets {
		for _, form := range forms(secret) {
			if strings.Contains(dump, form) {
				t.Errorf("%s stands in the dump as %.12q...", name, form)
			}
		}
	}

	// Whatever stands there opens nothing: as a key, an access token, a refresh token, a link or a cookie.
	words := map[string]bool{}
	for _, w := range strings.FieldsFunc(dump, func(r rune) bool { return !unicode.IsPrint(r) || strings.ContainsRune(" []{}\"", r) }) {
		if len(w) >= 8 && len(words) < 3000 {
			words[w], words[w[strings.LastIndexAny(w, ":,")+1:]] = true, true
		}
	}
	if len(words) < 50 {
		t.Fatalf("only %d words in %s", len(words), dump)
	}
	tries := 0
	for w := range words {
		for _, c := range []call{
			{"GET", origin + "/report", "", map[string]string{"X-API-Key": w}},
			{"GET", origin + "/report", "", map[string]string{"Authorization": "Bearer " + w}},
			{"GET", origin + "/me", "", map[string]string{"Cookie": "example=" + w + "; example_refresh=" + w}},
			{"POST", origin + "/token/refresh", `{"refresh_token":` + quoted(w) + `}`, nil},
			{"POST", origin + "/invite", url.Values{"token": {w}, "password": {"a good one, for a guest"}}.Encode(), map[string]string{"Content-Type": "application/x-www-form-urlencoded", "Origin": origin}},
		} {
			tries++
			if res, text := c.do(t, http.DefaultClient); res.StatusCode < 400 || res.StatusCode > 499 {
				t.Errorf("%s %s with %.20q from the dump: %d %s", c.method, c.url, w, res.StatusCode, text)
			}
		}
	}
	t.Logf("%d secrets, %d words of the dump, %d tries", len(secrets), len(words), tries)
}

// enrolled puts a factor into Redis as well, sealed as the example seals, and returns its secret and its recovery codes.
func enrolled(t *testing.T, server *redistest.Server) (secret string, recovery []string) {
	t.Helper()
	store, err := redistotp.New(redistotp.Config{Client: server.Client()})
	if err != nil {
		t.Fatal(err)
	}
	sealer, err := seal.New(seal.Config{Keys: tokens.NewKeyring(tokens.FromSecret([]byte(tokens.GenerateSecret()))), Issuer: "https://app.example.com"})
	if err != nil {
		t.Fatal(err)
	}
	factors, err := totp.New(totp.Config{Issuer: "https://app.example.com", ServiceName: "Example", Store: store, Sealer: sealer.Bytes()})
	if err != nil {
		t.Fatal(err)
	}
	key, err := factors.Begin(t.Context(), "ann", "ann")
	if err != nil {
		t.Fatal(err)
	}
	codes, err := factors.Confirm(t.Context(), "ann", code(t, key.Secret(), 0))
	if err != nil {
		t.Fatal(err)
	}
	return key.Secret(), codes.List()
}

func quoted(s string) string {
	text, _ := json.Marshal(s) // of a string it cannot fail
	return string(text)
}

// forms are a secret as it is, its longer parts, and the bytes that it spells in other spellings.
func forms(secret string) (all []string) {
	parts := append(strings.FieldsFunc(secret, func(r rune) bool { return r == '.' || r == '_' || r == '-' }), secret, strings.ReplaceAll(secret, "-", ""))
	for _, p := range parts {
		if len(p) < 12 { // ids and prefixes
			continue
		}
		raws := [][]byte{[]byte(p)}
		for _, decode := range []func(string) ([]byte, error){base64.RawURLEncoding.DecodeString, base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString} {
			if raw, err := decode(p); err == nil {
				raws = append(raws, raw)
			}
		}
		for _, raw := range raws {
			all = append(all, string(raw), hex.EncodeToString(raw), base64.RawURLEncoding.EncodeToString(raw), base64.StdEncoding.EncodeToString(raw))
		}
	}
	return all
}
