//go:build linux

package disk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
)

// foreign are the beginnings of files that are refused. Taken for raw disks they
// would not boot, and some name other files.
var foreign = []struct{ magic, name string }{
	{"# Disk DescriptorFile", "a VMDK descriptor"},
	{"vhdxfile", "a VHDX image"},
	{"conectix", "a VHD image"},
	{"QED\x00", "a QED image"},
	{"<<< ", "a VirtualBox image"},
	{"\x1f\x8b", "compressed twice"},
	{"\xfd7zXZ\x00", "compressed twice"},
	{"\x28\xb5\x2f\xfd", "compressed twice"},
	{"BZh", "compressed with bzip2"},
	{"PK\x03\x04", "a zip archive"},
}

// header is what the beginning of an image says about it.
type header struct {
	format string // raw, qcow2 or vmdk
	size   int64  // of the disk that the guest sees
}

// readHeader looks at the image at path without QEMU. QEMU would open the files
// that the header names, and an image from elsewhere must not be able to have
// files of this host opened.
func readHeader(path string) (header, error) {
	file, err := os.Open(path)
	if err != nil {
		return header{}, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return header{}, err
	}
	start, err := readStart(file)
	if err != nil {
		return header{}, err
	}
	end := make([]byte, min(info.Size(), vmdkFooter))
	if _, err := file.ReadAt(end, info.Size()-int64(len(end))); err != nil {
		return header{}, fmt.Errorf("reading its end: %w", err)
	}
	return parseHeader(start, end, info.Size())
}

// readStart reads as much as the longest header has.
func readStart(file io.Reader) ([]byte, error) {
	start := make([]byte, longestHeader)
	n, err := io.ReadFull(file, start)
	if errors.Is(err, io.EOF) {
		return nil, errors.New("it is empty")
	}
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, fmt.Errorf("reading its header: %w", err)
	}
	return start[:n], nil
}

func parseHeader(start, end []byte, fileSize int64) (header, error) {
	switch {
	case bytes.HasPrefix(start, []byte(qcow2Magic)):
		return parseQcow2(start, fileSize)
	case bytes.HasPrefix(start, []byte(vmdkMagic)):
		return parseVMDK(start, end)
	}
	for _, f := range foreign {
		if bytes.HasPrefix(start, []byte(f.magic)) {
			return header{}, fmt.Errorf("it is %s; only raw, qcow2 and VMDK images are taken", f.name)
		}
	}
	return header{format: "raw", size: fileSize}, nil
}

// qcow2Magic begins every qcow2 image.
const qcow2Magic = "QFI\xfb"

// Offsets in a qcow2 header, and bits of its incompatible features.
const (
	qcow2Version      = 4
	qcow2Backing      = 8
	qcow2BackingName  = 16
	qcow2ClusterBits  = 20
	qcow2Size         = 24
	qcow2Crypt        = 32
	qcow2L1Entries    = 36
	qcow2L1           = 40
	qcow2Refcounts    = 48
	qcow2RefcountSize = 56
	qcow2Incompatible = 72
	qcow2HeaderLength = 100
	qcow2HeaderV3     = 104

	qcow2Corrupt      = 1 << 1
	qcow2ExternalData = 1 << 2
	qcow2Known        = 1<<5 - 1 // dirty, corrupt, external data, compression type, extended L2 entries
)

// What a qcow2 header may say, as QEMU has it: clusters of 512 bytes to 2 MiB, an L1
// table of 32 MiB, a table of reference counts of 8 MiB.
const (
	leastClusterBits, mostClusterBits = 9, 21

	mostL1        = 32 << 20
	mostRefcounts = 8 << 20
)

// parseQcow2 refuses what would have QEMU open another file, and what no such file of
// fileSize bytes can be.
func parseQcow2(start []byte, fileSize int64) (header, error) {
	if len(start) >= qcow2HeaderV3 && hasBacking(start) {
		return header{}, errors.New("it has a backing file, which could be any file of this host: " +
			"flatten it with qemu-img convert")
	}
	return parseOverlay(start, fileSize)
}

// hasBacking says whether a qcow2 header names another image that its own lies on.
func hasBacking(start []byte) bool {
	return binary.BigEndian.Uint64(start[qcow2Backing:]) != 0 || binary.BigEndian.Uint32(start[qcow2BackingName:]) != 0
}

// parseOverlay is parseQcow2 for an image whose backing file is known, whatever it says
// of that itself.
func parseOverlay(start []byte, fileSize int64) (header, error) {
	if len(start) < qcow2HeaderV3 {
		return header{}, errors.New("its qcow2 header is cut short")
	}
	number := func(at int) uint64 { return uint64(binary.BigEndian.Uint32(start[at:])) }
	large := func(at int) uint64 { return binary.BigEndian.Uint64(start[at:]) }
	version, features := number(qcow2Version), uint64(0)
	if version == 3 {
		features = large(qcow2Incompatible)
	}
	switch {
	case version != 2 && version != 3:
		return header{}, fmt.Errorf("its qcow2 version is %d, not 2 or 3", version)
	case number(qcow2Crypt) != 0:
		return header{}, errors.New("it is encrypted")
	case features&qcow2ExternalData != 0:
		return header{}, errors.New("it keeps its data in another file, which could be any file of this host: " +
			"flatten it with qemu-img convert")
	case features&qcow2Corrupt != 0:
		return header{}, errors.New("it is marked as corrupt: " + again)
	case features&^qcow2Known != 0:
		return header{}, fmt.Errorf("its qcow2 header has features %#x, which are not known here", features)
	case version == 3 && (number(qcow2HeaderLength) < qcow2HeaderV3 || number(qcow2HeaderLength)%8 != 0):
		return header{}, fmt.Errorf("its qcow2 header says that it has %d bytes itself: %s",
			number(qcow2HeaderLength), again)
	}
	size, bits := large(qcow2Size), number(qcow2ClusterBits)
	if size == 0 || size > 1<<62 {
		return header{}, fmt.Errorf("its qcow2 header says that the disk has %d bytes", size)
	}
	if bits < leastClusterBits || bits > mostClusterBits || number(qcow2HeaderLength) > 1<<bits {
		return header{}, fmt.Errorf("its qcow2 header says that clusters have 2^%d bytes: %s", bits, again)
	}
	cluster := uint64(1) << bits
	for _, table := range []struct {
		name                string
		at, size, need, may uint64
	}{
		{"L1 table", large(qcow2L1), number(qcow2L1Entries) * 8, 8 * entriesL1(size, bits, features), mostL1},
		{
			"table of reference counts",
			large(qcow2Refcounts), number(qcow2RefcountSize) * cluster, cluster, mostRefcounts,
		},
	} {
		if table.at%cluster != 0 || table.at == 0 || table.at > 1<<62 || table.size < table.need ||
			table.size > table.may || table.at+table.size > uint64(fileSize) {
			return header{}, fmt.Errorf("its qcow2 header puts its %s of %d bytes at %d, in a file of %d bytes: %s",
				table.name, table.size, table.at, fileSize, again)
		}
	}
	return header{format: "qcow2", size: int64(size)}, nil
}

// entriesL1 is how many entries the L1 table of a disk has at least: each stands for
// a cluster of entries, of 8 bytes or of 16, which stand for a cluster each.
func entriesL1(size, clusterBits, features uint64) uint64 {
	const extended = 1 << 4
	shift := 2*clusterBits - 3
	if features&extended != 0 {
		shift--
	}
	return (size-1)>>shift + 1
}

// again is what to do about an image that is damaged.
const again = "it is damaged, fetch it again"

// bootSignature ends the first sector of every disk with partitions, GPT's
// protective one included.
const bootSignature = "\x55\xaa"

// checkBootSector refuses a disk that no firmware boots, and one whose partitions do
// not end within it. It has size bytes.
func checkBootSector(path string, size int64) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	start := make([]byte, 2*sector)
	n, err := io.ReadFull(file, start) // which the smallest of disks does not fill
	if err != nil && n < sector || !bytes.HasSuffix(start[:sector], []byte(bootSignature)) {
		return errors.New("it has no boot sector: use the image of a whole disk with a boot loader, " +
			"and a file that is undamaged")
	}
	if end := endOfPartitions(start); end > size {
		return fmt.Errorf("its partition table is of a disk of %d bytes, and it has %d: "+
			"it is cut short, fetch it again", end, size)
	}
	return nil
}

// sector is the unit of partition tables.
const sector = 512

// endOfPartitions is where a disk ends at the earliest, as its first two sectors have
// it: GPT says where its copy is, the older table how long each partition is.
func endOfPartitions(start []byte) int64 {
	if bytes.HasPrefix(start[sector:], []byte("EFI PART")) {
		const last = 1 << 53 // any further would not be a number of bytes
		return int64(min(binary.LittleEndian.Uint64(start[sector+32:]), last)+1) * sector
	}
	var end int64
	for entry := start[446:510]; len(entry) > 0; entry = entry[16:] {
		if kind := entry[4]; kind != 0 && kind != 0xee {
			first, count := binary.LittleEndian.Uint32(entry[8:]), binary.LittleEndian.Uint32(entry[12:])
			end = max(end, (int64(first)+int64(count))*sector)
		}
	}
	return end
}
