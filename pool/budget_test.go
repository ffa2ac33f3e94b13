package pool_test

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/host/budget"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/store"
)

const gib = 1 << 30

// shared is a host whose pools share 4 GiB, each in a world of its own. A worker
// takes one.
type shared struct {
	t     *testing.T
	dir   string
	gates []budget.Gate
}

func (s shared) budget(name string) *budget.Budget {
	return budget.New(budget.Options{Dir: s.dir, Pool: name, Limits: budget.Limits{Memory: 4 * gib}, Gates: s.gates})
}

// openOn opens a pool with a store and a budget.
func (s shared) openOn(w *world, c pool.Config, b backend.Backend, records *store.Store, share pool.Budget) *pool.Pool {
	s.t.Helper()
	parts := w.parts(records)
	parts.Backend, parts.Budget = b, share
	p := pool.New(c, parts)
	require.NoError(s.t, p.Open(s.t.Context()))
	return p
}

// open opens a pool that is closed, with nothing left of it, at the end of the test.
func (s shared) open(w *world, c pool.Config, b backend.Backend) (*pool.Pool, *store.Store) {
	s.t.Helper()
	records, err := store.Open(s.t.TempDir())
	require.NoError(s.t, err)
	p := s.openOn(w, c, b, records, s.budget(c.Name))
	s.t.Cleanup(func() {
		closePool(s.t, w, p, records)
		require.Empty(s.t, s.held(c.Name))
	})
	return p, records
}

func (s shared) held(name string) []string {
	s.t.Helper()
	held, err := s.budget(name).Find()
	require.NoError(s.t, err)
	return held
}

// memory is what workers of all pools hold.
func (s shared) memory() (sum int64) {
	s.t.Helper()
	held, err := s.budget("").Held()
	require.NoError(s.t, err)
	for _, cost := range held {
		sum += cost.Memory
	}
	return sum
}

// named is a pool's configuration.
func named(name string) pool.Config {
	c := config
	c.Name = name
	return c
}

// idsIn are the workers of a pool that are in a state, in the order in which they
// came.
func idsIn(p *pool.Pool, state pool.State) (ids []string) {
	for _, w := range p.Workers() {
		if w.State == state {
			ids = append(ids, w.ID)
		}
	}
	return ids
}

// settle is time enough for who waits to see that there is room.
func settle() { pass(time.Second) }

func TestWorkersWaitForThoseOfOtherPools(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := shared{t: t, dir: t.TempDir()}
		first, second := newWorld(), newWorld()
		a, _ := s.open(first, named("a"), worldBackend{first})
		b, records := s.open(second, named("b"), worldBackend{second})
		grow(t, a, 4)
		settle()
		require.Len(t, idsIn(a, pool.Running), 4)
		grow(t, b, 1)
		settle()
		waiting := idsIn(b, pool.Creating)
		require.Len(t, waiting, 1)
		record, err := records.Load(waiting[0])
		require.NoError(t, err)
		require.Equal(t, string(pool.Creating), record.State)
		require.Equal(t, "waiting for memory of the host: the worker takes 1.0 GiB, and 4 workers hold 4.0 GiB of 4.0 GiB",
			record.Reason)
		require.Equal(t, []string{"network"}, second.left())

		a.Shrink(idsIn(a, pool.Running)[:1])
		settle()
		require.Equal(t, waiting, idsIn(b, pool.Running))
		record, err = records.Load(waiting[0])
		require.NoError(t, err)
		require.Empty(t, record.Reason)
		require.InDelta(t, 1, record.Phases[pool.PhaseWaitBudget], 0.2)
	})
}

func TestReasonGoesWhenThereIsRoomAndTheWorkerWaitsForASlot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := shared{t: t, dir: t.TempDir()}
		w := newWorld()
		c := named("a")
		c.ConcurrentStarts = 1
		p, records := s.open(w, c, worldBackend{w})
		grow(t, p, 4)
		settle()
		running := idsIn(p, pool.Running)
		require.Len(t, running, 4)
		w.on("start", hang)
		grow(t, p, 2)
		settle()
		waiting := idsIn(p, pool.Creating)
		require.Len(t, waiting, 2)
		p.Shrink(running[:2])
		settle()
		for _, id := range waiting {
			record, err := records.Load(id)
			require.NoError(t, err)
			require.Empty(t, record.Reason)
		}
	})
}

func TestWorkerThatWaitsTooLongFailsAndSaysForWhat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := shared{t: t, dir: t.TempDir()}
		w := newWorld()
		p, records := s.open(w, named("a"), worldBackend{w})
		grow(t, p, 4)
		settle()
		running := idsIn(p, pool.Running)
		grow(t, p, 1)
		pass(config.StartTimeout - 5*time.Second)
		waiting := idsIn(p, pool.Creating)
		require.Len(t, waiting, 1)
		w.on("destroy", hang) // for its record to be read
		pass(10 * time.Second)
		record, err := records.Load(waiting[0])
		require.NoError(t, err)
		require.Equal(t, string(pool.Deleting), record.State)
		require.Contains(t, record.Reason, "worker did not fit on the host within the start timeout of 1m0s: "+
			"waiting for memory of the host")
		w.on("destroy", nil)
		pass(time.Minute)
		require.Equal(t, pool.Deleted, states(p)[waiting[0]])
		require.ElementsMatch(t, running, s.held("a"))
		require.False(t, s.budget("a").Waiting())
	})
}

func TestWorkerThatIsDeletedWhileItWaitsLeavesTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := shared{t: t, dir: t.TempDir()}
		w := newWorld()
		p, _ := s.open(w, named("a"), worldBackend{w})
		grow(t, p, 5)
		settle()
		waiting := idsIn(p, pool.Creating)
		require.Len(t, waiting, 1)
		require.True(t, s.budget("a").Waiting())
		p.Shrink(waiting)
		settle()
		require.Equal(t, pool.Deleted, states(p)[waiting[0]])
		require.False(t, s.budget("a").Waiting())
		require.Len(t, s.held("a"), 4)
	})
}

func TestWhatIsHeldIsHeldAsLongAsTheMachineIsThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := shared{t: t, dir: t.TempDir()}
		w := newWorld()
		p, _ := s.open(w, named("a"), worldBackend{w})
		grow(t, p, 1)
		settle()
		w.on("destroy", hang)
		p.Shrink(idsIn(p, pool.Running))
		pass(time.Minute)
		require.Len(t, s.held("a"), 1)
		w.on("destroy", nil)
		pass(2 * time.Minute)
		require.Empty(t, s.held("a"))
	})
}

func TestWhatADeadProcessHeldIsGivenBackByTheNextOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := shared{t: t, dir: t.TempDir()}
		dead := s.budget("a")
		for _, id := range []string{"a-aaaaaaaa", "a-bbbbbbbb"} {
			require.NoError(t, dead.Reserve(t.Context(), id, pool.Cost{Memory: 2 * gib}, func(string) {}))
		}
		require.NoError(t, s.budget("b").Reserve(t.Context(), "b-aaaaaaaa", pool.Cost{Disk: gib}, func(string) {}))
		w := newWorld()
		s.open(w, named("a"), worldBackend{w})
		require.Empty(t, s.held("a"))
		require.Equal(t, []string{"b-aaaaaaaa"}, s.held("b"), "its pool is another one")
	})
}

func TestSparesAreGivenUpForWhoWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := shared{t: t, dir: t.TempDir()}
		first, second := newWorld(), newWorld()
		first.template = true
		c := named("a")
		c.Spares = 3
		s.open(first, c, worldBackend{first})
		settle()
		require.Len(t, first.inStock(), 3)
		b, _ := s.open(second, named("b"), worldBackend{second})
		grow(t, b, 3)
		pass(10 * time.Second)
		require.Len(t, idsIn(b, pool.Running), 3)
		require.Len(t, first.inStock(), 1, "what is left of the host")

		b.Shrink(idsIn(b, pool.Running))
		pass(10 * time.Second)
		require.Len(t, first.inStock(), 3)
	})
}

func TestSpareThatBecomesAWorkerWaitsForNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := shared{t: t, dir: t.TempDir()}
		first, second := newWorld(), newWorld()
		first.template = true
		c := named("a")
		c.Spares, c.ConcurrentStarts = 1, 1
		a, _ := s.open(first, c, worldBackend{first})
		b, _ := s.open(second, named("b"), worldBackend{second})
		settle()
		grow(t, b, 3)
		settle()
		grow(t, a, 2)
		settle()
		require.Len(t, idsIn(a, pool.Running), 1)
		require.Len(t, idsIn(a, pool.Creating), 1, "it waits, and holds no start slot")
		require.EqualValues(t, 4*gib, s.memory())
	})
}

func TestSuspendedWorkersGiveTheirMemoryToOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := shared{t: t, dir: t.TempDir()}
		w := newWorld()
		p, records := s.open(w, named("a"), worldBackend{w})
		grow(t, p, 5)
		settle()
		suspended := idsIn(p, pool.Running)[:1]
		_, err := p.Suspend(suspended)
		require.NoError(t, err)
		settle()
		require.Len(t, idsIn(p, pool.Running), 4, "the one that waited, too")
		require.Len(t, s.held("a"), 5)

		_, err = p.Resume(suspended)
		require.NoError(t, err)
		settle()
		require.Equal(t, suspended, idsIn(p, pool.Resuming))
		record, err := records.Load(suspended[0])
		require.NoError(t, err)
		require.Equal(t, string(pool.Suspended), record.State, "nothing is used up yet")
		require.Contains(t, record.Reason, "waiting for memory of the host")
		p.Shrink(idsIn(p, pool.Running)[:1])
		settle()
		require.Contains(t, idsIn(p, pool.Running), suspended[0])
		record, err = records.Load(suspended[0])
		require.NoError(t, err)
		require.Empty(t, record.Reason)
		p.Shrink(suspended)
		settle()
	})
}

// suspendOne suspends the only worker of a pool.
func suspendOne(t *testing.T, p *pool.Pool) (id string) {
	t.Helper()
	grow(t, p, 1)
	settle()
	id = only(t, p).ID
	_, err := p.Suspend([]string{id})
	require.NoError(t, err)
	settle()
	require.Equal(t, pool.Suspended, only(t, p).State)
	return id
}

// One that has room, and waits for a slot, has only waited.
func TestAWorkerThatWaitedToBeResumedHoldsNoMemoryForTheNextProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := shared{t: t, dir: t.TempDir()}
		w := newWorld()
		records, err := store.Open(t.TempDir())
		require.NoError(t, err)
		c := named("a")
		c.ConcurrentStarts = 1
		p := s.openOn(w, c, worldBackend{w}, records, s.budget("a"))
		id := suspendOne(t, p)
		w.on("start", hang)
		grow(t, p, 1)
		settle()
		_, err = p.Resume([]string{id})
		require.NoError(t, err)
		settle()
		require.EqualValues(t, 2*gib, s.memory())
		require.NoError(t, p.Close(t.Context()))
		require.Equal(t, []string{id}, s.held("a"))
		require.Zero(t, s.memory())
	})
}

// The process may be killed before the record says that it resumes.
func TestASuspendedWorkerThatIsTakenOverHoldsNoMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := shared{t: t, dir: t.TempDir()}
		w := newWorld()
		records, err := store.Open(t.TempDir())
		require.NoError(t, err)
		p := s.openOn(w, named("a"), worldBackend{w}, records, s.budget("a"))
		id := suspendOne(t, p)
		require.NoError(t, p.Close(t.Context()))
		record, err := records.Load(id)
		require.NoError(t, err)
		record.Reason = "waiting for memory of the host"
		require.NoError(t, records.Save(record))
		require.NoError(t, s.budget("a").Reserve(t.Context(), id, pool.Cost{Memory: gib, CPUs: 2}, func(string) {}))

		next := s.openOn(w, named("a"), worldBackend{w}, records, s.budget("a"))
		require.Equal(t, pool.Suspended, only(t, next).State)
		require.Equal(t, []string{id}, s.held("a"))
		require.Zero(t, s.memory())
		record, err = records.Load(id)
		require.NoError(t, err)
		require.Empty(t, record.Reason)
		next.Shrink([]string{id})
		closePool(t, w, next, records)
	})
}

// unwritable is a budget whose book cannot be written to for so many times.
type unwritable struct {
	*budget.Budget
	times int
}

func (b *unwritable) Lower(ctx context.Context, id string, cost pool.Cost) error {
	if b.times--; b.times >= 0 {
		return errBroken
	}
	return b.Budget.Lower(ctx, id, cost)
}

func TestMemoryOfASuspendedWorkerIsGivenBackAtTheSecondTry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := shared{t: t, dir: t.TempDir()}
		w := newWorld()
		records, err := store.Open(t.TempDir())
		require.NoError(t, err)
		p := s.openOn(w, named("a"), worldBackend{w}, records, &unwritable{s.budget("a"), 1})
		id := suspendOne(t, p)
		require.Zero(t, s.memory())
		p.Shrink([]string{id})
		closePool(t, w, p, records)
	})
}

// behindGate is a host that a disk can keep from starting anything.
func behindGate(t *testing.T) (shared, *world, *disk) {
	d := &disk{}
	return shared{t: t, dir: t.TempDir(), gates: []budget.Gate{{Name: "disk", Closed: d.Closed}}}, newWorld(), d
}

// What it waits for may have changed when it has a slot.
func TestNothingIsResumedWhileAGateIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, w, d := behindGate(t)
		c := named("a")
		c.ConcurrentStarts = 1
		p, records := s.open(w, c, worldBackend{w})
		id := suspendOne(t, p)
		w.on("start", slowly)
		grow(t, p, 1)
		settle()
		_, err := p.Resume([]string{id})
		require.NoError(t, err)
		settle()
		d.set("only 1 MiB is free")
		pass(30 * time.Second)
		require.Equal(t, pool.Resuming, states(p)[id])
		require.EqualValues(t, gib, s.memory(), "the other one's")
		record, err := records.Load(id)
		require.NoError(t, err)
		require.Equal(t, string(pool.Suspended), record.State)
		require.Contains(t, record.Reason, "only 1 MiB is free")
		d.set("")
		pass(10 * time.Second)
		require.Equal(t, pool.Running, states(p)[id])
	})
}

// metered is a world whose machines take memory.
type metered struct {
	worldBackend
	each int64
}

func (m metered) Memory(ctx context.Context) (map[string]backend.Memory, error) {
	if err := m.meet(ctx, "memory", ""); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	used := make(map[string]backend.Memory)
	for id := range m.machines {
		used[id] = backend.Memory{PSS: 2 * m.each, Private: m.each}
	}
	return used, nil
}

func TestForksAreExpectedToBeLikeThoseBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := shared{t: t, dir: t.TempDir()}
		w := newWorld()
		w.template = true
		p, records := s.open(w, named("a"), metered{worldBackend{w}, gib / 4})
		for range 5 { // nothing is known of them: they are made one after the other, and end before the first look
			grow(t, p, 1)
			settle()
			require.EqualValues(t, gib, s.memory())
			p.Shrink(idsIn(p, pool.Running))
			settle()
		}
		forks, err := records.LoadForks()
		require.NoError(t, err)
		require.Equal(t, slices.Repeat([]int64{gib / 4}, 5), forks.Peaks)
		grow(t, p, 10)
		settle()
		require.Len(t, idsIn(p, pool.Running), 10)
		require.EqualValues(t, 10*gib/4, s.memory())
	})
}

func TestForksThatEndAtOnceAreLookedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := shared{t: t, dir: t.TempDir()}
		w, looks := newWorld(), newTimes()
		w.template = true
		w.on("memory", func(context.Context, string) error { looks.note(); time.Sleep(time.Millisecond); return nil })
		p, records := s.open(w, named("a"), metered{worldBackend{w}, gib / 4})
		grow(t, p, 4)
		settle()
		for _, id := range idsIn(p, pool.Running) {
			w.crash(id)
		}
		settle()
		require.Len(t, looks.at, 1)
		forks, err := records.LoadForks()
		require.NoError(t, err)
		require.Len(t, forks.Peaks, 4)
	})
}

// A host that is too busy to say what machines take does not hide that one has ended.
func TestTheEndOfAForkShowsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := shared{t: t, dir: t.TempDir()}
		w := newWorld()
		w.template = true
		w.on("memory", hang)
		p, records := s.open(w, named("a"), metered{worldBackend{w}, gib / 4})
		grow(t, p, 3)
		settle()
		ids := idsIn(p, pool.Running)
		for _, id := range ids {
			w.crash(id)
		}
		settle()
		require.ElementsMatch(t, ids, idsIn(p, pool.Deleting))
		for _, id := range ids {
			record, err := records.Load(id)
			require.NoError(t, err)
			require.Equal(t, string(pool.Deleting), record.State)
			require.ErrorIs(t, p.Heartbeat(id), pool.ErrNotRunning)
		}
		pass(30 * time.Second)
		require.ElementsMatch(t, ids, idsIn(p, pool.Deleted), "no longer than for one")
	})
}

func TestForksThatGrowHoldMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := shared{t: t, dir: t.TempDir()}
		w := newWorld()
		w.template = true
		p, _ := s.open(w, named("a"), metered{worldBackend{w}, 3 * gib})
		grow(t, p, 1)
		pass(10 * time.Second)
		require.EqualValues(t, 3*gib, s.memory())
	})
}

// cloning is a world that has a template and makes clones all the same.
type cloning struct{ metered }

func (c cloning) Start(ctx context.Context, golden image.Golden, spec backend.Spec) (backend.Machine, error) {
	m, err := c.metered.Start(ctx, golden, spec)
	return clone{m}, err
}

type clone struct{ backend.Machine }

func (clone) How() string { return backend.Clone }

// havingLearnt is the store of a pool of which forks took a quarter of a GiB each.
func havingLearnt(t *testing.T) *store.Store {
	t.Helper()
	records, err := store.Open(t.TempDir())
	require.NoError(t, err)
	require.NoError(t, records.SaveForks(store.Forks{
		ImageDigest: config.Recipe.Digest(), CPUs: config.CPUs, Memory: config.Memory,
		Peaks: slices.Repeat([]int64{gib / 4}, 5),
	}))
	return records
}

func TestClonesHoldAllThatTheyMayTake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := shared{t: t, dir: t.TempDir()}
		w := newWorld()
		w.template = true
		records := havingLearnt(t)
		p := s.openOn(w, named("a"), cloning{metered{worldBackend{w}, gib / 4}}, records, s.budget("a"))
		defer closePool(t, w, p, records)
		w.on("start", slowly)
		grow(t, p, 1)
		settle()
		require.EqualValues(t, gib/4, s.memory())
		pass(time.Minute)
		require.Len(t, idsIn(p, pool.Running), 1)
		require.EqualValues(t, gib, s.memory())
	})
}

// Workers that have room, and wait for a slot, do not start any more when the host has
// come to be short of something else.
func TestNothingStartsWhileAGateIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, w, d := behindGate(t)
		c := named("a")
		c.ConcurrentStarts = 1
		p, records := s.open(w, c, worldBackend{w})
		w.on("start", slowly)
		grow(t, p, 4)
		settle()
		require.Len(t, s.held("a"), 4)
		d.set("only 1 MiB is free")
		pass(40 * time.Second)
		require.Len(t, idsIn(p, pool.Running), 1, "the one that was on its way")
		waiting := idsIn(p, pool.Creating)
		require.Len(t, waiting, 3)
		require.Equal(t, idsIn(p, pool.Running), s.held("a"))
		for _, id := range waiting {
			record, err := records.Load(id)
			require.NoError(t, err)
			require.Contains(t, record.Reason, "waiting for the host")
		}
		d.set("")
		pass(40 * time.Second)
		require.Len(t, idsIn(p, pool.Running), 4)
	})
}

// A template may go while workers wait that were to be forked from it.
func TestWorkersWhosePriceHasRisenReserveAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := shared{t: t, dir: t.TempDir()}
		w := newWorld()
		w.template = true
		records := havingLearnt(t)
		c := named("a")
		c.ConcurrentStarts = 1
		p := s.openOn(w, c, cloning{metered{worldBackend{w}, gib / 4}}, records, s.budget("a"))
		defer closePool(t, w, p, records)
		w.on("start", slowly)
		grow(t, p, 10)
		settle()
		require.EqualValues(t, 10*gib/4, s.memory())
		w.setTemplate(false)
		for range 55 {
			pass(time.Second)
			require.LessOrEqual(t, s.memory(), int64(4*gib))
		}
		require.Len(t, idsIn(p, pool.Running), 4)
		require.Len(t, idsIn(p, pool.Creating), 6)
	})
}

// Workers of an image that is tried now and then hold nothing that another pool could
// have, but for the one by which it is tried.
func TestASparedImageKeepsNothingFromOtherPools(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := shared{t: t, dir: t.TempDir()}
		bad, good := newWorld(), newWorld()
		bad.template = true
		bad.on("ready", fail(errBroken))
		c := named("a")
		c.Spares = 2
		a, records := s.open(bad, c, worldBackend{bad})
		b, _ := s.open(good, named("b"), worldBackend{good})
		settle()
		require.Len(t, bad.inStock(), 2)
		grow(t, a, 20)
		pass(time.Minute)
		_, spared, err := records.Breaker()
		require.NoError(t, err)
		require.True(t, spared)
		require.NotEmpty(t, idsIn(a, pool.Creating))
		require.Empty(t, s.held("a"))
		grow(t, b, 4)
		settle()
		require.Len(t, idsIn(b, pool.Running), 4)
		b.Shrink(idsIn(b, pool.Running))
		bad.on("ready", nil)
		pass(2 * time.Minute)
		require.Len(t, idsIn(a, pool.Running), 4, "all that fit, as soon as the image has shown to be good")
	})
}

// A worker that came from stock and has not begun gives up what was made of it.
func TestASparedImageHasNoSpares(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := shared{t: t, dir: t.TempDir()}
		w := newWorld()
		w.template = true
		w.on("ready", func(context.Context, string) error { time.Sleep(time.Second); return errBroken })
		c := named("a")
		c.Spares, c.ConcurrentStarts = 2, 1
		p, records := s.open(w, c, worldBackend{w})
		for range 3 {
			pass(time.Minute)
			require.Len(t, w.inStock(), 2)
			grow(t, p, 2) // the last one has to wait for the fifth failure
			p.Workers()
		}
		pass(time.Minute)
		_, spared, err := records.Breaker()
		require.NoError(t, err)
		require.True(t, spared)
		require.Len(t, idsIn(p, pool.Creating), 1)
		require.Empty(t, s.held("a"))
		require.Equal(t, []string{"network"}, w.left())

		p.Shrink(idsIn(p, pool.Creating))
		pass(30 * time.Minute)
		require.Empty(t, w.inStock(), "none is made")
		w.on("ready", nil)
		grow(t, p, 1)
		pass(time.Minute)
		require.Len(t, idsIn(p, pool.Running), 1)
		require.Len(t, w.inStock(), 2)
	})
}
