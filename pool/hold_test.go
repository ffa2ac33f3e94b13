package pool_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/store"
)

// holding is a configuration for one worker at a time, of which jobs may have two held.
func holding() pool.Config {
	c := config
	c.Max = 1
	c.Hold = pool.Hold{JobsAsk: true, For: 2 * time.Hour, Max: 2}
	return c
}

// begin opens a pool with one worker that runs. Its test closes it.
func begin(t *testing.T, w *world, c pool.Config) (p *pool.Pool, s *store.Store, id string) {
	t.Helper()
	p, s = newPool(t, w, c)
	require.NoError(t, p.Open(t.Context()))
	return p, s, another(t, p)
}

// another adds a worker, the only one that the runner sees.
func another(t *testing.T, p *pool.Pool) string {
	t.Helper()
	grow(t, p, 1)
	synctest.Wait()
	require.Equal(t, pool.Running, only(t, p).State)
	return only(t, p).ID
}

// giveBack is what a runner does with a worker after its job. It sees the worker as deleted
// once, and no more.
func giveBack(t *testing.T, p *pool.Pool, id string) {
	t.Helper()
	p.Shrink([]string{id})
	synctest.Wait()
	require.Equal(t, map[string]pool.State{id: pool.Deleted}, states(p))
	require.Empty(t, p.Workers())
}

// heldNow is the record of a worker that is held.
func heldNow(t *testing.T, s *store.Store, id string) store.Record {
	t.Helper()
	record, err := s.Load(id)
	require.NoError(t, err)
	require.Equal(t, "held", record.State)
	require.NotNil(t, record.Held)
	return record
}

// requireEnded wants a worker to be gone, and the reason to be kept.
func requireEnded(t *testing.T, s *store.Store, id, reason string) {
	t.Helper()
	ids, err := s.List()
	require.NoError(t, err)
	require.NotContains(t, ids, id)
	ended, err := s.Ended()
	require.NoError(t, err)
	i := slices.IndexFunc(ended, func(e store.Ended) bool { return e.ID == id })
	require.GreaterOrEqual(t, i, 0, "nothing is kept of %s", id)
	require.Contains(t, ended[i].Reason, reason)
}

func TestAJobHasItsWorkerHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.asks = "job 17 of \x1b[2Jus failed\n"
		p, s, id := begin(t, w, holding())
		giveBack(t, p, id)
		record := heldNow(t, s, id)
		require.WithinDuration(t, time.Now(), record.Held.Since, 0)
		require.WithinDuration(t, time.Now().Add(2*time.Hour), record.Held.Until, 0)
		require.Equal(t, "its job asked for it, and says: job 17 of us failed", record.Held.Why)
		left := []string{"network", "machine " + id, "lease " + id}
		require.ElementsMatch(t, left, w.left())
		require.True(t, w.isolated[id])

		w.asks = ""
		next := another(t, p) // its slot is free
		giveBack(t, p, next)
		require.ElementsMatch(t, left, w.left(), "this job asked for nothing")

		time.Sleep(2*time.Hour - time.Minute)
		heldNow(t, s, id)
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		requireEnded(t, s, id, "its time is over")
		closePool(t, w, p, s)
	})
}

func TestTheOperatorHoldsAWorker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		c := holding()
		c.Hold.JobsAsk = false
		w.on("asked", func(context.Context, string) error { panic("nobody may ask") })
		p, s, id := begin(t, w, c)
		require.NoError(t, p.Hold(id, 3*time.Hour))
		time.Sleep(5 * time.Hour)
		require.Equal(t, pool.Running, only(t, p).State, "as long as the runner wants it")
		giveBack(t, p, id)
		require.Equal(t, "the operator asked for it", heldNow(t, s, id).Held.Why)
		require.NoError(t, p.Hold(id, 0))
		synctest.Wait()
		require.WithinDuration(t, time.Now().Add(2*time.Hour), heldNow(t, s, id).Held.Until, 0, "from now on")
		time.Sleep(2*time.Hour + time.Second)
		synctest.Wait()
		requireEnded(t, s, id, "its time is over")

		require.ErrorIs(t, p.Hold("test-aaaaaaaa", 0), pool.ErrUnknown)
		id = another(t, p)
		require.NoError(t, p.Hold(id, 0))
		giveBack(t, p, id)
		require.NoError(t, p.End(id))
		synctest.Wait()
		requireEnded(t, s, id, "removed by the operator")
		closePool(t, w, p, s)
	})
}

func TestNoMoreAreHeldThanMayBe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.asks = "please"
		p, s, first := begin(t, w, holding())
		giveBack(t, p, first)
		second := another(t, p)
		giveBack(t, p, second)
		third := another(t, p)
		require.ErrorContains(t, p.Hold(third, 0), "2 workers are held already")
		giveBack(t, p, third)
		ids, err := s.List()
		require.NoError(t, err)
		require.ElementsMatch(t, []string{first, second}, ids)
		require.NoError(t, p.End(first))
		require.NoError(t, p.End(second))
		synctest.Wait()
		closePool(t, w, p, s)
	})
}

func TestEndEndsAWorkerInUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.asks = "please"
		p, s, id := begin(t, w, holding())
		require.NoError(t, p.End(id))
		require.NoError(t, p.End(id))
		synctest.Wait()
		worker := only(t, p)
		require.Equal(t, pool.Deleted, worker.State)
		require.Equal(t, "removed by the operator", worker.Reason)
		require.ErrorIs(t, p.End(id), pool.ErrUnknown)
		closePool(t, w, p, s)
	})
}

// TestWhatIsNotHeld has workers of which there is nothing to look at, or which do not say
// that they should be, or which cannot be kept to themselves.
func TestWhatIsNotHeld(t *testing.T) {
	for name, spoil := range map[string]func(w *world, id string){
		"a machine that has ended": func(w *world, id string) { w.fault(id) },
		"one that does not answer": func(w *world, _ string) { w.on("asked", hang) },
		"one that gets out":        func(w *world, _ string) { w.on("isolate", fail(errors.New("no nftables"))) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				w.asks = "please"
				p, s, id := begin(t, w, holding())
				spoil(w, id)
				p.Shrink([]string{id})
				require.NotEqual(t, pool.Deleted, only(t, p).State)
				time.Sleep(time.Minute)
				synctest.Wait()
				require.Equal(t, pool.Deleted, only(t, p).State)
				closePool(t, w, p, s)
			})
		})
	}
}

func TestAHeldWorkerEndsWithItsMachine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.asks = "please"
		p, s, id := begin(t, w, holding())
		giveBack(t, p, id)
		w.crash(id)
		synctest.Wait()
		requireEnded(t, s, id, "crashed")
		closePool(t, w, p, s)
	})
}

func TestHeldWorkersOutliveTheirPluginOnDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.asks = "please"
		p, s, id := begin(t, w, holding())
		giveBack(t, p, id)
		require.NoError(t, p.Close(context.Background()))
		saved := []string{"saved machine " + id, "parked lease " + id}
		require.ElementsMatch(t, saved, w.left())
		require.True(t, heldNow(t, s, id).Held.Saved)

		time.Sleep(time.Hour)
		p = pool.New(holding(), w.parts(s))
		require.NoError(t, p.Open(t.Context()))
		require.Empty(t, p.Workers(), "the runner knows nothing of it")
		require.ElementsMatch(t, append(saved, "network"), w.left())
		require.NoError(t, p.Hold(id, 3*time.Hour))
		synctest.Wait()
		require.NoError(t, p.Close(context.Background()))

		time.Sleep(4 * time.Hour)
		p = pool.New(holding(), w.parts(s))
		require.NoError(t, p.Open(t.Context()))
		requireEnded(t, s, id, "its time is over")
		closePool(t, w, p, s)
	})
}

// plainBackend is what every backend can, and no more.
type plainBackend struct{ backend.Backend }

// TestHeldWorkersEndWithAPluginThatCannotSaveThem has a backend that saves nothing, and a
// plugin that is killed before it saved anything.
func TestHeldWorkersEndWithAPluginThatCannotSaveThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.asks = "please"
		s, err := store.Open(t.TempDir())
		require.NoError(t, err)
		parts := w.parts(s)
		parts.Backend = plainBackend{parts.Backend}
		p := pool.New(holding(), parts)
		require.NoError(t, p.Open(t.Context()))
		id := another(t, p)
		giveBack(t, p, id)
		require.ErrorContains(t, p.Debug(t.Context(), id, nil), "cannot fork")
		closePool(t, w, p, s)
		requireEnded(t, s, id, "held worker ends with its plugin: its backend cannot save a machine")

		id = "test-abcdefgh"
		_, err = s.Reserve(id)
		require.NoError(t, err)
		require.NoError(t, s.Save(store.Record{
			ID: id, State: "held", HostKeyPublic: "a key", Held: &store.Held{Until: time.Now().Add(time.Hour)},
		}))
		p = pool.New(holding(), w.parts(s))
		require.NoError(t, p.Open(t.Context()))
		requireEnded(t, s, id, "held worker did not outlive its plugin: its machine was not saved")
		closePool(t, w, p, s)
	})
}

func TestHeldWorkersMayBeSavedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.asks = "please"
		c := holding()
		c.Hold.Save = true
		p, s, id := begin(t, w, c)
		giveBack(t, p, id)
		require.ElementsMatch(t, []string{"network", "saved machine " + id, "parked lease " + id}, w.left())
		require.True(t, heldNow(t, s, id).Held.Saved)
		require.NoError(t, p.End(id))
		synctest.Wait()

		w.on("suspend", fail(backend.ErrRunsOn))
		id = another(t, p)
		giveBack(t, p, id)
		require.False(t, heldNow(t, s, id).Held.Saved, "it runs on until there is room")
		require.ErrorIs(t, p.Debug(t.Context(), id, nil), backend.ErrRunsOn)
		w.on("suspend", fail(errors.New("QEMU is stuck")))
		require.ErrorContains(t, p.Debug(t.Context(), id, nil), "QEMU is stuck")
		synctest.Wait()
		requireEnded(t, s, id, "QEMU is stuck")
		closePool(t, w, p, s)
	})
}

// TestForksOfAHeldWorker makes three, one after the other, of what is saved once.
func TestForksOfAHeldWorker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.asks = "please"
		saves := 0
		w.on("suspend", func(context.Context, string) error { saves++; return nil })
		p, s, id := begin(t, w, holding())
		require.ErrorContains(t, p.Debug(t.Context(), id, nil), "hold")
		key := "key of " + id
		giveBack(t, p, id)
		saved := []string{"network", "saved machine " + id, "parked lease " + id}
		for range 3 {
			ctx, end := context.WithCancel(t.Context())
			require.NoError(t, p.Debug(ctx, id, func(fork string) {
				record, err := s.Load(fork)
				require.NoError(t, err)
				require.Equal(t, "debug", record.State)
				require.Equal(t, "192.0.2.7:22", record.Address.String())
				require.Equal(t, key, record.PrivateKey, "the keys of the held one")
				require.Nil(t, record.Held)
				require.ElementsMatch(t, append([]string{"machine " + fork, "lease " + fork}, saved...), w.left())
				end()
			}))
			require.ElementsMatch(t, saved, w.left(), "nothing of the fork is left")
		}
		require.Equal(t, 1, saves)

		require.NoError(t, p.Debug(t.Context(), id, func(fork string) { require.NoError(t, p.End(fork)) }))
		require.ErrorContains(t, p.Debug(t.Context(), id, w.crash), "crashed")
		w.on("fork saved", fail(errors.New("it does not fit")))
		require.ErrorContains(t, p.Debug(t.Context(), id, nil), "it does not fit")
		w.on("fork saved", nil)
		require.ElementsMatch(t, saved, w.left())
		require.NoError(t, p.Debug(t.Context(), id, func(string) { time.Sleep(3 * time.Hour) }), "with its hold")
		synctest.Wait()
		requireEnded(t, s, id, "its time is over")
		closePool(t, w, p, s)
	})
}

// TestAHeldWorkerTakesMemoryUntilItIsSaved has the budget that pools of a host share.
func TestAHeldWorkerTakesMemoryUntilItIsSaved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, w := shared{t: t, dir: t.TempDir()}, newWorld()
		w.asks = "please"
		p, _ := s.open(w, holding(), worldBackend{w})
		id := another(t, p)
		giveBack(t, p, id)
		require.Equal(t, int64(gib), s.memory(), "it runs on")
		next := another(t, p)
		require.Equal(t, int64(2*gib), s.memory())
		w.asks = ""
		giveBack(t, p, next)
		require.NoError(t, p.Debug(t.Context(), id, func(fork string) {
			require.Equal(t, int64(gib), s.memory(), "that of the fork")
			require.NoError(t, p.End(fork))
		}))
		require.Zero(t, s.memory())
		require.Equal(t, []string{id}, s.held("test"), "it holds some of the disk")
		require.NoError(t, p.End(id))
		synctest.Wait()
	})
}

var (
	_ network.Isolator    = worldNetwork{}
	_ backend.SavedForker = worldBackend{}
	_ pool.Asker          = worldAccess{}
)
