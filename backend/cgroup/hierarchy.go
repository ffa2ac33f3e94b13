//go:build linux

package cgroup

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// The controllers that limit machines.
const (
	Memory = "memory"
	CPU    = "cpu"
	PIDs   = "pids"
)

var limiting = []string{Memory, CPU, PIDs}

// Hierarchy is one mounted tree of control groups.
type Hierarchy struct {
	// Dir is where it is mounted.
	Dir string
	// Unified is version 2.
	Unified bool
	// Controllers are those of Memory, CPU and PIDs that work here.
	Controllers []string
}

// Hierarchies returns the hierarchies that this process sees, without that of
// cpuset: it limits nothing that we limit, and a new group there takes no process
// before it is set up.
func Hierarchies() ([]Hierarchy, error) {
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("looking for control groups: %w", err)
	}
	found := parse(string(text))
	for i, h := range found {
		if h.Unified {
			// Those that no tree of version 1 has taken. In a container a root
			// without any has no such file.
			text, _ := os.ReadFile(filepath.Join(h.Dir, "cgroup.controllers"))
			found[i].Controllers = limiters(strings.Fields(string(text)))
		}
	}
	return found, nil
}

// parse reads proc_pid_mountinfo(5); a tree that is mounted twice counts once, and
// one that is read-only, as in many containers, is of no use.
func parse(mountinfo string) []Hierarchy {
	var found []Hierarchy
	seen := map[string]bool{}
	for line := range strings.Lines(mountinfo) {
		mount, super, ok := strings.Cut(line, " - ")
		fields, kind := strings.Fields(mount), strings.Fields(super)
		const device, point, flags, options = 2, 4, 5, 2
		if !ok || len(fields) <= flags || len(kind) <= options || seen[fields[device]] {
			continue
		}
		settings := strings.Split(kind[options], ",")
		if kind[0] != "cgroup" && kind[0] != "cgroup2" || slices.Contains(settings, "cpuset") ||
			slices.Contains(strings.Split(fields[flags], ","), "ro") {
			continue
		}
		seen[fields[device]] = true
		h := Hierarchy{Dir: fields[point], Unified: kind[0] == "cgroup2"}
		if !h.Unified {
			h.Controllers = limiters(settings)
		}
		found = append(found, h)
	}
	return found
}

// limiters are those of the controllers that limit machines.
func limiters(controllers []string) []string {
	return slices.DeleteFunc(slices.Clone(controllers), func(c string) bool { return !slices.Contains(limiting, c) })
}

// Lacking returns the limits that no hierarchy can hold.
func Lacking(all []Hierarchy) []string {
	return slices.DeleteFunc(slices.Clone(limiting), func(c string) bool {
		return slices.ContainsFunc(all, func(h Hierarchy) bool { return slices.Contains(h.Controllers, c) })
	})
}
