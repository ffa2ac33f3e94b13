package pool_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/store"
)

// logged opens a pool whose log the test reads.
func logged(t *testing.T, w *world, config pool.Config) (*pool.Pool, *store.Store, *bytes.Buffer) {
	t.Helper()
	var log bytes.Buffer
	s, err := store.Open(t.TempDir())
	require.NoError(t, err)
	parts := w.parts(s)
	parts.Log = slog.New(slog.NewTextHandler(&log, nil))
	p := pool.New(config, parts)
	require.NoError(t, p.Open(t.Context()))
	t.Cleanup(func() { closePool(t, w, p, s) })
	return p, s, &log
}

// read returns what is in a file.
func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(text)
}

// noting fails as guests do, and notes when.
func noting(tries *times, err error) hook {
	return func(context.Context, string) error { tries.note(); return err }
}

// An image of which every worker fails is tried less and less often, one worker at
// a time, whatever number was promised; all of them show until they go.
func TestABadImageIsSpared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, tries := newWorld(), newTimes()
		w.on("ready", noting(tries, errBroken))
		p, s, log := logged(t, w, config)
		grow(t, p, 20)
		pass(45 * time.Minute)
		gaps := tries.gaps()
		spared := slices.IndexFunc(gaps, func(gap time.Duration) bool { return gap >= time.Minute })
		require.GreaterOrEqual(t, spared, 4, "five failures before: %v", gaps)
		require.Less(t, spared, 5+config.ConcurrentStarts, "and those that had begun: %v", gaps)
		minutes := func(n time.Duration) time.Duration { return n * time.Minute }
		assert.Equal(t, []time.Duration{minutes(2), minutes(4), minutes(8), minutes(15), minutes(15)}, gaps[spared:])
		assert.Equal(t, 1, strings.Count(log.String(), "every worker of the image fails"), log)
		assert.Contains(t, log.String(), "level=ERROR msg=\"every worker of the image fails")

		workers := p.Workers()
		require.Len(t, workers, 20, "what was promised shows")
		breaker, open, err := s.Breaker()
		require.NoError(t, err)
		require.True(t, open)
		assert.Equal(t, config.Recipe.Digest(), breaker.ImageDigest)
		assert.Contains(t, breaker.Reason, errBroken.Error())
		assert.WithinRange(t, breaker.NextTry, time.Now(), time.Now().Add(15*time.Minute))
		assert.Contains(t, breaker.String(), "next try at")

		w.on("ready", nil)
		waiting := 0
		for _, state := range states(p) {
			if state == pool.Creating {
				waiting++
			}
		}
		require.Positive(t, waiting)
		pass(15 * time.Minute)
		running := idsIn(p, pool.Running)
		assert.Len(t, running, waiting, "a success lets all others start at once")
		for _, id := range running {
			record, err := s.Load(id)
			require.NoError(t, err)
			assert.Zero(t, record.Phases[pool.PhaseWaitBudget], "there was room all the time")
			assert.Greater(t, record.Phases[pool.PhaseWaitStart], time.Hour.Seconds()/2)
		}
		_, open, err = s.Breaker()
		require.NoError(t, err)
		assert.False(t, open)

		w.on("ready", noting(tries, errBroken))
		tries.at = nil
		grow(t, p, 10)
		pass(10 * time.Minute)
		assert.Len(t, tries.gaps(), 9, "an image that was good once is not spared")
	})
}

// While a try is under way no other worker starts, and one that is called off
// leaves its turn to the next.
func TestOneTryAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, tries := newWorld(), newTimes()
		w.on("ready", fail(errBroken))
		p, s := openPool(t, w, config)
		grow(t, p, 12)
		pass(time.Minute)
		_, open, err := s.Breaker()
		require.NoError(t, err)
		require.True(t, open)
		var trying string
		w.on("ready", func(ctx context.Context, id string) error {
			tries.note()
			trying = id
			return hang(ctx, id)
		})
		pass(90 * time.Second) // the start timeout is a minute
		require.NotEmpty(t, trying)
		require.Empty(t, tries.gaps(), "one for as long as it takes")
		first := trying
		p.Shrink([]string{first})
		synctest.Wait()
		require.NotEqual(t, first, trying, "the next one")
		require.Len(t, tries.gaps(), 1)
	})
}

func TestWhatIsNotTheImagesFaultIsNotCounted(t *testing.T) {
	full := fmt.Errorf("writing: %w", syscall.ENOSPC)
	for name, test := range map[string]struct {
		operation string
		err       error
		spared    bool
	}{
		"no lease":               {"acquire", errBroken, false},
		"a host that cannot":     {"start", errBroken, false},
		"a full disk":            {"start", guest.Fault(full), false},
		"a full disk, later":     {"ready", full, false},
		"rules that are gone":    {"await", errBroken, false},
		"a guest that ends":      {"start", guest.Fault(errBroken), true},
		"a guest without answer": {"ready", errBroken, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				w.on(test.operation, fail(test.err))
				p, s := openPool(t, w, config)
				grow(t, p, 12)
				pass(time.Minute)
				_, open, err := s.Breaker()
				require.NoError(t, err)
				require.Equal(t, test.spared, open)
			})
		})
	}
}

// Starts that end in time-outs are the guest's doing, those that were called off
// are nobody's.
func TestTimeOutsAreTheImagesFaultAndCancelledStartsAreNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.on("start", hang)
		p, s := openPool(t, w, config)
		for range 3 {
			grow(t, p, 4)
			synctest.Wait()
			for id, state := range states(p) {
				if state == pool.Creating {
					p.Shrink([]string{id})
				}
			}
			synctest.Wait()
		}
		_, open, err := s.Breaker()
		require.NoError(t, err)
		require.False(t, open)
		grow(t, p, 8)
		pass(3 * config.StartTimeout)
		_, open, err = s.Breaker()
		require.NoError(t, err)
		require.True(t, open)
	})
}

// Nobody knows yet whether the new one is good.
func TestAnImageThatIsBuiltAnewIsNotSpared(t *testing.T) {
	images := filepath.Join(t.TempDir(), "golden")
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.images = images
		w.on("build", func(context.Context, string) error { return os.Mkdir(images, 0o700) })
		w.on("start", func(context.Context, string) error { _, err := os.Stat(images); return err })
		w.on("ready", fail(errBroken))
		p, s, log := logged(t, w, config)
		grow(t, p, 12)
		pass(time.Minute)
		_, open, err := s.Breaker()
		require.NoError(t, err)
		require.True(t, open)
		require.NoError(t, os.Remove(images))
		w.on("ready", nil)
		pass(2 * time.Minute) // until it is tried, and missed
		_, open, err = s.Breaker()
		require.NoError(t, err)
		require.False(t, open)
		assert.Contains(t, log.String(), "image is built anew: workers start as before")
		assert.NotContains(t, log.String(), "good after all")
	})
}

// Another configuration begins anew.
func TestAnOpenedPoolSparesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		p, s := newPool(t, w, config)
		require.NoError(t, s.SaveBreaker(store.Breaker{ImageDigest: "old", Failures: 5, Reason: "r"}))
		require.NoError(t, p.Open(t.Context()))
		_, open, err := s.Breaker()
		require.NoError(t, err)
		require.False(t, open)
		closePool(t, w, p, s)
	})
}

// A worker that is ready and then ends is a start that succeeded, and yet more of
// its kind are made ever more slowly.
func TestWorkersThatEndAtOnceAreReplacedSlowly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, tries := newWorld(), newTimes()
		w.on("ready", func(_ context.Context, id string) error {
			tries.note()
			time.AfterFunc(10*time.Millisecond, func() { w.crash(id) })
			return nil
		})
		p, s := openPool(t, w, config)
		for range 6 { // as a runner replaces what has gone
			grow(t, p, 1)
			pass(100 * time.Second)
			p.Workers()
		}
		require.Len(t, tries.gaps(), 5)

		tries.at = nil
		for range 1200 {
			if len(p.Workers()) == 0 {
				grow(t, p, 1)
			}
			pass(50 * time.Millisecond)
		}
		require.Less(t, len(tries.at), 8, "within a minute: %v", tries.gaps())
		ended, err := s.Ended()
		require.NoError(t, err)
		require.NotEmpty(t, ended)
		require.Equal(t, "machine is gone: crashed", ended[0].Reason)

		w.on("ready", nil)
		grow(t, p, 1)
		pass(3 * time.Minute) // it lasts
		w.on("ready", func(context.Context, string) error { tries.note(); return nil })
		tries.at = nil
		grow(t, p, 4)
		synctest.Wait()
		require.Len(t, tries.at, 4, "no time passes")
	})
}

// TestWhatEndedUnaskedIsKept also has workers that were asked to end, or that never
// had a machine, of which nothing is kept.
func TestWhatEndedUnaskedIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.consoles = "boot\n\x1b[31mKernel panic\x1b[0m\n"
		p, s := openPool(t, w, config)
		var last string
		for range store.EndedKept + 3 {
			grow(t, p, 2)
			synctest.Wait()
			workers := p.Workers()
			last = workers[0].ID
			p.Shrink([]string{workers[1].ID})
			w.crash(last)
			synctest.Wait()
			p.Workers()
			pass(2 * time.Minute)
		}
		w.on("acquire", fail(errBroken))
		grow(t, p, 1)
		synctest.Wait()
		ended, err := s.Ended()
		require.NoError(t, err)
		require.Len(t, ended, store.EndedKept)
		end := ended[store.EndedKept-1]
		require.Equal(t, last, end.ID)
		require.Equal(t, "machine is gone: crashed", end.Reason)
		require.Equal(t, config.Recipe.Digest(), end.ImageDigest)
		require.False(t, end.ReadyAt.IsZero())
		require.Equal(t, "boot\nKernel panic\n", read(t, end.Console))

		err = p.Heartbeat(last)
		require.ErrorIs(t, err, pool.ErrUnknown)
		require.ErrorContains(t, err, "it has ended: machine is gone: crashed", "as long as the runner asks")
	})
}

// The reason of a worker that never was ready holds what its console said, and
// nothing in it steers a terminal.
func TestTheReasonHoldsTheConsole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.consoles = "sshd: no hostkeys available\a\n"
		w.on("ready", fail(fmt.Errorf("disconnected: \x1b[2Jbye")))
		p, _, log := logged(t, w, config)
		grow(t, p, 1)
		synctest.Wait()
		p.Workers()
		reason := only(t, p).Reason
		require.Contains(t, reason, "disconnected: bye")
		require.Contains(t, reason, "\nlast lines of the console:\n  sshd: no hostkeys available\\a")
		require.NotContains(t, log.String(), "\x1b")
	})
}

// A worker that does not answer is given up after the third time, unless it answers
// in between.
func TestAWorkerThatDoesNotAnswerIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, tries := newWorld(), newTimes()
		w.consoles = "INFO: task blocked\n"
		w.on("answers", func(ctx context.Context, id string) error {
			tries.note()
			if len(tries.at) == 3 {
				return nil
			}
			<-ctx.Done()
			return context.Cause(ctx)
		})
		p, s := openPool(t, w, config)
		grow(t, p, 1)
		synctest.Wait()
		id := only(t, p).ID
		pass(7 * time.Minute)
		require.Equal(t, pool.Running, only(t, p).State)
		pass(2 * time.Minute)
		gone := only(t, p)
		require.Equal(t, pool.Deleted, gone.State)
		require.Contains(t, gone.Reason, "nobody answers in "+id+" any more, 3 times in a row: no answer within 30s\n")
		require.Contains(t, gone.Reason, "INFO: task blocked")
		ended, err := s.Ended()
		require.NoError(t, err)
		require.Len(t, ended, 1)
	})
}

// Nothing of a pool is under way when it is closed.
func TestCloseWaitsForTheLastAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		var under, over int
		w.on("answers", func(ctx context.Context, _ string) error {
			under++
			<-ctx.Done()
			time.Sleep(time.Second) // it takes its time to give up
			over++
			return ctx.Err()
		})
		p, s := newPool(t, w, config)
		require.NoError(t, p.Open(t.Context()))
		grow(t, p, 1)
		pass(61 * time.Second)
		require.Equal(t, 1, under)
		closePool(t, w, p, s)
		require.Equal(t, 1, over)
	})
}

// One that is suspended is not asked, and neither is one that is gone.
func TestOnlyWorkersThatRunAreWatched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, tries := newWorld(), newTimes()
		w.on("answers", noting(tries, nil))
		p, _ := openPool(t, w, config)
		grow(t, p, 2)
		synctest.Wait()
		workers := p.Workers()
		_, err := p.Suspend([]string{workers[0].ID})
		require.NoError(t, err)
		p.Shrink([]string{workers[1].ID})
		pass(time.Hour)
		require.Empty(t, tries.at)
		_, err = p.Resume([]string{workers[0].ID})
		require.NoError(t, err)
		pass(150 * time.Second)
		require.Len(t, tries.at, 2)
		p.Shrink([]string{workers[0].ID})
		synctest.Wait()
	})
}

// pass lets time of a synctest bubble pass, and what is due then happen: how fast the
// machine is does not matter.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}
