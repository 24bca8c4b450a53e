package redistest

import (
	"os"
	"syscall"
)

var stop, cont os.Signal = syscall.SIGSTOP, syscall.SIGCONT

// dieWithParent has the kernel kill the server when the test process ends, however it does: a panic
// or a timeout of package testing runs no Cleanup.
func dieWithParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
