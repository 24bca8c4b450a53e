//go:build linux && !race

package promise_test

const (
	raceEnabled = false
	endings     = 10_000
)
