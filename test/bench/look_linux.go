package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/process"
)

// A worker has settled when its processes have used less than idleShare of a
// core for idleTime, by the processor time that they were given: a machine that
// is busy elsewhere makes none look idle that is not. One that never settles is
// measured after settleLimit as it is.
const (
	idleTime    = 3 * time.Second
	idleShare   = 0.1
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
func (b *bench) settle(ctx context.Context, workers []worker) error {
	for began := time.Now(); time.Since(began) < settleLimit; {
		before, err := processorTime(workers)
		if err != nil {
			return err
		}
		since := time.Now()
		select {
		case <-time.After(idleTime):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		after, err := processorTime(workers)
		if err != nil {
			return err
		}
		limit := time.Duration(float64(time.Since(since)) * idleShare)
		busy := func(i int) bool { return after[i]-before[i] >= limit }
		if !slices.ContainsFunc(indices(workers), busy) {
			return nil
		}
	}
	b.say("  not idle within %s; measured as they are", settleLimit)
	return nil
}

func indices(workers []worker) []int {
	all := make([]int, len(workers))
	for i := range all {
		all[i] = i
	}
	return all
}

// processorTime is what each worker's machine has used so far.
func processorTime(workers []worker) ([]time.Duration, error) {
	used := make([]time.Duration, len(workers))
	for i, w := range workers {
		id, _, err := machine(w.dir)
		if err != nil {
			return nil, err
		}
		stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(id.PID), "stat"))
		if err != nil {
			return nil, err
		}
		if used[i], err = parseProcessorTime(stat); err != nil {
			return nil, fmt.Errorf("pid %d: %w", id.PID, err)
		}
	}
	return used, nil
}

// tick is the unit of times in proc_pid_stat(5) on all systems that Linux runs
// Go programs on.
const tick = 10 * time.Millisecond

// parseProcessorTime adds the fields utime and stime, 14 and 15. The name of
// the program, in brackets, may hold anything.
func parseProcessorTime(stat []byte) (time.Duration, error) {
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	const user, system = 11, 12 // counted from the state, field 3
	if len(fields) <= system {
		return 0, errors.New("malformed stat")
	}
	var sum time.Duration
	for _, field := range []string{fields[user], fields[system]} {
		ticks, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("malformed stat: %w", err)
		}
		sum += time.Duration(ticks) * tick
	}
	return sum, nil
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
