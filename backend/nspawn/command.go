//go:build linux

package nspawn

import (
	"strconv"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
)

// supervise is a script that becomes a container's supervisor. It runs in a mount
// namespace of its own, so that what it mounts ends with the last process there.
// It enters the control groups whose files are its arguments up to "--", mounts
// the root as the next four arguments say, and executes the others.
//
// /run/systemd/nspawn is a tmpfs because systemd-nspawn keeps state there, and
// leaves it when it is killed. /sys is read-only because systemd-nspawn otherwise
// waits until udev knows the network interface, which udev never does in a
// namespace of ours. SYSTEMD_NSPAWN_TMPFS_TMP=0 keeps it from mounting a tmpfs on
// /tmp, which would count as the container's memory; an image may still do so.
const supervise = `while [ "$1" != -- ]; do echo $$ >"$1"; shift; done; shift
mkdir -p /run/systemd/nspawn
mount -t tmpfs -o mode=0755 tmpfs /run/systemd/nspawn
mount --rbind /sys /sys
mount -o remount,bind,ro /sys
mount -t "$1" -o "$2" "$3" "$4"; shift 4
export SYSTEMD_NSPAWN_TMPFS_TMP=0
exec "$@"`

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
	// Mount makes the root file system whole, at its target.
	Mount mount
	// Name is the machine's and the host's name.
	Name string
	// Form is the image's.
	Form string
	// Command is run in a container that is not booted; a container without
	// one boots.
	Command []string
}

// arguments are those of unshare(1), which executes sh(1), which executes
// systemd-nspawn.
func (s commandSpec) arguments() []string {
	args := []string{"--mount", "--propagation", "private", "sh", "-euc", supervise, "mayfly"}
	args = append(append(args, s.Join...), "--")
	args = append(args, s.Mount.kind, s.Mount.options, s.Mount.source, s.Mount.target)
	return append(append(args, "systemd-nspawn"), s.nspawn()...)
}

// nspawn are the arguments of systemd-nspawn. Workers live for one job, so
// their files need not survive a crash of the host: nothing is synced.
func (s commandSpec) nspawn() []string {
	users := "no"
	if s.Form == image.ShiftedTree {
		users = strconv.Itoa(image.ShiftedBase) + ":" + strconv.Itoa(userRange)
	}
	args := []string{
		"--quiet", "--register=no", "--keep-unit", "--settings=no",
		"--machine=" + s.Name, directoryOption + s.Mount.target,
		"--network-interface=" + network.Peer, "--resolv-conf=off",
		"--timezone=off", "--link-journal=no",
		"--drop-capability=CAP_LINUX_IMMUTABLE", // with it a job could make files that we cannot remove
		"--private-users=" + users,
	}
	if s.Version >= suppressSync {
		args = append(args, "--suppress-sync=yes")
	}
	if len(s.Command) == 0 {
		return append(args, "--console=read-only", "--boot")
	}
	return append(append(args, "--console=pipe", "--as-pid2", "--"), s.Command...)
}

// userRange is how many ids a container has.
const userRange = 65536
