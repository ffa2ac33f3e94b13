//go:build linux

package disk

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/need"
)

// makeVMDK makes an image of a kind that qemu-img knows.
func makeVMDK(t *testing.T, dir, kind string) (path string) {
	t.Helper()
	raw, path := write(t, filepath.Join(dir, "raw"), "cloud"), filepath.Join(dir, "image")
	_, err := run(t.Context(), "qemu-img", "convert", "-O", "vmdk", "-o", "subformat="+kind, "-f", "raw", raw, path)
	require.NoError(t, err)
	return path
}

func TestVMDKBecomesRaw(t *testing.T) {
	need.Programs(t, "qemu-img")
	for _, kind := range []string{"monolithicSparse", "streamOptimized"} {
		t.Run(kind, func(t *testing.T) {
			dir := t.TempDir()
			image, dst := makeVMDK(t, dir, kind), filepath.Join(dir, "disk")
			require.NoError(t, ToRaw(t.Context(), image, dst, 64<<20))
			require.Equal(t, "cloud", first(t, dst, 5))

			require.ErrorContains(t, ToRaw(t.Context(), image, dst+"2", 1<<19), "raise machine.disk")
		})
	}
}

// QEMU takes the size from the footer, where there is one.
func TestVMDKWithAnotherFooterIsRefused(t *testing.T) {
	need.Programs(t, "qemu-img")
	dir := t.TempDir()
	image := makeVMDK(t, dir, "streamOptimized")
	content, err := os.ReadFile(image)
	require.NoError(t, err)
	directory := content[vmdkDirectory : vmdkDirectory+8]
	footer := make([]byte, 3*sector) // a marker, the header, the end's marker
	copy(footer[sector:], content[:sector])
	for i := range directory {
		directory[i] = 0xff // vmdkInFooter
	}
	header, err := parseVMDK(content, footer)
	require.NoError(t, err)
	require.EqualValues(t, 1<<20, header.size)

	binary.LittleEndian.PutUint64(footer[sector+vmdkCapacity:], 1<<40)
	require.NoError(t, os.WriteFile(image, append(content, footer...), 0o600))
	require.ErrorContains(t, ToRaw(t.Context(), image, image+".raw", 64<<20), "header and its footer differ")
	require.NoFileExists(t, image+".raw")
}

func TestVMDKsThatNameOtherFilesAreRefused(t *testing.T) {
	need.Programs(t, "qemu-img")
	dir := t.TempDir()
	base, image := filepath.Join(dir, "base"), filepath.Join(dir, "image")
	for _, args := range [][]string{{base, "1M"}, {"-b", base, "-F", "vmdk", image}} {
		_, err := run(t.Context(), "qemu-img", append([]string{"create", "-q", "-f", "vmdk"}, args...)...)
		require.NoError(t, err)
	}
	require.ErrorContains(t, ToRaw(t.Context(), image, image+".raw", 64<<20), "stands on another image")

	content, err := os.ReadFile(base)
	require.NoError(t, err)
	for want, change := range map[string]func([]byte){
		"names other files":  func(b []byte) { binary.LittleEndian.PutUint64(b[vmdkCapacity:], 0) },
		"the disk has":       func(b []byte) { binary.LittleEndian.PutUint64(b[vmdkCapacity:], 1<<60) },
		"VMDK version is 77": func(b []byte) { binary.LittleEndian.PutUint32(b[vmdkVersion:], 77) },
	} {
		changed := append([]byte{}, content...)
		change(changed)
		require.NoError(t, os.WriteFile(image, changed, 0o600))
		require.ErrorContains(t, ToRaw(t.Context(), image, image+".raw", 64<<20), want)
		require.NoFileExists(t, image+".raw")
	}
}
