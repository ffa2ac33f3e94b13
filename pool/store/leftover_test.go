package store

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestTheOwnerRemovesWhatWasLeftHalfWritten has names as renameio gives them.
func TestTheOwnerRemovesWhatWasLeftHalfWritten(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir)
	require.NoError(t, err)
	kept := []string{
		"forks.json", "breaker.json", "template-time.json",
		"ended/p-aaaaaaaa.json", "ended/p-aaaaaaaa.console", ".unknown",
	}
	left := []string{
		".forks.json8129436", ".breaker.json8129436", ".template-time.json8129436",
		"ended/.p-aaaaaaaa.json8129436", "ended/p-bbbbbbbb.console",
	}
	require.NoError(t, os.Mkdir(filepath.Join(dir, EndedDir), 0o700))
	for _, name := range append(left, kept...) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), nil, 0o600))
	}
	looking, err := Look(dir)
	require.NoError(t, err)
	unlock, err := s.Lock(t.Context())
	require.NoError(t, err)
	require.NoError(t, unlock())
	for _, name := range kept {
		require.FileExists(t, filepath.Join(dir, name))
	}
	for _, name := range left {
		require.NoFileExists(t, filepath.Join(dir, name))
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), nil, 0o600))
	}
	unlock, err = looking.Lock(t.Context())
	require.NoError(t, err)
	require.NoError(t, unlock())
	for _, name := range left {
		require.FileExists(t, filepath.Join(dir, name), "whoever only looks removes nothing")
	}
}

func TestNothingIsRemovedWhereALinkLeads(t *testing.T) {
	dir, elsewhere := t.TempDir(), t.TempDir()
	s, err := Open(dir)
	require.NoError(t, err)
	precious := filepath.Join(elsewhere, ".precious")
	require.NoError(t, os.WriteFile(precious, nil, 0o600))
	require.NoError(t, os.Symlink(elsewhere, filepath.Join(dir, EndedDir)))
	unlock, err := s.Lock(t.Context())
	require.NoError(t, err)
	require.NoError(t, unlock())
	require.FileExists(t, precious)
}
