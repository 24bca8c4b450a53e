package tokens

import (
	"encoding/base64"
	"fmt"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

const (
	// maxToken bounds the work that a stranger can cause before a signature is checked (STD-T28). It is
	// also what fits, with the rest, into the header limits of common proxies.
	maxToken = 8 << 10
	maxDepth = 8 // of nested JSON in header or claims
)

// b64 refuses padding, other alphabets and spare bits that are not zero, so that a token has one spelling.
var b64 = base64.RawURLEncoding.Strict()

// A text is a token taken apart: nothing in it is believed yet.
type text struct {
	signed    string // header and payload as they were signed
	header    header
	payload   []byte
	signature []byte
}

// header has the only members that are read. Those that would let a token choose its own key, or how
// it is to be read, make it refused (RFC 8725 section 3.10, RFC 7515 section 4.1.11).
type header struct {
	Algorithm string         `json:"alg"`
	Type      string         `json:"typ,omitempty"`
	KeyID     string         `json:"kid,omitempty"`
	Rest      jsontext.Value `json:",embed"`
}

var (
	// Refused whatever their value. An own token has no member beyond the three above at all.
	headerRefused = []string{"crit", "jku", "jwk", "x5u", "x5c", "b64", "cty", "zip", "enc", "p2c", "p2s"}
	headerKnown   = []string{"alg", "typ", "kid"}
)

// split takes a token apart in bounded time and memory, and decodes header and payload as base64url and
// the header as JSON. It verifies nothing.
func split(raw string) (t text, err error) {
	if len(raw) > maxToken {
		return t, fmt.Errorf("%w: %d bytes, at most %d", ErrMalformed, len(raw), maxToken)
	}
	// Go's decoder skips CR and LF even when strict; a respelled token must not be another text of the same (STD-T07).
	if strings.IndexByte(raw, '\n') >= 0 || strings.IndexByte(raw, '\r') >= 0 {
		return t, fmt.Errorf("%w: a line break", ErrMalformed)
	}
	// A third dot would stand in the second segment, where it is no base64url.
	first := strings.IndexByte(raw, '.')
	last := strings.LastIndexByte(raw, '.')
	if first <= 0 || last <= first+1 || last == len(raw)-1 {
		return t, fmt.Errorf("%w: not three segments", ErrMalformed)
	}
	t.signed = raw[:last]
	// One buffer for the three: their decoded lengths add up to less than the text.
	buf := make([]byte, 0, len(raw))
	segments := [3]string{raw[:first], raw[first+1 : last], raw[last+1:]}
	var parts [3][]byte
	for i, s := range segments {
		start := len(buf)
		if buf, err = b64.AppendDecode(buf, []byte(s)); err != nil {
			return t, fmt.Errorf("%w: segment %d is not base64url", ErrMalformed, i+1)
		}
		parts[i] = buf[start:len(buf):len(buf)]
	}
	t.payload, t.signature = parts[1], parts[2]
	if err := decode(parts[0], &t.header); err != nil {
		return t, fmt.Errorf("%w: header: %w", ErrMalformed, err)
	}
	if len(t.header.Rest) > 0 {
		if err := members(t.header.Rest, headerKnown, headerRefused, strings.EqualFold); err != nil {
			return t, fmt.Errorf("%w: header: %w", ErrMalformed, err)
		}
	}
	return t, nil
}

// decode reads one JSON object into v: no duplicate names, no other letter case, no invalid UTF-8, no
// lone surrogate, nothing behind it (all by the json package's defaults, RFC 7493), and not deep.
func decode(object []byte, v any) error {
	if len(object) == 0 || object[0] != '{' {
		return fmt.Errorf("not a JSON object")
	}
	if err := shallow(object); err != nil {
		return err
	}
	if err := json.Unmarshal(object, v); err != nil {
		return fmt.Errorf("not strict JSON: %s", reason(err))
	}
	return nil
}

// shallow refuses JSON that is nested deeper than maxDepth.
func shallow(object []byte) error {
	depth, inString := 0, false
	for i := 0; i < len(object); i++ {
		switch c := object[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case inString:
		case c == '{' || c == '[':
			if depth++; depth > maxDepth {
				return fmt.Errorf("nested deeper than %d", maxDepth)
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return nil
}

// members looks at the names of an object that no field took. A name that only letter case or folding
// tells from a known one is refused, because the next reader of the claims may take it for that one
// (encoding/json does: "SUB" and "ſub" overwrite "sub"). same says which names are one: strings.EqualFold of what came,
// equalFold of what is to be written.
func members(object jsontext.Value, known, refused []string, same func(a, b string) bool) error {
	dec := jsontext.NewDecoder(strings.NewReader(string(object)))
	if _, err := dec.ReadToken(); err != nil {
		return err
	}
	for dec.PeekKind() == '"' {
		name, err := dec.ReadToken()
		if err != nil {
			return err
		}
		for _, k := range known {
			if same(name.String(), k) {
				return fmt.Errorf("the name %q, which is registered, in some spelling", k)
			}
		}
		for _, k := range refused {
			if same(name.String(), k) {
				return fmt.Errorf("the member %q", k)
			}
		}
		if err := dec.SkipValue(); err != nil {
			return err
		}
	}
	return nil
}

// equalFold takes names for one that letter case, - and _ alone tell apart, as json.MatchCaseInsensitiveNames does.
// Tokens are not read like that: another issuer's clientId stands beside its client_id.
func equalFold(a, b string) bool {
	return strings.EqualFold(bare.Replace(a), bare.Replace(b))
}

var bare = strings.NewReplacer("-", "", "_", "")

// reason says in words of our own why json refused a text, because its error may quote the text.
func reason(err error) string {
	switch err := err.(type) {
	case *jsontext.SyntacticError:
		return fmt.Sprintf("byte %d", err.ByteOffset)
	case *json.SemanticError:
		return fmt.Sprintf("a member of the wrong type at byte %d", err.ByteOffset)
	}
	return "unreadable"
}
