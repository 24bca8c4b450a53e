package tokens

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/doorward/doorward/auth"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// LegacyConfig is what [NewLegacy] needs. Key, Issuer, Until and Version are demanded.
type LegacyConfig struct {
	// Key is [HS256] of the older system's secret, under any id: the bytes of its text as Python's str.encode() gives them,
	// at least 32 (RFC 7518 section 3.2). A shorter one is guessed offline by whoever has one token; change it there
	// before you move. Use it for nothing else: the kit's own keys are others.
	Key Key

	// Issuer is that of the new tokens, so that a user is the same subject in both. It is not compared with anything.
	Issuer string

	// OldIssuer and OldAudience are the iss and aud of the older tokens; "" means that they have none, and one that
	// has is refused. An aud may be a list.
	OldIssuer, OldAudience string

	// Type is the claim type of an access token: "access" when "". A token that says another one is refused.
	Type string

	// AllowMissingType accepts tokens without a claim type, as some systems make them. Then nothing tells an access token
	// from a link for a password reset or a refresh token that was signed with the same secret.
	AllowMissingType bool

	// Until is the day after which no such token is accepted, whatever it says: at most 366 days ahead. A server that
	// is started later starts, and refuses them with [ErrExpired]. Then delete the adapter.
	Until time.Time

	// Life is the longest life of a token, by exp and iat, and by exp alone where iat lacks: 24 hours when 0, at most 31 days.
	Life time.Duration

	// Version returns the subject's present token version, 0 in a system that has none. A token with another one is refused
	// with auth.TokenRevoked: this is the only way to end such tokens before their time, since no list knows them. A subject
	// that is gone or disabled is auth.TokenRevoked or auth.LoginFailed; an error without a code is a fault (500).
	// It is asked at each request, as the older system did.
	Version func(ctx context.Context, subject string) (int64, error)

	// AllowMissingVersion says whether a token without a version is good for this subject, as a system made them before it had
	// versions. Its answer decides, also where Version returns 0. Nil refuses such a token unless Version returns 0. issued is
	// its iat, zero where it has none. Version is asked first, so that a subject that is gone stays out.
	//
	// Raising the version ends no such token: whoever holds one keeps it until it expires, through a password reset too, unless
	// this function says no. So compare issued with the time of the subject's last reset, and say no to a zero one after a reset.
	// Its errors count as those of Version.
	AllowMissingVersion func(ctx context.Context, subject string, issued time.Time) (bool, error)

	// Observe is told of a "legacy" token, for each that is accepted, or refused although its signature is good, also after
	// Until: when nobody comes with one any more, the adapter can go. auth.Log is ready. It must be quick. nil: nobody is told.
	Observe func(context.Context, auth.Event)

	Now func() time.Time
}

// Legacy accepts the access tokens of an older system, until a date: JWTs of HS256 as python-jose and PyJWT make them, of
// the claims sub, roles, competencies, token_version or ver, type, exp, and the times and names of RFC 7519. Nothing makes such tokens.
// It is an auth.Verifier, safe for concurrent use.
//
// They are read as strictly as the kit's own, but for what they do not have. A sub that is a whole number is its digits, for
// PyJWT before 2.10 wrote such. Times may have a fraction.
//
// It is masked however it is printed.
type Legacy struct{ c LegacyConfig }

// Format masks the adapter under every verb of package fmt.
func (l *Legacy) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, keyMask) }

// MarshalText masks the adapter in JSON and every other encoding.
func (l *Legacy) MarshalText() ([]byte, error) { return []byte(keyMask), nil }

// LogValue masks the adapter in package slog.
func (l *Legacy) LogValue() slog.Value { return slog.StringValue(keyMask) }

// NewLegacy checks c and fills in the defaults. Its errors say what was got and what was expected, and no secret.
func NewLegacy(c LegacyConfig) (*Legacy, error) {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Type == "" {
		c.Type = "access"
	}
	if c.Life == 0 {
		c.Life = maxUnlisted
	}
	switch {
	case c.Key.problem() != nil:
		return nil, fmt.Errorf("tokens: LegacyConfig.Key: %w", c.Key.problem())
	case c.Key.k.alg != algHS256 || c.Key.k.root != nil || c.Key.k.windowed():
		return nil, fmt.Errorf("tokens: LegacyConfig.Key: got another key of %s, expected one of HS256(id, secret)", c.Key.k.alg)
	case checkName(c.Issuer) != nil:
		return nil, fmt.Errorf("tokens: LegacyConfig.Issuer: %w", checkName(c.Issuer))
	case c.Until.IsZero() || c.Until.After(c.Now().Add(366*24*time.Hour)):
		return nil, fmt.Errorf("tokens: LegacyConfig.Until: got %v, expected a day within a year", c.Until)
	case c.Life < time.Second || c.Life > 31*24*time.Hour:
		return nil, fmt.Errorf("tokens: LegacyConfig.Life: got %s, expected 1s to 31 days", c.Life)
	case c.Version == nil:
		return nil, errors.New("tokens: LegacyConfig.Version: got nil, expected a function that returns the subject's present version")
	}
	return &Legacy{c}, nil
}

// Or returns a verifier for a header or a cookie that carries tokens of the older system or of the kit. It looks at the header of the
// token: one of the older system has no kid, and calls itself JWT or nothing. No token of the kit does.
//
// A principal of a cookie that is a legacy token has no session for a CSRF token to belong to, and middleware.RequireCSRF refuses it on
// unsafe requests. Put CheckOrigin of its CSRF before routes that such cookies must reach until their day.
func (l *Legacy) Or(other auth.Verifier) auth.Verifier { return legacyOr{l, other} }

type legacyOr struct {
	legacy *Legacy
	other  auth.Verifier
}

func (v legacyOr) Verify(ctx context.Context, raw string) (*auth.Principal, error) {
	if txt, err := split(raw); err == nil && txt.header.old() {
		return v.legacy.Verify(ctx, raw)
	}
	if v.other == nil {
		return nil, errors.New("tokens: Legacy.Or was given a nil Verifier")
	}
	return v.other.Verify(ctx, raw)
}

// old says whether a header is one that python-jose and PyJWT write.
func (h *header) old() bool {
	return h.KeyID == "" && len(h.Rest) == 0 && (h.Type == "" || strings.EqualFold(h.Type, "JWT"))
}

// Verify proves a token of the older system and returns who it speaks for. Its principal has no Session, no Epoch, no Methods and
// no AuthTime: it opens no session, and passes no guard that asks for a recent proof. Errors are those of this package,
// auth.TokenRevoked, and Config.Version's.
func (l *Legacy) Verify(ctx context.Context, raw string) (*auth.Principal, error) {
	now := l.c.Now()
	w, err := l.open(raw)
	if err != nil {
		return nil, err
	}
	p := &auth.Principal{
		Issuer: l.c.Issuer, Subject: string(w.Subject), TokenID: w.TokenID, Version: w.version(),
		Roles: w.Roles, Competencies: w.Competencies, IssuedAt: instant(int64(w.IssuedAt)), Expires: instant(int64(w.Expires)),
	}
	if p.TokenID == "" { // for logs, and as the mark of a credential that opens no session
		sum := sha256.Sum256([]byte(raw))
		p.TokenID = "legacy-" + b64.EncodeToString(sum[:12])
	}
	if err = l.judge(&w, now); err == nil {
		err = l.current(ctx, p, w.TokenVersion == nil && w.Ver == nil)
	}
	if l.c.Observe != nil {
		e := auth.Event{Owner: p.Owner(), Name: "legacy", Outcome: "ok", Time: now, Err: err}
		if err != nil {
			e.Outcome = string(auth.CodeOf(err))
		}
		l.c.Observe(ctx, e)
	}
	if err != nil {
		return nil, err
	}
	return p, nil
}

// current asks whether p's version is the present one, or p may lack one.
func (l *Legacy) current(ctx context.Context, p *auth.Principal, missing bool) error {
	present, err := l.c.Version(ctx, p.Subject)
	allowed := false
	if err == nil && missing && l.c.AllowMissingVersion != nil {
		allowed, err = l.c.AllowMissingVersion(ctx, p.Subject, p.IssuedAt)
	}
	switch {
	case auth.CodeOf(err) == auth.LoginFailed, auth.CodeOf(err) == auth.NotFound: // of a login; here it is a token
		return fmt.Errorf("%w: tokens: the subject of a legacy token: %w", auth.TokenRevoked, err)
	case err != nil:
		return fmt.Errorf("tokens: the version of a legacy token's subject: %w", err)
	case allowed:
	case missing && (l.c.AllowMissingVersion != nil || present != 0):
		return fmt.Errorf("%w: tokens: a legacy token without a version, expected %d", auth.TokenRevoked, present)
	case p.Version != present:
		return fmt.Errorf("%w: tokens: a legacy token of version %d, expected %d", auth.TokenRevoked, p.Version, present)
	}
	return nil
}

// legacyWire is the claims set of an older system.
type legacyWire struct {
	Issuer       string         `json:"iss"`
	Subject      digitsOrText   `json:"sub"`
	Audience     audience       `json:"aud"`
	Expires      numericDate    `json:"exp"`
	IssuedAt     numericDate    `json:"iat"`
	NotBefore    numericDate    `json:"nbf"`
	TokenID      string         `json:"jti"`
	Roles        []string       `json:"roles"`
	Competencies []string       `json:"competencies"`
	TokenVersion *int64         `json:"token_version"`
	Ver          *int64         `json:"ver"`
	Type         *string        `json:"type"`
	Confirm      jsontext.Value `json:"cnf"`
	Rest         jsontext.Value `json:",embed"`
}

var registeredLegacy = namesOf[legacyWire]()

func (w *legacyWire) version() int64 {
	for _, v := range []*int64{w.TokenVersion, w.Ver} {
		if v != nil {
			return *v
		}
	}
	return 0
}

// digitsOrText is a string, or a whole number that is not negative, as its digits.
type digitsOrText string

func (s *digitsOrText) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	if dec.PeekKind() != '0' {
		return json.UnmarshalDecode(dec, (*string)(s))
	}
	var n uint64
	if err := json.UnmarshalDecode(dec, &n); err != nil {
		return err
	}
	*s = digitsOrText(strconv.FormatUint(n, 10))
	return nil
}

// open judges the text, cheapest first. No claim is read before the signature has been checked.
func (l *Legacy) open(raw string) (w legacyWire, err error) {
	txt, err := split(raw)
	if err != nil {
		return w, err
	}
	if txt.header.Algorithm != algHS256 || !txt.header.old() {
		return w, fmt.Errorf("%w: not the header of a legacy token", ErrMalformed)
	}
	if err := l.c.Key.k.verify(txt.signed, txt.signature, useAccess, l.c.Issuer); err != nil {
		return w, fmt.Errorf("%w: legacy: %w", ErrSignature, err)
	}
	if err := decode(txt.payload, &w); err != nil {
		return w, fmt.Errorf("%w: claims: %w", ErrMalformed, err)
	}
	if len(w.Rest) > 0 {
		if err := members(w.Rest, registeredLegacy, nil, strings.EqualFold); err != nil {
			return w, fmt.Errorf("%w: claims: %w", ErrMalformed, err)
		}
	}
	return w, nil
}

func (l *Legacy) judge(w *legacyWire, now time.Time) error {
	expires, from := instant(int64(w.Expires)), now
	if w.IssuedAt != 0 {
		from = instant(int64(w.IssuedAt))
	}
	latest := now.Add(skew)
	switch {
	case !now.Before(l.c.Until):
		return fmt.Errorf("%w: legacy tokens are accepted until %s", ErrExpired, l.c.Until.Format(time.DateOnly))
	case w.Type == nil && !l.c.AllowMissingType, w.Type != nil && *w.Type != l.c.Type:
		return fmt.Errorf("%w: not a legacy token of type %q", ErrKind, l.c.Type)
	case w.Issuer != l.c.OldIssuer:
		return fmt.Errorf("%w: got %.80q, expected %q", ErrIssuer, w.Issuer, l.c.OldIssuer)
	case l.c.OldAudience == "" && w.Audience.values != nil, l.c.OldAudience != "" && !slices.Contains(w.Audience.values, l.c.OldAudience):
		return fmt.Errorf("%w: got %.80q, expected %q", ErrAudience, w.Audience.values, l.c.OldAudience)
	case w.Subject == "":
		return fmt.Errorf("%w: no sub", ErrMalformed)
	case len(w.Confirm) > 0:
		return fmt.Errorf("%w: bound to a holder in a way that is not known here", ErrMalformed)
	case w.TokenVersion != nil && w.Ver != nil && *w.TokenVersion != *w.Ver:
		return fmt.Errorf("%w: token_version and ver differ", ErrMalformed)
	case w.Expires <= 0 || w.IssuedAt < 0 || w.NotBefore < 0 || w.version() < 0:
		return fmt.Errorf("%w: no exp, or a negative number", ErrMalformed)
	case !now.Before(expires):
		return ErrExpired
	case instant(int64(w.IssuedAt)).After(latest), instant(int64(w.NotBefore)).After(latest):
		return ErrNotYetValid
	case expires.Sub(from) > l.c.Life:
		return fmt.Errorf("%w: a life of %s, at most %s", ErrMalformed, expires.Sub(from), l.c.Life)
	}
	return nil
}
