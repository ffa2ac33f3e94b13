//go:build linux

package nspawn

import (
	"strconv"
	"strings"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
)

// supervise is a script that becomes a container's supervisor. It runs in a mount
// namespace of its own, so that what it mounts ends with the last process there.
// It enters the control groups whose files are its arguments up to "--", mounts
// what mountAll says, and executes the others.
//
// /run/systemd/nspawn is a tmpfs because systemd-nspawn keeps state there, and
// leaves it when it is killed. /sys is read-only because systemd-nspawn otherwise
// waits until udev knows the network interface, which udev never does in a
// namespace of ours. SYSTEMD_NSPAWN_TMPFS_TMP=0 keeps it from mounting a tmpfs on
// /tmp, which would count as the container's memory; an image may still do so.
const supervise = `while [ "$1" != -- ]; do echo $$ >"$1"; shift; done; shift
[ -d /run/systemd/nspawn ] || mkdir -p /run/systemd/nspawn
mount -t tmpfs -o mode=0755 tmpfs /run/systemd/nspawn
mount --rbind -o ro /sys /sys
` + mountAll + `
export SYSTEMD_NSPAWN_TMPFS_TMP=0
exec "$@"`

// mountAll is a script that makes the mounts of its arguments up to "--", and takes
// them away from its arguments.
const mountAll = `while [ "$1" != -- ]; do mount -t "$1" -o "$2" "$3" "$4"; shift 4; done; shift`

// directoryOption is followed by the path of the container's root.
const directoryOption = "--directory="

// suppressSync is the first version of systemd-nspawn with --suppress-sync.
const suppressSync = 250

// commandSpec is all that decides a container's command line.
type commandSpec struct {
	// Version is that of systemd-nspawn.
	Version int
	// Join are the control groups' files to write the supervisor's pid to.
	Join []string
	// Mounts make the root file system whole, at the target of the last.
	Mounts []mount
	// Name is the machine's and the host's name.
	Name string
	// Memory is that of the container, in bytes.
	Memory int64
	// Form is the image's.
	Form string
	// KVM is the path of the device node that is the container's /dev/kvm; empty for none.
	KVM string
	// Command is run in a container that is not booted; a container without
	// one boots.
	Command []string
}

// arguments are those of unshare(1), which executes sh(1), which executes
// systemd-nspawn.
func (s commandSpec) arguments() []string {
	args := []string{"--mount", "--propagation", "private", "sh", "-euc", supervise, "mayfly"}
	args = append(append(args, s.Join...), "--")
	args = append(append(args, mountArguments(s.Mounts)...), "systemd-nspawn")
	return append(args, s.nspawn()...)
}

// mountArguments are those of mountAll.
func mountArguments(mounts []mount) (args []string) {
	for _, m := range mounts {
		args = append(args, m.kind, m.options, m.source, m.target)
	}
	return append(args, "--")
}

// nspawn are the arguments of systemd-nspawn. Workers live for one job, so
// their files need not survive a crash of the host: nothing is synced.
func (s commandSpec) nspawn() []string {
	users := "no"
	if s.Form == image.ShiftedTree {
		users = strconv.Itoa(image.ShiftedBase) + ":" + strconv.Itoa(ids)
	}
	args := []string{
		"--quiet", "--register=no", "--keep-unit", "--settings=no",
		"--machine=" + s.Name, directoryOption + s.Mounts[len(s.Mounts)-1].target,
		"--network-interface=" + network.Peer, "--resolv-conf=off",
		"--timezone=off", "--link-journal=no",
		"--drop-capability=CAP_LINUX_IMMUTABLE", // with it a job could make files that we cannot remove
		"--private-users=" + users,
	}
	if s.Version >= suppressSync {
		args = append(args, "--suppress-sync=yes")
	}
	if s.KVM != "" {
		args = append(args, "--bind="+strings.ReplaceAll(s.KVM, ":", `\:`)+":"+kvmDevice)
	}
	if len(s.Command) == 0 {
		return append(args, sharedMemory(s.Memory), "--console=read-only", "--boot")
	}
	return append(append(args, "--console=pipe", "--as-pid2", "--"), s.Command...)
}

// sharedMemory mounts /dev/shm with half of the container's memory, as a machine of its
// own would have. What lies there is memory of the container: systemd-nspawn takes a
// tenth of the host's for the size, and who filled that would be killed in place of
// getting an error.
func sharedMemory(memory int64) string {
	return "--tmpfs=/dev/shm:mode=1777,size=" + strconv.FormatInt(memory/2, 10)
}
