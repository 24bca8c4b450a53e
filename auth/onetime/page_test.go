package onetime_test

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/auth/onetime"
	"github.com/doorward/doorward/middleware"
	"github.com/doorward/doorward/tokens"
)

// resetPage is the page of an application that resets passwords.
func resetPage(w *world) http.Handler {
	w.Helper()
	page, err := w.reset.Page(onetime.Page[mailed]{
		Title: "Set a new password", Text: "It ends <all> sessions.", Button: "Set it",
		Fields: `<p><label>New password <input type="password" name="password"></label></p>`,
		Form: func(r *http.Request, t onetime.Token[mailed]) (func(http.ResponseWriter) error, error) {
			password := r.PostForm.Get("password")
			if len(password) < 15 {
				return nil, fmt.Errorf("%w: too short", auth.ValidationFailed)
			}
			return func(rw http.ResponseWriter) error {
				if password == "the table is down" {
					return errors.New("sql: connection refused")
				}
				w.set(t.Subject, func(u *user) { u.hash = "hash of " + password })
				http.Redirect(rw, r, "/login", http.StatusSeeOther)
				return nil
			}, nil
		},
	})
	ok(w, err)
	return page
}

// send makes a request with headers "Name: value". A form comes as browsers send it from the page itself.
func send(h http.Handler, method, target, form string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, strings.NewReader(form))
	if method == "POST" {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Origin", "null") // the page's policy is no-referrer
		r.Header.Set("Sec-Fetch-Site", "same-origin")
	}
	for _, header := range headers {
		name, value, _ := strings.Cut(header, ": ")
		if r.Header.Set(name, value); value == "" {
			r.Header.Del(name)
		}
		if name == "Host" {
			r.Host = value
		}
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func form(raw, password string) string {
	return url.Values{"token": {raw}, "password": {password}}.Encode()
}

const good = "correct horse battery"

// STD-F11: whoever only opens links, such as a mail scanner, uses none up. The page is the same for all, so no cache, frame
// or Referer gives anything away, and its one script is the one that the policy allows.
func TestPage_STD_F11_GETChangesNothing(t *testing.T) {
	w := setup(t)
	page := resetPage(w)
	raw := link(w, w.reset, annsMail())
	first := send(page, "GET", "/reset", "")
	for _, target := range []string{"/reset", "/reset?token=" + raw, "/reset?token=" + raw + "&password=" + url.QueryEscape(good), "/reset?access_token=" + raw} {
		for _, method := range []string{"GET", "HEAD"} {
			rec := send(page, method, target, "")
			if rec.Code != 200 || method == "GET" && rec.Body.String() != first.Body.String() || method == "HEAD" && rec.Body.Len() > 0 {
				t.Errorf("%s %s: got %d, another page", method, target, rec.Code)
			}
			for name, want := range map[string]string{
				"Cache-Control": "no-store", "Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff",
				"Content-Type": "text/html; charset=utf-8", "Content-Length": fmt.Sprint(first.Body.Len()),
			} {
				if got := rec.Header().Get(name); got != want {
					t.Errorf("%s: %s: got %q, expected %q", method, name, got, want)
				}
			}
		}
	}
	for _, method := range []string{"PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "QUERY"} {
		if rec := send(page, method, "/reset", form(raw, good)); rec.Code != 404 {
			t.Errorf("%s: got %d", method, rec.Code)
		}
	}
	_, err := w.reset.Check(ctx, raw)
	ok(t, err)

	body, policy := first.Body.String(), first.Header().Get("Content-Security-Policy")
	script := regexp.MustCompile(`(?s)<script>(.*)</script>`).FindStringSubmatch(body)
	if script == nil || strings.Count(body, "<script") != 1 {
		t.Fatalf("no script, or more: %s", body)
	}
	sum := sha256.Sum256([]byte(script[1]))
	want := "default-src 'none'; script-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
	if policy != want {
		t.Errorf("got  %s\nwant %s", policy, want)
	}
	for _, says := range []string{"It ends &lt;all&gt; sessions.", `<input type="password" name="password">`, `<form method="post">`, `<html lang="en">`} {
		if !strings.Contains(body, says) {
			t.Errorf("the page lacks %s:\n%s", says, body)
		}
	}
}

// The POST does what the link is for, once.
func TestPage_POSTRedeems(t *testing.T) {
	w := setup(t)
	page := resetPage(w)
	raw := link(w, w.reset, annsMail())
	if rec := send(page, "POST", "/reset", form(raw, "short")); rec.Code != 422 {
		t.Errorf("a short password: got %d", rec.Code)
	}
	// STD-A08: 303.
	if rec := send(page, "POST", "/reset", form(raw, good)); rec.Code != 303 || w.users["ann"].hash != "hash of "+good {
		t.Errorf("got %d %s, and %+v", rec.Code, rec.Body, w.users["ann"])
	}
	if rec := send(page, "POST", "/reset", form(raw, good+"!")); rec.Code != 401 || w.users["ann"].hash != "hash of "+good {
		t.Errorf("twice: got %d %s", rec.Code, rec.Body)
	}
	raw = link(w, w.reset, annsMail())
	if rec := send(page, "POST", "/reset", form(raw, "the table is down")); rec.Code != 500 {
		t.Errorf("got %d", rec.Code)
	}
	if rec := send(page, "POST", "/reset", form(raw, good)); rec.Code != 401 {
		t.Errorf("used up for nothing, and used again: got %d", rec.Code)
	}
}

// ATK-J23: another logged-in user, seen through the guard that stands in front.
func TestPage_ATK_J23_AnotherUser(t *testing.T) {
	w := setup(t)
	stamp, err := w.tokens.Stamp(ctx)
	ok(t, err)
	access := func(subject string) string {
		raw, _, err := w.tokens.Issue(stamp, &auth.Principal{Tenant: "acme", Subject: subject, Session: "s"})
		ok(t, err)
		return "Cookie: __Host-access=" + raw // which is what a browser sends with a form
	}
	read := func(r *http.Request) (string, error) {
		c, err := r.Cookie("__Host-access")
		if err != nil {
			return "", auth.CredentialsMissing
		}
		return c.Value, nil
	}
	page := middleware.OptionalAuth(auth.Cookie(read, w.tokens))(resetPage(w))
	raw := link(w, w.reset, annsMail())
	if rec := send(page, "POST", "/reset", form(raw, good), access("bob")); rec.Code != 401 || w.users["ann"].hash != "hash-1" {
		t.Errorf("bob: got %d", rec.Code)
	}
	if rec := send(page, "POST", "/reset", form(raw, good), access("ann")); rec.Code != 303 {
		t.Errorf("ann: got %d %s", rec.Code, rec.Body)
	}
}

// ATK-S06, ATK-C02: another site must not use a link of its own in its visitor's browser. ATK-C07: nor any other form.
// ATK-J25: the token is read from the form in the body alone.
func TestPage_Refuses(t *testing.T) {
	w := setup(t)
	page := resetPage(w)
	raw := link(w, w.reset, annsMail())
	fine := form(raw, good)
	for _, c := range []struct {
		name, target, body string
		code               auth.Code
		headers            []string
	}{
		{"cross-site", "/reset", fine, auth.CSRFFailed, []string{"Origin: https://evil.example", "Sec-Fetch-Site: cross-site"}},
		{"an old browser, cross-site", "/reset", fine, auth.CSRFFailed, []string{"Origin: https://evil.example", "Sec-Fetch-Site: "}},
		{"a sandboxed frame", "/reset", fine, auth.CSRFFailed, []string{"Sec-Fetch-Site: cross-site"}},
		{"a sibling", "/reset", fine, auth.CSRFFailed, []string{"Origin: https://blog.example.com", "Sec-Fetch-Site: same-site"}},
		{"http", "/reset", fine, auth.CSRFFailed, []string{"Origin: http://app.example.com", "Sec-Fetch-Site: cross-site"}},
		{"JSON", "/reset", `{"token":"` + raw + `"}`, auth.MediaType, []string{"Content-Type: application/json"}},
		{"multipart", "/reset", fine, auth.MediaType, []string{"Content-Type: multipart/form-data; boundary=x"}},
		{"text", "/reset", fine, auth.MediaType, []string{"Content-Type: text/plain"}},
		{"no type", "/reset", fine, auth.MediaType, []string{"Content-Type: "}},
		{"in the query", "/reset?token=" + raw, "password=" + url.QueryEscape(good), auth.ValidationFailed, nil},
		{"in the query and the form", "/reset?token=" + raw, "token=x&password=" + url.QueryEscape(good), auth.TokenInvalid, nil},
		{"twice", "/reset", fine + "&token=" + raw, auth.RequestMalformed, nil},
		{"none", "/reset", "password=" + url.QueryEscape(good), auth.ValidationFailed, nil},
		{"empty", "/reset", "token=&password=x", auth.ValidationFailed, nil},
		{"a broken escape", "/reset", fine + "&x=%zz", auth.RequestMalformed, nil},
		{"ATK-L09 1 MiB", "/reset", fine + "&x=" + strings.Repeat("x", 1<<20), auth.TooLarge, nil},
	} {
		rec := send(page, "POST", c.target, c.body, c.headers...)
		if rec.Code != c.code.Status() || !strings.Contains(rec.Body.String(), `"`+string(c.code)+`"`) {
			t.Errorf("%s: got %d %s, expected %s", c.name, rec.Code, rec.Body, c.code)
		}
		if w.users["ann"].hash != "hash-1" {
			t.Fatalf("%s: the password was changed", c.name)
		}
	}
	if rec := send(page, "POST", "/reset", fine, "Origin: https://app.example.com"); rec.Code != 303 {
		t.Errorf("got %d %s", rec.Code, rec.Body)
	}
}

// ATK-J24: whatever Host and X-Forwarded-Host say, it is in no link, no page and no redirect.
func TestATK_J24_Host(t *testing.T) {
	w := setup(t)
	var mail string
	mux := http.NewServeMux()
	mux.HandleFunc("POST /forgot", func(rw http.ResponseWriter, r *http.Request) {
		l, err := w.reset.Issue(r.Context(), r.PostFormValue("account"), annsMail(), 0)
		ok(t, err)
		mail = "Set a new password: " + l.URL.Reveal()
	})
	mux.Handle("/reset", resetPage(w))
	forged := []string{"Host: evil.example", "X-Forwarded-Host: evil.example", "X-Forwarded-Proto: http", "Forwarded: host=evil.example", "X-Original-Host: evil.example", "Referer: https://evil.example/"}
	if rec := send(mux, "POST", "http://evil.example/forgot", "account=ann", forged...); rec.Code != 200 {
		t.Fatalf("got %d", rec.Code)
	}
	if !strings.HasPrefix(mail, "Set a new password: "+base+"#token=ey") || strings.Contains(mail, "evil") {
		t.Errorf("got %q", mail)
	}
	_, raw, _ := strings.Cut(mail, "#token=")
	for method, body := range map[string]string{"GET": "", "POST": form(raw, good)} {
		rec := send(mux, method, "http://evil.example/reset", body, forged...)
		if text := rec.Body.String() + fmt.Sprint(rec.Header()); rec.Code >= 400 || strings.Contains(text, "evil") {
			t.Errorf("%s: got %d %s", method, rec.Code, text)
		}
	}
}

func TestPageNeeds(t *testing.T) {
	w := setup(t)
	done := func(*http.Request, onetime.Token[mailed]) (func(http.ResponseWriter) error, error) { return nil, nil }
	for _, p := range []onetime.Page[mailed]{{Button: "b", Form: done}, {Title: "t", Form: done}, {Title: "t", Button: "b"}} {
		if _, err := w.reset.Page(p); err == nil || !strings.Contains(err.Error(), "onetime: Page: got") {
			t.Errorf("got %v", err)
		}
	}
	k := kind(w, tokens.MagicLink)
	page, err := k.Page(onetime.Page[mailed]{Title: "t", Button: "b", Form: done, Lang: "de", Paste: "Was hinter token= steht"})
	ok(t, err)
	if body := send(page, "GET", "/", "").Body.String(); !strings.Contains(body, `lang="de"`) || !strings.Contains(body, "Was hinter token= steht") {
		t.Errorf("got %s", body)
	}
}

// FuzzPage sends any body to the page: no panic, and nothing but the one token in a form redeems.
func FuzzPage(f *testing.F) {
	for _, body := range []string{"", "token=x", "token=x&token=y", "token", "&&;", "%", "token=%00", "TOKEN=x", "token=\xff&password=x"} {
		f.Add("application/x-www-form-urlencoded", body)
		f.Add("application/json", body)
	}
	tok, err := tokens.New(tokens.Config{Keys: tokens.NewKeyring(tokens.FromSecret(secret)), Issuer: issuer, Audience: "app"})
	ok(f, err)
	k, err := onetime.New(onetime.Config[mailed]{Tokens: tok, Store: onetime.NewMemory(), Type: tokens.MagicLink, URL: base, State: new(world).state})
	ok(f, err)
	redeemed := 0
	page, err := k.Page(onetime.Page[mailed]{Title: "t", Button: "b", Form: func(*http.Request, onetime.Token[mailed]) (func(http.ResponseWriter) error, error) {
		redeemed++
		return nil, nil
	}})
	ok(f, err)
	f.Fuzz(func(t *testing.T, kind, body string) {
		rec := send(page, "POST", "/", body, "Content-Type: "+kind)
		if rec.Code < 400 || rec.Code > 499 || redeemed > 0 {
			t.Fatalf("got %d, redeemed %d", rec.Code, redeemed)
		}
	})
}

// ATK-J23: the state changes while Form looks at the form. The link is dead.
func TestPage_ATK_J23_WhileFormLooks(t *testing.T) {
	w := setup(t)
	redeemed := false
	page, err := w.reset.Page(onetime.Page[mailed]{
		Title: "Set a new password", Button: "Set it",
		Form: func(*http.Request, onetime.Token[mailed]) (func(http.ResponseWriter) error, error) {
			w.set("ann", func(u *user) { u.hash = "the owner's new one" })
			return func(http.ResponseWriter) error { redeemed = true; return nil }, nil
		},
	})
	ok(t, err)
	if rec := send(page, "POST", "/reset", form(link(w, w.reset, annsMail()), good)); rec.Code != 401 || redeemed {
		t.Errorf("got %d %s", rec.Code, rec.Body)
	}
}
