// Package apikey makes, verifies, rotates and ends API keys: long-lived credentials with which a program
// speaks for its owner.
//
// A key is shown once, when it is made. The [Store] holds its hash; what a key may do is in its scopes, and whom it
// speaks for in its owner, and the organisation that it is limited to in its tenant. [Keys.Verify] makes it an
// auth.Verifier:
//
//	auth.Header("X-API-Key", keys)
//	auth.Bearer(keys.Or(tok)) // Authorization: Bearer, for API keys and access tokens alike
//
// A key opens no session: its principal has none, and session.Start refuses it. It never proved a person either,
// so it passes no middleware.RequireRecentAuth.
//
// [Static] is for a program whose one key stands in the configuration: it needs no store.
//
// It does not own the owners (an application's table), who may make a key with which scopes (its handlers), or
// HTTP. Keys that were verified are not remembered, so that an ending holds from the next request on: each request
// costs a look into the store.
package apikey

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/internal/sample"
)

const (
	day        = 24 * time.Hour
	maxLife    = 366 * day
	maxOverlap = 30 * day
	maxProofs  = 4
	maxScopes  = 32
	maxScope   = 64
	maxName    = 100 // characters
	maxOwner   = 256 // bytes of an issuer, subject or tenant
)

// Config is what [New] needs. Store and Issuer are demanded.
type Config struct {
	Store Store

	// Issuer is that of the access tokens, at most 256 bytes, so that an owner is the same subject in both. It is part
	// of every owner: a key that was made under another issuer is not accepted, also when both share a Store.
	// Renaming an issuer ends all keys, and their owners make new ones.
	Issuer string

	// Prefix begins every key and says whose it is, for example "acme" or "acme_live": at most 20 of a-z 0-9 and _
	// inside. "dwk" when "". Keys of another prefix are not recognised any more.
	Prefix string

	Life time.Duration // of a key for which nothing else is asked: 90 days when 0, at most 366 days
	Max  int           // keys of one owner, at most 1,000: 50 when 0

	// Validate is asked at every verification, after the key was proven. It may refuse, for example with
	// auth.APIKeyInvalid because the owner is gone or disabled. It may set Competencies to what the owner may do now,
	// in the organisation p.Tenant where the key is limited to one: the principal gets those that are also scopes of
	// the key. It may set Claims. It must change nothing else: that is 500, because a key's own limits only cut. An
	// error without a code is a fault of ours (500). Nil: a key works until it expires or is revoked, whatever becomes
	// of its owner; see [Keys.RevokeAll].
	Validate func(context.Context, *auth.Principal) error

	// Observe is told of "key_create", "key_rotate", "key_revoke", and of a "key" of ours that was shown and refused: of one
	// key and code once in 10 s, of one code 60 times a minute; Missed says how many were left out. An id that is not there is
	// told by middleware.ObserveRefusals alone, as strangers invent ids. auth.Log is ready. It is called within the call and
	// must be quick.
	Observe func(context.Context, auth.Event)

	Now func() time.Time
}

// Keys makes and verifies API keys. It is safe for concurrent use.
type Keys struct {
	c    Config
	told sample.Sampler // of uses that were refused
}

// New checks c and fills in the defaults. It does no I/O. Its errors say what was got and what was expected.
func New(c Config) (*Keys, error) {
	c.Prefix = cmp.Or(c.Prefix, defaultPrefix)
	c.Life = cmp.Or(c.Life, 90*day)
	c.Max = cmp.Or(c.Max, 50)
	switch {
	case c.Store == nil:
		return nil, errors.New("apikey: Config.Store: got nil, expected a store (NewMemory, redisapikey.New)")
	case !isName(c.Issuer):
		return nil, fmt.Errorf("apikey: Config.Issuer: got %.80q, expected the issuer of the access tokens, 1 to %d bytes of UTF-8", c.Issuer, maxOwner)
	case len(c.Prefix) > maxPrefix || !prefixForm.MatchString(c.Prefix):
		return nil, fmt.Errorf("apikey: Config.Prefix: got %.40q, expected at most %d of a-z 0-9, a letter first, with single underscores inside", c.Prefix, maxPrefix)
	case c.Life < time.Minute || c.Life > maxLife:
		return nil, fmt.Errorf("apikey: Config.Life: got %s, expected 1m to 366 days, or 0 for 90 days", c.Life)
	case c.Max < 1 || c.Max > 1000:
		return nil, fmt.Errorf("apikey: Config.Max: got %d, expected 1 to 1000, or 0 for 50", c.Max)
	}
	if c.Observe == nil {
		c.Observe = func(context.Context, auth.Event) {}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return &Keys{c: c, told: sample.Sampler{Now: c.Now}}, nil
}

// A Spec says what key is wanted. Subject and Tenant are the application's word; Name, Scopes and Life may be the
// owner's: what is wrong with them is auth.ValidationFailed, with fields "name", "scopes" and "life".
type Spec struct {
	Subject string // the owner, of Config.Issuer: 1 to 256 bytes

	// Tenant limits the key to one organisation for its whole life: each of its principals has it, Config.Validate is
	// asked for it, and no rotation changes it. "" is no such limit. Give it the maker's own Principal.Tenant at
	// least, or a credential that is limited to an organisation makes one that is not.
	Tenant string

	Name   string        // 1 to 100 printable characters
	Scopes []string      // at most 32 scope-tokens of RFC 6749 section 3.3, of 64 bytes
	Life   time.Duration // a minute to 366 days; Config.Life when 0
}

// Create makes a key and returns it, the only time that it can be seen. Whether its owner may have these
// scopes is the caller's to decide: a key that can more than who asked for it is an elevation. An owner with
// Config.Max keys is auth.ValidationFailed.
func (k *Keys) Create(ctx context.Context, s Spec) (auth.Secret, Key, error) {
	s.Life = cmp.Or(s.Life, k.c.Life)
	if err := s.check(); err != nil {
		return auth.Secret{}, Key{}, err
	}
	now := k.now()
	id := random(idBytes, idLen)
	text := k.make(id)
	r := Record{
		Key: Key{
			ID: id, Owner: k.owner(s.Subject), Tenant: s.Tenant, Name: s.Name, Scopes: slices.Compact(slices.Sorted(slices.Values(s.Scopes))),
			Created: now, Made: now, Expires: now.Add(s.Life),
		},
	}
	r.Proofs = []Proof{{sha256.Sum256([]byte(text)), r.Expires}}
	ok, err := k.c.Store.Create(ctx, r, k.c.Max)
	if err = storeError(err); err == nil && !ok {
		err = invalid{"name": fmt.Sprintf("There are %d keys already, the most that there may be.", k.c.Max)}
	}
	k.tell(ctx, "key_create", r.Key, err)
	if err != nil {
		return auth.Secret{}, Key{}, err
	}
	return auth.NewSecret(text), r.Key, nil
}

// Rotate gives the subject's key of this id another secret, with the life that it was made with, and returns
// it. The id, the tenant, the scopes and the name stay. The secrets of before work for overlap, at most 30 days and
// no longer than they would have; with 0 they are all dead when Rotate returns, which is the answer to a
// leak. A key that is rotated four times within the overlaps, or twice at the same moment, is auth.Busy.
//
// tenant is what the asker is limited to: his Principal.Tenant, "" for an asker who is not limited. A limited asker has
// the keys of that organisation alone, because a rotation hands out a secret with all that the key may do.
//
// Another subject's key is auth.NotFound, as is one of another tenant than the asker's, and one that is not there or
// has expired.
func (k *Keys) Rotate(ctx context.Context, subject, tenant, id string, overlap time.Duration) (auth.Secret, Key, error) {
	if overlap < 0 || overlap > maxOverlap {
		return auth.Secret{}, Key{}, invalid{"overlap": "Between 0 and 30 days."}
	}
	old, err := k.owned(ctx, subject, tenant, id)
	if err != nil {
		return auth.Secret{}, Key{}, err
	}
	now := k.now()
	if !now.Before(old.Expires) {
		return auth.Secret{}, Key{}, fmt.Errorf("%w: the key has expired", auth.NotFound)
	}
	text, r := k.make(id), old
	r.Made, r.Expires = now, now.Add(old.Expires.Sub(old.Made))
	r.Proofs = []Proof{{sha256.Sum256([]byte(text)), r.Expires}}
	for _, p := range old.Proofs {
		if p.Until = earlier(p.Until, now.Add(overlap)); now.Before(p.Until) {
			r.Proofs = append(r.Proofs, p)
		}
	}
	ok := false
	if len(r.Proofs) > maxProofs {
		err = fmt.Errorf("%w: apikey: %d secrets of the key work already", auth.Busy, maxProofs)
	} else if ok, err = k.c.Store.Swap(ctx, r, old.Proofs[0].Hash); err != nil {
		err = storeError(err)
	} else if !ok {
		err = fmt.Errorf("%w: apikey: the key was changed at the same moment", auth.Busy)
	}
	k.tell(ctx, "key_rotate", r.Key, err)
	if err != nil {
		return auth.Secret{}, Key{}, err
	}
	return auth.NewSecret(text), r.Key, nil
}

// Revoke ends the subject's key of this id, all its secrets: when it has returned nil no node accepts it.
// Another subject's key is auth.NotFound, as is one of another tenant than the asker's (see [Keys.Rotate]), and one that is
// not there.
func (k *Keys) Revoke(ctx context.Context, subject, tenant, id string) error {
	if !isID(id) {
		return errNone
	}
	if tenant != "" { // a look beforehand is enough: a key never changes its tenant, and an id never comes back
		if _, err := k.owned(ctx, subject, tenant, id); err != nil {
			return err
		}
	}
	ok, err := k.c.Store.Delete(ctx, k.owner(subject), id)
	if err = storeError(err); err == nil && !ok {
		return errNone
	}
	k.tell(ctx, "key_revoke", Key{ID: id, Owner: k.owner(subject)}, err)
	return err
}

// RevokeAll ends every key that the subject has, in all organisations: call it when the owner is disabled or gone,
// after that is written. A key whose making was allowed before, and that reaches the store after this, is not among
// them: what ends that one is [Config].Validate, which is asked whenever a key is used. After an error some may be
// left; call it again.
func (k *Keys) RevokeAll(ctx context.Context, subject string) error {
	list, err := k.c.Store.List(ctx, k.owner(subject))
	err = storeError(err)
	for _, key := range list { // also after an error: what can be ended is
		if failed := k.Revoke(ctx, subject, "", key.ID); failed != nil && auth.CodeOf(failed) != auth.NotFound {
			err = errors.Join(err, failed)
		}
	}
	return err
}

// List returns the subject's keys, the last made first: those of all organisations, or of the one that the asker is
// limited to (see [Keys.Rotate]).
func (k *Keys) List(ctx context.Context, subject, tenant string) ([]Key, error) {
	list, err := k.c.Store.List(ctx, k.owner(subject))
	if err != nil {
		return nil, storeError(err)
	}
	list = slices.DeleteFunc(list, func(key Key) bool { return !reaches(tenant, key) })
	slices.SortFunc(list, func(a, b Key) int { return cmp.Or(b.Created.Compare(a.Created), cmp.Compare(a.ID, b.ID)) })
	return list, nil
}

var errNone = fmt.Errorf("%w: apikey: the owner has no such key", auth.NotFound)

// owner is whose the keys of a subject are.
func (k *Keys) owner(subject string) auth.Owner {
	return auth.Owner{Issuer: k.c.Issuer, Subject: subject}
}

// reaches says whether an asker who is limited to tenant has anything to do with a key of its owner's.
func reaches(tenant string, key Key) bool { return tenant == "" || tenant == key.Tenant }

// owned returns the key of this id if it is this subject's, and one that the asker reaches.
func (k *Keys) owned(ctx context.Context, subject, tenant, id string) (Record, error) {
	if !isID(id) {
		return Record{}, errNone
	}
	r, err := k.c.Store.Get(ctx, id)
	switch {
	case err != nil && auth.CodeOf(err) == auth.NotFound:
		return Record{}, errNone
	case err != nil:
		return Record{}, storeError(err)
	case r.Owner != k.owner(subject) || !reaches(tenant, r.Key):
		return Record{}, errNone
	}
	return r, r.check(id)
}

func (k *Keys) make(id string) string {
	return compose(k.c.Prefix, id, random(secretBytes, secretLen))
}

// now is true to the millisecond, as stores are, and has no monotonic clock: it is compared with stored times.
func (k *Keys) now() time.Time { return time.UnixMilli(k.c.Now().UnixMilli()) }

func (k *Keys) tell(ctx context.Context, name string, key Key, err error) {
	k.observe(ctx, name, key, 0, err)
}

func (k *Keys) observe(ctx context.Context, name string, key Key, missed int, err error) {
	outcome := "ok"
	switch {
	case err != nil && auth.CodeOf(err) == auth.StoreUnavailable:
		name, outcome = "outage", name
	case err != nil:
		outcome = string(auth.CodeOf(err))
	}
	k.c.Observe(ctx, auth.Event{Owner: key.Owner, Name: name, Outcome: outcome, Time: k.now(), Key: key.ID, Missed: missed, Err: err})
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// storeError gives an error of a store that brings no code the one of an outage.
func storeError(err error) error {
	if err == nil || auth.CodeOf(err) != auth.Internal {
		return err
	}
	return fmt.Errorf("%w: apikey: the store: %w", auth.StoreUnavailable, err)
}

// invalid is what is wrong with a Spec, by field.
type invalid map[string]string

func (i invalid) Error() string {
	return fmt.Sprintf("%s: apikey: %v", auth.ValidationFailed, map[string]string(i))
}
func (i invalid) Unwrap() error             { return auth.ValidationFailed }
func (i invalid) Fields() map[string]string { return i }

func (s *Spec) check() error {
	if !isName(s.Subject) {
		return fmt.Errorf("apikey: Spec.Subject: got %.80q, expected 1 to %d bytes of UTF-8", s.Subject, maxOwner)
	}
	if s.Tenant != "" && !isName(s.Tenant) {
		return fmt.Errorf("apikey: Spec.Tenant: got %.80q, expected at most %d bytes of UTF-8", s.Tenant, maxOwner)
	}
	bad := invalid{}
	if n := utf8.RuneCountInString(s.Name); n < 1 || n > maxName || s.Name != auth.Printable(s.Name, 4*maxName) || strings.TrimSpace(s.Name) != s.Name {
		bad["name"] = fmt.Sprintf("1 to %d printable characters, none of them a space at either end.", maxName)
	}
	if len(s.Scopes) > maxScopes || slices.ContainsFunc(s.Scopes, func(scope string) bool { return !isScope(scope) }) {
		bad["scopes"] = fmt.Sprintf("At most %d scopes of 1 to %d ASCII characters without space, quote and backslash.", maxScopes, maxScope)
	}
	if s.Life < time.Minute || s.Life > maxLife {
		bad["life"] = "Between a minute and 366 days."
	}
	if len(bad) > 0 {
		return bad
	}
	return nil
}

// isName says whether s can be an issuer, a subject or a tenant.
func isName(s string) bool { return s != "" && len(s) <= maxOwner && utf8.ValidString(s) }

// isScope says whether s is a scope-token (RFC 6749 section 3.3).
func isScope(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return s != "" && len(s) <= maxScope
}
