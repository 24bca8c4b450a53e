package session

import (
	"strings"

	"github.com/mileusna/useragent"

	"github.com/doorward/doorward/auth"
)

const maxDevice = 64

// client cuts and escapes what the sender says of itself, so that a row is small, whatever was sent.
func client(from auth.Client) auth.Client {
	return auth.Client{Addr: from.Addr.Unmap().WithZone(""), UserAgent: auth.Printable(from.UserAgent, 512)}
}

// device makes a label that a person recognises. It is a guess from a stranger's words: only harmless
// characters of it are kept, so that no page or mail that shows it can be made to say or do something else.
func device(userAgent string) string {
	ua := useragent.Parse(userAgent[:min(len(userAgent), 512)])
	label := ua.Name
	if ua.OS != "" {
		label += " on " + ua.OS
	}
	if ua.Device != "" {
		label += " (" + ua.Device + ")"
	}
	label = strings.Map(harmless, label)
	if label = strings.TrimSpace(label[:min(len(label), maxDevice)]); ua.Name == "" || label == "" {
		return "unknown device"
	}
	return label
}

func harmless(r rune) rune {
	if 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune(" .-_/()", r) {
		return r
	}
	return -1
}
