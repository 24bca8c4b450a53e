package revocation

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/doorward/doorward/auth"
)

// Memory is a [List] for one process. Its epoch is its own start: a token made before that, or under
// another list, is refused with [auth.TokenExpired], so a restart forgets nothing in anyone's favour.
// Two processes, each with a Memory, do not see each other's endings and refuse each other's tokens.
//
// Entries leave after [Keep] by Go's monotonic clock, and their memory with the first Revoke
// that comes a minute or more after that.
type Memory struct {
	epoch string
	start time.Time

	sessions table[string]
	tokens   table[tokenKey]
	subjects table[subjectKey]

	sweepAt atomic.Int64 // nanoseconds since start
}

type (
	tokenKey   struct{ issuer, id string }
	subjectKey struct{ issuer, tenant, subject string }
)

// sweepEvery is how often, at most, a Revoke drops what is over.
const sweepEvery = time.Minute

// Refusals without a detail are made once, so that a client who repeats a dead token costs no garbage.
var (
	errSession = fmt.Errorf("%w: its session was ended", auth.TokenRevoked)
	errToken   = fmt.Errorf("%w: the token was ended by its id", auth.TokenRevoked)
	errNoEpoch = fmt.Errorf("%w: it carries no epoch (ep)", auth.TokenExpired)
	errNobody  = errors.New("revocation: Check was given a nil principal")
)

// NewMemory returns an empty list with an epoch of its own.
func NewMemory() *Memory {
	m := &Memory{epoch: rand.Text()[:8], start: time.Now()}
	m.sessions.init()
	m.tokens.init()
	m.subjects.init()
	m.sweepAt.Store(int64(sweepEvery))
	return m
}

// Check implements [List]. It does no I/O and never answers auth.StoreUnavailable.
func (m *Memory) Check(_ context.Context, p *auth.Principal) error {
	if p == nil {
		return errNobody
	}
	if p.Epoch != m.epoch {
		if p.Epoch == "" {
			return errNoEpoch
		}
		return fmt.Errorf("%w: its epoch is %q, the list's is %q", auth.TokenExpired, p.Epoch, m.epoch)
	}
	if p.Session != "" {
		if _, hit := m.sessions.get(p.Session, p.Session, m.start); hit {
			return errSession
		}
	}
	if p.TokenID != "" {
		if _, hit := m.tokens.get(p.TokenID, tokenKey{p.Issuer, p.TokenID}, m.start); hit {
			return errToken
		}
	}
	if least, hit := m.subjects.get(p.Subject, subjectKey{p.Issuer, p.Tenant, p.Subject}, m.start); hit && p.Version < least {
		return fmt.Errorf("%w: its version %d is below %d", auth.TokenExpired, p.Version, least)
	}
	return nil
}

// Revoke implements [List].
func (m *Memory) Revoke(_ context.Context, rs ...auth.Revocation) error {
	for _, r := range rs {
		if err := r.Validate(); err != nil {
			return err
		}
	}
	now := time.Since(m.start)
	for _, r := range rs {
		switch {
		case r.Session != "":
			m.sessions.put(r.Session, r.Session, 0, now+Keep)
		case r.TokenID != "":
			m.tokens.put(r.TokenID, tokenKey{r.Issuer, r.TokenID}, 0, now+Keep)
		default:
			m.subjects.put(r.Subject, subjectKey{r.Issuer, r.Tenant, r.Subject}, r.Below, now+Keep)
		}
	}
	if due := m.sweepAt.Load(); int64(now) >= due && m.sweepAt.CompareAndSwap(due, int64(now+sweepEvery)) {
		m.sessions.sweep(now)
		m.tokens.sweep(now)
		m.subjects.sweep(now)
	}
	return nil
}

// Epoch implements [List].
func (m *Memory) Epoch(context.Context) (string, error) { return m.epoch, nil }
