package lines

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestFollowReadsWhatIsAddedCutAndReplaced does the next thing to the file each time that
// the last line of the one before was seen.
func TestFollowReadsWhatIsAddedCutAndReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	write := func(flags int, text string) {
		file, err := os.OpenFile(path, flags|os.O_WRONLY|os.O_CREATE, 0o600)
		require.NoError(t, err)
		_, err = file.WriteString(text)
		require.NoError(t, err)
		require.NoError(t, file.Close())
	}
	write(0, "one\ntw")
	then := map[string]func(){
		"one": func() { write(os.O_APPEND, "o\n") },
		"two": func() { write(os.O_TRUNC, "three\n") },
		"three": func() {
			require.NoError(t, os.Rename(path, path+".1"))
			write(0, strings.Repeat("longer than the one before ", 10)+"\nfour\n")
		},
		"four": func() { write(os.O_APPEND, "five, without an end") },
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var shown []string
	last := false
	to := New(func(line string) {
		shown = append(shown, strings.Fields(line)[0])
		if next := then[line]; next != nil {
			next()
		}
		last = line == "four"
	})
	open := func() (*os.File, error) { return os.Open(path) }
	require.NoError(t, Follow(ctx, open, func() bool { return last }, to))
	to.Flush()
	require.NoError(t, ctx.Err())
	require.Equal(t, []string{"one", "two", "three", "longer", "four", "five,"}, shown)

	cancel()
	require.NoError(t, Follow(ctx, open, func() bool { return false }, io.Discard), "ctx ends it")
	require.NoError(t, os.Remove(path))
	require.ErrorIs(t, Follow(ctx, open, nil, nil), os.ErrNotExist)
}
