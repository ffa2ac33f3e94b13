// Package filelock lets processes of one host take turns: a flock on a file or a
// directory, held by one, or shared by many against one. What the lock protects is
// the business of its users.
package filelock

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/diskspace"
)

// A process that waits tries again after shortestPoll, and then after twice as long
// each time, up to longestPoll: some locks are held for a millisecond, those of
// images for minutes. It does not block in flock, which could not be cancelled.
const (
	shortestPoll = 2 * time.Millisecond
	longestPoll  = 10 * time.Millisecond
)

// ErrNoLocks says that a file cannot be locked where it lies.
var ErrNoLocks = errors.New("its file system has no locks: use one that has flock, such as ext4, XFS or btrfs")

// unsupported are the errors by which file systems say that.
var unsupported = []error{unix.ENOLCK, unix.EOPNOTSUPP, unix.ENOSYS, unix.EINVAL}

// Lock is a lock that is held. The kernel drops it with the process, however
// that ends.
type Lock struct{ file *os.File }

// How a lock is opened: a file is made when it is missing, a directory must be there.
const (
	asFile      = os.O_RDWR | os.O_CREATE
	asDirectory = os.O_RDONLY | unix.O_DIRECTORY
)

// Acquire takes the lock on the file at path, which it makes when it is missing,
// and waits for it until ctx is done. A symbolic link is not followed. The lock
// belongs to the Lock and not to the process, so that it also keeps goroutines of
// one process apart.
func Acquire(ctx context.Context, path string) (*Lock, error) {
	return acquire(ctx, path, asFile, unix.LOCK_EX)
}

// AcquireDirectory is Acquire on a directory, which must be there.
func AcquireDirectory(ctx context.Context, path string) (*Lock, error) {
	return acquire(ctx, path, asDirectory, unix.LOCK_EX)
}

// ShareDirectory is AcquireDirectory for those who do not mind each other: any number
// of them hold the lock at once, while nobody holds it alone.
func ShareDirectory(ctx context.Context, path string) (*Lock, error) {
	return acquire(ctx, path, asDirectory, unix.LOCK_SH)
}

func acquire(ctx context.Context, path string, what, how int) (*Lock, error) {
	opened, err := open(path, what)
	if err != nil {
		return nil, err
	}
	if err := wait(ctx, opened, how); err != nil {
		return nil, errors.Join(err, opened.Close())
	}
	return &Lock{opened}, nil
}

// TryAcquire is Acquire without waiting. When another holds the lock, it returns nil
// and no error.
func TryAcquire(path string) (*Lock, error) { return tryAcquire(path, asFile) }

// TryAcquireDirectory is TryAcquire on a directory, which must be there.
func TryAcquireDirectory(path string) (*Lock, error) { return tryAcquire(path, asDirectory) }

func tryAcquire(path string, what int) (*Lock, error) {
	opened, err := open(path, what)
	if err != nil {
		return nil, err
	}
	taken, err := Try(opened)
	if !taken {
		return nil, errors.Join(err, opened.Close())
	}
	return &Lock{opened}, nil
}

// open opens close-on-exec, as os.OpenFile does, so that no child inherits the lock.
func open(path string, what int) (*os.File, error) {
	opened, err := os.OpenFile(path, what|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening a lock: %w", diskspace.Explain(filepath.Dir(path), err))
	}
	return opened, nil
}

// IsOf says whether the lock is on the file or directory that has that name now, and
// not on one that was removed.
func (l *Lock) IsOf(path string) bool {
	held, err := l.file.Stat()
	if err != nil {
		return false
	}
	named, err := os.Stat(path)
	return err == nil && os.SameFile(held, named)
}

// Release gives the lock back. The file stays, since processes that wait have it
// open.
func (l *Lock) Release() error { return l.file.Close() }

// Wait takes the lock on a file that is open already, and waits for it until
// ctx is done. The lock goes when the file is closed.
func Wait(ctx context.Context, file *os.File) error { return wait(ctx, file, unix.LOCK_EX) }

func wait(ctx context.Context, file *os.File, how int) error {
	for poll := shortestPoll; ; poll = min(2*poll, longestPoll) {
		if taken, err := try(file, how); taken || err != nil {
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
func Try(file *os.File) (taken bool, err error) { return try(file, unix.LOCK_EX) }

func try(file *os.File, how int) (taken bool, err error) {
	for {
		err := unix.Flock(int(file.Fd()), how|unix.LOCK_NB)
		switch {
		case err == nil:
			return true, nil
		case errors.Is(err, unix.EWOULDBLOCK):
			return false, nil
		case slices.Contains(unsupported, err):
			return false, fmt.Errorf("locking %s: %w: %w", file.Name(), ErrNoLocks, err)
		case !errors.Is(err, unix.EINTR):
			return false, fmt.Errorf("locking %s: %w", file.Name(), err)
		}
	}
}
