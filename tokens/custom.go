package tokens

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// maxLogin bounds the claims of one login that a session keeps: its row is read at every refresh, and each of
// its access tokens carries them, also in a cookie of 4 KiB.
const maxLogin = 2 << 10

// Custom is the type of an application's own claims. Make it by [CustomClaims].
type Custom struct {
	name   string
	decode func(jsontext.Value) (any, error)
	encode func(any) (jsontext.Value, error)
	takes  func(name string) bool // whether the type has a member of this name, in any letter case
	shares bool                   // a copy of a value would share memory with it
	isMap  bool                   // it takes every name, so that names are checked at each Issue alone
	err    error
}

// CustomClaims says that T holds the application's own claims: its members stand beside the registered ones in
// the token. They are read strictly at [Tokens.Verify]: a member of the wrong type refuses the token.
// auth.ClaimsFrom[T] gives them to a handler.
//
// T is a struct, and members that it does not name are ignored. T may not name a registered claim, in any letter case,
// with or without - and _, nor catch all names; [New] refuses such a T.
//
// For names that are not known at compile time T is a map with string keys, such as map[string]any. It gets every
// member but the registered ones. [Tokens.Issue] refuses a registered name in it, as New does in a struct.
//
// Numbers that are read into an interface, such as the values of a map[string]any, are float64, as in encoding/json. Issue
// refuses a whole number of 2^53 or more there, wherever in T the interface is, because a float64 would round it (RFC 7493
// section 2.2): write it as a string, or take a jsontext.Value of github.com/go-json-experiment/json, which keeps the text.
//
// A T with slices, maps or pointers is decoded anew for every request, so that requests share nothing; a
// T of plain fields is decoded once per token.
func CustomClaims[T any]() Custom {
	t := reflect.TypeFor[T]()
	isMap := t.Kind() == reflect.Map && t.Key().Kind() == reflect.String
	rounds := reachesAny(t, nil)
	c := Custom{
		name:   t.String(),
		shares: shares(t),
		isMap:  isMap,
		decode: func(object jsontext.Value) (any, error) {
			var v T
			if len(object) == 0 {
				if !isMap {
					return v, nil
				}
				object = jsontext.Value("{}") // a handler may write to its map
			}
			if err := json.Unmarshal(object, &v); err != nil {
				return nil, fmt.Errorf("%w: claims of the application: %s", ErrMalformed, reason(err))
			}
			return v, nil
		},
		encode: func(v any) (jsontext.Value, error) {
			own, ok := v.(T)
			if !ok {
				return nil, fmt.Errorf("tokens: Principal.Claims: got a %T, expected a %s", v, t)
			}
			object, err := json.Marshal(own, json.Deterministic(true))
			if err == nil && rounds {
				err = exact[T](object)
			}
			return object, err
		},
		takes: func(name string) bool {
			var v T
			// A T without the name refuses it as unknown.
			err := json.Unmarshal([]byte(`{"`+name+`":null}`), &v, json.RejectUnknownMembers(true), json.MatchCaseInsensitiveNames(true))
			return !errors.Is(err, json.ErrUnknownName)
		},
	}
	if t.Kind() != reflect.Struct && !isMap {
		c.err = fmt.Errorf("tokens: CustomClaims: got %s, expected a struct, or a map with string keys", t)
	}
	return c
}

// check says whether the type takes one of the token's own names, or cannot be used at all.
func (c Custom) check(names []string) error {
	if c.err != nil || c.takes == nil || c.isMap {
		return c.err
	}
	for _, name := range names {
		if c.takes(name) {
			return fmt.Errorf("tokens: CustomClaims: %s takes the name %q, or one that differs from it by letter case, - and _ only; it is the token's own", c.name, name)
		}
	}
	return nil
}

// EncodeClaims returns v, the claims that belong to one login, as a JSON object for the session's row, where
// [Tokens.MergeClaims] reads them at each refresh. v is a T of [Config].Claims, or nil, which gives nil. Its errors are
// those of [Tokens.Issue], and one for an object of more than 2 KiB. They carry no code: they are the caller's mistake.
func (t *Tokens) EncodeClaims(v any) ([]byte, error) {
	object, err := t.encodeClaims(v)
	if err == nil && len(object) > maxLogin {
		return nil, fmt.Errorf("tokens: Principal.Claims: got %d bytes of JSON for one login, expected at most %d", len(object), maxLogin)
	}
	return object, err
}

// encodeClaims writes what may stand in a token beside the registered claims. A type that writes itself
// (MarshalJSON) may name "roles" although no field of it does, and a map may name anything.
func (t *Tokens) encodeClaims(v any) (jsontext.Value, error) {
	if v == nil {
		return nil, nil
	}
	if t.c.Claims.encode == nil {
		return nil, fmt.Errorf("tokens: Principal.Claims: got a %T, expected none without Config.Claims", v)
	}
	object, err := t.c.Claims.encode(v)
	if err == nil && object.Kind() != jsontext.KindBeginObject {
		err = fmt.Errorf("it writes JSON of the kind %s, expected an object", object.Kind())
	}
	if err == nil {
		err = shallow(object)
	}
	if err == nil {
		err = members(object, registered, nil, equalFold)
	}
	if err != nil {
		return nil, fmt.Errorf("tokens: Principal.Claims: got a %T that cannot stand in a token: %w", v, err)
	}
	return object, nil
}

// MergeClaims returns the claims of an access token of a session: those of the login, which [Tokens.EncodeClaims]
// wrote, and today's, a T or nil. Of a name in both, today's value is taken, so that what the application has taken
// away from a subject does not live on in a session. The result is a T that shares no memory with today, or nil where
// neither has claims.
//
// A struct writes its zero fields too, and today's zero wins like any other value. So tag with omitzero each field
// that a login is to give, and leave today's zero there.
//
// Without [Config].Claims the login's are left out: an application that has given its claims up logs nobody out. Errors
// carry no code. They mean that the login's claims are no JSON object, or no longer fit T: give a member that
// changes its type a new name.
func (t *Tokens) MergeClaims(login []byte, today any) (any, error) {
	if t.c.Claims.decode == nil || len(login) == 0 {
		return today, nil
	}
	object, err := t.encodeClaims(today)
	if err != nil {
		return nil, err
	}
	merged := map[string]jsontext.Value{}
	for _, part := range []jsontext.Value{login, object} {
		if len(part) == 0 {
			continue
		}
		var own map[string]jsontext.Value
		if err := decode(part, &own); err != nil {
			return nil, fmt.Errorf("tokens: the claims of the login: %w", err)
		}
		maps.Copy(merged, own)
	}
	both, err := json.Marshal(merged)
	if err != nil {
		return nil, fmt.Errorf("tokens: the claims of the login: %s", reason(err))
	}
	v, err := t.c.Claims.decode(both)
	if err != nil { // quoted, not wrapped: its code is that of a client's token, and this is a row of ours
		return nil, fmt.Errorf("tokens: the claims of the login do not fit %s: %v", t.c.Claims.name, err)
	}
	return v, nil
}

var errRounded = errors.New("a whole number of 2^53 or more, which is rounded when it is read; write it as a string")

// exact refuses a whole number that a float64 may round, where a T reads it into an interface. It reads object into
// a T for that: a number of the same size in an int64 beside is none of its business.
func exact[T any](object jsontext.Value) error {
	var again T
	err := json.Unmarshal(object, &again, json.WithUnmarshalers(json.UnmarshalFromFunc(unrounded)))
	if errors.Is(err, errRounded) {
		return errRounded
	}
	return nil
}

// unrounded reads a number into to, a pointer to an interface, and leaves everything else to package json.
func unrounded(dec *jsontext.Decoder, to any) error {
	v := reflect.ValueOf(to).Elem()
	if v.Kind() != reflect.Interface || dec.PeekKind() != jsontext.KindNumber {
		return errors.ErrUnsupported
	}
	text, err := dec.ReadValue()
	if err != nil {
		return err
	}
	n, err := strconv.ParseFloat(string(text), 64)
	if !strings.ContainsAny(string(text), ".eE") && (err != nil || math.Abs(n) >= 1<<53) {
		return errRounded
	}
	return nil
}

// reachesAny says whether something in a value of type t is read into an interface.
func reachesAny(t reflect.Type, seen []reflect.Type) bool {
	if slices.Contains(seen, t) {
		return false
	}
	seen = append(seen, t)
	switch t.Kind() {
	case reflect.Interface:
		return true
	case reflect.Pointer, reflect.Slice, reflect.Array, reflect.Map:
		return reachesAny(t.Elem(), seen)
	case reflect.Struct:
		for f := range t.Fields() {
			if (f.IsExported() || f.Anonymous) && reachesAny(f.Type, seen) {
				return true
			}
		}
	}
	return false
}

// shares says whether a value of type t can reach memory that a copy of it reaches as well. Strings do,
// but nobody can write to them; time.Time has a pointer that nobody can get at.
func shares(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Struct:
		if t == reflect.TypeFor[time.Time]() {
			return false
		}
		for f := range t.Fields() {
			if shares(f.Type) {
				return true
			}
		}
		return false
	case reflect.Array:
		return shares(t.Elem())
	case reflect.Bool, reflect.String, reflect.Float32, reflect.Float64,
		reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return false
	}
	return true
}
