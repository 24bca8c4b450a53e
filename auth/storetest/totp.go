package storetest

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base32"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/auth/totp"
)

// TOTP runs the tests of a totp.Store, each on a store of its own from open. Stores may share a server as long as they
// share no keys.
func TOTP(t *testing.T, open func(t *testing.T) totp.Store) {
	for _, test := range []struct {
		name string
		run  func(r *records)
	}{
		{"keeps and removes", recordsKept},
		{"an error of change writes nothing", recordRefused},
		{"slices are not shared", recordsCopied},
		{"a record of any bytes", recordBytes},
		{"owners are not confused", recordOwners},
		{"an ended context", recordContext},
		{"no issuer or no subject", recordNobody},
		{"STD-V02 two issuers with the same subjects", twoIssuers},
		{"a subject in two organisations", twoOrganisations},
		{"ATK-O01 the enrolment's code at a login", earlyCode},
		{"ATK-O01 50 at once, none is lost", recordRace},
		{"ATK-O06 50 at once, one makes the record", recordCreateRace},
		{"STD-O02 ATK-O01 50 tries of one code", codeRace},
		{"ATK-O06 50 confirmations", confirmRace},
		{"STD-O08 ATK-O07 50 tries of one recovery code", recoveryRace},
		{"STD-O05 ATK-O02 200 wrong codes at once", wrongRace},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(&records{t, open(t), auth.Owner{Issuer: totpIssuer, Subject: "ann"}}) })
	}
}

// records is a store under test.
type records struct {
	*testing.T
	store totp.Store
	owner auth.Owner // ann
}

// Two issuers: the subjects of each are its own.
const totpIssuer, totpOther = "https://app.example.com", "https://other.example.com"

// put writes a record, nil to remove it.
func (r *records) put(record []byte) {
	r.Helper()
	if err := r.store.Update(r.Context(), r.owner, func([]byte) ([]byte, error) { return record, nil }); err != nil {
		r.Fatalf("Update: %v", err)
	}
}

// want demands what the record of an owner is.
func (r *records) want(owner auth.Owner, want []byte) {
	r.Helper()
	got, calls := []byte(nil), 0
	err := r.store.Update(r.Context(), owner, func(old []byte) ([]byte, error) {
		calls++
		got = bytes.Clone(old)
		return old, nil
	})
	if err != nil || calls == 0 || !bytes.Equal(got, want) || (got == nil) != (want == nil) {
		r.Errorf("the record of %+v: got %.80q, %v, expected %.80q", owner, got, err, want)
	}
}

func recordsKept(r *records) {
	r.want(r.owner, nil)
	for _, record := range []string{"one", "two", "two", "three"} {
		r.put([]byte(record))
		r.want(r.owner, []byte(record))
	}
	r.put(nil)
	r.want(r.owner, nil)
	r.put(nil)
	r.put([]byte("again"))
	r.want(r.owner, []byte("again"))
	r.put([]byte{})
	r.want(r.owner, nil)
}

var errChange = errors.New("no change")

func recordRefused(r *records) {
	for _, there := range [][]byte{nil, []byte("there")} {
		if there != nil {
			r.put(there)
		}
		err := r.store.Update(r.Context(), r.owner, func([]byte) ([]byte, error) {
			return []byte("not to be written"), fmt.Errorf("wrapped: %w", errChange)
		})
		if !errors.Is(err, errChange) {
			r.Errorf("got %v, expected the error of change", err)
		}
		r.want(r.owner, there)
	}
}

func recordsCopied(r *records) {
	record := []byte("mine")
	r.put(record)
	copy(record, "oops")
	r.want(r.owner, []byte("mine"))
	err := r.store.Update(r.Context(), r.owner, func(old []byte) ([]byte, error) {
		copy(old, "oops")
		return nil, errChange
	})
	if !errors.Is(err, errChange) {
		r.Errorf("got %v, expected the error of change", err)
	}
	r.want(r.owner, []byte("mine"))
	// In place, it is a change like any other.
	if err := r.store.Update(r.Context(), r.owner, func(old []byte) ([]byte, error) { return old[:copy(old, "yours")], nil }); err != nil {
		r.Error(err)
	}
	r.want(r.owner, []byte("your"))
}

func recordBytes(r *records) {
	record := make([]byte, 4096)
	for i := range record {
		record[i] = byte(i)
	}
	for _, record := range [][]byte{record, {0}, []byte("\r\n"), []byte("\xff\xfe"), bytes.Repeat([]byte{0}, 26)} {
		r.put(record)
		r.want(r.owner, record)
	}
}

// recordOwners: no two owners share a record, whatever their names are made of, and equal subjects of two issuers are two.
func recordOwners(r *records) {
	owners := []auth.Owner{{Issuer: totpIssuer, Subject: "ann"}, {Issuer: totpOther, Subject: "ann"}, {Issuer: totpIssuer + "a", Subject: "nn"}}
	for _, o := range [][2]string{
		{"a", "nn"}, {"an", "n"}, {"ann", "ann"}, {"i", "ann"}, {"i", "Ann"}, {"I", "ann"}, {"i", "ann "}, {"i ", "ann"}, {"i", "ann\x00"}, {"\x00", "ann"},
		{"i", "a*"}, {"i", "{x}"}, {"i", "a:nn"}, {"i", "a/nn"}, {"i", "änn"}, {"i", "a\u0308nn"}, {"i", strings.Repeat("n", 300)}, {"i", strings.Repeat("n", 301)},
		{"a:b", "c"}, {"a", "b:c"}, {"\xff", "ann"}, {"\xff", "1"}, {"i", "1"}, {"1", "i"}, {"1", "1"},
	} {
		owners = append(owners, auth.Owner{Issuer: o[0], Subject: o[1]})
	}
	for i, o := range owners {
		err := r.store.Update(r.Context(), o, func(old []byte) ([]byte, error) {
			if old != nil {
				r.Errorf("the record of %+v is there already: %q", o, old)
			}
			return []byte{byte(i), 1}, nil
		})
		if err != nil {
			r.Errorf("%+v: %v", o, err)
		}
	}
	for i, o := range owners {
		r.want(o, []byte{byte(i), 1})
	}
}

func recordContext(r *records) {
	ctx, cancel := context.WithCancel(r.Context())
	cancel()
	if err := r.store.Update(ctx, r.owner, func([]byte) ([]byte, error) { return []byte("late"), nil }); err == nil {
		r.Error("got nil under a context that has ended")
	}
	r.want(r.owner, nil)
}

func recordNobody(r *records) {
	for _, owner := range []auth.Owner{{}, {Issuer: totpIssuer}, {Subject: "ann"}} {
		if err := r.store.Update(r.Context(), owner, func([]byte) ([]byte, error) { return []byte("whose"), nil }); err == nil {
			r.Errorf("got nil for the owner %+v", owner)
		}
	}
}

const atOnce = 50

// recordRace: each of 50 that count one further is counted, and what a call has seen is what it replaced.
func recordRace(r *records) {
	for range rounds(20) {
		var seen [atOnce + 1]atomic.Bool
		each(atOnce, func(int) {
			var n uint64
			err := r.store.Update(r.Context(), r.owner, func(old []byte) ([]byte, error) {
				n = 1
				if old != nil {
					n += binary.BigEndian.Uint64(old)
				}
				runtime.Gosched() // to the others, so that they read the same
				return binary.BigEndian.AppendUint64(nil, n), nil
			})
			if err != nil {
				r.Errorf("Update: %v", err)
			} else if n > atOnce || seen[n].Swap(true) {
				r.Errorf("two calls have counted to %d", n)
			}
		})
		r.want(r.owner, binary.BigEndian.AppendUint64(nil, atOnce))
		r.put(nil)
	}
}

// recordCreateRace: of 50 that write the same bytes where there is nothing, one is the first.
func recordCreateRace(r *records) {
	for range rounds(20) {
		var made atomic.Int64
		each(atOnce, func(int) {
			first := false
			err := r.store.Update(r.Context(), r.owner, func(old []byte) ([]byte, error) {
				runtime.Gosched()
				if first = old == nil; first {
					return []byte("made"), nil
				}
				return nil, errChange
			})
			switch {
			case err == nil && first:
				made.Add(1)
			case !errors.Is(err, errChange) || first:
				r.Errorf("got %v", err)
			}
		})
		if made.Load() != 1 {
			r.Fatalf("%d have made the record, expected 1", made.Load())
		}
		r.put(nil)
	}
}

// of returns the factors of an issuer's subjects over the store, with a clock.
func (r *records) of(issuer string, now func() time.Time) *totp.Factors {
	r.Helper()
	f, err := totp.New(totp.Config{Issuer: issuer, ServiceName: "Example", Store: r.store, AllowUnsealed: true, Now: now})
	if err != nil {
		r.Fatal(err)
	}
	return f
}

// codeAt is what an app shows at a moment (RFC 4226 section 5.3).
func (r *records) codeAt(key totp.Key, now time.Time) string {
	r.Helper()
	secret, err := base32.StdEncoding.DecodeString(key.Secret())
	if err != nil {
		r.Fatal(err)
	}
	mac := hmac.New(sha1.New, secret)
	mac.Write(binary.BigEndian.AppendUint64(nil, uint64(now.Unix()/30)))
	sum := mac.Sum(nil)
	at := sum[len(sum)-1] & 15
	return fmt.Sprintf("%06d", binary.BigEndian.Uint32(sum[at:])&math.MaxInt32%1_000_000)
}

// factors returns factors over the store, at a moment, and the code that ann's new key has then.
func (r *records) factors(begin func(*totp.Factors) (totp.Key, error)) (f *totp.Factors, code string) {
	r.Helper()
	now := time.Unix(1111111109, 0)
	f = r.of(totpIssuer, func() time.Time { return now })
	if err := f.Reset(r.Context(), r.owner.Subject); err != nil {
		r.Fatal(err)
	}
	key, err := begin(f)
	if err != nil {
		r.Fatal(err)
	}
	return f, r.codeAt(key, now)
}

// begun is an enrolment; active a factor of which no code was used yet.
func (r *records) begun() (*totp.Factors, string) {
	r.Helper()
	return r.factors(func(f *totp.Factors) (totp.Key, error) {
		return f.Begin(r.Context(), r.owner.Subject, "ann@example.com")
	})
}

func (r *records) active() (*totp.Factors, string) {
	r.Helper()
	return r.factors(func(f *totp.Factors) (totp.Key, error) {
		key, err := f.Begin(r.Context(), r.owner.Subject, "ann@example.com")
		if err != nil {
			return key, err
		}
		return key, f.Import(r.Context(), r.owner.Subject, key)
	})
}

// one demands that one of 50 calls succeeds, and of the others that they have the code.
func (r *records) one(code auth.Code, call func() error) {
	r.Helper()
	var good atomic.Int64
	each(atOnce, func(int) {
		switch err := call(); {
		case err == nil:
			good.Add(1)
		case auth.CodeOf(err) != code:
			r.Errorf("got %v, expected %s", err, code)
		}
	})
	if good.Load() != 1 {
		r.Fatalf("%d of %d succeeded, expected 1", good.Load(), atOnce)
	}
}

func codeRace(r *records) {
	for range rounds(20) {
		f, code := r.active()
		r.one(auth.LoginFailed, func() error { return f.Verify(r.Context(), r.owner.Subject, code) })
	}
}

// confirmRace: one gets the recovery codes, and the code that confirmed is used up.
func confirmRace(r *records) {
	for range rounds(20) {
		f, code := r.begun()
		r.one(auth.ValidationFailed, func() error {
			codes, err := f.Confirm(r.Context(), r.owner.Subject, code)
			if (err == nil) != (len(codes.List()) == 10) {
				r.Errorf("got %d recovery codes and %v", len(codes.List()), err)
			}
			return err
		})
		if err := f.Verify(r.Context(), r.owner.Subject, code); !errors.Is(err, totp.ErrWrong) {
			r.Errorf("the code that confirmed, again: got %v, expected ErrWrong", err)
		}
	}
}

// recoveryRace: wrong tries count, so that those who come late find the factor closed.
func recoveryRace(r *records) {
	for range rounds(20) {
		f, code := r.begun()
		codes, err := f.Confirm(r.Context(), r.owner.Subject, code)
		if err != nil {
			r.Fatal(err)
		}
		var good atomic.Int64
		each(atOnce, func(int) {
			left, err := f.Recover(r.Context(), r.owner.Subject, codes.List()[3])
			switch {
			case err == nil && left == 9:
				good.Add(1)
			case auth.CodeOf(err) != auth.LoginFailed && auth.CodeOf(err) != auth.RateLimited:
				r.Errorf("got %d left, %v", left, err)
			}
		})
		if good.Load() != 1 {
			r.Fatalf("%d of %d succeeded, expected 1", good.Load(), atOnce)
		}
	}
}

// wrongRace: however many at once, five are compared.
func wrongRace(r *records) {
	for range rounds(20) {
		f, code := r.active()
		wrong := "000000"
		if code == wrong {
			wrong = "000001"
		}
		var compared, closed atomic.Int64
		each(200, func(int) {
			switch err := f.Verify(r.Context(), r.owner.Subject, wrong); {
			case errors.Is(err, totp.ErrWrong):
				compared.Add(1)
			case errors.Is(err, totp.ErrClosed):
				closed.Add(1)
			default:
				r.Errorf("got %v", err)
			}
		})
		if compared.Load() != 5 || closed.Load() != 195 {
			r.Errorf("%d were compared and %d refused unread, expected 5 and 195", compared.Load(), closed.Load())
		}
		if err := f.Verify(r.Context(), r.owner.Subject, code); !errors.Is(err, totp.ErrClosed) {
			r.Errorf("the right code afterwards: got %v, expected ErrClosed", err)
		}
	}
}

// twoIssuers: equal subjects of two issuers over one store are two owners. Nothing that one has or does reaches the other.
func twoIssuers(r *records) {
	now := time.Unix(1111111109, 0)
	clock := func() time.Time { return now }
	here, there := r.of(totpIssuer, clock), r.of(totpOther, clock)
	enrol := func(f *totp.Factors) (totp.Key, []string) {
		key, err := f.Begin(r.Context(), "1", "ann@example.com")
		if err != nil {
			r.Fatalf("Begin: %v", err)
		}
		codes, err := f.Confirm(r.Context(), "1", r.codeAt(key, now))
		if err != nil {
			r.Fatalf("Confirm: %v", err)
		}
		return key, codes.List()
	}
	key, codes := enrol(here)
	now = now.Add(time.Minute)
	if s, err := there.Status(r.Context(), "1"); err != nil || s != (totp.Status{}) {
		r.Errorf("the other issuer's 1 has %+v, %v", s, err)
	}
	if err := there.Verify(r.Context(), "1", r.codeAt(key, now)); !errors.Is(err, totp.ErrNone) {
		r.Errorf("a code, at the other issuer: got %v, expected ErrNone", err)
	}
	own, _ := enrol(there)
	now = now.Add(time.Minute)
	if err := there.Verify(r.Context(), "1", r.codeAt(key, now)); !errors.Is(err, totp.ErrWrong) {
		r.Errorf("a code, at the other issuer, which has a factor too: got %v, expected ErrWrong", err)
	}
	for range 4 { // the fifth wrong one: the other issuer's factor is closed, and no other
		_, err := there.Recover(r.Context(), "1", codes[0])
		if !errors.Is(err, totp.ErrWrong) {
			r.Errorf("a recovery code, at the other issuer: got %v, expected ErrWrong", err)
		}
	}
	if err := there.Verify(r.Context(), "1", r.codeAt(own, now)); !errors.Is(err, totp.ErrClosed) {
		r.Errorf("after five wrong codes: got %v, expected ErrClosed", err)
	}
	if left, err := here.Recover(r.Context(), "1", codes[0]); err != nil || left != 9 {
		r.Errorf("its own recovery code: got %d left, %v", left, err)
	}
	if err := there.Reset(r.Context(), "1"); err != nil {
		r.Errorf("Reset: %v", err)
	}
	if err := here.Verify(r.Context(), "1", r.codeAt(key, now)); err != nil {
		r.Errorf("after the other issuer's Reset: %v", err)
	}
}

// twoOrganisations: the factor is the person's. Which organisation a login is limited to makes no other owner of her.
func twoOrganisations(r *records) {
	now := time.Unix(1111111109, 0)
	f := r.of(totpIssuer, func() time.Time { return now })
	club := &auth.Principal{Issuer: totpIssuer, Tenant: "club", Subject: "ann"}
	firm := &auth.Principal{Issuer: totpIssuer, Tenant: "firm", Subject: "ann"}
	if club.Owner() != firm.Owner() || club.Owner() != r.owner {
		r.Fatalf("got the owners %+v and %+v, expected %+v", club.Owner(), firm.Owner(), r.owner)
	}
	key, err := f.Begin(r.Context(), club.Subject, "ann@example.com")
	if err != nil {
		r.Fatal(err)
	}
	codes, err := f.Confirm(r.Context(), club.Subject, r.codeAt(key, now))
	if err != nil {
		r.Fatal(err)
	}
	now = now.Add(time.Minute)
	code := r.codeAt(key, now)
	if _, err := f.Begin(r.Context(), firm.Subject, "ann@example.com"); !errors.Is(err, totp.ErrActive) {
		r.Errorf("a second enrolment, of the firm: got %v, expected ErrActive", err)
	}
	if err := f.Verify(r.Context(), firm.Subject, code); err != nil {
		r.Errorf("a login of the firm: %v", err)
	}
	if err := f.Verify(r.Context(), club.Subject, code); !errors.Is(err, totp.ErrWrong) {
		r.Errorf("the same code at the club: got %v, expected ErrWrong", err)
	}
	if left, err := f.Recover(r.Context(), firm.Subject, codes.List()[0]); err != nil || left != 9 {
		r.Errorf("a recovery code, at the firm: got %d left, %v", left, err)
	}
	if _, err := f.Recover(r.Context(), club.Subject, codes.List()[0]); !errors.Is(err, totp.ErrWrong) {
		r.Errorf("the same at the club: got %v, expected ErrWrong", err)
	}
	if err := f.Reset(r.Context(), firm.Subject); err != nil {
		r.Errorf("Reset: %v", err)
	}
	if s, err := f.Status(r.Context(), club.Subject); err != nil || s != (totp.Status{}) {
		r.Errorf("after the Reset at the firm the club sees %+v, %v", s, err)
	}
}

// earlyCode: until the first login, the enrolment's code is told to wait for the next; a login's never is.
func earlyCode(r *records) {
	now := time.Unix(1111111109, 0) // one second before the next step
	f := r.of(totpIssuer, func() time.Time { return now })
	key, err := f.Begin(r.Context(), "ann", "ann@example.com")
	if err != nil {
		r.Fatal(err)
	}
	code := r.codeAt(key, now)
	if _, err := f.Confirm(r.Context(), "ann", code); err != nil {
		r.Fatal(err)
	}
	var wait interface{ RetryAfter() time.Duration }
	for range 2 {
		if err := f.Verify(r.Context(), "ann", code); !errors.Is(err, totp.ErrWrong) || !errors.As(err, &wait) || wait.RetryAfter() != time.Second {
			r.Errorf("the enrolment's code: got %v, expected ErrWrong with 1 s to wait", err)
		}
	}
	now = now.Add(time.Second)
	next := r.codeAt(key, now)
	if err := f.Verify(r.Context(), "ann", next); err != nil {
		r.Errorf("the next code: %v", err)
	}
	for _, used := range []string{code, next} {
		if err := f.Verify(r.Context(), "ann", used); !errors.Is(err, totp.ErrWrong) || errors.As(err, &wait) {
			r.Errorf("a used code after a login: got %v, expected ErrWrong and no more", err)
		}
	}
}
