package middleware

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"strconv"
	"sync"
	"time"

	"github.com/doorward/doorward/internal/derive"
)

const (
	// maxFailures within failureSpan turn a password off (NIST SP 800-63B-4 section 3.2.2 allows 100 at most).
	maxFailures = 100
	failureSpan = 30 * 24 * time.Hour

	// unknownNames is how many counts the names share that nobody has. One each would fill a disk, none would tell by
	// the time which names exist.
	unknownNames = 1 << 16
)

// Failures counts the tries at a password for longer than a limit remembers: 5 in 15 minutes are 480 a day, for
// ever. At 100 within 30 days the password is off: each login answers login_failed unasked, except from known devices,
// which have counts of their own, until [LoginLimit.Reset]. [LoginLimit.Decoy] is asked before that answer, so that it takes
// as long as a wrong password. A login that succeeds gives back its own try and no
// other, or a guesser could stay at 99 between two logins of the owner.
//
// A key is 43 letters, digits, "-" and "_". It names a subject of one issuer, with or without a device, or one of 65,536
// counts that the names share which nobody has. It does not show which. So a store grows with the accounts that
// are guessed at, not with what strangers type.
//
// An error makes the login 503. Whether a store keeps the contract is shown by storetest.Failures. A table in SQL has key,
// count and began, and Take is one statement:
//
//	INSERT INTO login_failures AS f (key, count, began) VALUES ($1, 1, now())
//	ON CONFLICT (key) DO UPDATE SET
//		count = CASE WHEN f.began < now() - $3 THEN 1 ELSE f.count + 1 END,
//		began = CASE WHEN f.began < now() - $3 THEN now() ELSE f.began END
//	WHERE f.count < $2
//	RETURNING began
type Failures interface {
	// Take takes a try of key before anything is compared. It is one conditional update, committed when Take returns and
	// in no transaction of the caller's: counted and rolled back, or read and then written, parallel tries are not
	// counted. taken names the count that it was taken from, for Give; "" says that there was no try left.
	//
	// A key that is new has a count of 0. The count is raised by one where it is below most; where it began longer than
	// span ago, it begins anew. A count that has reached most stays there, however old, until Drop. A count below
	// most that began longer than span ago may be forgotten.
	Take(ctx context.Context, key string, most int, span time.Duration) (taken string, err error)

	// Give gives one try back, once for each that was taken. It changes nothing where the count that taken names has been
	// dropped or has begun anew. A count that it brings to 0 may be forgotten or stay: both let a whole span's tries on,
	// and one that stays begins anew when its span is over.
	Give(ctx context.Context, key, taken string) error

	// Drop makes the count of key as new. One that is not there is dropped already.
	Drop(ctx context.Context, key string) error
}

// MemoryFailures is a [Failures] of one process, for tests and for programs of one process: it forgets at a restart, and so
// turns passwords on again that were off. Its zero value is ready.
type MemoryFailures struct {
	Now func() time.Time // nil is time.Now

	mu    sync.Mutex
	rows  map[string]*failureCount
	made  uint64 // counts that were begun: their names
	sweep int    // so many rows there may be before those that are over are looked for
}

type failureCount struct {
	count int
	over  bool // count has reached most
	began time.Time
	ends  time.Time
	name  uint64
}

// Take implements [Failures]. It returns the context's error where that has ended.
func (m *MemoryFailures) Take(ctx context.Context, key string, most int, span time.Duration) (taken string, err error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	now := m.now()
	m.mu.Lock()
	defer m.mu.Unlock()
	row := m.rows[key]
	switch {
	case row != nil && row.count >= most:
		return "", nil
	case row == nil || now.Sub(row.began) > span:
		m.forget(now)
		m.made++
		row = &failureCount{began: now, name: m.made}
		m.rows[key] = row
	}
	row.count++
	row.over, row.ends = row.count >= most, row.began.Add(span)
	return strconv.FormatUint(row.name, 36), nil
}

// Give implements [Failures].
func (m *MemoryFailures) Give(_ context.Context, key, taken string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	row := m.rows[key]
	if row == nil || strconv.FormatUint(row.name, 36) != taken {
		return nil
	}
	if row.count, row.over = row.count-1, false; row.count <= 0 {
		delete(m.rows, key)
	}
	return nil
}

// Drop implements [Failures].
func (m *MemoryFailures) Drop(_ context.Context, key string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.rows, key)
	return nil
}

func (m *MemoryFailures) now() time.Time {
	if m.Now != nil {
		return m.Now()
	}
	return time.Now()
}

// forget makes room for one: when there are twice as many rows as the last look has left, it looks for those that are over.
func (m *MemoryFailures) forget(now time.Time) {
	if m.rows == nil {
		m.rows, m.sweep = map[string]*failureCount{}, 1024
	}
	if len(m.rows) < m.sweep {
		return
	}
	for key, row := range m.rows {
		if !row.over && now.After(row.ends) {
			delete(m.rows, key)
		}
	}
	m.sweep = max(1024, 2*len(m.rows))
}

// failureKey names the count of an account. subject is "" for a name that nobody has, device for one that is not known.
func (c *LoginLimit) failureKey(subject, name, device string) (string, error) {
	// Made whether it is needed or not: what a name costs is not to tell whether somebody has it.
	slot, err := c.hashed("unknown", name)
	if err != nil {
		return "", err
	}
	if subject == "" {
		return countKey("unknown", c.Issuer, strconv.FormatUint(uint64(binary.BigEndian.Uint32(slot)%unknownNames), 10)), nil
	}
	return countKey("subject", c.Issuer, subject, device), nil
}

func countKey(parts ...string) string {
	sum := sha256.Sum256(lengthened(parts))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// hashed is a MAC over what was typed, which may have been a password: a plain hash of it could be guessed at.
func (c *LoginLimit) hashed(use, text string) ([]byte, error) {
	key := processKey()
	if c.Keys != nil {
		var err error
		if _, key, err = deriveKey(c.Keys, "", c.Issuer, derive.LoginAccount); err != nil {
			return nil, err
		}
	}
	h := hmac.New(sha256.New, key)
	_, _ = h.Write(lengthened([]string{use, text})) // a hash takes everything
	return h.Sum(nil), nil
}

// processKey is the key of hashes where there is no KeySource.
var processKey = sync.OnceValue(func() []byte {
	key := make([]byte, sha256.Size)
	_, _ = rand.Read(key) // crypto/rand never fails
	return key
})
