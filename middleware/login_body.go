package middleware

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
	"golang.org/x/text/unicode/norm"

	"github.com/doorward/doorward/auth"
)

// maxLoginBody is the longest body of a login, in bytes.
const maxLoginBody = 64 << 10

// maxAccount is the longest account, in bytes. No address and no usual name in a directory is longer, and to bring 64 KiB into
// one form takes longer than all else that a login does before its password.
const maxAccount = 1024

// wrongAccount says what is wrong with the text of an account, "" for nothing. Databases refuse NUL and invalid UTF-8, or
// cut a text there, and then another account is tried than was counted.
func wrongAccount(account string) string {
	switch {
	case len(account) > maxAccount:
		return fmt.Sprintf("longer than %d bytes", maxAccount)
	case !utf8.ValidString(account) || strings.ContainsRune(account, 0):
		return "not valid"
	}
	return ""
}

// readLoginBody reads the whole body.
func readLoginBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if r.ContentLength > maxLoginBody {
		return nil, fmt.Errorf("%w: %d bytes, at most %d", auth.TooLarge, r.ContentLength, maxLoginBody)
	}
	if r.Body == nil || r.Body == http.NoBody {
		return nil, nil
	}
	body, err := io.ReadAll(limitedBody{http.MaxBytesReader(w, r.Body, maxLoginBody)})
	if err != nil && auth.CodeOf(err) != auth.TooLarge { // the client has gone, or has sent no proper body
		err = fmt.Errorf("%w: %w", auth.RequestMalformed, err)
	}
	return body, err
}

// withBody returns a copy of r that has this body to read.
func withBody(r *http.Request, body []byte) *http.Request {
	r = r.WithContext(r.Context())
	r.Body = io.NopCloser(bytes.NewReader(body))
	return r
}

// loginFields returns the fields of a login that a handler will read from this body, however it does it: whatever two
// readers could read differently is refused. Otherwise one account would be counted and another one tried. What
// a body lacks is not in values; what is no text is in wrong.
func loginFields(r *http.Request, body []byte, names []string) (values map[string]string, wrong invalidFields, err error) {
	if len(r.Header["Content-Encoding"]) > 0 {
		return nil, nil, fmt.Errorf("%w: a login with a Content-Encoding", auth.MediaType)
	}
	query := r.URL.Query()
	for _, name := range names { // http.Request.FormValue reads it
		if query.Has(name) || sharesName(query, name) {
			return nil, nil, fmt.Errorf("%w: %q in the query of a login", auth.RequestMalformed, name)
		}
	}
	types := r.Header["Content-Type"]
	switch {
	case len(types) == 0 && len(body) == 0 && len(r.PostForm) == 0:
		return nil, nil, nil
	case len(types) != 1:
		return nil, nil, fmt.Errorf("%w: %d Content-Type headers", auth.MediaType, len(types))
	case isMedia(types[0], "application/json"):
		return jsonFields(body, names)
	case isMedia(types[0], "application/x-www-form-urlencoded"):
		form := r.PostForm // somebody outside has consumed the body for it
		if form == nil {
			if form, err = url.ParseQuery(string(body)); err != nil {
				// Without what the parser says: it quotes what was typed, which may be part of a password.
				return nil, nil, fmt.Errorf("%w: a login's form that cannot be unescaped, or has too many fields", auth.RequestMalformed)
			}
		}
		values, err = formFields(form, names)
		return values, nil, err
	}
	return nil, nil, fmt.Errorf("%w: %q", auth.MediaType, types[0])
}

func formFields(form url.Values, names []string) (map[string]string, error) {
	values := map[string]string{}
	for _, name := range names {
		shown := form[name]
		if len(shown) > 1 || sharesName(form, name) {
			return nil, fmt.Errorf("%w: a form with more than one %q", auth.RequestMalformed, name)
		}
		if len(shown) == 1 {
			values[name] = shown[0]
		}
	}
	return values, nil
}

// sharesName says whether a form has another name that some reader takes for field.
func sharesName(form url.Values, field string) bool {
	for name := range form {
		if name != field && looksLike(name, field) {
			return true
		}
	}
	return false
}

// jsonFields reads one JSON object. jsontext refuses duplicate names and invalid UTF-8 at every depth.
func jsonFields(body []byte, names []string) (values map[string]string, wrong invalidFields, err error) {
	d := jsontext.NewDecoder(bytes.NewReader(body))
	malformed := func(err error) (map[string]string, invalidFields, error) {
		return nil, nil, fmt.Errorf("%w: a login's JSON: %w", auth.RequestMalformed, err)
	}
	// Without what the parser says: it quotes what was typed, which may be part of a password.
	syntax := func() (map[string]string, invalidFields, error) {
		return malformed(fmt.Errorf("a fault of syntax, or a name twice, after the offset %d", d.InputOffset()))
	}
	if t, err := d.ReadToken(); err != nil || t.Kind() != '{' {
		return malformed(errors.New("it is no object"))
	}
	values, wrong = map[string]string{}, invalidFields{}
	for d.PeekKind() == '"' {
		t, err := d.ReadToken()
		if err != nil {
			return syntax()
		}
		name := t.String()
		for _, field := range names { // as encoding/json compares
			if name != field && looksLike(name, field) {
				return malformed(fmt.Errorf("a member that is %q in another spelling", field))
			}
		}
		switch kind := d.PeekKind(); {
		case !slices.Contains(names, name):
			err = d.SkipValue()
		case kind == '"':
			if t, err = d.ReadToken(); err == nil {
				values[name] = t.String()
			}
		case kind == 'n': // null is what a client writes that has nothing
			err = d.SkipValue()
		default:
			wrong[name], err = "wrong type", d.SkipValue()
		}
		if err != nil {
			return syntax()
		}
	}
	if _, err := d.ReadToken(); err != nil { // the closing brace, or what is wrong
		return syntax()
	}
	if _, err := d.ReadToken(); !errors.Is(err, io.EOF) {
		return malformed(errors.New("more than one value"))
	}
	return values, wrong, nil
}

// invalidFields says of each field of a body that is not as it should be what is wrong with it. It holds no value.
type invalidFields map[string]string

func (e invalidFields) Error() string {
	return fmt.Sprintf("%s: %v", auth.ValidationFailed, map[string]string(e))
}
func (e invalidFields) Unwrap() error             { return auth.ValidationFailed }
func (e invalidFields) Fields() map[string]string { return e }

// looksLike says whether some reader takes two names for one another: in encoding/json letter case does not count, in its
// successor "_" and "-" may not either. It stops at the first difference, however long a stranger's name is.
func looksLike(a, b string) bool {
	for {
		var one, other rune
		one, a = nextOfName(a)
		other, b = nextOfName(b)
		if one != other {
			return false
		}
		if one < 0 {
			return true
		}
	}
}

// nextOfName takes the next rune off a name, -1 at its end.
func nextOfName(name string) (r rune, rest string) {
	for name != "" {
		r, size := utf8.DecodeRuneInString(name)
		if name = name[size:]; r != '_' && r != '-' {
			return foldRune(r), name
		}
	}
	return -1, ""
}

// canonicalAccount is one form of all spellings of an account: NFKC, case folded, trimmed, and without marks
// and what is invisible. It merges more than most user tables do, because what it merges too much is only
// limited together, and what it merged too little would be as many limits for one account.
func canonicalAccount(account string) string {
	s := strings.Map(func(r rune) rune {
		if unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf, unicode.Cc, unicode.Other_Default_Ignorable_Code_Point) {
			return -1
		}
		return foldRune(r)
	}, norm.NFKD.String(account))
	// What NFKD leaves of full case folding that one rune for another cannot say (Unicode CaseFolding.txt).
	s = strings.ReplaceAll(s, "ß", "SS")
	return strings.TrimSpace(norm.NFKC.String(s))
}

// foldRune returns one rune for all that differ in letter case only: the least.
func foldRune(r rune) rune {
	least := r
	for next := unicode.SimpleFold(r); next != r; next = unicode.SimpleFold(next) {
		least = min(least, next)
	}
	return least
}
