//go:build linux

package sandbox

import (
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// Fill puts a file system of one page over a directory: whoever writes there
// soon finds it full. What it returns takes that away again.
func Fill(t *testing.T, dir string) (free func()) {
	t.Helper()
	require.NoError(t, unix.Mount("tmpfs", dir, "tmpfs", 0, "size=4k"))
	full := true
	free = func() {
		if full {
			full = false
			require.NoError(t, unix.Unmount(dir, unix.MNT_DETACH))
		}
	}
	t.Cleanup(free)
	return free
}
