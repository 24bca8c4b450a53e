//go:build !unix

package redistest

import (
	"os"
	"syscall"
)

var stop, cont os.Signal

func dieWithParent() *syscall.SysProcAttr { return nil }
