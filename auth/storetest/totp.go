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
		{"no subject", recordNobody},
		{"ATK-O01 50 at once, none is lost", recordRace},
		{"ATK-O06 50 at once, one makes the record", recordCreateRace},
		{"STD-O02 ATK-O01 50 tries of one code", codeRace},
		{"ATK-O06 50 confirmations", confirmRace},
		{"STD-O08 ATK-O07 50 tries of one recovery code", recoveryRace},
		{"STD-O05 ATK-O02 200 wrong codes at once", wrongRace},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(&records{t, open(t)}) })
	}
}

// records is a store under test.
type records struct {
	*testing.T
	store totp.Store
}

const tenant, subject = "acme", "ann"

// put writes a record, nil to remove it.
func (r *records) put(record []byte) {
	r.Helper()
	if err := r.store.Update(r.Context(), tenant, subject, func([]byte) ([]byte, error) { return record, nil }); err != nil {
		r.Fatalf("Update: %v", err)
	}
}

// want demands what the record of an owner is.
func (r *records) want(tenant, subject string, want []byte) {
	r.Helper()
	got, calls := []byte(nil), 0
	err := r.store.Update(r.Context(), tenant, subject, func(old []byte) ([]byte, error) {
		calls++
		got = bytes.Clone(old)
		return old, nil
	})
	if err != nil || calls == 0 || !bytes.Equal(got, want) || (got == nil) != (want == nil) {
		r.Errorf("the record of %q in %q: got %.80q, %v, expected %.80q", subject, tenant, got, err, want)
	}
}

func recordsKept(r *records) {
	r.want(tenant, subject, nil)
	for _, record := range []string{"one", "two", "two", "three"} {
		r.put([]byte(record))
		r.want(tenant, subject, []byte(record))
	}
	r.put(nil)
	r.want(tenant, subject, nil)
	r.put(nil)
	r.put([]byte("again"))
	r.want(tenant, subject, []byte("again"))
	r.put([]byte{})
	r.want(tenant, subject, nil)
}

var errChange = errors.New("no change")

func recordRefused(r *records) {
	for _, there := range [][]byte{nil, []byte("there")} {
		if there != nil {
			r.put(there)
		}
		err := r.store.Update(r.Context(), tenant, subject, func([]byte) ([]byte, error) {
			return []byte("not to be written"), fmt.Errorf("wrapped: %w", errChange)
		})
		if !errors.Is(err, errChange) {
			r.Errorf("got %v, expected the error of change", err)
		}
		r.want(tenant, subject, there)
	}
}

func recordsCopied(r *records) {
	record := []byte("mine")
	r.put(record)
	copy(record, "oops")
	r.want(tenant, subject, []byte("mine"))
	err := r.store.Update(r.Context(), tenant, subject, func(old []byte) ([]byte, error) {
		copy(old, "oops")
		return nil, errChange
	})
	if !errors.Is(err, errChange) {
		r.Errorf("got %v, expected the error of change", err)
	}
	r.want(tenant, subject, []byte("mine"))
	// In place, it is a change like any other.
	if err := r.store.Update(r.Context(), tenant, subject, func(old []byte) ([]byte, error) { return old[:copy(old, "yours")], nil }); err != nil {
		r.Error(err)
	}
	r.want(tenant, subject, []byte("your"))
}

func recordBytes(r *records) {
	record := make([]byte, 4096)
	for i := range record {
		record[i] = byte(i)
	}
	for _, record := range [][]byte{record, {0}, []byte("\r\n"), []byte("\xff\xfe"), bytes.Repeat([]byte{0}, 26)} {
		r.put(record)
		r.want(tenant, subject, record)
	}
}

func recordOwners(r *records) {
	owners := [][2]string{
		{"", "ann"}, {"a", "nn"}, {"an", "n"}, {"ann", "ann"}, {"", "Ann"}, {"", "ann "}, {"", "ann\x00"}, {"\x00", "ann"}, {"", "a*"},
		{"", "{x}"}, {"", "a:nn"}, {"", "a/nn"}, {"", "änn"}, {"", "a\u0308nn"}, {"", strings.Repeat("n", 300)}, {"", strings.Repeat("n", 301)},
		{"a:b", "c"}, {"a", "b:c"}, {"\xff", "ann"}, {"", "1"}, {"1", "1"},
	}
	for i, o := range owners {
		err := r.store.Update(r.Context(), o[0], o[1], func(old []byte) ([]byte, error) {
			if old != nil {
				r.Errorf("the record of %q in %q is there already: %q", o[1], o[0], old)
			}
			return []byte{byte(i), 1}, nil
		})
		if err != nil {
			r.Errorf("%q in %q: %v", o[1], o[0], err)
		}
	}
	for i, o := range owners {
		r.want(o[0], o[1], []byte{byte(i), 1})
	}
}

func recordContext(r *records) {
	ctx, cancel := context.WithCancel(r.Context())
	cancel()
	if err := r.store.Update(ctx, tenant, subject, func([]byte) ([]byte, error) { return []byte("late"), nil }); err == nil {
		r.Error("got nil under a context that has ended")
	}
	r.want(tenant, subject, nil)
}

func recordNobody(r *records) {
	if err := r.store.Update(r.Context(), tenant, "", func([]byte) ([]byte, error) { return []byte("whose"), nil }); err == nil {
		r.Error("got nil for an empty subject")
	}
}

const atOnce = 50

// recordRace: each of 50 that count one further is counted, and what a call has seen is what it replaced.
func recordRace(r *records) {
	for range rounds(20) {
		var seen [atOnce + 1]atomic.Bool
		each(atOnce, func(int) {
			var n uint64
			err := r.store.Update(r.Context(), tenant, subject, func(old []byte) ([]byte, error) {
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
		r.want(tenant, subject, binary.BigEndian.AppendUint64(nil, atOnce))
		r.put(nil)
	}
}

// recordCreateRace: of 50 that write the same bytes where there is nothing, one is the first.
func recordCreateRace(r *records) {
	for range rounds(20) {
		var made atomic.Int64
		each(atOnce, func(int) {
			first := false
			err := r.store.Update(r.Context(), tenant, subject, func(old []byte) ([]byte, error) {
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

// factors returns factors over the store, at a moment, and the code that ann's new key has then.
func (r *records) factors(begin func(*totp.Factors) (totp.Key, error)) (f *totp.Factors, code string) {
	r.Helper()
	now := time.Unix(1111111109, 0)
	f, err := totp.New(totp.Config{Issuer: "Example", Store: r.store, AllowUnsealed: true, Now: func() time.Time { return now }})
	if err != nil {
		r.Fatal(err)
	}
	if err := f.Reset(r.Context(), tenant, subject); err != nil {
		r.Fatal(err)
	}
	key, err := begin(f)
	if err != nil {
		r.Fatal(err)
	}
	secret, err := base32.StdEncoding.DecodeString(key.Secret())
	if err != nil {
		r.Fatal(err)
	}
	// RFC 4226 section 5.3.
	mac := hmac.New(sha1.New, secret)
	mac.Write(binary.BigEndian.AppendUint64(nil, uint64(now.Unix()/30)))
	sum := mac.Sum(nil)
	at := sum[len(sum)-1] & 15
	return f, fmt.Sprintf("%06d", binary.BigEndian.Uint32(sum[at:])&math.MaxInt32%1_000_000)
}

// begun is an enrolment; active a factor of which no code was used yet.
func (r *records) begun() (*totp.Factors, string) {
	r.Helper()
	return r.factors(func(f *totp.Factors) (totp.Key, error) {
		return f.Begin(r.Context(), tenant, subject, "ann@example.com")
	})
}

func (r *records) active() (*totp.Factors, string) {
	r.Helper()
	return r.factors(func(f *totp.Factors) (totp.Key, error) {
		key, err := f.Begin(r.Context(), tenant, subject, "ann@example.com")
		if err != nil {
			return key, err
		}
		return key, f.Import(r.Context(), tenant, subject, key)
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
		r.one(auth.LoginFailed, func() error { return f.Verify(r.Context(), tenant, subject, code) })
	}
}

// confirmRace: one gets the recovery codes, and the code that confirmed is used up.
func confirmRace(r *records) {
	for range rounds(20) {
		f, code := r.begun()
		r.one(auth.ValidationFailed, func() error {
			codes, err := f.Confirm(r.Context(), tenant, subject, code)
			if (err == nil) != (len(codes.List()) == 10) {
				r.Errorf("got %d recovery codes and %v", len(codes.List()), err)
			}
			return err
		})
		if err := f.Verify(r.Context(), tenant, subject, code); !errors.Is(err, totp.ErrWrong) {
			r.Errorf("the code that confirmed, again: got %v, expected ErrWrong", err)
		}
	}
}

// recoveryRace: wrong tries count, so that those who come late find the factor closed.
func recoveryRace(r *records) {
	for range rounds(20) {
		f, code := r.begun()
		codes, err := f.Confirm(r.Context(), tenant, subject, code)
		if err != nil {
			r.Fatal(err)
		}
		var good atomic.Int64
		each(atOnce, func(int) {
			left, err := f.Recover(r.Context(), tenant, subject, codes.List()[3])
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
			switch err := f.Verify(r.Context(), tenant, subject, wrong); {
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
		if err := f.Verify(r.Context(), tenant, subject, code); !errors.Is(err, totp.ErrClosed) {
			r.Errorf("the right code afterwards: got %v, expected ErrClosed", err)
		}
	}
}
