package filelock_test

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/filelock"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/sandbox"
)

func TestLockFileWithoutRoomNamesTheDirectory(t *testing.T) {
	d := sandbox.NewDisk(t, 1<<20)
	d.FillFiles()
	path := filepath.Join(d.Dir, "lock")
	_, err := filelock.Acquire(t.Context(), path)
	require.ErrorContains(t, err, "the file system of "+d.Dir+" has no inode left")
	_, err = filelock.TryAcquire(path)
	require.ErrorContains(t, err, "the file system of "+d.Dir+" has no inode left")
	d.Empty()
	lock, err := filelock.Acquire(t.Context(), path)
	require.NoError(t, err)
	require.NoError(t, lock.Release())
}
