package pool_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/store"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/sandbox"
)

const mib = 1 << 20

// openOnFull opens a pool on a small disk that can be filled.
func openOnFull(t *testing.T, w *world, d *sandbox.Disk) (*pool.Pool, *store.Store) {
	t.Helper()
	s, err := store.Open(d.Dir)
	require.NoError(t, err)
	p := pool.New(config, w.parts(s))
	require.NoError(t, p.Open(t.Context()))
	return p, s
}

// What it was saved to is used up by then.
func TestAResumedWorkerOutlivesAMomentWithoutRoom(t *testing.T) {
	d := sandbox.NewDisk(t, 16*mib)
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		p, s := openOnFull(t, w, d)
		id := suspendOne(t, p)
		w.on("await", func(context.Context, string) error { d.Fill(0); return nil })
		_, err := p.Resume([]string{id})
		require.NoError(t, err)
		pass(10 * time.Second)
		require.Equal(t, pool.Resuming, only(t, p).State)
		w.on("await", nil)
		d.Empty()
		settle()
		require.Equal(t, pool.Running, only(t, p).State)
		record, err := s.Load(id)
		require.NoError(t, err)
		require.Equal(t, string(pool.Running), record.State)
		closePool(t, w, p, s)
	})
}

// The runner would only ask for another one, at once and again.
func TestWorkersWaitForRoomOnAFullDisk(t *testing.T) {
	d := sandbox.NewDisk(t, 16*mib)
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		p, s := openOnFull(t, w, d)
		synctest.Wait()
		d.Fill(0)
		grow(t, p, 2)
		pass(10 * time.Second)
		require.Len(t, idsIn(p, pool.Creating), 2)
		d.Empty()
		settle()
		require.Len(t, idsIn(p, pool.Running), 2)

		d.Fill(0)
		grow(t, p, 1)
		require.Len(t, idsIn(p, pool.Creating), 1)
		pass(config.StartTimeout + time.Second)
		gone := p.Workers()[2]
		require.Equal(t, pool.Deleted, gone.State)
		require.Contains(t, gone.Reason, "is full")
		d.Empty()
		closePool(t, w, p, s)
	})
}

// The book of what workers hold may be what there is no room for.
func TestWorkersWaitForRoomForWhatTheyHold(t *testing.T) {
	d := sandbox.NewDisk(t, 16*mib)
	synctest.Test(t, func(t *testing.T) {
		s := shared{t: t, dir: d.Dir}
		w := newWorld()
		d.FillFiles()
		p, _ := s.open(w, named("a"), worldBackend{w})
		grow(t, p, 1)
		pass(10 * time.Second)
		require.Len(t, idsIn(p, pool.Creating), 1)
		d.Empty()
		settle()
		require.Len(t, idsIn(p, pool.Running), 1)
	})
}
