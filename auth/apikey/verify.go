package apikey

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/internal/sample"
)

// Refusals without a detail are made once: garbage is to cost us nothing. Unknown and wrong are one.
var (
	errForm  = fmt.Errorf("%w: no API key of ours", auth.APIKeyInvalid)
	errWrong = fmt.Errorf("%w: no such API key", auth.APIKeyInvalid)
	errOver  = fmt.Errorf("%w: the API key, or this secret of it, has expired", auth.APIKeyExpired)
)

// decoy stands in for a key that is not there. Nobody has the text of its hash, this process included.
var decoy = func() (r Record) {
	r.Proofs = make([]Proof, 1)
	_, _ = rand.Read(r.Proofs[0].Hash[:])
	return r
}()

// compare is a variable for the test that counts.
var compare = subtle.ConstantTimeCompare

// Verify proves a key and returns who it speaks for: an auth.Verifier. It refuses with
//
//	auth.APIKeyInvalid     no key of ours, found without I/O; an unknown id or a wrong secret, which cost the same
//	auth.APIKeyExpired     its time, or that of a secret that was rotated, is over: only who has the secret learns it
//	auth.StoreUnavailable  the store cannot answer
//	what Config.Validate says; a code of tokens (token_expired, token_invalid, token_revoked) becomes auth.APIKeyInvalid
//
// The principal has the key's owner as Issuer and Subject, the organisation that the key is limited to as Tenant, its
// id as TokenID and its scopes as Competencies. A scope
// is what a competency is, something that may be done, and each must be there (middleware.RequireCompetency). It
// has no Roles, so that a key opens no route that asks for one, however mighty its owner; no Session, so that it never
// becomes a login; no AuthTime and no Methods, since no person was there.
func (k *Keys) Verify(ctx context.Context, credential string) (*auth.Principal, error) {
	id, ok := Recognise(k.c.Prefix, credential)
	if !ok {
		return nil, errForm
	}
	r, err := k.c.Store.Get(ctx, id)
	found := err == nil
	if !found {
		if auth.CodeOf(err) != auth.NotFound {
			return nil, k.refused(ctx, Key{ID: id}, storeError(err))
		}
		r = decoy
		r.ID = id
	} else if err := r.check(id); err != nil {
		return nil, k.refused(ctx, Key{ID: id}, err)
	} else if r.Owner.Issuer != k.c.Issuer {
		// Another issuer's key in a shared store. As our own it would speak for our subject of that name.
		r, found = decoy, false
		r.ID = id
	}
	// The same work for an unknown id, a wrong secret and any number of secrets.
	sum := sha256.Sum256([]byte(credential))
	hit := -1
	for i := range maxProofs {
		p := r.Proofs[min(i, len(r.Proofs)-1)]
		if compare(p.Hash[:], sum[:]) == 1 && hit < 0 {
			hit = i
		}
	}
	if !found { // no event: strangers invent ids, and a guard tells of each refusal in its own bounds
		return nil, errWrong
	}
	if hit < 0 {
		return nil, k.refused(ctx, r.Key, errWrong)
	}
	now := k.now()
	if !now.Before(r.Proofs[hit].Until) {
		return nil, k.refused(ctx, r.Key, errOver)
	}
	p := &auth.Principal{
		Issuer: r.Owner.Issuer, Tenant: r.Tenant, Subject: r.Owner.Subject, TokenID: id, Competencies: slices.Clone(r.Scopes),
		IssuedAt: r.Made, Expires: r.Proofs[hit].Until,
	}
	if err := k.validate(ctx, p, r.Scopes); err != nil {
		return nil, k.refused(ctx, r.Key, err)
	}
	k.touch(ctx, r.Key, now)
	return p, nil
}

// validate asks Config.Validate, and holds its answer to the key's own limits.
func (k *Keys) validate(ctx context.Context, p *auth.Principal, scopes []string) error {
	if k.c.Validate == nil {
		return nil
	}
	proven := *p // its Competencies are p's own slice, and count for nothing below
	if err := k.c.Validate(ctx, p); err != nil {
		switch auth.CodeOf(err) {
		case auth.TokenExpired, auth.TokenInvalid, auth.TokenRevoked: // there is nothing to refresh, and no session has ended
			return fmt.Errorf("%w: %w", auth.APIKeyInvalid, err)
		}
		return err
	}
	p.Competencies = slices.DeleteFunc(slices.Clone(p.Competencies), func(c string) bool { return !slices.Contains(scopes, c) })
	now := *p
	now.Competencies, now.Claims = proven.Competencies, proven.Claims
	if !reflect.DeepEqual(now, proven) {
		return errors.New("apikey: Config.Validate changed more of the principal than Competencies and Claims, expected nothing else: a key's own limits only cut")
	}
	return nil
}

// Or returns a verifier for a header that carries API keys or what other verifies, such as the access tokens of a
// *tokens.Tokens. A text of the length of a key that begins with the prefix is one and nothing else; no JWT begins so.
func (k *Keys) Or(other auth.Verifier) auth.Verifier { return either{k, other} }

type either struct {
	keys  *Keys
	other auth.Verifier
}

func (e either) Verify(ctx context.Context, credential string) (*auth.Principal, error) {
	// By its length: of two rings "acme" and "acme_live" each has to know its own.
	if at := len(credential) - tailLen; at >= 0 && credential[:at] == e.keys.c.Prefix {
		return e.keys.Verify(ctx, credential)
	}
	if e.other == nil {
		return nil, errForm
	}
	return e.other.Verify(ctx, credential)
}

// patience is how long the note of a use may take.
const patience = time.Second

// touch notes the use, once a minute. The key was proven, so a note that cannot be written stops nobody; a client
// that hangs up does not stop the note.
func (k *Keys) touch(ctx context.Context, key Key, now time.Time) {
	if now.Sub(key.LastUsed) < every {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	if err := k.c.Store.Touch(ctx, key.ID, now); err != nil {
		_ = k.refused(ctx, key, fmt.Errorf("%w: apikey: the last use is not noted: %w", auth.StoreUnavailable, err))
	}
}

// refused tells of a use that was refused, in the bounds of package sample: ids are public, so that strangers can cause it.
func (k *Keys) refused(ctx context.Context, key Key, err error) error {
	if _, missed, due := k.told.Due(sample.Kind{Word: string(auth.CodeOf(err)), Place: key.ID}); due {
		k.observe(ctx, "key", key, missed, err)
	}
	return err
}

// check refuses a record that no Keys has written: it would be no proof of anything.
func (r *Record) check(id string) error {
	if r.ID != id || r.Owner.Issuer == "" || r.Owner.Subject == "" || len(r.Proofs) < 1 || len(r.Proofs) > maxProofs || r.Expires.IsZero() {
		return fmt.Errorf("%w: apikey: the store gave a record of %d proofs that is not the key's", auth.StoreUnavailable, len(r.Proofs))
	}
	return nil
}
