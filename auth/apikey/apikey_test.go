package apikey_test

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/auth/apikey"
)

// STD-V05: what a key looks like, and all that is known of it.
func TestSTD_V05(t *testing.T) {
	w := setup(t)
	form := regexp.MustCompile(`^dwk_[0-9A-Za-z]{17}_[0-9A-Za-z]{43}_[0-9A-Za-z]{6}$`)
	seen := map[string]bool{}
	for range 500 {
		text, key := w.create(func(s *apikey.Spec) { s.Subject = fmt.Sprint("u", len(seen)) })
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
		ID: key.ID, Owner: auth.Owner{Issuer: issuer, Subject: "ann"}, Tenant: "acme", Name: "nightly build", Scopes: []string{"reports:read"},
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
	list, err := w.List(ctx, "ann", "")
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
	if err := w.Revoke(ctx, "ann", "", dead.ID); err != nil {
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
		w.refused(name, text, auth.APIKeyInvalid)
	}
	if n := w.store.gets.Load() - gets; n > 0 {
		t.Errorf("the store was asked %d times about garbage", n)
	}
	w.wantTold()

	w.refused("right id, other secret", apikey.Compose("dwk", key.ID, others[2]), auth.APIKeyInvalid)
	w.refused("other id, right secret", apikey.Compose("dwk", strings.Split(other, "_")[1], parts[2]), auth.APIKeyInvalid)
	w.refused("unknown id", apikey.Compose("dwk", strings.Repeat("A", 17), parts[2]), auth.APIKeyInvalid)
	w.refused("revoked", revoked, auth.APIKeyInvalid)
	w.at = w.at.Add(time.Hour)
	w.refused("expired", brief, auth.APIKeyExpired)
	w.wantTold("key api_key_invalid", "key api_key_invalid", "key api_key_expired") // no word of ids that are not there
	w.verified(text)

	// Another's: nothing of it can be seen, changed or ended from there.
	for _, subject := range []string{"bob", "Ann", "ann ", ""} {
		_, _, rotating := w.Rotate(ctx, subject, "", key.ID, 0)
		revoking := w.Revoke(ctx, subject, "", key.ID)
		if auth.CodeOf(rotating) != auth.NotFound || auth.CodeOf(revoking) != auth.NotFound {
			t.Errorf("%q: got %v and %v, expected not_found", subject, rotating, revoking)
		}
		if list, err := w.List(ctx, subject, ""); err != nil || len(list) > 0 {
			t.Errorf("%q: got %v, %v", subject, list, err)
		}
	}
	if p := w.verified(text); p.Tenant != "acme" {
		t.Errorf("got tenant %q", p.Tenant)
	}
	for _, id := range []string{"", "*", "../" + key.ID, strings.Repeat("A", 1<<20), key.ID + "\n"} {
		if err := w.Revoke(ctx, "ann", "", id); auth.CodeOf(err) != auth.NotFound {
			t.Errorf("id %.20q: got %v", id, err)
		}
		if _, _, err := w.Rotate(ctx, "ann", "", id, 0); auth.CodeOf(err) != auth.NotFound {
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
	wrong := work(apikey.Compose("dwk", key.ID, strings.Repeat("A", 43)), auth.APIKeyInvalid)
	if wrong[0] < 1 || wrong[1] != 1 {
		t.Fatalf("a wrong secret: %v comparisons and gets", wrong)
	}
	for name, text := range map[string]string{
		"unknown id":                             apikey.Compose("dwk", strings.Repeat("A", 17), secret),
		"wrong secret of a key with former ones": apikey.Compose("dwk", rotated.ID, strings.Repeat("A", 43)),
	} {
		if got := work(text, auth.APIKeyInvalid); got != wrong {
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
	w.refused("after the overlap", first, auth.APIKeyExpired)
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
		w.refused("after a leak", text, auth.APIKeyInvalid)
	}
	w.verified(last)

	// No rotation makes the former one live longer than it would have.
	brief, k := w.create(func(s *apikey.Spec) { s.Life = time.Hour })
	w.rotate(k.ID, 30*day)
	w.at = w.at.Add(time.Hour)
	w.refused("rotated with a long overlap", brief, auth.APIKeyExpired)

	// Four secrets work at once, no more.
	_, k = w.create()
	for range 3 {
		w.rotate(k.ID, time.Hour)
	}
	if _, _, err := w.Rotate(ctx, "ann", "", k.ID, time.Hour); auth.CodeOf(err) != auth.Busy {
		t.Errorf("got %v, expected busy", err)
	}
	w.rotate(k.ID, 0)

	_, k = w.create(func(s *apikey.Spec) { s.Life = time.Minute })
	w.at = w.at.Add(time.Minute)
	if _, _, err := w.Rotate(ctx, "ann", "", k.ID, 0); auth.CodeOf(err) != auth.NotFound {
		t.Errorf("an expired one: got %v", err)
	}
	for _, overlap := range []time.Duration{-1, 30*day + 1} {
		if _, _, err := w.Rotate(ctx, "ann", "", key.ID, overlap); auth.CodeOf(err) != auth.ValidationFailed {
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
			secret, _, err := w.Rotate(ctx, "ann", "", key.ID, 0)
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
	elsewhere, _ := w.create(func(s *apikey.Spec) { s.Tenant = "other" }) // she is the same person there
	dead = append(dead, elsewhere)
	alive, _ := w.create(func(s *apikey.Spec) { s.Subject = "bob" })
	if err := w.RevokeAll(ctx, "ann"); err != nil {
		t.Fatal(err)
	}
	for _, text := range dead {
		w.refused("revoked", text, auth.APIKeyInvalid)
	}
	w.verified(alive)
	if err := w.RevokeAll(ctx, "ann"); err != nil {
		t.Errorf("twice: %v", err)
	}
}

// Last used is written once a minute at most, and whatever becomes of the note, the request goes on.
func TestLastUsed(t *testing.T) {
	w := setup(t)
	text, _ := w.create()
	used := func() time.Time {
		list, err := w.List(ctx, "ann", "")
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
	w.refused("a wrong secret is no use", apikey.Compose("dwk", strings.Split(text, "_")[1], strings.Repeat("A", 43)), auth.APIKeyInvalid)
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
	w.refused("disabled", text, auth.APIKeyInvalid) // P-12: no session has ended
	fail = errors.New("sql: connection refused")
	w.refused("a fault", text, auth.Internal)
	if n := w.store.touches.Load(); n != 1 {
		t.Errorf("%d uses were noted, expected the one that was let in", n)
	}
}

func TestStoreErrors(t *testing.T) {
	w := setup(t)
	text, key := w.create()
	w.store.err = errors.New("sql: connection refused")
	w.refused("down", text, auth.StoreUnavailable)
	if _, _, err := w.Rotate(ctx, "ann", "", key.ID, 0); auth.CodeOf(err) != auth.StoreUnavailable {
		t.Errorf("got %v", err)
	}
	w.wantTold("key_create ok", "outage key")
}

// Of two rings of one stem each knows its own.
func TestOr_PrefixesOfOneStem(t *testing.T) {
	ring := func(prefix string) (*apikey.Keys, string) {
		k, err := apikey.New(apikey.Config{Store: apikey.NewMemory(), Issuer: "https://api.example.com", Prefix: prefix})
		if err != nil {
			t.Fatal(err)
		}
		secret, _, err := k.Create(t.Context(), apikey.Spec{Subject: "ann", Name: "x"})
		if err != nil {
			t.Fatal(err)
		}
		return k, secret.Reveal()
	}
	acme, one := ring("acme")
	live, two := ring("acme_live")
	for _, v := range []auth.Verifier{acme.Or(live), live.Or(acme)} {
		for _, text := range []string{one, two} {
			if _, err := v.Verify(t.Context(), text); err != nil {
				t.Errorf("%.12s: %v", text, err)
			}
		}
	}
	for _, text := range []string{"", "acme", "acme_", one[1:], one + "x"} {
		if _, err := acme.Or(nil).Verify(t.Context(), text); auth.CodeOf(err) != auth.APIKeyInvalid {
			t.Errorf("%q: %v", text, err)
		}
	}
}
