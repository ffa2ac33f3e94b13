//go:build linux

package agent

import (
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
)

// tellJob sends the job that is in this guest, if one is seen: the processes of its
// containers are among its own.
func (a *agent) tellJob(output io.Writer) error {
	proc := filepath.Join(a.root, "proc")
	entries, err := os.ReadDir(proc)
	if err != nil {
		return err
	}
	var pids []int
	for _, entry := range entries {
		if pid, err := strconv.Atoi(entry.Name()); err == nil {
			pids = append(pids, pid)
		}
	}
	slices.SortFunc(pids, func(a, b int) int { return b - a }) // a job's are the last that were started
	job, ok := guest.FindJob(proc, pids)
	if !ok {
		return nil
	}
	said, err := job.Encode()
	if err != nil {
		return err
	}
	_, err = output.Write(said)
	return err
}
