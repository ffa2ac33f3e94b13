//go:build linux

package archive

import (
	"archive/tar"
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// xattrRecord begins the name of what a tar file says of an extended attribute.
const xattrRecord = "SCHILY.xattr."

// Write writes the tree in dir as a tar file: names in their order, numbers for owners,
// times of last changes, hard links, devices, and those extended attributes that travel
// (see travels). Sockets, which nobody listens at, are left out.
func Write(ctx context.Context, dir string, to io.Writer) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("archiving a tree: %w", err)
	}
	defer root.Close()
	w := writer{root: root, to: tar.NewWriter(to), links: make(map[inode]string)}
	err = fs.WalkDir(root.FS(), ".", func(name string, entry fs.DirEntry, err error) error {
		if err == nil {
			err = context.Cause(ctx)
		}
		if err == nil {
			err = w.add(name, entry)
		}
		if err != nil {
			return fmt.Errorf("archiving /%s: %w", name, err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return w.to.Close()
}

// Size is about how many bytes Write writes for a tree; the same for the same tree.
func Size(dir string) (bytes int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		info, err := entry.Info()
		if err == nil {
			bytes += info.Size()
		}
		return err
	})
	return bytes, err
}

type inode struct{ device, number uint64 }

type writer struct {
	root *os.Root
	to   *tar.Writer
	// links are the names of the files that have more than one.
	links map[inode]string
}

func (w *writer) add(name string, entry fs.DirEntry) error {
	info, err := entry.Info()
	if err != nil {
		return err
	}
	if info.Mode().Type() == fs.ModeSocket {
		return nil
	}
	header, err := w.header(name, info)
	if err != nil {
		return err
	}
	if err := w.to.WriteHeader(header); err != nil || header.Typeflag != tar.TypeReg {
		return err
	}
	file, err := w.root.Open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = io.CopyN(w.to, file, header.Size)
	return err
}

func (w *writer) header(name string, info fs.FileInfo) (*tar.Header, error) {
	stat := info.Sys().(*syscall.Stat_t)
	h := &tar.Header{
		Format: tar.FormatPAX, Name: name, Mode: int64(stat.Mode & 0o7777), ModTime: info.ModTime(),
		Uid: int(stat.Uid), Gid: int(stat.Gid), PAXRecords: map[string]string{},
	}
	switch info.Mode().Type() {
	case 0:
		return h, w.regular(h, info.Size(), stat)
	case fs.ModeDir:
		h.Typeflag, h.Name = tar.TypeDir, name+"/"
		return h, w.attributes(name, h)
	case fs.ModeSymlink:
		h.Typeflag = tar.TypeSymlink
		target, err := w.root.Readlink(name)
		h.Linkname = target
		return h, err
	case fs.ModeNamedPipe:
		h.Typeflag = tar.TypeFifo
		return h, nil
	case fs.ModeDevice | fs.ModeCharDevice:
		h.Typeflag = tar.TypeChar
		h.Devmajor, h.Devminor = int64(unix.Major(stat.Rdev)), int64(unix.Minor(stat.Rdev))
		return h, checkDevice(h)
	}
	return nil, fmt.Errorf("a %s is nothing that an image's tree may have: have a step remove it", info.Mode().Type())
}

func (w *writer) regular(h *tar.Header, size int64, stat *syscall.Stat_t) error {
	if stat.Nlink > 1 {
		file := inode{stat.Dev, stat.Ino}
		if first, found := w.links[file]; found {
			h.Typeflag, h.Linkname = tar.TypeLink, first
			return nil
		}
		w.links[file] = h.Name
	}
	h.Typeflag, h.Size = tar.TypeReg, size
	return w.attributes(h.Name, h)
}

// attributes adds the extended attributes of a file or a directory.
func (w *writer) attributes(name string, h *tar.Header) error {
	file, err := w.root.Open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	names, err := readAttribute(func(into []byte) (int, error) { return unix.Flistxattr(int(file.Fd()), into) })
	if err != nil {
		return err
	}
	for attribute := range strings.SplitSeq(string(names), "\x00") {
		if !travels(attribute) {
			continue
		}
		value, err := readAttribute(func(into []byte) (int, error) {
			return unix.Fgetxattr(int(file.Fd()), attribute, into)
		})
		if err != nil {
			return fmt.Errorf("its %s: %w", attribute, err)
		}
		h.PAXRecords[xattrRecord+attribute] = string(value)
	}
	return nil
}

// readAttribute reads what the kernel returns whole only into enough room.
func readAttribute(read func(into []byte) (int, error)) ([]byte, error) {
	into := make([]byte, maxAttribute)
	n, err := read(into)
	if err != nil {
		return nil, err
	}
	return into[:n], nil
}
