package redissession

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strconv"
	"time"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/auth/session"
	"github.com/doorward/doorward/revocation"
)

// A row is a hash of texts, in this order between here and the scripts (see names there): first what the scripts
// judge and write, then what they only keep. Times are milliseconds since 1970.
const (
	fOwner = iota
	fVersion
	fGeneration
	fFrom
	fGrace
	fLate
	fReplaced
	fIdle
	fCreated
	fUsed
	fIdleUntil
	fUntil
	fEpoch
	fBy
	fDid
	fBinding
	fKey
	fAddr
	fAgent
	fDevice
	fMethods
	fAuthTime
	fClientID
	fTerms
	fAudience
	fProvider
	fRemember
	fPlace
	fNetwork
	fFormer
	fields
)

// encode returns the fields of a new row that its maker decides; the script fills in the others, which are "".
func encode(row session.Session) ([]any, error) {
	if row.Version < 0 {
		return nil, fmt.Errorf("redissession: got version %d, expected 0 or more", row.Version)
	}
	methods, err := texted(row.Methods)
	if err != nil {
		return nil, err
	}
	terms, err := texted(row.Terms)
	if err != nil {
		return nil, err
	}
	provider := ""
	if row.Provider != (session.Provider{}) {
		if provider, err = texted(row.Provider); err != nil {
			return nil, err
		}
	}
	f := make([]any, fields)
	for i := range f {
		f[i] = ""
	}
	f[fVersion], f[fIdle], f[fBinding], f[fKey] = row.Version, row.Idle.Milliseconds(), row.Binding, row.KeyID
	f[fAddr], f[fAgent], f[fDevice] = addr(row.Client.Addr), row.Client.UserAgent, row.Device
	f[fMethods], f[fAuthTime], f[fClientID] = methods, millis(row.AuthTime), row.ClientID
	f[fTerms], f[fAudience], f[fProvider], f[fRemember] = terms, row.Audience, provider, flag(row.Remember)
	f[fPlace], f[fNetwork] = row.Place, session.Network(row.Client.Addr)
	return f, nil
}

// decode reads a row of the owner as a script replied it. The scripts have looked at the numbers; nothing is
// taken for granted all the same.
func decode(owner auth.Owner, id string, reply any) (row session.Session, err error) {
	f, err := texts(reply)
	if err != nil {
		return row, err
	}
	if len(f) != fields {
		return row, unreadable("a row has %d fields, expected %d", len(f), fields)
	}
	number := func(i int) int64 {
		n, bad := strconv.ParseInt(f[i], 10, 64)
		if err == nil && (bad != nil || n < 0 && i != fAuthTime) {
			err = unreadable("field %d of a row is %.40q, expected a number", i, f[i])
		}
		return n
	}
	moment := func(i int) time.Time {
		if f[i] == "" && (i == fAuthTime || i == fGrace || i == fLate) {
			return time.Time{}
		}
		return time.UnixMilli(number(i))
	}
	row = session.Session{
		Owner: owner, ID: id, Version: number(fVersion),
		Generation: number(fGeneration), From: number(fFrom), KeyID: f[fKey], Epoch: f[fEpoch],
		GraceUntil: moment(fGrace), LateUntil: moment(fLate), Replaced: number(fReplaced) == 1,
		Idle:    time.Duration(number(fIdle)) * time.Millisecond,
		Created: moment(fCreated), Used: moment(fUsed), IdleUntil: moment(fIdleUntil), Until: moment(fUntil),
		AuthTime: moment(fAuthTime), ClientID: f[fClientID],
		Device: f[fDevice], Binding: f[fBinding], Audience: f[fAudience], Remember: number(fRemember) == 1, Place: f[fPlace],
	}
	if err != nil {
		return session.Session{}, err
	}
	if bad := json.Unmarshal([]byte(f[fMethods]), &row.Methods); bad != nil {
		return session.Session{}, unreadable("the methods of a row: %w", bad)
	}
	if bad := json.Unmarshal([]byte(f[fTerms]), &row.Terms); bad != nil {
		return session.Session{}, unreadable("the terms of a row: %w", bad)
	}
	if f[fProvider] != "" {
		if bad := json.Unmarshal([]byte(f[fProvider]), &row.Provider); bad != nil {
			return session.Session{}, unreadable("the provider of a row: %w", bad)
		}
	}
	if row.Client, err = clientOf(f[fAddr], f[fAgent]); err != nil {
		return session.Session{}, err
	}
	if row.Generation < 1 || row.From < 1 || row.From > row.Generation {
		return session.Session{}, unreadable("a row has generation %d from %d", row.Generation, row.From)
	}
	return row, nil
}

// texted is the one JSON text of a value: scripts compare it.
func texted(v any) (string, error) {
	text, err := json.Marshal(v)
	return string(text), err
}

func clientOf(addr, agent string) (c auth.Client, err error) {
	c.UserAgent = agent
	if addr != "" {
		if c.Addr, err = netip.ParseAddr(addr); err != nil {
			return c, unreadable("the address of a row: %w", err)
		}
	}
	return c, nil
}

func texts(reply any) ([]string, error) {
	values, ok := reply.([]any)
	if !ok {
		return nil, unreadable("a script replied a %T, expected a list", reply)
	}
	var s []string
	for _, v := range values {
		text, ok := v.(string)
		if !ok {
			return nil, unreadable("a script replied a %T, expected a text", v)
		}
		s = append(s, text)
	}
	return s, nil
}

func addr(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

// unreadable is an answer that cannot be believed: 503, as when there is none.
func unreadable(format string, args ...any) error {
	return fmt.Errorf("%w: %w: redissession: %w", auth.StoreUnavailable, revocation.ErrUnreadable, fmt.Errorf(format, args...))
}
