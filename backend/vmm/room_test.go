//go:build linux

package vmm

import (
	"io/fs"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/vmm/kvm"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image/disk"
)

// TestALargeGuestHasRoomForItsPageTables reckons with 8 bytes for each page of 4 KiB,
// twice: the program's own, and those by which the processor finds the guest's.
func TestALargeGuestHasRoomForItsPageTables(t *testing.T) {
	for _, memory := range []int64{1 << 30, 512 << 30} {
		tables := 2 * 8 * (memory >> 12)
		spec := Spec{Accel: kvm.KVM, CPUs: 1, Memory: memory, Disk: "/nowhere/disk"}
		require.GreaterOrEqual(t, spec.limits().Memory, memory+tables+ownMemory)
		require.GreaterOrEqual(t, new(Backend).Cost(backend.Size{Memory: memory}).Memory, memory+tables+overhead)
	}
}

// TestAFileHasRoomForADiskOrAMemory adds what QEMU writes besides: 8 bytes for each page
// of a memory, and tables of a disk.
func TestAFileHasRoomForADiskOrAMemory(t *testing.T) {
	golden := image.Golden{Dir: t.TempDir()}
	require.NoError(t, disk.Create(golden.Disk(), 20<<30))
	spec := Spec{Memory: 1 << 30, Disk: filepath.Join(t.TempDir(), diskFile), Backing: golden.Dir}
	require.NoError(t, disk.Create(spec.Disk, 1<<20), "an overlay is small at first")
	largest, err := spec.largestFile()
	require.NoError(t, err)
	require.Greater(t, largest, int64(20<<30)/1000*1001)
	require.Less(t, largest, int64(21<<30))

	spec.Memory = 64 << 30
	largest, err = spec.largestFile()
	require.NoError(t, err)
	require.Greater(t, largest, int64(64<<30)+8*(64<<30)>>12)

	spec.Memory, spec.Backing = 1<<20, ""
	largest, err = spec.largestFile()
	require.NoError(t, err)
	require.Less(t, largest, int64(1<<30), "without a backing file its own is whole")
	spec.Disk += "-none"
	_, err = spec.largestFile()
	require.ErrorIs(t, err, fs.ErrNotExist)
}
