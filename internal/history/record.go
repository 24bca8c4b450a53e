//go:build unix

package history

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/doorward/doorward/auth"
)

// A Recorder writes one process's part of a history to a file of its own, from any goroutine. What it had not
// written when the process was killed is lost, and what is lost accuses nobody: a call without its end counts as not
// returned. That a call has begun is with the system before the call is made, so that what it causes is explained.
type Recorder struct {
	mu     sync.Mutex
	file   *os.File
	w      *bufio.Writer
	tokens map[Token]int
	calls  int
	err    error // the first; told by Close
}

// Create begins a file, which must not be there.
func Create(path string) (*Recorder, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	return &Recorder{file: f, w: bufio.NewWriterSize(f, 1<<16), tokens: map[Token]int{}}, nil
}

// Request is called before a token is shown to a node, and what it returns afterwards, with the answer's code.
func (r *Recorder) Request(node string, t Token) (done func(auth.Code)) {
	begin := now()
	return func(code auth.Code) {
		end := now()
		r.mu.Lock()
		defer r.mu.Unlock()
		n, known := r.tokens[t]
		if !known {
			n = len(r.tokens) + 1
			r.tokens[t] = n
			r.write(line{T: n, Token: &t})
		}
		r.write(line{T: n, Node: node, Begin: begin, End: end, Code: code})
	}
}

// Revocation is called before a node is asked to end something, and what it returns when the call has returned. Of
// a call whose answer was lost it is not called.
func (r *Recorder) Revocation(node string, what ...auth.Revocation) (done func(Outcome, string)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls++
	n := r.calls
	r.write(line{R: n, Node: node, What: what, Begin: now()})
	r.flush()
	return func(o Outcome, why string) {
		end := now()
		r.mu.Lock()
		defer r.mu.Unlock()
		r.write(line{R: n, End: end, Outcome: o, Why: why})
	}
}

// Close writes what is left, and returns the first error that there was.
func (r *Recorder) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.flush()
	r.failed(r.file.Close())
	return r.err
}

func (r *Recorder) write(l line) {
	text, err := json.Marshal(l)
	r.failed(err)
	_, err = r.w.Write(append(text, '\n'))
	r.failed(err)
}

func (r *Recorder) flush() { r.failed(r.w.Flush()) }

func (r *Recorder) failed(err error) {
	if r.err == nil {
		r.err = err
	}
}

// now is the machine's monotonic clock, which all its processes share. Wall time may be set back under them.
func now() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		panic(fmt.Sprint("history: no monotonic clock: ", err))
	}
	return time.Duration(t.Nano())
}
