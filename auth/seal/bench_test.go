package seal_test

import (
	"testing"

	"github.com/doorward/doorward/auth/seal"
)

func BenchmarkSeal(b *testing.B) {
	s := newSealer(b, seal.Config{Keys: newKeyring(b, newKey("k"))})
	for b.Loop() {
		mustSeal(b, s, totp, "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP")
	}
}

func BenchmarkOpen(b *testing.B) {
	s := newSealer(b, seal.Config{Keys: newKeyring(b, newKey("k"))})
	v := mustSeal(b, s, totp, "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP")
	for b.Loop() {
		if _, _, err := s.Open(totp, v); err != nil {
			b.Fatal(err)
		}
	}
}
