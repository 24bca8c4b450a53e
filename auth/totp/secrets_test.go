package totp_test

import (
	"bytes"
	"encoding/base32"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/auth/totp"
)

// forms are the ways in which a key and recovery codes might be written somewhere.
func forms(t *testing.T, key totp.Key, codes []string) (secrets []string) {
	t.Helper()
	raw, err := base32.StdEncoding.DecodeString(key.Secret())
	if err != nil {
		t.Fatal(err)
	}
	for _, code := range codes {
		secrets = append(secrets, code, strings.ReplaceAll(code, "-", ""))
	}
	return append(secrets, key.Secret(), strings.ToLower(key.Secret()), string(raw), hex.EncodeToString(raw), fmt.Sprint(raw), fmt.Sprintf("%#v", raw)[7:],
		base64.StdEncoding.EncodeToString(raw)[:26], base64.URLEncoding.EncodeToString(raw)[:26], "otpauth:")
}

func wantNone(t *testing.T, where, text string, secrets []string) {
	t.Helper()
	for _, s := range secrets {
		if strings.Contains(text, s) {
			t.Errorf("%s: shows %q: %.300q", where, s, text)
		}
	}
}

// A key and recovery codes, however they are printed, logged and marshalled, also in somebody's unexported field.
func TestSTD_V07_ATK_O08_Masks(t *testing.T) {
	k := newKit(t)
	key := k.begin()
	codes, err := k.Confirm(t.Context(), tenant, subject, k.code(key, 0))
	if err != nil {
		t.Fatal(err)
	}
	secrets := forms(t, key, codes.List())
	type holder struct {
		Key   totp.Key
		Codes totp.RecoveryCodes
		key   totp.Key
		codes totp.RecoveryCodes
		all   []any
		many  map[string]totp.Key
	}
	h := holder{key, codes, key, codes, []any{key, codes, &key}, map[string]totp.Key{"a": key}}
	values := []any{key, &key, codes, &codes, h, &h, []totp.Key{key}, []any{h}, map[string]any{"h": h}, fmt.Errorf("%v %w", key, errors.New("x"))}
	var log bytes.Buffer
	text := slog.New(slog.NewTextHandler(&log, nil))
	jsonl := slog.New(slog.NewJSONHandler(&log, nil))
	for _, v := range values {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t", "%p", "%10v", "%T"} {
			wantNone(t, verb, fmt.Sprintf(verb, v), secrets)
		}
		b, _ := json.Marshal(v)
		wantNone(t, "JSON", string(b), secrets)
		wantNone(t, "Sprint", fmt.Sprint(v)+fmt.Sprintln(v), secrets)
		text.Info("m", "v", v)
		jsonl.Info("m", "v", v)
	}
	wantNone(t, "slog", log.String(), secrets)
	for _, v := range []any{key, codes} {
		if got := slog.AnyValue(v).Resolve(); got.Kind() != slog.KindString || got.String() != "[secret]" {
			t.Errorf("a handler of slog gets a %v, %v", got.Kind(), got)
		}
		if got := fmt.Sprintf("%v|%+v|%#v|%s", v, v, v, v); got != "[secret]|[secret]|[secret]|[secret]" {
			t.Errorf("got %s", got)
		}
		if b, err := json.Marshal(v); err != nil || string(b) != `"[secret]"` {
			t.Errorf("got %s, %v", b, err)
		}
	}
	for _, zero := range []string{totp.Key{}.Secret(), totp.Key{}.URI(), fmt.Sprint(len(totp.RecoveryCodes{}.List()))} {
		if zero != "" && zero != "0" {
			t.Errorf("a zero value has %q", zero)
		}
	}
}

// Everything that a life with a factor writes: events as they are logged, errors as text and as answers, the status, and
// what the store holds. None has the seed, the URI or a recovery code.
func TestATK_O08_STD_V04_STD_O07_NothingIsWrittenDown(t *testing.T) {
	var log bytes.Buffer
	told := auth.Log(slog.New(slog.NewJSONHandler(&log, nil)))
	k := newKit(t, func(c *totp.Config) { c.Observe = told })
	ctx := t.Context()
	var said strings.Builder
	note := func(values ...any) {
		for _, v := range values {
			b, _ := json.Marshal(v)
			fmt.Fprintf(&said, "%v %+v %#v %s\n", v, v, v, b)
			if err, ok := v.(error); ok {
				w := newRecorder()
				auth.WriteProblem(w, err)
				said.WriteString(w.String())
			}
		}
	}
	key := k.begin()
	stored := k.store.dump()
	_, err := k.Confirm(ctx, tenant, subject, k.wrong(key))
	note(err)
	codes, err := k.Confirm(ctx, tenant, subject, k.code(key, 0))
	note(codes, err)
	k.pass(time.Minute)
	note(k.verify(k.code(key, 0)), k.verify(k.code(key, 0)), k.verify("12345"))
	left, err := k.Recover(ctx, tenant, subject, codes.List()[0])
	note(left, err)
	_, err = k.Recover(ctx, tenant, subject, codes.List()[0])
	note(err)
	_, err = k.Recover(ctx, tenant, subject, codes.List()[0][:20])
	note(err)
	_, err = k.Begin(ctx, tenant, subject, account)
	note(err, k.status(), k.Factors)
	for range 10 {
		note(k.verify(k.wrong(key)))
	}
	k.sealer.err = errors.New("the key server is away")
	note(k.verify(k.code(key, 0)))
	k.sealer.err = nil
	_, err = totp.ParseKey(key.URI() + "&digits=7")
	note(err)
	_, err = totp.ParseKey(key.URI() + "%zz")
	note(err)
	_, err = totp.ParseKey(key.Secret() + "!")
	note(err)
	_, err = key.PNG(1)
	note(err)
	stored += k.store.dump()

	secrets := forms(t, key, codes.List())
	wantNone(t, "errors", said.String(), secrets)
	wantNone(t, "the log", log.String(), secrets)
	wantNone(t, "the store", stored, append(secrets, `"secret"`, `"recovery"`))
	if strings.Count(log.String(), "\n") < 15 || len(stored) < 200 {
		t.Errorf("the log has %d lines and the store %d bytes: nothing was looked at", strings.Count(log.String(), "\n"), len(stored))
	}
}

// What a dump without the key is good for, where the store encrypts by itself: the hash of a recovery code is no code. And
// sealed, a record does not open for another user, tenant or purpose.
func TestSTD_V04_STD_V02_Records(t *testing.T) {
	open := newKit(t, func(c *totp.Config) { c.Sealer, c.AllowUnsealed = nil, true })
	_, codes := open.enrol()
	for _, code := range codes {
		wantNone(t, "an unsealed record", open.store.dump(), []string{code, strings.ReplaceAll(code, "-", "")})
	}
	// Moved to another user, the hashes are of no use there.
	stolen := open.store.held[tenant+"/"+subject]
	open.want(open.store.Store.Update(t.Context(), tenant, "mallory", func([]byte) ([]byte, error) { return stolen, nil }), nil)
	_, err := open.Recover(t.Context(), tenant, "mallory", codes[0])
	open.want(err, totp.ErrWrong)

	k := newKit(t)
	key, _ := k.enrol()
	record := k.store.held[tenant+"/"+subject]
	for _, thief := range [][2]string{{tenant, "mallory"}, {"other", subject}, {"", tenant + subject}} {
		err := k.store.Store.Update(t.Context(), thief[0], thief[1], func([]byte) ([]byte, error) { return record, nil })
		k.want(err, nil)
		if err := k.Verify(t.Context(), thief[0], thief[1], k.code(key, 0)); auth.CodeOf(err) != auth.StoreUnavailable {
			t.Errorf("ann's record as %q's: got %v, expected store_unavailable", thief, err)
		}
	}
	if _, err := k.sealer.Open(t.Context(), auth.Owner{Issuer: "tenant " + tenant, Subject: subject}, "oauth", record); err == nil {
		t.Error("the record opens for another purpose")
	}
	if _, err := k.sealer.Open(t.Context(), auth.Owner{Issuer: "tenant " + tenant, Subject: subject}, "totp", record); err != nil {
		t.Errorf("the record does not open for its own purpose: %v", err)
	}
}
