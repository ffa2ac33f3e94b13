package pool

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/lines"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/store"
)

// worker is what the pool remembers of one worker.
type worker struct {
	id        string
	createdAt time.Time
	// spare is what was made of it ahead of time, if it came from stock.
	spare *spare
	// ahead says that it does not wait for the template. Only its own goroutine touches it.
	ahead bool
	// end asks the worker to end, and says why.
	end context.CancelCauseFunc
	// toggle asks a worker that runs to be suspended, and a suspended one to be
	// resumed.
	toggle chan struct{}
	// done lets go of the image that it is made from. Only its own goroutine touches it.
	done func()

	// The rest is guarded by the pool's mutex.
	state  State
	reason string
	shown  bool // in Workers, as anything but deleted
	// peak is the most memory that it was seen to take for itself, in bytes.
	peak int64
	// machine is there while it runs, record from the first time on. Only the
	// worker's own goroutine changes them.
	machine backend.Machine
	record  store.Record
	// wish is that of the operator, that it be held when the runner gives it back.
	wish *wish
}

// newWorker adds a worker to the pool. The caller holds the mutex, and starts
// the worker's goroutine.
func (p *Pool) newWorker(id string, state State, createdAt time.Time) (context.Context, *worker) {
	ctx, end := context.WithCancelCause(p.growing)
	w := &worker{id: id, end: end, toggle: make(chan struct{}, 1), done: func() {}, state: state, createdAt: createdAt}
	p.workers[id] = w
	return ctx, w
}

// live is a worker's whole life. It begins with a machine: a new worker is
// created, a suspended one resumed. It ends when nothing of the worker is left,
// when the pool closes while the worker is suspended, or when Close has given up.
func (p *Pool) live(ctx context.Context, w *worker, begin func(context.Context, *worker) (backend.Machine, error)) {
	defer w.end(nil)
	defer func() { w.done() }()
	machine, err := begin(ctx, w)
	for err == nil {
		if err = p.run(ctx, w, machine); err == nil {
			err = p.suspend(ctx, w)
		}
		if err == nil {
			machine, err = p.awaitResume(ctx, w)
		}
	}
	if errors.Is(err, errKept) {
		return
	}
	reason, asked := p.noteEnd(ctx, w, err)
	over, wasHeld := p.postMortem(w, reason)
	if errors.Is(over, errKept) {
		return
	}
	if wasHeld {
		reason = over
		p.log.Info("worker ends", "worker", w.id, "reason", reason)
	}
	p.finish(w, reason, asked)
}

// finish removes a worker. How one ended that nobody had asked to, or that was held, is kept
// for people.
func (p *Pool) finish(w *worker, reason error, asked bool) {
	p.history.ends(w.id, reason, asked)
	p.recordEnd(w.id, reason)
	if !asked || w.record.Held != nil {
		p.keepEnd(w.id, reason)
	}
	p.learn(w) // while its machine may still run, and after everybody was told of its end
	p.account(w)
	if p.teardownAgain(w.id, p.teardown(w.id)) {
		p.mu.Lock()
		w.state = Deleted
		p.mu.Unlock()
		p.restock() // there may have been no room before
	}
}

// run is the worker's time between ready and its end, or a suspend. Workers that end
// by themselves as soon as they are ready keep others from being made in a loop.
func (p *Pool) run(ctx context.Context, w *worker, machine backend.Machine) error {
	began := time.Now()
	proof := time.AfterFunc(early, p.starts.lasted)
	watched, stop := context.WithCancel(ctx)
	silent := make(chan error, 1)
	var watching sync.WaitGroup
	watching.Go(func() { silent <- p.watch(watched, machine) })
	err := w.run(ctx, machine, silent)
	stop()
	watching.Wait()
	switch {
	case !proof.Stop(): // it has lasted
	case ctx.Err() == nil && err != nil:
		p.starts.endedEarly(began)
	default:
		p.starts.lasted()
	}
	return err
}

// run returns nil when the worker is to be suspended, and else why it ends.
func (w *worker) run(ctx context.Context, machine backend.Machine, silent <-chan error) error {
	select {
	case err := <-silent:
		return err
	case <-w.toggle:
		return nil
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

// printable is an error whose text may hold what a guest has said.
type printable struct{ error }

// longestReason is how many lines of a reason are shown.
const longestReason = 60

func (p printable) Error() string {
	said := strings.SplitN(p.error.Error(), "\n", longestReason+1)
	for i, line := range said {
		said[i] = lines.Printable(line)
	}
	return strings.Join(said[:min(len(said), longestReason)], "\n")
}

func (p printable) Unwrap() error { return p.error }

// noteEnd marks a worker as being deleted, and returns why, and whether anybody had
// asked for it. This is the one place
// that logs it. A worker that was asked to end did not fail, whatever err says.
func (p *Pool) noteEnd(ctx context.Context, w *worker, err error) (reason error, asked bool) {
	err = printable{err}
	cause := context.Cause(ctx)
	switch {
	case cause == nil:
		p.log.Error("worker failed", "worker", w.id, "err", err)
		reason = err
	case errors.Is(err, cause):
		p.log.Info("worker ends", "worker", w.id, "reason", cause)
		reason = cause
	default: // such as a suspend that failed while the pool was closing
		p.log.Info("worker ends", "worker", w.id, "reason", cause, "err", err)
		reason = cause
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if w.state != Deleting { // else Shrink has said why
		w.state, w.reason = Deleting, reason.Error()
	}
	return reason, cause != nil
}
