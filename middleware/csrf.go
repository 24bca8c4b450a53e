package middleware

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/internal/derive"
)

// csrfHeader carries the token in both directions. No form of another site can set it.
const csrfHeader = "X-Csrf-Token"

// Lengths of a token's parts in text: 128 random bits, and the whole of HMAC-SHA-256.
const (
	csrfRandomLen = 22
	csrfMACLen    = 43
	csrfKeyIDMax  = 64
)

// A KeySource gives keys derived from a secret for one purpose; *tokens.Keyring is one.
//
// id names the secret, "" the current one; usedID is the name of the one that was taken. An unknown or
// removed id is an error. The key has 32 bytes and is the same for the same id, salt and purpose in every
// process. It is called on every checked request.
//
// Derive of the kit's keyrings is for applications. Any other source, also one that embeds a keyring, is asked by its Derive
// for a purpose that begins with "doorward/".
type KeySource interface {
	Derive(id, salt, purpose string) (usedID string, key []byte, err error)
}

// A CSRF decides whether an unsafe request that was proven by a cookie comes from the application's own
// pages. Another site can make a browser send such a request, cookie included; it can neither forge the
// headers in which browsers tell where a request comes from, nor read the token of the session or owner. Build it
// with [NewCSRF]; it does not change afterwards and may be used by many requests at once.
type CSRF struct {
	keys      KeySource
	origins   origins
	tokenless bool
}

// NewCSRF takes the secret and the application's own public origin, such as "https://app.example.com", then
// further origins whose pages may cause unsafe requests here. The first one also binds the tokens: a secret
// that staging and production share makes different ones.
//
// An origin is scheme, host and port as browsers send them, nothing else: no path, slash, wildcard, user,
// upper case or default port. Only https, and http on loopback hosts. What differs is an error that says
// what was expected.
func NewCSRF(keys KeySource, origins ...string) (*CSRF, error) {
	if keys == nil {
		return nil, errors.New("middleware: NewCSRF needs a KeySource: got nil")
	}
	if len(origins) == 0 {
		return nil, errors.New("middleware: NewCSRF needs the own public origin, such as https://app.example.com: got none")
	}
	for _, o := range origins {
		if err := checkOrigin(o); err != nil {
			return nil, err
		}
	}
	c := &CSRF{keys: keys, origins: slices.Clone(origins)}
	if _, _, err := c.derive(""); err != nil {
		return nil, err
	}
	return c, nil
}

// AllowMissingToken returns a copy that is content with what the browser says in Sec-Fetch-Site or Origin:
// an unsafe request that one of them calls the application's own needs no token. A token that is shown
// and wrong is still refused, and so is a request without a token where neither header speaks. It is for
// applications whose pages cannot set a header; it rests on the browser alone.
func (c *CSRF) AllowMissingToken() *CSRF {
	if c == nil {
		return nil
	}
	loose := *c
	loose.tokenless = true
	return &loose
}

// Token makes a token of a principal for the X-CSRF-Token header, for example for the answer to a login. It is bound to
// the principal's Session, and to nothing else of the principal; without a Session it is bound to the owner, Issuer and
// Subject. Each call makes another one; all are good as long as the session, or the owner's account, and the key are:
// the token of an owner outlives a logout. A principal that has neither, and a secret that cannot be had, are errors.
func (c *CSRF) Token(p *auth.Principal) (string, error) {
	if !c.ready() {
		return "", errNoCSRF
	}
	bound, err := bindingOf(p)
	if err != nil {
		return "", err
	}
	id, key, err := c.derive("")
	if err != nil {
		return "", err
	}
	random := make([]byte, csrfRandomLen*6/8)
	_, _ = rand.Read(random) // crypto/rand never fails
	text := base64.RawURLEncoding.EncodeToString(random)
	return id + "." + text + "." + bound.mac(key, text), nil
}

// A binding is what a token is bound to. kind keeps a session from being taken for an owner of that name.
type binding struct{ kind, issuer, id string }

func bindingOf(p *auth.Principal) (binding, error) {
	switch {
	case p == nil || p.Session == "" && p.Subject == "":
		return binding{}, errors.New("middleware: a CSRF token is bound to a session or an owner: got a principal without Session and Subject")
	case p.Session != "":
		return binding{"session", "", p.Session}, nil
	}
	return binding{"owner", p.Issuer, p.Subject}, nil
}

func (b binding) mac(key []byte, text string) string {
	return textMAC(key, text, b.kind, b.issuer, b.id)
}

// Check decides on a request whose principal stands in its context:
//
//   - GET, HEAD and OPTIONS pass, except one with an Upgrade header: a WebSocket can do what a POST can, and
//     no same-origin policy holds for it. An upgrade to h2c alone is none of these: it asks for the same
//     answer over HTTP/2, and no browser sends it. TRACE, CONNECT (with which HTTP/2 and HTTP/3 open
//     WebSockets, RFC 8441 and 9220) and unknown methods are unsafe. What a body or a header says of another
//     method is not looked at.
//   - Without a principal it is credentials_missing. A principal that is not Ambient passes: a browser does
//     not send such a proof by itself.
//   - The origin part must hold (see [CSRF.CheckOrigin]).
//   - Exactly one X-CSRF-Token header must show a token of the principal's session, of its owner where it has
//     none. Only an upgrade may lack it, where the browser has named the origin, because scripts cannot set its headers.
//
// A refusal is csrf_failed. An Ambient principal without Session and Subject cannot have a token: that is a fault of
// the application, 500.
func (c *CSRF) Check(r *http.Request) error {
	if !c.ready() {
		return errNoCSRF
	}
	if isSafe(r.Method) && !isUpgrade(r) {
		return nil
	}
	p, ok := auth.FromContext(r.Context())
	if !ok {
		return auth.CredentialsMissing
	}
	if !p.Ambient {
		return nil
	}
	bound, err := bindingOf(p)
	if err != nil {
		return err
	}
	spoke, err := c.origins.check(r)
	if err != nil {
		return err
	}
	shown := r.Header[csrfHeader]
	switch {
	case len(shown) == 1:
		return c.checkToken(shown[0], bound)
	case len(shown) > 1:
		return fmt.Errorf("%w: %d X-CSRF-Token headers", auth.CSRFFailed, len(shown))
	case spoke && (c.tokenless || isSafe(r.Method)):
		return nil
	}
	return fmt.Errorf("%w: X-CSRF-Token: got none, expected the one that an answer to a GET behind RequireCSRF has shown", auth.CSRFFailed)
}

// CheckOrigin is the origin part of [CSRF.Check] alone, for unsafe requests that have no principal yet,
// above all a login: a foreign page must not log its visitor in to the attacker's account. It looks at
// every request alike, whatever its method or cookies.
//
// An Origin that is configured is enough. Any other one is refused, whatever Sec-Fetch-Site says, except null
// on a same-origin request. Without an Origin, Sec-Fetch-Site must be same-origin or none. Either header
// twice is refused. Neither is no refusal: no browser of today sends an unsafe request like that, so it
// comes from another program, which holds nobody else's cookies.
func (c *CSRF) CheckOrigin(r *http.Request) error {
	if !c.ready() {
		return errNoCSRF
	}
	_, err := c.origins.check(r)
	return err
}

// Format writes the origins alone under every verb: package fmt would print the secrets of a KeySource.
func (c CSRF) Format(s fmt.State, _ rune) { _, _ = fmt.Fprintf(s, "CSRF%q", []string(c.origins)) }

var errNoCSRF = errors.New("middleware: a CSRF that NewCSRF did not make")

func (c *CSRF) ready() bool { return c != nil && c.keys != nil && len(c.origins) > 0 }

// derive asks for the key of an id, "" for the current one.
func (c *CSRF) derive(id string) (usedID string, key []byte, err error) {
	return deriveKey(c.keys, id, c.origins[0], derive.CSRF)
}

// deriveKey asks for a key, and refuses one whose id cannot stand in a text of ours.
func deriveKey(keys KeySource, id, salt string, use derive.Use) (usedID string, key []byte, err error) {
	usedID, key, err = derive.Key(keys, id, salt, use)
	switch {
	case err != nil:
		return "", nil, fmt.Errorf("middleware: the %s key: %w", use, err)
	case !isKeyID(usedID):
		return "", nil, fmt.Errorf("middleware: the %s key: got id %q, which cannot stand in a token", use, usedID)
	}
	return usedID, key, nil
}

// checkToken verifies key-id.random.mac. The mac covers the random part as text and is compared as text, so
// that each token has one spelling.
func (c *CSRF) checkToken(token string, bound binding) error {
	id, text, mac, ok := splitToken(token)
	if !ok {
		return fmt.Errorf("%w: X-CSRF-Token has no form of ours", auth.CSRFFailed)
	}
	_, key, err := c.derive(id)
	if err != nil { // the id is the client's word, so that whatever is wrong with it is the client's fault
		return fmt.Errorf("%w: %v", auth.CSRFFailed, err)
	}
	if !hmac.Equal([]byte(mac), []byte(bound.mac(key, text))) {
		return fmt.Errorf("%w: X-CSRF-Token is not of this session or owner", auth.CSRFFailed)
	}
	return nil
}

// splitToken cuts from the right, because a key id may hold dots.
func splitToken(token string) (id, random, mac string, ok bool) {
	n := len(token) - csrfMACLen - 1
	m := n - csrfRandomLen - 1
	if m < 1 || m > csrfKeyIDMax || token[n] != '.' || token[m] != '.' {
		return "", "", "", false
	}
	id, random, mac = token[:m], token[m+1:n], token[n+1:]
	return id, random, mac, isKeyID(id)
}

// isKeyID keeps header values and log lines clean. An empty id would mean the current key, a second spelling.
func isKeyID(id string) bool {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-"
	return id != "" && len(id) <= csrfKeyIDMax && strings.Trim(id, alphabet) == ""
}

// textMAC binds the parts together.
func textMAC(key []byte, parts ...string) string {
	h := hmac.New(sha256.New, key)
	_, _ = h.Write(lengthened(parts)) // a hash takes everything
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}

// lengthened makes one text of several. The length before each part keeps the border between them.
func lengthened(parts []string) (text []byte) {
	for _, part := range parts {
		text = binary.BigEndian.AppendUint64(text, uint64(len(part)))
		text = append(text, part...)
	}
	return text
}

// isUpgrade says whether r asks for another protocol on its connection, such as a WebSocket (RFC 6455). What is
// unknown counts, for it may be a channel for commands; h2c (RFC 7540 section 3.2), which curl and Java ask for
// unbidden, is a GET in other frames.
func isUpgrade(r *http.Request) bool {
	for _, line := range r.Header["Upgrade"] {
		for protocol := range strings.SplitSeq(line, ",") {
			if !strings.EqualFold(strings.Trim(protocol, " \t"), "h2c") {
				return true
			}
		}
	}
	return false
}
