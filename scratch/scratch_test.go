package scratch

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/filelock"
)

func TestWhatWasTriedIsRemoved(t *testing.T) {
	dir := t.TempDir()
	failed := errors.New("it does not work")
	require.ErrorIs(t, In(dir, func(work string) error {
		require.NoError(t, os.WriteFile(filepath.Join(work, "file"), nil, 0o600))
		return failed
	}), failed)
	requireEmpty(t, dir)
}

// TestOnlyWhatNobodyHoldsIsSwept has a directory of a process that was killed beside
// one of a process that lives.
func TestOnlyWhatNobodyHoldsIsSwept(t *testing.T) {
	dir := t.TempDir()
	killed, lives := filepath.Join(dir, prefix+"killed"), filepath.Join(dir, prefix+"lives")
	require.NoError(t, errors.Join(os.MkdirAll(filepath.Join(killed, "inner"), 0o700), os.Mkdir(lives, 0o700)))
	lock, err := filelock.AcquireDirectory(context.Background(), lives)
	require.NoError(t, err)
	require.NoError(t, In(dir, func(string) error {
		require.NoDirExists(t, killed)
		require.DirExists(t, lives)
		return nil
	}))
	require.DirExists(t, lives)
	require.NoError(t, lock.Release())
	require.NoError(t, In(dir, func(string) error { return nil }))
	requireEmpty(t, dir)
}

func TestManyTryAtOnce(t *testing.T) {
	dir := t.TempDir()
	errs := make([]error, 50)
	var all sync.WaitGroup
	for n := range errs {
		all.Go(func() {
			errs[n] = In(dir, func(work string) error { return os.WriteFile(filepath.Join(work, "file"), nil, 0o600) })
		})
	}
	all.Wait()
	require.NoError(t, errors.Join(errs...))
	requireEmpty(t, dir)
}

func requireEmpty(t *testing.T, dir string) {
	t.Helper()
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, left)
}
