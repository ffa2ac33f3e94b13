package pool_test

import (
	"context"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/store"
)

// slowly makes an operation take ten seconds, unless it is cancelled.
func slowly(ctx context.Context, _ string) error {
	select {
	case <-time.After(10 * time.Second):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// oneRunning is a pool with one worker.
func oneRunning(t *testing.T, w *world) (p *pool.Pool, s *store.Store, id string) {
	t.Helper()
	p, s = newPool(t, w, config)
	require.NoError(t, p.Open(t.Context()))
	grow(t, p, 1)
	synctest.Wait()
	require.Equal(t, pool.Running, only(t, p).State)
	return p, s, only(t, p).ID
}

// suspended is a pool whose one worker is suspended.
func suspended(t *testing.T, w *world) (p *pool.Pool, s *store.Store, id string) {
	t.Helper()
	p, s, id = oneRunning(t, w)
	_, err := p.Suspend([]string{id})
	require.NoError(t, err)
	synctest.Wait()
	require.Equal(t, pool.Suspended, only(t, p).State)
	return p, s, id
}

func TestSuspendAndResume(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.on("suspend", slowly)
		w.on("resume", slowly)
		p, s, id := oneRunning(t, w)
		connection, err := p.Connection(id)
		require.NoError(t, err)

		for range 3 {
			for range 2 { // the runner may ask twice
				accepted, err := p.Suspend([]string{id})
				require.NoError(t, err)
				require.Equal(t, []string{id}, accepted)
				require.Equal(t, pool.Suspending, only(t, p).State, "at once")
			}
			_, err = p.Resume([]string{id})
			require.ErrorContains(t, err, "is suspending, not suspended")
			time.Sleep(11 * time.Second)
			require.Equal(t, pool.Suspended, only(t, p).State)
			require.ElementsMatch(t, []string{"network", "saved machine " + id, "parked lease " + id}, w.left())
			record, err := s.Load(id)
			require.NoError(t, err)
			require.Equal(t, "suspended", record.State)
			require.ErrorIs(t, p.Heartbeat(id), pool.ErrNotRunning)
			accepted, err := p.Suspend([]string{id})
			require.NoError(t, err)
			require.Equal(t, []string{id}, accepted, "it is")

			for range 2 {
				accepted, err = p.Resume([]string{id})
				require.NoError(t, err)
				require.Equal(t, []string{id}, accepted)
				require.Equal(t, pool.Resuming, only(t, p).State, "at once")
			}
			time.Sleep(11 * time.Second)
			require.Equal(t, pool.Running, only(t, p).State)
			require.NoError(t, p.Heartbeat(id))
			again, err := p.Connection(id)
			require.NoError(t, err)
			require.Equal(t, connection, again)
		}
		closePool(t, w, p, s)
	})
}

func TestOnlyWhatCanBeSuspendedIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		p, s, id := oneRunning(t, w)
		accepted, err := p.Suspend([]string{"test-unknown", id})
		require.Equal(t, []string{id}, accepted)
		require.ErrorIs(t, err, pool.ErrUnknown)
		synctest.Wait()
		p.Shrink([]string{id})
		_, err = p.Resume([]string{id})
		require.ErrorContains(t, err, "is deleting, not suspended")
		synctest.Wait()
		assert.Equal(t, []string{"network"}, w.left())
		closePool(t, w, p, s)
		_, err = p.Suspend([]string{id})
		require.ErrorIs(t, err, pool.ErrClosing)
	})
}

func TestSuspendOrResumeThatFailsEndsTheWorker(t *testing.T) {
	for _, operation := range []string{"suspend", "park", "unpark", "resume"} {
		t.Run(operation, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				w.on(operation, fail(errBroken))
				p, s, id := oneRunning(t, w)
				_, err := p.Suspend([]string{id})
				require.NoError(t, err)
				synctest.Wait()
				if operation == "unpark" || operation == "resume" {
					_, err = p.Resume([]string{id})
					require.NoError(t, err)
					synctest.Wait()
				}
				gone := only(t, p)
				require.Equal(t, pool.Deleted, gone.State)
				require.Contains(t, gone.Reason, errBroken.Error())
				require.Equal(t, []string{"network"}, w.left())
				closePool(t, w, p, s)
			})
		})
	}
}

func TestSuspendedWorkersOutliveTheProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		p, s, id := suspended(t, w)
		grow(t, p, 1)
		synctest.Wait()
		require.NoError(t, p.Close(t.Context()))
		require.ElementsMatch(t, []string{"saved machine " + id, "parked lease " + id}, w.left(), "all others are gone")

		next := pool.New(config, w.parts(s))
		require.NoError(t, next.Open(t.Context()))
		require.Equal(t, pool.Suspended, only(t, next).State)
		require.Equal(t, id, only(t, next).ID)
		_, err := next.Resume([]string{id})
		require.NoError(t, err)
		synctest.Wait()
		require.Equal(t, pool.Running, only(t, next).State)
		connection, err := next.Connection(id)
		require.NoError(t, err)
		require.Equal(t, "key of "+id, connection.PrivateKey)
		closePool(t, w, next, s)
	})
}

func TestCloseFinishesASuspendThatIsUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.on("suspend", slowly)
		p, _, id := oneRunning(t, w)
		_, err := p.Suspend([]string{id})
		require.NoError(t, err)
		require.NoError(t, p.Close(t.Context()))
		require.ElementsMatch(t, []string{"saved machine " + id, "parked lease " + id}, w.left())
	})
}

func TestShrinkDoesNotWaitForASuspend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.on("suspend", hang)
		p, s, id := oneRunning(t, w)
		_, err := p.Suspend([]string{id})
		require.NoError(t, err)
		p.Shrink([]string{id})
		synctest.Wait()
		require.Equal(t, pool.Deleted, only(t, p).State)
		closePool(t, w, p, s)
	})
}

// A machine that cannot be resumed, and a crash in the middle of a resume:
// neither is worth more than an orphan.
func TestWhatCannotBeResumedIsRemoved(t *testing.T) {
	for name, spoil := range map[string]func(*world, *store.Store, string){
		"saved for another host": func(w *world, _ *store.Store, id string) { delete(w.saved, id) },
		"under another name": func(w *world, s *store.Store, id string) {
			delete(w.saved, id)
			w.saved["test-bbbbbbbb"] = true
			if err := os.Rename(s.Dir(id), s.Dir("test-bbbbbbbb")); err != nil {
				panic(err)
			}
		},
		"resumed halfway": func(_ *world, s *store.Store, id string) {
			record, err := s.Load(id)
			if err == nil {
				record.State = string(pool.Resuming)
				err = s.Save(record)
			}
			if err != nil {
				panic(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				p, s, id := suspended(t, w)
				require.NoError(t, p.Close(t.Context()))
				spoil(w, s, id)
				next := pool.New(config, w.parts(s))
				require.NoError(t, next.Open(t.Context()))
				require.Empty(t, next.Workers())
				require.Equal(t, []string{"network"}, w.left())
				closePool(t, w, next, s)
			})
		})
	}
}

// What was saved is used up only when the machine is made again.
func TestCloseKeepsAWorkerThatHasNotBegunToResume(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		p, s, id := suspended(t, w)
		w.on("start", hang)
		grow(t, p, config.ConcurrentStarts) // they take all there is to start with
		synctest.Wait()
		_, err := p.Resume([]string{id})
		require.NoError(t, err)
		synctest.Wait()
		require.NoError(t, p.Close(t.Context()))
		require.ElementsMatch(t, []string{"saved machine " + id, "parked lease " + id}, w.left())
		record, err := s.Load(id)
		require.NoError(t, err)
		require.Equal(t, "suspended", record.State)
	})
}

// Close waits for what is being suspended, so that all of it has to end.
func TestCloseDoesNotWaitForANetworkThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.on("park", hang)
		p, s, id := oneRunning(t, w)
		_, err := p.Suspend([]string{id})
		require.NoError(t, err)
		synctest.Wait()
		began := time.Now()
		require.NoError(t, p.Close(t.Context()))
		require.Equal(t, 30*time.Second, time.Since(began))
		require.NoDirExists(t, s.Dir(id), "what could not be put away is removed")
	})
}

func TestSuspendThatFailsWhileThePoolClosesIsLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.on("suspend", func(context.Context, string) error { time.Sleep(time.Second); return errBroken })
		p, log := loggedPool(t, w)
		grow(t, p, 1)
		synctest.Wait()
		_, err := p.Suspend([]string{only(t, p).ID})
		require.NoError(t, err)
		require.NoError(t, p.Close(t.Context()))
		require.Equal(t, 1, strings.Count(log.String(), errBroken.Error()), log.String())
		require.Empty(t, w.left())
	})
}

// What was saved is of the past as soon as the machine runs on, so a crash must
// not find it recorded as suspended.
func TestResumeIsRecordedBeforeTheMachineRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		p, s, id := suspended(t, w)
		recorded := make(chan string, 1)
		w.on("resume", func(context.Context, string) error {
			record, err := s.Load(id)
			recorded <- record.State
			return err
		})
		_, err := p.Resume([]string{id})
		require.NoError(t, err)
		require.Equal(t, "resuming", <-recorded)
		closePool(t, w, p, s)
	})
}
