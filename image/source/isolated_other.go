//go:build !linux

package source

import "syscall"

// isolated has nothing to give where mount namespaces are unknown; there is
// no mmdebstrap there either.
func isolated() *syscall.SysProcAttr { return &syscall.SysProcAttr{} }
