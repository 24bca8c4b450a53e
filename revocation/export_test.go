package revocation

import "time"

// Len counts the entries that a list holds.
func Len(m *Memory) int { return m.index.len() }

// Holds says whether a lease that was asked for at from can be used at now.
func Holds(from, now time.Time) bool { return (&view{from: from}).holds(now) }
