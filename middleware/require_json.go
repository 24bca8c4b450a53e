package middleware

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"

	"github.com/doorward/doorward/auth"
)

// RequireJSON lets an unsafe request on only when its Content-Type is application/json, at most with
// charset=utf-8; otherwise, also without any, the answer is 415 media_type. Forms of other sites can send
// text/plain, urlencoded and multipart bodies without asking first; this they cannot (OWASP ASVS 5.0
// V3.5.2). GET, HEAD and OPTIONS are safe.
//
// The body of any request is at most limit bytes: a Content-Length above it is answered with 413 too_large
// at once, and a body that turns out longer gives the reader an error with that code, which [WriteError]
// answers with 413. A limit of 0 or less makes every request 500.
func RequireJSON(limit int64) Middleware {
	if limit <= 0 {
		return broken(fmt.Sprintf("RequireJSON needs a limit above 0: got %d", limit))
	}
	return wrap(func(w http.ResponseWriter, r *http.Request) (*http.Request, error) {
		if err := checkJSON(r, limit); err != nil {
			return nil, err
		}
		if r.Body == nil || r.Body == http.NoBody {
			return r, nil
		}
		r = r.WithContext(r.Context()) // a copy: who is outside keeps the body as it was
		r.Body = limitedBody{http.MaxBytesReader(w, r.Body, limit)}
		return r, nil
	})
}

func checkJSON(r *http.Request, limit int64) error {
	if r.ContentLength > limit {
		return fmt.Errorf("%w: %d bytes, at most %d", auth.TooLarge, r.ContentLength, limit)
	}
	if isSafe(r.Method) {
		return nil
	}
	types := r.Header["Content-Type"]
	if len(types) != 1 {
		return fmt.Errorf("%w: %d Content-Type headers", auth.MediaType, len(types))
	}
	if !isMedia(types[0], "application/json") {
		return fmt.Errorf("%w: %q", auth.MediaType, types[0])
	}
	return nil
}

// isMedia says whether a Content-Type is the given one, in UTF-8: that is what JSON is (RFC 8259 section 8.1)
// and what forms are (URL standard section 5), so that a charset may say so and nothing else.
func isMedia(contentType, want string) bool {
	if contentType == want {
		return true
	}
	media, params, err := mime.ParseMediaType(contentType)
	if err != nil || media != want {
		return false
	}
	for name, value := range params {
		if name != "charset" || !strings.EqualFold(value, "utf-8") {
			return false
		}
	}
	return true
}

// limitedBody gives the error of a body that is too long its code.
type limitedBody struct{ io.ReadCloser }

func (b limitedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	var tooLong *http.MaxBytesError
	if errors.As(err, &tooLong) {
		err = fmt.Errorf("%w: %w", auth.TooLarge, err)
	}
	return n, err
}
