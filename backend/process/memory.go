//go:build linux

package process

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
)

// Memory is what that very process takes of the host's memory now. The error
// wraps ErrNotRunning when it has ended.
func (i Identity) Memory() (backend.Memory, error) {
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(i.PID), "smaps_rollup"))
	if err != nil {
		return backend.Memory{}, fmt.Errorf("memory of pid %d: %w", i.PID, gone(err))
	}
	if err := i.check(); err != nil { // after the look: before it the pid may have passed to another
		return backend.Memory{}, err
	}
	used, err := parseRollup(text)
	if err != nil {
		return backend.Memory{}, fmt.Errorf("memory of pid %d: %w", i.PID, err)
	}
	return used, nil
}

// parseRollup reads the sums of proc_pid_smaps(5), which are in kB of 1024
// bytes. The first line is a range of addresses.
func parseRollup(text []byte) (backend.Memory, error) {
	var used backend.Memory
	found := false
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), ":")
		sum := &used.Private
		switch name {
		case "Pss":
			sum, found = &used.PSS, true
		case "Private_Clean", "Private_Dirty", "Private_Hugetlb":
		default:
			continue
		}
		kilobytes, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(value, "kB")), 10, 64)
		if err != nil {
			return backend.Memory{}, fmt.Errorf("malformed smaps_rollup: %q", lines.Text())
		}
		*sum += kilobytes << 10
	}
	if !found {
		return backend.Memory{}, fmt.Errorf("smaps_rollup has no Pss in its %d bytes", len(text))
	}
	return used, nil
}

// Memory is what the tagged processes of each worker take. It adopts none of them: it
// is asked every few seconds, and an adopted process is watched until it ends.
func (t Tag) Memory() (map[string]backend.Memory, error) {
	running, err := t.look("")
	if err != nil {
		return nil, err
	}
	used := make(map[string]backend.Memory)
	for child, worker := range running {
		one, err := child.Memory()
		if errors.Is(err, ErrNotRunning) {
			continue
		}
		if err != nil {
			return nil, err
		}
		used[worker] = used[worker].Plus(one)
	}
	return used, nil
}
