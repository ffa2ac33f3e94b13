//go:build linux

package sandbox

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// Hide has no process of the sandbox find a program on PATH until it is shown again, at
// the end of the test at the latest.
func Hide(t testing.TB, name string) (show func()) {
	t.Helper()
	var hidden []string
	show = func() {
		for _, path := range hidden {
			require.NoError(t, unix.Unmount(path, unix.MNT_DETACH))
		}
		hidden = nil
	}
	t.Cleanup(func() { show() })
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		path := filepath.Join(dir, name)
		if _, err := os.Stat(path); err != nil {
			continue
		}
		require.NoError(t, unix.Mount("/dev/null", path, "", unix.MS_BIND, ""))
		hidden = append(hidden, path)
	}
	return show
}
