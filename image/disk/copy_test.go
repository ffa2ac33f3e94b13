//go:build linux

package disk

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/need"
)

func TestACopyDoesNotNeedItsSource(t *testing.T) {
	for name, dir := range map[string]string{"copied": t.TempDir(), "reflinked": mountNew(t, "xfs")} {
		src, dst := write(t, filepath.Join(dir, "src"), "golden"), filepath.Join(dir, "dst")
		require.NoError(t, Copy(t.Context(), src, dst), name)
		require.Error(t, Copy(t.Context(), src, dst), "it may be another's")
		require.NoError(t, os.Remove(src))
		require.Equal(t, "golden", first(t, dst, 6))
	}
	require.Error(t, Copy(t.Context(), "/nothing/there", filepath.Join(t.TempDir(), "dst")))
}

func TestACopiedTreeIsTheSame(t *testing.T) {
	need.Root(t)
	need.Programs(t, "cp")
	for name, dir := range map[string]string{"copied": t.TempDir(), "reflinked": mountNew(t, "btrfs")} {
		src, dst := filepath.Join(dir, "src"), filepath.Join(dir, "dst")
		require.NoError(t, os.Mkdir(src, 0o750), name)
		sudo := write(t, filepath.Join(src, "sudo"), "program")
		require.NoError(t, os.Chown(sudo, 1000000, 1000033))
		require.NoError(t, unix.Chmod(sudo, 0o4755))
		capability := append([]byte{1, 0, 0, 3, 0, 32}, make([]byte, 14)...)
		capability = append(capability, 0x40, 0x42, 0x0f, 0) // of the user namespace whose root is 1000000
		require.NoError(t, unix.Lsetxattr(sudo, "security.capability", capability, 0))
		require.NoError(t, os.Link(sudo, filepath.Join(src, "hard")))
		require.NoError(t, os.Symlink("/etc/shadow", filepath.Join(src, "link")))
		require.NoError(t, CopyTree(t.Context(), src, dst))

		info, err := os.Lstat(filepath.Join(dst, "sudo"))
		require.NoError(t, err)
		stat := info.Sys().(*syscall.Stat_t)
		require.Equal(t, os.ModeSetuid|0o755, info.Mode())
		require.EqualValues(t, []any{uint32(1000000), uint32(1000033), uint64(2)},
			[]any{stat.Uid, stat.Gid, uint64(stat.Nlink)})
		got := make([]byte, 64)
		n, err := unix.Lgetxattr(filepath.Join(dst, "hard"), "security.capability", got)
		require.NoError(t, err)
		require.Equal(t, capability, got[:n])
		to, err := os.Readlink(filepath.Join(dst, "link"))
		require.NoError(t, err)
		require.Equal(t, "/etc/shadow", to)
		require.Error(t, CopyTree(t.Context(), filepath.Join(dir, "nothing"), filepath.Join(dir, "other")))
	}
}
