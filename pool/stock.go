package pool

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/ledger"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/store"
)

// The pause after a spare could not be made.
const (
	firstStockPause = time.Second
	lastStockPause  = time.Minute
)

// spareCheck is how often a pool that keeps spares looks whether a worker, of any
// pool, waits for room on the host.
const spareCheck = 200 * time.Millisecond

// spare is a worker that nobody has asked for yet: it has an id, a directory, a
// lease and as much of a machine as needs no identity.
type spare struct {
	id    string
	lease network.Lease
	// golden is the image that it was made from, and done lets go of that.
	golden image.Golden
	done   func()
}

// isStale says whether another image is served than that of the spare.
func (p *Pool) isStale(s spare) bool { return !p.golden.serves(s.golden.Digest) }

func anySpare(spare) bool { return true }

// keepStock keeps as many spares as the configuration says, until the pool
// closes, if the backend can do that.
func (p *Pool) keepStock() {
	stocker, ok := p.backend.(backend.Stocker)
	if !ok || p.config.Spares == 0 {
		return
	}
	defer p.clearStock()
	pause := backoff{first: firstStockPause, limit: lastStockPause}
	for p.awaitDemand() {
		err := p.addSpare(p.growing, stocker)
		if err == nil {
			pause.reset()
			continue
		}
		wait := pause.grow()
		if p.growing.Err() == nil {
			p.log.Warn("no spare worker", "err", err, "again_in", wait)
		}
		if sleep(p.growing, wait) != nil {
			return
		}
	}
}

// awaitDemand waits until a spare is wanted; false says that the pool closes. As
// long as the image is spared, or workers of any pool wait for room on the host, none
// is wanted, and spares are given up one by one; so are those of an image that was renewed.
func (p *Pool) awaitDemand() bool {
	for p.growing.Err() == nil {
		switch {
		case p.starts.spares():
			p.giveUpSpare("its image is spared", anySpare)
		case p.budget.Waiting():
			p.giveUpSpare("a worker waits for the host", anySpare)
		case p.giveUpSpare("its image was renewed", p.isStale):
			continue
		case p.wantsSpare():
			return true
		}
		select {
		case <-p.demand:
		case <-time.After(spareCheck):
		case <-p.growing.Done():
		}
	}
	return false
}

// giveUpSpare tears down the spare made last of those that are meant; false says that
// there is none.
func (p *Pool) giveUpSpare(reason string, meant func(spare) bool) bool {
	p.mu.Lock()
	last := len(p.spares) - 1
	for last >= 0 && !meant(p.spares[last]) {
		last--
	}
	if last < 0 {
		p.mu.Unlock()
		return false
	}
	given := p.spares[last]
	p.spares = slices.Delete(p.spares, last, last+1)
	p.mu.Unlock()
	p.log.Info("spare is given up", "worker", given.id, "reason", reason)
	p.discard(given.id, errors.New(reason), true)
	given.done()
	return true
}

// restock has keepStock look again.
func (p *Pool) restock() {
	select {
	case p.demand <- struct{}{}:
	default: // it will look anyway
	}
}

// wantsSpare leaves room for every worker that the runner may ask for, and the
// host to those that are on their way up.
func (p *Pool) wantsSpare() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, w := range p.workers {
		if w.state == Creating || w.state == Resuming {
			return false
		}
	}
	return len(p.spares) < p.config.Spares && p.hasRoomForSpare()
}

// hasRoomForSpare leaves room for all workers and spares that there are. The
// caller holds the mutex.
func (p *Pool) hasRoomForSpare() bool { return p.count()+len(p.spares) < p.config.Max }

// addSpare makes a spare when there is what it takes: an image, a template, and room on
// the host. Without one of them it makes none, after a pause.
func (p *Pool) addSpare(ctx context.Context, stocker backend.Stocker) error {
	golden, done, err := p.golden.take(ctx, func(string) {})
	if err != nil {
		return nil // that is in the log already, and the next wait is for the next try
	}
	kept := false
	defer func() {
		if !kept {
			done()
		}
	}()
	if !stocker.Stockable(ctx, golden, p.size()) {
		select {
		case <-p.demand:
		case <-time.After(spareCheck):
		case <-ctx.Done():
		}
		return nil
	}
	p.mu.Lock()
	id := p.newID()
	p.mu.Unlock()
	fits, err := p.budget.ReserveSpare(ctx, id, p.costOfStart(ctx, golden))
	if err != nil {
		return fmt.Errorf("making spare %s: %w", id, err)
	}
	if !fits {
		_ = sleep(ctx, spareCheck) // when it ends early, so does the caller's loop
		return nil
	}
	p.history.begins(id, ledger.Stocked, time.Now())
	p.history.enters(id, phaseStock)
	lease, err := p.makeSpare(ctx, stocker, golden, id)
	if err != nil {
		p.discard(id, err, ctx.Err() != nil)
		return fmt.Errorf("making spare %s: %w", id, err)
	}
	p.history.enters(id, ledger.Spare)
	if kept = p.addToStock(spare{id, lease, golden, done}); !kept {
		p.discard(id, errNotWanted, true)
	}
	return nil
}

// errNotWanted is why a spare ends whose room was promised to workers while it was made.
var errNotWanted = errors.New("its room is taken by workers that were asked for")

// addToStock refuses a spare whose room was promised to workers while it was
// made.
func (p *Pool) addToStock(s spare) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.hasRoomForSpare() {
		return false
	}
	p.spares = append(p.spares, s)
	return true
}

func (p *Pool) makeSpare(
	ctx context.Context, stocker backend.Stocker, golden image.Golden, id string,
) (network.Lease, error) {
	ctx, cancel := context.WithTimeout(ctx, p.config.StartTimeout)
	defer cancel()
	dir, err := p.store.Reserve(id)
	if err != nil {
		return network.Lease{}, err
	}
	record := store.Record{ID: id, State: string(Spare), CreatedAt: time.Now(), ImageDigest: golden.Digest}
	if err := p.store.Save(record); err != nil {
		return network.Lease{}, err
	}
	lease, err := p.network.Acquire(ctx, id)
	if err != nil {
		return network.Lease{}, err
	}
	return lease, stocker.Stock(ctx, golden, backend.Spec{ID: id, Dir: dir, Size: p.size(), Lease: lease})
}

// clearStock tears down the spares of a pool that closes, all at once.
func (p *Pool) clearStock() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.spares {
		p.running.Go(func() { p.discard(s.id, ErrClosing, true); s.done() })
	}
	p.spares = nil
}
