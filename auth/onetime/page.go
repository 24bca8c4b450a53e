package onetime

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"html/template"
	"mime"
	"net/http"
	"strconv"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/middleware"
)

// maxForm is the longest form, in bytes: a token, a password of 2048 bytes with every character escaped, and room.
const maxForm = 32 << 10

// A Page is a form that redeems a token. Title, Button and Form are demanded.
type Page[T any] struct {
	Lang          string // of the page, "en" when ""
	Title, Button string
	Text          string        // what will happen, in a sentence
	Paste         string        // label of the field for a browser without script; English when ""
	Fields        template.HTML // further fields of the form, such as for a new password, as HTML that is trusted

	// Form looks at the form, of which r.PostForm is parsed, while the token still works: it refuses a password that is too
	// short, and does all else that may fail or take time, such as hashing the password. Its error is the answer, and the user can
	// try again. Otherwise it returns what is to be done when the token is used up, which does it and answers. When that
	// returns an error, which is the answer then, the user needs another link. It writes only where the state is still what
	// the link was made for (UPDATE ... WHERE hash = ...): no lock stands between its last reading and that write.
	Form func(r *http.Request, t Token[T]) (done func(w http.ResponseWriter) error, err error)
}

// Page returns the handler of the page that links lead to: mount it at the path of Config.URL, for every method.
//
// GET and HEAD answer the same page to everybody, and change nothing: who opens links by himself, such as a mail
// scanner or a prefetch, uses no token up. The page's script takes the token out of the fragment into the form. Its
// POST, an HTML form of at most 32 KiB, redeems. It must come from the page's own origin, which is that of Config.URL, by
// Origin or Sec-Fetch-Site: another site must not log its visitor in to an account of its own with a link of its own.
//
// Put it behind middleware.OptionalAuth, or Config.Who never learns of a user who is logged in. Answers are not
// kept by any cache, not shown in any frame, and send no Referer on. Refusals are given by middleware.WriteError.
func (k *Kind[T]) Page(p Page[T]) (http.Handler, error) {
	if p.Title == "" || p.Button == "" || p.Form == nil {
		return nil, fmt.Errorf("onetime: Page: got the title %q, the button %q, Form %t, expected all three", p.Title, p.Button, p.Form != nil)
	}
	if p.Lang == "" {
		p.Lang = "en"
	}
	if p.Paste == "" {
		p.Paste = "What stands behind token= in the link"
	}
	var html bytes.Buffer
	err := pageTemplate.Execute(&html, struct {
		Lang, Title, Button, Text, Paste string
		Fields                           template.HTML
		Script                           template.JS
	}{p.Lang, p.Title, p.Button, p.Text, p.Paste, p.Fields, script})
	if err != nil {
		return nil, fmt.Errorf("onetime: Page: %w", err)
	}
	page := html.Bytes()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Cache-Control", "no-store")
		h.Set("Content-Security-Policy", policy)
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("X-Content-Type-Options", "nosniff")
		switch r.Method {
		case http.MethodGet, http.MethodHead:
			h.Set("Content-Type", "text/html; charset=utf-8")
			h.Set("Content-Length", strconv.Itoa(len(page)))
			if r.Method == http.MethodGet {
				_, _ = w.Write(page) // the client may be gone
			}
		case http.MethodPost:
			if err := k.post(w, r, p); err != nil {
				middleware.WriteError(w, r, err)
			}
		default:
			middleware.WriteError(w, r, auth.NotFound)
		}
	}), nil
}

func (k *Kind[T]) post(w http.ResponseWriter, r *http.Request, p Page[T]) error {
	if err := k.csrf.CheckOrigin(r); err != nil {
		return err
	}
	raw, err := formToken(w, r)
	if err != nil {
		return err
	}
	t, err := k.verify(r.Context(), raw)
	if err != nil {
		return err
	}
	done, err := p.Form(r, t)
	if err == nil && done == nil {
		err = errors.New("onetime: Page.Form returned neither an error nor what is to be done")
	}
	if err != nil {
		return err
	}
	// Judged anew: Form may have taken its time, and the state may have changed meanwhile.
	if _, err = k.Redeem(r.Context(), raw); err != nil {
		return err
	}
	return done(w)
}

// formToken reads the token from a form in the body, and from nowhere else: a query stands in logs and histories.
func formToken(w http.ResponseWriter, r *http.Request) (string, error) {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/x-www-form-urlencoded" {
		return "", fmt.Errorf("%w: onetime: expected an HTML form", auth.MediaType)
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		var long *http.MaxBytesError
		if errors.As(err, &long) {
			return "", fmt.Errorf("%w: onetime: a form of more than %d bytes", auth.TooLarge, maxForm)
		}
		return "", fmt.Errorf("%w: onetime: a form that cannot be unescaped or read", auth.RequestMalformed) // err quotes the token
	}
	shown := r.PostForm["token"]
	switch {
	case len(shown) > 1:
		return "", fmt.Errorf("%w: onetime: %d tokens in the form, expected one", auth.RequestMalformed, len(shown))
	case len(shown) == 0 || shown[0] == "":
		return "", noToken{}
	}
	return shown[0], nil
}

// noToken is a form whose field was left empty.
type noToken struct{}

func (noToken) Error() string {
	return string(auth.ValidationFailed) + ": onetime: no token in the form"
}
func (noToken) Unwrap() error             { return auth.ValidationFailed }
func (noToken) Fields() map[string]string { return map[string]string{"token": "required"} }

// script moves the token from the fragment into the form, and out of the address bar and the history.
const script = `
const token = new URLSearchParams(location.hash.slice(1)).get("token");
if (token) {
	document.getElementById("token").value = token;
	document.getElementById("paste").hidden = true;
	history.replaceState(null, "", location.pathname + location.search);
}
`

// policy lets this one script run, and the form go home.
var policy = func() string {
	sum := sha256.Sum256([]byte(script))
	return "default-src 'none'; script-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
}()

// The form has no action: it goes to where the page came from, whatever Host says.
var pageTemplate = template.Must(template.New("page").Parse(`<!doctype html>
<html lang="{{.Lang}}">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>{{.Title}}</title></head>
<body>
<h1>{{.Title}}</h1>
{{with .Text}}<p>{{.}}</p>
{{end}}<form method="post">
<p id="paste"><label>{{.Paste}} <input id="token" name="token" required autocomplete="off"></label></p>
{{.Fields}}
<p><button>{{.Button}}</button></p>
</form>
<script>{{.Script}}</script>
</body>
</html>
`))
