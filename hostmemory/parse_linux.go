package hostmemory

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
)

// hierarchy is a mounted tree of control groups that may limit memory.
type hierarchy struct {
	// root is the group that is mounted at point.
	root, point string
	unified     bool
}

// parseMounts reads the trees out of proc_pid_mountinfo(5). Lines that it does not
// understand are none.
func parseMounts(text string) (found []hierarchy) {
	for line := range strings.Lines(text) {
		before, after, _ := strings.Cut(line, " - ")
		mount, about := strings.Fields(before), strings.Fields(after)
		if len(mount) < 5 || len(about) < 3 {
			continue
		}
		h := hierarchy{root: mount[3], point: mount[4], unified: about[0] == "cgroup2"}
		memory := about[0] == "cgroup" && slices.Contains(strings.Split(about[2], ","), "memory")
		if h.unified || memory {
			found = append(found, h)
		}
	}
	return found
}

// parseGroups reads out of cgroups(7)'s /proc/self/cgroup which group the process
// is in: in the unified tree, and in the one of version 1 that limits memory.
func parseGroups(text string) (unified, memory string) {
	for line := range strings.Lines(text) {
		fields := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		switch {
		case len(fields) < 3:
		case fields[0] == "0" && fields[1] == "":
			unified = fields[2]
		case slices.Contains(strings.Split(fields[1], ","), "memory"):
			memory = fields[2]
		}
	}
	return unified, memory
}

// groupDirs are the directories of the process's group and of those above it, as
// far as they are mounted, in every tree: the limits of all of them hold.
func groupDirs(mounts, groups string) (dirs []string) {
	unified, memory := parseGroups(groups)
	for _, h := range parseMounts(mounts) {
		group := memory
		if h.unified {
			group = unified
		}
		below, ok := strings.CutPrefix(group, strings.TrimSuffix(h.root, "/"))
		if !ok { // it is mounted from elsewhere, as in a container with the host's names
			below = ""
		}
		for dir := path.Join(h.point, below); ; dir = path.Dir(dir) {
			dirs = append(dirs, dir)
			if len(dir) <= len(h.point) {
				break
			}
		}
	}
	return dirs
}

// parseLimit reads a limit in bytes. Version 2 writes "max" for none, and version
// 1 a number that no host has.
func parseLimit(text string) (bytes int64, limited bool, err error) {
	text = strings.TrimSpace(text)
	if text == "max" {
		return 0, false, nil
	}
	bytes, err = strconv.ParseInt(text, 10, 64)
	if err != nil || bytes < 0 {
		return 0, false, fmt.Errorf("%q is not a number of bytes", text)
	}
	return bytes, true, nil
}

// Pressure is for how much of the last ten seconds work stood still because it
// waited for memory, in percent: Some of it, or Full, all of it at once.
type Pressure struct{ Some, Full float64 }

// parsePressure reads the averages of ten seconds out of a file in the form of
// /proc/pressure/memory.
func parsePressure(text string) (Pressure, error) {
	var p Pressure
	found := 0
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		to := map[string]*float64{"some": &p.Some, "full": &p.Full}[fields[0]]
		number, ok := strings.CutPrefix(fields[1], "avg10=")
		if to == nil || !ok {
			continue
		}
		percent, err := strconv.ParseFloat(number, 64)
		if err != nil || !(percent >= 0 && percent <= 100) {
			return Pressure{}, fmt.Errorf("%q is not a share in percent", number)
		}
		*to = percent
		found++
	}
	if found == 0 {
		return Pressure{}, fmt.Errorf("no average of ten seconds in its %d bytes", len(text))
	}
	return p, nil
}

// parseTable is the value of one name in a file with a name and a number on each
// line, such as memory.stat.
func parseTable(text, name string) (int64, bool) {
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 2 || strings.TrimSuffix(fields[0], ":") != name {
			continue
		}
		n, err := strconv.ParseInt(fields[1], 10, 64)
		return n, err == nil && n >= 0
	}
	return 0, false
}
