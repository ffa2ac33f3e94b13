//go:build linux

package vmm

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/user"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/vmm/kvm"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/need"
)

func TestWhatAMachineGetsToSee(t *testing.T) {
	dir := t.TempDir()
	spec := Spec{
		Kernel: "/images/d/kernel", Initrd: "/images/d/initrd", Backing: "/images/d",
		Disk: filepath.Join(dir, "disk"), Console: filepath.Join(dir, "console.log"),
		MemoryFile: "/templates/k/memory", MemoryUse: Forked,
	}
	own := []string{spec.Disk, spec.Console}
	shared := []string{"/images/d/kernel", "/images/d/initrd", "/images/d/disk.raw"}
	require.Equal(t, Files{Own: own, Read: append(shared, spec.MemoryFile)}, spec.Files(dir, true))
	require.Equal(t, Files{Own: own, Read: shared, Opened: []string{spec.MemoryFile}}, spec.Files(dir, false))

	base := filepath.Join(dir, baseFile)
	require.NoError(t, os.WriteFile(base, nil, 0o600))
	spec.MemoryFile = filepath.Join(dir, memoryFile)
	require.Equal(t, Files{Own: append(own, spec.MemoryFile), Read: append(shared, base)}, spec.Files(dir, false),
		"a copy of the memory is the fork's own")
	spec.MemoryFile, spec.MemoryUse = "/templates/k/memory", Written
	require.Contains(t, spec.Files(dir, true).Own, spec.MemoryFile, "a template writes its memory")
}

// TestFilesChangeHands hands over what is a machine's, twice, and shares what is
// not.
func TestFilesChangeHands(t *testing.T) {
	need.Root(t)
	dir := t.TempDir()
	state, disk, golden := filepath.Join(dir, "state"), filepath.Join(dir, "disk"), filepath.Join(dir, "golden")
	saved := filepath.Join(state, "saved")
	require.NoError(t, os.Mkdir(state, 0o700))
	require.NoError(t, os.WriteFile(saved, nil, 0o600))
	require.NoError(t, os.WriteFile(golden, nil, 0o400))
	require.NoError(t, os.Chown(golden, user.First+7, 0))
	for _, owner := range []int{user.First, user.First + 1} {
		require.NoError(t, Files{Own: []string{disk, state}, Read: []string{golden}}.handTo(owner))
		for _, path := range []string{disk, state, saved} {
			require.EqualValues(t, owner, owned(t, path).Uid, path)
			require.EqualValues(t, owner, owned(t, path).Gid, path)
			require.Zero(t, owned(t, path).Mode&0o077, path)
		}
		require.Zero(t, owned(t, golden).Uid)
		require.EqualValues(t, 0o444, owned(t, golden).Mode&0o777)
	}
	require.NoError(t, Files{Opened: []string{golden}}.handTo(user.First))
	require.EqualValues(t, 0o666, owned(t, golden).Mode&0o777)
}

// TestALinkThatAProgramLeftIsRefused has one where root would follow it.
func TestALinkThatAProgramLeftIsRefused(t *testing.T) {
	need.Root(t)
	dir := t.TempDir()
	victim, state := filepath.Join(dir, "victim"), filepath.Join(dir, "state")
	require.NoError(t, os.WriteFile(victim, nil, 0o600))
	require.NoError(t, os.Mkdir(state, 0o700))
	require.NoError(t, os.Symlink(victim, filepath.Join(state, "config.json")))
	require.ErrorContains(t, handOver(state, 0), "neither a file nor a directory")
	require.ErrorContains(t, handOver(filepath.Join(state, "config.json"), user.First), "neither a file nor a directory")
	require.Zero(t, owned(t, victim).Uid)
	require.NoError(t, os.Remove(filepath.Join(state, "config.json")))
	require.NoError(t, syscall.Mkfifo(filepath.Join(state, "pipe"), 0o600))
	require.ErrorContains(t, handOver(state, 0), "neither a file nor a directory")
}

func owned(t *testing.T, path string) *syscall.Stat_t {
	t.Helper()
	info, err := os.Lstat(path)
	require.NoError(t, err)
	return info.Sys().(*syscall.Stat_t)
}

func TestLimitsLeaveTheProgramRoom(t *testing.T) {
	spec := Spec{Accel: kvm.KVM, CPUs: 2, Memory: 2 << 30, Disk: "/proc/disk", Network: true}
	require.EqualValues(t, 2<<30+8<<20+256<<20, spec.limits().Memory)
	require.Equal(t, 3, spec.limits().CPUs)
	require.Equal(t, 514, spec.limits().PIDs)
	require.Equal(t, []string{"/dev/net/tun", "/dev/kvm"}, devices(t, spec))
	spec.Layout.VHost = true
	require.Equal(t, []string{"/dev/net/tun", "/dev/vhost-net", "/dev/kvm"}, devices(t, spec))
	require.Zero(t, spec.lockedMemory())
	spec.Accel, spec.Layout.VHost = kvm.TCG, false
	require.EqualValues(t, 3<<30+8<<20+256<<20, spec.limits().Memory)
	require.Equal(t, []string{"/dev/net/tun"}, devices(t, spec))
	spec.Disk = "/dev/shm/disk"
	if inMemory(spec.Disk) { // as on most hosts
		require.Zero(t, spec.limits().Memory)
	}
}

func devices(t *testing.T, spec Spec) []string {
	t.Helper()
	paths, err := spec.devices()
	require.NoError(t, err)
	return paths
}
