package store

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestWhatOpenedThePoolIsToldToWhoLooks(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir)
	require.NoError(t, err)
	looking, err := Look(dir)
	require.NoError(t, err)
	_, known, err := looking.Opened()
	require.NoError(t, err)
	require.False(t, known)

	opened := Opened{Version: RecordVersion, Backend: "qemu", MaxWorkers: 7, At: time.Unix(1_700_000_000, 0).UTC()}
	require.NoError(t, s.SaveOpened(opened))
	read, known, err := looking.Opened()
	require.NoError(t, err)
	require.True(t, known)
	require.Equal(t, opened, read)

	require.NoError(t, os.WriteFile(filepath.Join(dir, OpenedFile), []byte(`{"version": 2}`), 0o600))
	_, _, err = looking.Opened()
	require.ErrorContains(t, err, "version is 2, not 1")
}
