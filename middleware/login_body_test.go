package middleware_test

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/middleware"
	"github.com/doorward/doorward/ratelimit"
)

const (
	jsonType = "application/json"
	formType = "application/x-www-form-urlencoded"
)

// post makes a login.
func post(contentType, body string) *http.Request {
	r := httptest.NewRequest("POST", "/login", strings.NewReader(body))
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	return r
}

// recorder is a Limiter that allows everything and keeps the keys that it is asked for.
type recorder struct{ keys []string }

func (k *recorder) limiter() ratelimit.Limiter {
	return limiterFunc(func(costs []ratelimit.Cost) (ratelimit.Decision, error) {
		for _, c := range costs {
			k.keys = append(k.keys, c.Key)
		}
		return ratelimit.Decision{OK: true}, nil
	})
}

// countedAs returns the budget of the account that a request is counted on: the shared one of its form.
func countedAs(r *http.Request) (key string, code auth.Code, body string) {
	var k recorder
	h := middleware.RateLimitLogin(middleware.LoginLimit{Limiter: k.limiter(), Issuer: own})(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			b = []byte(err.Error())
		}
		body = string(b)
	}))
	w := serve(h, r)
	if w.Code != http.StatusOK {
		var p struct{ Code auth.Code }
		_ = json.Unmarshal(w.Body.Bytes(), &p)
		return "", p.Code, ""
	}
	i := slices.IndexFunc(k.keys, func(key string) bool {
		return strings.HasPrefix(key, "login:account:")
	})
	return k.keys[i], "", body
}

// PROTOCOLS 11: the limit and the handler must not read different accounts.
func TestLoginBodyRefused(t *testing.T) {
	for _, c := range []struct {
		name, contentType, body string
		code                    auth.Code
	}{
		{"twice", jsonType, `{"account":"ann","account":"bob"}`, auth.RequestMalformed},
		{"twice, one escaped", jsonType, `{"account":"ann","\u0061ccount":"bob"}`, auth.RequestMalformed},
		{"two letter cases", jsonType, `{"account":"ann","Account":"bob"}`, auth.RequestMalformed},
		{"another letter case alone", jsonType, `{"ACCOUNT":"bob"}`, auth.RequestMalformed},
		{"underscore", jsonType, `{"acc_ount":"bob"}`, auth.RequestMalformed},
		{"dash", jsonType, `{"account":"ann","acc-ount":"bob"}`, auth.RequestMalformed},
		{"another name twice", jsonType, `{"account":"ann","x":1,"x":2}`, auth.RequestMalformed},
		{"twice within", jsonType, `{"account":"ann","x":{"y":1,"y":2}}`, auth.RequestMalformed},
		{"U-40 number", jsonType, `{"account":7}`, auth.ValidationFailed},
		{"U-40 null", jsonType, `{"account":null}`, auth.ValidationFailed},
		{"U-40 list", jsonType, `{"account":["ann"]}`, auth.ValidationFailed},
		{"JSON without", jsonType, `{"password":"x"}`, auth.ValidationFailed},
		{"JSON, empty", jsonType, `{"account":""}`, auth.ValidationFailed},
		{"JSON, blank", jsonType, `{"account":"\u200b "}`, auth.ValidationFailed},
		{"form without", formType, "", auth.ValidationFailed},
		{"form, empty", formType, "account=", auth.ValidationFailed},
		{"nothing at all", "", "", auth.ValidationFailed},
		{"array", jsonType, `["ann"]`, auth.RequestMalformed},
		{"text", jsonType, `"ann"`, auth.RequestMalformed},
		{"nothing", jsonType, ``, auth.RequestMalformed},
		{"cut", jsonType, `{"account":"ann"`, auth.RequestMalformed},
		{"cut in a value", jsonType, `{"account":"ann","x":[`, auth.RequestMalformed},
		{"comma", jsonType, `{"account":"ann",}`, auth.RequestMalformed},
		{"two objects", jsonType, `{"account":"ann"}{"account":"bob"}`, auth.RequestMalformed},
		{"comment", jsonType, `{"account":"ann"/**/}`, auth.RequestMalformed},
		{"byte order mark", jsonType, "\ufeff" + `{"account":"ann"}`, auth.RequestMalformed},
		{"ATK-L11 invalid UTF-8", jsonType, "{\"account\":\"ann\xff\"}", auth.RequestMalformed},
		{"half a surrogate pair", jsonType, `{"account":"ann\ud800"}`, auth.RequestMalformed},
		{"ATK-L09 deep", jsonType, `{"x":` + strings.Repeat("[", 30_000) + strings.Repeat("]", 30_000) + `}`, auth.RequestMalformed},
		{"form, twice", formType, "account=ann&account=bob", auth.RequestMalformed},
		{"form, two letter cases", formType, "account=ann&Account=bob", auth.RequestMalformed},
		{"form, semicolon", formType, "account=ann;account=bob", auth.RequestMalformed},
		{"form, bad escape", formType, "account=%zz", auth.RequestMalformed},
		{"plain text", "text/plain", `{"account":"ann"}`, auth.MediaType},
		{"multipart", `multipart/form-data; boundary="x"`, "--x\r\nContent-Disposition: form-data; name=\"account\"\r\n\r\nann\r\n--x--\r\n", auth.MediaType},
		{"no type", "", `{"account":"ann"}`, auth.MediaType},
		{"JSON in UTF-16", "application/json; charset=utf-16", `{}`, auth.MediaType},
		{"another JSON", "application/ld+json", `{"account":"ann"}`, auth.MediaType},
		{"ATK-L09 too large", jsonType, `{"account":"` + strings.Repeat("a", 64<<10) + `"}`, auth.TooLarge},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, code, _ := countedAs(post(c.contentType, c.body)); code != c.code {
				t.Errorf("got %q, want %q", code, c.code)
			}
		})
	}
	for name, change := range map[string]func(*http.Request){
		"two types":              func(r *http.Request) { r.Header.Add("Content-Type", formType) },
		"compressed":             func(r *http.Request) { r.Header.Set("Content-Encoding", "gzip") },
		"in the query":           func(r *http.Request) { r.URL.RawQuery = "account=bob" },
		"in the query, its case": func(r *http.Request) { r.URL.RawQuery = "x=1&ACCOUNT=bob" },
		"said to be too large":   func(r *http.Request) { r.ContentLength = 64<<10 + 1 },
		"too large, unsaid": func(r *http.Request) {
			r.ContentLength, r.Body = -1, io.NopCloser(strings.NewReader(`{"account":"`+strings.Repeat("a", 64<<10)+`"}`))
		},
		"broken off": func(r *http.Request) {
			r.Body = io.NopCloser(io.MultiReader(r.Body, errReader{}))
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := post(jsonType, `{"account":"ann"}`)
			change(r)
			if _, code, _ := countedAs(r); code != auth.MediaType && code != auth.RequestMalformed && code != auth.TooLarge {
				t.Errorf("got %q", code)
			}
		})
	}
}

type errReader struct{}

func (errReader) Read([]byte) (int, error) { return 0, errors.New("the client has gone") }

func TestLoginBodyCounted(t *testing.T) {
	const prefix = "login:account:23:" + own
	const ann = prefix + "ANN"
	for _, c := range []struct{ name, contentType, body, key string }{
		{"JSON", jsonType, `{"account":"ann","password":"x"}`, ann},
		{"JSON, charset", jsonType + "; charset=UTF-8", ` { "password" : [1,{}] , "account" : "\u0061nn" } `, ann},
		{"form", formType, "password=x&account=ann", ann},
		{"form, charset", formType + ";charset=utf-8", "account=%61nn", ann},
		{"letter case", jsonType, `{"account":"AnN"}`, ann},
		{"space", jsonType, `{"account":"\t ann\u00a0\n"}`, ann},
		{"wide letters", jsonType, `{"account":"ａｎｎ"}`, ann},
		{"zero-width", jsonType, `{"account":"a\u200bn\u00adn\ufe0f"}`, ann},
		{"accents, composed", jsonType, `{"account":"ánn"}`, ann},
		{"accents, in parts", jsonType, `{"account":"a\u0301nn"}`, ann},
		{"Kelvin", jsonType, `{"account":"\u212aim"}`, prefix + "KIM"},
		{"sharp s", jsonType, `{"account":"straße"}`, prefix + "STRASSE"},
		{"sharp S", jsonType, `{"account":"STRAẞE"}`, prefix + "STRASSE"},
		{"final sigma", jsonType, `{"account":"ος"}`, prefix + "ΟΣ"},
	} {
		t.Run(c.name, func(t *testing.T) {
			key, code, body := countedAs(post(c.contentType, c.body))
			if key != c.key || code != "" {
				t.Errorf("got %q %q, want %q", key, code, c.key)
			}
			if body != c.body {
				t.Errorf("the handler read %q", body)
			}
		})
	}
	t.Run("a form that somebody outside has parsed", func(t *testing.T) {
		r := post(formType, "account=ann")
		if err := r.ParseForm(); err != nil {
			t.Fatal(err)
		}
		if key, code, _ := countedAs(r); key != ann {
			t.Errorf("got %q %q", key, code)
		}
	})
}

// The function may read the body or not; the handler gets it all the same.
func TestLoginAccountFunction(t *testing.T) {
	var k recorder
	h := middleware.RateLimitLogin(middleware.LoginLimit{
		Limiter: k.limiter(),
		Issuer:  "acme",
		Account: func(r *http.Request) (string, error) {
			if r.FormValue("account") == "" {
				return "", auth.ValidationFailed
			}
			return r.FormValue("account"), nil
		},
	})(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.FormValue("account")) }))
	r := post(formType, "account=Ann")
	if w := serve(h, r); w.Code != http.StatusOK || w.Body.String() != "Ann" || k.keys[0] != "login:account:4:acmeAnn" {
		t.Errorf("got %d %s, keys %q", w.Code, w.Body, k.keys)
	}
	want(t, serve(h, post(formType, "")), auth.ValidationFailed)
	want(t, serve(h, post("text/plain", strings.Repeat("a", 64<<10+1))), auth.TooLarge)
}

// FuzzLoginBody holds the limit to what handlers read: encoding/json without regard to letter case, and
// http.Request.FormValue with the query. What passes is counted as the account that they will try.
func FuzzLoginBody(f *testing.F) {
	for _, body := range []string{
		``, `{}`, `null`, `{"account":"ann"}`, `{"account":"ann","account":"bob"}`, `{"account":"ann","ACCOUNT":"bob"}`,
		`{"account":"ann","\u0061ccount":"bob"}`, `{"Account":"ann"}`, `{"account":null}`, `{"x":{"account":"ann"}}`, `{"account":"a"}{}`,
		`{"account":"K\u0130\u00df"}`, "{\"account\":\"\xff\"}", `[{"account":"ann"}]`, `{"account":"ann"} x`, `{"accouNt":1,"account":"ann"}`,
	} {
		f.Add(true, body, "")
	}
	for _, body := range []string{
		"account=ann", "account=ann&account=bob", "account=ann;account=bob", "Account=ann", "%61ccount=ann", "account=%zz", "account", "account=a+b%00",
	} {
		f.Add(false, body, "")
		f.Add(true, `{}`, body)
		f.Add(false, "", body)
	}
	f.Fuzz(func(t *testing.T, isJSON bool, body, query string) {
		contentType := formType
		if isJSON {
			contentType = jsonType
		}
		r := post(contentType, body)
		r.URL.RawQuery = query
		key, code, read := countedAs(r)
		if code != "" {
			return
		}
		if read != body {
			t.Fatalf("the handler read %q of %q", read, body)
		}
		r = post(contentType, body)
		r.URL.RawQuery = query
		account := r.FormValue("account")
		if isJSON {
			if account != "" {
				t.Fatalf("the query has %q", account)
			}
			var in struct{ Account string }
			if err := json.NewDecoder(strings.NewReader(body)).Decode(&in); err != nil {
				t.Fatalf("%q passed: %v", body, err)
			}
			account = in.Account
		}
		if again, _, _ := countedAs(post(formType, url.Values{"account": {account}}.Encode())); again != key {
			t.Fatalf("counted as %q, tried as %q: %q", key, account, again)
		}
		for _, same := range []string{strings.ToUpper(account), strings.ToLower(account), " " + account + "\u200b"} {
			if strings.EqualFold(strings.TrimSpace(strings.Trim(same, "\u200b")), strings.TrimSpace(account)) {
				if again, _, _ := countedAs(post(formType, url.Values{"account": {same}}.Encode())); again != key {
					t.Fatalf("%q is counted as %q, %q as %q", account, key, same, again)
				}
			}
		}
	})
}
