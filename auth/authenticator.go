package auth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// An Authenticator proves who sends a request.
//
// It returns an error with the code [CredentialsMissing] when the request carries nothing of its kind,
// so that a guard may ask the next one. Any other error ends the request: what is there and does not
// hold is refused, not skipped. It must not read the body. The principal it returns is the caller's own.
type Authenticator interface {
	Authenticate(r *http.Request) (*Principal, error)
}

// A Verifier proves a credential by its text alone, such as *tokens.Tokens.
//
// The text comes from the client and may be anything. The principal it returns is the caller's own
// to keep and to change. Its errors carry a [Code].
type Verifier interface {
	Verify(ctx context.Context, credential string) (*Principal, error)
}

// Bearer reads the credential from the Authorization header (RFC 6750 section 2.1). The scheme is
// matched in any letter case. No header, or another scheme, is [CredentialsMissing]; two headers,
// or a credential that is not a b64token, are [RequestMalformed].
//
// Refusals challenge for Bearer.
func Bearer(v Verifier) Authenticator {
	return header{"Authorization", true, v, bearerChallenge}
}

// Header reads the credential from a header of this name, the whole value, for example X-API-Key.
// An absent header is [CredentialsMissing]; one that is there twice, or empty, is [RequestMalformed].
// Refusals challenge for ApiKey and name the header.
func Header(name string, v Verifier) Authenticator {
	name = http.CanonicalHeaderKey(name)
	return header{name, false, v, headerChallenge(name)}
}

type header struct {
	name   string
	bearer bool
	verify Verifier
	asks   string
}

func (a header) Challenge() string { return a.asks }

func (a header) Authenticate(r *http.Request) (*Principal, error) {
	p, err := a.authenticate(r)
	if err != nil && err != error(CredentialsMissing) { // bare, so that asking the next authenticator costs nothing
		return nil, AccessToken.Refuse(err, a.asks)
	}
	if p != nil {
		if p.shown = byHeader; a.bearer {
			p.shown = byBearer
		}
	}
	return p, err
}

func (a header) authenticate(r *http.Request) (*Principal, error) {
	values := r.Header[a.name]
	if len(values) == 0 {
		return nil, CredentialsMissing
	}
	if len(values) > 1 {
		return nil, fmt.Errorf("%w: %d %s headers", RequestMalformed, len(values), a.name)
	}
	credential := values[0]
	if a.bearer {
		scheme := credential[:tokenLen(credential)]
		if !strings.EqualFold(scheme, "Bearer") {
			return nil, CredentialsMissing
		}
		// "Bearer<tab>token" and "Bearer,token" are no other scheme: a proxy that splits elsewhere than at
		// the one space sees a credential where we would see none.
		var ok bool
		if credential, ok = strings.CutPrefix(credential[len(scheme):], " "); !ok {
			return nil, fmt.Errorf("%w: no space behind the scheme Bearer", RequestMalformed)
		}
	}
	if credential == "" {
		return nil, fmt.Errorf("%w: an empty credential in %s", RequestMalformed, a.name)
	}
	p, err := verify(r.Context(), a.verify, credential)
	// Only what does not verify is looked at byte by byte, so that a good token pays nothing for it.
	if err != nil && !isB64Token(credential) {
		return nil, fmt.Errorf("%w: the credential in %s is not a b64token: %w", RequestMalformed, a.name, err)
	}
	return p, err
}

// Cookie reads the credential by read, such as the method value jar.Access of a cookies.Jar. An empty text, or an
// error with the code [CredentialsMissing], means that there is none. Refusals speak of a [SessionCookie] and
// challenge for Cookie. The principal is Ambient: the browser sends cookies with every request, also with one that
// another site has caused.
func Cookie(read func(*http.Request) (string, error), v Verifier) Authenticator {
	return cookie{read, v}
}

type cookie struct {
	read   func(*http.Request) (string, error)
	verify Verifier
}

func (a cookie) Challenge() string { return cookieChallenge }

func (a cookie) Authenticate(r *http.Request) (*Principal, error) {
	if a.read == nil {
		return nil, errors.New("auth: Cookie was given a nil read function")
	}
	credential, err := a.read(r)
	if err == error(CredentialsMissing) || err == nil && credential == "" {
		return nil, CredentialsMissing
	}
	var p *Principal
	if err == nil {
		p, err = verify(r.Context(), a.verify, credential)
	}
	if err != nil {
		return nil, SessionCookie.Refuse(err, cookieChallenge)
	}
	p.Ambient, p.shown = true, byCookie
	return p, nil
}

// verify asks v, and turns what a broken verifier could return into an error that lets nobody in.
func verify(ctx context.Context, v Verifier, credential string) (*Principal, error) {
	if v == nil {
		return nil, errors.New("auth: an Authenticator was given a nil Verifier")
	}
	p, err := v.Verify(ctx, credential)
	if err != nil {
		// A credential is there, so "missing" would be untrue, and a guard would ask the next authenticator.
		if CodeOf(err) == CredentialsMissing {
			return nil, fmt.Errorf("%w: the verifier called a credential missing", TokenInvalid)
		}
		return nil, err
	}
	if p == nil || p.Subject == "" {
		return nil, errors.New("auth: a Verifier returned neither an error nor a principal with a subject")
	}
	if err := CheckBinding(ctx, p); err != nil {
		return nil, err
	}
	return p, nil
}

// tokenLen is the length of the token (RFC 9110 section 5.6.2) that s begins with.
func tokenLen(s string) int {
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0:
		default:
			return i
		}
	}
	return len(s)
}

// isB64Token says whether s is 1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"=" (RFC 6750 section 2.1).
func isB64Token(s string) bool {
	s = strings.TrimRight(s, "=")
	for i := range len(s) {
		c := s[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case strings.IndexByte("-._~+/", c) >= 0:
		default:
			return false
		}
	}
	return s != ""
}
