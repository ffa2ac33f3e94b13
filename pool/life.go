package pool

import (
	"context"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/store"
)

// worker is what the pool remembers of one worker.
type worker struct {
	id        string
	createdAt time.Time
	// end asks the worker to end, and says why.
	end context.CancelCauseFunc

	// The rest is guarded by the pool's mutex.
	state  State
	reason string
	shown  bool // in Workers, as anything but deleted
	// machine and record are there from the moment that it runs.
	machine backend.Machine
	record  store.Record
}

// live is a worker's whole life. It ends when nothing of the worker is left,
// or when Close has given up.
func (p *Pool) live(ctx context.Context, w *worker) {
	defer w.end(nil)
	machine, err := p.create(ctx, w)
	if err == nil {
		err = watch(ctx, machine)
	}
	p.recordEnd(w.id, p.bury(ctx, w, err))
	err = p.teardown(w.id)
	if err == nil || p.teardownAgain(w.id, err) {
		p.forget(w)
	}
}

// watch returns when the machine has ended by itself, or is to end, and why.
func watch(ctx context.Context, machine backend.Machine) error {
	select {
	case <-machine.Done():
		return machine.Err()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// introduce makes a worker running, unless it was asked to end meanwhile.
func (p *Pool) introduce(w *worker, machine backend.Machine, record store.Record) {
	p.mu.Lock()
	defer p.mu.Unlock()
	w.machine, w.record = machine, record
	if w.state == Creating {
		w.state = Running
	}
}

// bury notes why a worker is to be torn down, and returns it. This is the one
// place that logs it; a worker that was asked to end did not fail, whatever err
// says.
func (p *Pool) bury(ctx context.Context, w *worker, err error) (reason error) {
	if asked := context.Cause(ctx); asked != nil {
		p.log.Info("worker ends", "worker", w.id, "reason", asked)
		p.doom(w, asked)
		return asked
	}
	p.log.Error("worker failed", "worker", w.id, "err", err)
	p.doom(w, err)
	return err
}

// doom marks a worker as being deleted, for the first reason that there was.
func (p *Pool) doom(w *worker, reason error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if w.state != Deleting {
		w.state, w.reason = Deleting, reason.Error()
	}
}

// forget marks a worker of which nothing is left.
func (p *Pool) forget(w *worker) {
	p.mu.Lock()
	defer p.mu.Unlock()
	w.state = Deleted
}
