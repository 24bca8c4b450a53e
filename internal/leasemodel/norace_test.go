//go:build !race

package leasemodel_test

const raceEnabled = false
