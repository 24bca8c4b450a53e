package apikey_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/auth/apikey"
	"github.com/doorward/doorward/auth/session"
	"github.com/doorward/doorward/middleware"
	"github.com/doorward/doorward/revocation"
	"github.com/doorward/doorward/tokens"
)

const (
	staticKey  = "4f1c9a7e2b6d80355ae1c47f9032bd68"
	staticNext = "Zk3-next-key/of+the.deploy_2026~0123456789=="
)

func static(t testing.TB, change ...func(*apikey.StaticConfig)) (*apikey.Static, error) {
	t.Helper()
	c := apikey.StaticConfig{Keys: []auth.Secret{auth.NewSecret(staticKey)}, Issuer: issuer, Subject: "billing", Scopes: []string{"invoices:read"}}
	for _, f := range change {
		f(&c)
	}
	return apikey.NewStatic(c)
}

func mustStatic(t testing.TB, change ...func(*apikey.StaticConfig)) *apikey.Static {
	t.Helper()
	s, err := static(t, change...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// P-11: one key from the configuration speaks for a service, and two while clients change.
func TestStatic_P_11(t *testing.T) {
	s := mustStatic(t, func(c *apikey.StaticConfig) { c.Tenant = "acme" })
	p, err := s.Verify(ctx, staticKey)
	if err != nil || p.Owner() != (auth.Owner{Issuer: issuer, Subject: "billing"}) || p.ClientID != "billing" || !p.Service || p.Tenant != "acme" ||
		!p.Can("invoices:read") || p.Roles != nil || p.Session != "" || p.TokenID == "" || !p.Expires.IsZero() {
		t.Fatalf("got %+v, %v", p, err)
	}
	if strings.Contains(fmt.Sprintf("%+v %+v", p, s), staticKey) {
		t.Error("the key is printed")
	}
	p.Competencies[0] = "everything"
	if again, err := s.Verify(ctx, staticKey); err != nil || again.Can("everything") {
		t.Errorf("two requests share a slice: %v, %v", again, err)
	}
	for name, text := range map[string]string{
		"empty": "", "a prefix": staticKey[:31], "longer": staticKey + "0", "space": " " + staticKey, "upper case": strings.ToUpper(staticKey),
		"another": staticNext, "twice": staticKey + staticKey, "1 MiB": strings.Repeat("A", 1<<20), "NUL": staticKey + "\x00",
	} {
		if p, err := s.Verify(ctx, text); p != nil || auth.CodeOf(err) != auth.APIKeyInvalid {
			t.Errorf("%s: got %v, %v", name, p, err)
		}
	}

	both := mustStatic(t, func(c *apikey.StaticConfig) { c.Keys = append(c.Keys, auth.NewSecret(staticNext)) })
	ids := map[string]bool{}
	for _, text := range []string{staticKey, staticNext} {
		p, err := both.Verify(ctx, text)
		if err != nil || p.Subject != "billing" {
			t.Fatalf("got %v, %v", p, err)
		}
		ids[p.TokenID] = true
	}
	if len(ids) != 2 {
		t.Errorf("both keys have the id %v", ids)
	}
}

// P-11, ATK-J28: whatever is shown costs the same comparisons.
func TestStatic_P_11_ATK_J28_ConstantWork(t *testing.T) {
	s := mustStatic(t, func(c *apikey.StaticConfig) { c.Keys = append(c.Keys, auth.NewSecret(staticNext)) })
	compares, undo := apikey.CountCompares()
	defer undo()
	for _, text := range []string{"x", staticKey[:31] + "0", "0" + staticKey[1:], strings.Repeat("A", 512)} {
		*compares = 0
		if _, err := s.Verify(ctx, text); err == nil || *compares != 2 {
			t.Errorf("%.40q: %v after %d comparisons, expected 2", text, err, *compares)
		}
	}
}

// P-11: what can be guessed, or could not be shown, is refused at the start, and not quoted.
func TestNewStatic_P_11_Refuses(t *testing.T) {
	keys := func(texts ...string) func(*apikey.StaticConfig) {
		return func(c *apikey.StaticConfig) {
			c.Keys = nil
			for _, text := range texts {
				c.Keys = append(c.Keys, auth.NewSecret(text))
			}
		}
	}
	for name, c := range map[string]struct {
		change func(*apikey.StaticConfig)
		says   string
	}{
		"no key":           {keys(), "Keys: got 0 keys"},
		"three":            {keys(staticKey, staticNext, staticKey+"x"), "Keys: got 3 keys"},
		"an unset setting": {keys(os.Getenv("DOORWARD_NO_SUCH_SETTING")), "number 1: got 0 characters"},
		"a zero Secret":    {func(c *apikey.StaticConfig) { c.Keys = make([]auth.Secret, 1) }, "number 1: got 0 characters"},
		"a short one":      {keys("hunter2-hunter3-hunter4-hunter5"), "number 1: got 31 characters"},
		"a short second":   {keys(staticKey, "hunter2"), "number 2: got 7 characters"},
		"a long one":       {keys(strings.Repeat(staticKey, 17)), "got 544 characters"},
		"a repeated one":   {keys(strings.Repeat("changeme-", 4)), "repeats itself"},
		"repeated and cut": {keys(strings.Repeat("changeme-", 4)[:33]), "repeats itself"},
		"one character":    {keys(strings.Repeat("a", 64)), "repeats itself"},
		"few characters":   {keys("abcabcaabbccabcabcaabbccabcabcaa"), "repeats itself"},
		"a line end":       {keys(staticKey + "\n"), "a line end"},
		"a space":          {keys(staticKey + " x"), "a space"},
		"beyond ASCII":     {keys(staticKey + "ä"), "beyond ASCII"},
		"the same twice":   {keys(staticKey, staticKey), "the same key twice"},
		"no issuer":        {func(c *apikey.StaticConfig) { c.Issuer = "" }, "Issuer: got \"\""},
		"no subject":       {func(c *apikey.StaticConfig) { c.Subject = "" }, "Subject: got \"\""},
		"a bad tenant":     {func(c *apikey.StaticConfig) { c.Tenant = "a\xff" }, "Tenant: got"},
		"a bad scope":      {func(c *apikey.StaticConfig) { c.Scopes = []string{"a b"} }, "Scopes: got"},
	} {
		s, err := static(t, c.change)
		if s != nil || err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: got %v, expected %q", name, err, c.says)
			continue
		}
		for _, secret := range []string{staticKey, "hunter2", "changeme"} {
			if strings.Contains(err.Error(), secret) {
				t.Errorf("%s: the key is quoted: %v", name, err)
			}
		}
	}
}

// P-11, U-24: behind the guards a configured key is a service, and it opens no session.
func TestStatic_P_11_U_24_Guards(t *testing.T) {
	s := mustStatic(t)
	hello := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	guard := middleware.RequireAuth(auth.Header("X-API-Key", s))
	for name, c := range map[string]struct {
		more middleware.Middleware
		key  string
		want int
	}{
		"its service":     {middleware.RequireService("billing"), staticKey, 200},
		"another service": {middleware.RequireService("reports"), staticKey, 403},
		"its scope":       {middleware.RequireCompetency("invoices:read"), staticKey, 200},
		"another scope":   {middleware.RequireCompetency("invoices:write"), staticKey, 403},
		"a role":          {middleware.RequireRole("billing"), staticKey, 403},
		"a wrong key":     {middleware.RequireService("billing"), staticNext, 401},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("X-API-Key", c.key)
		w := httptest.NewRecorder()
		middleware.Chain(guard, c.more)(hello).ServeHTTP(w, r)
		if w.Code != c.want {
			t.Errorf("%s: got %d, expected %d", name, w.Code, c.want)
		}
		if challenge := w.Header().Get("WWW-Authenticate"); w.Code != 200 && !strings.HasPrefix(challenge, "ApiKey ") {
			t.Errorf("%s: challenges for %q", name, challenge)
		}
	}

	store := session.NewMemory(revocation.NewMemory())
	tok, err := tokens.New(tokens.Config{
		Keys: tokens.NewKeyring(tokens.FromSecret([]byte(tokens.GenerateSecret()))), Issuer: issuer, Audience: "api", List: store.Revocations(),
	})
	if err != nil {
		t.Fatal(err)
	}
	sessions, err := session.New(session.Config{Store: store, Tokens: tok, Subjects: session.KeepVersions(store, issuer, nobody)})
	if err != nil {
		t.Fatal(err)
	}
	w := setup(t)
	text, _ := w.create() // limited to acme
	for name, v := range map[string]auth.Verifier{staticKey: s, text: w.Keys} {
		p, err := v.Verify(ctx, name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := sessions.Start(ctx, session.Login{Principal: p}); auth.CodeOf(err) != auth.LoginFailed {
			t.Errorf("a session of %s: %v", p.TokenID, err)
		}
	}

	// Beside keys of a store, in one header.
	v := w.Keys.Or(s)
	for key, subject := range map[string]string{text: "ann", staticKey: "billing"} {
		if p, err := v.Verify(ctx, key); err != nil || p.Subject != subject {
			t.Errorf("got %v, %v, expected %s", p, err, subject)
		}
	}
	if p := w.verified(text); !slices.Equal(p.Competencies, []string{"reports:read"}) {
		t.Errorf("got %v", p)
	}
}
