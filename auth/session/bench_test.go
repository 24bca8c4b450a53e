package session_test

import (
	"testing"

	"github.com/doorward/doorward/auth/session"
)

// A refresh makes two access tokens: one before the swap, to see that it can be made.
func BenchmarkRefresh(b *testing.B) {
	w := setup(b, func(c *session.Config) { c.Observe = nil })
	pair, err := w.Start(ctx, session.Login{Principal: ann(1), Client: phone})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if pair, err = w.Refresh(ctx, pair.Refresh, phone); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkGarbage(b *testing.B) {
	w := setup(b)
	pair, err := w.Start(ctx, session.Login{Principal: ann(1), Client: phone})
	if err != nil {
		b.Fatal(err)
	}
	forged := respell(pair.Refresh)
	for b.Loop() {
		if _, err := w.Refresh(ctx, forged, phone); err == nil {
			b.Fatal("accepted")
		}
	}
}
