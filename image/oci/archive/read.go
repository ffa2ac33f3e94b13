//go:build linux

package archive

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image/disk"
)

// maxEntries is how many files a tree may have.
const maxEntries = 4 << 20

// Read makes the tree of a tar file of size bytes in the new directory dir. Whatever
// the file says, nothing is made or changed outside of dir: an entry lies in a
// directory, and a hard link leads to a file, that came before it in the same file;
// no symbolic link is followed. The first entry that breaks a rule is an error.
func Read(ctx context.Context, from io.Reader, size int64, dir string) error {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return fmt.Errorf("unpacking a tree: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("unpacking a tree: %w", err)
	}
	defer root.Close()
	r := reader{root: root, dirs: make(map[string]time.Time), left: size}
	archived := tar.NewReader(from)
	for {
		header, err := archived.Next()
		if err == io.EOF {
			break
		}
		if err == nil {
			err = context.Cause(ctx)
		}
		if err == nil {
			err = r.add(header, cancellable{ctx, archived})
		}
		if err != nil {
			name := ""
			if header != nil {
				name = header.Name
			}
			return fmt.Errorf("unpacking %.200q: %w", name, err)
		}
	}
	return r.finish()
}

// cancellable is a reader that ends with its context.
type cancellable struct {
	ctx context.Context
	io.Reader
}

func (c cancellable) Read(p []byte) (int, error) {
	if err := context.Cause(c.ctx); err != nil {
		return 0, err
	}
	return c.Reader.Read(p)
}

type reader struct {
	root *os.Root
	// dirs are the times of the directories that came, by their names. Nothing else is kept of
	// a header: it may be a mebibyte.
	dirs    map[string]time.Time
	entries int
	// left is how many bytes files may still have: more than the archive has itself
	// would be holes that are not there.
	left int64
}

func (r *reader) add(h *tar.Header, content io.Reader) error {
	name := strings.TrimSuffix(h.Name, "/")
	if err := r.check(name, h); err != nil {
		return err
	}
	parent, base, err := r.open(name)
	if err != nil {
		return err
	}
	defer parent.Close()
	switch h.Typeflag {
	case tar.TypeDir:
		return r.directory(name, h)
	case tar.TypeReg:
		return r.file(name, h, content)
	case tar.TypeLink:
		return r.link(name, h)
	case tar.TypeSymlink:
		if err := r.root.Symlink(h.Linkname, name); err != nil {
			return err
		}
		return own(parent, base, h)
	case tar.TypeFifo, tar.TypeChar:
		return node(parent, base, h)
	}
	return fmt.Errorf("entries of type %q are none of a tree", h.Typeflag)
}

// check looks at what every entry has.
func (r *reader) check(name string, h *tar.Header) error {
	if err := checkName(name); err != nil {
		return err
	}
	if r.entries++; r.entries > maxEntries {
		return fmt.Errorf("the tree has more than %d files", maxEntries)
	}
	if r.left -= h.Size; h.Size < 0 || r.left < 0 {
		return errors.New("its files have more bytes than the archive")
	}
	if h.Uid < 0 || h.Gid < 0 || int64(h.Uid) > 1<<32-2 || int64(h.Gid) > 1<<32-2 {
		return fmt.Errorf("%d:%d are no owners", h.Uid, h.Gid)
	}
	for record := range h.PAXRecords {
		attribute, is := strings.CutPrefix(record, xattrRecord)
		if is && !travels(attribute) {
			return fmt.Errorf("a tree may not have the extended attribute %.100q", attribute)
		}
	}
	if _, known := r.dirs[path.Dir(name)]; !known && name != "." {
		return errors.New("no directory that it could lie in came before it")
	}
	return nil
}

// open opens the directory that an entry lies in, for system calls that take one.
func (r *reader) open(name string) (parent *os.File, base string, err error) {
	parent, err = r.root.Open(path.Dir(name))
	return parent, path.Base(name), err
}

func (r *reader) directory(name string, h *tar.Header) error {
	if name != "." {
		if err := r.root.Mkdir(name, 0o700); err != nil {
			return err
		}
	}
	r.dirs[name] = h.ModTime
	file, err := r.root.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(describe(file, h), file.Close())
}

func (r *reader) file(name string, h *tar.Header, content io.Reader) error {
	file, err := r.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	err = disk.FillSparse(file, content, h.Size)
	if err == nil {
		err = describe(file, h)
	}
	if err == nil {
		err = setTime(int(file.Fd()), "", h.ModTime)
	}
	return errors.Join(err, file.Close())
}

func (r *reader) link(name string, h *tar.Header) error {
	if err := checkName(h.Linkname); err != nil {
		return err
	}
	if _, known := r.dirs[path.Dir(h.Linkname)]; !known {
		return errors.New("it leads to a file that did not come before it")
	}
	info, err := r.root.Lstat(h.Linkname)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("it leads to a %s, and not to a file", info.Mode().Type())
	}
	return r.root.Link(h.Linkname, name)
}

func node(parent *os.File, base string, h *tar.Header) error {
	mode, device := uint32(unix.S_IFIFO), 0
	if h.Typeflag == tar.TypeChar {
		if err := checkDevice(h); err != nil {
			return err
		}
		mode, device = unix.S_IFCHR, int(unix.Mkdev(uint32(h.Devmajor), uint32(h.Devminor)))
	}
	if err := unix.Mknodat(int(parent.Fd()), base, mode|0o600, device); err != nil {
		return err
	}
	if err := own(parent, base, h); err != nil {
		return err
	}
	// It was made here and is no link: nothing else changes this tree.
	return errors.Join(
		unix.Fchmodat(int(parent.Fd()), base, uint32(h.Mode)&0o7777, 0), setTime(int(parent.Fd()), base, h.ModTime))
}

// own gives what is no file and no directory its owner, and a link its time.
func own(parent *os.File, base string, h *tar.Header) error {
	if err := unix.Fchownat(int(parent.Fd()), base, h.Uid, h.Gid, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	return setTime(int(parent.Fd()), base, h.ModTime)
}

// describe gives a file or a directory its owner, then what a change of the owner takes
// away: capabilities and set-user-id bits.
func describe(file *os.File, h *tar.Header) error {
	if err := file.Chown(h.Uid, h.Gid); err != nil {
		return err
	}
	for _, record := range slices.Sorted(maps.Keys(h.PAXRecords)) {
		attribute, is := strings.CutPrefix(record, xattrRecord)
		if !is {
			continue
		}
		if err := unix.Fsetxattr(int(file.Fd()), attribute, []byte(h.PAXRecords[record]), 0); err != nil {
			return fmt.Errorf("its %s: %w", attribute, err)
		}
	}
	return unix.Fchmod(int(file.Fd()), uint32(h.Mode)&0o7777)
}

// finish gives the directories their times, now that nothing more comes into them, and
// writes all to the disk.
func (r *reader) finish() error {
	if len(r.dirs) == 0 {
		return errors.New("unpacking a tree: the archive is empty")
	}
	for name, changed := range r.dirs {
		dir, err := r.root.Open(name)
		if err != nil {
			return err
		}
		if err := errors.Join(setTime(int(dir.Fd()), "", changed), dir.Close()); err != nil {
			return fmt.Errorf("unpacking %q: %w", name, err)
		}
	}
	top, err := r.root.Open(".")
	if err != nil {
		return err
	}
	return errors.Join(unix.Syncfs(int(top.Fd())), top.Close())
}

// setTime sets the time of the last change of a name in an open directory, or of what
// is open itself.
func setTime(fd int, name string, to time.Time) error {
	at, err := unix.TimeToTimespec(to)
	if err != nil {
		return fs.ErrInvalid
	}
	flags := unix.AT_SYMLINK_NOFOLLOW
	if name == "" {
		flags = unix.AT_EMPTY_PATH
	}
	return unix.UtimesNanoAt(fd, name, []unix.Timespec{at, at}, flags)
}
