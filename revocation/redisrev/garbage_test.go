package redisrev_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/internal/listtest"
	"github.com/doorward/doorward/internal/redistest"
	"github.com/doorward/doorward/revocation"
)

// What is under the list's keys and is not the list's: denied, and no outage that a guard may ignore.
func TestGarbage_ATK_D07(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	l := settled(t, s.Client())
	p := listtest.Principal(t, l, "x")
	listtest.Revoke(t, l, listtest.Session(p), listtest.TokenID(p), listtest.Below(p, 2))
	name := map[string]string{"epoch": "{dw}:epoch", "log": "{dw}:log", "nodes": "{dw}:nodes"}
	for _, k := range s.Do("KEYS", "{dw}:?:*").([]any) {
		name[strings.Split(k.(string), ":")[1]] = k.(string)
	}
	const check, revoke, epoch = 1, 2, 4
	for _, test := range []struct {
		name  string
		key   string
		value []any // the command that puts it there, "KEY" for the key
		fails int
	}{
		{"epoch is a string", "epoch", []any{"SET", "KEY", "x"}, check | revoke | epoch},
		{"epoch has a later format", "epoch", []any{"HSET", "KEY", "fmt", "2", "id", "AAAAAAAA", "run", "x"}, check | revoke | epoch},
		{"epoch has no format", "epoch", []any{"HSET", "KEY", "id", "AAAAAAAA"}, check | revoke | epoch},
		{"epoch id is short", "epoch", []any{"HSET", "KEY", "id", "AAAAAAA"}, check | revoke | epoch},
		{"epoch id is no id", "epoch", []any{"HSET", "KEY", "id", "AAAA\r\nAA"}, check | revoke | epoch},
		{"session is a list", "s", []any{"RPUSH", "KEY", "1"}, check},
		{"session is another string", "s", []any{"SET", "KEY", "2"}, check},
		{"session is empty", "s", []any{"SET", "KEY", ""}, check},
		{"token is a set", "j", []any{"SADD", "KEY", "1"}, check},
		{"token is replaced", "j", []any{"SET", "KEY", "0"}, check},
		{"token is another string", "j", []any{"SET", "KEY", "null"}, check},
		{"minimum is a hash", "v", []any{"HSET", "KEY", "m", "2"}, check | revoke},
		{"minimum is a word", "v", []any{"SET", "KEY", "two"}, check | revoke},
		{"minimum is empty", "v", []any{"SET", "KEY", ""}, check | revoke},
		{"minimum is no integer", "v", []any{"SET", "KEY", "2.5"}, check | revoke},
		{"minimum is zero", "v", []any{"SET", "KEY", "0"}, check | revoke},
		{"minimum is negative", "v", []any{"SET", "KEY", "-2"}, check | revoke},
		{"minimum is over 64 bits", "v", []any{"SET", "KEY", "99999999999999999999"}, check | revoke},
		{"minimum has a space", "v", []any{"SET", "KEY", " 2"}, check | revoke},
		{"log is a string", "log", []any{"SET", "KEY", "x"}, revoke},
		{"nodes is a string", "nodes", []any{"SET", "KEY", "x"}, revoke},
	} {
		t.Run(test.name, func(t *testing.T) {
			key := name[test.key]
			old := s.Do("DUMP", key)
			if test.value[0] != "HSET" || test.key != "epoch" {
				s.Do("DEL", key)
			} else if test.name == "epoch has no format" {
				s.Do("HDEL", key, "fmt")
			}
			defer func() {
				s.Do("DEL", key)
				if old != nil {
					s.Do("RESTORE", key, 0, old)
				}
			}()
			args := append([]any(nil), test.value...)
			args[1] = key
			s.Do(args...)
			// Each value alone decides, so that no other entry hides it.
			alone := *p
			if test.key != "s" {
				alone.Session = "free"
			}
			if test.key != "j" {
				alone.TokenID = "free"
			}
			if test.key != "v" {
				alone.Subject = "free"
			}
			for call, err := range map[int]error{
				check:  l.Check(t.Context(), &alone),
				revoke: l.Revoke(t.Context(), listtest.Below(p, 3)),
				epoch:  func() error { _, err := l.Epoch(t.Context()); return err }(),
			} {
				if test.fails&call == 0 {
					if err != nil {
						t.Errorf("call %d: %v", call, err)
					}
				} else if auth.CodeOf(err) != auth.StoreUnavailable || !errors.Is(err, revocation.ErrUnreadable) {
					t.Errorf("call %d: got %v, want store_unavailable, unreadable", call, err)
				}
			}
			if test.fails&check != 0 {
				if err := revocation.IgnoreOutage(l).Check(t.Context(), &alone); err == nil {
					t.Error("IgnoreOutage took it for an outage")
				}
			}
		})
	}
}

func TestReady(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		limit, policy string
		ready         bool
	}{
		{"0", "noeviction", true},
		{"100mb", "noeviction", true},
		{"0", "allkeys-lru", true},
		{"100mb", "allkeys-lru", false},
		{"100mb", "volatile-ttl", false},
	} {
		t.Run(fmt.Sprintf("ATK-D03 %s %s", test.limit, test.policy), func(t *testing.T) {
			l := open(t, redistest.Start(t, "--maxmemory", test.limit, "--maxmemory-policy", test.policy).Client())
			err := l.Ready(t.Context())
			if (err == nil) != test.ready {
				t.Errorf("got %v, want ready: %v", err, test.ready)
			}
			if err != nil && (!strings.Contains(err.Error(), test.policy) || auth.CodeOf(err) == auth.StoreUnavailable) {
				t.Errorf("got %v, want an error that names %s and is no outage", err, test.policy)
			}
		})
	}
}
