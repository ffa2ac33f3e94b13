//go:build linux

package sandbox

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/need"
)

// Disk is a volume that fails its test when it cannot do something.
type Disk struct {
	// Dir is where it is mounted.
	Dir string

	t      testing.TB
	volume Volume
}

// NewDisk mounts a new file system of size bytes. Its path is short, for it may hold
// sockets. It goes with the test, whatever is left on it.
func NewDisk(t testing.TB, size int64) *Disk {
	t.Helper()
	need.Root(t)
	need.Programs(t, "mkfs.ext4", "mount")
	work, err := os.MkdirTemp("", "disk-")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(work)) })
	d := &Disk{Dir: filepath.Join(work, "d"), t: t}
	require.NoError(t, os.Mkdir(d.Dir, 0o755))
	d.volume, err = NewVolume(filepath.Join(work, "ext4"), d.Dir, size)
	if errors.Is(err, errMount) {
		need.Other(t, "cannot mount a loop file: "+err.Error())
	}
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, d.volume.Unmount()) })
	return d
}

// Fill leaves so many bytes, about. With 0 not one block is left.
func (d *Disk) Fill(leave int64) {
	d.t.Helper()
	require.NoError(d.t, d.volume.Fill(leave))
}

// FillFiles leaves room for no further file or directory.
func (d *Disk) FillFiles() {
	d.t.Helper()
	require.NoError(d.t, d.volume.FillFiles())
}

// Empty gives the room back that was taken.
func (d *Disk) Empty() {
	d.t.Helper()
	require.NoError(d.t, d.volume.Empty())
}

// Free is how many bytes there is room for.
func (d *Disk) Free() int64 {
	d.t.Helper()
	free, err := d.volume.Free()
	require.NoError(d.t, err)
	return free
}
