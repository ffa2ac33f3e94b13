package pool_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/store"
)

var errBroken = errors.New("broken on purpose")

func TestLifeOfAWorker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.on("ready", func(context.Context, string) error { time.Sleep(2 * time.Second); return nil })
		p, s := openPool(t, w, config)

		grow(t, p, 1)
		id := only(t, p).ID
		assert.Regexp(t, `^test-[a-z2-7]{8}$`, id)
		assert.Equal(t, pool.Creating, only(t, p).State)
		_, err := p.Connection(id)
		assert.ErrorIs(t, err, pool.ErrNotRunning)
		assert.ErrorIs(t, p.Heartbeat(id), pool.ErrNotRunning)

		time.Sleep(3 * time.Second)
		assert.Equal(t, pool.Running, only(t, p).State)
		connection, err := p.Connection(id)
		require.NoError(t, err)
		assert.Equal(t, pool.Connection{
			Address: netip.MustParseAddrPort("192.0.2.7:22"), User: "runner", PrivateKey: "key of " + id, OS: "linux",
		}, connection)
		assert.NoError(t, p.Heartbeat(id))
		record, err := s.Load(id)
		require.NoError(t, err)
		assert.Equal(t, "running", record.State)
		assert.Equal(t, backend.Fork, record.How)
		assert.Equal(t, "imagined", record.Acceleration)
		assert.Equal(t, config.Recipe.Digest(), record.ImageDigest)
		assert.Equal(t, 2*time.Second, record.ReadyAt.Sub(record.CreatedAt))
		assert.Equal(t, 2.0, record.Phases[pool.PhaseReady])
		assert.Equal(t, "host key of "+id, record.HostKeyPublic)

		w.on("destroy", func(context.Context, string) error { time.Sleep(time.Second); return nil })
		assert.Equal(t, []string{id}, p.Shrink([]string{id}))
		assert.Equal(t, pool.Deleting, only(t, p).State, "at once")
		assert.Equal(t, []string{id}, p.Shrink([]string{id}), "again")
		_, err = p.Connection(id)
		assert.ErrorIs(t, err, pool.ErrNotRunning)
		synctest.Wait()
		record, err = s.Load(id)
		require.NoError(t, err)
		assert.Equal(t, "deleting", record.State, "for those who look from outside")
		assert.Equal(t, "deleted on request", record.Reason)
		time.Sleep(2 * time.Second)
		gone := only(t, p)
		assert.Equal(t, pool.Deleted, gone.State)
		assert.Equal(t, "deleted on request", gone.Reason)
		assert.Empty(t, p.Workers(), "deleted shows once")
		assert.ErrorIs(t, p.Heartbeat(id), pool.ErrUnknown)
		assert.Equal(t, []string{id, "test-unknown"}, p.Shrink([]string{id, "test-unknown"}))
	})
}

// Whoever finds the machine of a plugin that was killed finds its keys beside it.
func TestRecordIsThereBeforeTheMachine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		p, s := openPool(t, w, config)
		recorded := make(chan store.Record, 1)
		w.on("start", func(_ context.Context, id string) error {
			record, err := s.Load(id)
			recorded <- record
			return err
		})
		grow(t, p, 1)
		record := <-recorded
		assert.Equal(t, "creating", record.State)
		assert.Equal(t, "key of "+record.ID, record.PrivateKey)
		assert.Equal(t, "host key of "+record.ID, record.HostKeyPublic)
	})
}

func TestFailureOfEachPart(t *testing.T) {
	for _, operation := range []string{"acquire", "start", "ready", "await"} {
		t.Run(operation, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				w.on(operation, fail(errBroken))
				p, s := openPool(t, w, config)
				grow(t, p, 1)
				synctest.Wait()
				assert.Equal(t, []string{"network"}, w.left(), "it is torn down")
				ids, err := s.List()
				require.NoError(t, err)
				assert.Empty(t, ids)

				first := only(t, p)
				assert.Equal(t, pool.Creating, first.State, "it must not show as deleted first")
				gone := only(t, p)
				assert.Equal(t, pool.Deleted, gone.State)
				assert.Equal(t, first.ID, gone.ID)
				assert.Contains(t, gone.Reason, errBroken.Error())
				assert.Contains(t, gone.Reason, gone.ID)
				assert.Empty(t, p.Workers())
			})
		})
	}
}

func TestFailureIsLoggedOnceAndKeysNever(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.on("ready", fail(errBroken))
		var log bytes.Buffer
		s, err := store.Open(t.TempDir())
		require.NoError(t, err)
		parts := w.parts(s)
		parts.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
		p := pool.New(config, parts)
		require.NoError(t, p.Open(t.Context()))
		grow(t, p, 1)
		synctest.Wait()
		require.NoError(t, p.Close(t.Context()))
		assert.Equal(t, 1, strings.Count(log.String(), errBroken.Error()), log.String())
		assert.NotContains(t, log.String(), "key of")
	})
}

func TestMachineThatEndsByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		p, _ := openPool(t, w, config)
		grow(t, p, 2)
		synctest.Wait()
		workers := p.Workers()
		require.Equal(t, pool.Running, workers[0].State)
		w.crash(workers[0].ID)
		synctest.Wait() // no time passes
		for _, worker := range p.Workers() {
			if worker.ID == workers[0].ID {
				assert.Equal(t, pool.Deleted, worker.State)
				assert.Equal(t, "machine is gone: crashed", worker.Reason)
			} else {
				assert.Equal(t, pool.Running, worker.State)
			}
		}
	})
}

// The runner may ask before the pool has noticed.
func TestHeartbeatAsksTheMachine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		p, _ := openPool(t, w, config)
		grow(t, p, 1)
		synctest.Wait()
		id := only(t, p).ID
		require.NoError(t, p.Heartbeat(id))
		w.fault(id)
		require.ErrorIs(t, p.Heartbeat(id), guest.ErrGone)
		require.Equal(t, pool.Running, only(t, p).State)
	})
}

// The runner has one goroutine for all of these.
func TestNoMethodTakesTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		p, _ := openPool(t, w, config)
		grow(t, p, 3)
		synctest.Wait()
		var ids []string
		for _, worker := range p.Workers() {
			ids = append(ids, worker.ID)
		}
		_, err := p.Suspend(ids[2:])
		require.NoError(t, err)
		synctest.Wait()
		for _, operation := range []string{"acquire", "start", "ready", "await", "destroy", "release", "suspend", "resume"} {
			w.on(operation, slowly)
		}
		began := time.Now()
		require.NoError(t, p.Heartbeat(ids[0]))
		_, err = p.Connection(ids[0])
		require.NoError(t, err)
		grow(t, p, 3)
		_, err = p.Suspend(ids[1:2])
		require.NoError(t, err)
		_, err = p.Resume(ids[2:])
		require.NoError(t, err)
		p.Shrink(ids)
		require.Len(t, p.Workers(), 6)
		require.Zero(t, time.Since(began))
	})
}

func TestMachineThatEndsBeforeItIsReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.on("ready", hang)
		p, _ := openPool(t, w, config)
		grow(t, p, 1)
		synctest.Wait()
		w.crash(only(t, p).ID)
		synctest.Wait() // no time passes
		gone := only(t, p)
		assert.Equal(t, pool.Deleted, gone.State)
		assert.Contains(t, gone.Reason, "machine is gone: crashed")
	})
}

func TestStartTimeout(t *testing.T) {
	for _, operation := range []string{"acquire", "start", "ready", "await"} {
		t.Run(operation, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				// What waits before the start does not count.
				w.on("build", func(context.Context, string) error { time.Sleep(time.Hour); return nil })
				w.on(operation, hang)
				p, _ := openPool(t, w, config)
				grow(t, p, 1)
				time.Sleep(time.Hour + config.StartTimeout - time.Second)
				assert.Equal(t, pool.Creating, only(t, p).State)
				time.Sleep(2 * time.Second)
				gone := only(t, p)
				assert.Equal(t, pool.Deleted, gone.State)
				assert.Contains(t, gone.Reason, "start timeout of 1m0s")
			})
		})
	}
}

func TestShrinkWaitsForTheCreation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		starting := true
		w.on("start", func(ctx context.Context, _ string) error {
			<-ctx.Done()
			time.Sleep(5 * time.Second) // it takes its time to give up
			starting = false
			return ctx.Err()
		})
		w.on("destroy", func(context.Context, string) error {
			assert.False(t, starting, "torn down while it was being made")
			return nil
		})
		p, _ := openPool(t, w, config)
		grow(t, p, 1)
		synctest.Wait()
		id := only(t, p).ID
		p.Shrink([]string{id})
		time.Sleep(4 * time.Second)
		assert.Equal(t, pool.Deleting, only(t, p).State)
		time.Sleep(2 * time.Second)
		gone := only(t, p)
		assert.Equal(t, pool.Deleted, gone.State)
		assert.Equal(t, "deleted on request", gone.Reason)
	})
}

func TestShrinkOfAWorkerThatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.on("build", hang)
		w.on("start", func(context.Context, string) error { panic("it was never to be made") })
		p, _ := openPool(t, w, config)
		grow(t, p, 1)
		p.Shrink([]string{only(t, p).ID})
		synctest.Wait()
		assert.Equal(t, pool.Deleted, only(t, p).State)
	})
}

func TestGrowKeepsToTheMaximum(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		small := config
		small.Max = 3
		w := newWorld()
		p, _ := openPool(t, w, small)
		promised, err := p.Grow(5)
		require.NoError(t, err)
		assert.Equal(t, 3, promised)
		assert.Len(t, p.Workers(), 3)
		_, err = p.Grow(1)
		assert.ErrorIs(t, err, pool.ErrFull)
		promised, err = p.Grow(0)
		assert.NoError(t, err)
		assert.Zero(t, promised)

		synctest.Wait()
		p.Shrink([]string{p.Workers()[0].ID})
		_, err = p.Grow(1)
		assert.ErrorIs(t, err, pool.ErrFull, "a worker being deleted takes room")
		synctest.Wait()
		grow(t, p, 1) // one that is gone does not, shown or not
	})
}

func TestWorkerThatHasNoRoomOnDiskFailsAfterItWasShown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		p, s := openPool(t, w, config)
		dir := s.Dir("")
		require.NoError(t, os.RemoveAll(dir))
		grow(t, p, 2)
		synctest.Wait()
		require.Equal(t, pool.Creating, p.Workers()[0].State)
		gone := p.Workers()
		require.Len(t, gone, 2)
		assert.Equal(t, pool.Deleted, gone[0].State)
		assert.Contains(t, gone[0].Reason, "no such file or directory")
		require.NoError(t, os.Mkdir(dir, 0o700))
		grow(t, p, 100) // the room was given back
		synctest.Wait()
	})
}
