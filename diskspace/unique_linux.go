package diskspace

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Unique is Taken without the blocks that files share with others, by reflinks, on file
// systems that tell. What shares its blocks within path counts as shared too.
func Unique(path string) (int64, error) {
	var bytes int64
	err := filepath.WalkDir(path, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		stat := info.Sys().(*syscall.Stat_t)
		if !entry.IsDir() && stat.Nlink > 1 {
			return nil
		}
		bytes += stat.Blocks * 512
		if !entry.Type().IsRegular() || stat.Blocks == 0 {
			return nil
		}
		shared, err := sharedBytes(path)
		bytes -= min(shared, stat.Blocks*512)
		return err
	})
	return bytes, err
}

// extents is struct fiemap of linux/fiemap.h, with room for some extents.
type extents struct {
	start, length uint64
	flags, mapped uint32
	count, _      uint32
	list          [128]struct {
		logical, physical, length uint64
		_                         [2]uint64
		flags                     uint32
		_                         [3]uint32
	}
}

const (
	fiemap       = 0xc020660b // FS_IOC_FIEMAP
	fiemapSync   = 0x1
	extentLast   = 0x1
	extentShared = 0x2000
)

// sharedBytes are those of a file's extents that another file has too.
func sharedBytes(path string) (bytes int64, err error) {
	file, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer file.Close()
	for start := uint64(0); ; {
		m := extents{start: start, length: ^uint64(0) - start, flags: fiemapSync}
		m.count = uint32(len(m.list))
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, file.Fd(), fiemap, uintptr(unsafe.Pointer(&m)))
		if errors.Is(errno, unix.EOPNOTSUPP) || errors.Is(errno, unix.ENOTTY) {
			return 0, nil
		}
		if errno != 0 {
			return 0, &fs.PathError{Op: "fiemap", Path: path, Err: errno}
		}
		for _, extent := range m.list[:m.mapped] {
			if extent.flags&extentShared != 0 {
				bytes += int64(extent.length)
			}
			start = extent.logical + extent.length
			if extent.flags&extentLast != 0 {
				return bytes, nil
			}
		}
		if m.mapped == 0 {
			return bytes, nil
		}
	}
}
