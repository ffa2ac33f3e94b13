//go:build linux

package disk

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/need"
)

func TestQcow2BecomesRawAndGrows(t *testing.T) {
	need.Programs(t, "qemu-img")
	dir := t.TempDir()
	raw := write(t, filepath.Join(dir, "a.raw"), "cloud")
	image := filepath.Join(dir, "a: b.qcow2")
	_, err := run(t.Context(), "qemu-img", "convert", "-c", "-f", "raw", "-O", "qcow2", raw, image)
	require.NoError(t, err)

	dst := filepath.Join(dir, "disk")
	require.NoError(t, ToRaw(t.Context(), image, dst, 64<<20))
	require.Equal(t, "cloud", first(t, dst, 5))
	size, used := usage(t, dst)
	require.EqualValues(t, 64<<20, size)
	require.LessOrEqual(t, used, int64(1<<20))
}

func TestImageBiggerThanTheDiskIsRefused(t *testing.T) {
	dir := t.TempDir()
	src, dst := write(t, filepath.Join(dir, "a"), "cloud"), filepath.Join(dir, "disk")
	err := ToRaw(t.Context(), src, dst, 1<<20-1)
	require.ErrorContains(t, err, "raise machine.disk")
	require.NoFileExists(t, dst)
}

func TestImagesThatNameOtherFilesAreRefused(t *testing.T) {
	need.Programs(t, "qemu-img")
	dir := t.TempDir()
	secret := write(t, filepath.Join(dir, "secret"), "password")
	for name, args := range map[string][]string{
		"backing file": {"-b", secret, "-F", "raw"},
		"another file": {"-o", "data_file=" + secret + ",data_file_raw=on", "1M"},
	} {
		t.Run(name, func(t *testing.T) {
			image := filepath.Join(t.TempDir(), "image")
			create := append([]string{"create", "-q", "-f", "qcow2", image}, args...)
			_, err := run(t.Context(), "qemu-img", create...)
			require.NoError(t, err)
			dst := filepath.Join(t.TempDir(), "disk")
			require.ErrorContains(t, ToRaw(t.Context(), image, dst, 1<<30), name)
			require.NoFileExists(t, dst)
		})
	}
}

func TestOtherFormatsAreNamed(t *testing.T) {
	for start, name := range map[string]string{
		"KDMV\x01\x00": "VMDK", "# Disk DescriptorFile\nversion=1": "VMDK", "vhdxfile": "VHDX",
		"\xfd7zXZ\x00\x00": "xz", "\x1f\x8b\x08": "gzip", "\x28\xb5\x2f\xfd": "zstd",
	} {
		path := filepath.Join(t.TempDir(), "image")
		require.NoError(t, os.WriteFile(path, []byte(start), 0o600))
		err := ToRaw(t.Context(), path, path+".raw", 1<<20)
		require.ErrorContains(t, err, name)
	}
}

func TestImagesThatNothingBootsAreRefused(t *testing.T) {
	for name, size := range map[string]int{"it is empty": 0, "no boot sector: ": 1 << 20, "no boot sector": 100} {
		path := filepath.Join(t.TempDir(), "image")
		require.NoError(t, os.WriteFile(path, make([]byte, size), 0o600))
		require.ErrorContains(t, ToRaw(t.Context(), path, path+".raw", 1<<20), name)
		require.NoFileExists(t, path+".raw")
	}
}

func TestParseQcow2(t *testing.T) {
	good := make([]byte, 512)
	copy(good, "QFI\xfb")
	binary.BigEndian.PutUint32(good[qcow2Version:], 3)
	binary.BigEndian.PutUint64(good[qcow2Size:], 1<<30)
	head, err := parseHeader(good, 512)
	require.NoError(t, err)
	require.Equal(t, header{format: "qcow2", size: 1 << 30}, head)

	for name, at := range map[string]int{"version": qcow2Version, "encrypted": qcow2Crypt, "backing": qcow2Backing, "bytes": qcow2Size} {
		bad := bytes.Clone(good)
		bad[at] = 0xff
		_, err := parseHeader(bad, 512)
		require.ErrorContains(t, err, name)
	}
	_, err = parseHeader(good[:40], 40)
	require.ErrorContains(t, err, "cut short")
}

func FuzzParseHeader(f *testing.F) {
	f.Add([]byte("QFI\xfb\x00\x00\x00\x03"))
	f.Add([]byte("\xebc\x90"))
	f.Fuzz(func(t *testing.T, start []byte) {
		head, err := parseHeader(start, int64(len(start)))
		if err == nil && (head.size < 0 || head.format == "") {
			t.Errorf("parseHeader(%q) = %+v", start, head)
		}
	})
}
