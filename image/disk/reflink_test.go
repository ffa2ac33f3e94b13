//go:build linux

package disk

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/diskspace"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/need"
)

func TestCloneSharesBlocks(t *testing.T) {
	for _, fs := range []string{"btrfs", "xfs"} {
		t.Run(fs, func(t *testing.T) {
			dir := mountNew(t, fs)
			src := write(t, filepath.Join(dir, "golden"), "golden")
			dst := filepath.Join(dir, "clone")
			method, err := Clone(t.Context(), src, dst)
			require.NoError(t, err)
			require.Equal(t, Reflink, method)
			require.Equal(t, "raw", method.Format())
			taken, err := diskspace.Taken(dst)
			require.NoError(t, err)
			require.Positive(t, taken)
			unique, err := diskspace.Unique(dst)
			require.NoError(t, err)
			require.Zero(t, unique, "of %d bytes", taken)

			file, err := os.OpenFile(dst, os.O_RDWR, 0)
			require.NoError(t, err)
			_, err = file.WriteAt([]byte("worker"), 0)
			require.NoError(t, err)
			require.NoError(t, file.Close())
			unique, err = diskspace.Unique(dst)
			require.NoError(t, err)
			require.Positive(t, unique, "what was written is its own")
			require.Equal(t, "golden", first(t, src, 6), "a write to the clone shows in its source")
			require.Equal(t, "worker", first(t, dst, 6))
		})
	}
}

func TestCloneAcrossFileSystemsIsAnOverlay(t *testing.T) {
	need.Programs(t, "qemu-img")
	dir := mountNew(t, "xfs")
	src := write(t, filepath.Join(dir, "golden"), "golden")
	method, err := Clone(t.Context(), src, filepath.Join(t.TempDir(), "clone"))
	require.NoError(t, err)
	require.Equal(t, Overlay, method)
}

func TestRawImageIsSharedWithItsDisk(t *testing.T) {
	dir := mountNew(t, "xfs")
	src := write(t, filepath.Join(dir, "image"), "cloud")
	dst := filepath.Join(dir, "disk.raw")
	require.NoError(t, ToRaw(t.Context(), src, dst, 8<<20))
	require.Equal(t, "cloud", first(t, dst, 5))
	info, err := os.Stat(dst)
	require.NoError(t, err)
	require.EqualValues(t, 8<<20, info.Size())
}

// mountNew mounts a new file system of the kind from a loop file.
func mountNew(t *testing.T, fs string) string {
	t.Helper()
	need.Root(t)
	need.Programs(t, "mkfs."+fs, "mount", "umount")
	dir := t.TempDir()
	image, at := filepath.Join(dir, "fs"), filepath.Join(dir, "mnt")
	require.NoError(t, Create(image, 512<<20))
	require.NoError(t, os.Mkdir(at, 0o755))
	out, err := exec.Command("mkfs."+fs, "-q", image).CombinedOutput()
	require.NoError(t, err, "%s", out)
	if out, err := exec.Command("mount", "-o", "loop", image, at).CombinedOutput(); err != nil {
		need.Other(t, "cannot mount "+fs+" from a loop file: "+string(out))
	}
	t.Cleanup(func() {
		out, err := exec.Command("umount", at).CombinedOutput()
		require.NoError(t, err, "%s", out)
	})
	return at
}
