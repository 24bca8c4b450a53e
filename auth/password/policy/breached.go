package policy

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const (
	rangesURL     = "https://api.pwnedpasswords.com/range/"
	rangesTimeout = 2 * time.Second
	maxRange      = 512 << 10 // bytes; a range has some 80 KB
	prefixLen     = 5         // hexadecimal digits that are sent: one of a million ranges
)

// RangesConfig says which service [Ranges] asks. The zero value is Pwned Passwords of Have I Been Pwned.
type RangesConfig struct {
	// URL is what the five digits are put behind: https, or http to a loopback host. "" is
	// https://api.pwnedpasswords.com/range/.
	URL string

	// Client asks; nil: one without settings. It is copied, and follows no redirect. Its transport must heed the
	// request's context.
	Client *http.Client

	// Timeout is for the whole of one check; 0 means 2 s, at most 30 s.
	Timeout time.Duration
}

// Ranges is a [Source] that asks a service of breached passwords by the k-anonymity protocol: of the SHA-1
// hash of a password it sends the first 5 of 40 digits, and finds the rest among the hundreds that the
// answer lists. It asks for padding, so that the length of the answer tells an observer nothing.
//
// A password that has capital letters is looked up in small letters too: two requests.
type Ranges struct {
	base    *url.URL
	client  http.Client
	timeout time.Duration
}

// NewRanges checks c and returns a Ranges. It asks nobody yet.
func NewRanges(c RangesConfig) (*Ranges, error) {
	u, err := url.Parse(cmp.Or(c.URL, rangesURL))
	if err != nil {
		return nil, errors.New("policy: RangesConfig.URL: got something else than a URL") // the error would quote it
	}
	if u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Hostname() == "" ||
		u.Scheme != "https" && !(u.Scheme == "http" && isLoopback(u.Hostname())) {
		return nil, fmt.Errorf("policy: RangesConfig.URL: got %s://%s, expected https, or http to a loopback host, without user, query or fragment", u.Scheme, u.Host)
	}
	timeout := cmp.Or(c.Timeout, rangesTimeout)
	if timeout < 0 || timeout > 30*time.Second {
		return nil, fmt.Errorf("policy: RangesConfig.Timeout: got %v, expected 0 (%v) to 30 s", timeout, rangesTimeout)
	}
	r := &Ranges{base: u, timeout: timeout}
	if c.Client != nil {
		r.client = *c.Client
	}
	// Whoever can redirect could learn the digits, and answer in the service's place.
	r.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	r.client.Jar = nil
	return r, nil
}

func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.IsLoopback()
}

// Breached implements [Source]. Its errors name the service's host and nothing of the password.
func (r *Ranges) Breached(ctx context.Context, password string) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	known, err := r.lookUp(ctx, password)
	if small := strings.ToLower(password); err == nil && !known && small != password {
		known, err = r.lookUp(ctx, small)
	}
	if err != nil {
		return false, fmt.Errorf("policy: %s: %w", r.base.Host, err)
	}
	return known, nil
}

func (r *Ranges) lookUp(ctx context.Context, password string) (bool, error) {
	sum := sha1.Sum([]byte(password)) // the protocol's; nothing of ours rests on it
	digits := strings.ToUpper(hex.EncodeToString(sum[:]))
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.base.JoinPath(digits[:prefixLen]).String(), nil)
	if err != nil {
		return false, errors.New("no request can be made of the URL")
	}
	req.Header.Set("Add-Padding", "true")
	req.Header.Set("Accept", "text/plain")
	req.Header.Set("User-Agent", "doorward")
	res, err := r.client.Do(req)
	if err != nil {
		// A *url.Error quotes the URL, and with it 20 bits of the hash, into somebody's log.
		if wrapped, ok := errors.AsType[*url.Error](err); ok {
			err = wrapped.Err
		}
		return false, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return false, fmt.Errorf("got status %d, expected 200", res.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, maxRange+1))
	if err != nil {
		return false, err
	}
	if len(body) > maxRange {
		return false, fmt.Errorf("got more than %d bytes", maxRange)
	}
	return find(body, digits[prefixLen:])
}

// find looks for the rest of a hash in an answer: lines of 35 digits, a colon and a count, which is 0 in lines that
// are padding. An answer that is anything else, such as a login page of the network's, is none.
func find(body []byte, rest string) (known bool, err error) {
	lines := 0
	for line := range bytes.Lines(body) {
		digits, count, ok := strings.Cut(strings.TrimRight(string(line), "\r\n"), ":")
		if _, err := hex.DecodeString(digits + "0"); err != nil || !ok || len(digits) != len(rest) {
			return false, errors.New("got something else than lines of a hash and a count")
		}
		n, err := strconv.ParseUint(count, 10, 64)
		if err != nil {
			return false, errors.New("got something else than lines of a hash and a count")
		}
		lines++
		known = known || n > 0 && strings.EqualFold(digits, rest)
	}
	if lines == 0 {
		return false, errors.New("got an empty list, which no range has")
	}
	return known, nil
}

// A List is a [Source] in memory, for those who may ask nobody: whole passwords, found in any letter case. It does not change.
type List struct{ set map[string]struct{} }

// ReadList reads one password from each line, such as of a published list of the most used ones. Empty lines are
// left out; a list of none is an error, and so is a line over 64 KiB.
func ReadList(from io.Reader) (*List, error) {
	l := &List{map[string]struct{}{}}
	lines := bufio.NewScanner(from)
	for lines.Scan() {
		if line := lines.Text(); line != "" {
			l.set[fold(line)] = struct{}{}
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("policy: ReadList: %w", err)
	}
	if len(l.set) == 0 {
		return nil, errors.New("policy: ReadList: got an empty list, expected a password in each line")
	}
	return l, nil
}

// Breached implements [Source]. It never fails.
func (l *List) Breached(_ context.Context, password string) (bool, error) {
	_, found := l.set[fold(password)]
	return found, nil
}
