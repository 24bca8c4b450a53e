// Package redissession keeps sessions in the Redis of a revocation list, where an ending and its entry on the
// list are one step.
//
// It does not own the connection, the prefix, the deadline or the epoch (they are the list's, package redisrev),
// the rules of a session (package session), or what is known of a subject.
//
// # What it needs
//
// What redisrev needs, and these commands for the default prefix:
//
//	~{dw}:* -@all +eval +evalsha +info +time +get +set +pexpiretime +del +hmget +hset +hget +hgetall +hdel +hlen +hincrby +zadd +zrem +zrange +pexpireat +xadd +xread +xrange +xrevrange
//
// A session takes about 1.8 KB of Redis; a third of it where hash-max-listpack-value is 512, since a browser's user
// agent is longer than the default of 64.
//
// Sessions end as durably as Redis stores: a Redis that comes back from an older snapshot can bring back a
// session that was logged out since, for its refresh token; access tokens are refused, by the new epoch.
// [Store.Durable] says at start what this Redis may lose. session.Config.EndOnOtherEpoch is the strict answer.
package redissession

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/auth/session"
	"github.com/doorward/doorward/revocation"
	"github.com/doorward/doorward/revocation/redisrev"
)

// Store is a [session.Store] and a [session.VersionStore] in Redis, for any number of processes. Each method is
// one script in one round trip; List, EndBelow, a Create that must make room and an End of what was just replaced
// ask twice or more, since a script on a Cluster may only touch keys that it was told of. It judges by the clock of
// Redis. It starts no goroutine.
type Store struct{ list *redisrev.List }

// New returns a store in the list's Redis, under its prefix, with its deadline. It does no I/O.
func New(list *redisrev.List) (*Store, error) {
	if list == nil {
		return nil, errors.New("redissession: got a nil list, expected one of redisrev.New")
	}
	return &Store{list}, nil
}

// Revocations implements [session.Store].
func (s *Store) Revocations() revocation.List { return s.list }

// tries bounds how often a call is repeated because the owner's sessions changed between its two questions.
// Each time takes a login of the same owner within one round trip.
const tries = 64

// maxGeneration keeps generations exact in Lua.
const maxGeneration = 1<<53 - 2

// Create implements [session.Store]. While the owner has fewer than c.Max sessions it is one round trip.
func (s *Store) Create(ctx context.Context, c session.Creation) (session.Result, error) {
	row := c.Session
	if err := check(row.Owner, row.ID); err != nil {
		return session.Result{}, err
	}
	fixed, err := encode(row)
	if err != nil {
		return session.Result{}, err
	}
	args := append([]any{call(), row.Epoch, c.Max, c.Grace.Milliseconds(), c.Absolute.Milliseconds(), row.ID, c.Replaces, member(row)}, fixed...)
	keys := append([]string{s.key("I", row.Owner), s.list.SessionKey("S", row.ID)}, s.provided(row)...)
	var ids []string
	if c.Replaces != "" {
		ids = []string{c.Replaces}
	}
	a, late := s.repeat(ctx, s.step, createScript, keys, args, ids)
	if late != nil && a.outcome == "" {
		return session.Result{}, late
	}
	res := session.Result{Outcome: session.Outcome(a.outcome), Epoch: a.epoch}
	switch {
	case a.outcome == "taken":
		return session.Result{}, fmt.Errorf("redissession: the id %.80q is there already", row.ID)
	case res.Outcome == session.Created && len(a.found) == 3:
		if res.Session, err = decode(row.Owner, row.ID, a.found[0]); err != nil {
			return session.Result{}, err
		}
		res.Ended, err = texts(a.found[1])
		s.trim(ctx, row.Provider, a.found[2])
		return res, cmp.Or(err, late)
	case res.Outcome == session.OtherEpoch || res.Outcome == session.Gone || res.Outcome == session.Replaced:
		return res, late
	}
	return session.Result{}, a.odd()
}

// maxProvided is how many members an index of a provider may have before those are looked for that are over: who logs in and
// out by a provider again and again adds one each time, and no ending takes it off.
const maxProvided = 50

// trim has Of take them off. That it fails costs nothing: the next login tries again.
func (s *Store) trim(ctx context.Context, p session.Provider, members any) {
	text, _ := members.(string)
	if n, err := strconv.Atoi(text); err != nil || n <= maxProvided {
		return
	}
	if p.Subject != "" {
		_, _ = s.Of(ctx, session.Provider{Issuer: p.Issuer, Subject: p.Subject})
	}
	if p.Session != "" {
		_, _ = s.Of(ctx, session.Provider{Issuer: p.Issuer, Session: p.Session})
	}
}

// Rotate implements [session.Store] in one round trip.
func (s *Store) Rotate(ctx context.Context, r session.Rotation) (session.Result, error) {
	if err := check(r.Owner, r.ID); err != nil {
		return session.Result{}, err
	}
	if r.Generation < 1 || r.Generation > maxGeneration || r.Numbers.EndedBelow < 0 {
		return session.Result{}, fmt.Errorf("redissession: got generation %d and ended below %d, expected 1 to 2^53-2 and 0 or more", r.Generation, r.Numbers.EndedBelow)
	}
	terms, err := texted(r.Terms)
	if err != nil {
		return session.Result{}, err
	}
	a, late := s.step(ctx, rotateScript,
		[]string{s.key("I", r.Owner), s.list.SessionKey("S", r.ID), s.list.SessionKey("s", r.ID)},
		call(), r.Epoch, r.ID, r.Generation, r.Numbers.EndedBelow, r.Numbers.Except, r.Grace.Milliseconds(), r.Binding,
		flag(r.Lenient), flag(r.Lend), flag(r.EndOnOtherEpoch),
		r.KeyID, addr(r.Client.Addr), r.Client.UserAgent, r.Device, r.Place, session.Network(r.Client.Addr), terms,
		flag(r.EndOnOtherClient), flag(r.Narrow))
	if late != nil && a.outcome == "" {
		return session.Result{}, late
	}
	res := session.Result{Outcome: session.Outcome(a.outcome), Epoch: a.epoch}
	switch res.Outcome {
	case session.OtherEpoch, session.Gone, session.Rotated, session.Kept, session.Replayed, session.RolledBack, session.Lent,
		session.Late, session.Reused, session.Replaced, session.Unbound, session.Moved, session.OtherTerms:
	default:
		return session.Result{}, a.odd()
	}
	if len(a.found) == 0 && (res.Outcome == session.OtherEpoch || res.Outcome == session.Gone) {
		return res, late
	} else if len(a.found) != 2 {
		return session.Result{}, a.odd()
	}
	if res.Session, err = decode(r.Owner, r.ID, a.found[0]); err != nil {
		return session.Result{}, err
	}
	former, err := texts(a.found[1])
	if err != nil || len(former) != 2 {
		return session.Result{}, a.odd()
	}
	res.Former, err = clientOf(former[0], former[1])
	return res, cmp.Or(err, late)
}

// End implements [session.Store] in one round trip, one more for each session that replaced one that it ends, and one for each
// that came from an identity provider.
func (s *Store) End(ctx context.Context, owner auth.Owner, ids ...string) (ended []string, err error) {
	ids = slices.Compact(slices.Sorted(slices.Values(ids)))
	if err := check(owner, ids...); err != nil || len(ids) == 0 {
		return nil, err
	}
	a, late := s.repeat(ctx, s.step, endScript, []string{s.key("I", owner)}, []any{call()}, ids)
	return s.ended(ctx, owner, a, late)
}

// EndBelow implements [session.Store].
func (s *Store) EndBelow(ctx context.Context, owner auth.Owner, version int64, except string) (ended []string, err error) {
	if err := (auth.Revocation{Owner: owner, Below: version}).Validate(); err != nil {
		return nil, err
	}
	a, late := s.repeat(ctx, s.step, endBelowScript, []string{s.key("I", owner), s.key("v", owner)}, []any{version, except}, nil)
	return s.ended(ctx, owner, a, late)
}

func (s *Store) ended(ctx context.Context, owner auth.Owner, a answer, late error) ([]string, error) {
	if late != nil && a.outcome == "" {
		return nil, late
	}
	if a.outcome != "ended" || a.epoch == "" || len(a.found) != 2 {
		return nil, a.odd()
	}
	ids, err := texts(a.found[0])
	s.unlist(ctx, owner, a.found[1])
	return ids, cmp.Or(err, late)
}

// unlist takes sessions that have ended off the indexes of their providers. The script that ended them was not told these
// keys. That it fails costs nothing: they are passed over, and leave by themselves.
func (s *Store) unlist(ctx context.Context, owner auth.Owner, reply any) {
	list, err := texts(reply)
	if err != nil || len(list)%2 != 0 {
		return
	}
	for i := 0; i < len(list); i += 2 {
		row := session.Session{Owner: owner, ID: list[i]}
		if json.Unmarshal([]byte(list[i+1]), &row.Provider) == nil {
			_, _ = s.look(ctx, unlistScript, s.provided(row), member(row))
		}
	}
}

// List implements [session.Store]. It also takes those that are over off the owner's index.
func (s *Store) List(ctx context.Context, owner auth.Owner) ([]session.Session, error) {
	if err := check(owner); err != nil {
		return nil, err
	}
	a, err := s.repeat(ctx, s.look, listScript, []string{s.key("I", owner)}, nil, nil)
	if err != nil {
		return nil, err
	}
	if a.outcome != "listed" || len(a.found) != 1 {
		return nil, a.odd()
	}
	found, ok := a.found[0].([]any)
	if !ok || len(found)%2 != 0 {
		return nil, a.odd()
	}
	rows := make([]session.Session, len(found)/2)
	for i := range rows {
		id, ok := found[2*i].(string)
		if !ok {
			return nil, a.odd()
		}
		if rows[i], err = decode(owner, id, found[2*i+1]); err != nil {
			return nil, err
		}
	}
	return rows, nil
}

// Of implements [session.Store] in two round trips. It also takes those that are over off the provider's index.
func (s *Store) Of(ctx context.Context, p session.Provider) ([]session.Session, error) {
	keys := s.provided(session.Session{Provider: p})
	switch {
	case p.Issuer == "" || p.Session == "" && p.Subject == "":
		return nil, fmt.Errorf("redissession: got a provider's issuer %.80q, subject %.80q and session %.80q, expected the issuer and one of the others", p.Issuer, p.Subject, p.Session)
	case p.Session != "":
		keys = keys[:1]
	default:
		keys = keys[1:]
	}
	a, err := s.repeat(ctx, s.look, ofScript, keys, nil, nil)
	if err != nil {
		return nil, err
	}
	if a.outcome != "listed" || len(a.found) != 1 {
		return nil, a.odd()
	}
	found, ok := a.found[0].([]any)
	if !ok || len(found)%2 != 0 {
		return nil, a.odd()
	}
	var rows []session.Session
	for i := 0; i < len(found); i += 2 {
		id, owner, err := memberOf(found[i])
		if err != nil {
			return nil, err
		}
		row, err := decode(owner, id, found[i+1])
		if err != nil {
			return nil, err
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// provided are the keys of the indexes that a row of a provider's session stands in: by the provider's session, and by its
// subject. Where there is none it is the owner's own index, since a script is given one key for each.
func (s *Store) provided(row session.Session) []string {
	keys := []string{s.key("I", row.Owner), s.key("I", row.Owner)}
	if p := row.Provider; p.Session != "" {
		keys[0] = s.key("P", auth.Owner{Issuer: p.Issuer, Subject: "s" + p.Session})
	}
	if p := row.Provider; p.Subject != "" {
		keys[1] = s.key("P", auth.Owner{Issuer: p.Issuer, Subject: "u" + p.Subject})
	}
	return keys
}

// member is what an index of a provider has of a row: its id, and its owner, whom the row itself names by a hash.
func member(row session.Session) string {
	return fmt.Sprintf("%s %d %s%s", row.ID, len(row.Issuer), row.Issuer, row.Subject)
}

func memberOf(v any) (id string, owner auth.Owner, err error) {
	text, _ := v.(string)
	id, rest, _ := strings.Cut(text, " ")
	length, names, ok := strings.Cut(rest, " ")
	n, bad := strconv.Atoi(length)
	if !ok || id == "" || bad != nil || n < 1 || n >= len(names) {
		return "", owner, unreadable("an index of a provider has the member %.80q", text)
	}
	return id, auth.Owner{Issuer: names[:n], Subject: names[n:]}, nil
}

// Numbers implements [session.VersionStore] in one round trip.
func (s *Store) Numbers(ctx context.Context, owner auth.Owner) (session.Numbers, error) {
	return s.numbers(ctx, owner, "read", "")
}

// Raise implements [session.VersionStore] in one round trip. When the client repeats it because an answer was
// lost, the version may rise twice, which ends nothing more.
func (s *Store) Raise(ctx context.Context, owner auth.Owner, end bool, except string) (session.Numbers, error) {
	how := "raise"
	if end {
		how = "end"
	}
	return s.numbers(ctx, owner, how, except)
}

func (s *Store) numbers(ctx context.Context, owner auth.Owner, how, except string) (n session.Numbers, err error) {
	if err := check(owner); err != nil {
		return n, err
	}
	step := s.step
	if how == "read" {
		step = s.look
	}
	a, late := step(ctx, numbersScript, []string{s.key("V", owner)}, how, except)
	if late != nil && a.outcome == "" {
		return n, late
	}
	v, err := texts(a.found)
	if err != nil || a.outcome != "numbers" || len(v) != 3 {
		return n, a.odd()
	}
	var bad [2]error
	n.Version, bad[0] = strconv.ParseInt(v[0], 10, 64)
	n.EndedBelow, bad[1] = strconv.ParseInt(v[1], 10, 64)
	n.Except = v[2]
	if errors.Join(bad[:]...) != nil || n.EndedBelow < 0 || n.Version < n.EndedBelow || how != "read" && n.Version < 1 {
		return session.Numbers{}, a.odd()
	}
	return n, late
}

// An answer is what a script replied.
type answer struct {
	epoch, outcome string
	found          []any
}

func (a answer) odd() error {
	return unreadable("a script answered %.40q with %d values in epoch %q", a.outcome, len(a.found), a.epoch)
}

// step runs a script. With [revocation.ErrUnconfirmed] the answer is there too: it has run.
func (s *Store) step(ctx context.Context, script *redis.Script, keys []string, args ...any) (answer, error) {
	return read(s.list.Step(ctx, script, keys, args...))
}

// look runs a script whose writes, if any, nobody relies on.
func (s *Store) look(ctx context.Context, script *redis.Script, keys []string, args ...any) (answer, error) {
	return read(s.list.Look(ctx, script, keys, args...))
}

func read(epoch string, found []any, err error) (answer, error) {
	a := answer{epoch: epoch}
	if len(found) > 0 {
		a.outcome, _ = found[0].(string)
		a.found = found[1:]
	}
	return a, err
}

// repeat runs a script that may touch the sessions of these ids, and those that it names when it needs more,
// until they are all that it needs, each told once. The script changes nothing before.
func (s *Store) repeat(ctx context.Context, step func(context.Context, *redis.Script, []string, ...any) (answer, error), script *redis.Script, keys []string, args []any, ids []string) (answer, error) {
	keys, args = slices.Clip(keys), slices.Clip(args)
	told := ids
	for range tries {
		k, v := keys, args
		for _, id := range told {
			k, v = append(k, s.list.SessionKey("S", id), s.list.SessionKey("s", id)), append(v, id)
		}
		a, err := step(ctx, script, k, v...)
		if a.outcome != "more" { // where it is, nothing was written, and nobody need wait
			return a, err
		}
		if len(a.found) != 1 {
			return answer{}, a.odd()
		}
		more, err := texts(a.found[0])
		if err != nil {
			return answer{}, err
		}
		told = slices.Compact(slices.Sorted(slices.Values(append(slices.Clip(ids), more...))))
	}
	return answer{}, fmt.Errorf("%w: redissession: the owner's sessions changed %d times within one call", auth.StoreUnavailable, tries)
}

func (s *Store) key(kind string, o auth.Owner) string {
	return s.list.OwnerKey(kind, o)
}

// check refuses what would be nobody's.
func check(o auth.Owner, ids ...string) error {
	if o.Issuer == "" || o.Subject == "" || slices.Contains(ids, "") {
		return fmt.Errorf("redissession: got the owner %.80q of issuer %.80q and the ids %.300q, expected none to be empty", o.Subject, o.Issuer, ids)
	}
	return nil
}

// call names one call. go-redis sends a command again when its answer was lost, and the script that meets its
// own work answers as it did: the second sending must not look like another showing of the token.
func call() string { return rand.Text() }

func flag(b bool) string {
	if b {
		return "1"
	}
	return "0"
}

func millis(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return strconv.FormatInt(t.UnixMilli(), 10)
}
