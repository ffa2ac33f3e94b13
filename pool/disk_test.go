package pool_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/diskspace"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/store"
)

// disk is one that is short of room until it is emptied.
type disk struct {
	mu     sync.Mutex
	reason string
	image  bool
}

func (d *disk) Closed() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.reason
}

func (d *disk) HasImage(string) bool { return d.image }

func (d *disk) set(reason string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.reason = reason
}

func openOnDisk(t *testing.T, w *world, d *disk) (*pool.Pool, *store.Store) {
	t.Helper()
	s, err := store.Open(t.TempDir())
	require.NoError(t, err)
	parts := w.parts(s)
	parts.Disk = d
	p := pool.New(config, parts)
	require.NoError(t, p.Open(t.Context()))
	return p, s
}

func TestImageIsBuiltWhenThereIsRoomOnTheDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, d := newWorld(), &disk{reason: "only 1 MiB is free"}
		built := false
		w.on("build", func(context.Context, string) error { built = true; return nil })
		p, s := openOnDisk(t, w, d)
		synctest.Wait()
		grow(t, p, 1)
		pass(time.Hour)
		require.False(t, built)
		id := only(t, p).ID
		require.Equal(t, pool.Creating, only(t, p).State, "it waits, and does not fail")
		record, err := s.Load(id)
		require.NoError(t, err)
		require.Equal(t, "the golden image is not built yet: only 1 MiB is free", record.Reason)

		d.set("")
		pass(time.Minute)
		require.Equal(t, pool.Running, only(t, p).State)
		record, err = s.Load(id)
		require.NoError(t, err)
		require.Empty(t, record.Reason)
		require.NoError(t, p.Close(t.Context()))
	})
}

// The next wait has no reason of its own.
func TestReasonOfAWaitGoesWithIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, d := newWorld(), &disk{reason: "only 1 MiB is free"}
		w.on("start", hang)
		p, s := openOnDisk(t, w, d)
		synctest.Wait()
		grow(t, p, config.ConcurrentStarts+1)
		pass(time.Minute)
		d.set("")
		pass(10 * time.Second)
		for _, id := range idsIn(p, pool.Creating) {
			record, err := s.Load(id)
			require.NoError(t, err)
			require.Empty(t, record.Reason)
		}
		require.NoError(t, p.Close(t.Context()))
	})
}

func TestImageThatIsThereNeedsNoRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		p, _ := openOnDisk(t, w, &disk{reason: "only 1 MiB is free", image: true})
		grow(t, p, 1)
		synctest.Wait()
		require.Equal(t, pool.Running, only(t, p).State, "who starts is not for this part to say")
		require.NoError(t, p.Close(t.Context()))
	})
}

func TestTemplateIsMadeWhenThereIsRoomOnTheDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, d := newWorld(), &disk{reason: "only 1 MiB is free", image: true}
		s, err := store.Open(t.TempDir())
		require.NoError(t, err)
		parts := w.parts(s)
		forking := newForking(w)
		parts.Backend, parts.Disk = forking, d
		p := pool.New(config, parts)
		require.NoError(t, p.Open(t.Context()))
		pass(time.Hour)
		require.Empty(t, forking.made())
		d.set("")
		pass(time.Minute)
		require.Len(t, forking.made(), 1)
		require.NoError(t, p.Close(t.Context()))
	})
}

// It is only looked after, again and again.
func TestTemplateThatIsThereNeedsNoRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.template = true
		s, err := store.Open(t.TempDir())
		require.NoError(t, err)
		parts := w.parts(s)
		var log bytes.Buffer
		parts.Log = slog.New(slog.NewTextHandler(&log, nil))
		forking := newForking(w)
		parts.Backend, parts.Disk = forking, &disk{reason: "only 1 MiB is free", image: true}
		p := pool.New(config, parts)
		require.NoError(t, p.Open(t.Context()))
		pass(12 * time.Minute)
		require.NoError(t, p.Close(t.Context()))
		require.Len(t, forking.made(), 3)
		require.NotContains(t, log.String(), "no template is made yet")
	})
}

// noRoom is what a backend says that could not save a machine.
func noRoom(context.Context, string) error {
	return fmt.Errorf("%w: %w", backend.ErrRunsOn, diskspace.Explain("/d", unix.ENOSPC))
}

func TestSuspendWaitsForRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.on("suspend", noRoom)
		p, s, id := oneRunning(t, w)
		_, err := p.Suspend([]string{id})
		require.NoError(t, err)
		pass(time.Hour)
		require.Equal(t, pool.Suspending, only(t, p).State)
		assert.Contains(t, w.left(), "machine "+id)
		record, err := s.Load(id)
		require.NoError(t, err)
		assert.Equal(t, "suspending", record.State)
		assert.Contains(t, record.Reason, "the file system of /d is full")

		w.on("suspend", nil)
		pass(time.Minute)
		require.Equal(t, pool.Suspended, only(t, p).State)
		record, err = s.Load(id)
		require.NoError(t, err)
		assert.Equal(t, "suspended", record.State)
		assert.Empty(t, record.Reason)
		require.NoError(t, p.Close(t.Context()))
	})
}

// TestSuspendWithoutRoomCanBeCalledOff has the runner delete the worker, and the pool
// close: neither waits for room.
func TestSuspendWithoutRoomCanBeCalledOff(t *testing.T) {
	for name, callOff := range map[string]func(*testing.T, *pool.Pool, string){
		"deleted": func(t *testing.T, p *pool.Pool, id string) {
			p.Shrink([]string{id})
			synctest.Wait()
		},
		"closed": func(t *testing.T, p *pool.Pool, _ string) { require.NoError(t, p.Close(t.Context())) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				w.on("suspend", noRoom)
				p, _, id := oneRunning(t, w)
				_, err := p.Suspend([]string{id})
				require.NoError(t, err)
				pass(time.Minute)
				began := time.Now()
				callOff(t, p, id)
				require.Zero(t, time.Since(began))
				require.NotContains(t, w.left(), "machine "+id)
				require.NoError(t, p.Close(t.Context()))
			})
		})
	}
}
