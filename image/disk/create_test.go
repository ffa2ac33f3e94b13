//go:build linux

package disk

import (
	"bytes"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/need"
)

func TestCreateIsSparse(t *testing.T) {
	path := filepath.Join(t.TempDir(), "disk")
	require.NoError(t, Create(path, 1<<30))
	size, used := usage(t, path)
	require.EqualValues(t, 1<<30, size)
	require.Zero(t, used)
	require.ErrorIs(t, Create(path, 1<<30), os.ErrExist)
}

func TestFromDirectory(t *testing.T) {
	need.Programs(t, "mkfs.ext4", "debugfs")
	dir := t.TempDir()
	root := filepath.Join(dir, "root")
	require.NoError(t, os.MkdirAll(filepath.Join(root, "etc"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(root, "etc", "hello"), []byte("hello, world\n"), 0o640))

	path := filepath.Join(dir, "disk")
	require.NoError(t, FromDirectory(t.Context(), root, path, 64<<20, "mayfly"))
	out, err := run(t.Context(), "debugfs", "-R", "cat /etc/hello", path)
	require.NoError(t, err)
	require.Equal(t, "hello, world\n", string(out))
	out, err = run(t.Context(), "debugfs", "-R", "show_super_stats -h", path)
	require.NoError(t, err)
	require.Contains(t, string(out), "Filesystem volume name:   mayfly")
	size, used := usage(t, path)
	require.EqualValues(t, 64<<20, size)
	require.Less(t, used, size/4)
}

func TestDirectoryThatDoesNotFitLeavesNothing(t *testing.T) {
	need.Programs(t, "mkfs.ext4")
	dir := t.TempDir()
	root := filepath.Join(dir, "root")
	require.NoError(t, os.Mkdir(root, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(root, "big"), bytes.Repeat([]byte{1}, 32<<20), 0o600))

	path := filepath.Join(dir, "disk")
	err := FromDirectory(t.Context(), root, path, 16<<20, "mayfly")
	require.ErrorContains(t, err, "ext4 file system of 16777216 bytes")
	require.NoFileExists(t, path)
}

// usage is the size that a file shows and the space that it takes.
func usage(t *testing.T, path string) (size, used int64) {
	t.Helper()
	info, err := os.Stat(path)
	require.NoError(t, err)
	return info.Size(), info.Sys().(*syscall.Stat_t).Blocks * 512
}
