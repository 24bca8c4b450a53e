package apikey_test

import (
	"testing"

	"github.com/doorward/doorward/auth/apikey"
	"github.com/doorward/doorward/auth/storetest"
)

func TestMemory(t *testing.T) {
	storetest.APIKeys(t, func(*testing.T) apikey.Store { return apikey.NewMemory() })
}
