package apikey_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/auth/apikey"
	"github.com/doorward/doorward/middleware"
)

// STD-V05: what a key looks like, and all that is known of it.
func TestSTD_V05(t *testing.T) {
	w := setup(t)
	form := regexp.MustCompile(`^dwk_[0-9A-Za-z]{17}_[0-9A-Za-z]{43}_[0-9A-Za-z]{6}$`)
	seen := map[string]bool{}
	for range 500 {
		text, key := w.create(func(s *apikey.Spec) { s.Owner = fmt.Sprint("u", len(seen)) })
		if !form.MatchString(text) {
			t.Fatalf("got %q", text)
		}
		parts := strings.Split(text, "_")
		if parts[1] != key.ID || seen[parts[1]] || seen[parts[2]] {
			t.Fatalf("%q is not new, or its id is not %q", text, key.ID)
		}
		seen[parts[1]], seen[parts[2]] = true, true
	}
	text, key := w.create()
	if want := (apikey.Key{
		ID: key.ID, Tenant: "acme", Owner: "ann", Name: "nightly build", Scopes: []string{"reports:read"},
		Created: w.at, Made: w.at, Expires: w.at.Add(90 * day),
	}); fmt.Sprint(utc(key)) != fmt.Sprint(want) {
		t.Errorf("got  %+v\nwant %+v", utc(key), want)
	}
	p := w.verified(text)
	if p.Issuer != issuer || p.Tenant != "acme" || p.Subject != "ann" || p.TokenID != key.ID || !slices.Equal(p.Competencies, []string{"reports:read"}) ||
		p.Session != "" || p.Roles != nil || p.Methods != nil || p.Ambient || !p.AuthTime.IsZero() || !p.Expires.Equal(key.Expires) || !p.IssuedAt.Equal(key.Made) {
		t.Errorf("got %+v", p)
	}
	p.Competencies[0] = "everything"
	if p := w.verified(text); p.Can("everything") {
		t.Error("two requests share a slice")
	}
	list, err := w.List(ctx, "acme", "ann")
	if err != nil || len(list) != 1 || !list[0].LastUsed.Equal(w.at) {
		t.Errorf("got %+v, %v", list, err)
	}
}

func utc(k apikey.Key) apikey.Key {
	for _, at := range []*time.Time{&k.Created, &k.Made, &k.Expires} {
		*at = at.UTC()
	}
	return k
}

// The digits and the order are GitHub's: the first vector is a token of theirs that is known from
// descriptions of the format, the others are written down a second time.
func TestChecksum(t *testing.T) {
	const digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	if got := apikey.Checksum("zQWBuTSOoRi4A9spHcVY5ncnsDkxkJ"); got != "0mLq17" {
		t.Errorf("got %q, expected 0mLq17", got)
	}
	for i := range 1000 {
		text := fmt.Sprint("key ", i)
		sum, want := crc32.ChecksumIEEE([]byte(text)), ""
		for range 6 {
			want, sum = string(digits[sum%62])+want, sum/62
		}
		if got := apikey.Checksum(text); got != want {
			t.Fatalf("%q: got %q, expected %q", text, got, want)
		}
	}
}

// ATK-J28: whatever is not exactly a living key is refused.
func TestATK_J28(t *testing.T) {
	w := setup(t)
	text, key := w.create()
	other, _ := w.create()
	parts, others := strings.Split(text, "_"), strings.Split(other, "_")
	revoked, dead := w.create()
	if err := w.Revoke(ctx, "acme", "ann", dead.ID); err != nil {
		t.Fatal(err)
	}
	brief, _ := w.create(func(s *apikey.Spec) { s.Life = time.Hour })
	w.told()

	// Found without asking the store, and not worth an event: anybody can send any amount of it.
	gets := w.store.gets.Load()
	for name, text := range map[string]string{
		"wrong checksum": text[:len(text)-1] + flip(text[len(text)-1]), "checksum of another": strings.Join([]string{parts[0], parts[1], parts[2], others[3]}, "_"),
		"prefix only": "dwk", "prefix and underscore": "dwk_", "prefix and id": "dwk_" + key.ID, "without checksum": strings.Join(parts[:3], "_"),
		"empty": "", "other prefix": apikey.Compose("acme", key.ID, parts[2]), "prefix in capitals": strings.ToUpper(text[:4]) + text[4:],
		"in lower case": strings.ToLower(text), "space before": " " + text, "line end behind": text + "\n", "twice": text + text,
		"1 MiB": text + strings.Repeat("A", 1<<20), "a JWT": "eyJhbGciOiJIUzI1NiJ9.e30.AAAA", "hyphens": strings.ReplaceAll(text, "_", "-"),
		"a digit more": apikey.Compose("dwk", key.ID, parts[2]+"0"), "fullwidth digits": apikey.Compose("dwk", key.ID, strings.Repeat("０", 14)+"0"),
	} {
		w.refused(name, text, auth.TokenInvalid)
	}
	if n := w.store.gets.Load() - gets; n > 0 {
		t.Errorf("the store was asked %d times about garbage", n)
	}
	w.wantTold()

	w.refused("right id, other secret", apikey.Compose("dwk", key.ID, others[2]), auth.TokenInvalid)
	w.refused("other id, right secret", apikey.Compose("dwk", strings.Split(other, "_")[1], parts[2]), auth.TokenInvalid)
	w.refused("unknown id", apikey.Compose("dwk", strings.Repeat("A", 17), parts[2]), auth.TokenInvalid)
	w.refused("revoked", revoked, auth.TokenInvalid)
	w.at = w.at.Add(time.Hour)
	w.refused("expired", brief, auth.TokenExpired)
	w.wantTold("key token_invalid", "key token_invalid", "key token_invalid", "key token_invalid", "key token_expired")
	w.verified(text)

	// Of another tenant: nothing of it can be seen, changed or ended from there.
	for _, o := range [][2]string{{"other", "ann"}, {"", "ann"}, {"acme", "bob"}} {
		_, _, rotating := w.Rotate(ctx, o[0], o[1], key.ID, 0)
		revoking := w.Revoke(ctx, o[0], o[1], key.ID)
		if auth.CodeOf(rotating) != auth.NotFound || auth.CodeOf(revoking) != auth.NotFound {
			t.Errorf("%v: got %v and %v, expected not_found", o, rotating, revoking)
		}
		if list, err := w.List(ctx, o[0], o[1]); err != nil || len(list) > 0 {
			t.Errorf("%v: got %v, %v", o, list, err)
		}
	}
	if p := w.verified(text); p.Tenant != "acme" {
		t.Errorf("got tenant %q", p.Tenant)
	}
	for _, id := range []string{"", "*", "../" + key.ID, strings.Repeat("A", 1<<20), key.ID + "\n"} {
		if err := w.Revoke(ctx, "acme", "ann", id); auth.CodeOf(err) != auth.NotFound {
			t.Errorf("id %.20q: got %v", id, err)
		}
		if _, _, err := w.Rotate(ctx, "acme", "ann", id, 0); auth.CodeOf(err) != auth.NotFound {
			t.Errorf("id %.20q: got %v", id, err)
		}
	}
}

func flip(c byte) string {
	if c == '0' {
		return "1"
	}
	return "0"
}

// ATK-J28: an unknown id costs what a wrong secret costs: a look into the store, a hash, as many comparisons.
func TestATK_J28_ConstantWork(t *testing.T) {
	w := setup(t)
	text, key := w.create()
	secret := strings.Split(text, "_")[2]
	rotatedText, rotated := w.create()
	for range 3 {
		w.rotate(rotated.ID, time.Hour)
	}
	compares, undo := apikey.CountCompares()
	work := func(text string, code auth.Code) [2]int64 {
		*compares = 0
		before := w.store.gets.Load()
		w.refused(text, text, code)
		return [2]int64{int64(*compares), w.store.gets.Load() - before}
	}
	wrong := work(apikey.Compose("dwk", key.ID, strings.Repeat("A", 43)), auth.TokenInvalid)
	if wrong[0] < 1 || wrong[1] != 1 {
		t.Fatalf("a wrong secret: %v comparisons and gets", wrong)
	}
	for name, text := range map[string]string{
		"unknown id":                             apikey.Compose("dwk", strings.Repeat("A", 17), secret),
		"wrong secret of a key with former ones": apikey.Compose("dwk", rotated.ID, strings.Repeat("A", 43)),
	} {
		if got := work(text, auth.TokenInvalid); got != wrong {
			t.Errorf("%s: %v comparisons and gets, a wrong secret %v", name, got, wrong)
		}
	}
	undo()
	w.verified(rotatedText)

	// And by the clock: the medians, taken in turns, differ by less than a twentieth of a millisecond, once in five tries.
	unknown, known := apikey.Compose("dwk", strings.Repeat("A", 17), secret), apikey.Compose("dwk", key.ID, strings.Repeat("A", 43))
	const tolerance = 50 * time.Microsecond
	var differ time.Duration
	for range 5 {
		var took [2][]time.Duration
		for range 400 {
			for i, text := range []string{unknown, known} {
				begin := time.Now()
				_, _ = w.Verify(ctx, text)
				took[i] = append(took[i], time.Since(begin))
			}
		}
		for _, all := range took {
			slices.Sort(all)
		}
		if differ = (took[0][200] - took[1][200]).Abs(); differ < tolerance {
			return
		}
	}
	t.Errorf("the medians differ by %s, at most %s", differ, tolerance)
}

// STD-V04: the store gives away no key. (Redis has a test of its own.)
func TestSTD_V04_Dump(t *testing.T) {
	m := apikey.NewMemory()
	w := setup(t, func(c *apikey.Config) { c.Store = m })
	text, key := w.create()
	next := w.rotate(key.ID, time.Hour)
	r, err := m.Get(ctx, key.ID)
	if err != nil {
		t.Fatal(err)
	}
	for _, dump := range []string{fmt.Sprintf("%+v %x", r, r.Proofs), fmt.Sprintf("%+v", m)} {
		for _, text := range []string{text, next} {
			for _, part := range append(strings.Split(text, "_")[2:], text) {
				if strings.Contains(dump, part) || strings.Contains(dump, fmt.Sprintf("%x", part)) {
					t.Errorf("%.12q... is in the store: %s", part, dump)
				}
			}
		}
	}
	if !strings.Contains(fmt.Sprintf("%+v", r), key.ID) || len(r.Proofs) != 2 {
		t.Errorf("the dump does not show the key: %+v", r)
	}
}

func TestRotate(t *testing.T) {
	w := setup(t)
	first, key := w.create(func(s *apikey.Spec) { s.Life = 10 * day })
	w.at = w.at.Add(day)
	second := w.rotate(key.ID, time.Hour)
	if p := w.verified(second); p.TokenID != key.ID || !p.Expires.Equal(w.at.Add(10*day)) || !p.Can("reports:read") {
		t.Errorf("got %+v", p)
	}
	w.verified(first)
	w.at = w.at.Add(time.Hour - time.Millisecond)
	if p := w.verified(first); !p.Expires.Equal(w.at.Add(time.Millisecond)) {
		t.Errorf("the former one expires %s", p.Expires)
	}
	w.at = w.at.Add(time.Millisecond)
	w.refused("after the overlap", first, auth.TokenExpired)
	w.verified(second)

	// A rotation whose answer was lost is repeated: what is in use goes on for its time.
	_ = w.rotate(key.ID, 2*time.Hour)
	third := w.rotate(key.ID, time.Hour)
	w.verified(second)
	w.verified(third)

	// A leak: all of before is dead at once.
	w.told()
	last := w.rotate(key.ID, 0)
	w.wantTold("key_rotate ok")
	for _, text := range []string{first, second, third} {
		w.refused("after a leak", text, auth.TokenInvalid)
	}
	w.verified(last)

	// No rotation makes the former one live longer than it would have.
	brief, k := w.create(func(s *apikey.Spec) { s.Life = time.Hour })
	w.rotate(k.ID, 30*day)
	w.at = w.at.Add(time.Hour)
	w.refused("rotated with a long overlap", brief, auth.TokenExpired)

	// Four secrets work at once, no more.
	_, k = w.create()
	for range 3 {
		w.rotate(k.ID, time.Hour)
	}
	if _, _, err := w.Rotate(ctx, "acme", "ann", k.ID, time.Hour); auth.CodeOf(err) != auth.Busy {
		t.Errorf("got %v, expected busy", err)
	}
	w.rotate(k.ID, 0)

	_, k = w.create(func(s *apikey.Spec) { s.Life = time.Minute })
	w.at = w.at.Add(time.Minute)
	if _, _, err := w.Rotate(ctx, "acme", "ann", k.ID, 0); auth.CodeOf(err) != auth.NotFound {
		t.Errorf("an expired one: got %v", err)
	}
	for _, overlap := range []time.Duration{-1, 30*day + 1} {
		if _, _, err := w.Rotate(ctx, "acme", "ann", key.ID, overlap); auth.CodeOf(err) != auth.ValidationFailed {
			t.Errorf("overlap %s: got %v", overlap, err)
		}
	}
}

// Of two rotations at the same moment one is told so, and what the other was given works.
func TestRotate_Race(t *testing.T) {
	w := setup(t)
	_, key := w.create()
	var wait sync.WaitGroup
	var ok, busy atomic.Int64
	var won atomic.Value
	for range 20 {
		wait.Go(func() {
			secret, _, err := w.Rotate(ctx, "acme", "ann", key.ID, 0)
			switch {
			case err == nil:
				ok.Add(1)
				won.Store(secret.Reveal())
			case auth.CodeOf(err) == auth.Busy:
				busy.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	wait.Wait()
	if ok.Load() < 1 || ok.Load()+busy.Load() != 20 {
		t.Fatalf("%d rotated, %d were busy", ok.Load(), busy.Load())
	}
	if ok.Load() == 1 {
		w.verified(won.Load().(string))
	}
}

func TestRevokeAll(t *testing.T) {
	w := setup(t)
	var dead []string
	for range 5 {
		text, _ := w.create()
		dead = append(dead, text)
	}
	alive, _ := w.create(func(s *apikey.Spec) { s.Tenant = "other" })
	if err := w.RevokeAll(ctx, "acme", "ann"); err != nil {
		t.Fatal(err)
	}
	for _, text := range dead {
		w.refused("revoked", text, auth.TokenInvalid)
	}
	w.verified(alive)
	if err := w.RevokeAll(ctx, "acme", "ann"); err != nil {
		t.Errorf("twice: %v", err)
	}
}

// Last used is written once a minute at most, and whatever becomes of the note, the request goes on.
func TestLastUsed(t *testing.T) {
	w := setup(t)
	text, _ := w.create()
	used := func() time.Time {
		list, err := w.List(ctx, "acme", "ann")
		if err != nil || len(list) != 1 {
			t.Fatalf("got %v, %v", list, err)
		}
		return list[0].LastUsed
	}
	begin := w.at
	if !used().IsZero() {
		t.Errorf("got %s before the first use", used())
	}
	for s := range 180 {
		w.at = begin.Add(time.Duration(s) * time.Second)
		w.verified(text)
	}
	if n := w.store.touches.Load(); n != 3 || !used().Equal(begin.Add(2*time.Minute)) {
		t.Errorf("written %d times in 3 minutes, last %s", n, used().Sub(begin))
	}
	w.told()
	w.at = begin.Add(time.Hour)
	w.store.touchErr = errors.New("dial tcp: refused")
	w.verified(text)
	w.wantTold("outage key")
	w.store.touchErr = nil

	// A client that hangs up as soon as it is let in leaves its trace all the same.
	hung, cancel := context.WithCancel(ctx)
	w.store.afterGet = cancel
	_, _ = w.Verify(hung, text)
	if !used().Equal(w.at) {
		t.Errorf("the use of a client that hung up is not noted: %s", used())
	}
	w.refused("a wrong secret is no use", apikey.Compose("dwk", strings.Split(text, "_")[1], strings.Repeat("A", 43)), auth.TokenInvalid)
}

// The owner may have lost what the key was given (ATK-S09), or be gone.
func TestValidate(t *testing.T) {
	var fail error
	w := setup(t, func(c *apikey.Config) {
		c.Validate = func(_ context.Context, p *auth.Principal) error {
			p.Competencies = slices.DeleteFunc(p.Competencies, func(c string) bool { return c == "write" })
			return fail
		}
	})
	text, _ := w.create(func(s *apikey.Spec) { s.Scopes = []string{"write", "read"} })
	if p := w.verified(text); !slices.Equal(p.Competencies, []string{"read"}) {
		t.Errorf("got %q", p.Competencies)
	}
	fail = fmt.Errorf("%w: ann is disabled", auth.TokenRevoked)
	w.refused("disabled", text, auth.TokenRevoked)
	fail = errors.New("sql: connection refused")
	w.refused("a fault", text, auth.Internal)
}

func TestStoreErrors(t *testing.T) {
	w := setup(t)
	text, key := w.create()
	w.store.err = errors.New("sql: connection refused")
	w.refused("down", text, auth.StoreUnavailable)
	if _, _, err := w.Rotate(ctx, "acme", "ann", key.ID, 0); auth.CodeOf(err) != auth.StoreUnavailable {
		t.Errorf("got %v", err)
	}
	w.wantTold("key_create ok", "outage key")
}

func TestCreateRefuses(t *testing.T) {
	w := setup(t, func(c *apikey.Config) { c.Max = 2 })
	good := apikey.Spec{Owner: "ann", Name: "x"}
	for _, c := range []struct {
		name   string
		change func(*apikey.Spec)
		field  string // "" for a mistake of the application's
	}{
		{"no owner", func(s *apikey.Spec) { s.Owner = "" }, ""},
		{"a long owner", func(s *apikey.Spec) { s.Owner = strings.Repeat("x", 257) }, ""},
		{"an owner of invalid UTF-8", func(s *apikey.Spec) { s.Owner = "a\xff" }, ""},
		{"a tenant of invalid UTF-8", func(s *apikey.Spec) { s.Tenant = "a\xff" }, ""},
		{"no name", func(s *apikey.Spec) { s.Name = "" }, "name"},
		{"ATK-I04 a name with a line break", func(s *apikey.Spec) { s.Name = "a\nb" }, "name"},
		{"a name with a direction mark", func(s *apikey.Spec) { s.Name = "a\u202eb" }, "name"},
		{"a long name", func(s *apikey.Spec) { s.Name = strings.Repeat("ä", 101) }, "name"},
		{"a name of spaces", func(s *apikey.Spec) { s.Name = " x" }, "name"},
		{"a scope with a space", func(s *apikey.Spec) { s.Scopes = []string{"read write"} }, "scopes"},
		{"an empty scope", func(s *apikey.Spec) { s.Scopes = []string{""} }, "scopes"},
		{"a quoted scope", func(s *apikey.Spec) { s.Scopes = []string{`a"b`} }, "scopes"},
		{"33 scopes", func(s *apikey.Spec) { s.Scopes = slices.Repeat([]string{"a"}, 33) }, "scopes"},
		{"a long scope", func(s *apikey.Spec) { s.Scopes = []string{strings.Repeat("a", 65)} }, "scopes"},
		{"a short life", func(s *apikey.Spec) { s.Life = time.Second }, "life"},
		{"a negative life", func(s *apikey.Spec) { s.Life = -time.Hour }, "life"},
		{"a long life", func(s *apikey.Spec) { s.Life = 367 * day }, "life"},
	} {
		s := good
		c.change(&s)
		secret, _, err := w.Create(ctx, s)
		var fields interface{ Fields() map[string]string }
		switch {
		case err == nil || secret.Reveal() != "":
			t.Errorf("%s: was made", c.name)
		case c.field == "" && auth.CodeOf(err) != auth.Internal:
			t.Errorf("%s: got %v, expected internal", c.name, err)
		case c.field != "" && (auth.CodeOf(err) != auth.ValidationFailed || !errors.As(err, &fields) || len(fields.Fields()) != 1 || fields.Fields()[c.field] == ""):
			t.Errorf("%s: got %v, expected validation_failed with %s", c.name, err, c.field)
		}
	}
	for range 2 {
		if _, _, err := w.Create(ctx, good); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := w.Create(ctx, good); auth.CodeOf(err) != auth.ValidationFailed {
		t.Errorf("a third of two: got %v", err)
	}
	long := apikey.Spec{Owner: "bob", Name: strings.Repeat("ä", 100), Life: 366 * day, Scopes: []string{"b", "a", "b"}}
	if _, key, err := w.Create(ctx, long); err != nil || !slices.Equal(key.Scopes, []string{"a", "b"}) {
		t.Errorf("got %+v, %v", key, err)
	}
}

func TestNewRefuses(t *testing.T) {
	store := apikey.NewMemory()
	for says, c := range map[string]apikey.Config{
		"Config.Store: got nil":       {Issuer: issuer},
		"Config.Issuer: got none":     {Store: store},
		`Config.Prefix: got "Acme"`:   {Store: store, Issuer: issuer, Prefix: "Acme"},
		`Config.Prefix: got "a_"`:     {Store: store, Issuer: issuer, Prefix: "a_"},
		`Config.Prefix: got "a__b"`:   {Store: store, Issuer: issuer, Prefix: "a__b"},
		`Config.Prefix: got "aaaaaa`:  {Store: store, Issuer: issuer, Prefix: strings.Repeat("a", 21)},
		"Config.Life: got 1s":         {Store: store, Issuer: issuer, Life: time.Second},
		"Config.Life: got 8808h0m0s":  {Store: store, Issuer: issuer, Life: 367 * day},
		"Config.Max: got -1":          {Store: store, Issuer: issuer, Max: -1},
		"Config.Max: got 1001, expec": {Store: store, Issuer: issuer, Max: 1001},
	} {
		if _, err := apikey.New(c); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("got %v, expected %q", err, says)
		}
	}
}

func TestPrefix(t *testing.T) {
	w := setup(t, func(c *apikey.Config) { c.Prefix = "acme_live" })
	text, key := w.create()
	w.verified(text)
	if id, ok := apikey.Recognise("acme_live", text); !ok || id != key.ID {
		t.Errorf("got %q, %t", id, ok)
	}
	for _, prefix := range []string{"acme", "live", "", "acme_live_" + key.ID} {
		if _, ok := apikey.Recognise(prefix, text); ok {
			t.Errorf("taken for a key of %q", prefix)
		}
	}
}

// ATK-I05, STD-V07.
func TestSecretIsMasked(t *testing.T) {
	w := setup(t)
	secret, key, err := w.Create(ctx, apikey.Spec{Owner: "ann", Name: "x"})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	_, _ = fmt.Fprintf(&out, "%v %+v %#v %s %q", secret, secret, secret, &secret, key)
	slog.New(slog.NewJSONHandler(&out, nil)).Info("made", "secret", secret, "key", key)
	_ = json.NewEncoder(&out).Encode(struct {
		Secret auth.Secret
		Key    apikey.Key
	}{secret, key})
	for _, e := range w.events {
		slog.New(slog.NewTextHandler(&out, nil)).Info("auth", "event", e)
	}
	for _, part := range strings.Split(secret.Reveal(), "_")[2:] {
		if strings.Contains(out.String(), part) {
			t.Errorf("%q is printed: %s", part, out.String())
		}
	}
	if !strings.Contains(out.String(), "event.key="+key.ID) {
		t.Errorf("the event does not name the key: %s", out.String())
	}
}

// By either header, behind the guards of any route.
func TestOverHTTP(t *testing.T) {
	w := setup(t)
	text, _ := w.create()
	hello := http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		p, _ := auth.FromContext(r.Context())
		_, _ = fmt.Fprint(rw, p.Subject)
	})
	guard := middleware.RequireAuth(auth.Header("X-API-Key", w.Keys), auth.Bearer(w.Or(other{})))
	mux := http.NewServeMux()
	mux.Handle("/reports", middleware.Chain(guard, middleware.RequireCompetency("reports:read"))(hello))
	mux.Handle("/letters", middleware.Chain(guard, middleware.RequireCompetency("reports:read", "letters:write"))(hello))
	mux.Handle("/admin", middleware.Chain(guard, middleware.RequireRole("admin", "ann"))(hello))
	for _, c := range []struct {
		name, path, header, value string
		status                    int
		says                      string
	}{
		{"X-API-Key", "/reports", "X-API-Key", text, 200, "ann"},
		{"Bearer", "/reports", "Authorization", "Bearer " + text, 200, "ann"},
		{"an access token beside", "/reports", "Authorization", "Bearer access", 200, "bob"},
		{"a scope too few", "/letters", "X-API-Key", text, 403, "competency_missing"},
		{"a key has no roles", "/admin", "X-API-Key", text, 403, "role_missing"},
		{"nothing", "/reports", "X-Other", text, 401, "credentials_missing"},
		{"Basic", "/reports", "Authorization", "Basic " + text, 401, "credentials_missing"},
		{"wrong", "/reports", "X-API-Key", text[1:], 401, "token_invalid"},
		{"an access token in X-API-Key", "/reports", "X-API-Key", "access", 401, "token_invalid"},
		{"in the query", "/reports?access_token=" + text, "X-Other", "", 400, "request_malformed"},
	} {
		r := httptest.NewRequest("GET", c.path, nil)
		r.Header.Set(c.header, c.value)
		rec := httptest.NewRecorder()
		mux.ServeHTTP(rec, r)
		if rec.Code != c.status || !strings.Contains(rec.Body.String(), c.says) {
			t.Errorf("%s: got %d %s, expected %d %s", c.name, rec.Code, rec.Body, c.status, c.says)
		}
	}
	r := httptest.NewRequest("GET", "/reports", nil)
	r.Header.Set("X-API-Key", text)
	r.Header.Set("Authorization", "Bearer "+text)
	rec := httptest.NewRecorder()
	if mux.ServeHTTP(rec, r); rec.Code != 400 {
		t.Errorf("two credentials: got %d", rec.Code)
	}
	if _, err := w.Or(nil).Verify(ctx, "access"); auth.CodeOf(err) != auth.TokenInvalid {
		t.Errorf("nothing else: got %v", err)
	}
}

// other verifies one text.
type other struct{}

func (other) Verify(_ context.Context, text string) (*auth.Principal, error) {
	if text != "access" {
		return nil, auth.TokenInvalid
	}
	return &auth.Principal{Subject: "bob", Competencies: []string{"reports:read"}}, nil
}
