package pool_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool"
)

// stocking is a pool with two spares, in a world that can have them.
func stocking(t *testing.T, w *world, most int) *pool.Pool {
	t.Helper()
	w.template = true
	stocked := config
	stocked.Spares, stocked.Max = 2, most
	p, _ := openPool(t, w, stocked)
	return p
}

func TestWorkersComeFromStock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.on("acquire", slowly)
		w.on("stock", slowly)
		p := stocking(t, w, 10)
		time.Sleep(time.Minute)
		spares := w.inStock()
		require.Len(t, spares, 2)
		require.Empty(t, p.Workers(), "nobody has asked for them")

		began := time.Now()
		grow(t, p, 2)
		synctest.Wait()
		require.Zero(t, time.Since(began), "all that takes time was done before")
		ids := []string{}
		for id, state := range states(p) {
			require.Equal(t, pool.Running, state)
			ids = append(ids, id)
		}
		require.ElementsMatch(t, spares, ids)
		time.Sleep(time.Minute)
		require.Len(t, w.inStock(), 2, "and is filled up")
	})
}

func TestStockWaitsForWorkersThatAreMade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		p := stocking(t, w, 10)
		synctest.Wait()
		w.on("ready", slowly)
		grow(t, p, 3)
		time.Sleep(9 * time.Second)
		require.Empty(t, w.inStock())
		time.Sleep(2 * time.Second)
		require.Len(t, w.inStock(), 2)
	})
}

func TestStockLeavesRoomForWorkers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		p := stocking(t, w, 3)
		synctest.Wait()
		grow(t, p, 2)
		synctest.Wait()
		require.Len(t, w.inStock(), 1)
		grow(t, p, 1)
		synctest.Wait()
		require.Empty(t, w.inStock())
		require.Equal(t, 3, len(p.Workers()))
		p.Shrink([]string{p.Workers()[0].ID})
		synctest.Wait()
		require.Len(t, w.inStock(), 1)
	})
}

// Who counts the addresses that a pool can take has to know of that one.
func TestOneSpareAtMostIsMadeWhileItsRoomGoesToAWorker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		p := stocking(t, w, 3)
		synctest.Wait()
		w.on("stock", slowly)
		leases := func() int {
			w.mu.Lock()
			defer w.mu.Unlock()
			return len(w.leases)
		}
		grow(t, p, 2) // both spares go
		synctest.Wait()
		require.Equal(t, 3, leases(), "another one is being made")
		grow(t, p, 1)
		synctest.Wait()
		require.Len(t, p.Workers(), 3)
		require.Equal(t, 4, leases())
		time.Sleep(time.Minute)
		require.Equal(t, 3, leases(), "there is no room for it")
	})
}

func TestSpareThatFailsIsTornDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.on("stock", fail(errBroken))
		p := stocking(t, w, 10)
		synctest.Wait()
		require.Equal(t, []string{"network"}, w.left())
		w.on("stock", nil)
		time.Sleep(2 * time.Second)
		require.Len(t, w.inStock(), 2, "and is tried again")
		require.Empty(t, p.Workers())
	})
}

func TestNoStockWithoutATemplate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.on("stock", func(context.Context, string) error { panic("there is no template") })
		stocked := config
		stocked.Spares = 2
		p, _ := openPool(t, w, stocked)
		time.Sleep(time.Hour)
		grow(t, p, 1)
		synctest.Wait()
		require.Equal(t, pool.Running, only(t, p).State)
	})
}

// The spare on its way does not know of workers that come meanwhile.
func TestSpareWhoseRoomIsTakenMeanwhileGoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.on("stock", slowly)
		p := stocking(t, w, 3)
		time.Sleep(5 * time.Second)
		require.Len(t, w.inStock(), 1, "on its way")
		grow(t, p, 3)
		time.Sleep(time.Minute)
		require.Empty(t, w.inStock())
		require.Len(t, p.Workers(), 3)
	})
}

func TestCloseClearsTheStockAllAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.template = true
		stocked := config
		stocked.Spares = 4
		p, s := newPool(t, w, stocked)
		require.NoError(t, p.Open(t.Context()))
		synctest.Wait()
		require.Len(t, w.inStock(), 4)
		w.on("destroy", slowly)
		began := time.Now()
		closePool(t, w, p, s)
		require.Equal(t, 10*time.Second, time.Since(began))
	})
}
