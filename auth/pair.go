package auth

import (
	"fmt"
	"log/slog"
	"time"
)

// mask is what a secret looks like wherever it is printed.
const mask = "[secret]"

// A Pair is what a login or a refresh gives the client. Its two tokens are secrets: printed in any
// way, logged or marshalled it shows a mask, so a handler that sends one names the field it sends.
//
// Keep it by pointer: package fmt asks no value for its mask that stands in an unexported field, and
// shows a pointer there as an address.
type Pair struct {
	Access, Refresh string    // Refresh is "" where there are no refresh tokens
	Session         string    // the session's id; no secret
	AccessExpires   time.Time // when Access stops working
	RefreshUntil    time.Time // when Refresh stops working at the latest
}

// Format masks the pair under every verb of package fmt.
func (p Pair) Format(s fmt.State, _ rune) { _, _ = s.Write([]byte(mask)) }

// MarshalText masks the pair in JSON and every other encoding.
func (p Pair) MarshalText() ([]byte, error) { return []byte(mask), nil }

// LogValue masks the pair in package slog.
func (p Pair) LogValue() slog.Value { return slog.StringValue(mask) }
