//go:build linux

package disk

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

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
