package store

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestForksAreRememberedOrNothingIs(t *testing.T) {
	s, err := Open(t.TempDir())
	require.NoError(t, err)
	_, err = s.LoadForks()
	require.ErrorIs(t, err, fs.ErrNotExist)
	forks := Forks{ImageDigest: "d", CPUs: 2, Memory: 1 << 30, Peaks: []int64{7, 8}}
	require.NoError(t, s.SaveForks(forks))
	read, err := s.LoadForks()
	require.NoError(t, err)
	require.Equal(t, forks, read)

	file := filepath.Join(s.dir, ForksFile)
	for _, text := range []string{"", "{", `{"peaks":["x"]}`, `{"peaks":[-1]}`, `{"peaks":[1e99]}`} {
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
		read, err = s.LoadForks()
		require.ErrorContains(t, err, "reading the memory of past forks", text)
		require.Zero(t, read)
	}
}
