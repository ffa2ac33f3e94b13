package pool_test

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/store"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/output"
)

// forkingBackend makes templates, and clones where there is none. The hook is prepare.
type forkingBackend struct {
	worldBackend
	// unwanted has it make no templates.
	unwanted bool

	mu   *sync.Mutex
	asks *[]ask
}

// ask is one call of Prepare.
type ask struct {
	size   backend.Size
	wanted <-chan struct{}
}

func newForking(w *world) forkingBackend {
	return forkingBackend{worldBackend: worldBackend{w}, mu: new(sync.Mutex), asks: new([]ask)}
}

func (b forkingBackend) Prepare(
	ctx context.Context, _ image.Golden, size backend.Size, _ []string, wanted <-chan struct{}, progress image.Progress,
) error {
	b.mu.Lock()
	*b.asks = append(*b.asks, ask{size, wanted})
	b.mu.Unlock()
	if b.unwanted {
		return nil
	}
	progress("template", "")
	if err := b.meet(ctx, "prepare", ""); err != nil {
		return err
	}
	b.setTemplate(true)
	return nil
}

func (b forkingBackend) Start(ctx context.Context, golden image.Golden, spec backend.Spec) (backend.Machine, error) {
	forked := b.Stockable(ctx, golden, spec.Size)
	m, err := b.worldBackend.Start(ctx, golden, spec)
	if forked {
		return m, err
	}
	return clone{m}, err
}

// made are the calls of Prepare.
func (b forkingBackend) made() []ask {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]ask(nil), *b.asks...)
}

// takes is a hook that succeeds after a time.
func takes(d time.Duration) hook {
	return func(ctx context.Context, _ string) error {
		select {
		case <-time.After(d):
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// failsAfter is a hook that fails after a time.
func failsAfter(d time.Duration) hook {
	return func(ctx context.Context, id string) error {
		return errors.Join(takes(d)(ctx, id), errors.New("the guest does not come to rest"))
	}
}

// openForking opens a pool whose backend makes templates, with its log.
func openForking(
	t *testing.T, b forkingBackend, c pool.Config, records *store.Store,
) (p *pool.Pool, log *output.Buffer) {
	t.Helper()
	log = new(output.Buffer)
	parts := b.parts(records)
	parts.Backend, parts.Log = b, slog.New(slog.NewTextHandler(log, nil))
	p = pool.New(c, parts)
	require.NoError(t, p.Open(t.Context()))
	t.Cleanup(func() { closePool(t, b.world, p, records) })
	return p, log
}

func newStore(t *testing.T) *store.Store {
	t.Helper()
	records, err := store.Open(t.TempDir())
	require.NoError(t, err)
	return records
}

// hows is how the workers were made that run, the oldest first.
func hows(t *testing.T, p *pool.Pool, records *store.Store) (hows []string) {
	t.Helper()
	for _, id := range idsIn(p, pool.Running) {
		record, err := records.Load(id)
		require.NoError(t, err)
		hows = append(hows, record.How)
	}
	return hows
}

func TestTemplateIsMadeOfTheWorkersSizeAndLookedAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newForking(newWorld())
		b.on("prepare", fail(errors.New("no room")))
		p, _ := openForking(t, b, config, newStore(t))
		synctest.Wait()
		require.Len(t, b.made(), 1)
		require.Equal(t, backend.Size{CPUs: config.CPUs, Memory: config.Memory}, b.made()[0].size)

		grow(t, p, 1) // without a template workers start all the same
		synctest.Wait()
		require.Equal(t, pool.Running, p.Workers()[0].State)

		time.Sleep(6 * time.Minute)
		require.Len(t, b.made(), 2, "one that failed is made again")
	})
}

func TestWorkersWaitForTheTemplateAndAreForked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, records := newForking(newWorld()), newStore(t)
		b.on("prepare", takes(90*time.Second)) // longer than the start timeout
		b.on("ready", takes(50*time.Second))
		few := config
		few.ConcurrentStarts = 3
		p, log := openForking(t, b, few, records)
		grow(t, p, 3)
		settle()
		waiting := idsIn(p, pool.Creating)
		require.Len(t, waiting, 3)
		for _, id := range waiting {
			record, err := records.Load(id)
			require.NoError(t, err)
			require.Equal(t, "waiting for the template, to be forked from it: "+
				"a clone is booted if making it fails or takes longer than 5m0s", record.Reason)
		}
		require.Equal(t, []string{"network"}, b.left(), "nothing is made of them yet")

		pass(89 * time.Second)
		for _, id := range waiting {
			record, err := records.Load(id)
			require.NoError(t, err)
			require.Empty(t, record.Reason, "it is on its way")
		}
		pass(50 * time.Second)
		require.Equal(t, []string{backend.Fork, backend.Fork, backend.Fork}, hows(t, p, records))
		record, err := records.Load(waiting[0])
		require.NoError(t, err)
		require.InDelta(t, 90, record.Phases[pool.PhaseWaitTemplate], 0.1)
		require.Contains(t, log.String(), "wait_template=1m30s")

		began := time.Now()
		b.on("ready", nil)
		grow(t, p, 1)
		synctest.Wait()
		require.Zero(t, time.Since(began))
		require.Len(t, idsIn(p, pool.Running), 4)
	})
}

func TestOneWorkerBootsBesideTheMakingOfTheTemplate(t *testing.T) {
	for name, test := range map[string]struct {
		processors, lastTook int // seconds
		after                time.Duration
		want                 []string
	}{
		"as many processors again":       {4, 0, 0, []string{backend.Clone, backend.Fork, backend.Fork}},
		"fewer":                          {3, 0, 0, []string{backend.Fork, backend.Fork, backend.Fork}},
		"early, by what the last took":   {4, 90, 44 * time.Second, []string{backend.Clone, backend.Fork, backend.Fork}},
		"late, where nothing is known":   {4, 0, 31 * time.Second, []string{backend.Fork, backend.Fork, backend.Fork}},
		"when the template comes sooner": {4, 90, 46 * time.Second, []string{backend.Fork, backend.Fork, backend.Fork}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b, records := newForking(newWorld()), newStore(t)
				if test.lastTook > 0 {
					require.NoError(t, records.SaveTemplateTime(time.Duration(test.lastTook)*time.Second))
				}
				b.on("prepare", takes(90*time.Second))
				b.on("ready", takes(20*time.Second))
				large := config
				large.Processors = test.processors
				p, _ := openForking(t, b, large, records)
				pass(test.after)
				grow(t, p, 3)
				pass(21 * time.Second)
				ahead := 0
				if test.want[0] == backend.Clone {
					ahead = 1
				}
				require.Len(t, idsIn(p, pool.Running), ahead, "while the others wait")
				pass(90 * time.Second)
				require.ElementsMatch(t, test.want, hows(t, p, records))
			})
		})
	}
}

func TestWorkersThatWaitForTheTemplateHoldNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := shared{t: t, dir: t.TempDir()}
		b, other := newForking(newWorld()), newWorld()
		b.on("prepare", takes(time.Minute))
		p, _ := s.open(b.world, named("a"), b)
		q, _ := s.open(other, named("b"), worldBackend{other})
		grow(t, p, 4) // all that there is
		settle()
		require.Empty(t, s.held("a"))
		require.False(t, s.budget("a").Waiting())
		grow(t, q, 4)
		settle()
		require.Len(t, idsIn(q, pool.Running), 4)

		pass(time.Minute)
		require.Len(t, idsIn(p, pool.Creating), 4, "now they wait for the host")
		q.Shrink(idsIn(q, pool.Running))
		settle()
		require.Len(t, idsIn(p, pool.Running), 4)
	})
}

func TestTemplateIsWantedWhenTheFirstWorkerWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newForking(newWorld())
		b.on("prepare", takes(time.Minute))
		p, _ := openForking(t, b, config, newStore(t))
		isWanted := func() bool {
			select {
			case <-b.made()[0].wanted:
				return true
			default:
				return false
			}
		}
		settle()
		require.False(t, isWanted())
		grow(t, p, 1)
		synctest.Wait()
		require.True(t, isWanted())
		pass(time.Minute)
	})
}

func TestWorkersAreClonesWhenTheTemplateFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, records := newForking(newWorld()), newStore(t)
		b.on("prepare", failsAfter(20*time.Second))
		p, _ := openForking(t, b, config, records)
		grow(t, p, 2)
		pass(19 * time.Second)
		require.Len(t, idsIn(p, pool.Creating), 2)
		pass(2 * time.Second)
		require.Equal(t, []string{backend.Clone, backend.Clone}, hows(t, p, records))

		pass(5 * time.Minute)
		require.Len(t, b.made(), 2)
		pass(5 * time.Second) // while it is made again
		began := time.Now()
		grow(t, p, 1)
		synctest.Wait()
		require.Zero(t, time.Since(began), "nobody waits for what has failed before")
		require.Len(t, idsIn(p, pool.Running), 3)

		b.on("prepare", takes(20*time.Second))
		pass(10 * time.Minute)
		b.setTemplate(false) // its forks failed
		pass(5 * time.Minute)
		grow(t, p, 1)
		pass(time.Minute)
		require.Equal(t, backend.Fork, hows(t, p, records)[3], "it has succeeded meanwhile: workers wait again")
	})
}

func TestWorkersAreClonesWhenTheTemplateIsLate(t *testing.T) {
	for name, test := range map[string]struct {
		took, want time.Duration // 0 is not known
	}{
		"where none was made before":     {0, 5 * time.Minute},
		"twice the time of the last one": {40 * time.Second, 80 * time.Second},
		"a minute at least":              {3 * time.Second, time.Minute},
		"five minutes at most":           {20 * time.Minute, 5 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b, records := newForking(newWorld()), newStore(t)
				if test.took > 0 {
					require.NoError(t, records.SaveTemplateTime(test.took))
				}
				b.on("prepare", takes(20*time.Minute))
				p, log := openForking(t, b, config, records)
				pass(test.want / 2)
				grow(t, p, 1)
				pass(test.want/2 - time.Second)
				require.Equal(t, pool.Creating, only(t, p).State)
				require.NotContains(t, log.String(), "template is late")
				pass(2 * time.Second) // counted from the beginning
				require.Equal(t, []string{backend.Clone}, hows(t, p, records))
				require.Contains(t, log.String(), "template is late")

				began := time.Now()
				grow(t, p, 1)
				synctest.Wait()
				require.Zero(t, time.Since(began))
				require.Len(t, idsIn(p, pool.Running), 2)

				pass(20 * time.Minute)
				took, err := records.LoadTemplateTime()
				require.NoError(t, err)
				require.Equal(t, 20*time.Minute, took.Round(time.Second))
			})
		})
	}
}

func TestWorkersThatWaitForTheTemplateAreDeletedAtOnce(t *testing.T) {
	for name, callOff := range map[string]func(*testing.T, *pool.Pool){
		"on request": func(t *testing.T, p *pool.Pool) {
			p.Shrink(idsIn(p, pool.Creating))
			synctest.Wait()
			require.Equal(t, pool.Deleted, only(t, p).State)
		},
		"with the pool": func(t *testing.T, p *pool.Pool) { require.NoError(t, p.Close(t.Context())) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newForking(newWorld())
				b.on("prepare", takes(time.Minute))
				p, log := openForking(t, b, config, newStore(t))
				grow(t, p, 1)
				settle()
				began := time.Now()
				callOff(t, p)
				require.Zero(t, time.Since(began))
				require.NotContains(t, log.String(), "worker failed")
			})
		})
	}
}

// It may be looked after at the same time, for as long as that takes.
func TestNobodyWaitsForATemplateThatIsThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, records := newForking(newWorld()), newStore(t)
		b.setTemplate(true) // an earlier process has made it
		b.on("prepare", takes(time.Minute))
		p, log := openForking(t, b, config, records)
		grow(t, p, 1)
		synctest.Wait()
		require.Equal(t, []string{backend.Fork}, hows(t, p, records))
		pass(time.Hour)
		require.NotContains(t, log.String(), "waiting for the template")
		_, err := records.LoadTemplateTime()
		require.Error(t, err, "none was made")
	})
}

func TestNobodyWaitsWhereThereAreToBeNoForks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, records := newForking(newWorld()), newStore(t)
		b.unwanted = true
		p, log := openForking(t, b, config, records)
		began := time.Now()
		grow(t, p, 1)
		synctest.Wait()
		require.Zero(t, time.Since(began))
		require.Equal(t, []string{backend.Clone}, hows(t, p, records))
		pass(time.Hour)
		require.NotContains(t, log.String(), "waiting for the template")
		_, err := records.LoadTemplateTime()
		require.Error(t, err, "none was made")
	})
}

func TestTemplateIsMadeAsSoonAsTheImageIsThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, records := newForking(newWorld()), newStore(t)
		b.on("build", fail(errBroken))
		b.on("prepare", takes(10*time.Second))
		p, _ := openForking(t, b, config, records)
		settle()
		b.on("build", nil)
		grow(t, p, 1)
		pass(time.Minute)
		require.Equal(t, []string{backend.Fork}, hows(t, p, records))
	})
}

// What it reserved meanwhile it gives back, to wait for the template.
func TestAWorkerThatGetsRoomWhileTheTemplateIsMadeAgainWaitsForIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := shared{t: t, dir: t.TempDir()}
		b, other, records := newForking(newWorld()), newWorld(), newStore(t)
		patient := named("a")
		patient.StartTimeout = time.Hour
		p := s.openOn(b.world, patient, b, records, s.budget("a"))
		q, _ := s.open(other, named("b"), worldBackend{other})
		grow(t, q, 4)
		settle()
		grow(t, p, 1)
		settle()
		require.True(t, s.budget("a").Waiting())
		b.setTemplate(false)
		b.on("prepare", takes(20*time.Second))
		pass(5 * time.Minute)
		require.Len(t, b.made(), 2)
		q.Shrink(idsIn(q, pool.Running))
		settle()
		require.Equal(t, pool.Creating, only(t, p).State)
		require.Empty(t, s.held("a"))
		pass(20 * time.Second)
		require.Equal(t, []string{backend.Fork}, hows(t, p, records))
		closePool(t, b.world, p, records)
	})
}

func TestNobodyWaitsForATemplateThatTheDiskHasNoRoomFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, d, records := newForking(newWorld()), &disk{reason: "only 1 MiB is free", image: true}, newStore(t)
		b.on("prepare", takes(20*time.Second))
		parts := b.parts(records)
		parts.Backend, parts.Disk = b, d
		p := pool.New(config, parts)
		require.NoError(t, p.Open(t.Context()))
		settle()
		grow(t, p, 1)
		synctest.Wait()
		require.Equal(t, []string{backend.Clone}, hows(t, p, records), "who starts is not for this part to say")
		d.set("")
		settle()
		grow(t, p, 1)
		pass(time.Minute)
		require.Equal(t, []string{backend.Clone, backend.Fork}, hows(t, p, records))
		closePool(t, b.world, p, records)
	})
}
