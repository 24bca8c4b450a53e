package redissession_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/auth/session"
	"github.com/doorward/doorward/internal/redistest"
)

var ann = auth.Owner{Issuer: issuer, Subject: "ann"}

// annHash is the first 22 characters of base64url(SHA-256) over ann's issuer and subject, each behind its
// length: part of the format.
const annHash = "ltSh1ChhtkF6mkP615aKtM"

const sid = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

// raw is the row as the format has it.
func raw(row session.Session) map[string]string {
	methods, _ := json.Marshal(row.Methods)
	ms := func(t time.Time) string {
		if t.IsZero() {
			return ""
		}
		return fmt.Sprint(t.UnixMilli())
	}
	bit := map[bool]string{true: "1", false: "0"}
	terms, _ := json.Marshal(row.Terms)
	provider := ""
	if row.Provider != (session.Provider{}) {
		text, _ := json.Marshal(row.Provider)
		provider = string(text)
	}
	return map[string]string{
		"owner": annHash, "version": fmt.Sprint(row.Version), "generation": fmt.Sprint(row.Generation), "from": fmt.Sprint(row.From),
		"grace": ms(row.GraceUntil), "late": ms(row.LateUntil), "replaced": bit[row.Replaced], "idle": fmt.Sprint(row.Idle.Milliseconds()),
		"created": ms(row.Created), "used": ms(row.Used), "idle_until": ms(row.IdleUntil), "until": ms(row.Until), "epoch": row.Epoch,
		"by": "somebody", "did": "created", "binding": row.Binding, "key": row.KeyID, "addr": addr(row.Client.Addr), "agent": row.Client.UserAgent,
		"device": row.Device, "methods": string(methods), "auth_time": ms(row.AuthTime), "client_id": row.ClientID,
		"terms": string(terms), "audience": row.Audience, "provider": provider, "remember": bit[row.Remember], "place": row.Place,
		"network": session.Network(row.Client.Addr), "former": "",
	}
}

func addr(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

// put writes the row past the store.
func put(t testing.TB, client *redis.Client, row session.Session) {
	t.Helper()
	pipe := client.Pipeline()
	pipe.Del(t.Context(), "{dw}:s:"+row.ID)
	pipe.Del(t.Context(), "{dw}:S:"+row.ID)
	pipe.HSet(t.Context(), "{dw}:S:"+row.ID, raw(row))
	pipe.ZAdd(t.Context(), "{dw}:I:"+annHash, redis.Z{Score: float64(row.Until.UnixMilli()), Member: row.ID})
	if _, err := pipe.Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// The script spells out the table of session.Rotation.Judge. Here both judge every combination of what the table
// looks at, and the row in Redis must be what Judge returns.
func TestRotate_IsJudge(t *testing.T) {
	t.Parallel()
	client := redistest.Start(t).Client()
	store := open(t, client)
	here := epoch(t, store)
	now := time.UnixMilli(time.Now().UnixMilli())
	base := session.Session{
		Owner: ann, ID: sid, Version: 7, Generation: 5, KeyID: "key-1", Idle: time.Hour,
		Created: now.Add(-2 * time.Hour), Used: now.Add(-time.Minute), IdleUntil: now.Add(59 * time.Minute), Until: now.Add(30 * time.Minute),
		Methods: []string{"pwd", "otp"}, AuthTime: now.Add(-2 * time.Hour), ClientID: "spa",
		Client: auth.Client{Addr: netip.MustParseAddr("192.0.2.1"), UserAgent: "curl/8"}, Device: "curl", Place: "Basel", Audience: "api",
		Terms: session.Terms{Tenant: "acme", Claims: `{"device":"<1>"}`}, Remember: true, Provider: session.Provider{Issuer: "https://idp.example", Subject: "u1"},
	}
	ask := session.Rotation{Owner: ann, ID: sid, Epoch: here, KeyID: "key-2", Grace: 10 * time.Second, Numbers: session.Numbers{Version: 9},
		Client: auth.Client{Addr: netip.MustParseAddr("2001:db8::1"), UserAgent: "curl/9"}, Device: "curl again", Place: "Zürich", Terms: base.Terms}
	cases := map[string]func(*session.Session, *session.Rotation){
		"plain":        func(*session.Session, *session.Rotation) {},
		"idle":         func(s *session.Session, _ *session.Rotation) { s.IdleUntil = now },
		"over":         func(s *session.Session, _ *session.Rotation) { s.Until = now },
		"replaced":     func(s *session.Session, _ *session.Rotation) { s.Replaced = true },
		"ended":        func(_ *session.Session, r *session.Rotation) { r.Numbers.EndedBelow = 8 },
		"ended by ten": func(_ *session.Session, r *session.Rotation) { r.Numbers.EndedBelow = 10 },
		"spared":       func(_ *session.Session, r *session.Rotation) { r.Numbers.EndedBelow, r.Numbers.Except = 8, sid },
		"not spared":   func(_ *session.Session, r *session.Rotation) { r.Numbers.EndedBelow, r.Numbers.Except = 8, sid[1:] },
		"at its bound": func(_ *session.Session, r *session.Rotation) { r.Numbers.EndedBelow = 7 },
		"unbound":      func(s *session.Session, r *session.Rotation) { s.Binding, r.Binding = "a", "b" },
		"bound":        func(s *session.Session, r *session.Rotation) { s.Binding, r.Binding = "a", "a" },
		"other terms":  func(_ *session.Session, r *session.Rotation) { r.Terms.Tenant = "" },
		"other claims": func(s *session.Session, _ *session.Rotation) { s.Terms.Claims = "" },
		"moved":        func(_ *session.Session, r *session.Rotation) { r.EndOnOtherClient = true },
		"not moved": func(s *session.Session, r *session.Rotation) {
			r.EndOnOtherClient, r.Client.UserAgent, s.Client.Addr = true, "curl/8", netip.MustParseAddr("2001:db8::2")
		},
		"moved, who knows": func(s *session.Session, r *session.Rotation) {
			r.EndOnOtherClient, r.Client.UserAgent, s.Client.Addr = true, "curl/8", netip.Addr{}
		},
		"swapped long ago": func(s *session.Session, _ *session.Rotation) { s.Used = now.Add(-20 * time.Minute) },
		"narrow":           func(_ *session.Session, r *session.Rotation) { r.Narrow = true },
		"forgiven, over":   func(s *session.Session, _ *session.Rotation) { s.LateUntil = now.Add(-time.Millisecond) },
		"another's":        func(_ *session.Session, r *session.Rotation) { r.Subject = "eve" },
		"another epoch":    func(_ *session.Session, r *session.Rotation) { r.Epoch = "AAAAAAAA" },
	}
	bools := []bool{false, true}
	outcomes, n := map[session.Outcome]int{}, 0
	all := make([]int, 1<<6)
	for i := range all {
		all[i] = i
	}
	type combined struct {
		change func(*session.Session, *session.Rotation)
		bits   []int
		shown  []int64
	}
	run := map[string]combined{}
	for name, change := range cases {
		run[name] = combined{change, all, []int64{1, 2, 3, 4, 5, 6, 7}}
		for other, more := range cases { // two at once: which line of the table comes first
			if name < other {
				run[name+", "+other] = combined{func(s *session.Session, r *session.Rotation) { change(s, r); more(s, r) }, []int{0, 4, 16, 32}, []int64{4, 5, 6}}
			}
		}
	}
	for name, c := range run {
		for _, bits := range c.bits {
			bit := func(i int) bool { return bits&(1<<i) != 0 }
			for _, p := range c.shown {
				row, r := base, ask
				row.From, row.GraceUntil, row.Epoch = 4, now.Add(20*time.Minute), here // longer than the test takes on a slow machine
				if bit(0) {
					row.From = 2
				}
				if bit(1) {
					row.GraceUntil = now.Add(-time.Millisecond)
				}
				if bit(2) {
					row.Epoch = "BBBBBBBB"
				}
				r.Lenient, r.Lend = bit(4), bit(5)
				if row.LateUntil = (time.Time{}); bit(3) {
					row.LateUntil = now.Add(20 * time.Minute)
				}
				for _, r.EndOnOtherEpoch = range bools {
					r.Generation = p
					row, r := row, r
					c.change(&row, &r)
					put(t, client, row)
					n++
					got, err := store.Rotate(t.Context(), r)
					if err != nil {
						t.Fatalf("%s: %+v of %+v: %v", name, r, row, err)
					}
					at := now
					switch {
					case got.Outcome == session.Rotated, got.Outcome == session.RolledBack:
						at = got.Session.Used
					case got.Outcome == session.Late && row.LateUntil.IsZero() && !r.Lend:
						at = got.Session.LateUntil.Add(-time.Minute)
					}
					if at != now {
						if at.Before(now) || at.After(time.Now().Add(time.Second)) {
							t.Fatalf("%s: used at %s", name, at)
						}
					}
					want, outcome := r.Judge(row, here, at)
					outcomes[outcome]++
					if got.Outcome != outcome || got.Epoch != here {
						t.Fatalf("%s: got %q in %q, Judge says %q\nshown %+v\nrow %+v", name, got.Outcome, got.Epoch, outcome, r, row)
					}
					if fmt.Sprint(raw(got.Session)) != fmt.Sprint(raw(want)) {
						t.Fatalf("%s: %q\ngot  %+v\nwant %+v", name, outcome, got.Session, want)
					}
					if want.ID == "" {
						want = row // nothing to tell of, and nothing done
					}
					ended := !r.Lend && r.Owner == row.Owner && (outcome == session.Gone || outcome == session.Reused || outcome == session.Moved)
					stored := stored(t, client)
					if (outcome == session.Reused || outcome == session.Moved) && stored.row["until"] == "0" {
						stored.row = nil // what is left for the call, should it be sent again
					}
					switch {
					case ended && (len(stored.row) > 0 || stored.indexed || !stored.marked):
						t.Fatalf("%s: %q left %+v", name, outcome, stored)
					case !ended && (!reflect.DeepEqual(stored.row, raw(want)) || stored.marked || !stored.indexed):
						t.Fatalf("%s: %q left %+v\nwant %v", name, outcome, stored, raw(want))
					}
				}
			}
		}
	}
	t.Logf("%d combinations: %v", n, outcomes)
	if len(outcomes) != 13 {
		t.Errorf("got %d outcomes, expected all 13 of Rotate", len(outcomes))
	}
}

type inRedis struct {
	row             map[string]string
	indexed, marked bool
}

func stored(t testing.TB, client *redis.Client) inRedis {
	t.Helper()
	pipe := client.Pipeline()
	row := pipe.HGetAll(t.Context(), "{dw}:S:"+sid)
	score := pipe.ZScore(t.Context(), "{dw}:I:"+annHash, sid)
	mark := pipe.Get(t.Context(), "{dw}:s:"+sid)
	_, _ = pipe.Exec(t.Context())
	got := inRedis{maps.Clone(row.Val()), score.Err() == nil, mark.Val() == "1"}
	if len(got.row) > 0 {
		got.row["by"], got.row["did"], got.row["former"] = "somebody", "created", "" // of the last call: see lost answers
	}
	return got
}

// The keys and fields that a release shares with others, and when they leave.
func TestFormat(t *testing.T) {
	s := redistest.Start(t)
	client := s.Client()
	store := open(t, client)
	c := login(epoch(t, store))
	c.Session.ID = sid
	res, err := store.Create(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := stored(t, client).row, raw(res.Session); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	at := func(key string) int64 { return s.Do("PEXPIRETIME", key).(int64) }
	if got, want := at("{dw}:S:"+sid), res.Session.IdleUntil.UnixMilli(); got != want {
		t.Errorf("the row leaves at %d, expected its idle end %d", got, want)
	}
	if got, want := at("{dw}:I:"+annHash), res.Session.Until.UnixMilli(); got != want {
		t.Errorf("the index leaves at %d, expected the absolute end %d", got, want)
	}
	shorter := login(epoch(t, store))
	shorter.Absolute = time.Hour
	if _, err := store.Create(t.Context(), shorter); err != nil {
		t.Fatal(err)
	}
	if got, want := at("{dw}:I:"+annHash), res.Session.Until.UnixMilli(); got != want {
		t.Errorf("after a shorter session the index leaves at %d, expected the last absolute end %d", got, want)
	}
	r := session.Rotation{Owner: ann, ID: sid, Generation: 1, Epoch: res.Epoch}
	if res, err = store.Rotate(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if got, want := at("{dw}:S:"+sid), res.Session.IdleUntil.UnixMilli(); got != want {
		t.Errorf("after a refresh the row leaves at %d, expected %d", got, want)
	}
	if _, err := store.Raise(t.Context(), ann, true, sid); err != nil {
		t.Fatal(err)
	}
	n, err := store.Numbers(t.Context(), ann)
	if got := s.Do("HGETALL", "{dw}:V:"+annHash); err != nil || fmt.Sprint(got) != fmt.Sprintf("map[ended_below:%d except:%s version:%d]", n.Version, sid, n.Version) || at("{dw}:V:"+annHash) != -1 {
		t.Errorf("the numbers are %v until %d", got, at("{dw}:V:"+annHash))
	}
}

// What an ending leaves on the list is what Revoke leaves there.
func TestEndings_AreTheListsEntries(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	client := s.Client()
	store := open(t, client)
	entries := func(end func() error) (log []string, keys map[string]string) {
		t.Helper()
		s.Do("FLUSHALL")
		if err := end(); err != nil {
			t.Fatal(err)
		}
		for _, m := range client.XRange(t.Context(), "{dw}:log", "-", "+").Val() {
			log = append(log, fmt.Sprint(m.Values))
		}
		keys = map[string]string{}
		for _, k := range client.Keys(t.Context(), "{dw}:[sv]:*").Val() {
			left := client.PTTL(t.Context(), k).Val().Round(time.Minute)
			keys[k] = client.Get(t.Context(), k).Val() + " for " + left.String()
		}
		return log, keys
	}
	odd := "a b/ü" + strings.Repeat("x", 80)
	below := int64(1)<<60 + 1
	oneLog, oneKeys := entries(func() error {
		return store.Revocations().Revoke(t.Context(),
			auth.Revocation{Owner: auth.Owner{Issuer: ann.Issuer, Subject: ann.Subject}, Session: sid},
			auth.Revocation{Owner: auth.Owner{Issuer: ann.Issuer, Subject: ann.Subject}, Session: odd},
			auth.Revocation{Owner: auth.Owner{Issuer: ann.Issuer, Subject: ann.Subject}, Below: below})
	})
	log, keys := entries(func() error {
		if _, err := store.End(t.Context(), ann, sid, odd); err != nil {
			return err
		}
		if _, err := store.EndBelow(t.Context(), ann, below, ""); err != nil {
			return err
		}
		_, err := store.EndBelow(t.Context(), ann, 5, "") // comes late, and lowers nothing
		return err
	})
	if len(log) == 4 {
		log = log[:3]
	}
	if !reflect.DeepEqual(log, oneLog) || !reflect.DeepEqual(keys, oneKeys) || len(keys) != 3 {
		t.Errorf("got  %v\n     %v\nwant %v\n     %v", log, keys, oneLog, oneKeys)
	}
	if keys["{dw}:v:"+annHash] != strconv.FormatInt(below, 10)+" for 1h10m0s" {
		t.Errorf("the minimum is %q", keys["{dw}:v:"+annHash])
	}
}

func login(epoch string) session.Creation {
	return session.Creation{
		Session: session.Session{Owner: ann, ID: "S" + strconv.FormatInt(time.Now().UnixNano(), 36), Version: 1, KeyID: "key-1", Epoch: epoch, Idle: time.Hour,
			Methods: []string{"pwd"}, AuthTime: time.Now(), ClientID: "spa",
			Client: auth.Client{Addr: netip.MustParseAddr("192.0.2.1"), UserAgent: "curl/8"}, Device: "curl"},
		Absolute: 2 * time.Hour, Max: 20, Grace: 10 * time.Second,
	}
}
