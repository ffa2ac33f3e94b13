//go:build linux

package disk

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/need"
)

func TestFlattenTakesWhatWasWrittenAndTheRestOfTheBacking(t *testing.T) {
	need.Programs(t, "qemu-img", "qemu-io")
	dir := t.TempDir()
	backing, overlay := write(t, filepath.Join(dir, `odd "name", 1.raw`), "golden"), filepath.Join(dir, "overlay: 1")
	require.NoError(t, Stack(t.Context(), backing, overlay))
	_, err := run(t.Context(), "qemu-io", "-f", "qcow2", "-c", "write -P 0x42 0 2", overlay)
	require.NoError(t, err)

	flat := filepath.Join(dir, "flat: 1")
	require.NoError(t, Flatten(t.Context(), overlay, Overlay.Format(), backing, flat))
	require.Equal(t, "BBlden", first(t, flat, 6))
	info, err := os.Stat(flat)
	require.NoError(t, err)
	require.EqualValues(t, 1<<20, info.Size())
	require.ErrorIs(t, Flatten(t.Context(), overlay, Overlay.Format(), backing, flat), os.ErrExist)

	copied := filepath.Join(dir, "copied")
	require.NoError(t, Flatten(t.Context(), backing, Reflink.Format(), "", copied))
	require.Equal(t, "golden", first(t, copied, 6))
}

// A program that a guest has taken over may have written any header: one that names a
// pipe would have QEMU wait for ever.
func TestFlattenOpensNoFileThatAnOverlayNames(t *testing.T) {
	need.Programs(t, "qemu-img")
	dir := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	backing, pipe := write(t, filepath.Join(dir, "golden"), "golden"), filepath.Join(dir, "pipe")
	require.NoError(t, unix.Mkfifo(pipe, 0o600))

	overlay := filepath.Join(dir, "overlay")
	require.NoError(t, StackBeside(ctx, pipe, "raw", 1<<20, overlay))
	flat := filepath.Join(dir, "flat")
	require.NoError(t, Flatten(ctx, overlay, Overlay.Format(), backing, flat))
	require.Equal(t, "golden", first(t, flat, 6))

	elsewhere := filepath.Join(dir, "elsewhere")
	_, err := run(ctx, "qemu-img", "create", "-q", "-f", "qcow2", "-o", "data_file="+filepath.Join(dir, "data"),
		elsewhere, "1M")
	require.NoError(t, err)
	err = Flatten(ctx, elsewhere, Overlay.Format(), backing, filepath.Join(dir, "none"))
	require.ErrorContains(t, err, "another file")
	require.NoFileExists(t, filepath.Join(dir, "none"))
	require.ErrorContains(t, Flatten(ctx, backing, Overlay.Format(), backing, filepath.Join(dir, "none")), "no qcow2")
}
