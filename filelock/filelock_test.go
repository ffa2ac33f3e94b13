package filelock

import (
	"context"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestSecondWaitsForFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "lock")
		first, err := Acquire(t.Context(), path)
		require.NoError(t, err)
		var released atomic.Bool
		time.AfterFunc(time.Minute, func() {
			released.Store(true)
			first.Release()
		})
		second, err := Acquire(t.Context(), path)
		require.NoError(t, err)
		defer second.Release()
		require.True(t, released.Load())
	})
}

func TestWaitingEndsWithTheContext(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	held, err := Acquire(t.Context(), path)
	require.NoError(t, err)
	defer held.Release()

	ctx, cancel := context.WithTimeout(t.Context(), 2*longestPoll)
	defer cancel()
	_, err = Acquire(ctx, path)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorContains(t, err, path)
}

func TestTryAcquireDoesNotWait(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	held, err := TryAcquire(path)
	require.NoError(t, err)
	require.NotNil(t, held)
	second, err := TryAcquire(path)
	require.NoError(t, err)
	require.Nil(t, second)

	require.NoError(t, held.Release())
	third, err := TryAcquire(path)
	require.NoError(t, err)
	require.NoError(t, third.Release())
	_, err = TryAcquire(filepath.Join(path, "below a file"))
	require.ErrorContains(t, err, "opening a lock")
}

func TestLockIsCloseOnExec(t *testing.T) {
	lock, err := Acquire(t.Context(), filepath.Join(t.TempDir(), "lock"))
	require.NoError(t, err)
	defer lock.Release()
	flags, err := unix.FcntlInt(lock.file.Fd(), unix.F_GETFD, 0)
	require.NoError(t, err)
	require.NotZero(t, flags&unix.FD_CLOEXEC)
}

func TestDirectoriesCanBeLocked(t *testing.T) {
	dir := t.TempDir()
	held, err := AcquireDirectory(t.Context(), dir)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 2*longestPoll)
	defer cancel()
	_, err = AcquireDirectory(ctx, dir)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.NoError(t, held.Release())
	again, err := AcquireDirectory(t.Context(), dir)
	require.NoError(t, err)
	require.NoError(t, again.Release())
	_, err = AcquireDirectory(t.Context(), filepath.Join(dir, "missing"))
	require.ErrorContains(t, err, "opening a lock")
}

func TestLinksAreNotFollowed(t *testing.T) {
	dir := t.TempDir()
	link := filepath.Join(dir, "link")
	require.NoError(t, os.Symlink(t.TempDir(), link))
	for name, take := range map[string]func() (*Lock, error){
		"Acquire":             func() (*Lock, error) { return Acquire(t.Context(), link) },
		"TryAcquire":          func() (*Lock, error) { return TryAcquire(link) },
		"AcquireDirectory":    func() (*Lock, error) { return AcquireDirectory(t.Context(), link) },
		"ShareDirectory":      func() (*Lock, error) { return ShareDirectory(t.Context(), link) },
		"TryAcquireDirectory": func() (*Lock, error) { return TryAcquireDirectory(link) },
	} {
		_, err := take()
		require.ErrorContains(t, err, "opening a lock: open "+link, name)
	}
}
