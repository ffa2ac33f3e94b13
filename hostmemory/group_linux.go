package hostmemory

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// fileNames are what version 1 and 2 of control groups call the same.
type fileNames struct{ limit, used, inactive, active string }

var versions = []fileNames{
	{"memory.max", "memory.current", "inactive_file", "active_file"},
	{"memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file", "total_active_file"},
}

// ownGroups are the directories of the groups that this process is in. A host
// without control groups has none.
func ownGroups() ([]string, error) {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	groups, err := os.ReadFile("/proc/self/cgroup")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return groupDirs(string(mounts), string(groups)), nil
}

// groupLimit is the least limit of all groups that this process is in.
func groupLimit() (least int64, limited bool, err error) {
	dirs, err := ownGroups()
	if err != nil {
		return 0, false, err
	}
	for _, dir := range dirs {
		for _, names := range versions {
			limit, has, err := limitOf(dir, names)
			if err != nil {
				return 0, false, err
			}
			if has && (!limited || limit < least) {
				least, limited = limit, true
			}
		}
	}
	return least, limited, nil
}

func limitOf(dir string, names fileNames) (bytes int64, limited bool, err error) {
	text, err := os.ReadFile(filepath.Join(dir, names.limit))
	if errors.Is(err, fs.ErrNotExist) { // the other version, the topmost group, or one without a limit
		return 0, false, nil
	}
	if err != nil {
		return 0, false, err
	}
	bytes, limited, err = parseLimit(string(text))
	if err != nil {
		return 0, false, fmt.Errorf("reading %s of %s: %w", names.limit, dir, err)
	}
	return bytes, limited, nil
}

// Available is how much memory can be had before something has to be swapped out
// or killed, in bytes: of the machine, or of the groups that this process is in
// when they have less.
func Available() (int64, error) {
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0, fmt.Errorf("asking for the memory that is left: %w", err)
	}
	kilobytes, ok := parseTable(string(text), "MemAvailable")
	if !ok {
		return 0, errors.New("asking for the memory that is left: the kernel does not say MemAvailable")
	}
	least := kilobytes << 10
	dirs, err := ownGroups()
	if err != nil {
		return 0, fmt.Errorf("asking for the memory that is left: %w", err)
	}
	for _, dir := range dirs {
		for _, names := range versions {
			if left, ok := leftIn(dir, names); ok {
				least = min(least, left)
			}
		}
	}
	return max(0, least), nil
}

// leftIn is what a group with a limit has left, with the page cache, which gives
// way.
func leftIn(dir string, names fileNames) (bytes int64, ok bool) {
	limit, limited, err := limitOf(dir, names)
	if err != nil || !limited {
		return 0, false
	}
	used, err := os.ReadFile(filepath.Join(dir, names.used))
	if err != nil {
		return 0, false
	}
	bytes, ok = parseTable("used "+strings.TrimSpace(string(used)), "used")
	if !ok {
		return 0, false
	}
	stat, err := os.ReadFile(filepath.Join(dir, "memory.stat"))
	if err != nil {
		return 0, false
	}
	inactive, _ := parseTable(string(stat), names.inactive)
	active, _ := parseTable(string(stat), names.active)
	return limit - bytes + inactive + active, true
}

// Pressures is what the kernel says of the machine, and of the groups that this
// process is in. A kernel that does not say leaves it empty.
func Pressures() (found []Pressure, err error) {
	dirs, err := ownGroups()
	if err != nil {
		return nil, fmt.Errorf("asking for the pressure on memory: %w", err)
	}
	paths := []string{"/proc/pressure/memory"}
	for _, dir := range dirs {
		paths = append(paths, filepath.Join(dir, "memory.pressure"))
	}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil { // not there, or switched off, which reading says
			continue
		}
		p, err := parsePressure(string(text))
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", path, err)
		}
		found = append(found, p)
	}
	return found, nil
}
