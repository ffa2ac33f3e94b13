package pool_test

import (
	"context"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/store"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/teardown"
)

// litter leaves one orphan behind in each place where Open looks.
func litter(t *testing.T, w *world, s *store.Store) {
	t.Helper()
	_, err := s.Reserve("test-rrrrrrrr")
	require.NoError(t, err)
	w.machines["test-mmmmmmmm"] = &machine{id: "test-mmmmmmmm", done: make(chan struct{})}
	w.leases["test-llllllll"] = true
	_, err = s.Reserve("test-aaaaaaaa")
	require.NoError(t, err)
	w.machines["test-aaaaaaaa"] = &machine{id: "test-aaaaaaaa", done: make(chan struct{})}
	w.leases["test-aaaaaaaa"] = true
}

func TestOpenRemovesOrphans(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		p, s := newPool(t, w, config)
		litter(t, w, s)
		w.on("destroy", func(context.Context, string) error { time.Sleep(10 * time.Second); return nil })
		began := time.Now()
		require.NoError(t, p.Open(t.Context()))
		assert.Equal(t, 10*time.Second, time.Since(began), "all at once")
		assert.Equal(t, []string{"network"}, w.left())
		assert.Empty(t, p.Workers(), "orphans are never reported")
		closePool(t, w, p, s)
	})
}

// A lost+found, or what somebody put there by hand.
func TestOpenLeavesStrayNamesAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		p, s := newPool(t, w, config)
		stray := s.Dir("lost+found")
		require.NoError(t, os.Mkdir(stray, 0o700))
		require.NoError(t, p.Open(t.Context()))
		closePool(t, w, p, s)
		assert.DirExists(t, stray)
	})
}

func TestOpenDoesNotWaitForAStubbornOrphan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		p, s := newPool(t, w, config)
		litter(t, w, s)
		w.on("release", failing(4)) // once for each
		require.NoError(t, p.Open(t.Context()))
		assert.NotEqual(t, []string{"network"}, w.left())
		grow(t, p, 1)
		time.Sleep(1100 * time.Millisecond)
		assert.Len(t, w.left(), 3, "the network, and a machine with its lease")
		assert.Len(t, p.Workers(), 1)
		closePool(t, w, p, s)
	})
}

// What a backend left that served the pool before may need a tool that is gone.
func TestOpenKeepsTryingToRemoveWhatAnotherBackendLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		s, err := store.Open(t.TempDir())
		require.NoError(t, err)
		_, err = s.Reserve("test-oooooooo")
		require.NoError(t, err)
		tries, parts := 0, w.parts(s)
		destroy := func(_ context.Context, id string) error {
			assert.DirExists(t, s.Dir(id), "it remembers what is left")
			if tries++; tries < 3 {
				return errBroken
			}
			return nil
		}
		var gone string
		atOnce := func(_ context.Context, id string) error { gone = id; return nil }
		parts.Orphans = map[string]teardown.Steps{
			"test-oooooooo": {Machine: []teardown.Step{destroy}},
			"test-pppppppp": {Machine: []teardown.Step{atOnce}},
		}
		p := pool.New(config, parts)
		require.NoError(t, p.Open(t.Context()))
		assert.Equal(t, "test-pppppppp", gone, "without a directory or a lease")
		grow(t, p, 1)
		assert.Len(t, p.Workers(), 1, "it is never reported")
		time.Sleep(time.Second)
		synctest.Wait()
		assert.Equal(t, 2, tries)
		assert.DirExists(t, s.Dir("test-oooooooo"))
		time.Sleep(2 * time.Second)
		synctest.Wait()
		assert.Equal(t, 3, tries)
		assert.NoDirExists(t, s.Dir("test-oooooooo"))
		closePool(t, w, p, s)
	})
}

func TestOpenGivesUpWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		p, s := newPool(t, w, config)
		litter(t, w, s)
		w.on("destroy", hang)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		require.ErrorIs(t, p.Open(ctx), context.DeadlineExceeded)
		w.on("destroy", nil)
		closePool(t, w, p, s)
	})
}

func TestOpenNeedsItsNetwork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.on("open", fail(errBroken))
		p, s := newPool(t, w, config)
		require.ErrorIs(t, p.Open(t.Context()), errBroken)
		closePool(t, w, p, s)
	})
}
