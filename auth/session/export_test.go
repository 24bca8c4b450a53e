package session

import "github.com/doorward/doorward/revocation"

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
