package host

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/store"
)

func TestSweepRemovesWhatNobodyOwnsAndLeavesALivePoolAlone(t *testing.T) {
	w := newWorld(t)
	live, err := w.OpenPool(t.Context(), w.config(), "root", soon, silent)
	require.NoError(t, err)
	orphan := w.leave("gone", "gone-aaaaaaaa")
	stray := w.leave("gone", "lost+found")

	swept, err := w.Sweep(t.Context(), w.config(), Sweeping{}, silent)
	require.NoError(t, err)
	require.Equal(t, []Swept{
		{Pool: "default", Held: true, LeftOver: []string{}, Suspended: []string{}},
		{Pool: "gone", LeftOver: []string{"worker directory gone-aaaaaaaa"}, Suspended: []string{}},
	}, swept)
	require.DirExists(t, orphan, "a dry run only looks")
	require.NoFileExists(t, filepath.Join(w.stateDir, "pools", "gone", "lock"), "a dry run only looks")

	swept, err = w.Sweep(t.Context(), w.config(), Sweeping{Remove: true}, silent)
	require.NoError(t, err)
	require.True(t, swept[1].Removed)
	require.NoDirExists(t, orphan)
	require.DirExists(t, stray)

	_, err = w.OpenPool(t.Context(), w.config(), "root", 50*time.Millisecond, silent)
	require.ErrorIs(t, err, store.ErrHeld, "a sweep does not take the pool away")
	require.NoError(t, live.Close(t.Context()))
}

func TestSweepOfNothing(t *testing.T) {
	w := newWorld(t)
	swept, err := w.Sweep(t.Context(), w.config(), Sweeping{Remove: true}, silent)
	require.NoError(t, err)
	require.Equal(t, []Swept{}, swept)
}

// A plugin builds images too, also where nobody has used the command line.
func TestSweepRemovesTheBuildsOfKilledPlugins(t *testing.T) {
	w := newWorld(t)
	left := filepath.Join(w.config().ImagesDir(), ".building-"+strings.Repeat("a", 32)+"-1-1")
	require.NoError(t, os.MkdirAll(left, 0o700))
	swept, err := w.Sweep(t.Context(), w.config(), Sweeping{}, silent)
	require.NoError(t, err)
	require.Len(t, swept, 1)
	require.Equal(t, []string{"unfinished image " + filepath.Base(left)}, swept[0].LeftOver)
	require.DirExists(t, left, "a dry run only looks")
	swept, err = w.Sweep(t.Context(), w.config(), Sweeping{Remove: true}, silent)
	require.NoError(t, err)
	require.True(t, swept[0].Removed)
	require.NoDirExists(t, left)
}

func TestOrphansNameWhatIsLeft(t *testing.T) {
	w := newWorld(t)
	left, err := w.Orphans(t.Context(), w.config())
	require.NoError(t, err)
	require.Equal(t, []string{}, left)
	require.NoDirExists(t, filepath.Join(w.stateDir, "pools"), "it only looks")
	w.leave("default", "default-aaaaaaaa")
	left, err = w.Orphans(t.Context(), w.config())
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

func TestOrphansOfTheNetworkAreFoundAndRemoved(t *testing.T) {
	w := newWorld(t)
	w.leave("default", "default-bbbbbbbb")
	n := &leasing{leases: []string{"default-aaaaaaaa"}, shared: []string{"table mayfly"}}
	parts := []Assembly{{Backend: w.assembly.Backend, Network: n}}
	records, unlock, err := take(t.Context(), w.config(), store.Open, soon)
	require.NoError(t, err)
	defer unlock()

	found, err := findOrphans(t.Context(), w.config(), parts)
	require.NoError(t, err)
	require.Equal(t,
		[]string{"lease default-aaaaaaaa", "worker directory default-bbbbbbbb", "table mayfly"}, found.list())
	require.NoError(t, found.remove(t.Context(), w.config(), records, parts))
	found, err = findOrphans(t.Context(), w.config(), parts)
	require.NoError(t, err)
	require.Empty(t, found.list())
}

func TestSweepKeepsSuspendedWorkersUnlessToldOtherwise(t *testing.T) {
	w := newWorld(t)
	dir := w.leave("gone", "gone-aaaaaaaa")
	record := `{"version": 1, "id": "gone-aaaaaaaa", "state": "suspended"}`
	require.NoError(t, os.WriteFile(filepath.Join(dir, store.RecordFile), []byte(record), 0o600))
	c := w.config()
	c.Pool = "gone"
	parked := []Assembly{{Backend: w.assembly.Backend, Network: &leasing{leases: []string{"gone-aaaaaaaa"}}}}
	found, err := findOrphans(t.Context(), c, parked)
	require.NoError(t, err)
	require.Empty(t, found.list(), "its address is its own")

	swept, err := w.Sweep(t.Context(), c, Sweeping{Remove: true}, silent)
	require.NoError(t, err)
	require.Equal(t, []Swept{
		{Pool: "gone", LeftOver: []string{}, Suspended: []string{"gone-aaaaaaaa"}, Removed: true},
	}, swept)
	require.DirExists(t, dir)
	left, err := w.Orphans(t.Context(), c)
	require.NoError(t, err)
	require.Empty(t, left)

	swept, err = w.Sweep(t.Context(), c, Sweeping{Remove: true, Suspended: true}, silent)
	require.NoError(t, err)
	require.Equal(t, []string{"worker directory gone-aaaaaaaa"}, swept[0].LeftOver)
	require.NoDirExists(t, dir)
}

func TestHeldWorkersAreKeptThatTheNextProcessTakesOver(t *testing.T) {
	now := time.Now()
	for _, c := range []struct {
		record store.Record
		kept   bool
	}{
		{store.Record{State: "suspended"}, true},
		{store.Record{State: "running"}, false},
		{store.Record{State: "debug"}, false},
		{store.Record{State: "held", Held: &store.Held{Until: now.Add(time.Hour), Saved: true}}, true},
		{store.Record{State: "held", Held: &store.Held{Until: now.Add(time.Hour)}}, false},
		{store.Record{State: "held", Held: &store.Held{Until: now, Saved: true}}, false},
		{store.Record{State: "held"}, false},
	} {
		require.Equal(t, c.kept, isKept(c.record, now), "%+v", c.record)
	}
}
