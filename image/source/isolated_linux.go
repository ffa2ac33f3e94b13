package source

import "syscall"

// isolated gives a command a mount namespace of its own: what it mounts ends
// with it.
func isolated() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
}
