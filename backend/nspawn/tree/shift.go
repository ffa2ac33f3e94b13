//go:build linux

package tree

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Shift adds base to the owner and the group of everything below root. It restores
// set-user-id bits and capabilities, which a change of owner removes. Files whose
// owner is base or above are left as they are.
func Shift(root string, base int) error {
	return filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err == nil {
			err = shift(path, base)
		}
		if err != nil {
			return fmt.Errorf("shifting the owner of %s: %w", path, err)
		}
		return nil
	})
}

func shift(path string, base int) error {
	var stat unix.Stat_t
	if err := unix.Lstat(path, &stat); err != nil {
		return err
	}
	if int(stat.Uid) >= base { // shifted already, by another of its names
		return nil
	}
	capability, err := capabilityOf(path)
	if err != nil {
		return err
	}
	if err := unix.Lchown(path, int(stat.Uid)+base, int(stat.Gid)+base); err != nil {
		return err
	}
	if stat.Mode&(unix.S_ISUID|unix.S_ISGID) != 0 && stat.Mode&unix.S_IFMT != unix.S_IFLNK {
		if err := unix.Chmod(path, stat.Mode&0o7777); err != nil {
			return err
		}
	}
	if capability == nil {
		return nil
	}
	return unix.Lsetxattr(path, capabilityName, rooted(capability, base), 0)
}

// capabilityName is where a file's capabilities are, see capabilities(7).
const capabilityName = "security.capability"

func capabilityOf(path string) ([]byte, error) {
	value := make([]byte, 64)
	n, err := unix.Lgetxattr(path, capabilityName, value)
	if errors.Is(err, unix.ENODATA) || errors.Is(err, unix.EOPNOTSUPP) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return value[:n], nil
}

// Fields of struct vfs_ns_cap_data of linux/capability.h.
const (
	capabilityRevision  = 0xff000000
	capabilityRevision3 = 0x03000000
	capabilitySize2     = 20
)

// rooted turns capabilities in the host's user namespace into capabilities in the
// one whose root is base.
func rooted(capability []byte, base int) []byte {
	if len(capability) != capabilitySize2 {
		return capability
	}
	value := bytes.Clone(capability)
	magic := binary.LittleEndian.Uint32(value)
	binary.LittleEndian.PutUint32(value, magic&^capabilityRevision|capabilityRevision3)
	return binary.LittleEndian.AppendUint32(value, uint32(base))
}
