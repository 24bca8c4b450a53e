package tokens

import (
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/doorward/doorward/auth"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Issue makes an access token (or a service token, by Config.Type) that proves p, with p's Tenant, Subject,
// Session, Version, Roles, Competencies, Methods, AuthTime, ClientID, Binding and Claims. The other claims are its
// own: iss, aud, a random jti, iat and exp counted from the stamp, ep from the stamp. A ClientID of "" becomes
// the audience: a first-party application is its own client (RFC 9068 section 2.2 demands the claim). In a service
// token it becomes the subject, as there the client speaks for itself; a service has no session.
//
// p.Expires shortens the life. One beyond Config.Lifetime is an error, not cut: who asks for an hour and is given 15
// minutes should hear of it. A caller who means "no longer than either" takes the earlier of the two itself.
//
// The token is a secret; so is nothing else that is returned. Errors mean that p or the configuration
// cannot make a token: they are the caller's mistake and carry no code.
func (t *Tokens) Issue(stamp Stamp, p *auth.Principal) (raw string, expires time.Time, err error) {
	if t.c.AllowForeign {
		return "", expires, errors.New("tokens: Issue: Config.AllowForeign verifies another issuer's tokens and issues none")
	}
	if stamp.at.IsZero() || (t.c.List != nil && stamp.epoch == "") {
		return "", expires, errors.New("tokens: Issue: got a zero Stamp, expected one of Tokens.Stamp, taken before the subject was loaded")
	}
	if now := t.c.Now(); stamp.at.After(now.Add(skew)) {
		return "", expires, fmt.Errorf("tokens: Issue: got a stamp that lies %s ahead, at most %s", stamp.at.Sub(now), skew)
	}
	if p == nil || p.Subject == "" {
		return "", expires, errors.New("tokens: Issue: got no subject")
	}
	if p.Issuer != "" && p.Issuer != t.c.Issuer {
		return "", expires, fmt.Errorf("tokens: Issue: got a principal of issuer %.80q, expected %q", p.Issuer, t.c.Issuer)
	}
	if p.Version < 0 {
		return "", expires, fmt.Errorf("tokens: Issue: got version %d, expected 0 or more", p.Version)
	}
	if t.c.Type == Service && p.Session != "" {
		return "", expires, errors.New("tokens: Issue: got a session for a service token, expected none")
	}
	if method, value, _ := strings.Cut(p.Binding, ":"); p.Binding != "" && (method != byDevice || value == "" || len(p.Binding) > maxBinding) {
		return "", expires, fmt.Errorf("tokens: Issue: got the binding %.140q, expected %q, a colon and a value, at most %d bytes", p.Binding, byDevice, maxBinding)
	}
	w := t.wire(stamp.at, p.Subject, p.Tenant, t.c.Lifetime)
	w.Session, w.Version, w.Epoch, w.ClientID = p.Session, p.Version, stamp.epoch, p.ClientID
	w.Roles, w.Competencies, w.Methods, w.AuthTime = p.Roles, p.Competencies, p.Methods, seconds(p.AuthTime)
	w.Binding = confirmation(p.Binding)
	switch {
	case w.ClientID != "":
	case t.c.Type == Service:
		w.ClientID = p.Subject
	default:
		w.ClientID = t.c.Audience
	}
	if !p.Expires.IsZero() {
		if p.Expires.Unix() > w.Expires {
			return "", expires, fmt.Errorf("tokens: Issue: Principal.Expires: got %s after the stamp, expected at most Config.Lifetime, %s", p.Expires.Sub(stamp.at), t.c.Lifetime)
		}
		w.Expires = p.Expires.Unix()
	}
	if w.Rest, err = t.encodeClaims(p.Claims); err != nil {
		return "", expires, err
	}
	raw, err = t.sign(t.c.Type, useAccess, w)
	return raw, instant(w.Expires), err
}

func (t *Tokens) wire(at time.Time, subject, tenant string, life time.Duration) *wire {
	return &wire{
		Issuer: t.c.Issuer, Subject: subject, Tenant: tenant, Audience: audience{values: []string{t.c.Audience}},
		IssuedAt: at.Unix(), NotBefore: at.Unix(), Expires: at.Add(life).Unix(),
		TokenID: rand.Text(), // at least 128 bits (STD-T23); it panics rather than be weak
	}
}

func (t *Tokens) sign(typ, use string, w *wire) (string, error) {
	now := t.c.Now()
	if w.Expires <= max(now.Unix(), w.IssuedAt) {
		return "", fmt.Errorf("tokens: the token would expire at %s, before it is made: the stamp is too old or Expires has passed", instant(w.Expires).UTC().Format(time.RFC3339))
	}
	k, err := t.c.Keys.current()
	if err != nil {
		return "", err
	}
	if !k.validAt(now) {
		return "", fmt.Errorf("tokens: the signing key %q is outside the time it is valid in", k.id)
	}
	head, err := json.Marshal(header{Algorithm: k.alg, Type: typ, KeyID: k.id})
	if err != nil {
		return "", fmt.Errorf("tokens: header: %s", reason(err))
	}
	body, err := json.Marshal(w, jsontext.EscapeForHTML(false))
	if err != nil {
		return "", fmt.Errorf("tokens: the claims are no strict JSON (invalid UTF-8, or a name twice): %w", err)
	}
	if err := shallow(body); err != nil {
		return "", fmt.Errorf("tokens: the claims with the payload: %w", err)
	}
	buf := make([]byte, 0, b64.EncodedLen(len(head))+b64.EncodedLen(len(body))+256)
	buf = b64.AppendEncode(buf, head)
	buf = append(buf, '.')
	buf = b64.AppendEncode(buf, body)
	signature, err := k.sign(string(buf), use, t.c.Issuer)
	if err != nil {
		return "", fmt.Errorf("tokens: signing with key %q: %w", k.id, err)
	}
	buf = append(buf, '.')
	buf = b64.AppendEncode(buf, signature)
	if len(buf) > maxToken {
		return "", fmt.Errorf("tokens: the token has %d bytes, at most %d: keep roles and claims few, and look the rest up", len(buf), maxToken)
	}
	return string(buf), nil
}
