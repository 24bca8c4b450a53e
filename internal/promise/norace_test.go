//go:build linux && !race

package promise_test

const endings = 10_000
