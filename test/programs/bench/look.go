//go:build linux

package main

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/process"
)

// A worker has settled when its machine wanted less than idleShare of a core for
// idleTime. Waiting for a core counts as well as having one: on a busy host, a
// worker that waits has work too. One that never settles is measured after a limit
// as it is.
const (
	idleTime    = 3 * time.Second
	idleShare   = 0.3
	settleLimit = 5 * time.Minute
)

// machineTag begins the -name of every machine; its worker's directory follows.
const machineTag = "mayfly:"

// machine finds the process of a worker's machine, and its command line.
func machine(dir string) (process.Identity, []string, error) {
	found, err := process.Find(func(arguments []string) bool {
		at := slices.Index(arguments, "-name") + 1
		return at > 0 && at < len(arguments) && arguments[at] == machineTag+dir
	})
	if err != nil {
		return process.Identity{}, nil, err
	}
	for id, arguments := range found {
		return id, arguments, nil
	}
	return process.Identity{}, nil, fmt.Errorf("no machine runs for %s", filepath.Base(dir))
}

func memory(dir string) (backend.Memory, error) {
	id, _, err := machine(dir)
	if err != nil {
		return backend.Memory{}, err
	}
	return id.Memory()
}

// settle waits until all workers are idle.
func (b *bench) settle(ctx context.Context, workers []worker, limit time.Duration) error {
	for began := time.Now(); time.Since(began) < limit; {
		before, err := wanted(workers)
		if err != nil {
			return err
		}
		since := time.Now()
		select {
		case <-time.After(idleTime):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		after, err := wanted(workers)
		if err != nil {
			return err
		}
		most := time.Duration(float64(time.Since(since)) * idleShare)
		busy := false
		for i := range workers {
			busy = busy || after[i]-before[i] >= most
		}
		if !busy {
			return nil
		}
	}
	b.say("  not idle within %s; measured as they are", limit)
	return nil
}

// wanted is how long the threads of each worker's machine have run or waited
// for a core so far.
func wanted(workers []worker) ([]time.Duration, error) {
	sums := make([]time.Duration, len(workers))
	for i, w := range workers {
		id, _, err := machine(w.dir)
		if err != nil {
			return nil, err
		}
		threads, err := filepath.Glob(filepath.Join("/proc", strconv.Itoa(id.PID), "task", "*", "schedstat"))
		if err != nil {
			return nil, err
		}
		for _, thread := range threads {
			text, err := os.ReadFile(thread)
			if err != nil {
				continue // it has ended
			}
			took, err := parseSchedstat(text)
			if err != nil {
				return nil, fmt.Errorf("pid %d: %w", id.PID, err)
			}
			sums[i] += took
		}
	}
	return sums, nil
}

// parseSchedstat adds what a thread has run and what it has waited, which the
// kernel gives in nanoseconds (Documentation/scheduler/sched-stats.rst).
func parseSchedstat(text []byte) (time.Duration, error) {
	var ran, waited, turns int64
	if _, err := fmt.Sscan(string(text), &ran, &waited, &turns); err != nil {
		return 0, fmt.Errorf("malformed schedstat %q: %w", text, err)
	}
	return time.Duration(ran + waited), nil
}

// ownBlocks is what the files below dir take on disk, in bytes. A file with a
// second name elsewhere is not the worker's own.
func ownBlocks(dir string) (int64, error) {
	var sum int64
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		if stat := info.Sys().(*syscall.Stat_t); stat.Nlink == 1 {
			sum += stat.Blocks * 512
		}
		return nil
	})
	return sum, err
}
