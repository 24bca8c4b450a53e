//go:build unix && !linux

package redistest

import (
	"os"
	"syscall"
)

var stop, cont os.Signal = syscall.SIGSTOP, syscall.SIGCONT

// dieWithParent has no counterpart here: after a panic a server stays and must be ended by hand.
func dieWithParent() *syscall.SysProcAttr { return nil }
