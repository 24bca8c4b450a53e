package tokens

import (
	"fmt"
	"time"
)

// Unverified is what a token says of itself. NOTHING IN IT IS PROVEN: anyone can write such a text. It is
// for display, logs and clients that want to know when to refresh; it is a type of its own so that nothing
// that wants [Claims] takes it.
type Unverified struct {
	Type, Algorithm, KeyID           string
	Issuer, Tenant, Subject, Session string
	TokenID, ClientID                string
	Audience                         []string
	Version                          int64
	IssuedAt, NotBefore, Expires     time.Time
}

// DecodeUnverified takes a token apart without looking at its signature, its issuer or its age. It
// refuses with [ErrMalformed] what no verifier could read.
func DecodeUnverified(raw string) (Unverified, error) {
	txt, err := split(raw)
	if err != nil {
		return Unverified{}, err
	}
	var w wire
	if err := decode(txt.payload, &w); err != nil {
		return Unverified{}, fmt.Errorf("%w: claims: %w", ErrMalformed, err)
	}
	return Unverified{
		Type: txt.header.Type, Algorithm: txt.header.Algorithm, KeyID: txt.header.KeyID,
		Issuer: w.Issuer, Tenant: w.Tenant, Subject: w.Subject, Session: w.Session,
		TokenID: w.TokenID, ClientID: w.ClientID, Audience: w.Audience.values, Version: w.Version,
		IssuedAt: instant(w.IssuedAt), NotBefore: instant(w.NotBefore), Expires: instant(w.Expires),
	}, nil
}

// IsKind says whether the token calls itself a typ, for example [Access].
func (u Unverified) IsKind(typ string) bool { return canonicalType(u.Type) == canonicalType(typ) }

// Expired says whether the token calls itself expired at now, or names no expiry at all.
func (u Unverified) Expired(now time.Time) bool { return !now.Before(u.Expires) }
