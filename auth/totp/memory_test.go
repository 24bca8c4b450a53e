package totp_test

import (
	"testing"

	"github.com/doorward/doorward/auth/storetest"
	"github.com/doorward/doorward/auth/totp"
)

func TestMemory(t *testing.T) {
	storetest.TOTP(t, func(*testing.T) totp.Store { return totp.NewMemory() })
}
