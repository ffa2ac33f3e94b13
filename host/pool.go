package host

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/ledger"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/store"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/teardown"
)

// undoTimeout bounds the undoing of what failed. The caller is told of the failure
// only after that.
const undoTimeout = 10 * time.Second

// watchInterval is long enough for what an answer costs an emulated guest, and short
// beside what a job would lose in a worker that is dead.
const watchInterval = time.Minute

// Pool is a pool that this process serves.
type Pool struct {
	*pool.Pool
	// Backend is the name of the backend that makes its workers.
	Backend string

	host   *Host
	unlock func() error
	ledger *ledger.Ledger
	// unwatch ends the making of room on the disk, unobserve the observers, and unserve the
	// answering of commands.
	unwatch, unobserve, unserve func()
}

// OpenPool takes the directory of the configuration's pool, for which it waits
// so long, removes the orphans of an earlier process, and starts to build the
// golden image in the background, for jobs that log in as user. When it fails,
// nothing is left of the attempt.
//
// All that outlives OpenPool runs on the pool's own contexts: ctx may end then.
func (h *Host) OpenPool(
	ctx context.Context, c config.Config, user string, wait time.Duration, log *slog.Logger,
) (*Pool, error) {
	log, err := logging(c, log)
	if err != nil {
		return nil, err
	}
	a, err := h.choose(ctx, c, log)
	if err != nil {
		return nil, err
	}
	recipe, err := h.recipeHere(c, user)
	if err != nil {
		return nil, err
	}
	recipe.Form = a.Form
	disk := h.diskOf(c, log)
	share, err := budgetOf(c, disk.gate())
	if err != nil {
		return nil, err
	}
	if err := share.Limits().Never(costOf(c, a.Backend)); err != nil {
		return nil, fmt.Errorf("pool %q: %w", c.Pool, err)
	}
	records, unlock, err := take(ctx, c, store.Open, wait)
	if err != nil {
		return nil, err
	}
	if c.Pool == config.PoolTry { // it is to have the image that was built for it a moment ago
		if err := records.ClearServed(); err != nil {
			return nil, errors.Join(err, unlock())
		}
	}
	all, err := h.everyone(c, log)
	if err != nil {
		return nil, errors.Join(err, unlock())
	}
	events := openLedger(c, log)
	p := &Pool{
		Backend: a.Name, host: h, unlock: unlock, ledger: events,
		unwatch: disk.watch(), unobserve: func() {}, unserve: func() {},
	}
	p.Pool = pool.New(pool.Config{
		Name: c.Pool, Recipe: recipe,
		CPUs: c.Machine.CPUs, Memory: c.Machine.Memory, Processors: runtime.NumCPU(),
		Max: c.MaxWorkers(), ConcurrentStarts: c.Host.ConcurrentStarts,
		StartTimeout: c.Machine.StartTimeout, WatchInterval: watchInterval, Spares: c.Fork.Spares,
		Refresh: c.Image.Refresh, Check: c.Image.Check, Keep: c.Image.Keep,
		Hold: pool.Hold{JobsAsk: c.Hold.On == config.HoldFailed, For: c.Hold.For, Max: c.Hold.Max, Save: c.Hold.Save},
	}, pool.Parts{
		Backend: a.Backend, Network: a.Network, Access: a.Access, Store: records, Log: log, Ledger: events,
		Budget: share, Disk: disk, Images: hostImages{h, c}, Orphans: othersOrphans(ctx, all, a.Name, log),
	})
	if err := p.Open(ctx); err != nil {
		undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
		defer cancel()
		return nil, errors.Join(err, p.Close(undo))
	}
	opened := store.Opened{Backend: a.Name, MaxWorkers: c.MaxWorkers(), At: time.Now()}
	if err := records.SaveOpened(opened); err != nil {
		log.Warn("those who look from outside are not told what opened the pool", "err", err)
	}
	p.unobserve = h.observe(c, log)
	p.unserve = p.serveCommands(c.PoolDir(), log)
	return p, nil
}

// observe starts the observers. What it returns ends them, and waits for that.
func (h *Host) observe(c config.Config, log *slog.Logger) (end func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	for _, observer := range h.Observers {
		running.Go(func() { observer(ctx, h, c, log) })
	}
	return func() { cancel(); running.Wait() }
}

// logging is a logger that also keeps what it is told in the pool's log, for `logs`.
func logging(c config.Config, log *slog.Logger) (*slog.Logger, error) {
	records, err := store.Look(c.PoolDir())
	if err != nil {
		return nil, err
	}
	kept := slog.NewJSONHandler(records.Log(), &slog.HandlerOptions{ReplaceAttr: readableDuration})
	return slog.New(slog.NewMultiHandler(log.Handler(), kept)), nil
}

// readableDuration has durations be text, which JSON has no other form for.
func readableDuration(_ []string, a slog.Attr) slog.Attr {
	if a.Value.Kind() == slog.KindDuration {
		return slog.String(a.Key, a.Value.Duration().String())
	}
	return a
}

// Close closes the pool, and lets go of its directory only when nothing is left
// in it. Otherwise the lock ends with this process, so that no two processes work
// on the same workers.
func (p *Pool) Close(ctx context.Context) error {
	defer p.unwatch()
	defer p.unobserve() // they see the workers' end
	err := p.Pool.Close(ctx)
	p.unserve() // whose askers were told that the pool closes
	if err != nil {
		p.host.mu.Lock()
		defer p.host.mu.Unlock()
		p.host.kept = append(p.host.kept, p.unlock)
		return err
	}
	return errors.Join(p.ledger.Close(), p.unlock())
}

// openLedger opens the pool's ledger. A pool does without one that cannot be opened.
func openLedger(c config.Config, log *slog.Logger) *ledger.Ledger {
	events, err := ledger.Open(filepath.Join(c.PoolDir(), ledger.Dir))
	if err != nil {
		log.Warn("what happens to workers is not written down", "err", err)
		return new(ledger.Ledger)
	}
	return events
}

// othersOrphans finds the pool's machines that other backends have made, one of
// which served the pool before. The pool that opens now asks its own backend
// only, and would take away leases and directories under machines that run.
//
// A backend that cannot say what it has made, such as one whose tool is another
// program on this system, does not hide what the others have made.
func othersOrphans(ctx context.Context, all []Assembly, served string, log *slog.Logger) map[string]teardown.Steps {
	found := make(map[string]teardown.Steps)
	for _, a := range all {
		if a.Name == served {
			continue
		}
		machines, err := a.Backend.Find(ctx)
		if err != nil {
			log.Warn("looking for orphans of another backend", "backend", a.Name, "err", err)
		}
		for _, m := range machines {
			log.Warn("removing an orphan of another backend", "backend", a.Name, "worker", m.ID())
			steps := found[m.ID()]
			found[m.ID()] = teardown.Steps{
				Machine: append(steps.Machine, a.asFormer(a.Backend.Destroy)),
				Lease:   append(steps.Lease, a.asFormer(a.Network.Release)),
			}
		}
	}
	return found
}

// asFormer has the error of a step say that it is not of the backend that serves
// the pool now.
func (a Assembly) asFormer(step teardown.Step) teardown.Step {
	return func(ctx context.Context, id string) error {
		if err := step(ctx, id); err != nil {
			return fmt.Errorf("by backend %q, which served the pool before "+
				"(`doctor --backend %s` says what it lacks): %w", a.Name, a.Name, err)
		}
		return nil
	}
}

// take opens a pool's directory and takes its lock, for which it waits so long.
func take(
	ctx context.Context, c config.Config, open func(dir string) (*store.Store, error), wait time.Duration,
) (records *store.Store, unlock func() error, err error) {
	if err := checkDirectories(c); err != nil {
		return nil, nil, err
	}
	records, err = open(c.PoolDir())
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, wait, fmt.Errorf("waited for it for %s", wait))
	defer cancel()
	unlock, err = records.Lock(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("pool %q: %w", c.Pool, err)
	}
	return records, unlock, nil
}
