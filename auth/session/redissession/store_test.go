package redissession_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/auth/session"
	"github.com/doorward/doorward/internal/redistest"
)

// Counted on the wire.
func TestRoundTrips(t *testing.T) {
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server.Addr())
	client := redis.NewClient(&redis.Options{Addr: proxy.Addr()})
	t.Cleanup(func() { _ = client.Close() })
	k, err := newKit(client, 0, users{})
	if err != nil {
		t.Fatal(err)
	}
	var pair *auth.Pair
	ctx, owner := t.Context(), auth.Owner{Issuer: issuer, Subject: "ann"}
	count := func(name string, want int, do func() error) {
		t.Helper()
		proxy.Requests()
		if err := do(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got := proxy.Requests(); len(got) != want || slices.ContainsFunc(got, func(c string) bool { return c != "EVALSHA" }) {
			t.Errorf("%s: Redis was asked %v, expected %d scripts", name, got, want)
		}
	}
	start := func() (err error) {
		pair, err = k.sessions.Start(ctx, session.Login{Principal: &auth.Principal{Subject: "ann", Version: 1}})
		return err
	}
	refresh := func() (err error) {
		pair, err = k.sessions.Refresh(ctx, pair.Refresh, auth.Client{})
		return err
	}
	verify := func() error { _, err := k.tokens.Verify(ctx, pair.Access); return err }
	list := func() error { _, err := k.store.List(ctx, owner); return err }
	below := func() error { _, err := k.store.EndBelow(ctx, owner, 1, ""); return err }
	for _, warm := range []func() error{start, refresh, verify, list, below, func() error { return k.sessions.Logout(ctx, pair.Refresh) }} {
		if err := warm(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := k.store.Raise(ctx, owner, false, ""); err != nil {
		t.Fatal(err)
	}
	count("start", 1, start)
	count("refresh", 1, refresh)
	count("verify", 1, verify)
	count("list", 2, list)
	count("end below", 2, below)
	count("logout", 1, func() error { return k.sessions.Logout(ctx, pair.Refresh) })
	count("list of none", 1, list)
	count("end below of none", 1, below)
	count("numbers", 1, func() error { _, err := k.store.Numbers(ctx, owner); return err })
	count("raise", 1, func() error { _, err := k.store.Raise(ctx, owner, true, ""); return err })
	for range 20 {
		count("start", 1, start)
	}
	count("start at the limit", 2, start)
	count("garbage", 0, func() error {
		if _, err := k.sessions.Refresh(ctx, pair.Refresh+"x", auth.Client{}); auth.CodeOf(err) != auth.TokenInvalid {
			return fmt.Errorf("got %v", err)
		}
		return nil
	})
	server.Do("FLUSHALL") // another epoch: once more
	count("start in another epoch", 2, start)
}

// What is in Redis is of no use to who reads it: no token, no part of one, no key.
func TestDump_STD_S12(t *testing.T) {
	server := redistest.Start(t)
	k, err := newKit(server.Client(), 0, users{})
	if err != nil {
		t.Fatal(err)
	}
	var secrets []string
	from := auth.Client{Addr: netip.MustParseAddr("192.0.2.1"), UserAgent: "curl/8"}
	pair, err := k.sessions.Start(t.Context(), session.Login{Principal: &auth.Principal{Subject: "ann@example.com", Version: 1, Methods: []string{"pwd"}}, Client: from})
	for range 3 {
		if err != nil {
			t.Fatal(err)
		}
		for _, token := range []string{pair.Access, pair.Refresh} {
			secrets = append(secrets, strings.Split(token, ".")[2:]...) // bodies and MACs
		}
		pair, err = k.sessions.Refresh(t.Context(), pair.Refresh, from)
	}
	all := server.Dump()
	if !strings.Contains(all, pair.Session) || !strings.Contains(all, "curl") {
		t.Fatalf("the dump does not show the session: %s", all)
	}
	for _, secret := range append(secrets, "0123456789abcdefghijklmnopqrstuv", "dwr1.", "eyJ", "ann@example.com", "acme-tenant", issuer) {
		if strings.Contains(all, secret) {
			t.Errorf("Redis holds %.20q...:\n%s", secret, all)
		}
	}
}

// users is a table in which everybody is at version 1.
type users struct{ session.Subjects }

func (users) Load(context.Context, string, string) (session.Subject, error) {
	return session.Subject{Numbers: session.Numbers{Version: 1}}, nil
}

// 10,000 logins of one subject leave no more behind than the limit, by keys and by members of the index.
func TestGrowth_ATK_S13(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	s := open(t, server.Client())
	ep := epoch(t, s)
	logins := 10_000
	if testing.Short() {
		logins = 500
	}
	ended := 0
	for i := range logins {
		c := login(ep)
		c.Session.ID = fmt.Sprintf("S%025d", i)
		res, err := s.Create(t.Context(), c)
		if err != nil || res.Outcome != session.Created {
			t.Fatalf("login %d: got %q, %v", i, res.Outcome, err)
		}
		ended += len(res.Ended)
	}
	if n := len(server.Do("KEYS", "{dw}:S:*").([]any)); n != 20 || ended != logins-20 {
		t.Errorf("%d rows are left and %d were ended, expected 20 and %d", n, ended, logins-20)
	}
	if n := server.Do("ZCARD", "{dw}:I:"+annHash); n != int64(20) {
		t.Errorf("the index has %v members, expected 20", n)
	}
}

// Members of the index whose rows have gone by themselves leave with the next call that meets them, and with the last the
// index. A row that is over takes no place of a live one.
func TestIndex_ATK_S13_DropsWhatIsOver(t *testing.T) {
	server := redistest.Start(t)
	s := open(t, server.Client())
	index := "{dw}:I:" + annHash
	var idled []session.Session
	for i := range 20 {
		idled = append(idled, create(t, s, func(c *session.Creation) {
			c.Session.ID, c.Session.Idle = fmt.Sprintf("I%025d", i), time.Millisecond
		}))
	}
	redistest.Eventually(t, func() error {
		if rows := server.Do("EXISTS", "{dw}:S:"+idled[19].ID); rows != int64(0) {
			return fmt.Errorf("a row is there still")
		}
		return nil
	})
	if n := server.Do("ZCARD", index); n != int64(20) {
		t.Fatalf("the index has %v members, expected all 20 that idled", n)
	}
	live := create(t, s) // the 21st: nobody is ended for it
	if got := fmt.Sprint(server.Do("ZRANGE", index, 0, -1)); got != "["+live.ID+"]" {
		t.Errorf("after a login the index has %v, expected %s alone", got, live.ID)
	}
	if n := len(server.Do("KEYS", "{dw}:s:*").([]any)); n != 0 {
		t.Errorf("%d sessions were put on the list", n)
	}
	for _, call := range []func() error{
		func() error { _, err := s.List(t.Context(), ann); return err },
		func() error { _, err := s.EndBelow(t.Context(), ann, 1, ""); return err },
	} {
		server.Do("ZADD", index, time.Now().Add(time.Hour).UnixMilli(), "goneByItself")
		if err := call(); err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(server.Do("ZRANGE", index, 0, -1)); got != "["+live.ID+"]" {
			t.Errorf("the index has %v, expected %s alone", got, live.ID)
		}
	}
	if _, err := s.End(t.Context(), ann, live.ID); err != nil {
		t.Fatal(err)
	}
	if n := server.Do("EXISTS", index); n != int64(0) {
		t.Error("an empty index stays")
	}
}

// between runs f before each command of a client.
type between struct{ f func() }

func (b between) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		b.f()
		return next(ctx, cmd)
	}
}
func (b between) DialHook(next redis.DialHook) redis.DialHook { return next }
func (b between) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// A script may only touch the sessions that it was told of. Whoever logs in between the question and the ending is
// asked about anew; when that never stops, nothing was ended, and the caller hears of it.
func TestEndBelow_LoginsInBetween(t *testing.T) {
	server := redistest.Start(t)
	beside := open(t, server.Client())
	client := server.Client()
	logins, most := 0, 0
	client.AddHook(between{f: func() {
		if logins < most {
			logins++
			create(t, beside)
		}
	}})
	s := open(t, client)
	create(t, beside)
	most = 3
	ended, err := s.EndBelow(t.Context(), ann, 2, "")
	if err != nil || len(ended) != 4 || logins != 3 {
		t.Errorf("got %v, %v after %d logins, expected all 4", ended, err, logins)
	}
	most = 1000
	ended, err = s.EndBelow(t.Context(), ann, 3, "")
	if auth.CodeOf(err) != auth.StoreUnavailable || len(ended) > 0 || logins == most {
		t.Errorf("got %v, %v after %d logins, expected store_unavailable", ended, err, logins)
	}
	most = 0
	if rows, err := s.List(t.Context(), ann); err != nil || len(rows) != 20 {
		t.Errorf("got %d rows, %v, expected the 20 that the limit leaves", len(rows), err)
	}
}

// ATK-D05: a dead refresh token that is shown to logout 3,000 times, and ids that never were, leave one entry and no more. An
// entry is written past maxmemory and kept by every node for an hour.
func TestEndings_ATK_D05_DeadAndInvented(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	k, err := newKit(server.Client(), 0, users{})
	if err != nil {
		t.Fatal(err)
	}
	pair, err := k.sessions.Start(t.Context(), session.Login{Principal: &auth.Principal{Subject: "ann", Version: 1}})
	if err != nil {
		t.Fatal(err)
	}
	for range 3000 {
		if err := k.sessions.Logout(t.Context(), pair.Refresh); err != nil {
			t.Fatal(err)
		}
	}
	for range 3000 {
		id := rand.Text()[:22] + pair.Session[22:]
		if err := k.sessions.End(t.Context(), "ann", id); auth.CodeOf(err) != auth.NotFound {
			t.Fatalf("%s: got %v", id, err)
		}
	}
	if n := server.Do("XLEN", "{dw}:log"); n != int64(1) {
		t.Errorf("the log has %v entries, expected 1", n)
	}
	if keys := server.Do("KEYS", "{dw}:s:*").([]any); len(keys) != 1 {
		t.Errorf("got the marks %v, expected 1", keys)
	}
}
