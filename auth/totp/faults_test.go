package totp_test

import (
	"context"
	"errors"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/auth/totp"
)

type recorder struct{ *httptest.ResponseRecorder }

func newRecorder() recorder { return recorder{httptest.NewRecorder()} }

func (r recorder) String() string {
	var b strings.Builder
	_ = r.Result().Header.Write(&b)
	return b.String() + r.Body.String()
}

// calls are all methods that ask the store, each with a code that is right.
func calls(k *kit, key totp.Key, codes []string) map[string]func(context.Context) error {
	return map[string]func(context.Context) error{
		"Begin": func(ctx context.Context) error { _, err := k.Begin(ctx, "new", account); return err },
		"Replace": func(ctx context.Context) error {
			_, err := k.Replace(ctx, subject, account, codes[0])
			return err
		},
		"Confirm": func(ctx context.Context) error {
			_, err := k.Confirm(ctx, subject, k.code(key, 0))
			return err
		},
		"Import":     func(ctx context.Context) error { return k.Import(ctx, "new", key) },
		"Verify":     func(ctx context.Context) error { return k.Verify(ctx, subject, k.code(key, 0)) },
		"Recover":    func(ctx context.Context) error { _, err := k.Recover(ctx, subject, codes[1]); return err },
		"Regenerate": func(ctx context.Context) error { _, err := k.Regenerate(ctx, subject, codes[2]); return err },
		"Remove":     func(ctx context.Context) error { return k.Remove(ctx, subject, codes[3]) },
		"Reset":      func(ctx context.Context) error { return k.Reset(ctx, subject) },
		"Status":     func(ctx context.Context) error { _, err := k.Status(ctx, subject); return err },
	}
}

// A store or a sealer that fails, lies or holds something else: 503, never nil, and never "there is no factor".
func TestFaults_FailClosed(t *testing.T) {
	errDown := errors.New("connection refused")
	type update = func(context.Context, auth.Owner, func([]byte) ([]byte, error)) error
	held := func(record string) update {
		return func(_ context.Context, _ auth.Owner, change func([]byte) ([]byte, error)) error {
			_, err := change([]byte(record))
			return err
		}
	}
	for _, test := range []struct {
		name     string
		unsealed bool
		update   update
		sealer   error
	}{
		{name: "the store is down", update: func(context.Context, auth.Owner, func([]byte) ([]byte, error)) error { return errDown }},
		{name: "the store is down, with the code", update: func(context.Context, auth.Owner, func([]byte) ([]byte, error)) error {
			return auth.StoreUnavailable
		}},
		{name: "the caller has hung up", update: func(context.Context, auth.Owner, func([]byte) ([]byte, error)) error {
			return context.Canceled
		}},
		{name: "the write is not known to have happened", update: func(_ context.Context, _ auth.Owner, change func([]byte) ([]byte, error)) error {
			_, _ = change(nil)
			return errDown
		}},
		{name: "the store says nil and has not asked", update: func(context.Context, auth.Owner, func([]byte) ([]byte, error)) error { return nil }},
		{name: "the store takes an error for nothing", unsealed: true, update: func(_ context.Context, _ auth.Owner, change func([]byte) ([]byte, error)) error {
			_, _ = change([]byte(goodRecord))
			_, _ = change([]byte("spoilt"))
			return nil
		}},
		{name: "the sealer is away", sealer: errDown},
		{name: "not sealed by this key", update: held(strings.Repeat("x", 300))},
		{name: "not sealed", update: held(`{"fmt":1,"factor":{}}`)},
		{name: "not JSON", unsealed: true, update: held("\x00")},
		{name: "empty object", unsealed: true, update: held(`{}`)},
		{name: "nothing in it", unsealed: true, update: held(`{"fmt":1}`)},
		{name: "null", unsealed: true, update: held(`null`)},
		{name: "another format", unsealed: true, update: held(strings.Replace(goodRecord, `"fmt":1`, `"fmt":2`, 1))},
		{name: "an unknown member", unsealed: true, update: held(strings.Replace(goodRecord, `"fmt":1`, `"fmt":1,"new":1`, 1))},
		{name: "a member twice", unsealed: true, update: held(strings.Replace(goodRecord, `"fmt":1`, `"fmt":1,"fmt":1`, 1))},
		{name: "something behind it", unsealed: true, update: held(goodRecord + "}")},
		{name: "no secret", unsealed: true, update: held(strings.Replace(goodRecord, `"MTIzNDU2Nzg5MDEyMzQ1Njc4OTA="`, `""`, 1))},
		{name: "7 digits", unsealed: true, update: held(strings.Replace(goodRecord, `"digits":6`, `"digits":7`, 1))},
		{name: "0 digits", unsealed: true, update: held(strings.Replace(goodRecord, `"digits":6`, `"digits":0`, 1))},
		{name: "MD5", unsealed: true, update: held(strings.Replace(goodRecord, `SHA1`, `MD5`, 1))},
		{name: "period 0", unsealed: true, update: held(strings.Replace(goodRecord, `"period":30`, `"period":0`, 1))},
		{name: "a year's period", unsealed: true, update: held(strings.Replace(goodRecord, `"period":30`, `"period":31536000`, 1))},
		{name: "a negative step", unsealed: true, update: held(strings.Replace(goodRecord, `"step":5`, `"step":-5`, 1))},
		{name: "a step of 2^64", unsealed: true, update: held(strings.Replace(goodRecord, `"step":5`, `"step":18446744073709551616`, 1))},
		{name: "a negative count", unsealed: true, update: held(strings.Replace(goodRecord, `"step":5`, `"step":5,"count":-100`, 1))},
		{name: "a negative row", unsealed: true, update: held(strings.Replace(goodRecord, `"step":5`, `"step":5,"wrong":-100`, 1))},
		{name: "a short recovery hash", unsealed: true, update: held(strings.Replace(goodRecord, `"step":5`, `"step":5,"recovery":["AAAA"]`, 1))},
	} {
		t.Run(test.name, func(t *testing.T) {
			names := []string{}
			for name := range calls(nil, totp.Key{}, nil) {
				names = append(names, name)
			}
			for _, name := range names {
				k := newKit(t, func(c *totp.Config) {
					if test.unsealed {
						c.Sealer, c.AllowUnsealed = nil, true
					}
				})
				key, codes := k.enrol()
				k.told()
				k.store.update, k.sealer.err = test.update, test.sealer
				if err := calls(k, key, codes)[name](t.Context()); auth.CodeOf(err) != auth.StoreUnavailable {
					t.Errorf("%s: got %v, expected store_unavailable", name, err)
				}
				if got := k.told(); len(got) != 1 || !strings.HasPrefix(got[0], "outage ") {
					t.Errorf("%s: told of %q, expected one outage", name, got)
				}
				// Nothing is lost by it.
				k.store.update, k.sealer.err = nil, nil
				k.want(k.verify(k.code(key, 0)), nil)
			}
		})
	}
}

// goodRecord is one that is taken, so that the spoilt ones above are refused for what is spoilt.
const goodRecord = `{"fmt":1,"factor":{"secret":"MTIzNDU2Nzg5MDEyMzQ1Njc4OTA=","alg":"SHA1","digits":6,"period":30,"since":1,"step":5}}`

func TestRecord_Format(t *testing.T) {
	k := newKit(t, func(c *totp.Config) { c.Sealer, c.AllowUnsealed = nil, true })
	k.now = time.Unix(1111111109, 0)
	err := k.store.Update(t.Context(), ann, func([]byte) ([]byte, error) { return []byte(goodRecord), nil })
	k.want(err, nil)
	k.want(k.verify("081804"), nil) // RFC 6238 appendix B, the last six digits
	want := strings.Replace(goodRecord, `"step":5`, `"step":37037036`, 1)
	if got := string(k.store.held[ann]); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// Refusals that change nothing write nothing: a closed factor costs no writes, and reading does not either.
func TestRefusalsWriteNothing(t *testing.T) {
	k := newKit(t)
	key, _ := k.enrol()
	k.want(k.verify(k.code(key, 0)), nil)
	for range 5 {
		k.want(k.verify(k.wrong(key)), totp.ErrWrong)
	}
	writes := k.store.writes
	k.status()
	k.want(k.verify(k.code(key, 0)), totp.ErrClosed)
	k.pass(totp.ClosedFor)
	k.want(k.verify(k.code(key, -31)), totp.ErrWrong)
	if k.store.writes != writes+1 {
		t.Errorf("%d writes, expected 1", k.store.writes-writes)
	}
}

func TestNew_Refuses(t *testing.T) {
	good := totp.Config{Issuer: issuer, ServiceName: "Example", Store: totp.NewMemory(), Sealer: newAEAD()}
	if _, err := totp.New(good); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		edit func(*totp.Config)
		want string
	}{
		"no store":            {func(c *totp.Config) { c.Store = nil }, "Config.Store: got nil"},
		"no sealer":           {func(c *totp.Config) { c.Sealer = nil }, "Config.Sealer: got nil"},
		"sealed and unsealed": {func(c *totp.Config) { c.AllowUnsealed = true }, "Config.AllowUnsealed"},
		"no issuer":           {func(c *totp.Config) { c.Issuer = "" }, "Config.Issuer: got none"},
		"no name":             {func(c *totp.Config) { c.ServiceName = "" }, "Config.ServiceName: got none"},
		"a colon":             {func(c *totp.Config) { c.ServiceName = "a:b" }, "Config.ServiceName: got \"a:b\", expected a name without a colon"},
		"a line end":          {func(c *totp.Config) { c.ServiceName = "a\nb" }, "no control characters"},
		"a long name":         {func(c *totp.Config) { c.ServiceName = strings.Repeat("語", 34) }, "got 102 bytes, expected 100"},
		"7 digits":            {func(c *totp.Config) { c.Digits = 7 }, "got 7, expected 6 or 8"},
		"-6 digits":           {func(c *totp.Config) { c.Digits = -6 }, "got -6"},
		"MD5":                 {func(c *totp.Config) { c.Algorithm = "MD5" }, `got "MD5"`},
		"lower case":          {func(c *totp.Config) { c.Algorithm = "sha256" }, `got "sha256"`},
		"pending too short":   {func(c *totp.Config) { c.Pending = time.Second }, "got 1s"},
		"pending too long":    {func(c *totp.Config) { c.Pending = 24 * time.Hour }, "got 24h"},
		"pending negative":    {func(c *totp.Config) { c.Pending = -time.Minute }, "got -1m"},
	} {
		c := good
		test.edit(&c)
		if f, err := totp.New(c); err == nil || f != nil || !strings.Contains(err.Error(), test.want) || !strings.HasPrefix(err.Error(), "totp: Config.") {
			t.Errorf("%s: got %v, expected words like %q", name, err, test.want)
		}
	}
	k := newKit(t)
	if err := k.Verify(t.Context(), "", "123456"); err == nil || auth.CodeOf(err) != auth.Internal {
		t.Errorf("an empty subject: got %v", err)
	}
}

// Removed and made again with the same bytes between reading and writing: another record, and change is asked again.
func TestMemory_ATK_O01_MadeAgain(t *testing.T) {
	m := totp.NewMemory()
	put := func(record []byte) {
		if err := m.Update(t.Context(), ann, func([]byte) ([]byte, error) { return record, nil }); err != nil {
			t.Error(err)
		}
	}
	put([]byte("a"))
	calls := 0
	err := m.Update(t.Context(), ann, func(old []byte) ([]byte, error) {
		if calls++; calls == 1 {
			put(nil)
			put([]byte("a"))
		}
		return append(old, byte('0'+calls)), nil
	})
	if err != nil || calls != 2 {
		t.Errorf("got %v after %d calls of change, expected 2", err, calls)
	}
	_ = m.Update(t.Context(), ann, func(old []byte) ([]byte, error) {
		if string(old) != "a2" {
			t.Errorf("got %q, expected what the second call made", old)
		}
		return old, nil
	})
}
