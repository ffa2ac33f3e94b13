package diskguard_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/diskspace"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/filelock"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/host/diskguard"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/output"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/sandbox"
)

const mib = 1 << 20

// soon bounds the wait for what takes a moment.
const soon = time.Minute

// world is a guarded disk.
type world struct {
	*sandbox.Disk
	t   *testing.T
	log output.Buffer
}

func newWorld(t *testing.T) *world { return &world{Disk: sandbox.NewDisk(t, 128*mib), t: t} }

func (w *world) guard(reserve int64, lists ...diskguard.List) *diskguard.Guard {
	log := slog.New(slog.NewTextHandler(&w.log, nil))
	return diskguard.New(diskguard.Options{Dir: w.Dir, Reserve: reserve, Lists: lists, Log: log})
}

// keep writes a file of so many MiB, which may be removed unless it is in use.
func (w *world) keep(name string, size int, inUse *bool) diskspace.Leftover {
	w.t.Helper()
	path := filepath.Join(w.Dir, name)
	require.NoError(w.t, os.WriteFile(path, make([]byte, size*mib), 0o600))
	return diskspace.Leftover{What: name, Bytes: int64(size * mib), Remove: func() (bool, error) {
		if inUse != nil && *inUse {
			return false, nil
		}
		return diskspace.Remove(path)()
	}}
}

func list(leftovers ...diskspace.Leftover) diskguard.List {
	return func() ([]diskspace.Leftover, error) { return leftovers, nil }
}

func TestRoomIsMadeInOrderAndNoMoreThanIsWanted(t *testing.T) {
	w := newWorld(t)
	inUse := true
	guard := w.guard(32*mib,
		list(w.keep("build", 8, nil)),
		func() ([]diskspace.Leftover, error) { return nil, errors.New("a directory cannot be read") },
		list(w.keep("used", 8, &inUse), w.keep("old", 8, nil), w.keep("new", 8, nil)),
	)
	require.Empty(t, guard.Closed())
	freeable, err := guard.Freeable()
	require.ErrorContains(t, err, "cannot be read")
	require.EqualValues(t, 32*mib, freeable)

	w.Fill(20 * mib)
	require.Contains(t, guard.Closed(), "host.reserve_disk keeps 32.0 MiB")
	require.NoError(t, guard.Check(t.Context()))
	require.Empty(t, guard.Closed())
	for name, stays := range map[string]bool{"build": false, "used": true, "old": false, "new": true} {
		_, err := os.Stat(filepath.Join(w.Dir, name))
		require.Equal(t, stays, err == nil, name)
	}
	require.Contains(t, w.log.String(), `what=build size="8.0 MiB"`)
	require.Contains(t, w.log.String(), `what=old size="8.0 MiB"`)
	require.Contains(t, w.log.String(), "a directory cannot be read")
}

func TestWhatCannotBeFreedIsSaidUntilThereIsRoom(t *testing.T) {
	w := newWorld(t)
	inUse := true
	guard := w.guard(32*mib, list(w.keep("used", 8, &inUse)))
	w.Fill(20 * mib)
	err := guard.Check(t.Context())
	require.ErrorAs(t, err, new(*diskguard.Short))
	require.ErrorContains(t, err, "where "+w.Dir+" is")
	require.Equal(t, guard.Closed(), err.Error())
	require.FileExists(t, filepath.Join(w.Dir, "used"))
	w.Empty()
	require.Empty(t, guard.Closed())
	require.NoError(t, guard.Check(t.Context()))
}

func TestRoomIsMadeInTheBackgroundWhenItIsMissed(t *testing.T) {
	w := newWorld(t)
	guard := w.guard(32*mib, list(w.keep("build", 16, nil)))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { guard.Run(ctx); close(ended) }()
	w.Fill(20 * mib)
	require.Eventually(t, func() bool { return guard.Closed() == "" }, soon, 10*time.Millisecond)
	require.NoFileExists(t, filepath.Join(w.Dir, "build"))
	cancel()
	<-ended
}

func TestOneProcessMakesRoomAtATime(t *testing.T) {
	w := newWorld(t)
	guard := w.guard(32*mib, list(w.keep("build", 16, nil)))
	w.Fill(20 * mib)
	lock, err := filelock.TryAcquireDirectory(w.Dir)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	err = guard.Check(ctx)
	require.ErrorAs(t, err, new(*diskguard.Short))
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.FileExists(t, filepath.Join(w.Dir, "build"))

	released := time.AfterFunc(100*time.Millisecond, func() { lock.Release() })
	defer released.Stop()
	require.NoError(t, guard.Check(t.Context()), "it waits for the other one")
}

func TestReserveThatIsNotSaidIsAShareOfTheDisk(t *testing.T) {
	w := newWorld(t)
	guard := w.guard(0)
	require.Empty(t, guard.Closed())
	w.Fill(2 * mib)
	require.Contains(t, guard.Closed(), "only 2.") // of 128 MiB, less what ext4 takes, a twentieth is about 6
}
