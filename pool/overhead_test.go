package pool_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/ledger"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool"
)

// TestALifeIsFewEvents bounds what a worker costs the ledger: each event is one write,
// which takes some microseconds. A hundred workers a minute are then some seventy a second.
func TestALifeIsFewEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const workers = 100
		kept := tellingPool(t, newWorld(), config, nil)
		grow(t, kept.Pool, workers)
		time.Sleep(time.Minute)
		for id := range states(kept.Pool) {
			kept.Shrink([]string{id})
		}
		time.Sleep(time.Minute)
		kept.close()
		events, size := 0, int64(0)
		for _, err := range ledger.Read(kept.dir, time.Time{}) {
			require.NoError(t, err)
			events++
		}
		files, err := filepath.Glob(filepath.Join(kept.dir, "*"))
		require.NoError(t, err)
		for _, file := range files {
			info, err := os.Stat(file)
			require.NoError(t, err)
			size += info.Size()
		}
		t.Logf("%d workers: %d events, %d bytes", workers, events, size)
		require.Less(t, events, 40*workers)
		require.Less(t, size, int64(4<<10)*workers)
	})
}

// nobody is a ledger that takes no time.
type nobody struct{}

func (nobody) Write(ledger.Event) error { return nil }

// BenchmarkLifeToldOrNot compares the processor time of workers' whole lives, of
// synthetic machines, with the ledger and without.
func BenchmarkLifeToldOrNot(b *testing.B) {
	for name, to := range map[string]func(dir string) pool.Ledger{
		"told": func(dir string) pool.Ledger {
			l, err := ledger.Open(dir)
			require.NoError(b, err)
			b.Cleanup(func() { l.Close() })
			return l
		},
		"not": func(string) pool.Ledger { return nobody{} },
	} {
		b.Run(name, func(b *testing.B) {
			p, _, _ := syntheticPoolTelling(b, config, to(filepath.Join(b.TempDir(), ledger.Dir)))
			before := processorTime(b)
			for b.Loop() {
				_, err := p.Grow(1)
				require.NoError(b, err)
				p.Shrink(waitFor(b, p, 1))
				for len(p.Workers()) > 0 {
					time.Sleep(time.Millisecond)
				}
			}
			b.ReportMetric(float64((processorTime(b)-before).Microseconds())/float64(b.N), "cpu-us/op")
		})
	}
}

// processorTime is what this process has had up to now.
func processorTime(t testing.TB) time.Duration {
	t.Helper()
	var used syscall.Rusage
	require.NoError(t, syscall.Getrusage(syscall.RUSAGE_SELF, &used))
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}
