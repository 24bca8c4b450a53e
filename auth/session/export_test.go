package session

import (
	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/internal/derive"
	"github.com/doorward/doorward/revocation"
)

// Forget gives m another list, with another epoch: what a restart would do if memory outlived it.
func (m *Memory) Forget() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.list = revocation.NewMemory()
}

// Rows says how many rows m holds, those that are over included.
func (m *Memory) Rows() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.rows)
}

// Seal makes a refresh token of any fields, under the ring's key of this id.
func (s *Sessions) Seal(keyID, subject, id string, generation int64) (string, error) {
	keyID, key, err := s.derive(keyID, derive.Refresh)
	if err != nil {
		return "", err
	}
	return s.seal(presented{s.owner(subject), id, generation}, keyID, key)
}

// SealBody puts any body under a good MAC.
func (s *Sessions) SealBody(body []byte) string {
	keyID, _, err := s.derive("", derive.Refresh)
	if err != nil {
		panic(err)
	}
	return s.SealText(prefix + keyID + "." + b64.EncodeToString(body))
}

// SealText puts the MAC of the current key behind any text.
func (s *Sessions) SealText(left string) string {
	_, key, err := s.derive("", derive.Refresh)
	if err != nil {
		panic(err)
	}
	return left + "." + mac(key, left)
}

// Open says what a refresh token names.
func (s *Sessions) Open(raw string) (o auth.Owner, id string, generation int64, err error) {
	p, err := s.open(raw)
	return p.owner, p.id, p.generation, err
}
