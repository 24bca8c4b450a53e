package redissession_test

import (
	"context"
	"errors"
	"testing"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/auth/session"
	"github.com/doorward/doorward/auth/session/redissession"
	"github.com/doorward/doorward/internal/redistest"
	"github.com/doorward/doorward/revocation"
	"github.com/doorward/doorward/revocation/redisrev"
)

// What is under the store's keys and is not the store's: 503, and nothing is written on the way.
func TestGarbage_ATK_D07(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	s := open(t, server.Client())
	row := create(t, s)
	if _, err := s.Raise(t.Context(), ann, false, ""); err != nil {
		t.Fatal(err)
	}
	S, I, V := "{dw}:S:"+row.ID, "{dw}:I:"+annHash, "{dw}:V:"+annHash
	hset := func(key, field, value string) func() { return func() { server.Do("HSET", key, field, value) } }
	other := func(key string) func() { return func() { server.Do("DEL", key); server.Do("SET", key, "x") } }
	sessions := []string{"Rotate", "Rotate that ends", "End", "EndBelow", "List"}
	all := append([]string{"Create", "Numbers", "Raise"}, sessions...)
	for _, test := range []struct {
		name  string
		spoil func()
		fails []string
	}{
		{"row is a string", other(S), sessions},
		{"row has one field only", func() { server.Do("DEL", S); server.Do("HSET", S, "x", "y") }, sessions},
		{"row without methods", func() { server.Do("HDEL", S, "methods") }, sessions},
		{"generation is a word", hset(S, "generation", "one"), sessions},
		{"generation is empty", hset(S, "generation", ""), sessions},
		{"generation is negative", hset(S, "generation", "-1"), sessions},
		{"generation is a fraction", hset(S, "generation", "1.5"), sessions},
		{"generation is hexadecimal", hset(S, "generation", "0x1"), sessions},
		{"generation is too large to be exact", hset(S, "generation", "12345678901234567"), sessions},
		{"version has a space", hset(S, "version", " 1"), sessions},
		{"version begins with zeros", hset(S, "version", "001"), sessions},
		{"until is infinite", hset(S, "until", "inf"), sessions},
		{"idle end is not a number", hset(S, "idle_until", "nan"), sessions},
		{"late is a word", hset(S, "late", "false"), sessions},
		{"remember is a word", hset(S, "remember", "yes"), sessions},
		{"grace is a word", hset(S, "grace", "soon"), sessions},
		{"index is a string", other(I), []string{"Create", "Rotate that ends", "End", "EndBelow", "List"}},
		{"numbers are a string", other(V), []string{"Numbers", "Raise"}},
		{"version of the subject is a word", hset(V, "version", "x"), []string{"Numbers", "Raise"}},
		{"version of the subject begins with zeros", hset(V, "version", "01"), []string{"Numbers", "Raise"}},
		{"version of the subject is missing", func() { server.Do("HDEL", V, "version") }, []string{"Numbers", "Raise"}},
		{"version of the subject is at its end", hset(V, "version", "9223372036854775807"), []string{"Raise"}},
		{"ended below the version to come", hset(V, "ended_below", "9999999999999"), []string{"Numbers"}},
		{"epoch of another format", hset("{dw}:epoch", "fmt", "2"), all},
		{"epoch is a string", other("{dw}:epoch"), all},
		{"log is a string", other("{dw}:log"), []string{"Rotate that ends", "End", "EndBelow"}},
		{"minimum is a word", func() { server.Do("SET", "{dw}:v:"+annHash, "x") }, []string{"EndBelow"}},
		{"nodes is a string", other("{dw}:nodes"), all},
	} {
		t.Run(test.name, func(t *testing.T) {
			keys := server.Do("KEYS", "*").([]any)
			dumps := make([]any, len(keys))
			for i, k := range keys {
				dumps[i] = server.Do("DUMP", k)
			}
			reset := func() {
				server.Do("FLUSHALL")
				for i, k := range keys {
					server.Do("RESTORE", k, 0, dumps[i])
				}
			}
			defer reset()
			for name, call := range calls(s, row, row.Epoch) {
				if name == "Durable" {
					continue
				}
				reset()
				test.spoil()
				want := false
				for _, f := range test.fails {
					want = want || f == name
				}
				before := server.Dump()
				err := call(t.Context())
				switch {
				case !want && err != nil:
					t.Errorf("%s: %v", name, err)
				case want && auth.CodeOf(err) != auth.StoreUnavailable:
					t.Errorf("%s: got %v, expected store_unavailable", name, err)
				case want && test.name != "version of the subject is at its end" && !errors.Is(err, revocation.ErrUnreadable):
					t.Errorf("%s: got %v, expected ErrUnreadable", name, err)
				case want && server.Dump() != before:
					t.Errorf("%s: something was written", name)
				}
			}
		})
	}
}

func TestRefuses(t *testing.T) {
	if s, err := redissession.New(nil); err == nil {
		t.Errorf("a nil list: got %v", s)
	}
	server := redistest.Start(t)
	s := open(t, server.Client())
	row := create(t, s)
	for name, call := range map[string]func(context.Context) error{
		"no subject": func(ctx context.Context) error { _, err := s.List(ctx, auth.Owner{Issuer: "i"}); return err },
		"no issuer":  func(ctx context.Context) error { _, err := s.End(ctx, auth.Owner{Subject: "u"}, "x"); return err },
		"an empty id": func(ctx context.Context) error {
			_, err := s.End(ctx, auth.Owner{Issuer: "i", Subject: "x"}, "")
			return err
		},
		"no minimum":    func(ctx context.Context) error { _, err := s.EndBelow(ctx, ann, 0, ""); return err },
		"generation 0":  func(ctx context.Context) error { _, err := s.Rotate(ctx, showing(row, 0, row.Epoch)); return err },
		"generation -1": func(ctx context.Context) error { _, err := s.Rotate(ctx, showing(row, -1, row.Epoch)); return err },
		"generation too large": func(ctx context.Context) error {
			_, err := s.Rotate(ctx, showing(row, 1<<53-1, row.Epoch))
			return err
		},
		"an empty id to rotate": func(ctx context.Context) error {
			_, err := s.Rotate(ctx, showing(session.Session{Owner: ann}, 1, row.Epoch))
			return err
		},
		"a negative version": func(ctx context.Context) error {
			c := login(row.Epoch)
			c.Session.Version = -1
			_, err := s.Create(ctx, c)
			return err
		},
	} {
		before := server.Dump()
		if err := call(t.Context()); err == nil || server.Dump() != before {
			t.Errorf("%s: got %v, expected an error and nothing written", name, err)
		}
	}
	if got := s.Revocations(); got != s.Revocations() || got.(*redisrev.List) == nil {
		t.Errorf("Revocations: got %v", got)
	}
}
