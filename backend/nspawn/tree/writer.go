//go:build linux

package tree

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"
)

// Writer puts files into a root file system from outside. It follows no link out
// of it.
type Writer struct {
	root *os.Root
	like *os.Root
	base int
}

// NewWriter writes into the directory dir, which is a copy of the tree like or the
// upper layer of an overlay on it. Directories that are missing in dir get owner
// and mode of those in like. Owners are counted from base.
func NewWriter(dir, like string, base int) (*Writer, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	model, err := os.OpenRoot(like)
	if err != nil {
		return nil, errors.Join(err, root.Close())
	}
	return &Writer{root, model, base}, nil
}

// Close closes the two directories.
func (w *Writer) Close() error { return errors.Join(w.root.Close(), w.like.Close()) }

// File is a file to write; its name is relative to the root. Owner and group
// are those that the container sees.
type File struct {
	Name, Content string
	Mode          fs.FileMode
	UID, GID      int
}

// Write replaces a file, so that no older mode, content or link of it stays.
// Directories that are in neither tree get the file's owner, and mode 0700 if only
// the owner may use the file.
func (w *Writer) Write(f File) error {
	if err := w.directories(path.Dir(f.Name), f); err != nil {
		return fmt.Errorf("writing %s: %w", f.Name, err)
	}
	if err := w.root.Remove(f.Name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("writing %s: %w", f.Name, err)
	}
	file, err := w.root.OpenFile(f.Name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, f.Mode)
	if err != nil {
		return fmt.Errorf("writing %s: %w", f.Name, err)
	}
	_, err = file.WriteString(f.Content)
	err = errors.Join(err, file.Chown(w.base+f.UID, w.base+f.GID), file.Chmod(f.Mode), file.Close())
	if err != nil {
		return fmt.Errorf("writing %s: %w", f.Name, err)
	}
	return nil
}

// directories makes the missing ones of a path, from the top.
func (w *Writer) directories(name string, f File) error {
	var dir string
	for part := range strings.SplitSeq(name, "/") {
		dir = path.Join(dir, part)
		info, err := w.like.Lstat(dir)
		if err == nil && !info.IsDir() {
			return fmt.Errorf("/%s is not a directory in the image, but a link or a file: keep it a directory", dir)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := w.directory(dir, info, f); err != nil {
			return err
		}
	}
	return nil
}

func (w *Writer) directory(dir string, model fs.FileInfo, f File) error {
	err := w.root.Mkdir(dir, 0o700)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	mode, uid, gid := fs.FileMode(0o755), w.base+f.UID, w.base+f.GID
	if f.Mode&0o077 == 0 {
		mode = 0o700
	}
	if model != nil {
		owner := model.Sys().(*syscall.Stat_t)
		mode, uid, gid = model.Mode(), int(owner.Uid), int(owner.Gid)
	}
	return errors.Join(w.root.Chown(dir, uid, gid), w.root.Chmod(dir, mode))
}

// Link makes a symbolic link where there is nothing yet.
func (w *Writer) Link(target, name string) error {
	if err := w.directories(path.Dir(name), File{Mode: 0o755}); err != nil {
		return fmt.Errorf("linking %s: %w", name, err)
	}
	if err := w.root.Symlink(target, name); err != nil {
		return fmt.Errorf("linking %s: %w", name, err)
	}
	return w.root.Lchown(name, w.base, w.base)
}

// IsLink says whether a name is a symbolic link in the tree.
func (w *Writer) IsLink(name string) bool {
	info, err := w.like.Lstat(name)
	return err == nil && info.Mode()&fs.ModeSymlink != 0
}

// Read reads a file of the tree.
func (w *Writer) Read(name string) ([]byte, error) { return w.like.ReadFile(name) }
