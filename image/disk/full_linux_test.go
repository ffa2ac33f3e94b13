package disk

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/diskspace"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/need"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/sandbox"
)

// TestFullDiskLeavesNoHalfFile has each way of making a disk meet a full file system,
// and then one with room. The programs say so on standard error only.
func TestFullDiskLeavesNoHalfFile(t *testing.T) {
	need.Programs(t, "qemu-img", "mkfs.ext4")
	d := sandbox.NewDisk(t, 64<<20)
	from := t.TempDir() // on another file system, so that there is no reflink
	raw := filepath.Join(from, "raw")
	content := bytes.Repeat([]byte(bootSignature), 2<<20)
	clear(content[:sector-len(bootSignature)]) // a boot sector without partitions
	require.NoError(t, os.WriteFile(raw, content, 0o600))
	qcow2 := filepath.Join(from, "qcow2")
	_, err := run(t.Context(), "qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, qcow2)
	require.NoError(t, err)
	tree := filepath.Join(from, "tree")
	require.NoError(t, os.Mkdir(tree, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(tree, "file"), content, 0o600))

	ways := map[string]func(ctx context.Context, to string) error{
		"sparse copy": func(ctx context.Context, to string) error { return SparseCopy(ctx, raw, to) },
		"clone":       func(ctx context.Context, to string) error { _, err := Clone(ctx, raw, to); return err },
		"overlay":     func(ctx context.Context, to string) error { return Stack(ctx, raw, to) },
		"raw":         func(ctx context.Context, to string) error { return ToRaw(ctx, raw, to, 64<<20) },
		"converted":   func(ctx context.Context, to string) error { return ToRaw(ctx, qcow2, to, 64<<20) },
		"file system": func(ctx context.Context, to string) error { return FromDirectory(ctx, tree, to, 32<<20, "root") },
	}
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			to := filepath.Join(d.Dir, "disk")
			d.Fill(0)
			err := way(t.Context(), to)
			require.True(t, diskspace.IsFull(err), "%v", err)
			require.NoFileExists(t, to)
			d.Empty()
			require.NoError(t, way(t.Context(), to))
			require.NoError(t, os.Remove(to))
		})
	}
}
