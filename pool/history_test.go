package pool_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/ledger"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/phase"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/access"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/store"
)

// told is a pool in a world, its ledger, and how to close both.
type told struct {
	*pool.Pool
	store *store.Store
	dir   string
	close func()
}

// tellingPool is an open pool that keeps a ledger.
func tellingPool(t *testing.T, w *world, config pool.Config, change func(*pool.Parts)) told {
	t.Helper()
	dir := t.TempDir()
	s, err := store.Open(dir)
	require.NoError(t, err)
	kept := told{store: s, dir: filepath.Join(dir, ledger.Dir)}
	events, err := ledger.Open(kept.dir)
	require.NoError(t, err)
	parts := w.parts(s)
	parts.Ledger = events
	if change != nil {
		change(&parts)
	}
	kept.Pool = pool.New(config, parts)
	require.NoError(t, kept.Open(t.Context()))
	kept.close = sync.OnceFunc(func() {
		closePool(t, w, kept.Pool, s)
		require.NoError(t, events.Close())
	})
	t.Cleanup(kept.close)
	return kept
}

// workers are those of the ledger.
func (k told) workers(t *testing.T) []ledger.Worker {
	t.Helper()
	var histories ledger.Histories
	for e, err := range ledger.Read(k.dir, time.Time{}) {
		require.NoError(t, err)
		histories.Add(e)
	}
	return histories.Workers()
}

// late has an operation take as long as a start that anybody would ask about.
func late(context.Context, string) error { time.Sleep(30 * time.Second); return nil }

// slowPart has an operation end its parts one after the other, one of them late.
func slowPart(slow string, parts ...string) hook {
	return func(ctx context.Context, _ string) error {
		for _, part := range parts {
			time.Sleep(time.Second)
			if part == slow {
				time.Sleep(30 * time.Second)
			}
			phase.Ended(ctx, part)
		}
		return nil
	}
}

// onlyFirst has a hook be met by the first worker alone.
func onlyFirst(h hook) hook {
	var once sync.Once
	return func(ctx context.Context, id string) (err error) {
		once.Do(func() { err = h(ctx, id) })
		return err
	}
}

// slowBudget has room for a worker after a while.
type slowBudget struct{}

func (slowBudget) Reserve(ctx context.Context, id string, _ pool.Cost, waits func(string)) error {
	waits("the host has 0 MiB left")
	return late(ctx, id)
}

func (slowBudget) ReserveSpare(context.Context, string, pool.Cost) (bool, error) { return false, nil }
func (slowBudget) Raise(context.Context, map[string]int64) error                 { return nil }
func (slowBudget) Lower(context.Context, string, pool.Cost) error                { return nil }
func (slowBudget) Closed() string                                                { return "" }
func (slowBudget) Waiting() bool                                                 { return false }
func (slowBudget) Release(context.Context, string) error                         { return nil }
func (slowBudget) Find() ([]string, error)                                       { return nil, nil }

// TestEachPhaseThatIsLateIsBlamed delays one phase after the other. The ledger says which
// it was, and its phases add up to the worker's whole time.
func TestEachPhaseThatIsLateIsBlamed(t *testing.T) {
	started := []string{phase.Disk, phase.Process, phase.Restore, phase.Continue, phase.Identity}
	logged := []string{
		access.PhaseConnect, access.PhaseKeyExchange, access.PhaseAuthentication, access.PhaseSession,
	}
	delays := map[string]func(*world){
		pool.PhaseWaitImage:    func(w *world) { w.on("build", late) },
		pool.PhaseWaitTemplate: func(w *world) { w.on("prepare", late) },
		pool.PhaseWaitBudget:   func(*world) {},
		pool.PhaseWaitStart:    func(w *world) { w.on("start", onlyFirst(late)) },
		pool.PhaseLease:        func(w *world) { w.on("acquire", late) },
		"teardown":             func(w *world) { w.on("destroy", late) },
	}
	for _, part := range started {
		delays[pool.PhaseStart+"."+part] = func(w *world) { w.on("start", slowPart(part, started...)) }
	}
	for _, part := range logged {
		delays[pool.PhaseReady+"."+part] = func(w *world) { w.on("ready", slowPart(part, logged...)) }
	}
	require.GreaterOrEqual(t, len(delays), 12)
	for blamed, delay := range delays {
		t.Run(blamed, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				delay(w)
				config := config
				config.ConcurrentStarts = 1
				kept := tellingPool(t, w, config, func(parts *pool.Parts) {
					switch blamed {
					case pool.PhaseWaitBudget:
						parts.Budget = slowBudget{}
					case pool.PhaseWaitTemplate:
						parts.Backend = newForking(w)
					}
				})
				if blamed == pool.PhaseWaitStart { // for the slot that another one has
					grow(t, kept.Pool, 1)
					time.Sleep(time.Second)
				}
				grow(t, kept.Pool, 1)
				time.Sleep(time.Minute)
				kept.Shrink(slices.Collect(maps.Keys(states(kept.Pool))))
				time.Sleep(time.Minute)

				workers := kept.workers(t)
				last := workers[len(workers)-1]
				now := time.Now()
				require.False(t, last.GoneAt.IsZero(), "%+v", last)
				assert.Equal(t, blamed, last.Slowest(now).Name, "%+v", last.Lines(now))
				sum := time.Duration(0)
				for _, line := range last.Lines(now) {
					if !line.Part && line.Name != ledger.Other {
						sum += line.Took
					}
				}
				assert.InEpsilon(t, last.Took(now), sum, 0.01)
			})
		})
	}
}

// TestALifeIsTold has a worker do all that workers do, and reads what was told of it.
func TestALifeIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		kept := tellingPool(t, w, config, nil)
		grow(t, kept.Pool, 1)
		time.Sleep(time.Minute)
		id := only(t, kept.Pool).ID
		_, err := kept.Suspend([]string{id})
		require.NoError(t, err)
		time.Sleep(time.Minute)
		_, err = kept.Resume([]string{id})
		require.NoError(t, err)
		time.Sleep(time.Minute)
		w.crash(id)
		time.Sleep(time.Minute)

		workers := kept.workers(t)
		require.Len(t, workers, 1)
		told := workers[0]
		var spans []string
		for _, s := range told.Spans {
			spans = append(spans, s.Name)
		}
		require.Equal(t, []string{
			"wait_disk", "wait_image", "wait_template", "wait_start", "wait_budget", "wait_start",
			"lease", "start", "ready",
			"run", "suspend", "suspended", "wait_budget", "wait_start", "resume", "run", "teardown",
		}, spans)
		require.Equal(t, ledger.Promised, told.Origin)
		require.Equal(t, told.Began, told.ReadyAt, "nothing takes time in this world")
		require.True(t, told.Failed)
		require.Contains(t, told.Reason, "crashed")
		require.NotNil(t, told.Usage)
		require.False(t, told.GoneAt.IsZero())
	})
}

// TestStuckStartsAreExplained has starts hang, each for a reason that is told while they do.
func TestStuckStartsAreExplained(t *testing.T) {
	refused := errors.New("ssh: handshake failed: EOF")
	for name, test := range map[string]struct {
		hang   func(*world)
		budget pool.Budget
		phase  string
		reason string
	}{
		"sshd is broken": {
			hang: func(w *world) {
				w.on("ready", func(ctx context.Context, _ string) error {
					for ctx.Err() == nil {
						time.Sleep(time.Second)
						phase.Hindered(ctx, refused)
					}
					return ctx.Err()
				})
			},
			phase: "ready", reason: refused.Error(),
		},
		"no room": {budget: slowBudget{}, phase: "wait_budget", reason: "the host has 0 MiB left"},
		"the image is being built": {
			hang:  func(w *world) { w.on("build", hang) },
			phase: "wait_image", reason: "building the golden image: second",
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				if test.hang != nil {
					test.hang(w)
				}
				kept := tellingPool(t, w, config, func(parts *pool.Parts) { parts.Budget = test.budget })
				grow(t, kept.Pool, 1)
				time.Sleep(10 * time.Second)
				var histories ledger.Histories
				for e, err := range ledger.Read(kept.dir, time.Time{}) {
					require.NoError(t, err)
					histories.Add(e)
				}
				stuck := histories.Workers()[0]
				span, lasts := stuck.Phase()
				require.True(t, lasts)
				require.Equal(t, test.phase, span.Name)
				require.Equal(t, test.reason, histories.Why(stuck))
			})
		})
	}
}

// full is a ledger on a disk that is full for a while.
type full struct {
	mu    sync.Mutex
	is    bool
	asked int
}

func (f *full) Write(ledger.Event) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked++
	if f.is {
		return errors.New("no space left on device")
	}
	return nil
}

func (f *full) set(is bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.is = is
}

// TestAPoolDoesWithoutItsLedger has workers come and go while nothing can be written.
func TestAPoolDoesWithoutItsLedger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		events := &full{is: true}
		var log bytes.Buffer
		s, err := store.Open(t.TempDir())
		require.NoError(t, err)
		parts := w.parts(s)
		parts.Ledger, parts.Log = events, slog.New(slog.NewTextHandler(&log, nil))
		p := pool.New(config, parts)
		require.NoError(t, p.Open(t.Context()))
		grow(t, p, 10)
		time.Sleep(time.Minute)
		for _, state := range states(p) {
			require.Equal(t, pool.Running, state)
		}
		events.set(false)
		p.Shrink(slices.Collect(maps.Keys(states(p))))
		time.Sleep(time.Minute)
		closePool(t, w, p, s)
		require.Greater(t, events.asked, 100)
		require.Equal(t, 1, strings.Count(log.String(), "is not written down"))
		require.Equal(t, 1, strings.Count(log.String(), "is written down again"))
	})
}

// TestOrphansAreInTheLedger has a process be killed with a worker, and another come.
func TestOrphansAreInTheLedger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.leases["test-aaaaaaaa"] = true
		kept := tellingPool(t, w, config, nil)
		time.Sleep(time.Minute)
		told := kept.workers(t)
		require.Len(t, told, 1)
		require.True(t, told[0].Failed)
		require.Equal(t, "left by an earlier process of the plugin", told[0].Reason)
		require.False(t, told[0].GoneAt.IsZero())
	})
}

// stuck is a ledger on a disk that does not answer until it is let go.
type stuck struct{ is chan struct{} }

func (s stuck) Write(e ledger.Event) error {
	if e.Worker != "" {
		<-s.is
	}
	return nil
}

// TestTheRunnerDoesNotWaitForTheLedger has all workers wait for it, and what the
// runner calls returns.
func TestTheRunnerDoesNotWaitForTheLedger(t *testing.T) {
	w, events := newWorld(), stuck{make(chan struct{})}
	s, err := store.Open(t.TempDir())
	require.NoError(t, err)
	parts := w.parts(s)
	parts.Ledger = events
	most := config
	most.Max = 100
	p := pool.New(most, parts)
	require.NoError(t, p.Open(t.Context()))
	grow(t, p, most.Max)
	require.Len(t, p.Workers(), most.Max)
	id := slices.Collect(maps.Keys(states(p)))[0]
	require.ErrorIs(t, p.Heartbeat(id), pool.ErrNotRunning)
	_, err = p.Connection(id)
	require.ErrorIs(t, err, pool.ErrNotRunning)
	_, err = p.Suspend([]string{id})
	require.Error(t, err, "it does not run")
	p.Shrink([]string{id})
	require.Equal(t, pool.Deleting, states(p)[id])
	close(events.is)
	closePool(t, w, p, s)
}
