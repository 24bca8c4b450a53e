package tokens

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/doorward/doorward/auth"
	"github.com/maypok86/otter/v2"
)

// The kinds of token, as they stand in typ (RFC 7515 section 4.1.9, RFC 8725 section 3.11). Access and
// Service are for [Config.Type]; the others, and an application's own, are for [NewKind].
const (
	Access        = "at+jwt" // RFC 9068 section 2.1
	Service       = "svc+jwt"
	Invite        = "invite+jwt"
	VerifyEmail   = "verify-email+jwt"
	ResetPassword = "reset-password+jwt"
	MagicLink     = "magic-link+jwt"
	PendingLogin  = "pending-login+jwt"
)

const (
	// MaxListed is the longest life of a token that a [List] may end. The list forgets an ending a little
	// later than that, so a token that lives longer could come back.
	MaxListed = time.Hour
	// maxUnlisted bounds every other access token: a year 9999 is a mistake or an attack.
	maxUnlisted = 24 * time.Hour
	// skew is how far ahead another node's clock may be (nbf, iat). It never lengthens a life.
	skew      = 30 * time.Second
	maxLeeway = time.Minute

	defaultLifetime = 15 * time.Minute
	// minLifetime is what a token needs to be of use: times are whole seconds, other nodes' clocks are some off, and each
	// request after the end is a refresh.
	minLifetime  = 30 * time.Second
	defaultCache = 10_000
)

// The uses that a root secret derives MAC keys for: an access token never verifies under a one-time key.
const (
	useAccess  = "access"
	useOneTime = "one-time"
)

// A List remembers what was ended before its time: *revocation.Memory, *redisrev.List.
type List interface {
	// Check refuses a principal whose token was ended (auth.TokenRevoked), is stale or of another epoch
	// (auth.TokenExpired), or about whom the list cannot answer (auth.StoreUnavailable).
	Check(ctx context.Context, p *auth.Principal) error
	// Epoch names the list's present memory. A token carries it, and dies with that memory.
	Epoch(ctx context.Context) (string, error)
}

// Config is what [New] needs. Keys, Issuer and Audience are demanded.
type Config struct {
	Keys     *Keyring
	Issuer   string // iss: exactly this in every token; for own keys also what sets staging apart from production
	Audience string // aud: exactly this in an own token, one of several in a foreign one

	Lifetime time.Duration // of an access token: 15 min when 0; 30 s to 1 h with a List, to 24 h without
	Leeway   time.Duration // added to exp when verifying: 0, at most 60 s. For nbf and iat it is 30 s always
	Type     string        // typ: [Access] when "", [Service] for services, another only with AllowForeign

	// AllowForeign accepts the tokens of an issuer that is not this kit: jti, iat and client_id may lack,
	// aud may be a list, times may have a fraction, the header may have more members. Of its claims only iss, sub,
	// aud, exp, iat, nbf, jti and client_id are read; the rest, roles above all, is for Claims and Validate
	// to take over. One with a cnf (RFC 7800) is bound to its holder in a way that is not known here: guards refuse it
	// unless Validate has looked at the proof and empties Binding. Nothing can be issued, and there is no List: a
	// foreign token carries no epoch.
	// The tokens of another Doorward service are not foreign: give its Issuer and its JWKS.
	AllowForeign bool

	// AllowMissingType accepts a foreign token without any typ, as some issuers write them. Then nothing but
	// the audience tells their access tokens from their ID tokens.
	AllowMissingType bool

	Claims Custom // see [CustomClaims]. Unset: own claims are ignored at Verify, refused at Issue

	// Validate may refuse the token, or fill in what a foreign issuer spells otherwise (Roles). It runs
	// at every verification, after the signature and the list. Its error ends the request: wrap auth.TokenInvalid
	// to refuse; one without a code, such as a database's, is a fault of ours (500).
	Validate func(context.Context, *Claims) error

	// List is asked at every verification, and for its epoch at every issue. Nil: a token is good until
	// it expires, and nothing can end it.
	List List

	Cache int // verified tokens remembered: 10,000 when 0, off below 0
	Now   func() time.Time
}

// Tokens makes and verifies the tokens of one issuer for one audience. It is safe for concurrent use.
type Tokens struct {
	c       Config
	maxLife time.Duration
	cache   *otter.Cache[string, *cached]
}

// New checks c and fills in the defaults. Its errors say what was got and what was expected.
func New(c Config) (*Tokens, error) {
	if c.Keys == nil {
		return nil, errors.New("tokens: Config.Keys: got nil, expected a keyring (NewKeyring, NewRemoteKeyring)")
	}
	if err := c.Keys.err(); err != nil {
		return nil, fmt.Errorf("tokens: Config.Keys: %w", err)
	}
	for _, f := range []struct{ name, value string }{{"Issuer", c.Issuer}, {"Audience", c.Audience}} {
		if err := checkName(f.value); err != nil {
			return nil, fmt.Errorf("tokens: Config.%s: %w", f.name, err)
		}
	}
	if c.Type == "" {
		c.Type = Access
	}
	switch {
	case c.AllowForeign && slices.Contains([]string{Invite, VerifyEmail, ResetPassword, MagicLink, PendingLogin}, canonicalType(c.Type)),
		!c.AllowForeign && c.Type != Access && c.Type != Service:
		return nil, fmt.Errorf("tokens: Config.Type: got %q, expected %q or %q, or AllowForeign with a type that is no kind of ours", c.Type, Access, Service)
	}
	switch {
	case c.AllowForeign && c.List != nil:
		return nil, errors.New("tokens: Config.AllowForeign: got a List too, expected none: a foreign token carries no epoch, so the list would refuse it for ever")
	case c.AllowMissingType && !c.AllowForeign:
		return nil, errors.New("tokens: Config.AllowMissingType: got it without AllowForeign, expected both: own tokens always have a typ")
	}
	names := registered
	if c.AllowForeign {
		names = registeredForeign
	}
	if err := c.Claims.check(names); err != nil {
		return nil, err
	}
	if c.Leeway < 0 || c.Leeway > maxLeeway {
		return nil, fmt.Errorf("tokens: Config.Leeway: got %s, expected 0 to %s", c.Leeway, maxLeeway)
	}
	t := &Tokens{c: c, maxLife: maxUnlisted}
	if c.List != nil {
		t.maxLife = MaxListed
	}
	if t.c.Lifetime == 0 {
		t.c.Lifetime = defaultLifetime
	}
	if t.c.Lifetime < minLifetime || t.c.Lifetime > t.maxLife {
		return nil, fmt.Errorf("tokens: Config.Lifetime: got %s, expected %s to %s", t.c.Lifetime, minLifetime, t.maxLife)
	}
	if t.c.Now == nil {
		t.c.Now = time.Now
	}
	if t.c.Cache == 0 {
		t.c.Cache = defaultCache
	}
	if t.c.Cache > 0 {
		// W-TinyLFU: a flood of tokens seen once does not push out those in use. The executor runs in the
		// calling goroutine, so that the package starts none.
		cache, err := otter.New(&otter.Options[string, *cached]{
			MaximumSize: t.c.Cache, Executor: func(f func()) { f() },
		})
		if err != nil {
			return nil, fmt.Errorf("tokens: Config.Cache: got %d: %w", c.Cache, err)
		}
		t.cache = cache
	}
	return t, nil
}

// Config returns the settings in force, defaults filled in, for a package that issues through t and has to
// know whose tokens they are, under which keys, and which list may end them.
func (t *Tokens) Config() Config { return t.c }

func checkName(s string) error {
	switch {
	case s == "":
		return errors.New("got an empty string, expected a name or URL")
	case !utf8.ValidString(s) || strings.TrimSpace(s) != s || len(s) > 512:
		return fmt.Errorf("got %.80q, expected valid UTF-8 without surrounding spaces, at most 512 bytes", s)
	}
	return nil
}

// canonicalType strips what RFC 7515 section 4.1.9 lets a sender add: letter case and "application/".
func canonicalType(typ string) string {
	typ = strings.ToLower(typ)
	return strings.TrimPrefix(typ, "application/")
}

// A Stamp is the instant, and the list's epoch, from before the state that a token will prove was
// read. Take it first, then load the subject, then issue: a token made so cannot outlive an ending, or a
// flush of the list, that happened in between (the naive order mints a fresh token of a dead session).
type Stamp struct {
	at    time.Time
	epoch string
}

// Stamp asks the list for its epoch and reads the clock. Its error is the list's: auth.StoreUnavailable.
func (t *Tokens) Stamp(ctx context.Context) (Stamp, error) {
	s := Stamp{at: t.c.Now()}
	if t.c.List == nil {
		return s, nil
	}
	var err error
	if s.epoch, err = t.c.List.Epoch(ctx); err != nil {
		return Stamp{}, fmt.Errorf("tokens: the epoch: %w", err)
	}
	if s.epoch == "" {
		return Stamp{}, fmt.Errorf("%w: tokens: the list named no epoch", auth.StoreUnavailable)
	}
	return s, nil
}

// StampAt is a stamp of a known instant and epoch, for a store that compares the epoch in the same step in
// which it writes what the token will prove, and writes nothing when it is another one. Everywhere else
// take [Tokens.Stamp], which asks.
func (t *Tokens) StampAt(at time.Time, epoch string) Stamp { return Stamp{at: at, epoch: epoch} }
