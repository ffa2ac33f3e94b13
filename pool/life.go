package pool

import (
	"context"
	"errors"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/store"
)

// worker is what the pool remembers of one worker.
type worker struct {
	id        string
	createdAt time.Time
	// spare is what was made of it ahead of time, if it came from stock.
	spare *spare
	// end asks the worker to end, and says why.
	end context.CancelCauseFunc
	// turn asks a worker that runs to be suspended, and a suspended one to go
	// on.
	turn chan struct{}

	// The rest is guarded by the pool's mutex.
	state  State
	reason string
	shown  bool // in Workers, as anything but deleted
	// machine is there while it runs, record from the first time on. Only the
	// worker's own goroutine changes them.
	machine backend.Machine
	record  store.Record
}

// newWorker adds a worker to the pool. The caller holds the mutex, and starts
// the worker's goroutine.
func (p *Pool) newWorker(id string, state State, createdAt time.Time) (context.Context, *worker) {
	ctx, end := context.WithCancelCause(p.growing)
	w := &worker{id: id, end: end, turn: make(chan struct{}, 1), state: state, createdAt: createdAt}
	p.workers[id] = w
	return ctx, w
}

// live is a worker's whole life.
func (p *Pool) live(ctx context.Context, w *worker) {
	machine, err := p.create(ctx, w)
	p.goOn(ctx, w, machine, err)
}

// liveAgain is the life of a worker that an earlier process suspended.
func (p *Pool) liveAgain(ctx context.Context, w *worker) {
	machine, err := p.sleepOn(ctx, w)
	p.goOn(ctx, w, machine, err)
}

// goOn looks after a worker that runs, unless err says that it never did. It
// ends when nothing of the worker is left, when the pool closes over a
// suspended one, or when Close has given up.
func (p *Pool) goOn(ctx context.Context, w *worker, machine backend.Machine, err error) {
	defer w.end(nil)
	for err == nil {
		if err = w.watch(ctx, machine); err == nil {
			machine, err = p.hibernate(ctx, w)
		}
	}
	if errors.Is(err, errKept) {
		return
	}
	p.recordEnd(w.id, p.bury(ctx, w, err))
	err = p.teardown(w.id)
	if err == nil || p.teardownAgain(w.id, err) {
		p.forget(w)
		p.restock() // there may have been no room before
	}
}

// watch returns nil when the worker is to be suspended, and else why it ends.
func (w *worker) watch(ctx context.Context, machine backend.Machine) error {
	select {
	case <-w.turn:
		return nil
	case <-machine.Done():
		return machine.Err()
	case <-ctx.Done():
		return context.Cause(ctx)
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

// move takes a worker from one state to the next, unless it was asked to end
// meanwhile.
func (p *Pool) move(w *worker, from, to State, machine backend.Machine, record store.Record) {
	p.mu.Lock()
	defer p.mu.Unlock()
	w.machine, w.record = machine, record
	if w.state == from {
		w.state = to
	}
	p.restock() // the host may have time for it now
}

func (p *Pool) is(w *worker, state State) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return w.state == state
}

// bury notes why a worker is to be torn down, and returns it. This is the one
// place that logs it; a worker that was asked to end did not fail, whatever err
// says.
func (p *Pool) bury(ctx context.Context, w *worker, err error) (reason error) {
	if asked := context.Cause(ctx); asked != nil {
		about := []any{"worker", w.id, "reason", asked}
		if !errors.Is(err, asked) { // such as a suspend that failed while the pool was closing
			about = append(about, "err", err)
		}
		p.log.Info("worker ends", about...)
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
