package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/diskspace"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/filelock"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/statefile"
)

// ErrHeld says that another process owns the pool.
var ErrHeld = errors.New("pool is held by another plugin process")

// Lock makes this process the owner of the pool, and tries until ctx ends. The
// kernel drops the lock when the process ends, and no child process inherits it. What
// the last owner left half written is removed. A store from Look makes no lock file,
// for a pool without one has no owner, and removes nothing.
func (s *Store) Lock(ctx context.Context) (unlock func() error, err error) {
	path, flags := filepath.Join(s.dir, LockFile), os.O_RDWR // close-on-exec, as all that os opens
	if !s.looking {
		flags |= os.O_CREATE
	}
	file, err := statefile.Open(path, flags)
	if s.looking && errors.Is(err, fs.ErrNotExist) {
		return func() error { return nil }, nil
	}
	if err != nil {
		return nil, fmt.Errorf("locking the pool: %w%s", diskspace.Explain(s.dir, err), removeIfForeign(err))
	}
	if err := s.hold(ctx, file); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	if !s.looking {
		s.sweep()
	}
	// The file stays when the lock goes: whoever waits for it has it open.
	return file.Close, nil
}

// removeIfForeign is what to do about something that stands in the lock's place.
func removeIfForeign(err error) string {
	if errors.Is(err, statefile.ErrForeign) {
		return ": remove it, while no plugin process serves the pool"
	}
	return ""
}

// hold takes the lock on an open file and leaves our pid in it.
func (s *Store) hold(ctx context.Context, file *os.File) error {
	err := filelock.Wait(ctx, file)
	if err == nil {
		// Whoever finds it locked reads our pid. A full disk does not keep us from
		// the pool: what is removed from it may make room.
		if file.Truncate(0) == nil {
			_, _ = file.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
		}
		return nil
	}
	if ctx.Err() == nil {
		return err
	}
	return fmt.Errorf("%w: %s holds %s; stop it, or give this runner a pool of its own with plugin_config.pool: %w",
		ErrHeld, holder(file), s.dir, context.Cause(ctx))
}

// holder names the process that holds the lock, as far as the file tells.
func holder(file *os.File) string {
	text, err := io.ReadAll(io.NewSectionReader(file, 0, 32))
	if pid := strings.TrimSpace(string(text)); err == nil && pid != "" {
		return "process " + pid
	}
	return "a process that left no pid"
}
