package tokens

import (
	"errors"
	"reflect"
	"slices"
	"strings"
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

	rest jsontext.Value // the members that are not ours, for a Custom that must be decoded anew for each request
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
	Binding      confirmation   `json:"cnf,omitzero"`
	Payload      jsontext.Value `json:"payload,omitzero"` // of a Kind; {} and null are payloads too
	Rest         jsontext.Value `json:",embed"`
}

// foreignWire is what is read from the tokens of another issuer: the names of RFC 7519 section 4.1 and RFC
// 9068 section 2.2 alone. What it means by roles, ver or tenant is its own affair, of any type, and is believed
// only where Config.Claims and Validate say so.
type foreignWire struct {
	Issuer    string         `json:"iss"`
	Subject   string         `json:"sub"`
	Audience  audience       `json:"aud"`
	Expires   numericDate    `json:"exp"`
	IssuedAt  numericDate    `json:"iat"`
	NotBefore numericDate    `json:"nbf"`
	TokenID   string         `json:"jti"`
	ClientID  string         `json:"client_id"`
	Confirm   jsontext.Value `json:"cnf"`
	Rest      jsontext.Value `json:",embed"`
}

func (f *foreignWire) wire() wire {
	w := wire{
		Issuer: f.Issuer, Subject: f.Subject, Audience: f.Audience, TokenID: f.TokenID, ClientID: f.ClientID,
		Expires: int64(f.Expires), IssuedAt: int64(f.IssuedAt), NotBefore: int64(f.NotBefore), Rest: f.Rest,
	}
	if len(f.Confirm) > 0 {
		// The issuer means it for one holder alone, and how he proves himself is not known here.
		w.Binding = confirmation("cnf:" + string(f.Confirm))
	}
	return w
}

// confirmation is a binding as the claim cnf writes it (RFC 7800 section 3.1): {"device":"..."} for "device:...". A
// method that is not known here, or a second one, is refused: RFC 7800 would have it ignored, and the token would be
// anybody's.
type confirmation string

const (
	byDevice   = "device"
	maxBinding = 128
)

func (c confirmation) MarshalJSONTo(enc *jsontext.Encoder) error {
	method, value, _ := strings.Cut(string(c), ":")
	return json.MarshalEncode(enc, map[string]string{method: value})
}

func (c *confirmation) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	var methods map[string]string
	if err := json.UnmarshalDecode(dec, &methods); err != nil {
		return err
	}
	value := methods[byDevice]
	if len(methods) != 1 || value == "" {
		return errors.New("no binding that is known here")
	}
	*c = confirmation(byDevice + ":" + value)
	return nil
}

// numericDate is a number of seconds that may have a fraction (RFC 7519 section 2), which is cut off.
type numericDate int64

func (d *numericDate) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	var f float64
	if err := json.UnmarshalDecode(dec, &f); err != nil {
		return err
	}
	if f < -1<<53 || f > 1<<53 {
		return errors.New("no number of seconds")
	}
	*d = numericDate(f)
	return nil
}

// The names that an application's own claims may not take.
var registered, registeredForeign = namesOf[wire](), namesOf[foreignWire]()

func namesOf[W any]() (names []string) {
	for f := range reflect.TypeFor[W]().Fields() {
		if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "" {
			names = append(names, name)
		}
	}
	return names
}

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
			Roles: w.Roles, Competencies: w.Competencies, Methods: w.Methods, Binding: string(w.Binding),
			AuthTime: instant(w.AuthTime), IssuedAt: instant(w.IssuedAt), Expires: instant(w.Expires),
		},
		Audience: w.Audience.values, NotBefore: instant(w.NotBefore), Type: h.Type, KeyID: h.KeyID, rest: w.Rest,
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
// to its roles must not reach the next request. Up to seven strings share the principal's own allocation; with
// eight it would need the allocator's next larger size.
func (c *Claims) principal() *auth.Principal {
	box := &struct {
		auth.Principal
		room [7]string
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
