package address

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// retry is how soon a held lock is tried again. Trying, rather than waiting in
// the kernel, is what lets a context end the wait.
const retry = 2 * time.Millisecond

// lock takes the directory's lock. It belongs to the open file and not to the
// process, so that it also keeps goroutines of one process apart.
func (b *Book) lock(ctx context.Context) (unlock func(), err error) {
	f, err := os.OpenFile(filepath.Join(b.dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the lock on addresses: %w", err)
	}
	if err := acquire(ctx, f); err != nil {
		return nil, errors.Join(fmt.Errorf("waiting for the lock %s: %w", f.Name(), err), f.Close())
	}
	return func() { f.Close() }, nil
}

func acquire(ctx context.Context, f *os.File) error {
	for ctx.Err() == nil {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			return err
		}
		select {
		case <-ctx.Done():
		case <-time.After(retry):
		}
	}
	return ctx.Err()
}
