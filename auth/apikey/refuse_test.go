package apikey_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/auth/apikey"
	"github.com/doorward/doorward/middleware"
)

func TestCreateRefuses(t *testing.T) {
	w := setup(t, func(c *apikey.Config) { c.Max = 2 })
	good := apikey.Spec{Subject: "ann", Name: "x"}
	for _, c := range []struct {
		name   string
		change func(*apikey.Spec)
		field  string // "" for a mistake of the application's
	}{
		{"no owner", func(s *apikey.Spec) { s.Subject = "" }, ""},
		{"a long owner", func(s *apikey.Spec) { s.Subject = strings.Repeat("x", 257) }, ""},
		{"an owner of invalid UTF-8", func(s *apikey.Spec) { s.Subject = "a\xff" }, ""},
		{"a tenant of invalid UTF-8", func(s *apikey.Spec) { s.Tenant = "a\xff" }, ""},
		{"no name", func(s *apikey.Spec) { s.Name = "" }, "name"},
		{"ATK-I04 a name with a line break", func(s *apikey.Spec) { s.Name = "a\nb" }, "name"},
		{"a name with a direction mark", func(s *apikey.Spec) { s.Name = "a\u202eb" }, "name"},
		{"a long name", func(s *apikey.Spec) { s.Name = strings.Repeat("ä", 101) }, "name"},
		{"a name of spaces", func(s *apikey.Spec) { s.Name = " x" }, "name"},
		{"a scope with a space", func(s *apikey.Spec) { s.Scopes = []string{"read write"} }, "scopes"},
		{"an empty scope", func(s *apikey.Spec) { s.Scopes = []string{""} }, "scopes"},
		{"a quoted scope", func(s *apikey.Spec) { s.Scopes = []string{`a"b`} }, "scopes"},
		{"33 scopes", func(s *apikey.Spec) { s.Scopes = slices.Repeat([]string{"a"}, 33) }, "scopes"},
		{"a long scope", func(s *apikey.Spec) { s.Scopes = []string{strings.Repeat("a", 65)} }, "scopes"},
		{"a short life", func(s *apikey.Spec) { s.Life = time.Second }, "life"},
		{"a negative life", func(s *apikey.Spec) { s.Life = -time.Hour }, "life"},
		{"a long life", func(s *apikey.Spec) { s.Life = 367 * day }, "life"},
	} {
		s := good
		c.change(&s)
		secret, _, err := w.Create(ctx, s)
		var fields interface{ Fields() map[string]string }
		switch {
		case err == nil || secret.Reveal() != "":
			t.Errorf("%s: was made", c.name)
		case c.field == "" && auth.CodeOf(err) != auth.Internal:
			t.Errorf("%s: got %v, expected internal", c.name, err)
		case c.field != "" && (auth.CodeOf(err) != auth.ValidationFailed || !errors.As(err, &fields) || len(fields.Fields()) != 1 || fields.Fields()[c.field] == ""):
			t.Errorf("%s: got %v, expected validation_failed with %s", c.name, err, c.field)
		}
	}
	for range 2 {
		if _, _, err := w.Create(ctx, good); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := w.Create(ctx, good); auth.CodeOf(err) != auth.ValidationFailed {
		t.Errorf("a third of two: got %v", err)
	}
	long := apikey.Spec{Subject: "bob", Name: strings.Repeat("ä", 100), Life: 366 * day, Scopes: []string{"b", "a", "b"}}
	if _, key, err := w.Create(ctx, long); err != nil || !slices.Equal(key.Scopes, []string{"a", "b"}) {
		t.Errorf("got %+v, %v", key, err)
	}
}

func TestNewRefuses(t *testing.T) {
	store := apikey.NewMemory()
	for says, c := range map[string]apikey.Config{
		"Config.Store: got nil":       {Issuer: issuer},
		`Config.Issuer: got ""`:       {Store: store},
		`Config.Prefix: got "Acme"`:   {Store: store, Issuer: issuer, Prefix: "Acme"},
		`Config.Prefix: got "a_"`:     {Store: store, Issuer: issuer, Prefix: "a_"},
		`Config.Prefix: got "a__b"`:   {Store: store, Issuer: issuer, Prefix: "a__b"},
		`Config.Prefix: got "aaaaaa`:  {Store: store, Issuer: issuer, Prefix: strings.Repeat("a", 21)},
		"Config.Life: got 1s":         {Store: store, Issuer: issuer, Life: time.Second},
		"Config.Life: got 8808h0m0s":  {Store: store, Issuer: issuer, Life: 367 * day},
		"Config.Max: got -1":          {Store: store, Issuer: issuer, Max: -1},
		"Config.Max: got 1001, expec": {Store: store, Issuer: issuer, Max: 1001},
	} {
		if _, err := apikey.New(c); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("got %v, expected %q", err, says)
		}
	}
}

func TestPrefix(t *testing.T) {
	w := setup(t, func(c *apikey.Config) { c.Prefix = "acme_live" })
	text, key := w.create()
	w.verified(text)
	if id, ok := apikey.Recognise("acme_live", text); !ok || id != key.ID {
		t.Errorf("got %q, %t", id, ok)
	}
	for _, prefix := range []string{"acme", "live", "", "acme_live_" + key.ID} {
		if _, ok := apikey.Recognise(prefix, text); ok {
			t.Errorf("taken for a key of %q", prefix)
		}
	}
}

// ATK-I05, STD-V07.
func TestSecretIsMasked(t *testing.T) {
	w := setup(t)
	secret, key, err := w.Create(ctx, apikey.Spec{Subject: "ann", Name: "x"})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	_, _ = fmt.Fprintf(&out, "%v %+v %#v %s %q", secret, secret, secret, &secret, key)
	slog.New(slog.NewJSONHandler(&out, nil)).Info("made", "secret", secret, "key", key)
	_ = json.NewEncoder(&out).Encode(struct {
		Secret auth.Secret
		Key    apikey.Key
	}{secret, key})
	for _, e := range w.events {
		slog.New(slog.NewTextHandler(&out, nil)).Info("auth", "event", e)
	}
	for _, part := range strings.Split(secret.Reveal(), "_")[2:] {
		if strings.Contains(out.String(), part) {
			t.Errorf("%q is printed: %s", part, out.String())
		}
	}
	if !strings.Contains(out.String(), "event.key="+key.ID) {
		t.Errorf("the event does not name the key: %s", out.String())
	}
}

// By either header, behind the guards of any route.
func TestOverHTTP(t *testing.T) {
	w := setup(t)
	text, _ := w.create(func(s *apikey.Spec) { s.Tenant = "" }) // its scopes hold where no organisation is named
	hello := http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		p, _ := auth.FromContext(r.Context())
		_, _ = fmt.Fprint(rw, p.Subject)
	})
	guard := middleware.RequireAuth(auth.Header("X-API-Key", w.Keys), auth.Bearer(w.Or(other{})))
	mux := http.NewServeMux()
	mux.Handle("/reports", middleware.Chain(guard, middleware.RequireCompetency("reports:read"))(hello))
	mux.Handle("/letters", middleware.Chain(guard, middleware.RequireCompetency("reports:read", "letters:write"))(hello))
	mux.Handle("/admin", middleware.Chain(guard, middleware.RequireRole("admin", "ann"))(hello))
	for _, c := range []struct {
		name, path, header, value string
		status                    int
		says                      string
	}{
		{"X-API-Key", "/reports", "X-API-Key", text, 200, "ann"},
		{"Bearer", "/reports", "Authorization", "Bearer " + text, 200, "ann"},
		{"an access token beside", "/reports", "Authorization", "Bearer access", 200, "bob"},
		{"a scope too few", "/letters", "X-API-Key", text, 403, "competency_missing"},
		{"a key has no roles", "/admin", "X-API-Key", text, 403, "role_missing"},
		{"nothing", "/reports", "X-Other", text, 401, "credentials_missing"},
		{"Basic", "/reports", "Authorization", "Basic " + text, 401, "credentials_missing"},
		{"wrong", "/reports", "X-API-Key", text[1:], 401, "api_key_invalid"},
		{"an access token in X-API-Key", "/reports", "X-API-Key", "access", 401, "api_key_invalid"},
		{"in the query", "/reports?access_token=" + text, "X-Other", "", 400, "request_malformed"},
	} {
		r := httptest.NewRequest("GET", c.path, nil)
		r.Header.Set(c.header, c.value)
		rec := httptest.NewRecorder()
		mux.ServeHTTP(rec, r)
		if rec.Code != c.status || !strings.Contains(rec.Body.String(), c.says) {
			t.Errorf("%s: got %d %s, expected %d %s", c.name, rec.Code, rec.Body, c.status, c.says)
		}
	}
	r := httptest.NewRequest("GET", "/reports", nil)
	r.Header.Set("X-API-Key", text)
	r.Header.Set("Authorization", "Bearer "+text)
	rec := httptest.NewRecorder()
	if mux.ServeHTTP(rec, r); rec.Code != 400 {
		t.Errorf("two credentials: got %d", rec.Code)
	}
	if _, err := w.Or(nil).Verify(ctx, "access"); auth.CodeOf(err) != auth.APIKeyInvalid {
		t.Errorf("nothing else: got %v", err)
	}
}

// other verifies one text.
type other struct{}

func (other) Verify(_ context.Context, text string) (*auth.Principal, error) {
	if text != "access" {
		return nil, auth.TokenInvalid
	}
	return &auth.Principal{Subject: "bob", Competencies: []string{"reports:read"}}, nil
}

// F-56: strangers do not decide how many events there are. 2,000 invented keys were 2,000 lines; an id that is known is public,
// so that wrong secrets for it are bounded and counted.
func TestKeys_F_56_EventsAreBounded(t *testing.T) {
	w := setup(t)
	text, key := w.create()
	other, _ := w.create()
	w.told()
	secret := strings.Split(other, "_")[2]
	const flood = 2000
	for i := range flood {
		w.refused("invented", apikey.Compose("dwk", fmt.Sprintf("%017d", i), secret), auth.APIKeyInvalid)
	}
	w.wantTold()
	for range flood {
		w.refused("a wrong secret", apikey.Compose("dwk", key.ID, secret), auth.APIKeyInvalid)
	}
	w.at = w.at.Add(10 * time.Second)
	w.refused("a wrong secret", apikey.Compose("dwk", key.ID, secret), auth.APIKeyInvalid)
	if len(w.events) != 2 || w.events[0].Missed != 0 || w.events[1].Missed != flood-1 || w.events[1].Key != key.ID {
		t.Errorf("told %+v", w.events)
	}
	w.verified(text)
}
