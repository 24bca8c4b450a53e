package onetime_test

import (
	"testing"

	"github.com/doorward/doorward/auth/onetime"
	"github.com/doorward/doorward/auth/storetest"
)

func TestMemory(t *testing.T) {
	storetest.OneTime(t, func(*testing.T) onetime.Store { return onetime.NewMemory() })
}
