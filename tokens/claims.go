package tokens

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/doorward/doorward/auth"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Claims is what a verified token says. Only verification makes one, so holding it is the proof.
type Claims struct {
	auth.Principal
	Audience  []string
	NotBefore time.Time
	Type      string // typ of the header: the kind
	KeyID     string // kid of the header
}

// wire is the claims set of RFC 7519 section 4.1, RFC 9068 section 2.2 and ours. Times are whole
// seconds since 1970; other numbers, and numbers in quotes, are refused by their type.
type wire struct {
	Issuer       string         `json:"iss"`
	Subject      string         `json:"sub"`
	Audience     audience       `json:"aud"`
	Expires      int64          `json:"exp"`
	IssuedAt     int64          `json:"iat,omitzero"`
	NotBefore    int64          `json:"nbf,omitzero"`
	TokenID      string         `json:"jti,omitzero"`
	Session      string         `json:"sid,omitzero"`
	Version      int64          `json:"ver,omitzero"`
	Epoch        string         `json:"ep,omitzero"`
	Tenant       string         `json:"tenant,omitzero"`
	Roles        []string       `json:"roles,omitempty"`
	Competencies []string       `json:"competencies,omitempty"`
	Methods      []string       `json:"amr,omitempty"`
	AuthTime     int64          `json:"auth_time,omitzero"`
	ClientID     string         `json:"client_id,omitzero"`
	Payload      jsontext.Value `json:"payload,omitempty"` // of a Kind
	Rest         jsontext.Value `json:",embed"`
}

// registered is the names of wire, which an application's own claims may not take.
var registered = func() (names []string) {
	for f := range reflect.TypeFor[wire]().Fields() {
		if name, _, _ := bytes.Cut([]byte(f.Tag.Get("json")), []byte(",")); len(name) > 0 {
			names = append(names, string(name))
		}
	}
	return names
}()

// audience is a string or a list of strings (RFC 7519 section 4.1.3). It remembers which, because our own
// tokens have exactly one and a list is refused for them (RFC 8725 section 3.9).
type audience struct {
	values []string
	list   bool
}

func (a audience) MarshalJSONTo(enc *jsontext.Encoder) error {
	return enc.WriteToken(jsontext.String(a.values[0]))
}

func (a *audience) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	if dec.PeekKind() == '"' {
		var one string
		if err := json.UnmarshalDecode(dec, &one); err != nil {
			return err
		}
		*a = audience{values: []string{one}}
		return nil
	}
	if dec.PeekKind() != '[' {
		return errors.New("neither a string nor a list")
	}
	*a = audience{list: true}
	return json.UnmarshalDecode(dec, &a.values)
}

// claims gives w the form that callers see.
func (w *wire) claims(h header) *Claims {
	return &Claims{
		Principal: auth.Principal{
			Issuer: w.Issuer, Tenant: w.Tenant, Subject: w.Subject, Session: w.Session,
			TokenID: w.TokenID, ClientID: w.ClientID, Version: w.Version, Epoch: w.Epoch,
			Roles: w.Roles, Competencies: w.Competencies, Methods: w.Methods,
			AuthTime: instant(w.AuthTime), IssuedAt: instant(w.IssuedAt), Expires: instant(w.Expires),
		},
		Audience: w.Audience.values, NotBefore: instant(w.NotBefore), Type: h.Type, KeyID: h.KeyID,
	}
}

func instant(seconds int64) time.Time {
	if seconds == 0 {
		return time.Time{}
	}
	return time.Unix(seconds, 0)
}

func seconds(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.Unix()
}

// principal returns a copy that shares no slice with c, which may stand in the cache: what a handler does
// to its roles must not reach the next request. Up to eight strings share the principal's own allocation.
func (c *Claims) principal() *auth.Principal {
	box := &struct {
		auth.Principal
		room [8]string
	}{Principal: c.Principal}
	p, free := &box.Principal, box.room[:0]
	if n := len(p.Roles) + len(p.Competencies) + len(p.Methods); n > len(box.room) {
		free = make([]string, 0, n)
	}
	for _, s := range []*[]string{&p.Roles, &p.Competencies, &p.Methods} {
		if *s == nil {
			continue
		}
		start := len(free)
		free = append(free, *s...)
		*s = slices.Clip(free[start:])
	}
	return p
}

// Custom is the type of an application's own claims. Make it by [CustomClaims].
type Custom struct {
	decode func(jsontext.Value) (any, error)
	encode func(any) (jsontext.Value, error)
	err    error
}

// CustomClaims says that T, a struct, holds the application's own claims: its members stand beside the
// registered ones in the token. They are read strictly at [Tokens.Verify]: a member of the wrong type
// refuses the token; members that T does not name are ignored. auth.ClaimsFrom[T] gives them to a handler.
// T may not name a registered claim, nor catch all names; [New] refuses such a T.
func CustomClaims[T any]() Custom {
	c := Custom{
		decode: func(object jsontext.Value) (any, error) {
			var v T
			if len(object) == 0 {
				return v, nil
			}
			if err := json.Unmarshal(object, &v); err != nil {
				return nil, fmt.Errorf("%w: claims of the application: %s", ErrMalformed, reason(err))
			}
			return v, nil
		},
		encode: func(v any) (jsontext.Value, error) {
			t, ok := v.(T)
			if !ok {
				return nil, fmt.Errorf("tokens: Principal.Claims: got a %T, expected a %s", v, reflect.TypeFor[T]())
			}
			return json.Marshal(t)
		},
	}
	if t := reflect.TypeFor[T](); t.Kind() != reflect.Struct {
		c.err = fmt.Errorf("tokens: CustomClaims: got %s, expected a struct", t)
		return c
	}
	for _, name := range registered {
		var v T
		// A T without the name refuses it as unknown, which is what we want to see.
		err := json.Unmarshal([]byte(`{"`+name+`":null}`), &v, json.RejectUnknownMembers(true))
		if !errors.Is(err, json.ErrUnknownName) {
			c.err = fmt.Errorf("tokens: CustomClaims: %s takes the name %q, which is the token's own", reflect.TypeFor[T](), name)
			return c
		}
	}
	return c
}
