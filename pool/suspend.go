package pool

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/ledger"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/store"
)

// suspendTimeout is how long one try to save a worker's memory may take, to a slow
// disk.
const suspendTimeout = 10 * time.Minute

// errKept is why a suspended worker's goroutine ends with the pool, and
// nothing of the worker is torn down.
var errKept = errors.New("suspended worker stays for the next process")

// suspender is what workers are suspended with: a backend that saves machines,
// and a network that keeps their addresses.
type suspender struct {
	backend.Suspender
	network.Parker
}

// suspender says whether workers can be suspended here.
func (p *Pool) suspender() (s suspender, ok bool) {
	saver, can := p.backend.(backend.Suspender)
	parker, may := p.network.(network.Parker)
	return suspender{saver, parker}, can && may
}

// CanSuspend says whether the pool's backend and network can do it.
func (p *Pool) CanSuspend() bool {
	_, ok := p.suspender()
	return ok
}

// Suspend asks workers that run to be suspended, and returns at once those
// that are, or will be. The error is about the others.
func (p *Pool) Suspend(ids []string) ([]string, error) {
	return p.toggle(ids, Running, Suspending, Suspended)
}

// Resume asks suspended workers to run again, and returns at once those that
// do, or will. The error is about the others.
func (p *Pool) Resume(ids []string) ([]string, error) {
	return p.toggle(ids, Suspended, Resuming, Running)
}

// toggle has workers go from one state by way of another to a third.
func (p *Pool) toggle(ids []string, from, by, to State) (accepted []string, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var refused []error
	for _, id := range ids {
		w, known := p.workers[id]
		switch {
		case p.closing:
			refused = append(refused, ErrClosing)
			continue
		case !known:
			refused = append(refused, fmt.Errorf("worker %s: %w", id, ErrUnknown))
			continue
		case w.state == from:
			w.state = by
			w.toggle <- struct{}{} // has room: the last one was taken before the state became from
		case w.state != by && w.state != to:
			refused = append(refused, fmt.Errorf("worker %s is %s, not %s", id, w.state, from))
			continue
		}
		accepted = append(accepted, id)
	}
	return accepted, errors.Join(refused...)
}

// suspend saves a worker. It does so also while the pool closes, since the worker
// is kept for the next process.
func (p *Pool) suspend(ctx context.Context, w *worker) error {
	ctx, cancel := p.beyondClosing(ctx)
	defer cancel()
	began := time.Now()
	p.history.enters(w.id, phaseSuspend)
	p.account(w)
	if err := p.save(ctx, w.record); err != nil {
		return fmt.Errorf("suspending %s: %w", w.id, err)
	}
	record := w.record
	record.State = string(Suspended)
	p.move(w, Suspending, Suspended, nil, record)
	p.history.enters(w.id, ledger.Suspended)
	p.log.Info("worker is suspended", "worker", w.id, "took", time.Since(began).Round(time.Millisecond))
	return nil
}

// save puts a worker's machine and lease away. The record says so last, when all
// of it is on disk.
func (p *Pool) save(ctx context.Context, record store.Record) error {
	suspender, _ := p.suspender()
	if err := p.saveMachine(ctx, suspender, record); err != nil {
		return err
	}
	record.State = string(Suspended)
	return p.putAway(ctx, suspender, record)
}

// putAway is what is left to do for a worker whose machine was saved. The record is what it
// will say.
func (p *Pool) putAway(ctx context.Context, parker network.Parker, record store.Record) error {
	if err := park(ctx, parker, record.ID); err != nil {
		return err
	}
	// Whoever finds the record has no machine to look for any more, nor its memory.
	p.holdSuspended(ctx, record.ID)
	if err := p.saveWhenRoom(ctx, record); err != nil {
		return err
	}
	p.holdSuspended(ctx, record.ID) // there may have been no room before
	return nil
}

// park has as long as one try of a teardown: Close waits for it, and nothing else ends it
// then.
func park(ctx context.Context, parker network.Parker, id string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, teardownTimeout,
		fmt.Errorf("the network was not done within %s", teardownTimeout))
	defer cancel()
	if err := parker.Park(ctx, id); err != nil {
		return because(ctx, err)
	}
	return nil
}

// The pause after a machine could not be saved for want of room.
const (
	firstSavePause = time.Second
	lastSavePause  = 30 * time.Second
)

// saveMachine saves a machine as soon as there is room for it, unless the pool
// closes: then there is no time to wait for that.
func (p *Pool) saveMachine(ctx context.Context, suspender backend.Suspender, record store.Record) error {
	try := func() error {
		limited, cancel := context.WithTimeout(ctx, suspendTimeout)
		defer cancel()
		return suspender.Suspend(limited, record.ID)
	}
	pauses, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(p.growing, cancel)()
	err := try()
	for pause := (backoff{first: firstSavePause, limit: lastSavePause}); errors.Is(err, backend.ErrRunsOn); {
		wait := pause.grow()
		p.log.Warn("worker runs on until there is room to suspend it", "worker", record.ID, "err", err, "again_in", wait)
		record.State, record.Reason = string(Suspending), err.Error()
		_ = p.store.Save(record) // for people, if there is room for it
		if sleep(pauses, wait) != nil {
			return err
		}
		err = try()
	}
	return err
}

// beyondClosing is a context that ends when the worker is to be deleted, or when
// Close gives up, but not when Close begins.
func (p *Pool) beyondClosing(ctx context.Context) (context.Context, context.CancelFunc) {
	beyond, cancel := context.WithCancel(p.reaping)
	stop := context.AfterFunc(ctx, func() {
		if !errors.Is(context.Cause(ctx), ErrClosing) {
			cancel()
		}
	})
	return beyond, func() { stop(); cancel() }
}

// awaitResume waits until a suspended worker is asked to run again, for room on
// the host and for a start slot, and resumes it. A worker that only waits when the
// pool closes stays suspended.
func (p *Pool) awaitResume(ctx context.Context, w *worker) (backend.Machine, error) {
	var turn turn
	var err error
	select {
	case <-w.toggle:
		turn, err = p.awaitStart(ctx, w)
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	if err != nil && ctx.Err() == nil {
		return nil, fmt.Errorf("resuming %s: %w", w.id, err)
	}
	if err != nil {
		if p.isDeleting(w) {
			return nil, fmt.Errorf("waiting to be resumed: %w", err)
		}
		p.holdSuspended(p.reaping, w.id) // it may have had room, and have waited for a slot
		return nil, errKept
	}
	defer p.starts.release(turn)
	p.history.enters(w.id, phaseResume)
	machine, record, err := p.resume(ctx, w.record)
	if err != nil {
		if ctx.Err() == nil {
			p.starts.failed(turn, w.record.ImageDigest, err)
		}
		return nil, fmt.Errorf("resuming %s: %w", w.id, err)
	}
	p.starts.succeeded(turn)
	p.move(w, Resuming, Running, machine, record)
	p.history.ready(record)
	p.log.Info("worker runs again", "worker", w.id, "took", time.Since(turn.began).Round(time.Millisecond))
	return machine, nil
}

func (p *Pool) isDeleting(w *worker) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return w.state == Deleting
}

// awaitStart waits for what a resumed worker takes of the host, and for a start
// slot. As long as it waits the record says suspended, as nothing is used up yet. When
// nothing may start any more by then, it begins anew.
func (p *Pool) awaitStart(ctx context.Context, w *worker) (turn, error) {
	for {
		p.history.enters(w.id, PhaseWaitBudget)
		if err := p.awaitBudget(ctx, p.cost(), w.record); err != nil {
			return turn{}, err
		}
		p.history.enters(w.id, PhaseWaitStart)
		got, err := p.starts.acquire(ctx, exempt)
		if err != nil || p.budget.Closed() == "" {
			return got, err
		}
		p.starts.release(got)
		p.holdSuspended(ctx, w.id)
		if err := sleep(ctx, diskCheck); err != nil { // where nothing could be given back, there is nothing to wait for
			return turn{}, err
		}
	}
}

// resume takes a worker from suspended to ready. The record says so before
// anything else, because what was saved is used up as soon as the machine runs.
func (p *Pool) resume(ctx context.Context, record store.Record) (backend.Machine, store.Record, error) {
	suspender, _ := p.suspender()
	late := fmt.Errorf("worker was not ready within the start timeout of %s", p.config.StartTimeout)
	ctx, cancel := context.WithTimeoutCause(ctx, p.config.StartTimeout, late)
	defer cancel()
	record.State, record.Reason = string(Resuming), ""
	if err := p.saveWhenRoom(ctx, record); err != nil {
		return nil, record, err
	}
	lease, err := suspender.Unpark(ctx, record.ID, record.Queues)
	if err != nil {
		return nil, record, because(ctx, err)
	}
	spec := backend.Spec{ID: record.ID, Dir: p.store.Dir(record.ID), Size: p.size(), Lease: lease}
	machine, err := suspender.Resume(ctx, spec)
	if err != nil {
		return nil, record, because(ctx, err)
	}
	if err := p.ready(ctx, machine, record.Identity(), Key(record.PrivateKey)); err != nil {
		return nil, record, because(ctx, err)
	}
	record.State, record.Address = string(Running), machine.Address()
	return machine, record, p.saveWhenRoom(ctx, record)
}

// adopt takes over the workers that an earlier process suspended, or held and saved, and
// returns their ids. One that cannot be resumed here is an orphan like any other, and so is
// one whose machine runs, whatever its record says: two machines would have one disk.
// Of the lease of those that are taken over no more is kept than is parked, and of what
// they hold of the host no more than suspended workers take.
func (p *Pool) adopt(ctx context.Context, running map[string]bool) (map[string]bool, error) {
	ids, err := p.store.List()
	if err != nil {
		return nil, err
	}
	adopted := make(map[string]bool)
	suspender, ok := p.suspender()
	for _, id := range ids {
		record, err := p.store.Load(id)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			p.log.Warn("worker is removed, suspended or not: its record cannot be read", "worker", id, "reason", err)
		}
		isHeld := err == nil && State(record.State) == Held
		if err != nil || !isHeld && (!ok || State(record.State) != Suspended) {
			continue
		}
		if err := p.adoptable(suspender, ok, record, running[id]); err != nil {
			p.log.Warn(record.State+" worker is removed", "worker", id, "reason", err)
			if isHeld {
				p.keepEnd(id, fmt.Errorf("held worker did not outlive its plugin: %w", err))
			}
			continue
		}
		if err := suspender.Park(ctx, id); err != nil {
			p.log.Warn("suspended worker may not find its lease as it was", "worker", id, "reason", err)
		}
		p.holdSuspended(ctx, id) // it may have waited to be resumed
		if record.Reason != "" {
			record.Reason = ""
			p.note(record)
		}
		p.log.Info(record.State+" worker is taken over", "worker", id)
		p.history.begins(id, ledger.Adopted, time.Now())
		if adopted[id] = true; isHeld {
			if err := p.adoptHeld(record); err != nil {
				return nil, err
			}
			continue
		}
		p.history.enters(id, ledger.Suspended)
		p.mu.Lock()
		ctx, w := p.newWorker(id, Suspended, record.CreatedAt)
		w.record = record
		p.running.Go(func() { p.live(ctx, w, p.awaitResume) })
		p.mu.Unlock()
	}
	return adopted, nil
}

// adoptable says why a suspended worker, or a held one, cannot be taken over. can says that
// there is a suspender.
func (p *Pool) adoptable(suspender suspender, can bool, record store.Record, running bool) error {
	isHeld := State(record.State) == Held
	switch {
	case running:
		return errors.New("its machine runs")
	case !can:
		return errors.New("this backend cannot take it over")
	case isHeld && !record.Held.Lasts(time.Now()):
		return errHoldOver
	case isHeld && !record.Held.Saved:
		return errors.New("its machine was not saved")
	}
	if err := suspender.Resumable(p.store.Dir(record.ID)); err != nil {
		return fmt.Errorf("it cannot be resumed: %w", err)
	}
	return nil
}
