package provider

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// hostMemory is all of the host's, in bytes; 0 where it is not known.
func hostMemory() (int64, error) {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return 0, fmt.Errorf("asking for the host's memory: %w", err)
	}
	return int64(info.Totalram) * int64(info.Unit), nil
}
