package bootlog

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestLongLogsBeginAnew also has a writer that goes on where it was.
func TestLongLogsBeginAnew(t *testing.T) {
	path := filepath.Join(t.TempDir(), "console.log")
	require.NoError(t, os.WriteFile(path, bytes.Repeat([]byte("flood of lines\n"), longest/15+1000), 0o600))
	writer, err := os.OpenFile(path, os.O_WRONLY, 0)
	require.NoError(t, err)
	defer writer.Close()
	bound(path)
	require.Empty(t, LastLine(path))
	_, err = writer.WriteAt([]byte("after\nthe cut\n"), longest+(1<<20))
	require.NoError(t, err)
	bound(path)
	require.Equal(t, []string{"after", "the cut"}, lastLines(path, 5))
	require.Equal(t, ": the cut", LastLine(path))
	require.Equal(t, "\nlast lines of the console:\n  after\n  the cut", Tail(path))
	require.Empty(t, Tail(filepath.Join(t.TempDir(), "none")))
}
