package apikey

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/doorward/doorward/auth"
)

const (
	minStatic      = 32  // characters: 128 bits in hexadecimal, and no word that a person thinks of
	maxStatic      = 512 // characters
	minStaticChars = 8   // different ones
)

// StaticConfig is what [NewStatic] needs. All but Tenant and Scopes is demanded.
type StaticConfig struct {
	// Keys are one key, or two while clients change from the one to the other. Their order matters to logs alone. A
	// key is a text of any form, 32 to 512 visible ASCII characters, from a generator: `openssl rand -hex 32`.
	Keys []auth.Secret

	Issuer  string   // of the principal: that of the access tokens
	Subject string   // the service that the key is for, such as "billing"; RequireService asks for this name
	Tenant  string   // the organisation that the key is limited to; "" where it is limited to none
	Scopes  []string // the principal's competencies: at most 32, as in Spec
}

// Static verifies one API key that stands in the configuration: an auth.Verifier without a store. It keeps hashes of
// the keys alone, does not change, and is safe for concurrent use.
//
// It has no expiry, no list and no end but the next start with another configuration. Where a key must end at once, or
// belongs to a user, use [Keys].
type Static struct {
	hashes []([sha256.Size]byte)
	p      auth.Principal
}

// NewStatic checks c and returns its verifier. A short key, or one that repeats itself, is an error that does not
// quote it.
func NewStatic(c StaticConfig) (*Static, error) {
	switch {
	case len(c.Keys) < 1 || len(c.Keys) > 2:
		return nil, fmt.Errorf("apikey: StaticConfig.Keys: got %d keys, expected one, or two while clients change", len(c.Keys))
	case !isName(c.Issuer):
		return nil, fmt.Errorf("apikey: StaticConfig.Issuer: got %.80q, expected the issuer of the access tokens, 1 to %d bytes of UTF-8", c.Issuer, maxOwner)
	case !isName(c.Subject):
		return nil, fmt.Errorf("apikey: StaticConfig.Subject: got %.80q, expected the name of a service, 1 to %d bytes of UTF-8", c.Subject, maxOwner)
	case c.Tenant != "" && !isName(c.Tenant):
		return nil, fmt.Errorf("apikey: StaticConfig.Tenant: got %.80q, expected at most %d bytes of UTF-8", c.Tenant, maxOwner)
	case len(c.Scopes) > maxScopes || slices.ContainsFunc(c.Scopes, func(scope string) bool { return !isScope(scope) }):
		return nil, fmt.Errorf("apikey: StaticConfig.Scopes: got %.200q, expected at most %d scope-tokens of %d characters", c.Scopes, maxScopes, maxScope)
	}
	s := &Static{p: auth.Principal{
		Issuer: c.Issuer, Subject: c.Subject, ClientID: c.Subject, Tenant: c.Tenant, Competencies: slices.Clone(c.Scopes), Service: true,
	}}
	for i, secret := range c.Keys {
		text := secret.Reveal()
		if err := checkStatic(text); err != nil {
			return nil, fmt.Errorf("apikey: StaticConfig.Keys: number %d: %w", i+1, err)
		}
		hash := sha256.Sum256([]byte(text))
		if slices.Contains(s.hashes, hash) {
			return nil, errors.New("apikey: StaticConfig.Keys: got the same key twice")
		}
		s.hashes = append(s.hashes, hash)
	}
	return s, nil
}

// checkStatic refuses what can be guessed, and what no header carries unchanged.
func checkStatic(text string) error {
	if len(text) < minStatic || len(text) > maxStatic {
		return fmt.Errorf("got %d characters, expected %d to %d from a generator", len(text), minStatic, maxStatic)
	}
	if strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return errors.New("got a space, a line end or a character beyond ASCII, expected visible ASCII: trim what a file ends with")
	}
	var seen [128]bool
	different := 0
	for i := range len(text) {
		if !seen[text[i]] {
			seen[text[i]] = true
			different++
		}
	}
	repeats := different < minStaticChars
	for unit := 1; unit <= len(text)/2; unit++ {
		repeats = repeats || strings.HasPrefix(text, text[unit:]) // the unit over and over, the last one perhaps cut
	}
	if repeats {
		return errors.New("the key repeats itself, expected one from a generator")
	}
	return nil
}

// Verify proves the key: an auth.Verifier. Every text costs the same comparisons of hashes, and anything but the key is
// auth.APIKeyInvalid.
//
// The principal is a service (auth.Principal.Service, and its Subject as ClientID): no person is asking, and
// middleware.RequireService takes it. It has the scopes as Competencies and no Roles, "static-1" or "static-2" as
// TokenID, the number of the key, so that it opens no session, and no Expires.
func (s *Static) Verify(_ context.Context, credential string) (*auth.Principal, error) {
	if len(credential) > maxStatic {
		return nil, errWrong
	}
	sum := sha256.Sum256([]byte(credential))
	hit := 0
	for i := range s.hashes {
		hit += (i + 1) * compare(s.hashes[i][:], sum[:])
	}
	if hit == 0 {
		return nil, errWrong
	}
	p := s.p
	p.Competencies = slices.Clone(s.p.Competencies)
	p.TokenID = fmt.Sprintf("static-%d", hit)
	return &p, nil
}
