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
var operations = []string{"build", "acquire", "start", "ready", "destroy", "release"}

// quiet is a testing.T that rapid does not recognise as one.
type quiet struct{ *testing.T }

// history is a pool with all that it has shown so far. Its exported methods
// are what may happen next.
type history struct {
	world *world
	store *store.Store
	pool  *pool.Pool

	promised int
	seen     map[string][]pool.State // what each id showed, in order
}

func newHistory(t *rapid.T, dir string) *history {
	w := newWorld()
	s, err := store.Open(dir)
	require.NoError(t, err)
	config := config
	config.Max = 8
	h := &history{world: w, store: s, pool: pool.New(config, w.parts(s)), seen: map[string][]pool.State{}}
	// A history that rapid breaks off must not haunt the next one.
	t.Cleanup(func() { h.mend(); h.pool.Close(context.Background()) })
	require.NoError(t, h.pool.Open(context.Background()))
	return h
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
		}
		_ = h.pool.Heartbeat(id)
	}
}

// checkOrder checks what a worker shows against what it has shown before.
func (h *history) checkOrder(t *rapid.T, w pool.Worker) {
	order := []pool.State{pool.Creating, pool.Running, pool.Deleting, pool.Deleted}
	states := h.seen[w.ID]
	require.NotEqual(t, pool.Deleted, states[0], "%s was deleted before it was shown", w.ID)
	if len(states) < 2 {
		return
	}
	before := states[len(states)-2]
	require.NotEqual(t, pool.Deleted, before, "%s came back", w.ID)
	require.LessOrEqual(t, slices.Index(order, before), slices.Index(order, w.State), "%s went back", w.ID)
	if w.State == pool.Deleted {
		require.NotEmpty(t, w.Reason)
	}
}

// end closes the pool on a host that is well again, and looks for what is left.
func (h *history) end(t *rapid.T) {
	h.mend()
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

// ids are those that the runner knows, in a fixed order.
func (h *history) ids() []string {
	ids := make([]string, 0, len(h.seen))
	for id := range h.seen {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}
