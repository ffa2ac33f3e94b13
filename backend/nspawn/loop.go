//go:build linux

package nspawn

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/process"
)

// dropWrites has the file system of a worker's disk forget what it has not written
// yet. Otherwise the end of its last process writes all of it, for seconds, to a
// file that is then removed. It is done through the supervisor's mounts, and without
// a supervisor it is not done.
func dropWrites(supervisor *process.Process, dir string) error {
	seen := filepath.Join("/proc", strconv.Itoa(supervisor.PID), "root", dir)
	at, err := os.Open(filepath.Join(seen, diskDir))
	if err != nil {
		return err
	}
	defer at.Close()
	if !supervisor.Running() { // and its pid, by which that was opened, may be another's
		return nil
	}
	if own, err := isDisk(at, seen); err != nil || !own {
		return err
	}
	return unix.IoctlSetPointerInt(int(at.Fd()), shutdown, shutdownDropping)
}

// The ioctl FS_IOC_SHUTDOWN of ext4, and its argument EXT4_GOING_FLAGS_NOLOGFLUSH.
const (
	shutdown         = 0x8004587d
	shutdownDropping = 2
)

// isDisk says whether a directory is the root of a file system on a loop device of
// its own, and not a directory of the file system that the worker's directory is
// on, which others need.
func isDisk(at *os.File, dir string) (bool, error) {
	const loopMajor = 7
	var mounted, around unix.Stat_t
	err := errors.Join(unix.Fstat(int(at.Fd()), &mounted), unix.Stat(dir, &around))
	return err == nil && mounted.Dev != around.Dev && unix.Major(mounted.Dev) == loopMajor, err
}

// awaitDetached returns when no loop device uses a file. A device that was made by
// mount(8) goes when the last mount of it does, which some kernels do a little
// later than the end of the last process there.
func awaitDetached(ctx context.Context, path string) error {
	for {
		device, err := loopDevice(path)
		if err != nil || device == "" {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s, which still uses %s: %w", device, path, context.Cause(ctx))
		case <-time.After(detachPoll):
		}
	}
}

const detachPoll = 5 * time.Millisecond

// loopDevice is the name of the loop device that uses a file; empty without one.
func loopDevice(path string) (string, error) {
	devices, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	if err != nil {
		return "", err
	}
	for _, file := range devices {
		// A device that is detached meanwhile loses the file.
		used, _ := os.ReadFile(file)
		if string(bytes.TrimSuffix(used, []byte("\n"))) == path {
			return filepath.Base(filepath.Dir(filepath.Dir(file))), nil
		}
	}
	return "", nil
}
