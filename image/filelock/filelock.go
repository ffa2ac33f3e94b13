// Package filelock lets processes of one host take turns: an exclusive flock
// on a file that is never removed. What the lock protects is the business of
// its users.
package filelock

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// poll is how often a waiting process looks again. A blocking flock cannot be
// cancelled, and what the locks of images protect takes seconds.
const poll = 50 * time.Millisecond

// Lock is a lock that is held. The kernel drops it with the process, however
// that ends.
type Lock struct{ file *os.File }

// Acquire takes the lock on path, making the file when it is missing, and
// waits for it until ctx is done.
func Acquire(ctx context.Context, path string) (*Lock, error) {
	file, err := open(path)
	if err != nil {
		return nil, err
	}
	if err := wait(ctx, file); err != nil {
		file.Close()
		return nil, fmt.Errorf("locking %s: %w", path, err)
	}
	return &Lock{file}, nil
}

// TryAcquire takes the lock on path, making the file when it is missing,
// unless somebody holds it: then there is neither a lock nor an error.
func TryAcquire(path string) (*Lock, error) {
	file, err := open(path)
	if err != nil {
		return nil, err
	}
	taken, err := try(file)
	if err != nil {
		err = fmt.Errorf("locking %s: %w", path, err)
	}
	if !taken {
		file.Close()
		return nil, err
	}
	return &Lock{file}, nil
}

// Release gives the lock back.
func (l *Lock) Release() error { return l.file.Close() }

// open opens close-on-exec, as os.OpenFile does, so that no child inherits the
// lock.
func open(path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening lock file: %w", err)
	}
	return file, nil
}

func wait(ctx context.Context, file *os.File) error {
	ticker := time.NewTicker(poll)
	defer ticker.Stop()
	for {
		if taken, err := try(file); taken || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-ticker.C:
		}
	}
}

// try takes the lock unless somebody holds it.
func try(file *os.File) (taken bool, err error) {
	for {
		err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		switch {
		case err == nil:
			return true, nil
		case errors.Is(err, unix.EWOULDBLOCK):
			return false, nil
		case !errors.Is(err, unix.EINTR):
			return false, err
		}
	}
}
