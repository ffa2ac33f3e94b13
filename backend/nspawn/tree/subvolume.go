//go:build linux

package tree

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Requests of linux/btrfs.h, and the inode number of every subvolume's root.
const (
	snapshotCreate = 0x50009417 // BTRFS_IOC_SNAP_CREATE_V2
	subvolCreate   = 0x5000940e // BTRFS_IOC_SUBVOL_CREATE
	snapshotDelete = 0x5000940f // BTRFS_IOC_SNAP_DESTROY
	subvolumeInode = 256        // BTRFS_FIRST_FREE_OBJECTID
)

// volumeArgs is struct btrfs_ioctl_vol_args.
type volumeArgs struct {
	_    int64
	name [4088]byte
}

// snapshotArgs is struct btrfs_ioctl_vol_args_v2.
type snapshotArgs struct {
	source int64
	_      uint64
	_      uint64
	_      [4]uint64
	name   [4040]byte
}

// IsBtrfs says whether a directory is on btrfs.
func IsBtrfs(dir string) bool {
	var stat unix.Statfs_t
	return unix.Statfs(dir, &stat) == nil && stat.Type == unix.BTRFS_SUPER_MAGIC
}

// IsSubvolume says whether a directory is the root of a btrfs subvolume.
func IsSubvolume(dir string) bool {
	var stat unix.Stat_t
	return IsBtrfs(dir) && unix.Lstat(dir, &stat) == nil && stat.Ino == subvolumeInode
}

// Make makes a directory, as a subvolume where the file system has them.
func Make(dir string) error {
	if !IsBtrfs(filepath.Dir(dir)) {
		return os.Mkdir(dir, 0o755)
	}
	var args volumeArgs
	copy(args.name[:len(args.name)-1], filepath.Base(dir))
	if err := request(filepath.Dir(dir), subvolCreate, unsafe.Pointer(&args)); err != nil {
		return fmt.Errorf("making btrfs subvolume %s: %w", dir, err)
	}
	return os.Chmod(dir, 0o755)
}

// Snapshot makes dir a writable snapshot of a subvolume.
func Snapshot(subvolume, dir string) error {
	source, err := os.Open(subvolume)
	if err != nil {
		return err
	}
	defer source.Close()
	args := snapshotArgs{source: int64(source.Fd())}
	copy(args.name[:len(args.name)-1], filepath.Base(dir))
	if err := request(filepath.Dir(dir), snapshotCreate, unsafe.Pointer(&args)); err != nil {
		return fmt.Errorf("snapshot of %s as %s: %w", subvolume, dir, err)
	}
	return nil
}

// Remove removes a directory that may be a subvolume, with all subvolumes inside
// it, read-only ones too. It is idempotent.
func Remove(dir string) error {
	if !IsSubvolume(dir) {
		return os.RemoveAll(dir)
	}
	err := removeSubvolume(dir)
	if !errors.Is(err, unix.ENOTEMPTY) {
		return err
	}
	nested, err := subvolumesIn(dir)
	if err != nil {
		return err
	}
	for _, path := range slices.Backward(nested) { // the innermost first
		if err := removeSubvolume(path); err != nil {
			return err
		}
	}
	return nil
}

func removeSubvolume(path string) error {
	var args volumeArgs
	copy(args.name[:len(args.name)-1], filepath.Base(path))
	if err := request(filepath.Dir(path), snapshotDelete, unsafe.Pointer(&args)); err != nil {
		return fmt.Errorf("removing btrfs subvolume %s: %w", path, err)
	}
	return nil
}

// subvolumesIn are dir and those below it, each before those inside it.
func subvolumesIn(dir string) (found []string, err error) {
	err = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.IsDir() {
			return err
		}
		var stat unix.Stat_t
		if err := unix.Lstat(path, &stat); err != nil {
			return err
		}
		if stat.Ino == subvolumeInode {
			found = append(found, path)
		}
		return nil
	})
	return found, err
}

func request(dir string, code uint, args unsafe.Pointer) error {
	parent, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer parent.Close()
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, parent.Fd(), uintptr(code), uintptr(args)); errno != 0 {
		return errno
	}
	return nil
}
