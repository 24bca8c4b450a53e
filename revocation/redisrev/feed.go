package redisrev

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doorward/doorward/revocation"
)

// page is how many entries a node is given at once.
const page = 1000

// waitFor is how long [List.Wait] waits for an entry.
const waitFor = time.Second

// Next implements [revocation.Feed] in one round trip, and one more where it found registrations that are abandoned.
func (l *List) Next(ctx context.Context, node string, at revocation.Position) (revocation.Batch, error) {
	from, cursor := l.clock(), l.onward()
	reply, err := l.run(ctx, leaseScript, l.keys.all(), proposal(), node, at.Epoch, at.Entry, l.count.Add(1), page, cursor)
	if cursor != "" {
		var round any
		if err == nil && len(reply) == 7 {
			round = reply[6]
		}
		dead, failure := l.watched(from, round)
		if err = cmp.Or(err, failure); err == nil {
			l.remove(ctx, dead)
		}
	}
	if err != nil {
		return revocation.Batch{}, err
	}
	epoch, err := epochOf(reply)
	if err != nil {
		return revocation.Batch{}, err
	}
	if len(reply) != 7 || epoch == "" {
		return revocation.Batch{}, unreadable("lease returned %d values in epoch %q", len(reply), epoch)
	}
	l.met(epoch, ageOf(reply[1]), nil)
	b := revocation.Batch{Start: reply[2] == int64(1), End: reply[3] == int64(1), At: revocation.Position{Epoch: epoch, Entry: at.Entry}}
	if b.Start {
		b.At.Entry = "0-0"
	}
	text, _ := reply[4].(string)
	now, err := strconv.ParseInt(text, 10, 64)
	rows, ok := reply[5].([]any)
	if err != nil || !ok {
		return revocation.Batch{}, unreadable("lease returned the time %.40q and the entries %.40v", text, reply[5])
	}
	b.Entries = make([]revocation.Entry, 0, len(rows))
	for _, row := range rows {
		parts, _ := row.([]any)
		if len(parts) != 2 {
			return revocation.Batch{}, unreadable("the log has the line %.200v", row)
		}
		id, _ := parts[0].(string)
		ms, _, _ := strings.Cut(id, "-")
		at, err := strconv.ParseInt(ms, 10, 64)
		if err != nil {
			return revocation.Batch{}, unreadable("the log has the id %.40q", id)
		}
		b.At.Entry = id
		left := life - time.Duration(now-at)*time.Millisecond
		if left <= 0 {
			continue // over, whatever it says, and not yet trimmed
		}
		e, err := logged(parts[1])
		if err != nil {
			return revocation.Batch{}, err
		}
		e.Left = left
		b.Entries = append(b.Entries, e)
	}
	return b, nil
}

// logged reads the fields of one line of the log.
func logged(v any) (revocation.Entry, error) {
	if f, _ := v.([]any); len(f) >= 2 && f[0] == "k" {
		switch {
		case len(f) == 2:
			return entry(f[1], "1")
		case len(f) == 4 && f[2] == "m":
			return entry(f[1], f[3])
		}
	}
	return revocation.Entry{}, unreadable("the log has a line of %.200v", v)
}

// Wait implements [revocation.Feed]: for as long as it waits, it has a connection of the client's for itself.
func (l *List) Wait(ctx context.Context, at revocation.Position) error {
	if at.Entry == "" {
		return errors.New("redisrev: Wait: got no entry to wait behind")
	}
	done := make(chan error, 1)
	go func() { // left behind when ctx ends: go-redis does not always look
		var err error
		defer func() {
			if r := recover(); r != nil { // in a client's hook: it must not end the process
				err = fmt.Errorf("redisrev: the client panicked: %v", r)
			}
			done <- err
		}()
		ctx, cancel := context.WithTimeout(ctx, waitFor+l.guard.Timeout())
		defer cancel()
		err = l.guard.Client().XRead(ctx, &redis.XReadArgs{Streams: []string{l.keys.log, at.Entry}, Count: 1, Block: waitFor}).Err()
		if errors.Is(err, redis.Nil) {
			err = nil // nothing came
		}
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Leave implements [revocation.Feed].
func (l *List) Leave(ctx context.Context, node string) error {
	_, err := l.run(ctx, forgetScript, l.keys.all(), node, "")
	return err
}

// Attach implements [revocation.Feed].
func (l *List) Attach(heard func(epoch string, added []revocation.Entry)) (detach func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.attached = append(slices.Clip(l.attached), &heard)
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.attached = slices.DeleteFunc(slices.Clone(l.attached), func(h *func(string, []revocation.Entry)) bool { return h == &heard })
	}
}
