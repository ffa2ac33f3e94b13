package pool_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/store"
)

// failing fails so many times, then never again.
func failing(times int64) hook {
	var calls atomic.Int64
	return func(context.Context, string) error {
		if calls.Add(1) <= times {
			return errBroken
		}
		return nil
	}
}

func TestTeardownIsTriedUntilItSucceeds(t *testing.T) {
	for _, operation := range []string{"destroy", "release"} {
		t.Run(operation, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				w.on(operation, failing(2))
				p, s := openPool(t, w, config)
				grow(t, p, 1)
				synctest.Wait()
				id := only(t, p).ID
				p.Shrink([]string{id})
				synctest.Wait()
				record, err := s.Load(id)
				require.NoError(t, err, "the directory remembers what is left")
				assert.Equal(t, "deleting", record.State)
				assert.Contains(t, record.Reason, errBroken.Error())
				time.Sleep(2900 * time.Millisecond) // of 1 s and 2 s
				assert.Equal(t, pool.Deleting, only(t, p).State)
				time.Sleep(200 * time.Millisecond)
				assert.Equal(t, pool.Deleted, only(t, p).State)
				assert.NoDirExists(t, s.Dir(id))
			})
		})
	}
}

func TestTeardownThatHangsIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.on("destroy", hang)
		p, _ := openPool(t, w, config)
		grow(t, p, 1)
		synctest.Wait()
		p.Shrink([]string{only(t, p).ID})
		time.Sleep(30 * time.Second)
		w.on("destroy", nil)
		time.Sleep(900 * time.Millisecond)
		assert.Equal(t, pool.Deleting, only(t, p).State)
		time.Sleep(200 * time.Millisecond)
		assert.Equal(t, pool.Deleted, only(t, p).State)
	})
}

func TestCloseTearsEverythingDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		p, s := newPool(t, w, config)
		require.NoError(t, p.Open(t.Context()))
		grow(t, p, 5)
		synctest.Wait()
		w.on("start", hang)
		grow(t, p, 5) // four hang, one waits
		w.on("destroy", func(context.Context, string) error { time.Sleep(10 * time.Second); return nil })
		synctest.Wait()

		began := time.Now()
		closePool(t, w, p, s)
		assert.Equal(t, 10*time.Second, time.Since(began), "all at once")
		_, err := p.Grow(1)
		assert.ErrorIs(t, err, pool.ErrClosing)
		shown := states(p)
		assert.Len(t, shown, 10, "what was promised shows even now")
		for _, state := range shown {
			assert.Equal(t, pool.Creating, state)
		}
		require.NoError(t, p.Close(t.Context()), "again")
	})
}

func TestCloseClosesTheNetworkOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		var times int
		w.on("close", func(context.Context, string) error { times++; return errBroken })
		p, s := newPool(t, w, config)
		require.NoError(t, p.Open(t.Context()))
		require.NoError(t, s.SaveBreaker(store.Breaker{}))
		require.ErrorIs(t, p.Close(t.Context()), errBroken)
		require.Equal(t, 1, times)
		_, open, err := s.Breaker()
		require.NoError(t, err)
		require.False(t, open, "whatever becomes of the network")
		w.on("close", func(context.Context, string) error { times++; return nil })
		closePool(t, w, p, s)
		require.Equal(t, 2, times)
	})
}

func TestCloseHurries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.on("destroy", fail(errBroken))
		p, s := newPool(t, w, config)
		require.NoError(t, p.Open(t.Context()))
		grow(t, p, 1)
		synctest.Wait()
		p.Shrink([]string{only(t, p).ID})
		time.Sleep(10 * time.Minute) // by now it pauses for a minute
		w.on("destroy", nil)
		began := time.Now()
		closePool(t, w, p, s)
		assert.LessOrEqual(t, time.Since(began), time.Second)
	})
}

func TestCloseGivesUpWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.on("destroy", fail(errBroken))
		p, s := newPool(t, w, config)
		require.NoError(t, p.Open(t.Context()))
		grow(t, p, 2)
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		err := p.Close(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.ErrorContains(t, err, "2 workers are left")
		synctest.Wait()
		assert.Contains(t, w.left(), "network", "it is still in use")

		// The next plugin process finds them.
		w.on("destroy", nil)
		next := pool.New(config, w.parts(s))
		require.NoError(t, next.Open(t.Context()))
		assert.Equal(t, []string{"network"}, w.left())
		closePool(t, w, next, s)
	})
}

// A machine must not lose its network, or another get its address, while it
// runs; and one that cannot be ended had better be off the network.
func TestMachineGoesBeforeItsLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		p, s := newPool(t, w, config)
		require.NoError(t, p.Open(t.Context()))
		grow(t, p, 2)
		synctest.Wait()
		workers := p.Workers()
		w.on("release", func(_ context.Context, id string) error {
			assert.NotContains(t, w.left(), "machine "+id)
			return nil
		})
		p.Shrink([]string{workers[0].ID})
		synctest.Wait()
		w.on("release", nil)
		w.on("destroy", fail(errBroken))
		p.Shrink([]string{workers[1].ID})
		synctest.Wait()
		assert.ElementsMatch(t, []string{"network", "machine " + workers[1].ID}, w.left())
		w.on("destroy", nil)
		closePool(t, w, p, s)
	})
}
