//go:build linux

package sandbox

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// Volume is a small ext4 file system of its own, on a loop device. NewDisk is one for a
// test.
type Volume struct {
	// Dir is where it is mounted.
	Dir string

	ballast string
}

// NewVolume mounts a new file system of size bytes in a directory, in the sandbox or
// outside. File is a file for it, which takes no more room than is written.
func NewVolume(file, dir string, size int64) (Volume, error) {
	// What is in lost+found belongs to the file system.
	v := Volume{Dir: dir, ballast: filepath.Join(dir, "lost+found", "ballast")}
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		return v, err
	}
	if err := os.Truncate(file, size); err != nil {
		return v, err
	}
	if out, err := exec.Command("mkfs.ext4", "-q", "-m", "0", file).CombinedOutput(); err != nil {
		return v, fmt.Errorf("making a file system in %s: %w: %s", file, err, out)
	}
	if out, err := exec.Command("mount", "-o", "loop", file, dir).CombinedOutput(); err != nil {
		return v, fmt.Errorf("%w %s: %w: %s", errMount, file, err, out)
	}
	return v, nil
}

// errMount is for those whose machine has no loop devices.
var errMount = errors.New("mounting")

// Unmount takes it away, whatever is left on it and whoever uses that.
func (v Volume) Unmount() error { return unix.Unmount(v.Dir, unix.MNT_DETACH) }

// Fill leaves so many bytes, about. With 0 not one block is left.
func (v Volume) Fill(leave int64) error {
	file, err := os.OpenFile(v.ballast, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer file.Close()
	if err := unix.Syncfs(int(file.Fd())); err != nil { // what was written takes its blocks now
		return fmt.Errorf("syncing %s: %w", v.Dir, err)
	}
	free, err := v.Free()
	for step := free - leave; err == nil && step >= 1<<12; {
		var at int64
		if at, err = file.Seek(0, io.SeekEnd); err != nil {
			break
		}
		switch tried := unix.Fallocate(int(file.Fd()), 0, at, step); tried {
		case nil:
			free, err = v.Free()
			step = min(step, free-leave)
		case unix.ENOSPC: // what the file system keeps of its extents takes blocks too
			step /= 2
		case unix.EINTR:
		default:
			err = tried
		}
	}
	if err != nil {
		return fmt.Errorf("filling %s: %w", v.Dir, err)
	}
	return nil
}

// Empty gives the room back that Fill and FillFiles took.
func (v Volume) Empty() error { return os.RemoveAll(v.ballast) }

// Free is how many bytes there is room for.
func (v Volume) Free() (int64, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(v.Dir, &s); err != nil {
		return 0, fmt.Errorf("looking for room in %s: %w", v.Dir, err)
	}
	return int64(s.Bavail) * int64(s.Bsize), nil
}

// FillFiles leaves room for no further file or directory.
func (v Volume) FillFiles() error {
	if err := os.MkdirAll(v.ballast, 0o700); err != nil {
		return err
	}
	for n := 0; ; n++ {
		err := os.WriteFile(filepath.Join(v.ballast, strconv.Itoa(n)), nil, 0o600)
		if errors.Is(err, unix.ENOSPC) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
