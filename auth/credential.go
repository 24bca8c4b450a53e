package auth

import "errors"

// A Credential is what a client has shown: refusals call it by its name. What carries no Credential is taken for an
// [AccessToken]. API keys need none, because they have codes of their own.
type Credential string

// The credentials that share the codes token_expired, token_invalid and token_revoked.
const (
	AccessToken   Credential = "access token"
	RefreshToken  Credential = "refresh token"
	SessionCookie Credential = "session cookie"
)

// Refuse returns err as a refusal of c that is answered with these challenges, in this order: what a request could have
// shown (RFC 9110 section 11.3), without what went wrong, such as `Bearer realm="api"`. Without any it is Cookie for a
// [SessionCookie] and Bearer for everything else. What err says of either already stays. A nil err stays nil.
func (c Credential) Refuse(err error, challenges ...string) error {
	if err == nil {
		return nil
	}
	return &refusal{err, c, challenges}
}

// A Challenger is an [Authenticator] that says what a refusal challenges for, in the form of [Credential.Refuse].
// Those of this package are Challengers. A guard without any Challenger challenges for Bearer.
type Challenger interface{ Challenge() string }

// shown is the kind of authenticator that has proven a principal.
type shown uint8

const (
	byBearer shown = iota + 1
	byHeader
	byCookie
)

// Challenge returns the challenge of the authenticator that has proven p, without the name of a header, "" for one that
// is not of this package.
// Guards behind it refuse with it, so that a program with an API key is not asked for a token.
func (p *Principal) Challenge() string {
	return [...]string{byBearer: bearerChallenge, byHeader: `ApiKey realm="api", in="header"`, byCookie: cookieChallenge}[p.shown]
}

const (
	bearerChallenge = `Bearer realm="api"`
	cookieChallenge = `Cookie realm="api"` // draft-broyer-http-cookie-auth: no scheme for cookies is registered
)

// headerChallenge names the header, in the parameters that others use (AspNetCore.Authentication.ApiKey): no scheme
// for API keys is registered.
func headerChallenge(name string) string {
	return `ApiKey realm="api"` + authParams(map[string]string{"in": "header", "key_name": name})
}

// A refusal says of an error what was refused, and what could have been shown instead.
type refusal struct {
	error
	credential Credential
	challenges []string
}

func (r *refusal) Unwrap() error { return r.error }

// innermost returns the credential and the challenges of err's chain: who is nearer to the credential knows it better.
func innermost(err error) (c Credential, challenges []string) {
	for r := (*refusal)(nil); errors.As(err, &r); err = r.error {
		if r.credential != "" {
			c = r.credential
		}
		if len(r.challenges) > 0 {
			challenges = r.challenges
		}
	}
	switch {
	case len(challenges) > 0:
	case c == SessionCookie:
		challenges = []string{cookieChallenge}
	default:
		challenges = []string{bearerChallenge}
	}
	return c, challenges
}
