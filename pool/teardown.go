package pool

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// How long one try at a teardown may take, and the pause after one that failed.
const (
	teardownTimeout    = 30 * time.Second
	firstTeardownPause = time.Second
	lastTeardownPause  = time.Minute
)

// step undoes one thing that a worker consists of. It is idempotent, and
// succeeds where there is nothing to undo.
type step struct {
	doing string
	undo  func(ctx context.Context, id string) error
}

// steps undo what startMachine makes, in reverse order.
func (p *Pool) steps() []step {
	return []step{
		{"destroying the machine", p.inherited.destroy},
		{"destroying the machine", p.backend.Destroy},
		{"releasing the lease", p.network.Release},
	}
}

// teardown is the only way in which a worker goes, be it deleted, failed, an
// orphan, or part of a pool that closes. It tries every step, also after one
// that failed: a machine that cannot be destroyed had better be off the
// network. The directory goes last and only if nothing else is left, because
// it is what remembers the rest.
func (p *Pool) teardown(id string) error {
	ctx, cancel := context.WithTimeout(p.reaping, teardownTimeout)
	defer cancel()
	var failures []error
	for _, step := range p.steps() {
		if err := step.undo(ctx, id); err != nil {
			failures = append(failures, fmt.Errorf("%s of %s: %w", step.doing, id, err))
		}
	}
	if len(failures) > 0 {
		return errors.Join(failures...)
	}
	return p.store.Remove(id)
}

// teardownAgain goes on after a teardown that failed with err, until one
// succeeds. It returns false when Close gives up first.
func (p *Pool) teardownAgain(id string, err error) bool {
	pause := backoff{first: firstTeardownPause, limit: lastTeardownPause}
	for err != nil {
		wait := pause.grow()
		p.log.Error("tearing a worker down failed", "worker", id, "err", err, "again_in", wait)
		p.recordEnd(id, err)
		if !p.rest(wait) {
			return false
		}
		err = p.teardown(id)
	}
	return true
}

// rest waits before the next try. A pool that closes has no time for long
// pauses; it returns false when there is no time left at all.
func (p *Pool) rest(wait time.Duration) bool {
	return sleep(p.growing, wait) == nil || sleep(p.reaping, firstTeardownPause) == nil
}

// recordEnd leaves word in the record why a worker is on its way out, or stuck
// there, for people who look at the pool from outside. A worker without a
// record that can be read has no use for it.
func (p *Pool) recordEnd(id string, reason error) {
	record, err := p.store.Load(id)
	if err != nil {
		return
	}
	record.State, record.Reason = string(Deleting), reason.Error()
	if err := p.store.Save(record); err != nil {
		p.log.Warn("record is out of date", "worker", id, "err", err)
	}
}
