// Package onetime makes and redeems one-time tokens: the links of invitations, password resets, address
// verifications and logins by mail.
//
// A [Kind] is one purpose with a payload of an application's own type, on a kind of package tokens. Three things
// make its tokens good for one use. The [Store] holds the one live token of each subject, and gives it up once. The
// token carries a MAC of the subject's state, so that it dies with what it was made for: a reset link with the
// password, also when the store has come back from an older copy. And a new token takes the place of the older one.
//
// It does not own accounts, mail, or how often one may ask for a link (middleware.RateLimit).
//
// # The link
//
// A link is the configured URL, never anything of a request, and the token is in its fragment:
//
//	https://app.example.com/reset#token=eyJ...
//
// A browser sends a fragment nowhere: it is in no server's or proxy's log, in no Referer, and not in the request of
// a mail scanner that opens the link. So a GET cannot use the token up, as it does not have it. A few lines of script
// put it into the form of a page (see [Kind.Page]), whose POST does.
package onetime

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/internal/derive"
	"github.com/doorward/doorward/middleware"
	"github.com/doorward/doorward/tokens"
)

// lives are the defaults of the kinds that package tokens names.
var lives = map[string]time.Duration{
	tokens.Invite:        7 * 24 * time.Hour,
	tokens.VerifyEmail:   24 * time.Hour,
	tokens.ResetPassword: 30 * time.Minute,
	tokens.MagicLink:     15 * time.Minute,
}

// Config is what [New] needs. All but Keys, Life, MaxLife, Who and Observe is demanded.
type Config[T any] struct {
	Tokens *tokens.Tokens  // whose issuer, audience and keys the tokens are of
	Keys   *tokens.Keyring // a ring of tokens.FromSecret, for the MAC of states; nil is that of Tokens
	Store  Store

	// Type is tokens.Invite, tokens.VerifyEmail, tokens.ResetPassword, tokens.MagicLink, or an application's own, such
	// as "unsubscribe+jwt". Two Kinds of one type are one purpose.
	Type string

	// Life is that of a token for which [Kind.Issue] is asked for no other: a second to 366 days. By default 7 days
	// for an invitation, 24 hours for an address, 30 minutes for a reset, 15 minutes for a login; a type of one's own
	// has no default.
	Life time.Duration

	// MaxLife is the longest life that Issue may be asked for: Life to 366 days, Life when 0. A token that lives
	// longer is refused, so lowering MaxLife ends such tokens.
	MaxLife time.Duration

	// URL is the page that a link leads to: https, or http on a loopback host, without query and fragment. A reset
	// link with a host that the requester has chosen would hand him the token.
	URL string

	// State returns what the token hangs on, as it is now, read where writes go. When any of it changes, the token is
	// dead. For a reset that is the password's hash; for an address the address, and whether it is verified; for a
	// login the subject's version; for an invitation the state of its row. No subject any more is auth.NotFound or
	// auth.LoginFailed; any other error is an outage.
	State func(ctx context.Context, subject string, payload T) ([]string, error)

	// Who may refuse a redemption because of who is logged in: p is the principal of the request (auth.FromContext),
	// nil for nobody. By default it must be the token's owner if there is one, the same subject of the same issuer, as
	// is right for accounts. A kind whose subject is no account, such as an invitation, compares what its payload
	// says. An error without a code is a fault (500).
	Who func(ctx context.Context, p *auth.Principal, t Token[T]) error

	// Observe is told of "link_issue", "link_void" and "link_redeem", refusals of authentic tokens included. It
	// must be quick.
	Observe func(context.Context, auth.Event)
}

// A Kind makes and redeems the tokens of one purpose. It is safe for concurrent use.
type Kind[T any] struct {
	c      Config[T]
	kind   tokens.Kind[envelope[T]]
	issuer string
	now    func() time.Time
	csrf   *middleware.CSRF // of the URL's origin, for Page
}

// envelope is the payload as it stands in the token.
type envelope[T any] struct {
	State   string `json:"state"` // key id, a dot, MAC
	Payload T      `json:"payload"`
}

// A Token is what a verified one-time token says.
type Token[T any] struct {
	ID, Subject       string
	Payload           T
	IssuedAt, Expires time.Time
}

// A Link is a token on its way to its receiver. Both texts are secrets and masked.
type Link struct {
	URL     auth.Secret // for the mail
	Token   auth.Secret // the token alone, for a page of one's own
	Expires time.Time
}

// New checks c and fills in the defaults. It does no I/O. Its errors say what was got and what was expected.
func New[T any](c Config[T]) (*Kind[T], error) {
	switch {
	case c.Tokens == nil:
		return nil, errors.New("onetime: Config.Tokens: got nil, expected tokens of the own issuer")
	case c.Store == nil:
		return nil, errors.New("onetime: Config.Store: got nil, expected a store (NewMemory, redisonetime.New)")
	case c.State == nil:
		return nil, errors.New("onetime: Config.State: got nil, expected what a token hangs on, such as the password's hash")
	}
	if c.Life == 0 {
		if c.Life = lives[c.Type]; c.Life == 0 {
			return nil, fmt.Errorf("onetime: Config.Life: got 0, expected a life: the type %.80q has no default", c.Type)
		}
	}
	if c.MaxLife == 0 {
		c.MaxLife = c.Life
	}
	if c.Life > c.MaxLife {
		return nil, fmt.Errorf("onetime: Config.MaxLife: got %s, expected %s, the Life, to 366 days", c.MaxLife, c.Life)
	}
	t := c.Tokens.Config()
	k := &Kind[T]{kind: tokens.NewKind[envelope[T]](c.Type, c.MaxLife), issuer: t.Issuer, now: t.Now}
	// A Kind tells what is wrong with it when it is used.
	if _, _, err := k.kind.Verify(context.Background(), c.Tokens, ""); auth.CodeOf(err) == auth.Internal {
		return nil, fmt.Errorf("onetime: Config.Type, Life or MaxLife: %w", err)
	}
	if err := lifeError(c.Life, c.MaxLife); err != nil {
		return nil, fmt.Errorf("onetime: Config.Life: %v", err)
	}
	if c.Keys == nil {
		c.Keys = t.Keys
	}
	if _, _, err := derive.Key(c.Keys, "", k.issuer, derive.OneTimeState); err != nil {
		return nil, fmt.Errorf("onetime: Config.Keys: %w", err)
	}
	u, err := url.Parse(c.URL)
	if err != nil || u.String() != c.URL || u.Host == "" || u.User != nil || u.RawQuery != "" || u.ForceQuery || strings.Contains(c.URL, "#") {
		return nil, fmt.Errorf("onetime: Config.URL: got %.200q, expected https://host/path, without user, query and fragment", c.URL)
	}
	if k.csrf, err = middleware.NewCSRF(c.Keys, u.Scheme+"://"+u.Host); err != nil {
		return nil, fmt.Errorf("onetime: Config.URL: %w", err)
	}
	if c.Who == nil {
		c.Who = k.own
	}
	if c.Observe == nil {
		c.Observe = func(context.Context, auth.Event) {}
	}
	k.c = c
	return k, nil
}

// Issue makes a token for the subject and returns its link. The subject's older token of this type, if it has one, is
// dead when Issue has returned. So the subject is what there is one link for: an account; for an invitation its id,
// or the invited address. An organisation is no part of it: it belongs into the payload.
//
// The token lives for life, in whole seconds; 0 is Config.Life. Another than a second to Config.MaxLife is
// auth.ValidationFailed with the field "life", and voids nothing.
//
// An unknown subject is what Config.State says of it. A handler that answers requests of strangers answers that as
// it answers success, after the same time: send the mail in another goroutine.
func (k *Kind[T]) Issue(ctx context.Context, subject string, payload T, life time.Duration) (Link, error) {
	l, err := k.issue(ctx, subject, payload, life)
	k.tell(ctx, "link_issue", subject, err)
	return l, err
}

func (k *Kind[T]) issue(ctx context.Context, subject string, payload T, life time.Duration) (Link, error) {
	if life == 0 {
		life = k.c.Life
	}
	if err := lifeError(life, k.c.MaxLife); err != nil {
		return Link{}, err
	}
	state, err := k.state(ctx, subject, payload)
	if err != nil {
		return Link{}, err
	}
	keyID, key, err := derive.Key(k.c.Keys, "", k.issuer, derive.OneTimeState)
	if err != nil {
		return Link{}, err
	}
	raw, err := k.kind.Issue(k.c.Tokens, subject, envelope[T]{keyID + "." + k.mac(key, subject, state), payload}, life)
	if err != nil {
		return Link{}, err
	}
	u, err := tokens.DecodeUnverified(raw) // made above
	if err != nil {
		return Link{}, err
	}
	if err := k.c.Store.Put(ctx, k.slot(subject), u.TokenID, u.Expires); err != nil {
		return Link{}, storeError(err)
	}
	return Link{auth.NewSecret(k.c.URL + "#token=" + raw), auth.NewSecret(raw), u.Expires}, nil
}

// Check says whether Redeem would take the token now, and changes nothing: look at the rest of a request, such as the
// new password, between the two, since a token that was redeemed for nothing is gone. Errors are those of Redeem.
func (k *Kind[T]) Check(ctx context.Context, raw string) (Token[T], error) {
	t, err := k.verify(ctx, raw)
	if err == nil {
		err = k.first(k.c.Store.Live(ctx, k.slot(t.Subject), t.ID))
	}
	if err != nil {
		return Token[T]{}, err
	}
	return t, nil
}

// Redeem uses the token up: of any number of calls with it, on any number of nodes, one gets the token and no
// error. The others, and whoever shows a token that was made before the last one or before the state changed, get
// auth.TokenInvalid; after its time auth.TokenExpired. While the store or the state cannot be read it is
// auth.StoreUnavailable, and the token may be used up: offer a new link.
//
// Everything that counts is in the token. Take organisation, role and address from it, never from the request beside
// it.
func (k *Kind[T]) Redeem(ctx context.Context, raw string) (Token[T], error) {
	t, err := k.verify(ctx, raw)
	if err == nil {
		err = k.take(ctx, t)
	}
	if err != nil {
		return Token[T]{}, err
	}
	return t, nil
}

func (k *Kind[T]) take(ctx context.Context, t Token[T]) error {
	err := k.first(k.c.Store.Take(ctx, k.slot(t.Subject), t.ID))
	k.tell(ctx, "link_redeem", t.Subject, err)
	return err
}

// Void ends the subject's live token, if it has one, such as an invitation that is taken back.
func (k *Kind[T]) Void(ctx context.Context, subject string) error {
	err := storeError(k.c.Store.Drop(ctx, k.slot(subject)))
	k.tell(ctx, "link_void", subject, err)
	return err
}

// verify does all that Redeem does but take. The state is compared before the store is asked, so that an
// outage of the users' table uses nothing up.
func (k *Kind[T]) verify(ctx context.Context, raw string) (Token[T], error) {
	c, e, err := k.kind.Verify(ctx, k.c.Tokens, raw)
	if err != nil {
		return Token[T]{}, err // garbage, or too late: not worth an event
	}
	t := Token[T]{c.TokenID, c.Subject, e.Payload, c.IssuedAt, c.Expires}
	if err = k.unchanged(ctx, t, e.State); err == nil {
		p, _ := auth.FromContext(ctx)
		err = k.c.Who(ctx, p, t)
	}
	if err != nil {
		k.tell(ctx, "link_redeem", t.Subject, err)
	}
	return t, err
}

// unchanged compares the state that the token was made for with the present one.
func (k *Kind[T]) unchanged(ctx context.Context, t Token[T], made string) error {
	dot := strings.LastIndexByte(made, '.') // a key id may hold dots
	if dot < 1 {
		return fmt.Errorf("%w: onetime: no state in the token", auth.TokenInvalid)
	}
	keyID, mac := made[:dot], made[dot+1:]
	_, key, err := derive.Key(k.c.Keys, keyID, k.issuer, derive.OneTimeState)
	if err != nil {
		return fmt.Errorf("%w: onetime: the key of the state: %v", auth.TokenInvalid, err)
	}
	now, err := k.state(ctx, t.Subject, t.Payload)
	switch {
	case err == nil && hmac.Equal([]byte(mac), []byte(k.mac(key, t.Subject, now))):
		return nil
	case err == nil:
		return fmt.Errorf("%w: onetime: what the token was made for has changed", auth.TokenInvalid)
	case isGone(err):
		return fmt.Errorf("%w: onetime: the subject is gone: %v", auth.TokenInvalid, err)
	}
	return err
}

// state gives an error that is no end the code of an outage.
func (k *Kind[T]) state(ctx context.Context, subject string, payload T) ([]string, error) {
	state, err := k.c.State(ctx, subject, payload)
	if err != nil && !isGone(err) {
		return nil, fmt.Errorf("%w: onetime: the state: %w", auth.StoreUnavailable, err)
	}
	return state, err
}

func isGone(err error) bool {
	code := auth.CodeOf(err)
	return code == auth.NotFound || code == auth.LoginFailed
}

// own is the rule for kinds whose subject is an account: who is logged in as somebody else would change, or log
// in to, an account that is not his.
func (k *Kind[T]) own(_ context.Context, p *auth.Principal, t Token[T]) error {
	if p != nil && p.Owner() != k.owner(t.Subject) {
		return fmt.Errorf("%w: onetime: the token is another's than who is logged in", auth.TokenInvalid)
	}
	return nil
}

// first makes an error of what the store said.
func (k *Kind[T]) first(ok bool, err error) error {
	if err != nil {
		return storeError(err)
	}
	if !ok {
		return errDead
	}
	return nil
}

// badLife is a life that Issue was asked for in vain.
type badLife struct{ got, most time.Duration }

func lifeError(got, most time.Duration) error {
	if got < time.Second || got > most {
		return badLife{got, most}
	}
	return nil
}

func (b badLife) Error() string {
	return fmt.Sprintf("%s: onetime: got a life of %s, expected 1s to %s", auth.ValidationFailed, b.got, b.most)
}
func (b badLife) Unwrap() error { return auth.ValidationFailed }
func (b badLife) Fields() map[string]string {
	return map[string]string{"life": fmt.Sprintf("Between a second and %s.", b.most)}
}

var errDead = fmt.Errorf("%w: onetime: the token was used, or taken back, or a newer one was made", auth.TokenInvalid)

// storeError gives an error of a store that brings no code the one of an outage.
func storeError(err error) error {
	if err == nil || auth.CodeOf(err) != auth.Internal {
		return err
	}
	return fmt.Errorf("%w: onetime: the store: %w", auth.StoreUnavailable, err)
}

// owner is whose the tokens of a subject are.
func (k *Kind[T]) owner(subject string) auth.Owner {
	return auth.Owner{Issuer: k.issuer, Subject: subject}
}

func (k *Kind[T]) slot(subject string) Slot { return Slot{k.owner(subject), k.c.Type} }

// mac is keyed, since a token can be read by its holder: a plain hash of a state would let him guess at it.
func (k *Kind[T]) mac(key []byte, subject string, state []string) string {
	h := hmac.New(sha256.New, key)
	h.Write(join(append([]string{k.c.Type, k.issuer, subject}, state...)...))
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}

// join keeps the borders between the parts.
func join(parts ...string) (b []byte) {
	for _, p := range parts {
		b = append(binary.BigEndian.AppendUint64(b, uint64(len(p))), p...)
	}
	return b
}

func (k *Kind[T]) tell(ctx context.Context, name, subject string, err error) {
	outcome := "ok"
	switch {
	case err != nil && auth.CodeOf(err) == auth.StoreUnavailable:
		name, outcome = "outage", name
	case err != nil:
		outcome = string(auth.CodeOf(err))
	}
	k.c.Observe(ctx, auth.Event{Owner: k.owner(subject), Name: name, Outcome: outcome, Time: k.now(), Err: err})
}
