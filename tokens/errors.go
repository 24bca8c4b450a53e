package tokens

import "github.com/doorward/doorward/auth"

// Why a token is refused. Each wraps the auth.Code that a client sees: errors.Is(err, ErrExpired) and
// errors.Is(err, auth.TokenExpired) both hold. A revoked token is refused with auth.TokenRevoked, which is
// the list's word; a list that cannot answer with auth.StoreUnavailable.
var (
	ErrMalformed   error = &refusal{"tokens: malformed", auth.TokenInvalid}
	ErrKind        error = &refusal{"tokens: wrong kind of token", auth.TokenInvalid}
	ErrSignature   error = &refusal{"tokens: bad signature", auth.TokenInvalid} // also: an unknown or removed key
	ErrIssuer      error = &refusal{"tokens: wrong issuer", auth.TokenInvalid}
	ErrAudience    error = &refusal{"tokens: wrong audience", auth.TokenInvalid}
	ErrNotYetValid error = &refusal{"tokens: not yet valid", auth.TokenInvalid}
	ErrExpired     error = &refusal{"tokens: expired", auth.TokenExpired}
)

type refusal struct {
	text string
	code auth.Code
}

func (r *refusal) Error() string { return r.text }
func (r *refusal) Unwrap() error { return r.code }
