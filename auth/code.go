package auth

import (
	"errors"
	"net/http"
)

// A Code is a refusal: a stable word that a client can act on, and an error.
// Wrap it to say why: fmt.Errorf("%w: version 3 is below 4", auth.TokenExpired).
// The client sees only the code and its fixed text; the log gets the whole chain.
type Code string

// The codes, and what a client does about each.
const (
	CredentialsMissing Code = "credentials_missing" // 401: log in
	TokenExpired       Code = "token_expired"       // 401: refresh, once. Also: an older version, another epoch
	TokenInvalid       Code = "token_invalid"       // 401: log in
	TokenRevoked       Code = "token_revoked"       // 401: log in
	RefreshReused      Code = "refresh_reused"      // 401: log in
	StepUpRequired     Code = "step_up_required"    // 401: prove again, then repeat (RFC 9470)
	LoginFailed        Code = "login_failed"        // 401: one text for unknown user, wrong password, locked, disabled, unverified
	// 401: the password was right; log in again with the code of the second factor beside it
	SecondFactorRequired Code = "second_factor_required"
	// 401: the API key is wrong, was revoked, or its owner may not use it any more; there is nothing to refresh
	APIKeyInvalid Code = "api_key_invalid"
	APIKeyExpired Code = "api_key_expired" // 401: the key, or this secret of it, is over; its owner makes or rotates one

	RoleMissing       Code = "role_missing"       // 403
	CompetencyMissing Code = "competency_missing" // 403
	TenantForbidden   Code = "tenant_forbidden"   // 403
	CSRFFailed        Code = "csrf_failed"        // 403
	NotFound          Code = "not_found"          // 404: also another's object
	RequestMalformed  Code = "request_malformed"  // 400
	TooLarge          Code = "too_large"          // 413
	MediaType         Code = "media_type"         // 415
	ValidationFailed  Code = "validation_failed"  // 422: with fields
	RateLimited       Code = "rate_limited"       // 429: wait Retry-After
	StoreUnavailable  Code = "store_unavailable"  // 503: retry later
	Busy              Code = "busy"               // 503: retry later
	Internal          Code = "internal"           // 500: whatever has no code
)

// codes is the one table from code to status and to the text that a client may read.
var codes = map[Code]struct {
	status int
	text   string
	bearer string // the error attribute of WWW-Authenticate (RFC 6750 section 3.1, RFC 9470 section 3), of every scheme
}{
	CredentialsMissing:   {http.StatusUnauthorized, "Authentication is required.", ""},
	TokenExpired:         {http.StatusUnauthorized, "The access token has expired.", "invalid_token"},
	TokenInvalid:         {http.StatusUnauthorized, "The access token is not valid.", "invalid_token"},
	TokenRevoked:         {http.StatusUnauthorized, "The session has ended.", "invalid_token"},
	RefreshReused:        {http.StatusUnauthorized, "The refresh token was used before; the session has ended.", "invalid_token"},
	StepUpRequired:       {http.StatusUnauthorized, "A more recent or stronger proof is required.", "insufficient_user_authentication"},
	LoginFailed:          {http.StatusUnauthorized, "The login failed.", ""},
	SecondFactorRequired: {http.StatusUnauthorized, "A code of the second factor is required.", ""},
	APIKeyInvalid:        {http.StatusUnauthorized, "The API key is not valid.", "invalid_token"},
	APIKeyExpired:        {http.StatusUnauthorized, "The API key has expired.", "invalid_token"},
	RoleMissing:          {http.StatusForbidden, "The required role is missing.", "insufficient_scope"},
	CompetencyMissing:    {http.StatusForbidden, "A required competency is missing.", "insufficient_scope"},
	TenantForbidden:      {http.StatusForbidden, "The tenant is not open to you.", "insufficient_scope"},
	CSRFFailed:           {http.StatusForbidden, "The request was not shown to come from this site.", ""},
	NotFound:             {http.StatusNotFound, "There is no such thing here.", ""},
	RequestMalformed:     {http.StatusBadRequest, "The request is malformed.", "invalid_request"},
	TooLarge:             {http.StatusRequestEntityTooLarge, "The request is too large.", ""},
	MediaType:            {http.StatusUnsupportedMediaType, "The media type is not supported.", ""},
	ValidationFailed:     {http.StatusUnprocessableEntity, "Some fields are not valid.", ""},
	RateLimited:          {http.StatusTooManyRequests, "There were too many requests.", ""},
	StoreUnavailable:     {http.StatusServiceUnavailable, "The service is temporarily unavailable.", ""},
	Busy:                 {http.StatusServiceUnavailable, "The service is busy.", ""},
	Internal:             {http.StatusInternalServerError, "Something went wrong.", ""},
}

// texts says the same of other credentials than access tokens, where it differs. API keys have codes of their own, because
// a client that is told token_expired refreshes.
var texts = map[Credential]map[Code]string{
	RefreshToken: {
		TokenExpired: "The refresh token cannot be used now.", // replaced a moment ago, or of a key that this node does not know yet
		TokenInvalid: "The refresh token is not valid.",
	},
	SessionCookie: {
		TokenExpired: "The session cookie has expired.",
		TokenInvalid: "The session cookie is not valid.",
	},
}

// Error returns the code itself.
func (c Code) Error() string { return string(c) }

// Status returns the HTTP status of the code; 500 for one that is not in the table.
func (c Code) Status() int {
	if e, ok := codes[c]; ok {
		return e.status
	}
	return http.StatusInternalServerError
}

// CodeOf returns the first code in err's chain, [Internal] when there is none.
func CodeOf(err error) Code {
	var c Code
	if errors.As(err, &c) {
		if _, ok := codes[c]; ok {
			return c
		}
	}
	return Internal
}
