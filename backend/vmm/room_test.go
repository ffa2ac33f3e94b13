//go:build linux

package vmm

import (
	"testing"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/vmm/kvm"
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
