package middleware

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
)

// owed is what the header of an answer must carry, or the client would keep a refresh token that is used up.
type owed struct {
	cookies []string // Set-Cookie lines
	access  string   // for X-Access-Token; "" for none
}

// sharedCaches are the headers that some caches believe in place of Cache-Control (RFC 9213, nginx).
var sharedCaches = []string{"Expires", "Cdn-Cache-Control", "Surrogate-Control", "X-Accel-Expires"}

// put adds what h lacks. A cookie of the same name stays: a login behind us has set the newer one. It may be called
// again, as handlers replace headers: http.FileServer drops Cache-Control from a 404, http.TimeoutHandler
// overwrites Set-Cookie.
//
// A handler that sets such a cookie itself has changed who is logged in, or ended it. The access token of the session
// before that must not go to the page beside it: the page would act as one user, and be refreshed as another.
func (o *owed) put(h http.Header) {
	replaced := false
	for _, line := range o.cookies {
		name, _, _ := strings.Cut(line, "=")
		theirs, ours := false, false
		for _, s := range h["Set-Cookie"] {
			ours = ours || s == line
			theirs = theirs || !slices.Contains(o.cookies, s) && strings.HasPrefix(s, name+"=") // an expiry may be two lines of one name
		}
		if !theirs && !ours {
			h["Set-Cookie"] = append(h["Set-Cookie"], line)
		}
		replaced = replaced || theirs
	}
	switch {
	case o.access == "":
	case replaced:
		h[accessHeader] = slices.DeleteFunc(h[accessHeader], func(s string) bool { return s == o.access })
		if len(h[accessHeader]) == 0 {
			delete(h, accessHeader)
		}
	case len(h[accessHeader]) == 0:
		h[accessHeader] = []string{o.access}
	}
	h["Cache-Control"] = noStore
	for _, name := range sharedCaches {
		delete(h, name)
	}
}

// A headerWriter pays what is owed at the moment when the header goes out. It covers each way in which that can
// happen; what http.ResponseController does beyond them it finds by Unwrap.
type headerWriter struct {
	http.ResponseWriter
	owed *owed
	sent bool // the header is gone
}

func (w *headerWriter) seal() {
	if !w.sent {
		w.owed.put(w.ResponseWriter.Header())
	}
}

// Unwrap is for http.ResponseController.
func (w *headerWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// WriteHeader keeps cookies and tokens out of interim answers (1xx), which anything on the way may drop or log.
func (w *headerWriter) WriteHeader(status int) {
	if status < 200 && status != http.StatusSwitchingProtocols {
		h := w.Header()
		lines, access := h["Set-Cookie"], h[accessHeader]
		delete(h, "Set-Cookie")
		delete(h, accessHeader)
		w.ResponseWriter.WriteHeader(status)
		if lines != nil {
			h["Set-Cookie"] = lines
		}
		if access != nil {
			h[accessHeader] = access
		}
		return
	}
	w.seal()
	w.sent = true
	w.ResponseWriter.WriteHeader(status)
}

func (w *headerWriter) Write(b []byte) (int, error) {
	w.seal()
	w.sent = true
	return w.ResponseWriter.Write(b)
}

// ReadFrom keeps sendfile working. A source without a byte sends no header.
func (w *headerWriter) ReadFrom(src io.Reader) (n int64, err error) {
	w.seal()
	if to, ok := w.ResponseWriter.(io.ReaderFrom); ok {
		n, err = to.ReadFrom(src)
	} else {
		n, err = io.Copy(struct{ io.Writer }{w.ResponseWriter}, src)
	}
	w.sent = w.sent || n > 0
	return n, err
}

// Flush implements http.Flusher.
func (w *headerWriter) Flush() { _ = w.FlushError() }

// FlushError is what http.ResponseController calls.
func (w *headerWriter) FlushError() error {
	w.seal()
	err := http.NewResponseController(w.ResponseWriter).Flush()
	w.sent = w.sent || err == nil
	return err
}

// Hijack implements http.Hijacker. The handler writes its answer by itself then, so that what is owed goes behind
// the status line that it writes.
func (w *headerWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err != nil || w.sent {
		return conn, rw, err
	}
	w.sent = true
	h := http.Header{}
	w.owed.put(h)
	var lines bytes.Buffer
	_ = h.Write(&lines) // a buffer takes everything
	own := &hijacked{Conn: conn, owed: lines.Bytes()}
	return own, bufio.NewReadWriter(rw.Reader, bufio.NewWriter(own)), nil
}

// maxStatusLine bounds what is held back of an answer whose status line does not end.
const maxStatusLine = 1024

// hijacked is a connection whose next bytes are an HTTP/1 answer.
type hijacked struct {
	net.Conn
	owed []byte // header lines; nil when they are through
	head []byte // the status line as far as it has been written
}

func (c *hijacked) Write(b []byte) (int, error) {
	if c.owed == nil {
		return c.Conn.Write(b)
	}
	held := len(c.head)
	c.head = append(c.head, b...)
	end := bytes.IndexByte(c.head, '\n') + 1
	if end == 0 && len(c.head) < maxStatusLine {
		return len(b), nil
	}
	out := c.head
	if end > 0 && bytes.HasPrefix(out, []byte("HTTP/1.")) {
		out = slices.Concat(out[:end], c.owed, out[end:])
	}
	added := len(out) - len(c.head)
	c.owed, c.head = nil, nil
	n, err := c.Conn.Write(out)
	return min(max(n-held-added, 0), len(b)), err
}
