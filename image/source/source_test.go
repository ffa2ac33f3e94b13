package source

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
)

func TestLocal(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "cloud.raw")
	require.NoError(t, os.WriteFile(path, []byte("cloud"), 0o600))
	sum := sha256.Sum256([]byte("cloud"))
	from := image.Source{Kind: image.Local, Location: path}

	got, err := Local{}.Fetch(t.Context(), from, quiet)
	require.NoError(t, err)
	require.Equal(t, path, got)

	from.SHA256 = hex.EncodeToString(sum[:])
	_, err = Local{}.Fetch(t.Context(), from, quiet)
	require.NoError(t, err)

	require.NoError(t, os.WriteFile(path, []byte("other"), 0o600))
	_, err = Local{}.Fetch(t.Context(), from, quiet)
	require.ErrorContains(t, err, from.SHA256)
	require.FileExists(t, path, "a file that is not ours was removed")

	from.Location = dir
	_, err = Local{}.Fetch(t.Context(), from, quiet)
	require.ErrorContains(t, err, "not a regular file")
	from.Location = filepath.Join(dir, "missing")
	_, err = Local{}.Fetch(t.Context(), from, quiet)
	require.ErrorIs(t, err, os.ErrNotExist)
}
