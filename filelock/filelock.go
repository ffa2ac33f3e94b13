// Package filelock lets processes of one host take turns: an exclusive flock
// on a file or a directory. What the lock protects is the business of its
// users.
package filelock

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// A process that waits tries again after shortestPoll, and then after twice as long
// each time, up to longestPoll: some locks are held for a millisecond, those of
// images for minutes. It does not block in flock, which could not be cancelled.
const (
	shortestPoll = 2 * time.Millisecond
	longestPoll  = 10 * time.Millisecond
)

// Lock is a lock that is held. The kernel drops it with the process, however
// that ends.
type Lock struct{ file *os.File }

// Acquire takes the lock on the file at path, which it makes when it is missing,
// and waits for it until ctx is done. The lock belongs to the Lock and not to the
// process, so that it also keeps goroutines of one process apart.
func Acquire(ctx context.Context, path string) (*Lock, error) {
	return acquire(ctx, path, os.O_RDWR|os.O_CREATE)
}

// AcquireDirectory is Acquire on a directory, which must be there.
func AcquireDirectory(ctx context.Context, path string) (*Lock, error) {
	return acquire(ctx, path, os.O_RDONLY|unix.O_DIRECTORY)
}

// acquire opens close-on-exec, as os.OpenFile does, so that no child inherits
// the lock.
func acquire(ctx context.Context, path string, flags int) (*Lock, error) {
	file, err := os.OpenFile(path, flags, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening a lock: %w", err)
	}
	if err := Wait(ctx, file); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return &Lock{file}, nil
}

// TryAcquire takes the lock on the file at path, which it makes when it is missing.
// When another holds the lock, it returns nil and no error.
func TryAcquire(path string) (*Lock, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening a lock: %w", err)
	}
	taken, err := Try(file)
	if !taken {
		return nil, errors.Join(err, file.Close())
	}
	return &Lock{file}, nil
}

// Release gives the lock back. The file stays, since processes that wait have it
// open.
func (l *Lock) Release() error { return l.file.Close() }

// Wait takes the lock on a file that is open already, and waits for it until
// ctx is done. The lock goes when the file is closed.
func Wait(ctx context.Context, file *os.File) error {
	for poll := shortestPoll; ; poll = min(2*poll, longestPoll) {
		if taken, err := Try(file); taken || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for the lock on %s: %w", file.Name(), context.Cause(ctx))
		case <-time.After(poll):
		}
	}
}

// Try takes the lock on a file that is open already, unless somebody holds it.
func Try(file *os.File) (taken bool, err error) {
	for {
		err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		switch {
		case err == nil:
			return true, nil
		case errors.Is(err, unix.EWOULDBLOCK):
			return false, nil
		case !errors.Is(err, unix.EINTR):
			return false, fmt.Errorf("locking %s: %w", file.Name(), err)
		}
	}
}
