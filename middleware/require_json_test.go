package middleware_test

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/middleware"
)

// STD-F08, ATK-C07: what a foreign form can send without asking is 415 before the handler.
func TestSTD_F08_RequireJSON(t *testing.T) {
	for name, c := range map[string]struct {
		types []string
		code  auth.Code
	}{
		"missing":                   {nil, auth.MediaType},
		"empty":                     {[]string{""}, auth.MediaType},
		"text":                      {[]string{"text/plain"}, auth.MediaType},
		"form":                      {[]string{"application/x-www-form-urlencoded"}, auth.MediaType},
		"multipart":                 {[]string{"multipart/form-data; boundary=x"}, auth.MediaType},
		"ATK-C07 unfinished":        {[]string{"application/json;x"}, auth.MediaType},
		"another parameter":         {[]string{"application/json; profile=x"}, auth.MediaType},
		"charset's value elsewhere": {[]string{"application/json; x=utf-8"}, auth.MediaType},
		"charset and another":       {[]string{"application/json; charset=utf-8; x=y"}, auth.MediaType},
		"charset twice":             {[]string{"application/json; charset=utf-8; charset=utf-16"}, auth.MediaType},
		"another charset":           {[]string{"application/json; charset=utf-16"}, auth.MediaType},
		"empty charset":             {[]string{"application/json; charset="}, auth.MediaType},
		"JSON as a parameter":       {[]string{"text/plain; application/json"}, auth.MediaType},
		"JSON as a parameter value": {[]string{"text/plain; x=application/json"}, auth.MediaType},
		"list":                      {[]string{"application/json, text/plain"}, auth.MediaType},
		"two headers":               {[]string{"application/json", "text/plain"}, auth.MediaType},
		"other JSON":                {[]string{"application/vnd.api+json"}, auth.MediaType},
		"JSON lines":                {[]string{"application/json-seq"}, auth.MediaType},
		"prefix":                    {[]string{"application/jsonx"}, auth.MediaType},
		"wildcard":                  {[]string{"application/*"}, auth.MediaType},
		"JSON":                      {[]string{"application/json"}, ""},
		"JSON in capitals":          {[]string{"Application/JSON"}, ""},
		"charset":                   {[]string{"application/json; charset=utf-8"}, ""},
		"charset in capitals":       {[]string{`application/json;CharSet="UTF-8"`}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			for _, method := range []string{"POST", "PUT", "PATCH", "DELETE", "TRACE", "QUERY"} {
				r := request(method, "/")
				r.Header["Content-Type"] = c.types
				r.Body, r.ContentLength = io.NopCloser(strings.NewReader("{}")), 2
				want(t, serve(middleware.RequireJSON(100)(whoami), r), c.code)
			}
		})
	}
	for _, method := range []string{"GET", "HEAD", "OPTIONS"} {
		want(t, serve(middleware.RequireJSON(100)(whoami), request(method, "/")), "")
	}
}

// ATK-L09: too long is 413, told before the body where it is known, and by the reader where it is not.
func TestRequireJSON_Limit(t *testing.T) {
	for name, c := range map[string]struct {
		method, body string
		length       int64
		code         auth.Code
		reads        bool
	}{
		"at the limit":           {"POST", `"34567890"`, 10, "", true},
		"length above":           {"POST", `"345678901"`, 11, auth.TooLarge, false},
		"length claimed above":   {"POST", `""`, 1 << 40, auth.TooLarge, false},
		"unknown length":         {"POST", `"34567890"`, -1, "", true},
		"unknown, above":         {"POST", `"345678901"`, -1, auth.TooLarge, true},
		"a GET with a body":      {"GET", `"345678901"`, -1, auth.TooLarge, true},
		"a GET of length above":  {"GET", `"345678901"`, 11, auth.TooLarge, false},
		"an unsafe without body": {"DELETE", "", 0, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			r := request(c.method, "/", "Content-Type: application/json")
			body := &counter{Reader: strings.NewReader(c.body)}
			if r.ContentLength = c.length; c.body != "" {
				r.Body = body
			}
			w := serve(middleware.RequireJSON(10)(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				var v any
				err := json.NewDecoder(r.Body).Decode(&v)
				if err != nil && c.body != "" {
					var tooLong *http.MaxBytesError
					if !errors.As(err, &tooLong) {
						t.Errorf("net/http's own error is hidden: %v", err)
					}
					middleware.WriteError(w, r, err)
				}
			})), r)
			want(t, w, c.code)
			if (body.reads > 0) != c.reads {
				t.Errorf("the body was read %d times", body.reads)
			}
		})
	}
	t.Run("no body at all", func(t *testing.T) {
		r := request("POST", "/", "Content-Type: application/json")
		r.Body = nil
		want(t, serve(middleware.RequireJSON(10)(whoami), r), "")
	})
}
