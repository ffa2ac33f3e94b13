package pool_test

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/store"
)

// TestPromises drives a pool at random, through failures of all kinds, and
// checks what it promises to the runner and to the host.
func TestPromises(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		// Check asks a *testing.T for its deadline, which a bubble forbids.
		rapid.Check(quiet{t}, func(rt *rapid.T) {
			h := newHistory(rt, dir)
			rt.Repeat(rapid.StateMachineActions(h))
			h.end(rt)
		})
	})
}

// operations are what may go wrong.
var operations = []string{
	"build", "acquire", "start", "ready", "await", "destroy", "release", "stock", "suspend", "park", "unpark", "resume",
}

// order is how far in its life a worker is: no state leads back to an earlier
// one.
var order = map[pool.State]int{
	pool.Creating: 0, pool.Running: 1, pool.Suspending: 1, pool.Suspended: 1, pool.Resuming: 1,
	pool.Deleting: 2, pool.Deleted: 3,
}

// contrary are the states that a worker does not show between what it was asked
// to be and what it is asked next.
var contrary = map[pool.State][]pool.State{
	pool.Suspended: {pool.Creating, pool.Running, pool.Resuming},
	pool.Running:   {pool.Creating, pool.Suspending, pool.Suspended},
	pool.Deleted:   {pool.Creating, pool.Running, pool.Suspending, pool.Suspended, pool.Resuming},
}

// quiet is a testing.T that rapid does not recognise as one.
type quiet struct{ *testing.T }

// history is a pool with all that it has shown so far. Its exported methods
// are what may happen next.
type history struct {
	world  *world
	store  *store.Store
	config pool.Config
	pool   *pool.Pool

	promised int
	seen     map[string][]pool.State // what each id showed, in order
	asked    map[string]pool.State   // what it was asked to be at last, if that was accepted
	gone     map[string]bool         // ids of earlier processes
}

func newHistory(t *rapid.T, dir string) *history {
	s, err := store.Open(dir)
	require.NoError(t, err)
	h := &history{world: newWorld(), store: s, config: config, gone: map[string]bool{}}
	h.world.template = true
	h.config.Max, h.config.Spares = 8, rapid.IntRange(0, 3).Draw(t, "spares")
	// A history that rapid breaks off must not haunt the next one.
	t.Cleanup(func() { h.mend(); h.pool.Close(context.Background()); h.clear() })
	h.open(t, nil)
	return h
}

// open is the start of a plugin process, which knows the suspended workers of
// the one before, and no other.
func (h *history) open(t *rapid.T, suspended []string) {
	for id := range h.seen {
		h.gone[id] = true
	}
	h.pool = pool.New(h.config, h.world.parts(h.store))
	h.promised, h.seen, h.asked = len(suspended), map[string][]pool.State{}, map[string]pool.State{}
	require.NoError(t, h.pool.Open(context.Background()))
	for _, id := range suspended {
		delete(h.gone, id)
		h.asked[id] = pool.Suspended
	}
	h.Update(t)
	require.ElementsMatch(t, suspended, h.ids(), "what is suspended is taken over, and nothing else")
}

// Grow promises workers.
func (h *history) Grow(t *rapid.T) {
	n := rapid.IntRange(1, 5).Draw(t, "n")
	promised, err := h.pool.Grow(n)
	require.LessOrEqual(t, promised, n)
	require.Equal(t, promised == 0, err != nil)
	h.promised += promised
}

// Shrink asks for the end of a worker, as often as not of one that is gone.
func (h *history) Shrink(t *rapid.T) {
	id := rapid.SampledFrom(append(h.ids(), "test-unknown")).Draw(t, "id")
	require.Equal(t, []string{id}, h.pool.Shrink([]string{id}))
	h.asked[id] = pool.Deleted
}

// Suspend puts a worker away, if it runs.
func (h *history) Suspend(t *rapid.T) { h.turn(t, h.pool.Suspend, pool.Suspended) }

// Resume brings a worker back, if it was put away.
func (h *history) Resume(t *rapid.T) { h.turn(t, h.pool.Resume, pool.Running) }

func (h *history) turn(t *rapid.T, ask func([]string) ([]string, error), to pool.State) {
	id := rapid.SampledFrom(append(h.ids(), "test-unknown")).Draw(t, "id")
	accepted, err := ask([]string{id})
	require.Equal(t, len(accepted) == 0, err != nil)
	if err == nil {
		require.NotEqual(t, pool.Deleted, h.asked[id], "%s was asked to go", id)
		h.asked[id] = to
	}
}

// Restart has another plugin process go on with what this one leaves, which is
// what is suspended; and what it had no time for, when it is killed.
func (h *history) Restart(t *rapid.T) {
	h.Update(t)
	must := h.showing(pool.Suspended)
	may := slices.Concat(must, h.showing(pool.Suspending), h.showing(pool.Resuming))
	h.mend()
	if rapid.Bool().Draw(t, "killed") {
		h.kill(t)
	} else {
		require.NoError(t, h.pool.Close(context.Background()))
	}
	kept := h.recorded(t, pool.Suspended)
	require.Subset(t, may, kept)
	require.Subset(t, kept, must, "nobody has asked for their end")
	h.open(t, kept)
}

// kill ends the pool's goroutines before they can take anything away.
func (h *history) kill(t *rapid.T) {
	for _, operation := range []string{"destroy", "release", "suspend"} {
		h.world.on(operation, fail(errBroken))
	}
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	_ = h.pool.Close(ended) // it may have nothing to do
	time.Sleep(2 * time.Second)
	h.mend()
}

// Crash ends a machine.
func (h *history) Crash(t *rapid.T) {
	h.world.crash(rapid.SampledFrom(append(h.ids(), "")).Draw(t, "id"))
}

// Change makes an operation slow, or fail, or hang, or work again.
func (h *history) Change(t *rapid.T) {
	operation := rapid.SampledFrom(operations).Draw(t, "operation")
	behaviour := rapid.SampledFrom([]string{"well", "slow", "fail", "hang"}).Draw(t, "behaviour")
	h.world.on(operation, map[string]hook{
		"slow": func(context.Context, string) error { time.Sleep(500 * time.Millisecond); return nil },
		"fail": fail(errBroken),
		"hang": hang,
	}[behaviour])
}

// Wait lets time pass.
func (h *history) Wait(t *rapid.T) {
	time.Sleep(time.Duration(rapid.IntRange(0, 90_000).Draw(t, "ms")) * time.Millisecond)
}

// Settle lets everything happen that needs no time.
func (h *history) Settle(*rapid.T) { synctest.Wait() }

// Update looks at the workers, as the runner does.
func (h *history) Update(t *rapid.T) {
	for _, w := range h.pool.Workers() {
		h.seen[w.ID] = append(h.seen[w.ID], w.State)
		h.checkOrder(t, w)
	}
	require.Len(t, h.seen, h.promised, "all that was promised shows, and nothing else")
}

// Check holds between any two steps.
func (h *history) Check(t *rapid.T) {
	for _, id := range h.ids() {
		if _, err := h.pool.Connection(id); err == nil {
			require.NotContains(t, h.seen[id], pool.Deleting, "nobody connects to a worker on its way out")
			require.NotContains(t, []pool.State{pool.Suspended, pool.Deleted}, h.asked[id],
				"nor to one that is put away")
		}
		_ = h.pool.Heartbeat(id)
	}
}

// checkOrder checks what a worker shows against what it has shown before.
func (h *history) checkOrder(t *rapid.T, w pool.Worker) {
	require.NotContains(t, h.gone, w.ID, "it came back from an earlier process")
	states := h.seen[w.ID]
	require.NotEqual(t, pool.Deleted, states[0], "%s was deleted before it was shown", w.ID)
	if len(states) > 1 {
		require.NotContains(t, contrary[h.asked[w.ID]], w.State)
		before := states[len(states)-2]
		require.NotEqual(t, pool.Deleted, before, "%s came back", w.ID)
		require.LessOrEqual(t, order[before], order[w.State], "%s went back", w.ID)
	}
	if w.State == pool.Deleted {
		require.NotEmpty(t, w.Reason)
	}
}

// showing are the ids that showed a state at last.
func (h *history) showing(state pool.State) []string {
	return slices.DeleteFunc(h.ids(), func(id string) bool { return h.seen[id][len(h.seen[id])-1] != state })
}

// end closes the pool on a host that is well again, and looks for what is left.
func (h *history) end(t *rapid.T) {
	h.mend()
	h.pool.Shrink(h.ids()) // those that are suspended would stay
	require.NoError(t, h.pool.Close(context.Background()))
	require.Empty(t, h.world.left())
	ids, err := h.store.List()
	require.NoError(t, err)
	require.Empty(t, ids)
	h.Update(t)
	h.Update(t)
	for id, states := range h.seen {
		require.Equal(t, pool.Deleted, states[len(states)-1], "%s was never reported as gone", id)
	}
	require.Empty(t, h.pool.Workers())
}

// mend makes every operation work again.
func (h *history) mend() {
	for _, operation := range operations {
		h.world.on(operation, nil)
	}
}

// recorded are the ids whose records say the state.
func (h *history) recorded(t *rapid.T, state pool.State) []string {
	ids, err := h.store.List()
	require.NoError(t, err)
	return slices.DeleteFunc(ids, func(id string) bool {
		record, err := h.store.Load(id)
		return err != nil || pool.State(record.State) != state
	})
}

// clear removes the directories of a history that was broken off.
func (h *history) clear() {
	ids, _ := h.store.List()
	for _, id := range ids {
		_ = h.store.Remove(id)
	}
}

// ids are those that the runner knows, in a fixed order.
func (h *history) ids() []string {
	ids := make([]string, 0, len(h.seen))
	for id := range h.seen {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}
