package pool_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool"
)

// rehearsals counts those that have ended, and holds that there is one at a time.
func rehearsals(t *testing.T, w *world, took time.Duration) *atomic.Int32 {
	t.Helper()
	var now, ended atomic.Int32
	w.on("rehearse", func(ctx context.Context, _ string) error {
		require.EqualValues(t, 1, now.Add(1))
		defer now.Add(-1)
		select {
		case <-time.After(took):
			ended.Add(1)
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	return &ended
}

func TestEmulatedWorkersRehearseWhileNobodyIsOnTheWayUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.emulated = true
		ended := rehearsals(t, w, time.Second)
		p, _ := openPool(t, w, config)
		grow(t, p, 2)
		time.Sleep(3 * time.Second)
		require.EqualValues(t, 2, ended.Load())

		w.on("ready", func(context.Context, string) error { time.Sleep(10 * time.Second); return nil })
		grow(t, p, 1)
		time.Sleep(10*time.Second - 1)
		require.EqualValues(t, 2, ended.Load())
		time.Sleep(2 * time.Second)
		require.EqualValues(t, 3, ended.Load())
		for _, state := range states(p) {
			require.Equal(t, pool.Running, state)
		}
	})
}

func TestARehearsalDoesNotOutliveItsWorker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.emulated = true
		ended := rehearsals(t, w, time.Hour)
		p, _ := openPool(t, w, config)
		grow(t, p, 1)
		synctest.Wait()
		p.Shrink([]string{only(t, p).ID})
		synctest.Wait()
		require.Equal(t, pool.Deleted, only(t, p).State)
		require.Zero(t, ended.Load())
	})
}

func TestWorkersThatAreNotEmulatedDoNotRehearse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		ended := rehearsals(t, w, 0)
		p, _ := openPool(t, w, config)
		grow(t, p, 2)
		time.Sleep(time.Minute)
		require.Zero(t, ended.Load())
	})
}
