package tokens

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// A Kind is a token for one purpose other than access, with a payload of type T: an invitation, a link that
// proves an e-mail address. No other verifier opens it, and it opens no other door.
//
//	var invitation = tokens.NewKind[Invitation](tokens.Invite, 7*24*time.Hour)
//
// A Kind proves who made the token and for whom. That it is used once only is package onetime's to enforce, or the
// caller's, by consuming its TokenID in a store: the revocation list, made for the short life of access tokens, is
// not asked.
type Kind[T any] struct {
	typ  string
	life time.Duration
	err  error

	rounds bool // an interface in T could read another number than was written
}

var typeForm = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{0,62}\+jwt$`)

// NewKind names a kind by its typ, for example [Invite], and the longest life of its tokens: a second to 366
// days. A typ is lower case and ends in "+jwt"; those of access and service tokens are refused. What is
// wrong is told by Issue and Verify, so that a kind can be a package variable.
func NewKind[T any](typ string, life time.Duration) Kind[T] {
	k := Kind[T]{typ: typ, life: life, rounds: reachesAny(reflect.TypeFor[T](), nil)}
	if !typeForm.MatchString(typ) || typ == Access || typ == Service {
		k.err = fmt.Errorf("tokens: NewKind: got the type %.80q, expected one of lower case that ends in +jwt and is no access or service token's", typ)
	} else if life < time.Second || life > 366*24*time.Hour {
		k.err = fmt.Errorf("tokens: NewKind %s: got a life of %s, expected 1s to 366 days", typ, life)
	}
	return k
}

// Issue makes a token of this kind for a subject of t's issuer, signed by t's key, for t's audience. It lives for
// life, a second to the longest life of the kind, in whole seconds; 0 is the longest. Whatever else the token is
// about, such as the organisation of an invitation, is in the payload: at most seven levels of JSON, as the claims
// are the eighth, and numbers in an interface as [CustomClaims] says.
func (k Kind[T]) Issue(t *Tokens, subject string, payload T, life time.Duration) (string, error) {
	if err := k.check(t); err != nil {
		return "", err
	}
	if life == 0 {
		life = k.life
	}
	if life < time.Second || life > k.life {
		return "", fmt.Errorf("tokens: %s: got a life of %s, expected 1s to %s, or 0 for the longest", k.typ, life, k.life)
	}
	if subject == "" {
		return "", fmt.Errorf("tokens: %s: got no subject", k.typ)
	}
	body, err := json.Marshal(payload)
	if err != nil {
		return "", fmt.Errorf("tokens: %s: the payload cannot be written as JSON: %w", k.typ, err)
	}
	if k.rounds {
		if err := exact[T](body); err != nil {
			return "", fmt.Errorf("tokens: %s: the payload: %w", k.typ, err)
		}
	}
	w := t.wire(t.c.Now(), subject, "", life)
	w.Payload = body
	return t.sign(k.typ, useOneTime, w)
}

// Verify proves a token of this kind and returns its claims and payload. Errors are those of [Tokens.Verify].
func (k Kind[T]) Verify(ctx context.Context, t *Tokens, raw string) (*Claims, T, error) {
	var payload T
	if err := k.check(t); err != nil {
		return nil, payload, err
	}
	c, _, err := t.open(ctx, raw, k.typ, useOneTime, k.life, t.c.Now())
	if err != nil {
		return nil, payload, err
	}
	body, _ := c.Claims.(jsontext.Value)
	c.Claims = nil
	if err := json.Unmarshal(body, &payload, json.RejectUnknownMembers(true)); err != nil {
		var none T
		return nil, none, fmt.Errorf("%w: payload: %s", ErrMalformed, reason(err))
	}
	return c, payload, nil
}

func (k Kind[T]) check(t *Tokens) error {
	switch {
	case k.err != nil:
		return k.err
	case k.typ == "":
		return errors.New("tokens: got a zero Kind, expected one of NewKind")
	case t == nil || t.c.AllowForeign:
		return fmt.Errorf("tokens: %s: expected a Tokens of our own issuer", k.typ)
	}
	return nil
}
