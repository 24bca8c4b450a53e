package session_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/netip"
	"time"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/auth/session"
	"github.com/doorward/doorward/revocation"
	"github.com/doorward/doorward/tokens"
)

// table is an application's users table with the columns of session.Numbers; here it has one row. With SQL
// Raise is UPDATE users SET version = GREATEST(version + 1, the clock in ms), ended_below = ..., except = ... WHERE id = ?
// RETURNING version.
type table struct{ ann session.Subject }

func (t *table) Load(_ context.Context, subject, _ string) (session.Subject, error) {
	if subject != "ann" {
		return session.Subject{}, auth.LoginFailed // gone or disabled: a definite end
	}
	return t.ann, nil
}

func (t *table) Raise(_ context.Context, subject string, end bool, except string) (int64, error) {
	if subject != "ann" {
		return 0, auth.LoginFailed
	}
	t.ann.Version = max(t.ann.Version+1, time.Now().UnixMilli())
	if end {
		t.ann.EndedBelow, t.ann.Except = t.ann.Version, except
	}
	return t.ann.Version, nil
}

func Example() {
	store := session.NewMemory(revocation.NewMemory())
	tok, err := tokens.New(tokens.Config{
		Keys:   tokens.NewKeyring(tokens.FromSecret([]byte("u8Zq-3bXk9_Lr2Vd5Nf7Hs1Tg4Ym6Pc0Wj-a"))), // from a file, never in the code
		Issuer: "https://api.example.com", Audience: "api", List: store.Revocations(),
	})
	if err != nil {
		log.Fatal(err)
	}
	users := &table{session.Subject{Roles: []string{"editor"}, Numbers: session.Numbers{Version: 1}}}
	sessions, err := session.New(session.Config{Store: store, Tokens: tok, Subjects: users})
	if err != nil {
		log.Fatal(err)
	}

	// The password was checked; the version was read with its hash.
	ctx := context.Background()
	from := auth.Client{Addr: netip.MustParseAddr("192.0.2.7"), UserAgent: "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"}
	first, err := sessions.Start(ctx, session.Login{Principal: &auth.Principal{Subject: "ann", Version: 1, Methods: []string{"pwd"}}, Client: from})
	if err != nil {
		log.Fatal(err)
	}
	second, err := sessions.Refresh(ctx, first.Refresh, from)
	if err != nil {
		log.Fatal(err)
	}
	again, _ := sessions.Refresh(ctx, first.Refresh, from) // a second tab, at the same time
	fmt.Println("the same child:", again.Refresh == second.Refresh)

	list, _ := sessions.List(ctx, "ann")
	fmt.Println(len(list), "session:", list[0].Device)

	if err := sessions.EndAll(ctx, "ann"); err != nil {
		log.Fatal(err)
	}
	_, err = tok.Verify(ctx, second.Access)
	fmt.Println(auth.CodeOf(err))
	_, err = sessions.Refresh(ctx, second.Refresh, from)
	fmt.Println(auth.CodeOf(err), session.Ended(err))
	// Output:
	// the same child: true
	// 1 session: Firefox on Linux
	// token_revoked
	// token_revoked true
}

// A stream that ends with the session that opened it.
func ExampleSessions_Watch() {
	var sessions *session.Sessions
	events := make(chan string)

	stream := func(w http.ResponseWriter, r *http.Request) {
		p, _ := auth.FromContext(r.Context())
		ctx, cancel := sessions.Watch(r.Context(), p)
		defer cancel()
		w.Header().Set("Content-Type", "text/event-stream")
		for {
			select {
			case <-ctx.Done(): // logged out, roles changed, client gone
				return
			case e := <-events:
				_, _ = fmt.Fprintf(w, "data: %s\n\n", e)
				_ = http.NewResponseController(w).Flush()
			}
		}
	}
	http.HandleFunc("GET /events", stream) // behind RequireAuth
}
