//go:build linux

package disk

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/need"
)

func TestCloneIsAnOverlayWhereBlocksCannotBeShared(t *testing.T) {
	need.Programs(t, "qemu-img")
	dir := t.TempDir()
	if err := reflink(write(t, filepath.Join(dir, "probe"), "x"), filepath.Join(dir, "probe2")); err == nil {
		t.Skip("this file system can reflink")
	}
	src := write(t, filepath.Join(dir, "odd: name.raw"), "golden")

	dst := filepath.Join(dir, "clone: 1.disk")
	method, err := Clone(t.Context(), src, dst)
	require.NoError(t, err)
	require.Equal(t, Overlay, method)
	require.Equal(t, "qcow2", method.Format())
	require.Equal(t, "overlay", method.String())

	_, err = run(t.Context(), "qemu-io", "-f", "qcow2", "-c", "write -P 0x42 0 4k", dst)
	require.NoError(t, err)
	require.Equal(t, "golden", first(t, src, 6), "a write to the clone shows in its source")

	flat := filepath.Join(dir, "flat.raw")
	_, err = run(t.Context(), "qemu-img", "convert", "-f", "qcow2", "-O", "raw", dst, flat)
	require.NoError(t, err)
	require.Equal(t, "BBBBBB", first(t, flat, 6))
}

func TestCloneOfNothingFails(t *testing.T) {
	dir := t.TempDir()
	_, err := Clone(t.Context(), filepath.Join(dir, "missing"), filepath.Join(dir, "clone"))
	require.ErrorIs(t, err, os.ErrNotExist)
	require.NoFileExists(t, filepath.Join(dir, "clone"))
}

func TestCloneNeverOverwrites(t *testing.T) {
	dir := t.TempDir()
	src := write(t, filepath.Join(dir, "src"), "golden")
	dst := write(t, filepath.Join(dir, "dst"), "precious")
	_, err := Clone(t.Context(), src, dst)
	require.ErrorIs(t, err, os.ErrExist)
	require.Equal(t, "precious", first(t, dst, 8))
}

func TestFailedOverlayLeavesNothing(t *testing.T) {
	need.Programs(t, "qemu-img")
	dir := t.TempDir()
	dst := filepath.Join(dir, "overlay")
	err := Stack(t.Context(), filepath.Join(dir, "missing"), dst)
	require.ErrorContains(t, err, "missing")
	require.NoFileExists(t, dst)
}

func TestCopyOfAnOverlayReadsWhatIsBesideIt(t *testing.T) {
	need.Programs(t, "qemu-img")
	here, there := t.TempDir(), t.TempDir()
	write(t, filepath.Join(here, "base"), "this")
	write(t, filepath.Join(there, "base"), "that")
	overlay, copied := filepath.Join(here, "overlay"), filepath.Join(there, "disk")
	require.NoError(t, StackBeside(t.Context(), "base", "raw", 1<<20, overlay))
	require.NoError(t, SparseCopy(t.Context(), overlay, copied))
	for path, want := range map[string]string{overlay: "this", copied: "that"} {
		flat := filepath.Join(t.TempDir(), "flat")
		_, err := run(t.Context(), "qemu-img", "convert", "-O", "raw", path, flat)
		require.NoError(t, err)
		require.Equal(t, want, first(t, flat, len(want)))
	}
}

// TestAnOverlayIsMadeWithoutALookAtItsBase has a base whose header names a pipe: who
// opens that waits for ever. A disk that a VMM wrote may have such a header.
func TestAnOverlayIsMadeWithoutALookAtItsBase(t *testing.T) {
	need.Programs(t, "qemu-img")
	dir := t.TempDir()
	pipe, overlay := filepath.Join(dir, "pipe"), filepath.Join(dir, "overlay")
	require.NoError(t, unix.Mkfifo(pipe, 0o600))
	_, err := run(t.Context(), "qemu-img", "create", "-q", "-u", "-f", "qcow2", "-b", pipe, "-F", "raw",
		filepath.Join(dir, "base"), "1M")
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	require.NoError(t, StackBeside(ctx, "base", "qcow2", 1<<20, overlay))
	info, err := run(t.Context(), "qemu-img", "info", "-f", "qcow2", "--output=json", overlay)
	require.NoError(t, err)
	var made struct {
		Size int64  `json:"virtual-size"`
		Base string `json:"backing-filename"`
	}
	require.NoError(t, json.Unmarshal(info, &made))
	require.Equal(t, int64(1<<20), made.Size)
	require.Equal(t, "base", made.Base)
}

func TestCancelledOverlaySaysSo(t *testing.T) {
	need.Programs(t, "qemu-img")
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	dst := filepath.Join(dir, "overlay")
	err := Stack(ctx, write(t, filepath.Join(dir, "src"), "x"), dst)
	require.ErrorIs(t, err, context.Canceled)
	require.NoFileExists(t, dst)
}

// write makes a disk of 1 MiB that begins with text.
func write(t *testing.T, path, text string) string {
	t.Helper()
	content := make([]byte, 1<<20)
	copy(content, text)
	copy(content[510:], bootSignature)
	require.NoError(t, os.WriteFile(path, content, 0o600))
	return path
}

func first(t *testing.T, path string, n int) string {
	t.Helper()
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(bytes.Clone(content[:n]))
}
