package tokens_test

import (
	"context"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/tokens"
	"github.com/go-json-experiment/json/jsontext"
)

type dict = map[string]any

func withDict(c *tokens.Config) { c.Claims = tokens.CustomClaims[dict]() }

// D-51: claims whose names are not known at compile time.
func TestCustomClaims_D_51_Map(t *testing.T) {
	tok, _ := setup(t, withDict)
	want := dict{"device_type": "phone", "n": 1.5, "big": 9007199254740991.0, "list": []any{"a", true, nil}, "deep": dict{"er": dict{}}, "": "", "client-no": "x"}
	raw := issue(t, tok, auth.Principal{Subject: "ann", Roles: []string{"user"}, Claims: want})
	p := accepted(t, tok, raw)
	if !reflect.DeepEqual(p.Claims, want) || p.Subject != "ann" || !p.HasRole("user") {
		t.Errorf("got %v of %+v", p.Claims, p)
	}
	// Each request may write to its own.
	p.Claims.(dict)["device_type"], p.Claims.(dict)["deep"].(dict)["er"] = "desk", 1
	if again := accepted(t, tok, raw); !reflect.DeepEqual(again.Claims, want) {
		t.Errorf("one request sees the other's: %v", again.Claims)
	}
	// A token without claims has a map too, which is empty and takes writes.
	for _, none := range []any{nil, dict(nil), dict{}} {
		none := accepted(t, tok, issue(t, tok, auth.Principal{Subject: "ann", Claims: none})).Claims.(dict)
		if none["x"] = 1; len(none) != 1 {
			t.Errorf("got %v", none)
		}
	}
	// A claim of a registered name is the principal's, not the map's.
	p = accepted(t, tok, forge(goodHeader, claimsWith("roles", `["admin"]`, "ver", "3", "x", "1")))
	if !reflect.DeepEqual(p.Claims, dict{"x": 1.0}) || p.Version != 3 {
		t.Errorf("got %v", p.Claims)
	}
	for name, claims := range map[string]string{
		"a name twice": claimsWith("x", `{"a":1,"a":2}`), "another case": claimsWith("Roles", `["admin"]`), "folded": claimsWith("role\u017f", `["admin"]`),
		"too deep": claimsWith("x", strings.Repeat("[", 8)+strings.Repeat("]", 8)), "no UTF-8": claimsWith("x", "\"\xff\""),
	} {
		t.Run(name, func(t *testing.T) { refused(t, tok, forge(goodHeader, claims), tokens.ErrMalformed) })
	}
}

// writesItself names a registered claim although no field of it does.
type writesItself struct{ Text string }

func (w writesItself) MarshalJSON() ([]byte, error) { return []byte(w.Text), nil }

// An application's own claims never become the principal's: not by a map, nor by a type that writes itself.
func TestCustomClaims_D_51_RegisteredNamesAreRefused(t *testing.T) {
	for _, name := range []string{
		"iss", "sub", "aud", "exp", "iat", "nbf", "jti", "sid", "ver", "ep", "tenant", "roles", "competencies", "amr", "auth_time", "client_id", "cnf", "payload",
		"Roles", "ROLES", "role\u017f", "\u017fub", "SUB", "Tenant", "client-id", "clientId", "Client-ID", "auth-time", "authtime", "s_u-b",
	} {
		text, _ := json.Marshal(dict{name: []string{"admin"}})
		for form, c := range map[string]struct {
			custom tokens.Custom
			value  any
		}{
			"map":           {tokens.CustomClaims[dict](), dict{name: []string{"admin"}}},
			"map of values": {tokens.CustomClaims[map[string]jsontext.Value](), map[string]jsontext.Value{name: jsontext.Value(`["admin"]`)}},
			"writes itself": {tokens.CustomClaims[writesItself](), writesItself{string(text)}},
		} {
			tok, _ := setup(t, func(cfg *tokens.Config) { cfg.Claims = c.custom })
			stamp, _ := tok.Stamp(context.Background())
			raw, _, err := tok.Issue(stamp, &auth.Principal{Subject: "ann", Claims: c.value})
			if err == nil || raw != "" || !strings.Contains(err.Error(), "registered") {
				t.Errorf("%s %q: got %v", form, name, err)
			}
			if object, err := tok.EncodeClaims(c.value); err == nil || object != nil {
				t.Errorf("%s %q: encoded as %s", form, name, object)
			}
		}
	}
}

// What the verifier would refuse, or read as another value, is not issued.
func TestCustomClaims_D_51_IssueRefuses(t *testing.T) {
	tok, _ := setup(t, withDict)
	stamp, _ := tok.Stamp(context.Background())
	deep := any("x")
	for range 8 {
		deep = []any{deep}
	}
	for name, v := range map[string]any{
		"2^53": dict{"id": int64(1 << 53)}, "2^53+1": dict{"id": int64(1<<53 + 1)}, "-2^63": dict{"a": []any{dict{"id": int64(-1 << 63)}}},
		"too deep": dict{"x": deep}, "no UTF-8": dict{"x": "\xff"}, "no JSON": dict{"x": func() {}}, "a struct": plan{}, "a list": []any{},
	} {
		if raw, _, err := tok.Issue(stamp, &auth.Principal{Subject: "ann", Claims: v}); err == nil || raw != "" || auth.CodeOf(err) != auth.Internal {
			t.Errorf("%s: got %v", name, err)
		}
	}
	// Values that keep their text round nothing.
	exact, _ := setup(t, func(c *tokens.Config) { c.Claims = tokens.CustomClaims[map[string]jsontext.Value]() })
	want := map[string]jsontext.Value{"id": jsontext.Value("9007199254740993")}
	if p := accepted(t, exact, issue(t, exact, auth.Principal{Subject: "ann", Claims: want})); !reflect.DeepEqual(p.Claims, want) {
		t.Errorf("got %v", p.Claims)
	}
}

// F-47, D-51: the claims of one login, kept by its session, and what the application says today.
func TestMergeClaims_F_47(t *testing.T) {
	type device struct {
		ID   string `json:"device_id,omitzero"`
		Plan string `json:"plan"`
	}
	maps, _ := setup(t, withDict)
	structs, _ := setup(t, func(c *tokens.Config) { c.Claims = tokens.CustomClaims[device]() })
	without, _ := setup(t)
	for _, c := range []struct {
		name         string
		tok          *tokens.Tokens
		login, today any
		want         any
	}{
		{"neither", maps, nil, nil, nil},
		{"the login's alone", maps, dict{"device_id": "d1"}, nil, dict{"device_id": "d1"}},
		{"today's alone", maps, nil, dict{"plan": "pro"}, dict{"plan": "pro"}},
		{"both", maps, dict{"device_id": "d1"}, dict{"plan": "pro"}, dict{"device_id": "d1", "plan": "pro"}},
		{"today wins", maps, dict{"plan": "pro", "d": 1.0}, dict{"plan": "free"}, dict{"plan": "free", "d": 1.0}},
		{"today's null wins", maps, dict{"plan": "pro"}, dict{"plan": nil}, dict{"plan": nil}},
		{"whole values, not parts of them", maps, dict{"x": dict{"a": 1.0}}, dict{"x": dict{"b": 2.0}}, dict{"x": dict{"b": 2.0}}},
		{"structs", structs, device{ID: "d1"}, device{Plan: "pro"}, device{"d1", "pro"}},
		{"a struct's zero wins where it is written", structs, device{ID: "d1", Plan: "pro"}, device{}, device{ID: "d1"}},
		{"no type and no claims", without, nil, nil, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			kept, err := c.tok.EncodeClaims(c.login)
			if err != nil || (c.login == nil) != (kept == nil) {
				t.Fatalf("got %s, %v", kept, err)
			}
			got, err := c.tok.MergeClaims(kept, c.today)
			if err != nil || !reflect.DeepEqual(got, c.want) {
				t.Fatalf("got %v, %v, expected %v", got, err, c.want)
			}
			if c.want != nil {
				p := accepted(t, c.tok, issue(t, c.tok, auth.Principal{Subject: "ann", Claims: got}))
				if !reflect.DeepEqual(p.Claims, c.want) {
					t.Errorf("in the token: %v", p.Claims)
				}
			}
		})
	}
	t.Run("a wrong type is a mistake", func(t *testing.T) {
		if _, err := structs.EncodeClaims(dict{}); err == nil {
			t.Error("encoded")
		}
		if _, err := structs.MergeClaims([]byte(`{}`), dict{}); err == nil {
			t.Error("merged")
		}
		if _, err := without.EncodeClaims(dict{}); err == nil {
			t.Error("encoded without Config.Claims")
		}
	})
	t.Run("an application that gave its claims up", func(t *testing.T) {
		if got, err := without.MergeClaims([]byte(`{"device_id":"d1"}`), nil); got != nil || err != nil {
			t.Errorf("got %v, %v", got, err)
		}
	})
	t.Run("a row that cannot be used is a fault of ours", func(t *testing.T) {
		for _, login := range []string{"x", "[]", `{"a":1`, `{"plan":1}`, `{"plan":"a","plan":"b"}`, `{} {}`} {
			if got, err := structs.MergeClaims([]byte(login), nil); err == nil || got != nil || auth.CodeOf(err) != auth.Internal {
				t.Errorf("%s: got %v, %v", login, got, err)
			}
		}
	})
	t.Run("a row that names a registered claim", func(t *testing.T) {
		got, err := maps.MergeClaims([]byte(`{"roles":["admin"]}`), nil)
		if err != nil {
			t.Fatal(err)
		}
		stamp, _ := maps.Stamp(context.Background())
		if _, _, err := maps.Issue(stamp, &auth.Principal{Subject: "ann", Claims: got}); err == nil {
			t.Error("a row gave a role")
		}
	})
}

// The claims of a login have a bound, which Issue does not have below that of a token.
func TestEncodeClaims_Size(t *testing.T) {
	tok, _ := setup(t, withDict)
	of := func(n int) dict { return dict{"x": strings.Repeat("a", n-len(`{"x":""}`))} }
	if object, err := tok.EncodeClaims(of(2048)); err != nil || len(object) != 2048 {
		t.Errorf("got %d bytes, %v", len(object), err)
	}
	if _, err := tok.EncodeClaims(of(2049)); err == nil || !strings.Contains(err.Error(), "got 2049 bytes") {
		t.Errorf("got %v", err)
	}
	accepted(t, tok, issue(t, tok, auth.Principal{Subject: "ann", Claims: of(4096)}))
}

// A foreign issuer's private names are whatever it likes, and stand in the map.
func TestCustomClaims_D_51_MapOfAForeignIssuer(t *testing.T) {
	tok, _ := setup(t, withDict, func(c *tokens.Config) { c.AllowForeign, c.Type = true, "JWT" })
	p := accepted(t, tok, forge(`{"alg":"HS256","typ":"JWT","kid":"k1"}`, claimsWith("ver", `"2.0"`, "roles", `["admin"]`)))
	if want := (dict{"ver": "2.0", "roles": []any{"admin"}}); !reflect.DeepEqual(p.Claims, want) || p.HasRole("admin") {
		t.Errorf("got %v", p.Claims)
	}
}

// A map and a struct may take the same names: what New refuses in the one Issue refuses in the other. Tokens that come are
// read by letter case alone, for other issuers write clientId beside client_id.
func TestCustomClaims_D_51_OneFold(t *testing.T) {
	type dash struct {
		ID string `json:"client-id"`
	}
	type camel struct {
		ID string `json:"clientId"`
	}
	for name, claims := range map[string]tokens.Custom{"client-id": tokens.CustomClaims[dash](), "clientId": tokens.CustomClaims[camel]()} {
		if _, err := tokens.New(tokens.Config{Keys: tokens.NewKeyring(tokens.FromSecret(rootSecret)), Issuer: issuer, Audience: audience, Claims: claims}); err == nil {
			t.Errorf("%s: a struct takes it", name)
		}
	}
	foreign, _ := setup(t, withDict, func(c *tokens.Config) { c.AllowForeign, c.Type = true, "JWT" })
	p := accepted(t, foreign, forge(`{"alg":"HS256","typ":"JWT","kid":"k1"}`, claimsWith("clientId", `"x"`)))
	if !reflect.DeepEqual(p.Claims, dict{"clientId": "x"}) {
		t.Errorf("got %v", p.Claims)
	}
}

// What writes itself as something else than an object has no place in a token, nor in a session's row.
func TestEncodeClaims_NoObject(t *testing.T) {
	tok, _ := setup(t, func(c *tokens.Config) { c.Claims = tokens.CustomClaims[writesItself]() })
	stamp, _ := tok.Stamp(context.Background())
	for _, text := range []string{"null", "[]", `["roles"]`, `"a"`, "1", "true"} {
		object, err := tok.EncodeClaims(writesItself{text})
		if err == nil || object != nil || !strings.Contains(err.Error(), "expected an object") {
			t.Errorf("%s: encoded as %s, %v", text, object, err)
		}
		if raw, _, err := tok.Issue(stamp, &auth.Principal{Subject: "ann", Claims: writesItself{text}}); err == nil || raw != "" {
			t.Errorf("%s: issued", text)
		}
		if got, err := tok.MergeClaims([]byte(`{"a":1}`), writesItself{text}); err == nil || got != nil {
			t.Errorf("%s: merged", text)
		}
	}
}

// A whole number that an interface would round is refused wherever the interface is, and nowhere else.
func TestCustomClaims_D_51_RoundedAnywhere(t *testing.T) {
	const big = int64(1<<53 + 1)
	type inner struct {
		Any any `json:"any,omitzero"`
	}
	type list struct {
		Next *list          `json:"next,omitzero"`
		ID   int64          `json:"id,omitzero"`
		Any  map[string]any `json:"values,omitzero"`
		In   []inner        `json:"in,omitzero"`
	}
	rounded := func(name string, claims tokens.Custom, v any, want bool) {
		t.Helper()
		tok, _ := setup(t, func(c *tokens.Config) { c.Claims = claims })
		stamp, _ := tok.Stamp(context.Background())
		raw, _, err := tok.Issue(stamp, &auth.Principal{Subject: "ann", Claims: v})
		if refused := err != nil && strings.Contains(err.Error(), "2^53"); refused != want || (raw == "") != want {
			t.Errorf("%s: got %v, expected a refusal: %t", name, err, want)
		}
		if !want && raw != "" {
			if p := accepted(t, tok, raw); !reflect.DeepEqual(p.Claims, v) {
				t.Errorf("%s: got %+v, expected %+v", name, p.Claims, v)
			}
		}
	}
	lists := tokens.CustomClaims[list]()
	rounded("a map in a struct", lists, list{Any: dict{"id": big}}, true)
	rounded("a field in a list in a struct", lists, list{In: []inner{{Any: big}}}, true)
	rounded("behind a pointer", lists, list{Next: &list{Any: dict{"x": []any{big}}}}, true)
	rounded("negative", lists, list{Any: dict{"id": -big}}, true)
	rounded("a field of its own", lists, list{ID: big, Any: dict{"id": "x"}}, false)
	rounded("maps of maps", tokens.CustomClaims[map[string]map[string]any](), map[string]map[string]any{"a": {"id": big}}, true)
	rounded("maps of structs", tokens.CustomClaims[map[string]inner](), map[string]inner{"a": {big}}, true)
	rounded("maps of numbers", tokens.CustomClaims[map[string]int64](), map[string]int64{"a": big}, false)

	tok, _ := setup(t)
	kind := tokens.NewKind[list]("list+jwt", time.Hour)
	if raw, err := kind.Issue(tok, "ann", list{Any: dict{"id": big}}, 0); err == nil || raw != "" || !strings.Contains(err.Error(), "2^53") {
		t.Errorf("a kind's payload: got %v", err)
	}
	raw, err := kind.Issue(tok, "ann", list{ID: big}, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, got, err := kind.Verify(t.Context(), tok, raw); err != nil || got.ID != big {
		t.Errorf("a kind's payload: got %+v, %v", got, err)
	}
}

// A kind issues no token that it would refuse for its depth.
func TestKinds_DepthOfThePayload(t *testing.T) {
	tok, _ := setup(t)
	kind := tokens.NewKind[jsontext.Value]("deep+jwt", time.Hour)
	for depth := 1; depth <= 9; depth++ {
		payload := jsontext.Value(strings.Repeat("[", depth) + strings.Repeat("]", depth))
		raw, err := kind.Issue(tok, "ann", payload, 0)
		if depth > 7 {
			if err == nil || raw != "" || !strings.Contains(err.Error(), "nested deeper than 8") {
				t.Errorf("depth %d: got %v", depth, err)
			}
			continue
		}
		if err != nil {
			t.Fatalf("depth %d: %v", depth, err)
		}
		if _, got, err := kind.Verify(t.Context(), tok, raw); err != nil || string(got) != string(payload) {
			t.Errorf("depth %d: got %s, %v", depth, got, err)
		}
	}
}

// An empty payload is one: a kind that needs none, or whose fields are all zero, opens.
func TestKinds_EmptyPayload(t *testing.T) {
	tok, _ := setup(t)
	kind := tokens.NewKind[jsontext.Value]("empty+jwt", time.Hour)
	for _, payload := range []string{"{}", "[]", `""`, "null", "0", "false"} {
		raw, err := kind.Issue(tok, "ann", jsontext.Value(payload), 0)
		if err != nil {
			t.Fatalf("%s: %v", payload, err)
		}
		if _, got, err := kind.Verify(t.Context(), tok, raw); err != nil || string(got) != payload {
			t.Errorf("%s: got %s, %v", payload, got, err)
		}
	}
	none := tokens.NewKind[struct{}]("none+jwt", time.Hour)
	raw, err := none.Issue(tok, "ann", struct{}{}, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := none.Verify(t.Context(), tok, raw); err != nil {
		t.Errorf("no payload: %v", err)
	}
}
