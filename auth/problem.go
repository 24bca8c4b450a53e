package auth

import (
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// WriteProblem answers err as application/problem+json (RFC 9457). The body holds the code and its fixed text, never
// err's own words, which may name internals. A refusal of credentials carries WWW-Authenticate (RFC 9110 section
// 11.6.1, RFC 6750 section 3): one line for each challenge of [Credential.Refuse]. No cache keeps the answer and no
// frame shows it.
//
// An error in err's chain may add to the answer by one of these methods:
//
//	RetryAfter() time.Duration     // Retry-After, rounded up to whole seconds, at least 1
//	Fields() map[string]string     // a member "fields": what is wrong with each
//	ResponseHeader() http.Header   // headers added to the answer, for example Set-Cookie
//	Challenge() map[string]string  // parameters added to each challenge, for example max_age (RFC 9470 section 3)
func WriteProblem(w http.ResponseWriter, err error) {
	code := CodeOf(err)
	entry := codes[code]
	credential, challenges := innermost(err)
	if text := texts[credential][code]; text != "" {
		entry.text = text
	}
	h := w.Header()
	// What a handler had set for its own body must not describe ours (as http.Error does).
	for _, name := range []string{"Content-Length", "Content-Encoding", "Content-Range", "Etag", "Last-Modified"} {
		h.Del(name)
	}
	h.Set("Content-Type", "application/problem+json")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	h.Set("Referrer-Policy", "no-referrer")
	if entry.status == http.StatusUnauthorized || entry.bearer != "" {
		why := ""
		if entry.bearer != "" {
			why = `, error="` + entry.bearer + `", error_description="` + entry.text + `"`
		}
		var more interface{ Challenge() map[string]string }
		if errors.As(err, &more) {
			why += authParams(more.Challenge())
		}
		h.Del("WWW-Authenticate")
		for _, challenge := range challenges {
			h.Add("WWW-Authenticate", challenge+why)
		}
	}

	var body struct {
		Type   string            `json:"type"`
		Title  string            `json:"title"`
		Status int               `json:"status"`
		Detail string            `json:"detail"`
		Code   Code              `json:"code"`
		Fields map[string]string `json:"fields,omitempty"`
	}
	// RFC 9457 section 4.2.1: about:blank says that the status tells all; what is finer is in code.
	body.Type, body.Title, body.Status = "about:blank", http.StatusText(entry.status), entry.status
	body.Detail, body.Code = entry.text, code

	var wait interface{ RetryAfter() time.Duration }
	if errors.As(err, &wait) {
		seconds := max(1, int64((wait.RetryAfter()+time.Second-1)/time.Second))
		h.Set("Retry-After", strconv.FormatInt(seconds, 10))
	} else if entry.status == http.StatusServiceUnavailable {
		h.Set("Retry-After", "1")
	}
	var fields interface{ Fields() map[string]string }
	if errors.As(err, &fields) {
		body.Fields = fields.Fields()
	}
	var header interface{ ResponseHeader() http.Header }
	if errors.As(err, &header) {
		for name, values := range header.ResponseHeader() {
			h[name] = append(h[name], values...)
		}
	}
	text, _ := json.Marshal(body) // strings, an int and a map of strings: it cannot fail
	w.WriteHeader(entry.status)
	_, _ = w.Write(append(text, '\n')) // the client may be gone; there is nobody to tell
}

// authParams writes parameters as RFC 9110 section 11.2 does, in the order of their names. What cannot stand there is
// left out, so that no text of an application's makes a header of its own.
func authParams(params map[string]string) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(params)) {
		value := params[name]
		if name == "" || tokenLen(name) < len(name) || strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r > '~' || r == '"' || r == '\\' }) {
			continue
		}
		b.WriteString(", " + name + `="` + value + `"`)
	}
	return b.String()
}
