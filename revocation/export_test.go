package revocation

import "time"

// Holds says whether a lease that was asked for at from can be used at now.
func Holds(from, now time.Time) bool { return (&view{from: from}).holds(now) }
