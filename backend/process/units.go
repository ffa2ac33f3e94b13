//go:build linux

package process

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/cgroup"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/workerid"
)

// Units are the control groups of the workers in one directory: scopes where
// systemd runs the host, and elsewhere groups of the same names that we make.
type Units struct{ WorkersDir string }

// Name is the name of a worker's scope without the suffix. A digest of WorkersDir
// in it tells pools of one name in two state directories apart.
func (u Units) Name(id string) string {
	sum := sha256.Sum256([]byte(filepath.Clean(u.WorkersDir)))
	return "mayfly-" + hex.EncodeToString(sum[:4]) + "-" + id
}

// LowShare is how much processor time a machine has that gives way, in percent of what
// it would have beside others. With less, one that is made beside busy workers would not
// be done within the time that it may take.
const LowShare = 25

const scopeSuffix = ".scope"

// scope is the control group of a unit.
func scope(hierarchies []cgroup.Hierarchy, name string) cgroup.Group {
	return cgroup.New(hierarchies, Slice, name+scopeSuffix)
}

// Make makes a worker's group on a host that systemd does not run.
func (u Units) Make(id string, limits cgroup.Limits) ([]cgroup.Entry, error) {
	hierarchies, err := cgroup.Hierarchies()
	if err != nil {
		return nil, err
	}
	return scope(hierarchies, u.Name(id)).Make(limits)
}

// Weigh has a worker's group, which was made with the limits, have so many percent of the
// processor time that it would have beside other workers.
func (u Units) Weigh(id string, limits cgroup.Limits, percent int) error {
	if Systemd() {
		return weighScope(u.Name(id), percent)
	}
	hierarchies, err := cgroup.Hierarchies()
	if err != nil {
		return err
	}
	return scope(hierarchies, u.Name(id)).Weigh(limits, percent)
}

// Find returns the ids of the workers that have a group.
func (u Units) Find() (ids []string, err error) {
	ids, err = u.all()
	return slices.DeleteFunc(ids, func(id string) bool { return !workerid.Valid(id) }), err
}

// all are the ids of Find, and what else the groups of the directory are called.
func (u Units) all() (ids []string, err error) {
	hierarchies, err := cgroup.Hierarchies()
	if err != nil {
		return nil, err
	}
	names, err := cgroup.List(hierarchies, Slice)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if id, ours := strings.CutPrefix(strings.TrimSuffix(name, scopeSuffix), u.Name("")); ours {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// MemoryKills is how many processes of a worker's group the kernel has killed
// because the group had reached its limit, as far as that can be read. Where systemd
// runs the host it removes the group soon after the last process.
func (u Units) MemoryKills(id string) int {
	hierarchies, err := cgroup.Hierarchies()
	if err != nil {
		return 0
	}
	return scope(hierarchies, u.Name(id)).MemoryKills()
}

// Usage is what a worker's group has taken, as far as that can be read.
func (u Units) Usage(id string) (backend.Usage, error) {
	hierarchies, err := cgroup.Hierarchies()
	if err != nil {
		return backend.Usage{}, err
	}
	group := scope(hierarchies, u.Name(id))
	usage := backend.Usage{CPU: group.CPUTime(), PeakMemory: group.PeakMemory()}
	for _, pid := range group.Processes() {
		usage.DiskWritten += written(pid)
	}
	return usage, nil
}

// written is how many bytes a process, and those that it has waited for, have had written
// to disks, see proc_pid_io(5); 0 where that cannot be read.
func written(pid int) int64 {
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "io"))
	if err != nil {
		return 0
	}
	_, after, _ := strings.Cut(string(text), "\nwrite_bytes: ")
	number, _, _ := strings.Cut(after, "\n")
	n, _ := strconv.ParseInt(number, 10, 64)
	return n
}

// Processes are those of a worker's group, the one that was started last first, as far as
// their numbers tell.
func (u Units) Processes(id string) ([]int, error) {
	hierarchies, err := cgroup.Hierarchies()
	if err != nil {
		return nil, err
	}
	return scope(hierarchies, u.Name(id)).Processes(), nil
}

// End ends what is in a worker's group, and the group. It is idempotent.
func (u Units) End(ctx context.Context, id string) error {
	hierarchies, err := cgroup.Hierarchies()
	if err != nil {
		return err
	}
	group := scope(hierarchies, u.Name(id))
	if Systemd() {
		return group.EndScope(ctx)
	}
	if err := group.End(ctx); err != nil {
		return err
	}
	cgroup.RemoveSlice(hierarchies, Slice)
	return nil
}
