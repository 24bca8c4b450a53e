package session

// Issuer returns the issuer of the tokens, which owns all sessions.
func (s *Sessions) Issuer() string { return s.issuer }

// SessionOf returns the id of the session that a refresh token names, its MAC checked, without any I/O. It says nothing of
// whether the session lives: it is for a limit, which counts before anything is asked. Its errors are those that
// [Sessions.Refresh] finds without I/O: auth.TokenInvalid, and auth.TokenExpired for a key that this node does not know.
func (s *Sessions) SessionOf(refresh string) (string, error) {
	p, err := s.open(refresh)
	return p.id, err
}
