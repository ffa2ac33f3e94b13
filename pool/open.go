package pool

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/ledger"
)

// Open prepares the network, takes over the workers that an earlier process
// suspended, removes orphans, and starts to build the golden image in the
// background. The caller holds the store's lock, and calls Close even when Open
// fails.
//
// Orphans are never reported as workers: the runner would count each one that
// it has to remove as a failure. Open waits for one try at each; one that could
// not be removed is tried again in the background, so that the pool opens all the
// same.
func (p *Pool) Open(ctx context.Context) error {
	if err := p.network.Open(ctx); err != nil {
		return fmt.Errorf("opening the network of pool %s: %w", p.config.Name, err)
	}
	if err := p.store.ClearBreaker(); err != nil { // of an earlier process, with other settings perhaps
		return fmt.Errorf("opening pool %s: %w", p.config.Name, err)
	}
	running, err := p.runningMachines(ctx)
	if err != nil {
		return fmt.Errorf("looking for orphans of pool %s: %w", p.config.Name, err)
	}
	adopted, err := p.adopt(ctx, running)
	if err != nil {
		return fmt.Errorf("looking for suspended workers of pool %s: %w", p.config.Name, err)
	}
	orphans, err := p.orphans(ctx, running, adopted)
	if err != nil {
		return fmt.Errorf("looking for orphans of pool %s: %w", p.config.Name, err)
	}
	if err := p.sweep(ctx, orphans); err != nil {
		return fmt.Errorf("removing %d orphans of pool %s: %w", len(orphans), p.config.Name, err)
	}
	p.history.tell(ledger.Event{Kind: ledger.Opened, Reason: fmt.Sprintf("process %d serves it", os.Getpid())})
	p.rememberForks()
	p.expectTemplate()
	for _, run := range []func(){p.buildGolden, p.keepMeter, p.tend, p.keepStock, p.keepFresh, p.lookForJobs} {
		if !p.spawn(run) {
			return ErrClosing
		}
	}
	return nil
}

func (p *Pool) buildGolden() {
	p.golden.run(p.growing, func(err error, pause time.Duration) {
		p.history.notes(aboutImage, fmt.Sprintf("building it failed, and is tried again in %s: %v", pause, brief{err}))
		p.log.Error("building the golden image failed",
			"image", p.firstRecipe().Digest(), "err", err, "again_in", pause)
	})
}

// runningMachines lists the workers of which this or another backend has a machine.
func (p *Pool) runningMachines(ctx context.Context) (map[string]bool, error) {
	machines, err := p.backend.Find(ctx)
	if err != nil {
		return nil, fmt.Errorf("finding machines: %w", err)
	}
	running := make(map[string]bool)
	for _, machine := range machines {
		running[machine.ID()] = true
	}
	for id := range p.othersOrphans {
		running[id] = true
	}
	return running, nil
}

// orphans lists every worker that has a machine, or of which the store, the network
// or the budget knows anything, except those that were adopted.
func (p *Pool) orphans(ctx context.Context, running, adopted map[string]bool) ([]string, error) {
	found := maps.Clone(running)
	recorded, err := p.store.List()
	if err != nil {
		return nil, err
	}
	leased, err := p.network.Find(ctx)
	if err != nil {
		return nil, fmt.Errorf("finding leases: %w", err)
	}
	holding, err := p.budget.Find()
	if err != nil {
		return nil, fmt.Errorf("finding what workers hold of the host: %w", err)
	}
	for _, id := range slices.Concat(recorded, leased, holding) {
		found[id] = true
	}
	maps.DeleteFunc(found, func(id string, _ bool) bool { return adopted[id] })
	return slices.Sorted(maps.Keys(found)), nil
}

// errOrphan is why a worker ends that an earlier process has left.
var errOrphan = errors.New("left by an earlier process of the plugin")

// sweep tears all orphans down at once, and returns when each has been tried.
func (p *Pool) sweep(ctx context.Context, orphans []string) error {
	tried := make(chan struct{}, len(orphans))
	for _, id := range orphans {
		p.log.Info("removing an orphan", "worker", id)
		remove := func() {
			p.history.ends(id, errOrphan, false)
			err := p.teardown(id)
			tried <- struct{}{}
			p.teardownAgain(id, err)
		}
		if !p.spawn(remove) {
			return ErrClosing
		}
	}
	for range orphans {
		select {
		case <-tried:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// spawn runs a goroutine that Close waits for, unless it is too late for that.
func (p *Pool) spawn(run func()) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closing {
		return false
	}
	p.running.Go(run)
	return true
}
