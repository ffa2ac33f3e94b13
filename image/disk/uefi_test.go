//go:build linux

package disk

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
)

// gptDisk is a disk as tools for UEFI make it: GPT with one system partition (ESP), and
// before it a table that protects it from those who do not know GPT.
func gptDisk(t *testing.T) []byte {
	t.Helper()
	const sectors, entriesAt, firstOfESP = 4096, 2, 2048
	content := make([]byte, sectors*sector)
	content[446+4] = 0xee
	binary.LittleEndian.PutUint32(content[446+8:], 1)
	binary.LittleEndian.PutUint32(content[446+12:], sectors-1)
	copy(content[510:], bootSignature)
	head := content[sector:]
	copy(head, "EFI PART")
	binary.LittleEndian.PutUint64(head[24:], 1)
	binary.LittleEndian.PutUint64(head[32:], sectors-1) // of its copy
	binary.LittleEndian.PutUint64(head[72:], entriesAt)
	binary.LittleEndian.PutUint32(head[80:], 128)
	binary.LittleEndian.PutUint32(head[84:], 128)
	esp := []byte{0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b}
	entry := content[entriesAt*sector:]
	copy(entry, esp)
	binary.LittleEndian.PutUint64(entry[32:], firstOfESP)
	binary.LittleEndian.PutUint64(entry[40:], sectors-64)
	return content
}

func TestDisksWithoutABootLoaderForABIOSNeedUEFI(t *testing.T) {
	dir := t.TempDir()
	uefi, both, made := filepath.Join(dir, "uefi"), filepath.Join(dir, "both"), filepath.Join(dir, "disk")
	content := gptDisk(t)
	require.NoError(t, os.WriteFile(uefi, content, 0o600))
	require.NoError(t, ToRaw(t.Context(), uefi, made, 8<<20), "a build takes it")
	needs, err := NeedsUEFI(made)
	require.NoError(t, err)
	require.True(t, needs)

	copy(content, "\xebc\x90") // as GRUB begins
	require.NoError(t, os.WriteFile(both, content, 0o600))
	needs, err = NeedsUEFI(both)
	require.NoError(t, err)
	require.Equal(t, runtime.GOARCH == "arm64", needs)
	require.False(t, needsUEFI(content[:bootCode], "amd64"))
	require.True(t, needsUEFI(content[:bootCode], "arm64"), "which has no BIOS")
	_, err = NeedsUEFI(filepath.Join(dir, "missing"))
	require.ErrorIs(t, err, os.ErrNotExist)
}
