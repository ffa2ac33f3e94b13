package provider

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/synthetic"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/store"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"
)

var silent = slog.New(slog.DiscardHandler)

func (w *world) config() config.Config {
	c, err := config.Default().With(func(c *config.Config) { c.Backend, c.StateDir = config.BackendSynthetic, w.stateDir })
	require.NoError(w.t, err)
	return c
}

// leave makes what a killed plugin process leaves of a worker.
func (w *world) leave(pool, worker string) string {
	dir := filepath.Join(w.stateDir, "pools", pool, "workers", worker)
	require.NoError(w.t, os.MkdirAll(dir, 0o700))
	return dir
}

func TestSweepRemovesWhatNobodyOwnsAndLeavesALivePoolAlone(t *testing.T) {
	w := newWorld(t, synthetic.Options{})
	w.start()
	live := w.grow(1)[0]
	orphan := w.leave("gone", "gone-aaaaaaaa")
	stray := w.leave("gone", "lost+found")

	swept, err := Sweep(t.Context(), w.config(), Sweeping{}, silent)
	require.NoError(t, err)
	require.Equal(t, []Swept{
		{Pool: "default", Held: true, LeftOver: []string{}, Suspended: []string{}},
		{Pool: "gone", LeftOver: []string{"worker directory gone-aaaaaaaa"}, Suspended: []string{}},
	}, swept)
	require.DirExists(t, orphan, "a dry run only looks")
	require.NoFileExists(t, filepath.Join(w.stateDir, "pools", "gone", "lock"), "a dry run only looks")

	swept, err = Sweep(t.Context(), w.config(), Sweeping{Remove: true}, silent)
	require.NoError(t, err)
	require.True(t, swept[1].Removed)
	require.NoDirExists(t, orphan)
	require.DirExists(t, stray)
	require.NoError(t, w.Heartbeat(t.Context(), live))

	_, err = w.init(w.newGroup())
	require.ErrorContains(t, err, "held", "a sweep does not take the pool away")
}

func TestSweepOfNothing(t *testing.T) {
	w := newWorld(t, synthetic.Options{})
	swept, err := Sweep(t.Context(), w.config(), Sweeping{Remove: true}, silent)
	require.NoError(t, err)
	require.Equal(t, []Swept{}, swept)
}

func TestLeftoversNameWhatIsLeft(t *testing.T) {
	w := newWorld(t, synthetic.Options{})
	left, err := Leftovers(t.Context(), w.config())
	require.NoError(t, err)
	require.Equal(t, []string{}, left)
	require.NoDirExists(t, filepath.Join(w.stateDir, "pools"), "it only looks")
	w.leave("default", "default-aaaaaaaa")
	left, err = Leftovers(t.Context(), w.config())
	require.NoError(t, err)
	require.Equal(t, []string{"worker directory default-aaaaaaaa"}, left)
}

// leasing is a network with one lease, and something that leases share.
type leasing struct {
	network.None
	leases, shared []string
}

func (n *leasing) Find(context.Context) ([]string, error)   { return n.leases, nil }
func (n *leasing) Shared(context.Context) ([]string, error) { return n.shared, nil }

func (n *leasing) Release(context.Context, string) error {
	n.leases = nil
	return nil
}

func (n *leasing) Close(context.Context) error {
	n.shared = nil
	return nil
}

func TestRemainsOfTheNetworkAreFoundAndRemoved(t *testing.T) {
	w := newWorld(t, synthetic.Options{})
	w.leave("default", "default-bbbbbbbb")
	n := &leasing{leases: []string{"default-aaaaaaaa"}, shared: []string{"table mayfly"}}
	parts := []assembly{{backend: w.backend, network: n}}
	records, unlock, err := take(t.Context(), w.config(), soon)
	require.NoError(t, err)
	defer unlock()

	found, err := findRemains(t.Context(), w.config(), parts)
	require.NoError(t, err)
	require.Equal(t, []string{"lease default-aaaaaaaa", "worker directory default-bbbbbbbb", "table mayfly"}, found.list())
	require.NoError(t, found.remove(t.Context(), records, parts))
	found, err = findRemains(t.Context(), w.config(), parts)
	require.NoError(t, err)
	require.Empty(t, found.list())
}

func TestSweepKeepsSuspendedWorkersUnlessToldOtherwise(t *testing.T) {
	w := newWorld(t, synthetic.Options{})
	dir := w.leave("gone", "gone-aaaaaaaa")
	record := `{"version": 1, "id": "gone-aaaaaaaa", "state": "suspended"}`
	require.NoError(t, os.WriteFile(filepath.Join(dir, store.RecordFile), []byte(record), 0o600))
	c := w.config()
	c.Pool = "gone"
	parked := []assembly{{backend: w.backend, network: &leasing{leases: []string{"gone-aaaaaaaa"}}}}
	found, err := findRemains(t.Context(), c, parked)
	require.NoError(t, err)
	require.Empty(t, found.list(), "its address is its own")

	swept, err := Sweep(t.Context(), c, Sweeping{Remove: true}, silent)
	require.NoError(t, err)
	require.Equal(t, []Swept{{Pool: "gone", LeftOver: []string{}, Suspended: []string{"gone-aaaaaaaa"}, Removed: true}}, swept)
	require.DirExists(t, dir)
	left, err := Leftovers(t.Context(), c)
	require.NoError(t, err)
	require.Empty(t, left)

	swept, err = Sweep(t.Context(), c, Sweeping{Remove: true, Suspended: true}, silent)
	require.NoError(t, err)
	require.Equal(t, []string{"worker directory gone-aaaaaaaa"}, swept[0].LeftOver)
	require.NoDirExists(t, dir)
}
