//go:build linux

package disk

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
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
		"KDMV\x01\x00": "its VMDK header is cut short", "# Disk DescriptorFile\nversion=1": "a VMDK descriptor",
		"vhdxfile": "VHDX", "BZh9": "bzip2", "PK\x03\x04": "zip",
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

// goodQcow2 is the header that qemu-img makes for a disk of 1 GiB.
func goodQcow2() []byte {
	head := make([]byte, 512)
	copy(head, "QFI\xfb")
	for at, value := range map[int]uint32{
		qcow2Version: 3, qcow2ClusterBits: 16, qcow2L1Entries: 2, qcow2RefcountSize: 1, qcow2HeaderLength: 112,
	} {
		binary.BigEndian.PutUint32(head[at:], value)
	}
	for at, value := range map[int]uint64{qcow2Size: 1 << 30, qcow2L1: 3 << 16, qcow2Refcounts: 1 << 16} {
		binary.BigEndian.PutUint64(head[at:], value)
	}
	return head
}

// fileOfGood is how many bytes the file of goodQcow2 has.
const fileOfGood = 4 << 16

func TestParseQcow2(t *testing.T) {
	good := goodQcow2()
	head, err := parseHeader(good, nil, fileOfGood)
	require.NoError(t, err)
	require.Equal(t, header{format: "qcow2", size: 1 << 30}, head)

	four := func(value uint32) []byte { return binary.BigEndian.AppendUint32(nil, value) }
	eight := func(value uint64) []byte { return binary.BigEndian.AppendUint64(nil, value) }
	for name, bad := range map[string]struct {
		at    int
		bytes []byte
		want  string
	}{
		"version":                {qcow2Version, four(4), "its qcow2 version is 4"},
		"encrypted":              {qcow2Crypt, four(1), "it is encrypted"},
		"backing file":           {qcow2Backing, eight(0x100), "it has a backing file"},
		"name of a backing file": {qcow2BackingName, four(7), "it has a backing file"},
		"data elsewhere":         {qcow2Incompatible, eight(qcow2ExternalData), "it keeps its data in another file"},
		"corrupt":                {qcow2Incompatible, eight(qcow2Corrupt), "it is marked as corrupt"},
		"a feature of tomorrow":  {qcow2Incompatible, eight(1 << 5), "features 0x20"},
		"no size":                {qcow2Size, eight(0), "0 bytes"},
		"a size of exbibytes":    {qcow2Size, eight(1 << 63), "9223372036854775808 bytes"},
		"clusters too small":     {qcow2ClusterBits, four(8), "clusters have 2^8 bytes"},
		"clusters too large":     {qcow2ClusterBits, four(22), "clusters have 2^22 bytes"},
		"clusters of nonsense":   {qcow2ClusterBits, four(1 << 31), "clusters have 2^2147483648 bytes"},
		"L1 table too short":     {qcow2L1Entries, four(1), "its L1 table of 8 bytes"},
		"L1 table too long":      {qcow2L1Entries, four(1 << 31), "its L1 table of 17179869184 bytes"},
		"L1 table in the header": {qcow2L1, eight(0), "its L1 table of 16 bytes at 0"},
		"L1 table askew":         {qcow2L1, eight(1), "its L1 table of 16 bytes at 1"},
		"L1 table outside":       {qcow2L1, eight(1 << 40), "in a file of 262144 bytes"},
		"L1 table far outside":   {qcow2L1, eight(1<<64 - 1<<16), "in a file of 262144 bytes"},
		"counts outside":         {qcow2Refcounts, eight(1 << 40), "table of reference counts"},
		"no counts":              {qcow2RefcountSize, four(0), "table of reference counts of 0 bytes"},
		"a short header":         {qcow2HeaderLength, four(72), "says that it has 72 bytes itself"},
	} {
		t.Run(name, func(t *testing.T) {
			head := bytes.Clone(good)
			copy(head[bad.at:], bad.bytes)
			_, err := parseHeader(head, nil, fileOfGood)
			require.ErrorContains(t, err, bad.want)
		})
	}
	_, err = parseHeader(good[:40], nil, 40)
	require.ErrorContains(t, err, "cut short")
}

// What qemu-img makes is taken, whatever its options.
func TestQcow2OfManyKinds(t *testing.T) {
	need.Programs(t, "qemu-img")
	for _, options := range []string{
		"compat=0.10", "compat=v3", "cluster_size=512", "cluster_size=2M", "extended_l2=on", "lazy_refcounts=on",
		"refcount_bits=1", "preallocation=metadata", "compression_type=zstd",
	} {
		path := filepath.Join(t.TempDir(), "image")
		_, err := run(t.Context(), "qemu-img", "create", "-q", "-f", "qcow2", "-o", options, path, "3G")
		require.NoError(t, err, options)
		head, err := readHeader(path)
		require.NoError(t, err, options)
		require.Equal(t, header{format: "qcow2", size: 3 << 30}, head, options)
		require.NoError(t, checkClusters(t.Context(), "qcow2", path), options)
	}
}

// Converted, the missing part would be zeros, and nobody would know.
func TestImagesThatAreCutShortAreRefused(t *testing.T) {
	need.Programs(t, "qemu-img")
	dir := t.TempDir()
	raw, image := filepath.Join(dir, "raw"), filepath.Join(dir, "image.qcow2")
	content := make([]byte, 4<<20)
	rand.NewChaCha8([32]byte{}).Read(content)
	copy(content[446:512], make([]byte, 66))
	content[446+4], content[510], content[511] = 0x83, 0x55, 0xaa
	binary.LittleEndian.PutUint32(content[446+8:], 2048)
	binary.LittleEndian.PutUint32(content[446+12:], 4<<20/sector-2048)
	require.NoError(t, os.WriteFile(raw, content, 0o600))
	_, err := run(t.Context(), "qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, image)
	require.NoError(t, err)
	for _, path := range []string{raw, image} {
		dst := filepath.Join(dir, "disk")
		require.NoError(t, ToRaw(t.Context(), path, dst, 4<<20))
		require.NoError(t, os.Remove(dst))
		require.NoError(t, os.Truncate(path, 2<<20))
		err := ToRaw(t.Context(), path, dst, 4<<20)
		require.ErrorContains(t, err, "cut short")
		require.ErrorContains(t, err, "fetch it again")
		require.Less(t, len(err.Error()), 2*mostSaid)
		require.NoFileExists(t, dst)
	}
}

// The table of a GPT disk tells where its copy is, at the end.
func TestEndOfPartitions(t *testing.T) {
	start := make([]byte, 2*sector)
	start[446+4] = 0xee // protects the rest from those who do not know GPT
	binary.LittleEndian.PutUint32(start[446+12:], 1<<32-1)
	require.Zero(t, endOfPartitions(start))
	copy(start[sector:], "EFI PART")
	binary.LittleEndian.PutUint64(start[sector+32:], 2047)
	require.EqualValues(t, 1<<20, endOfPartitions(start))
	binary.LittleEndian.PutUint64(start[sector+32:], 1<<64-1)
	require.Positive(t, endOfPartitions(start))
}

// A guest may write what it likes to its raw disk, a header of qcow2 too. It stays
// a raw disk for all that reads it, whatever that header names.
func TestHeaderOnARawDiskNamesNothing(t *testing.T) {
	need.Programs(t, "qemu-img")
	dir := t.TempDir()
	secret := write(t, filepath.Join(dir, "secret"), "password")
	evil, disk := filepath.Join(dir, "evil"), filepath.Join(dir, "disk")
	_, err := run(t.Context(), "qemu-img", "create", "-q", "-f", "qcow2", "-b", "json:{\"driver\":\"raw\",\"file\":"+
		"{\"driver\":\"file\",\"filename\":\""+secret+"\"}}", "-F", "raw", evil, "1M")
	require.NoError(t, err)
	require.ErrorContains(t, ToRaw(t.Context(), evil, disk, 1<<30), "it has a backing file")

	overlay, flat := filepath.Join(dir, "overlay"), filepath.Join(dir, "flat")
	require.NoError(t, Stack(t.Context(), evil, overlay))
	_, err = run(t.Context(), "qemu-img", "convert", "-f", "qcow2", "-O", "raw", overlay, flat)
	require.NoError(t, err)
	require.Equal(t, "QFI\xfb", first(t, flat, 4))
}

func FuzzParseHeader(f *testing.F) {
	f.Add([]byte("QFI\xfb\x00\x00\x00\x03"), int64(8))
	f.Add([]byte("\xebc\x90"), int64(512))
	f.Add(goodQcow2(), int64(fileOfGood))
	f.Fuzz(func(t *testing.T, start []byte, fileSize int64) {
		head, err := parseHeader(start, start, max(fileSize, 0))
		if err == nil && (head.size < 0 || head.format == "") {
			t.Errorf("parseHeader(%q) = %+v", start, head)
		}
		if len(start) >= 2*sector && endOfPartitions(start) < 0 {
			t.Errorf("endOfPartitions(%q) is below zero", start)
		}
	})
}
