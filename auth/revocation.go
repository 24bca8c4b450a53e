package auth

import "fmt"

// A Revocation names what is to end before its time, always with its owner. Exactly one of Session,
// TokenID and Below is set.
type Revocation struct {
	Owner // whose it is, as in the tokens: both parts are demanded

	Session string // every token of this session
	// Replaced says of Session that another has just taken its place, in a step-up. Its tokens are answered with
	// TokenExpired, not TokenRevoked: other requests of the same client are under way with them, and the refresh
	// that they lead to knows what to say.
	Replaced bool
	TokenID  string // this token alone
	Below    int64  // the subject's tokens whose version is lower
}

// Validate says what is wrong with r. A list refuses what it refuses: an entry that matches no token
// would look like an ending and be none.
func (r Revocation) Validate() error {
	if r.Issuer == "" || r.Subject == "" {
		return fmt.Errorf("auth: a revocation needs the owner's Issuer and Subject: got %q and %q", r.Issuer, r.Subject)
	}
	set := 0
	for _, is := range []bool{r.Session != "", r.TokenID != "", r.Below != 0} {
		if is {
			set++
		}
	}
	if set != 1 {
		return fmt.Errorf("auth: a revocation needs exactly one of Session, TokenID and Below: got %d of them", set)
	}
	if r.Replaced && r.Session == "" {
		return fmt.Errorf("auth: a revocation's Replaced is about its Session: got none")
	}
	if r.Below < 0 {
		return fmt.Errorf("auth: a revocation's Below must be positive: got %d", r.Below)
	}
	return nil
}
