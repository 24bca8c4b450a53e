//go:build linux && race

package promise_test

// The detector is here for the nodes; the load is a fifth of the usual.
const (
	raceEnabled = true
	endings     = 2_000
)
