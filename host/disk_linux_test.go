package host

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/doctor"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/store"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/sandbox"
)

const mib = 1 << 20

// onDisk is a world on a small disk, of which 16 MiB are to stay free.
func onDisk(t *testing.T) (*world, *sandbox.Disk, config.Config) {
	t.Helper()
	w, d := newWorld(t), sandbox.NewDisk(t, 64*mib)
	w.stateDir = d.Dir
	c, err := w.config().With(func(c *config.Config) { c.Host.ReserveDisk = 16 * mib })
	require.NoError(t, err)
	return w, d, c
}

// TestWorkerStartsWhenThereIsRoomOnTheDisk has a pool that is open, and one that opens,
// on a disk with too little room.
func TestWorkerStartsWhenThereIsRoomOnTheDisk(t *testing.T) {
	w, d, c := onDisk(t)
	p, err := w.OpenPool(t.Context(), c, "mayfly", soon, silent)
	require.NoError(t, err)
	defer func() { require.NoError(t, p.Close(t.Context())) }()
	_, err = p.Grow(1)
	require.NoError(t, err)
	require.Eventually(t, func() bool { return running(p) == 1 }, soon, 10*time.Millisecond)

	d.Fill(8 * mib)
	_, err = p.Grow(1)
	require.NoError(t, err)
	records, err := store.Look(c.PoolDir())
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		ids, err := records.List()
		if err != nil {
			return false
		}
		for _, id := range ids {
			if record, err := records.Load(id); err == nil && strings.Contains(record.Reason, "host.reserve_disk keeps 16.0 MiB") {
				return true
			}
		}
		return false
	}, soon, 10*time.Millisecond, "ps says why it waits")
	require.Equal(t, 1, running(p), "only the one that was there runs")

	d.Empty()
	require.Eventually(t, func() bool { return running(p) == 2 }, soon, 10*time.Millisecond)
}

// TestPoolOpensAndClosesOnAFullDisk has an orphan on it, which may be what fills it.
func TestPoolOpensAndClosesOnAFullDisk(t *testing.T) {
	w, d, c := onDisk(t)
	first, err := w.OpenPool(t.Context(), c, "mayfly", soon, silent)
	require.NoError(t, err)
	require.NoError(t, first.Close(t.Context()))
	orphan := w.leave(c.Pool, c.Pool+"-aaaaaaaa")
	d.Fill(0)
	p, err := w.OpenPool(t.Context(), c, "mayfly", soon, silent)
	require.NoError(t, err)
	require.NoDirExists(t, orphan)
	require.NoError(t, p.Close(t.Context()))
}

func TestNothingIsBuiltByHandWithoutRoom(t *testing.T) {
	w, d, c := onDisk(t)
	d.Fill(8 * mib)
	_, _, err := w.BuildImage(t.Context(), c, "mayfly", Building{}, func(string, string) {}, silent)
	require.ErrorContains(t, err, "not building image ")
	require.ErrorContains(t, err, "host.reserve_disk keeps 16.0 MiB")
	require.Error(t, w.diskOf(c, slog.New(slog.DiscardHandler)).Check(t.Context()))
	d.Empty()
	golden, _, err := w.BuildImage(t.Context(), c, "mayfly", Building{}, func(string, string) {}, silent)
	require.NoError(t, err)
	require.NoError(t, w.PrepareTemplate(t.Context(), c, golden, image.Progress(func(string, string) {}), silent))
}

func TestDoctorSaysThatTheDiskHoldsWorkersBack(t *testing.T) {
	w, d, c := onDisk(t)
	d.Fill(8 * mib)
	findings := w.checkDisk(c)
	require.Len(t, findings, 1)
	require.Equal(t, doctor.Warning, findings[0].Level)
	require.Contains(t, findings[0].Detail, "nothing is built and no worker starts now")
}
