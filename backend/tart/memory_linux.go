package tart

import "golang.org/x/sys/unix"

// hostMemory is in bytes.
func hostMemory() (int64, error) {
	var info unix.Sysinfo_t
	err := unix.Sysinfo(&info)
	return int64(info.Totalram) * int64(info.Unit), err
}
