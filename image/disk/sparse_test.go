//go:build linux

package disk

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestSparseCopyKeepsHoles(t *testing.T) {
	dir := t.TempDir()
	src, dst := filepath.Join(dir, "src"), filepath.Join(dir, "dst")
	require.NoError(t, Create(src, 1<<30))
	file, err := os.OpenFile(src, os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = file.WriteAt([]byte("start"), 0)
	require.NoError(t, err)
	_, err = file.WriteAt(make([]byte, 4<<20), 256<<20) // zeros that are written
	require.NoError(t, err)
	_, err = file.WriteAt([]byte("end"), 1<<30-3)
	require.NoError(t, err)
	require.NoError(t, file.Close())

	require.NoError(t, SparseCopy(t.Context(), src, dst))
	size, used := usage(t, dst)
	require.EqualValues(t, 1<<30, size)
	require.LessOrEqual(t, used, int64(4*block))
	copied, err := os.Open(dst)
	require.NoError(t, err)
	defer copied.Close()
	for at, want := range map[int64]string{0: "start", 256 << 20: "\x00\x00", 1<<30 - 3: "end"} {
		got := make([]byte, len(want))
		_, err := copied.ReadAt(got, at)
		require.NoError(t, err)
		require.Equal(t, want, string(got))
	}
}

func TestSparseCopyIsACopy(t *testing.T) {
	dir := t.TempDir()
	src, dst := filepath.Join(dir, "src"), filepath.Join(dir, "dst")
	rapid.Check(t, func(t *rapid.T) {
		var content []byte
		for _, data := range rapid.SliceOfN(rapid.Bool(), 0, 6).Draw(t, "blocks") {
			stretch := make([]byte, rapid.IntRange(1, 2*block).Draw(t, "length"))
			if data {
				stretch[len(stretch)/2] = 1
			}
			content = append(content, stretch...)
		}
		require.NoError(t, os.WriteFile(src, content, 0o600))
		require.NoError(t, SparseCopy(context.Background(), src, dst))
		got, err := os.ReadFile(dst)
		require.NoError(t, err)
		require.True(t, bytes.Equal(content, got))
		require.NoError(t, os.Remove(dst))
	})
}

func TestCancelledCopyLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	src, dst := write(t, filepath.Join(dir, "src"), "data"), filepath.Join(dir, "dst")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, SparseCopy(ctx, src, dst), context.Canceled)
	require.NoFileExists(t, dst)
}
