package middleware

import (
	"net/netip"
	"strings"
)

// cutForwarded takes the last element off a Forwarded header (RFC 7239 section 4). It reads from the right,
// where the own proxies have written, so that a quotation which a client left open on the left hides nothing.
// Of a line that keeps to the grammar it makes what reading from the left would: a quotation mark behind a
// backslash is part of a value, and the one that opens a value stands behind "=".
func cutForwarded(line string) (rest, element string, more bool) {
	quoted := false
	for i := len(line) - 1; i >= 0; i-- {
		switch {
		case line[i] == '"' && !(quoted && i > 0 && line[i-1] == '\\'):
			quoted = !quoted
		case line[i] == ',' && !quoted:
			return cutAt(line, i)
		}
	}
	return cutAt(line, -1)
}

// parseForwarded reads the for parameter of an element: exactly one, a token or quoted, with an address. The
// other parameters only have to be parameters. "unknown" and obfuscated names are no address.
func parseForwarded(element string) (hop netip.AddrPort, ok bool) {
	pairs, closed := splitQuoted(element, ';')
	if !closed {
		return hop, false
	}
	found := false
	for _, pair := range pairs {
		pair = strings.Trim(pair, " \t")
		if pair == "" {
			continue // the grammar allows for;;by
		}
		name, value, ok := strings.Cut(pair, "=")
		if !ok || !isToken(name) {
			return hop, false
		}
		if !strings.EqualFold(name, "for") {
			continue
		}
		if value, ok = unquote(value); !ok || found {
			return hop, false
		}
		if hop, found = parseHop(value); !found {
			return hop, false
		}
	}
	return hop, found
}

// splitQuoted cuts s at each sep outside of quotations.
func splitQuoted(s string, sep byte) (parts []string, ok bool) {
	quoted, start := false, 0
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '"':
			quoted = !quoted
		case quoted && s[i] == '\\':
			i++
		case !quoted && s[i] == sep:
			parts, start = append(parts, s[start:i]), i+1
		}
	}
	return append(parts, s[start:]), !quoted
}

// unquote returns the value of a token or a quoted-string (RFC 9110 section 5.6.4).
func unquote(s string) (string, bool) {
	if isToken(s) {
		return s, true
	}
	if len(s) < 2 || s[0] != '"' || s[len(s)-1] != '"' {
		return "", false
	}
	s = s[1 : len(s)-1]
	if strings.ContainsAny(s, `"\`) {
		return "", false // no address needs an escape
	}
	return s, true
}

// isToken says whether s is a token (RFC 9110 section 5.6.2).
func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0:
		default:
			return false
		}
	}
	return s != ""
}
