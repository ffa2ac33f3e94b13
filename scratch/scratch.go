// Package scratch gives out directories for what is tried once, and removes them,
// also those of processes that were killed. What is kept belongs elsewhere.
package scratch

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/filelock"
)

// prefix begins the names of all directories that are given out.
const prefix = ".mayfly-try-"

// In runs f with a new directory below dir, and removes the directory. Whoever tries
// something holds its directory by flock, so that In first removes those below dir
// that nobody holds: a process was killed there. What is mounted there must be in a
// mount namespace that ends with the process.
func In(dir string, f func(work string) error) error {
	sweep(dir)
	work, lock, err := begin(dir)
	if err != nil {
		return err
	}
	err = f(work)
	return errors.Join(err, os.RemoveAll(work), lock.Release())
}

// begin returns a directory that is held. Another process may have swept it away
// between its making and its lock.
func begin(dir string) (work string, lock *filelock.Lock, err error) {
	for {
		if work, err = os.MkdirTemp(dir, prefix); err != nil {
			return "", nil, fmt.Errorf("making a directory to try something in: %w", err)
		}
		lock, err = filelock.TryAcquireDirectory(work)
		if lock != nil && lock.IsOf(work) {
			return work, lock, nil
		}
		if lock != nil {
			err = lock.Release()
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return "", nil, errors.Join(err, os.RemoveAll(work))
		}
	}
}

// sweep removes what nobody holds. What cannot be removed is left for the next time:
// it keeps nobody from trying.
func sweep(dir string) {
	entries, _ := os.ReadDir(dir)
	for _, entry := range entries {
		if !entry.IsDir() || !strings.HasPrefix(entry.Name(), prefix) {
			continue
		}
		work := filepath.Join(dir, entry.Name())
		if lock, _ := filelock.TryAcquireDirectory(work); lock != nil {
			_ = errors.Join(os.RemoveAll(work), lock.Release())
		}
	}
}
