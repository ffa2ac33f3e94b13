package store

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTheLogIsBoundedAndItsLinesAreWhole(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "pool")
	s, err := Look(dir)
	require.NoError(t, err)
	written := s.Log()
	n, err := written.Write([]byte("there is no directory\n"))
	require.NoError(t, err)
	require.Equal(t, 22, n)
	_, err = s.OpenLog()
	require.ErrorIs(t, err, fs.ErrNotExist)

	require.NoError(t, os.Mkdir(dir, 0o700))
	other := s.Log() // of another process
	const line, lines = "line %8d %s\n", 150
	long := bytes.Repeat([]byte("x"), mostLog/50)
	for i := range lines {
		_, _ = fmt.Fprintf([]io.Writer{written, other}[i%2], line, i, long)
	}
	var all []byte
	for _, open := range []func() (*os.File, error){s.OpenFormerLog, s.OpenLog} {
		file, err := open()
		require.NoError(t, err)
		info, err := file.Stat()
		require.NoError(t, err)
		require.LessOrEqual(t, info.Size(), int64(2*mostLog), "two writers each keep to the bound")
		require.Equal(t, fs.FileMode(0o600), info.Mode().Perm())
		text, err := io.ReadAll(file)
		require.NoError(t, err)
		require.NoError(t, file.Close())
		all = append(all, text...)
	}
	for kept := range bytes.Lines(all) {
		var i int
		_, err := fmt.Sscanf(string(kept), "line %d", &i)
		require.NoError(t, err)
		require.Equal(t, fmt.Sprintf(line, i, long), string(kept))
	}
	require.Contains(t, string(all), fmt.Sprintf("line %8d", lines-1), "the last one is there")
}
