package auth

import (
	"fmt"
	"log/slog"
)

// A Secret is a text that somebody is shown once, such as a new API key or a link for a mail. Printed in any
// way, logged or marshalled it shows a mask, so that whoever sends it on calls Reveal.
type Secret struct {
	// A function, because package fmt prints what stands in somebody's unexported field without asking it for
	// its mask, and of a function it prints the address alone.
	reveal func() string
}

// NewSecret keeps a text.
func NewSecret(text string) Secret { return Secret{func() string { return text }} }

// Reveal returns the text; of a zero Secret it is "".
func (s Secret) Reveal() string {
	if s.reveal == nil {
		return ""
	}
	return s.reveal()
}

// Format masks the secret under every verb of package fmt.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(mask)) }

// MarshalText masks the secret in JSON and every other encoding.
func (s Secret) MarshalText() ([]byte, error) { return []byte(mask), nil }

// LogValue masks the secret in package slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(mask) }
