package budget

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool"
)

const gib = 1 << 30

// silent is for those who do not ask why they wait.
func silent(string) {}

// of is the budget of one of several pools that share a directory and 8 GiB.
func of(dir, name string, gates ...Gate) *Budget {
	return New(Options{Dir: dir, Pool: name, Limits: Limits{Memory: 8 * gib, CPUs: 16}, Gates: gates})
}

func memory(gibs int64) pool.Cost { return pool.Cost{Memory: gibs * gib, CPUs: 1} }

func reserve(t *testing.T, b *Budget, id string, cost pool.Cost) {
	t.Helper()
	require.NoError(t, b.Reserve(t.Context(), id, cost, func(reason string) {
		require.Fail(t, "it waits", reason)
	}))
}

// waiter is a worker that waits.
type waiter struct {
	err    error
	done   chan struct{}
	cancel context.CancelCauseFunc

	mu   sync.Mutex
	told []string
}

func (w *waiter) tell(reason string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.told = append(w.told, reason)
}

// reasons are all that it was told up to now.
func (w *waiter) reasons() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.told)
}

// await has a worker wait in the background, from this moment on.
func await(t *testing.T, b *Budget, id string, cost pool.Cost) *waiter {
	ctx, cancel := context.WithCancelCause(t.Context())
	w := &waiter{done: make(chan struct{}), cancel: cancel}
	go func() {
		defer close(w.done)
		w.err = b.Reserve(ctx, id, cost, w.tell)
	}()
	synctest.Wait()
	return w
}

func (w *waiter) got() bool {
	select {
	case <-w.done:
		return true
	default:
		return false
	}
}

// settle gives those who wait the time to look again.
func settle() {
	time.Sleep(10 * poll)
	synctest.Wait()
}

func TestWhatDoesNotFitWaitsUntilItDoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		a, b := of(dir, "a"), of(dir, "b")
		reserve(t, a, "a-aaaaaaaa", memory(5))
		second := await(t, b, "b-bbbbbbbb", memory(4))
		settle()
		require.False(t, second.got())
		require.Equal(t, []string{
			"waiting for memory of the host: the worker takes 4.0 GiB, and 1 workers hold 5.0 GiB of 8.0 GiB",
		}, second.reasons())
		require.True(t, a.Waiting())

		require.NoError(t, a.Release(t.Context(), "a-aaaaaaaa"))
		settle()
		require.True(t, second.got())
		require.NoError(t, second.err)
		require.False(t, a.Waiting())
		require.Equal(t, []string{"b-bbbbbbbb"}, find(t, b))
		require.Empty(t, find(t, a))
		requireNothingLeft(t, b, "b-bbbbbbbb")
	})
}

func TestFirstComeFirstServedBetweenPools(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		a, b, c := of(dir, "a"), of(dir, "b"), of(dir, "c")
		reserve(t, a, "a-aaaaaaaa", memory(5))
		large := await(t, b, "b-bbbbbbbb", memory(8))
		small := await(t, c, "c-cccccccc", memory(1))
		settle()
		require.False(t, large.got())
		require.False(t, small.got(), "it fits, but came later")
		require.Contains(t, small.reasons()[0], "behind other workers")

		require.NoError(t, a.Release(t.Context(), "a-aaaaaaaa"))
		settle()
		require.True(t, large.got())
		require.False(t, small.got())
		require.NoError(t, b.Release(t.Context(), "b-bbbbbbbb"))
		settle()
		require.True(t, small.got())
		requireNothingLeft(t, c, "c-cccccccc")
	})
}

func TestWhoGivesUpLeavesNothingAndKeepsNobodyWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		a, b := of(dir, "a"), of(dir, "b")
		reserve(t, a, "a-aaaaaaaa", memory(5))
		large := await(t, b, "b-bbbbbbbb", memory(8))
		small := await(t, a, "a-cccccccc", memory(1))
		late := errors.New("too late")
		large.cancel(late)
		settle()
		require.ErrorIs(t, large.err, late)
		require.ErrorContains(t, large.err, "waiting for memory of the host")
		require.True(t, small.got())
		require.NoError(t, small.err)
		require.Empty(t, find(t, b))
		require.NoError(t, a.Release(t.Context(), "a-aaaaaaaa"))
		requireNothingLeft(t, a, "a-cccccccc")
	})
}

func TestWhatFitsNoHostFailsAtOnce(t *testing.T) {
	a := of(filepath.Join(t.TempDir(), "budget"), "a")
	err := a.Reserve(t.Context(), "a-aaaaaaaa", pool.Cost{Memory: 9 * gib, CPUs: 17}, silent)
	require.ErrorContains(t, err, "9.0 GiB of memory, and this host gives away 8.0 GiB")
	require.ErrorContains(t, err, "17 processors, and this host gives away 16")
	require.NoDirExists(t, a.options.Dir)
}

func TestProcessorsAreWaitedForToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := of(t.TempDir(), "a")
		reserve(t, a, "a-aaaaaaaa", pool.Cost{CPUs: 10})
		second := await(t, a, "a-bbbbbbbb", pool.Cost{CPUs: 7})
		require.Contains(t, second.reasons()[0],
			"waiting for processors of the host: the worker takes 7, and 1 workers hold 10 of 16")
		require.NoError(t, a.Release(t.Context(), "a-aaaaaaaa"))
		settle()
		require.True(t, second.got())
	})
}

func TestClosedGateHoldsBackEverybodyAndSaysWhy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var reason atomic.Value
		reason.Store("it is full")
		a := of(t.TempDir(), "a", Gate{"disk", func() string { return reason.Load().(string) }})
		first := await(t, a, "a-aaaaaaaa", memory(1))
		reason.Store("it is fuller")
		settle()
		require.Equal(t, []string{"waiting for the host: it is full"}, first.reasons(), "numbers change, the reason does not")
		fits, err := a.ReserveSpare(t.Context(), "a-bbbbbbbb", memory(1))
		require.NoError(t, err)
		require.False(t, fits)
		reason.Store("")
		settle()
		require.True(t, first.got())
	})
}

func TestReasonIsToldAgainWhenItBecomesAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := of(t.TempDir(), "a")
		reserve(t, a, "a-aaaaaaaa", memory(8))
		first := await(t, a, "a-bbbbbbbb", memory(2))
		second := await(t, a, "a-cccccccc", memory(7))
		first.cancel(errors.New("enough"))
		settle()
		require.Len(t, second.reasons(), 2)
		require.Contains(t, second.reasons()[0], "behind")
		require.Contains(t, second.reasons()[1], "the worker takes 7.0 GiB")
		second.cancel(errors.New("enough"))
		settle()
	})
}

func TestSparesNeverMakeAWorkerWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := of(t.TempDir(), "a")
		fits, err := a.ReserveSpare(t.Context(), "a-aaaaaaaa", memory(5))
		require.NoError(t, err)
		require.True(t, fits)
		fits, err = a.ReserveSpare(t.Context(), "a-bbbbbbbb", memory(5))
		require.NoError(t, err)
		require.False(t, fits, "it does not fit")
		waiting := await(t, a, "a-cccccccc", memory(4))
		fits, err = a.ReserveSpare(t.Context(), "a-bbbbbbbb", memory(1))
		require.NoError(t, err)
		require.False(t, fits, "a worker waits")

		reserve(t, a, "a-aaaaaaaa", memory(5)) // the spare becomes a worker, and waits for nobody
		require.NoError(t, a.Release(t.Context(), "a-aaaaaaaa"))
		settle()
		require.True(t, waiting.got())
	})
}

func TestWorkersThatGrowHoldMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := of(t.TempDir(), "a")
		reserve(t, a, "a-aaaaaaaa", memory(1))
		require.NoError(t, a.Raise(t.Context(), map[string]int64{"a-aaaaaaaa": 9 * gib, "a-gonegone": gib}))
		require.Equal(t, []string{"a-aaaaaaaa"}, find(t, a), "what is gone stays gone")
		require.NoError(t, a.Raise(t.Context(), map[string]int64{"a-aaaaaaaa": gib}))
		waiting := await(t, a, "a-bbbbbbbb", memory(1))
		require.Contains(t, waiting.reasons()[0], "1 workers hold 9.0 GiB of 8.0 GiB")
		waiting.cancel(errors.New("enough"))
		settle()
	})
}

func TestSuspendedWorkersHoldNoMemoryAndWaitForItAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := of(t.TempDir(), "a")
		reserve(t, a, "a-aaaaaaaa", memory(5))
		waiting := await(t, a, "a-bbbbbbbb", memory(4))
		require.NoError(t, a.Lower(t.Context(), "a-aaaaaaaa", pool.Cost{Disk: 20 * gib})) // with somebody before it
		require.NoError(t, a.Raise(t.Context(), map[string]int64{"a-aaaaaaaa": gib}), "a look at what it was")
		settle()
		require.True(t, waiting.got())

		resumed := await(t, a, "a-aaaaaaaa", memory(5))
		require.False(t, resumed.got())
		require.NoError(t, a.Release(t.Context(), "a-bbbbbbbb"))
		settle()
		require.True(t, resumed.got())
	})
}

func TestLoweringNeverWaitsAndGivesNobodyAnything(t *testing.T) {
	a := of(t.TempDir(), "a", Gate{"disk", func() string { return "it is full" }})
	require.NoError(t, a.Lower(t.Context(), "a-aaaaaaaa", pool.Cost{Disk: gib}))
	require.Empty(t, find(t, a), "it holds nothing")
	open := of(a.options.Dir, "a")
	reserve(t, open, "a-aaaaaaaa", pool.Cost{Memory: 2 * gib, CPUs: 1, Disk: gib})
	for range 2 {
		require.NoError(t, a.Lower(t.Context(), "a-aaaaaaaa", pool.Cost{Memory: gib, CPUs: 2, Disk: 3 * gib}))
		held, err := a.Held()
		require.NoError(t, err)
		require.Equal(t, map[string]pool.Cost{"a-aaaaaaaa": {Memory: gib, CPUs: 1, Disk: 3 * gib}}, held)
	}
}

func TestWhatCostsNothingAlwaysFits(t *testing.T) {
	a := of(t.TempDir(), "a")
	reserve(t, a, "a-aaaaaaaa", memory(1))
	require.NoError(t, a.Raise(t.Context(), map[string]int64{"a-aaaaaaaa": 9 * gib}))
	reserve(t, a, "a-bbbbbbbb", pool.Cost{})

	unlimited := New(Options{Dir: a.options.Dir, Pool: "b", Limits: Limits{Memory: 64 * gib}})
	reserve(t, unlimited, "b-aaaaaaaa", pool.Cost{CPUs: 17})
	reserve(t, a, "a-cccccccc", pool.Cost{}) // of 16
}

func TestNamesThatMeanNothingHoldNothingAndAreGivenBack(t *testing.T) {
	for _, rest := range []string{"", ",", ",1,2", ",1,2,3,4", ",-1,2,3", ",1e9,2,3", ",99999999999999999999,2,3", ",a,b,c"} {
		a := of(t.TempDir(), "a")
		reserve(t, a, "a-aaaaaaaa", memory(1))
		held, err := a.book.read()
		require.NoError(t, err)
		file := filepath.Join(a.book.dir, held["a-aaaaaaaa"].name)
		require.NoError(t, os.Rename(file, filepath.Join(a.book.dir, "a-aaaaaaaa"+rest)))
		held, err = a.book.read()
		require.NoError(t, err)
		require.Equal(t, map[string]page{"a-aaaaaaaa": {name: "a-aaaaaaaa" + rest}}, held)
		require.Equal(t, []string{"a-aaaaaaaa"}, find(t, a))
		requireNothingLeft(t, a, "a-aaaaaaaa")
	}
}

func TestWhatIsNoWorkersIsLeftAlone(t *testing.T) {
	a := of(t.TempDir(), "a")
	reserve(t, a, "a-aaaaaaaa", memory(1))
	require.NoError(t, os.WriteFile(filepath.Join(a.book.dir, "lost+found"), nil, 0o600))
	require.Equal(t, []string{"a-aaaaaaaa"}, find(t, a))
}

func TestWhatIsNoTicketKeepsNobodyWaiting(t *testing.T) {
	a := of(t.TempDir(), "a")
	reserve(t, a, "a-aaaaaaaa", memory(1))
	const place = "0000000000000000007-b-aaaaaaaa"
	for _, name := range []string{
		"lost+found", "7-b-aaaaaaaa", "+000000000000000007-b-aaaaaaaa", "-000000000000000007-b-aaaaaaaa", place + "x",
		"9999999999999999999-b-aaaaaaaa", "0000000000000000007", place,
	} {
		dir := filepath.Join(a.queue.dir, name)
		require.NoError(t, os.MkdirAll(filepath.Join(dir, "below"), 0o700))
		reserve(t, a, "a-bbbbbbbb", memory(1))
		require.NoError(t, a.Release(t.Context(), "a-bbbbbbbb"))
		require.False(t, a.Waiting())
		require.DirExists(t, dir)
	}
	_, ok := ticketNumber(place)
	require.True(t, ok)
}

func FuzzParseName(f *testing.F) {
	f.Add("a-aaaaaaaa,1,2,3")
	f.Add("a-aaaaaaaa,-1,2,3")
	f.Add("a-aaaaaaaa")
	f.Fuzz(func(t *testing.T, name string) {
		id, cost, ok := parseName(name)
		if !ok {
			return
		}
		require.GreaterOrEqual(t, min(cost.Memory, int64(cost.CPUs), cost.Disk), int64(0))
		again, same, ok := parseName(formatName(id, cost))
		require.True(t, ok)
		require.Equal(t, id, again)
		require.Equal(t, cost, same)
	})
}

func TestLookingMakesNothing(t *testing.T) {
	a := of(filepath.Join(t.TempDir(), "budget"), "a")
	require.Empty(t, find(t, a))
	require.False(t, a.Waiting())
	require.NoError(t, a.Release(t.Context(), "a-aaaaaaaa"))
	require.NoDirExists(t, a.options.Dir)
	require.NoError(t, os.Mkdir(a.options.Dir, 0o700))
	require.NoError(t, a.Release(t.Context(), "a-aaaaaaaa"))
	require.NoDirExists(t, a.book.dir)
}

func find(t *testing.T, b *Budget) []string {
	t.Helper()
	found, err := b.Find()
	require.NoError(t, err)
	return found
}

// requireNothingLeft gives back what the last worker holds, and finds an empty book.
func requireNothingLeft(t *testing.T, b *Budget, last string) {
	t.Helper()
	require.NoError(t, b.Release(t.Context(), last))
	for _, dir := range []string{b.book.dir, b.queue.dir} {
		entries, err := os.ReadDir(dir)
		require.NoError(t, err)
		require.Empty(t, entries)
	}
}
