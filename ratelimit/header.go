package ratelimit

import (
	"strconv"
	"time"
)

// Header returns the values of the RateLimit-Policy and RateLimit response fields for the budget that d
// is about, under this name (draft-ietf-httpapi-ratelimit-headers-11 sections 3 and 4):
//
//	RateLimit-Policy: "login";q=5;w=900
//	RateLimit: "login";r=3;t=540
//
// t is how long r lasts at the policy's own pace, and with none left how long it is until there is one. So
// a client that spreads r over t keeps to the policy (section 6 asks for that), and Retry-After is never
// earlier than t. Seconds are rounded up.
//
// What is not printable ASCII in name becomes "_". Both are "" for a Decision without a Cost, which
// comes with an error. Fields that a cache may keep would lie to others: the response must be no-store.
func (d Decision) Header(name string) (policy, limit string) {
	r := d.Cost.Rate
	if !r.valid() {
		return "", ""
	}
	unit, remaining := r.unit(), min(max(0, d.Remaining), r.N)
	full := time.Duration(r.N) * unit
	t := time.Duration(remaining) * unit
	if remaining == 0 {
		t = unit - (full - min(d.Reset, full))
	}
	if !d.OK {
		t = min(t, d.RetryAfter)
	}
	item := appendString(make([]byte, 0, 64), name)
	start := len(item)
	item = appendInt(append(item, ";q="...), int64(r.N))
	item = appendInt(append(item, ";w="...), seconds(r.Per))
	policy = string(item)
	item = appendInt(append(item[:start], ";r="...), int64(remaining))
	item = appendInt(append(item, ";t="...), seconds(t))
	return policy, string(item)
}

func seconds(d time.Duration) int64 {
	return int64((max(0, d) + time.Second - 1) / time.Second)
}

func appendInt(b []byte, n int64) []byte { return strconv.AppendInt(b, n, 10) }

// appendString appends s as a String of RFC 9651 section 4.1.6.
func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c < ' ' || c > '~':
			b = append(b, '_')
		default:
			b = append(b, c)
		}
	}
	return append(b, '"')
}
