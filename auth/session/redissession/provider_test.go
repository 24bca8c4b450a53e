package redissession_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/auth/session"
	"github.com/doorward/doorward/internal/redistest"
)

// ATK-S13: who logs in and out by an identity provider again and again leaves a short index behind, which a logout of the
// provider reads at once.
func TestProviderIndex_ATK_S13(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	k, err := newKit(server.Client(), 0, users{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 1000 {
		pair, err := k.sessions.Start(t.Context(), session.Login{
			Principal: &auth.Principal{Subject: "ann", Version: 1}, Provider: session.Provider{Issuer: "https://idp.example", Subject: "u1", Session: fmt.Sprint("s", i)},
		})
		if err == nil {
			err = k.sessions.Logout(t.Context(), pair.Refresh)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if keys := server.Do("KEYS", "{dw}:P:*").([]any); len(keys) > 0 {
		t.Errorf("%d indexes are left of sessions that have ended", len(keys))
	}
	// Sessions that end by themselves leave no word. A login takes off what is over.
	for range 200 {
		c := login(epoch(t, k.store))
		c.Session.Provider, c.Session.Idle = session.Provider{Issuer: "https://idp.example", Subject: "u1"}, time.Millisecond
		if _, err := k.store.Create(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	for _, key := range server.Do("KEYS", "{dw}:P:*").([]any) {
		if n := server.Do("ZCARD", key).(int64); n > 60 {
			t.Errorf("an index of a provider has %d members", n)
		}
	}
}
