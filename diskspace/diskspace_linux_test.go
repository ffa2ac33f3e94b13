package diskspace_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/diskspace"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/sandbox"
)

func TestFullDiskIsNamedWithARemedy(t *testing.T) {
	d := sandbox.NewDisk(t, 16<<20)
	before, err := diskspace.Of(filepath.Join(d.Dir, "not", "there"))
	require.NoError(t, err)
	require.Positive(t, before.Free)
	d.Fill(0)
	full := os.WriteFile(filepath.Join(d.Dir, "file"), []byte("text"), 0o600)
	require.True(t, diskspace.IsFull(full), "%v", full)
	err = diskspace.Explain(d.Dir, fmt.Errorf("writing the record: %w", full))
	require.ErrorContains(t, err, "the file system of "+d.Dir+" is full (0.0 MiB of ")
	require.ErrorContains(t, err, "doctor")
	require.ErrorIs(t, err, unix.ENOSPC)
	require.Same(t, err, diskspace.Explain("/elsewhere", err), "it was explained where it was known best")
	d.Empty()
	require.NoError(t, os.WriteFile(filepath.Join(d.Dir, "file"), []byte("text"), 0o600))
}

func TestDiskWithoutInodesIsNamed(t *testing.T) {
	d := sandbox.NewDisk(t, 1<<20)
	d.FillFiles()
	full := os.WriteFile(filepath.Join(d.Dir, "file"), nil, 0o600)
	require.ErrorContains(t, diskspace.Explain(d.Dir, full), "no inode left")
}

func TestOtherLimitsHaveOtherWords(t *testing.T) {
	require.ErrorContains(t, diskspace.Explain("/d", unix.EDQUOT), "the disk quota for /d is used up")
	require.ErrorContains(t, diskspace.Explain("/d", unix.EFBIG), "allows no file of that size")
	require.Equal(t, fs.ErrNotExist, diskspace.Explain("/d", fs.ErrNotExist))
	require.NoError(t, diskspace.Explain("/d", nil))
}

func TestWordsOfProgramsAreUnderstood(t *testing.T) {
	require.Equal(t, unix.ENOSPC, diskspace.Heard("cp: error writing 'x': No space left on device\n"))
	require.Equal(t, unix.EDQUOT, diskspace.Heard("tar: Disk quota exceeded"))
	require.Equal(t, unix.EFBIG, diskspace.Heard("File too large"))
	require.NoError(t, diskspace.Heard("Permission denied"))
}

func TestTakenIsWhatRemovalFrees(t *testing.T) {
	d := sandbox.NewDisk(t, 32<<20)
	dir := filepath.Join(d.Dir, "image")
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "root"), 0o755))
	for name, size := range map[string]int{"image/root/file": 4 << 20, "image/shared": 8 << 20} {
		require.NoError(t, os.WriteFile(filepath.Join(d.Dir, name), make([]byte, size), 0o600))
	}
	require.NoError(t, os.Link(filepath.Join(dir, "shared"), filepath.Join(d.Dir, "elsewhere")))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "sparse"), nil, 0o600))
	require.NoError(t, os.Truncate(filepath.Join(dir, "sparse"), 1<<30))
	at, err := os.Open(d.Dir)
	require.NoError(t, err)
	require.NoError(t, unix.Syncfs(int(at.Fd()))) // blocks are given out late
	require.NoError(t, at.Close())
	taken, err := diskspace.Taken(dir)
	require.NoError(t, err)
	require.InDelta(t, 4<<20, taken, 64<<10)
	none, err := diskspace.Taken(filepath.Join(d.Dir, "nothing"))
	require.NoError(t, err)
	require.Zero(t, none)
}
