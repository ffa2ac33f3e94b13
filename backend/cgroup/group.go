//go:build linux

package cgroup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Group is the group of one name in all hierarchies.
type Group struct {
	hierarchies []Hierarchy
	slice, name string
}

// New names a group in a slice, which is a group too. It touches nothing.
func New(hierarchies []Hierarchy, slice, name string) Group {
	return Group{hierarchies, slice, name}
}

// inner is the group below the one with the limits in which the machine begins.
// A container whose root is the host's could write to the group that it begins
// in, but not to one above.
const inner = "machine"

// Limits are what all in a group may take together.
type Limits struct {
	Memory int64 // bytes; 0 is no limit
	CPUs   int
	PIDs   int
}

func (g Group) dir(h Hierarchy) string { return filepath.Join(h.Dir, g.slice, g.name) }

// Entry is where a process enters a group in one hierarchy.
type Entry struct {
	// Dir is the group's directory.
	Dir string
	// Unified is version 2.
	Unified bool
}

// Processes is the file to which a process writes its pid to be in the group.
func (e Entry) Processes() string { return filepath.Join(e.Dir, "cgroup.procs") }

// Enter moves a process into a group.
func (e Entry) Enter(pid int) error { return write(e.Processes(), strconv.Itoa(pid)) }

// EnterThread moves one thread of this process into a group of version 1. The
// processes that it starts are born there.
func (e Entry) EnterThread(tid int) error {
	return write(filepath.Join(e.Dir, "tasks"), strconv.Itoa(tid))
}

// Make makes the group with its limits, and returns where a process enters it.
// What is there already stays.
func (g Group) Make(limits Limits) (entries []Entry, err error) {
	for _, h := range g.hierarchies {
		if err := g.makeIn(h); err != nil {
			return nil, fmt.Errorf("making control group %s: %w", g.name, err)
		}
		if err := g.limit(h, limits); err != nil {
			return nil, fmt.Errorf("limiting control group %s: %w", g.name, err)
		}
		entries = append(entries, Entry{filepath.Join(g.dir(h), inner), h.Unified})
	}
	return entries, nil
}

// makeTries bounds how often making a group is tried again when another process
// has removed its slice, which was still empty.
const makeTries = 10

func (g Group) makeIn(h Hierarchy) (err error) {
	enable(h, h.Dir)
	for range makeTries {
		if err = os.MkdirAll(filepath.Join(g.dir(h), inner), 0o755); err == nil {
			// The slice is not empty now, so it is not removed any more.
			enable(h, filepath.Join(h.Dir, g.slice))
			if slices.Contains(h.Controllers, CPU) {
				setting := weight(h, runtime.NumCPU(), whole)
				_ = write(filepath.Join(h.Dir, g.slice, setting[0]), setting[1]) // as with enable
			}
			return nil
		}
	}
	return err
}

// enable lets the children of a unified group be limited. Where this process may
// not decide that it fails, and the files of the limits are missing.
func enable(h Hierarchy, dir string) {
	if !h.Unified {
		return
	}
	for _, controller := range h.Controllers {
		_ = write(filepath.Join(dir, "cgroup.subtree_control"), "+"+controller)
	}
}

// whole is all of a group's share of the host, in percent.
const whole = 100

// weight is the setting with which a group has as much of a busy host as so many
// processes outside of all groups, or so many percent of that. Without it all machines
// together would have as much as one.
func weight(h Hierarchy, processes, percent int) [2]string {
	if h.Unified {
		const one, most = 100, 10_000
		return [2]string{"cpu.weight", strconv.Itoa(min(processes*one*percent/whole, most))}
	}
	const one, most = 1 << 10, 1 << 18
	return [2]string{"cpu.shares", strconv.Itoa(min(processes*one*percent/whole, most))}
}

// Weigh has the group, which was made with the limits, have so many percent of the
// processor time that it would have beside others of its slice. Where that cannot be set,
// it has all of it.
func (g Group) Weigh(l Limits, percent int) error {
	for _, h := range g.hierarchies {
		if !slices.Contains(h.Controllers, CPU) {
			continue
		}
		setting := weight(h, l.CPUs, percent)
		err := write(filepath.Join(g.dir(h), setting[0]), setting[1])
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("weighing control group %s: %w", g.name, err)
		}
	}
	return nil
}

// period is what processor time is counted in, in microseconds.
const period = 100_000

// settings are the files of a group and what is written to them, for each controller.
// Where the first is there, so is the limit: of memory the second may be missing, in a
// kernel without accounting of swap.
func (h Hierarchy) settings(l Limits) map[string][][2]string {
	memory, quota := strconv.FormatInt(l.Memory, 10), strconv.Itoa(l.CPUs*period)
	pids := [][2]string{{"pids.max", strconv.Itoa(l.PIDs)}}
	if h.Unified {
		return map[string][][2]string{
			Memory: {{"memory.max", memory}, {"memory.swap.max", "0"}},
			CPU:    {{"cpu.max", quota + " " + strconv.Itoa(period)}, weight(h, l.CPUs, whole)},
			PIDs:   pids,
		}
	}
	return map[string][][2]string{
		Memory: {{"memory.limit_in_bytes", memory}, {"memory.memsw.limit_in_bytes", memory}},
		CPU:    {{"cpu.cfs_period_us", strconv.Itoa(period)}, {"cpu.cfs_quota_us", quota}, weight(h, l.CPUs, whole)},
		PIDs:   pids,
	}
}

// limit sets the limits that the hierarchy can hold. A missing file is passed over: a
// machine without a limit is still one with a size, and Lacking tells of it.
func (g Group) limit(h Hierarchy, l Limits) error {
	settings := h.settings(l)
	if l.Memory == 0 {
		delete(settings, Memory)
	}
	for _, controller := range h.Controllers {
		for _, setting := range settings[controller] {
			err := write(filepath.Join(g.dir(h), setting[0]), setting[1])
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	return nil
}

// Lacking returns the limits that the group, which has been made, does not have: its
// tree may lack the right to set them, as in a container.
func (g Group) Lacking() []string {
	return slices.DeleteFunc(slices.Clone(limiting), func(controller string) bool {
		return slices.ContainsFunc(g.hierarchies, func(h Hierarchy) bool {
			if !slices.Contains(h.Controllers, controller) {
				return false
			}
			_, err := os.Stat(filepath.Join(g.dir(h), h.settings(Limits{})[controller][0][0]))
			return err == nil
		})
	})
}

// write writes to a file that exists: a missing file in a control group is a
// setting that the kernel does not have.
func write(path, value string) error {
	file, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = file.WriteString(value)
	return errors.Join(err, file.Close())
}

// Processes are those in the group and below, the highest number first.
func (g Group) Processes() (pids []int) {
	for _, h := range g.hierarchies {
		_ = filepath.WalkDir(g.dir(h), func(path string, entry fs.DirEntry, err error) error {
			if err != nil || !entry.IsDir() {
				return nil // what has gone has no processes
			}
			text, _ := os.ReadFile(filepath.Join(path, "cgroup.procs"))
			for pid := range strings.FieldsSeq(string(text)) {
				if n, err := strconv.Atoi(pid); err == nil {
					pids = append(pids, n)
				}
			}
			return nil
		})
	}
	slices.Sort(pids)
	pids = slices.Compact(pids)
	slices.Reverse(pids)
	return pids
}

// poll is how often End looks whether a group is empty.
const poll = 5 * time.Millisecond

// End kills everything in the group, waits for its end, and removes the group.
// It is idempotent. Nothing may enter the group meanwhile.
func (g Group) End(ctx context.Context) error { return g.end(ctx, g.remove) }

// EndScope is End for a group that is a scope of systemd. It waits until systemd
// removes the group: a scope whose group is removed before systemd has seen it
// empty stays active for ever.
func (g Group) EndScope(ctx context.Context) error { return g.end(ctx, g.exists) }

// end kills everything in the group until settle finds it busy no longer.
func (g Group) end(ctx context.Context, settle func() (busy bool, err error)) error {
	for {
		for _, h := range g.hierarchies {
			if err := kill(g.dir(h)); err != nil {
				return fmt.Errorf("ending control group %s: %w", g.name, err)
			}
		}
		busy, err := settle()
		if err != nil {
			return fmt.Errorf("removing control group %s: %w", g.name, err)
		}
		if !busy {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for the end of all in control group %s: %w", g.name, context.Cause(ctx))
		case <-time.After(poll):
		}
	}
}

// kill ends all in a group and below, at once where the kernel can. Elsewhere it
// kills process by process, and its caller repeats that. So that no program goes on by
// forking faster than that, none may fork any more where processes are limited. This
// process is spared: a thread of it that has started a machine may not have ended yet.
func kill(dir string) error {
	if write(filepath.Join(dir, "cgroup.kill"), "1") == nil {
		return nil
	}
	_ = write(filepath.Join(dir, "pids.max"), "0") // which most trees of version 1 do not have
	return filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if vanished(err) {
			return nil
		}
		if err != nil || !entry.IsDir() {
			return err
		}
		text, err := os.ReadFile(filepath.Join(path, "cgroup.procs"))
		if vanished(err) {
			return nil
		}
		for pid := range strings.FieldsSeq(string(text)) {
			if n, err := strconv.Atoi(pid); err == nil && n > 1 && n != os.Getpid() {
				_ = unix.Kill(n, syscall.SIGKILL) // gone, or tried again
			}
		}
		return err
	})
}

// vanished says that an error means that a group is removed.
func vanished(err error) bool { return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV) }

// remove removes the group and those below, which the container made.
func (g Group) remove() (busy bool, err error) {
	for _, h := range g.hierarchies {
		var dirs []string
		err := filepath.WalkDir(g.dir(h), func(path string, entry fs.DirEntry, err error) error {
			if err == nil && entry.IsDir() {
				dirs = append(dirs, path)
			}
			if vanished(err) {
				return nil
			}
			return err
		})
		if err != nil {
			return false, err
		}
		for _, dir := range slices.Backward(dirs) {
			switch err := unix.Rmdir(dir); {
			case errors.Is(err, unix.EBUSY), errors.Is(err, unix.ENOTEMPTY):
				busy = true
			case err != nil && !vanished(err):
				return false, fmt.Errorf("rmdir %s: %w", dir, err)
			}
		}
	}
	return busy, nil
}

// exists tells whether the group is still there.
func (g Group) exists() (bool, error) {
	for _, h := range g.hierarchies {
		if _, err := os.Stat(g.dir(h)); !errors.Is(err, fs.ErrNotExist) {
			return true, err
		}
	}
	return false, nil
}

// List returns the names of the groups of a slice, in order.
func List(hierarchies []Hierarchy, slice string) ([]string, error) {
	var names []string
	for _, h := range hierarchies {
		entries, err := os.ReadDir(filepath.Join(h.Dir, slice))
		if err != nil && !vanished(err) {
			return nil, fmt.Errorf("listing control groups: %w", err)
		}
		for _, entry := range entries {
			if entry.IsDir() {
				names = append(names, entry.Name())
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// RemoveSlice removes a slice without groups; one with groups stays. It is for
// hosts without systemd, which would do so itself.
func RemoveSlice(hierarchies []Hierarchy, slice string) {
	for _, h := range hierarchies {
		_ = unix.Rmdir(filepath.Join(h.Dir, slice))
	}
}

// Properties are the limits as properties of a systemd unit, see
// systemd.resource-control(5).
func (l Limits) Properties() []string {
	memory := "infinity"
	if l.Memory > 0 {
		memory = strconv.FormatInt(l.Memory, 10)
	}
	return []string{
		"MemoryMax=" + memory, "MemorySwapMax=0",
		"CPUQuota=" + strconv.Itoa(l.CPUs*100) + "%",
		"TasksMax=" + strconv.Itoa(l.PIDs),
	}
}
