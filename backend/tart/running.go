package tart

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// pid is the process that runs a machine, and 0 when none does: it holds a
// lock on the machine's config.json. Unlike a pid that was written down, the
// answer is never about another process.
func (t tool) pid(name string) (int, error) {
	file, err := os.Open(filepath.Join(t.dir(name), "config.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("asking whether %s runs: %w", name, err)
	}
	defer file.Close()
	lock := unix.Flock_t{Type: unix.F_RDLCK}
	if err := unix.FcntlFlock(file.Fd(), unix.F_GETLK, &lock); err != nil {
		return 0, fmt.Errorf("asking whether %s runs: %w", name, err)
	}
	if lock.Type == unix.F_UNLCK {
		return 0, nil
	}
	return int(lock.Pid), nil
}
