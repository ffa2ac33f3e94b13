//go:build linux

package sandbox

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// PathWithout is a PATH on which all programs are that are on this process's, but those
// of these names.
func PathWithout(t testing.TB, names ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, from := range filepath.SplitList(os.Getenv("PATH")) {
		entries, err := os.ReadDir(from)
		if os.IsNotExist(err) {
			continue
		}
		require.NoError(t, err)
		for _, entry := range entries {
			to := filepath.Join(dir, entry.Name())
			if _, err := os.Lstat(to); err == nil || slices.Contains(names, entry.Name()) {
				continue // the first on the path counts
			}
			require.NoError(t, os.Symlink(filepath.Join(from, entry.Name()), to))
		}
	}
	return dir
}
