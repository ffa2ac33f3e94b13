//go:build linux

package disk

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// Method is how a clone was made, and so what its format is.
type Method int

const (
	// Reflink shares the blocks of a raw file, in the file system.
	Reflink Method = iota + 1
	// Overlay is a qcow2 file that reads through to its source, which must
	// stay where it is and as it is.
	Overlay
)

// String names the method as logs do.
func (m Method) String() string {
	switch m {
	case Reflink:
		return "reflink"
	case Overlay:
		return "overlay"
	}
	return fmt.Sprintf("Method(%d)", int(m))
}

// Format is the format of a clone made by the method, as QEMU names it.
func (m Method) Format() string {
	if m == Overlay {
		return "qcow2"
	}
	return "raw"
}

// errNoReflink says that the file system or the kernel cannot share blocks
// between these files; another error says that the request was wrong.
var errNoReflink = errors.New("no reflink here")

// Clone makes dst, which must not exist, a writable copy of the raw file src
// that shares what is not written. Whether the file system can reflink is found
// out by trying, since mount options, the version of the kernel and the paths of
// both files decide it together.
func Clone(ctx context.Context, src, dst string) (Method, error) {
	err := reflink(src, dst)
	if err == nil {
		return Reflink, nil
	}
	if !errors.Is(err, errNoReflink) {
		return 0, fmt.Errorf("cloning %s to %s: %w", src, dst, err)
	}
	if err := Stack(ctx, src, dst); err != nil {
		return 0, err
	}
	return Overlay, nil
}

// Stack makes dst, which must not exist, a qcow2 overlay on the raw file src.
func Stack(ctx context.Context, src, dst string) error {
	backing, err := filepath.Abs(src) // QEMU would take a relative path from the directory of dst
	if err != nil {
		return fmt.Errorf("overlaying %s: %w", src, err)
	}
	info, err := os.Stat(src)
	if err != nil {
		return fmt.Errorf("overlaying %s: %w", src, err)
	}
	return stack(ctx, backing, "raw", info.Size(), dst)
}

// StackBeside is Stack on the file called name in dst's directory, which holds a disk
// of size bytes in that format. A copy of such an overlay in another directory reads
// through to the file of that name there, and copying is quicker than making an
// overlay.
func StackBeside(ctx context.Context, name, format string, size int64, dst string) error {
	return stack(ctx, name, format, size, dst)
}

// stack makes an overlay without a look at what it lies on: a guest, or a program that
// a guest has taken over, may have written that, and a header of qcow2 can have QEMU
// open any file or address. So the caller says the format, which QEMU would guess
// otherwise, and the size, which it would ask for.
func stack(ctx context.Context, backing, format string, size int64, dst string) error {
	target, err := filepath.Abs(dst) // QEMU takes what comes before a colon for a protocol
	if err != nil {
		return fmt.Errorf("overlaying %s: %w", backing, err)
	}
	if err := reserve(target); err != nil {
		return fmt.Errorf("overlaying %s: %w", backing, err)
	}
	_, err = run(ctx, "qemu-img", "create", "-q", "-u", "-f", "qcow2", "-b", backing, "-F", format,
		target, strconv.FormatInt(size, 10))
	if err != nil {
		return errors.Join(fmt.Errorf("overlaying %s with %s: %w", backing, dst, err), os.Remove(target))
	}
	return nil
}

// unsupported are the errors by which file systems and kernels say that they
// cannot share blocks between two files.
var unsupported = []error{unix.EOPNOTSUPP, unix.EXDEV, unix.EINVAL, unix.ENOTTY, unix.ENOSYS}

// reflink makes dst share the blocks of src, or returns errNoReflink and
// leaves nothing behind.
func reflink(src, dst string) error {
	in, err := os.Open(src)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(dst, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	err = unix.IoctlFileClone(int(out.Fd()), int(in.Fd()))
	if err == nil {
		return out.Close()
	}
	if slices.ContainsFunc(unsupported, func(e error) bool { return errors.Is(err, e) }) {
		err = fmt.Errorf("%w: %w", errNoReflink, err)
	}
	return errors.Join(err, out.Close(), os.Remove(dst))
}
