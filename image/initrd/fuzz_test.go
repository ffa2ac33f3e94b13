package initrd

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"
)

// What depmod wrote is of the image: it may need itself, and things that are not.
func FuzzModules(f *testing.F) {
	f.Add("kernel/fs/ext4.ko.xz: kernel/lib/crc16.ko.xz\nkernel/lib/crc16.ko.xz:\n", "kernel/virtio_pci.ko\n")
	f.Add("a.ko: b.ko\nb.ko: a.ko c.ko\n::\n", "\x00")
	f.Fuzz(func(t *testing.T, dep, builtin string) {
		m := parseModules(dep, builtin)
		order, err := m.resolve(wanted)
		if err != nil {
			return
		}
		seen := make(map[string]bool)
		for _, path := range order {
			require.False(t, seen[path], "%q is loaded twice", path)
			seen[path] = true
		}
	})
}

// What a kernel would read of an archive is what was written to it.
func FuzzArchive(f *testing.F) {
	f.Add("init", []byte("#!/bin/sh\n"))
	f.Add("a", []byte{})
	f.Add("lib/modules/é", []byte{0, 1, 2})
	f.Fuzz(func(t *testing.T, name string, content []byte) {
		var out bytes.Buffer
		a := archive{to: &out}
		err := a.file(name, 0o644, content)
		if name == "" || strings.ContainsRune(name, 0) {
			require.Error(t, err)
			return
		}
		require.NoError(t, err)
		require.NoError(t, a.close())
		gotName, gotContent, rest := readEntry(t, out.Bytes())
		require.Equal(t, name, gotName)
		require.Equal(t, string(content), gotContent)
		last, _, rest := readEntry(t, rest)
		require.Equal(t, "TRAILER!!!", last)
		require.Empty(t, rest)
	})
}

// readEntry reads an entry as the kernel's documentation has it.
func readEntry(t *testing.T, from []byte) (name, content string, rest []byte) {
	t.Helper()
	const header, fieldSize, fieldName = 110, 6, 11
	require.GreaterOrEqual(t, len(from), header)
	require.Equal(t, "070701", string(from[:6]))
	field := func(n int) int {
		value, err := strconv.ParseUint(string(from[6+8*n:14+8*n]), 16, 32)
		require.NoError(t, err)
		return int(value)
	}
	align := func(n int) int { return (n + 3) &^ 3 }
	body := align(header + field(fieldName))
	name = strings.TrimSuffix(string(from[header:header+field(fieldName)]), "\x00")
	end := body + field(fieldSize)
	return name, string(from[body:end]), from[align(end):]
}

// A module that unpacks to more than any kernel has is not read to its end.
func TestModuleThatUnpacksWithoutEnd(t *testing.T) {
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	zeros := make([]byte, 1<<20)
	for range maxModule>>20 + 1 {
		_, err := w.Write(zeros)
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	_, err := readModule(fstest.MapFS{"m.ko.gz": {Data: packed.Bytes()}}, "m.ko.gz")
	require.ErrorContains(t, err, fmt.Sprintf("has more than %d bytes", maxModule))
}
