package redisapikey

import (
	"encoding/hex"
	"strconv"
	"strings"
	"time"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/auth/apikey"
)

// The fields of a key's hash. Times are milliseconds since 1970. Proofs are "hash:until", the hash in hexadecimal,
// with a space between; the present one first. A change ships readers one release before writers.
const (
	fIssuer = iota
	fSubject
	fTenant
	fName
	fScopes // with a space between
	fCreated
	fMade
	fExpires
	fProofs
	written // so many are written by Create and Swap
	fUsed   = written
	fields  = written + 1
)

var fieldNames = [fields]string{"issuer", "subject", "tenant", "name", "scopes", "created", "made", "expires", "proofs", "used"}

func names() []any {
	all := make([]any, fields)
	for i, name := range fieldNames {
		all[i] = name
	}
	return all
}

func encode(r apikey.Record) (row [written]any) {
	proofs := make([]string, len(r.Proofs))
	for i, p := range r.Proofs {
		proofs[i] = hex.EncodeToString(p.Hash[:]) + ":" + strconv.FormatInt(p.Until.UnixMilli(), 10)
	}
	row[fIssuer], row[fSubject], row[fTenant] = r.Owner.Issuer, r.Owner.Subject, r.Tenant
	row[fName], row[fScopes] = r.Name, strings.Join(r.Scopes, " ")
	row[fCreated], row[fMade], row[fExpires] = r.Created.UnixMilli(), r.Made.UnixMilli(), r.Expires.UnixMilli()
	row[fProofs] = strings.Join(proofs, " ")
	return row
}

// pairs are names and values, as HSET takes them.
func pairs(row [written]any) []any {
	all := make([]any, 0, 2*written)
	for i, v := range row {
		all = append(all, fieldNames[i], v)
	}
	return all
}

// decode reads a hash as a script replied it. What nobody of ours has written is no key, and no reason to let in.
func decode(id string, reply []any) (r apikey.Record, found bool, err error) {
	if len(reply) != fields {
		return r, false, unreadable("a key has %d fields, expected %d", len(reply), fields)
	}
	var f [fields]string
	missing := 0
	for i, v := range reply {
		text, ok := v.(string)
		if !ok && v != nil {
			return r, false, unreadable("a field is a %T, expected a text", v)
		}
		if v == nil {
			missing++
		}
		f[i] = text
	}
	if missing == fields {
		return r, false, nil
	}
	if missing > 1 || missing == 1 && reply[fUsed] != nil {
		return r, false, unreadable("a key lacks %d fields", missing)
	}
	moment := func(text string) time.Time {
		ms, bad := strconv.ParseInt(text, 10, 64)
		if err == nil && (bad != nil || ms <= 0) {
			err = unreadable("a time is %.40q, expected milliseconds", text)
		}
		return time.UnixMilli(ms)
	}
	r = apikey.Record{Key: apikey.Key{
		ID: id, Owner: auth.Owner{Issuer: f[fIssuer], Subject: f[fSubject]}, Tenant: f[fTenant], Name: f[fName],
		Created: moment(f[fCreated]), Made: moment(f[fMade]), Expires: moment(f[fExpires]),
	}}
	if f[fScopes] != "" {
		r.Scopes = strings.Split(f[fScopes], " ")
	}
	if f[fUsed] != "" {
		r.LastUsed = moment(f[fUsed])
	}
	for text := range strings.SplitSeq(f[fProofs], " ") {
		hash, until, _ := strings.Cut(text, ":")
		p := apikey.Proof{Until: moment(until)}
		b, bad := hex.DecodeString(hash)
		if bad != nil || len(b) != len(p.Hash) {
			return apikey.Record{}, false, unreadable("a proof is no hash of %d bytes", len(p.Hash))
		}
		copy(p.Hash[:], b)
		r.Proofs = append(r.Proofs, p)
	}
	if err != nil {
		return apikey.Record{}, false, err
	}
	return r, true, nil
}
