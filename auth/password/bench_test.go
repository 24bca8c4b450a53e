package password_test

import (
	"testing"

	"golang.org/x/crypto/argon2"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/auth/password"
)

const benchHash = "$argon2id$v=19$m=65536,t=3,p=4$MIIRqgvgQbgj220jfp0MPA$YfwJSVjtjSU0zzV/P3S9nnQ/USre2wvJMjfCIjrTQbg"

// BenchmarkPlain is x/crypto/argon2 alone, with the same costs: what the others are measured against.
func BenchmarkPlain(b *testing.B) {
	for b.Loop() {
		argon2.IDKey([]byte("correct horse battery staple"), make([]byte, 16), 3, 64*1024, 4, 32)
	}
}

func BenchmarkHash(b *testing.B) {
	h := newHasher(b, password.Config{Slots: 2})
	for b.Loop() {
		mustHash(b, h, "correct horse battery staple")
	}
}

func BenchmarkVerify(b *testing.B) {
	h := newHasher(b, password.Config{Slots: 2})
	for b.Loop() {
		if _, err := h.Verify(b.Context(), benchHash, "correct horse battery staple"); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkParallel is eight callers at once: with the budget, and with a bare semaphore of two.
func BenchmarkParallel(b *testing.B) {
	b.Run("plain", func(b *testing.B) {
		slots := make(chan struct{}, 2)
		b.SetParallelism(4)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				slots <- struct{}{}
				argon2.IDKey([]byte("correct horse battery staple"), make([]byte, 16), 3, 64*1024, 4, 32)
				<-slots
			}
		})
	})
	b.Run("verify", func(b *testing.B) {
		h := newHasher(b, password.Config{Slots: 2})
		b.SetParallelism(4)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if _, err := h.Verify(b.Context(), benchHash, "correct horse battery staple"); err != nil {
					b.Error(err)
				}
			}
		})
	})
}

// BenchmarkRefused is the cost of saying no to what is no password.
func BenchmarkRefused(b *testing.B) {
	h := newHasher(b, cheap)
	for b.Loop() {
		if _, err := h.Verify(b.Context(), benchHash, "a\x00"); auth.CodeOf(err) != auth.LoginFailed {
			b.Fatal(err)
		}
	}
}
