package pool_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool"
)

// times notes when an operation was tried.
type times struct {
	mu    sync.Mutex
	began time.Time
	at    []time.Duration
}

func newTimes() *times { return &times{began: time.Now()} }

func (n *times) note() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.at = append(n.at, time.Since(n.began))
}

// gaps are the times between the tries.
func (n *times) gaps() []time.Duration {
	n.mu.Lock()
	defer n.mu.Unlock()
	var gaps []time.Duration
	for i := 1; i < len(n.at); i++ {
		gaps = append(gaps, n.at[i]-n.at[i-1])
	}
	return gaps
}

// seconds turns numbers into durations.
func seconds(numbers ...int) []time.Duration {
	var list []time.Duration
	for _, n := range numbers {
		list = append(list, time.Duration(n)*time.Second)
	}
	return list
}

func TestBuildIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, tries := newWorld(), newTimes()
		w.on("build", func(context.Context, string) error { tries.note(); return errBroken })
		openPool(t, w, config)
		time.Sleep(20 * time.Minute)
		assert.Equal(t, seconds(1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300), tries.gaps())
	})
}

func TestWorkersShareTheFateOfTheBuild(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.on("build", func(context.Context, string) error { time.Sleep(time.Minute); return errBroken })
		p, s := openPool(t, w, config)
		grow(t, p, 3)
		time.Sleep(time.Second)
		require.Len(t, p.Workers(), 3)
		time.Sleep(59*time.Second + 500*time.Millisecond) // the build has failed, the next waits
		for _, worker := range p.Workers() {
			assert.Equal(t, pool.Deleted, worker.State)
			assert.Contains(t, worker.Reason, "golden image")
			assert.Contains(t, worker.Reason, errBroken.Error())
		}

		w.on("build", func(context.Context, string) error { time.Sleep(time.Minute); return nil })
		grow(t, p, 1)
		time.Sleep(time.Minute)
		assert.Equal(t, pool.Creating, only(t, p).State, "it waits for the next build")
		time.Sleep(time.Second)
		worker := only(t, p)
		assert.Equal(t, pool.Running, worker.State)
		record, err := s.Load(worker.ID)
		require.NoError(t, err)
		assert.InDelta(t, 60.5, record.Phases[pool.PhaseWaitImage], 0.01)
		grow(t, p, 1)
		synctest.Wait()
		assert.Equal(t, pool.Running, p.Workers()[1].State, "no more building from now on")
	})
}

func TestStartsBackOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one := config
		one.ConcurrentStarts = 1
		w, tries := newWorld(), newTimes()
		w.on("start", func(context.Context, string) error { tries.note(); return errBroken })
		p, _ := openPool(t, w, one)
		grow(t, p, 10)
		time.Sleep(5 * time.Minute)
		assert.Equal(t, seconds(1, 2, 4, 8, 16, 32, 60, 60, 60), tries.gaps())

		w.on("start", nil)
		grow(t, p, 1)
		time.Sleep(time.Minute)
		w.on("start", func(context.Context, string) error { tries.note(); return errBroken })
		tries.at = nil
		grow(t, p, 3)
		time.Sleep(time.Minute)
		assert.Equal(t, seconds(1, 2), tries.gaps(), "a success has reset it")
	})
}

func TestOneOutageCountsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, tries := newWorld(), newTimes()
		w.on("start", func(context.Context, string) error {
			tries.note()
			time.Sleep(time.Millisecond)
			return errBroken
		})
		p, _ := openPool(t, w, config)
		grow(t, p, 12) // three waves of four
		time.Sleep(time.Minute)
		ms := time.Millisecond
		assert.Equal(t, []time.Duration{0, 0, 0, 1001 * ms, 0, 0, 0, 2001 * ms, 0, 0, 0}, tries.gaps())
	})
}

func TestACancelledStartIsNoFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.on("start", hang)
		p, _ := openPool(t, w, config)
		grow(t, p, 1)
		synctest.Wait()
		p.Shrink([]string{only(t, p).ID})
		synctest.Wait()
		require.Equal(t, pool.Deleted, only(t, p).State)
		w.on("start", nil)
		grow(t, p, 1)
		synctest.Wait() // no time passes
		assert.Equal(t, pool.Running, only(t, p).State)
	})
}

func TestOnlySoManyStartsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, tries := newWorld(), newTimes()
		w.on("start", func(context.Context, string) error {
			tries.note()
			time.Sleep(time.Second)
			return nil
		})
		p, _ := openPool(t, w, config)
		grow(t, p, 12)
		time.Sleep(2500 * time.Millisecond)
		assert.Equal(t, seconds(0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0), tries.gaps())
	})
}
