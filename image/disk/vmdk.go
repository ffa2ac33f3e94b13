//go:build linux

package disk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// Offsets in the header of a VMDK image in one file, which is little-endian.
const (
	vmdkMagic     = "KDMV"
	vmdkVersion   = 4
	vmdkCapacity  = 12 // in sectors
	vmdkDirectory = 56
	vmdkHeader    = 79

	// vmdkInFooter, as the place of the grain directory, says that a copy of the header
	// before the file's last sector is the one that counts.
	vmdkInFooter = math.MaxUint64
	vmdkFooter   = 2 * sector

	// vmdkDescriptor is where QEMU reads, in the descriptor that lies in the image, for
	// vmdkDescriptorSize bytes, the name of another image that it stands on.
	vmdkDescriptor     = 0x200
	vmdkDescriptorSize = 20 * sector
)

// longestHeader is as much of a file as decides what it is.
const longestHeader = vmdkDescriptor + vmdkDescriptorSize

// parseVMDK refuses what would have QEMU open another file: an image that names the one
// it stands on, and one of which the header says that a descriptor names its parts. The
// end is the file's last bytes, where a second header may be: it has to say the same.
func parseVMDK(start, end []byte) (header, error) {
	if len(start) < vmdkHeader {
		return header{}, errors.New("its VMDK header is cut short")
	}
	if binary.LittleEndian.Uint64(start[vmdkDirectory:]) == vmdkInFooter {
		footer := end[max(0, len(end)-vmdkFooter):]
		if len(footer) < vmdkFooter || !sameVMDK(footer, start) {
			return header{}, errors.New("its VMDK header and its footer differ: it is damaged, fetch it again")
		}
	}
	version := binary.LittleEndian.Uint32(start[vmdkVersion:])
	capacity := binary.LittleEndian.Uint64(start[vmdkCapacity:])
	switch {
	case version < 1 || version > 3:
		return header{}, fmt.Errorf("its VMDK version is %d, not 1 to 3", version)
	case capacity == 0:
		return header{}, errors.New("it names other files with its data, which could be any files of this host: " +
			"convert it with qemu-img convert")
	case capacity > 1<<53:
		return header{}, fmt.Errorf("its VMDK header says that the disk has %d sectors", capacity)
	case bytes.Contains(bytes.ToLower(start[min(vmdkDescriptor, len(start)):]), []byte("parentfilenamehint")):
		return header{}, errors.New("it stands on another image, which could be any file of this host: " +
			"flatten it with qemu-img convert")
	}
	return header{format: "vmdk", size: int64(capacity) * sector}, nil
}

// sameVMDK says whether two headers are of one kind of file, and of one size.
func sameVMDK(a, b []byte) bool {
	size := func(header []byte) []byte { return header[vmdkCapacity : vmdkCapacity+8] }
	const kind = vmdkVersion + 4
	return bytes.Equal(a[:kind], b[:kind]) && bytes.Equal(size(a), size(b))
}
