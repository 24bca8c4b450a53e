package redisrev

import "time"

// SetClock replaces the monotonic clock by which a list judges whether registrations are abandoned.
func SetClock(l *List, now func() time.Time) { l.clock = now }
