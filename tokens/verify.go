package tokens

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/doorward/doorward/auth"
)

// algorithms is every signature that a key can have. Anything else, "none" first of all, is refused
// before a key is looked up.
var algorithms = []string{"HS256", "HS384", "HS512", "EdDSA", "ES256", "ES384", "PS256", "RS256"}

// cached is a token that was verified, and the key that it hangs on. It is never changed.
type cached struct {
	claims *Claims
	key    *key
}

// Verify proves an access token (or a service token, by Config.Type) and returns who it speaks for: an
// auth.Verifier. Every claim that matters is demanded, the list is asked, Validate is called. It returns
// one of the errors of this package, the list's, or Validate's; each has a code.
func (t *Tokens) Verify(ctx context.Context, raw string) (*auth.Principal, error) {
	now := t.c.Now()
	c, err := t.remembered(raw, now)
	if err != nil {
		return nil, err
	}
	if c == nil {
		var k *key
		if c, k, err = t.open(ctx, raw, t.c.Type, useAccess, t.maxLife, now); err != nil {
			return nil, err
		}
		if t.cache != nil {
			// A copy: raw may be a part of a whole Cookie line, which the cache would keep alive.
			t.cache.Set(strings.Clone(raw), &cached{c, k})
		}
	} else if t.c.Claims.shares {
		fresh := *c
		if fresh.Claims, err = t.c.Claims.decode(c.rest); err != nil {
			return nil, err
		}
		c = &fresh
	}
	p := c.principal()
	if t.c.List != nil {
		if err := t.c.List.Check(ctx, p); err != nil {
			return nil, err
		}
	}
	if t.c.Validate == nil {
		return p, nil
	}
	own := *c
	own.Principal, own.Audience = *p, slices.Clone(c.Audience)
	if err := t.c.Validate(ctx, &own); err != nil {
		return nil, err
	}
	return own.principal(), nil // once more: Validate may have put slices in that it shares with others
}

// remembered returns what an earlier verification of the same text found, nil when it must be done anew.
// A removed key, and a key whose time is over, takes its tokens with it.
func (t *Tokens) remembered(raw string, now time.Time) (*Claims, error) {
	if t.cache == nil {
		return nil, nil
	}
	hit, ok := t.cache.GetIfPresent(raw)
	if !ok {
		return nil, nil
	}
	if !t.c.Keys.holds(hit.key) || !hit.key.validAt(now) {
		return nil, nil
	}
	if err := t.checkTimes(hit.claims, now); err != nil {
		if errors.Is(err, ErrExpired) {
			t.cache.Invalidate(raw)
		}
		return nil, err
	}
	return hit.claims, nil
}

// open judges a token from its text to its claims. What a stranger can send is refused first and cheaply;
// no claim is read before the signature has been checked.
func (t *Tokens) open(ctx context.Context, raw, typ, use string, life time.Duration, now time.Time) (*Claims, *key, error) {
	txt, err := split(raw)
	if err != nil {
		return nil, nil, err
	}
	h := txt.header
	if !slices.Contains(algorithms, h.Algorithm) {
		return nil, nil, fmt.Errorf("%w: no algorithm of ours", ErrMalformed)
	}
	if !t.c.AllowForeign && len(h.Rest) > 0 {
		return nil, nil, fmt.Errorf("%w: a header member that we never write", ErrMalformed)
	}
	if h.KeyID == "" {
		return nil, nil, fmt.Errorf("%w: no kid", ErrMalformed)
	}
	if canonicalType(h.Type) != canonicalType(typ) && !(t.c.AllowMissingType && h.Type == "") {
		return nil, nil, fmt.Errorf("%w: got %.40q, expected %q", ErrKind, h.Type, typ)
	}
	k, err := t.c.Keys.find(ctx, h.KeyID)
	if errors.Is(err, errUnknownKey) {
		return nil, nil, fmt.Errorf("%w: %w", ErrSignature, err)
	}
	if err != nil {
		return nil, nil, err
	}
	// The algorithm belongs to the key, not to the token (RFC 8725 section 3.1).
	if h.Algorithm != k.alg {
		return nil, nil, fmt.Errorf("%w: key %q is for another algorithm", ErrSignature, k.id)
	}
	if !k.validAt(now) {
		return nil, nil, fmt.Errorf("%w: key %q is outside the time it is valid in", ErrSignature, k.id)
	}
	if err := k.verify(txt.signed, txt.signature, use, t.c.Issuer); err != nil {
		return nil, nil, fmt.Errorf("%w: key %q: %w", ErrSignature, k.id, err)
	}

	w, err := t.readClaims(txt.payload)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: claims: %w", ErrMalformed, err)
	}
	if err := t.checkClaims(&w, life); err != nil {
		return nil, nil, err
	}
	c := w.claims(h)
	c.Service = use == useAccess && canonicalType(t.c.Type) == Service
	if err := t.checkTimes(c, now); err != nil {
		return nil, nil, err
	}
	if use == useOneTime {
		c.Claims = w.Payload
	} else if t.c.Claims.decode != nil {
		if c.Claims, err = t.c.Claims.decode(w.Rest); err != nil {
			return nil, nil, err
		}
	}
	return c, k, nil
}

// readClaims decodes a payload: whole for a token of ours, the names that everybody shares for a foreign one.
func (t *Tokens) readClaims(payload []byte) (w wire, err error) {
	names := registered
	if t.c.AllowForeign {
		names = registeredForeign
		var f foreignWire
		err = decode(payload, &f)
		w = f.wire()
	} else {
		err = decode(payload, &w)
	}
	if err == nil && len(w.Rest) > 0 {
		err = members(w.Rest, names, nil, strings.EqualFold)
	}
	return w, err
}

// checkClaims looks at what does not change with time.
func (t *Tokens) checkClaims(w *wire, life time.Duration) error {
	const lastInstant = 253402300799 // the end of year 9999: beyond it time.Time and other readers break
	switch {
	case w.Issuer != t.c.Issuer:
		return fmt.Errorf("%w: got %.80q, expected %q", ErrIssuer, w.Issuer, t.c.Issuer)
	case w.Audience.list && !t.c.AllowForeign, !slices.Contains(w.Audience.values, t.c.Audience):
		return fmt.Errorf("%w: got %.80q, expected %q", ErrAudience, w.Audience.values, t.c.Audience)
	case w.Subject == "":
		return fmt.Errorf("%w: no sub", ErrMalformed)
	case w.IssuedAt < 0 || w.NotBefore < 0 || w.AuthTime < 0 || w.Version < 0 || max(w.NotBefore, w.Expires, w.AuthTime) > lastInstant:
		return fmt.Errorf("%w: a negative or absurd number", ErrMalformed)
	case w.IssuedAt >= w.Expires: // also: no exp
		return fmt.Errorf("%w: exp is not after iat", ErrMalformed)
	case w.IssuedAt == 0 && t.c.AllowForeign:
		// checkTimes bounds such a token by the present instant instead.
	case w.TokenID == "" && !t.c.AllowForeign:
		return fmt.Errorf("%w: no jti", ErrMalformed)
	case w.Expires-w.IssuedAt > int64(life/time.Second): // also: no iat
		return fmt.Errorf("%w: a life of %d s, at most %d", ErrMalformed, w.Expires-w.IssuedAt, int64(life/time.Second))
	}
	return nil
}

// checkTimes looks at what changes with time, so also at a token from the cache: a clock that was set
// back must not make an old verification good again.
func (t *Tokens) checkTimes(c *Claims, now time.Time) error {
	// The latest of what may not lie ahead: by how much says which clock to look at.
	begin, claim := c.IssuedAt, "iat"
	if c.NotBefore.After(begin) {
		begin, claim = c.NotBefore, "nbf"
	}
	if c.AuthTime.After(begin) {
		begin, claim = c.AuthTime, "auth_time"
	}
	switch {
	// RFC 7519 section 4.1.4: "on or after" exp it is over.
	case !now.Before(c.Expires.Add(t.c.Leeway)):
		return fmt.Errorf("%w: %s ago, leeway %s", ErrExpired, now.Sub(c.Expires).Truncate(time.Second), t.c.Leeway)
	case begin.After(now.Add(skew)):
		return fmt.Errorf("%w: %s is %s ahead of this clock, expected at most %s", ErrNotYetValid, claim,
			begin.Sub(now).Truncate(time.Second), skew)
	case c.IssuedAt.IsZero() && c.Expires.Sub(now) > t.maxLife:
		return fmt.Errorf("%w: without iat exp is at most %s ahead", ErrMalformed, t.maxLife)
	}
	return nil
}
