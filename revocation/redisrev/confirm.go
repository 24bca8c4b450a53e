package redisrev

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/revocation"
)

const (
	// outlast is how long a lease can be in use that was taken before a moment that has passed here: the lease
	// itself, and a twentieth of it for clocks that do not run alike.
	outlast = revocation.Lease + revocation.Lease/20

	// silent is how long a registration must have stayed as it is, by this process's clock, before it is taken off the account: a lease,
	// with half of the margin of outlast, the rest of which is for looking.
	silent = revocation.Lease + revocation.Lease/40

	// late is for how much longer than its min-replicas-max-lag a master may count a replica as good that it has lost: Redis
	// counts whole seconds, once a second.
	late = 2 * time.Second

	// drift is how far clocks may jump where a time of Redis is believed.
	drift = time.Minute

	firstLook, lastLook = time.Millisecond, 50 * time.Millisecond
)

var errOtherEpoch = errors.New("the list has begun another epoch meanwhile")

// confirm waits until no node can accept any more what was put on the list. That is so when
//
//   - every node has acknowledged the entry; or outlast has passed since it was written: whatever lease is in use then
//     was taken after it, and with it. A node that is dead, stopped or cut off is waited for no longer than that;
//   - and this process has known the epoch for so long that no lease of an earlier one is in use: a Redis that was
//     flushed, restored or promoted does not know who holds those.
//
// The last look is in the entry's own epoch: in another one the entry may be gone, and with it whatever was changed in the same
// step. Where the list cannot say so, or ctx ends, the answer is [revocation.ErrUnconfirmed].
func (l *List) confirm(ctx context.Context, m made) error {
	if m.last == "" || !revocation.Waits(ctx) {
		return nil
	}
	err := l.await(ctx, m)
	if err != nil {
		err = fmt.Errorf("%w: %w", revocation.ErrUnconfirmed, err)
	}
	return err
}

func (l *List) await(ctx context.Context, m made) error {
	written := time.Now()
	gone := m.nodes == 0
	if gone && l.unsettled(m.epoch) == 0 {
		return nil
	}
	for look := firstLook; ; look = min(2*look, lastLook) {
		pause := look
		if gone {
			pause = max(look, l.unsettled(m.epoch))
		}
		if err := sleep(ctx, pause); err != nil {
			return err
		}
		epoch, behind, err := l.lag(ctx, m.last)
		switch {
		case err != nil && time.Since(written) < outlast+l.maxLag+2*l.guard.Timeout():
			continue
		case err != nil:
			return err
		case epoch != m.epoch:
			return errOtherEpoch
		}
		if !gone && len(behind) > 0 && time.Since(written) >= outlast {
			l.forget(ctx, behind)
			gone = true
		}
		if gone = gone || len(behind) == 0; gone && l.unsettled(m.epoch) == 0 {
			return nil
		}
	}
}

// forget takes nodes off the account that have not renewed their lease for longer than one lasts, so that the next revoker
// does not wait for them. One that lives registers anew. One that was seen later than that may hold a lease, and stays.
func (l *List) forget(ctx context.Context, behind map[string]string) {
	dead := map[string]string{}
	l.mu.Lock()
	for node, registration := range behind {
		if s := l.seen[node]; s.registration == registration && time.Since(s.at) >= silent {
			dead[node] = registration
		}
	}
	l.mu.Unlock()
	l.remove(ctx, dead)
}

// saw notes registrations of nodes that are behind, and drops those that are behind no more when they are the most.
func (l *List) saw(behind map[string]string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	seen := l.seen
	if len(seen) > 2*len(behind)+1000 {
		seen = make(map[string]sight, len(behind))
	}
	for node, registration := range behind {
		if seen[node] = l.seen[node]; seen[node].registration != registration {
			seen[node] = sight{registration, time.Now()}
		}
	}
	l.seen = seen
}

// add puts entries on the list, all in one epoch: one that ends meanwhile takes those with it that it had. short
// is [revocation.ErrUnconfirmed] where too few replicas have them.
func (l *List) add(ctx context.Context, entries []revocation.Entry) (all made, short, err error) {
	for left, tries := entries, 0; len(left) > 0; {
		n := min(len(left), batch)
		names, values := make([]string, n), make([]any, n)
		for i, e := range left[:n] {
			names[i], values[i] = l.keys.tag+e.Name, argument(e)
		}
		m, _, err := l.step(ctx, addScript, names, values...)
		if errors.Is(err, revocation.ErrUnconfirmed) {
			short = err
		} else if err != nil {
			return made{}, nil, err
		}
		if all.epoch != "" && all.epoch != m.epoch {
			if tries++; tries == 3 {
				return made{}, nil, fmt.Errorf("%w: redisrev: %w", auth.StoreUnavailable, errOtherEpoch)
			}
			all, left, short = made{}, entries, nil
			continue
		}
		all = made{m.epoch, m.last, max(all.nodes, m.nodes), append(all.added, m.added...)}
		left = left[n:]
	}
	return all, short, nil
}

// argument is an entry's value as addScript takes it.
func argument(e revocation.Entry) any {
	switch {
	case e.Name[0] == 'v':
		return e.Value
	case e.Value == 0:
		return "replaced"
	}
	return ""
}

// lag asks which nodes have not acknowledged an entry.
func (l *List) lag(ctx context.Context, entry string) (epoch string, behind map[string]string, err error) {
	reply, err := l.run(ctx, lagScript, l.keys.all(), entry)
	if err != nil {
		return "", nil, err
	}
	if epoch, err = epochOf(reply); err != nil {
		return "", nil, err
	}
	if len(reply) < 2 || len(reply)%2 != 0 {
		return "", nil, unreadable("lag returned %d values, expected an even number", len(reply))
	}
	l.met(epoch, ageOf(reply[1]), nil)
	behind = map[string]string{}
	for i := 2; i < len(reply); i += 2 {
		node, _ := reply[i].(string)
		behind[node], _ = reply[i+1].(string)
	}
	l.saw(behind)
	return epoch, behind, nil
}

// met notes which epoch a reply came from, and tells this process's replicas.
func (l *List) met(epoch string, age time.Duration, added []revocation.Entry) {
	if epoch == "" {
		return
	}
	l.mu.Lock()
	if l.epoch != epoch {
		l.epoch, l.since = epoch, time.Now()
	}
	if age >= l.settle()+drift {
		l.since = time.Time{}
	}
	replicas := l.attached
	l.mu.Unlock()
	for _, heard := range replicas {
		(*heard)(epoch, added)
	}
}

// settle is how long after an epoch began nothing of an earlier one is in use: leases, and a master that was cut off and
// did not know it.
func (l *List) settle() time.Duration { return outlast + l.maxLag }

// unsettled is how long it takes until then, as far as this process knows; 0 when it has passed.
func (l *List) unsettled(epoch string) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.epoch != epoch {
		return l.settle()
	}
	if l.since.IsZero() {
		return 0
	}
	return max(0, l.settle()-time.Since(l.since))
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
