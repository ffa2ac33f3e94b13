package tart

import "golang.org/x/sys/unix"

// hostMemory is in bytes.
func hostMemory() (int64, error) {
	size, err := unix.SysctlUint64("hw.memsize")
	return int64(size), err
}
