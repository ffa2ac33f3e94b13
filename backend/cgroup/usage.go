//go:build linux

package cgroup

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// MemoryKills is how many processes of the group the kernel has killed because the
// group had reached its limit, as far as that can be read: the counters go with the
// groups. Those of version 1 count for one group each, those of the unified
// hierarchy for all below it as well.
func (g Group) MemoryKills() (kills int) {
	for _, h := range g.hierarchies {
		if !slices.Contains(h.Controllers, Memory) {
			continue
		}
		if h.Unified {
			kills += counter(filepath.Join(g.dir(h), "memory.events"), "oom_kill")
			continue
		}
		_ = filepath.WalkDir(g.dir(h), func(path string, entry fs.DirEntry, err error) error {
			if err == nil && entry.IsDir() {
				kills += counter(filepath.Join(path, "memory.oom_control"), "oom_kill")
			}
			return nil // what has gone does not count
		})
	}
	return kills
}

// counter reads one of the numbers in a file that has a name and a number on each
// line; 0 when it is not there.
func counter(path, name string) int {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) == 2 && fields[0] == name {
			n, _ := strconv.Atoi(fields[1])
			return n
		}
	}
	return 0
}

// CPUTime is the processor time that all in the group have had, and PeakMemory the most
// memory that they had at once, in bytes, as far as that can be read; else 0.
func (g Group) CPUTime() time.Duration {
	for _, h := range g.hierarchies {
		if h.Unified {
			if spent := counter(filepath.Join(g.dir(h), "cpu.stat"), "usage_usec"); spent > 0 {
				return time.Duration(spent) * time.Microsecond
			}
		}
		if spent := number(filepath.Join(g.dir(h), "cpuacct.usage")); spent > 0 {
			return time.Duration(spent)
		}
	}
	return 0
}

// PeakMemory is described with CPUTime.
func (g Group) PeakMemory() (bytes int64) {
	for _, h := range g.hierarchies {
		for _, name := range []string{"memory.peak", "memory.max_usage_in_bytes"} {
			bytes = max(bytes, number(filepath.Join(g.dir(h), name)))
		}
	}
	return bytes
}

// number reads a file that holds one; 0 when it is not there.
func number(path string) int64 {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	n, _ := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	return n
}
