package session_test

import (
	"testing"

	"github.com/doorward/doorward/auth/session"
	"github.com/doorward/doorward/auth/storetest"
	"github.com/doorward/doorward/revocation"
)

func TestMemory(t *testing.T) {
	storetest.Sessions(t, func(t *testing.T) (session.Store, func()) {
		m := session.NewMemory(revocation.NewMemory())
		return m, m.Forget
	})
}
