//go:build linux

package vmm

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/cgroup"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/vmm/kvm"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/vmm/pci"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
)

// What a program may take beside its guest's size.
const (
	// ownMemory is for the program itself, its devices and its stacks.
	ownMemory = 256 << 20
	// emulation is for the guest's translated code, and for the tables of addresses that
	// each of its processors fills, which have no bound of their own.
	emulation = 1 << 30
	// pageTables is the part of the guest's memory that its pages are found by: 8
	// bytes for each of 4 KiB, for the program and for the guest.
	pageTables = 256
	// ownThreads is for queues, disks and timers: QEMU alone has up to 64 for a
	// disk.
	ownThreads = 512
	// ownLocked is for the memory of devices that are the machine's.
	ownLocked = 1 << 30
	// ownCPUs is for what is not the guest's processors.
	ownCPUs = 1
)

// limits are those of a machine's control group. They are no tighter than what
// the program may need: it must never be killed for doing its work. A disk that
// lies in memory counts as the program's memory, so that there is no limit then.
func (s Spec) limits() cgroup.Limits {
	l := cgroup.Limits{
		Memory: s.Memory + s.Memory/pageTables + ownMemory, CPUs: s.CPUs + ownCPUs, PIDs: s.CPUs + ownThreads,
	}
	if s.Accel == kvm.TCG {
		l.Memory += emulation
	}
	if inMemory(s.Disk) {
		l.Memory = 0
	}
	return l
}

// What a file may have beside the disk or the memory that is in it: tables of a qcow2
// file, which are less than a thousandth, headers of a saved machine's pages, which are
// a five-hundredth, and its devices.
const (
	besides    = 64
	otherState = 256 << 20
)

// largestFile bounds each file that a machine's program writes to, in bytes. Without
// that a guest which has taken it over could fill the host's disk with one. It is no
// tighter than what the program may need, as with limits.
func (s Spec) largestFile() (int64, error) {
	whole := s.Disk
	if s.Backing != "" { // the file of an overlay does not have the size of its disk
		whole = image.Golden{Dir: s.Backing}.Disk()
	}
	info, err := os.Stat(whole)
	if err != nil {
		return 0, err
	}
	largest := max(info.Size(), s.Memory)
	return largest + largest/besides + otherState, nil
}

func inMemory(path string) bool {
	var system unix.Statfs_t
	err := unix.Statfs(filepath.Dir(path), &system)
	return err == nil && (system.Type == unix.TMPFS_MAGIC || system.Type == unix.RAMFS_MAGIC)
}

// lockedMemory is how many bytes a program must be able to keep in memory: a device
// that is the machine's reaches all of the guest's memory at any time, and the program
// maps the device's own beside it.
func (s Spec) lockedMemory() int64 {
	if len(s.PCI) == 0 {
		return 0
	}
	return s.Memory + ownLocked
}

// devices are the device nodes that a machine needs beside those that every
// program has.
func (s Spec) devices() (paths []string, err error) {
	if s.Network {
		paths = append(paths, "/dev/net/tun")
	}
	if s.Layout.VHost {
		paths = append(paths, vhostDevice)
	}
	if s.Accel == kvm.KVM {
		paths = append(paths, "/dev/kvm")
	}
	given, err := pci.Host{Root: "/"}.Nodes(s.PCI)
	return append(paths, given...), err
}

// owner is the name by which the book of users knows a worker.
func (b *Backend) owner(id string) string { return b.options.Pool + "/" + id }

// reclaim ends what is left in a machine's control group once the machine has
// ended, and makes its files ours, so that nobody can change them any more.
func (b *Backend) reclaim(ctx context.Context, id string, paths ...string) error {
	if err := b.units.End(ctx, id); err != nil {
		return err
	}
	var failed []error
	for _, path := range paths {
		failed = append(failed, handOver(path, 0))
	}
	return errors.Join(failed...)
}

// vacate removes a machine's control group and gives its user back.
func (b *Backend) vacate(ctx context.Context, id string) error {
	if err := b.units.End(ctx, id); err != nil {
		return err
	}
	return b.users.Give(b.owner(id))
}

// tenants are the workers that have a control group or a user.
func (b *Backend) tenants() ([]string, error) {
	found := map[string]bool{}
	grouped, err := b.units.Find()
	if err != nil {
		return nil, err
	}
	for _, id := range grouped {
		found[id] = true
	}
	owners, err := b.users.Owners()
	if err != nil {
		return nil, err
	}
	for _, owner := range owners {
		if id, ours := strings.CutPrefix(owner, b.owner("")); ours {
			found[id] = true
		}
	}
	return slices.Sorted(maps.Keys(found)), nil
}
