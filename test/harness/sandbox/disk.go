//go:build linux

package sandbox

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/need"
)

// Disk is a small file system of its own, on a loop device.
type Disk struct {
	// Dir is where it is mounted.
	Dir string

	t       testing.TB
	ballast string
}

// NewDisk mounts a new ext4 file system of size bytes, in the sandbox or outside.
// Its path is short, for it may hold sockets. It goes with the test, whatever is
// left on it.
func NewDisk(t testing.TB, size int64) *Disk {
	t.Helper()
	need.Root(t)
	need.Programs(t, "mkfs.ext4", "mount")
	work, err := os.MkdirTemp("", "disk-")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(work)) })
	d := &Disk{Dir: filepath.Join(work, "d"), t: t}
	d.ballast = filepath.Join(d.Dir, "ballast")
	require.NoError(t, os.Mkdir(d.Dir, 0o755))
	file := filepath.Join(work, "ext4")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	require.NoError(t, os.Truncate(file, size))
	out, err := exec.Command("mkfs.ext4", "-q", "-m", "0", file).CombinedOutput()
	require.NoError(t, err, "%s", out)
	if out, err := exec.Command("mount", "-o", "loop", file, d.Dir).CombinedOutput(); err != nil {
		need.Other(t, "cannot mount a loop file: "+string(out))
	}
	t.Cleanup(func() { require.NoError(t, unix.Unmount(d.Dir, unix.MNT_DETACH)) })
	return d
}

// Fill leaves so many bytes, about. With 0 not one block is left.
func (d *Disk) Fill(leave int64) {
	d.t.Helper()
	file, err := os.OpenFile(d.ballast, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	require.NoError(d.t, err)
	defer file.Close()
	require.NoError(d.t, unix.Syncfs(int(file.Fd()))) // what was written takes its blocks now
	for step := d.Free() - leave; step >= 1<<12; {
		at, err := file.Seek(0, io.SeekEnd)
		require.NoError(d.t, err)
		switch err := unix.Fallocate(int(file.Fd()), 0, at, step); err {
		case nil:
			step = min(step, d.Free()-leave)
		case unix.ENOSPC: // what the file system keeps of its extents takes blocks too
			step /= 2
		default:
			require.NoError(d.t, err)
		}
	}
}

// Empty gives the room back that Fill took.
func (d *Disk) Empty() {
	d.t.Helper()
	require.NoError(d.t, os.RemoveAll(d.ballast))
}

// Free is how many bytes there is room for.
func (d *Disk) Free() int64 {
	d.t.Helper()
	var s unix.Statfs_t
	require.NoError(d.t, unix.Statfs(d.Dir, &s))
	return int64(s.Bavail) * int64(s.Bsize)
}

// FillFiles leaves room for no further file or directory.
func (d *Disk) FillFiles() {
	d.t.Helper()
	require.NoError(d.t, os.MkdirAll(d.ballast, 0o700))
	for n := 0; ; n++ {
		err := os.WriteFile(filepath.Join(d.ballast, strconv.Itoa(n)), nil, 0o600)
		if errors.Is(err, unix.ENOSPC) {
			return
		}
		require.NoError(d.t, err)
	}
}
