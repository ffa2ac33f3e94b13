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
	{"KDMV", "a VMDK image"},
	{"# Disk DescriptorFile", "a VMDK descriptor"},
	{"vhdxfile", "a VHDX image"},
	{"conectix", "a VHD image"},
	{"QED\x00", "a QED image"},
	{"<<< ", "a VirtualBox image"},
	{"\x1f\x8b", "compressed with gzip"},
	{"\xfd7zXZ\x00", "compressed with xz"},
	{"\x28\xb5\x2f\xfd", "compressed with zstd"},
	{"BZh", "compressed with bzip2"},
	{"PK\x03\x04", "a zip archive"},
}

// header is what the beginning of an image says about it.
type header struct {
	format string // raw or qcow2
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
	start := make([]byte, 512)
	n, err := io.ReadFull(file, start)
	if errors.Is(err, io.EOF) {
		return header{}, errors.New("it is empty")
	}
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return header{}, fmt.Errorf("reading its header: %w", err)
	}
	return parseHeader(start[:n], info.Size())
}

func parseHeader(start []byte, fileSize int64) (header, error) {
	if bytes.HasPrefix(start, []byte("QFI\xfb")) {
		return parseQcow2(start)
	}
	for _, f := range foreign {
		if bytes.HasPrefix(start, []byte(f.magic)) {
			return header{}, fmt.Errorf("it is %s; only raw and qcow2 images are taken", f.name)
		}
	}
	return header{format: "raw", size: fileSize}, nil
}

// Offsets in a qcow2 header, and the bit of its incompatible features that
// says where the data is.
const (
	qcow2Version      = 4
	qcow2Backing      = 8
	qcow2Size         = 24
	qcow2Crypt        = 32
	qcow2Incompatible = 72
	qcow2HeaderV3     = 104

	qcow2ExternalData = 1 << 2
)

func parseQcow2(start []byte) (header, error) {
	if len(start) < qcow2HeaderV3 {
		return header{}, errors.New("its qcow2 header is cut short")
	}
	size := binary.BigEndian.Uint64(start[qcow2Size:])
	version := binary.BigEndian.Uint32(start[qcow2Version:])
	switch {
	case version != 2 && version != 3:
		return header{}, fmt.Errorf("its qcow2 version is %d, not 2 or 3", version)
	case binary.BigEndian.Uint64(start[qcow2Backing:]) != 0:
		return header{}, errors.New("it has a backing file, which could be any file of this host: " +
			"flatten it with qemu-img convert")
	case binary.BigEndian.Uint32(start[qcow2Crypt:]) != 0:
		return header{}, errors.New("it is encrypted")
	case version == 3 && binary.BigEndian.Uint64(start[qcow2Incompatible:])&qcow2ExternalData != 0:
		return header{}, errors.New("it keeps its data in another file, which could be any file of this host")
	case size == 0 || size > 1<<62:
		return header{}, fmt.Errorf("its qcow2 header says that the disk has %d bytes", size)
	}
	return header{format: "qcow2", size: int64(size)}, nil
}

// bootSignature ends the first sector of every disk with partitions, GPT's
// protective one included.
const bootSignature = "\x55\xaa"

func checkBootSector(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	sector := make([]byte, 512)
	if _, err := io.ReadFull(file, sector); err != nil || !bytes.HasSuffix(sector, []byte(bootSignature)) {
		return errors.New("it has no boot sector: use the image of a whole disk with a boot loader, " +
			"and a file that is undamaged")
	}
	return nil
}
