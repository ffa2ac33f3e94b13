package pool

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/diskspace"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/ledger"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/lines"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/store"
)

// create makes a worker and returns its machine once the worker runs. It
// undoes nothing: whatever it left is torn down the same way as a worker that
// ran.
func (p *Pool) create(ctx context.Context, w *worker) (backend.Machine, error) {
	p.history.begins(w.id, ledger.Promised, w.createdAt)
	clock := p.newStopwatch(w.id)
	if w.spare == nil {
		clock.enter(PhaseWaitDisk)
		if err := p.reserve(ctx, w.id); err != nil {
			return nil, err
		}
	}
	golden, record, turn, err := p.awaitBeginning(ctx, w, clock)
	if err != nil {
		return nil, err
	}
	defer p.starts.release(turn)
	machine, record, err := p.start(ctx, w, golden, record, clock, Running)
	if !p.golden.serves(golden.Digest) {
		turn.by = exempt // it says nothing about the image that was renewed meanwhile
	}
	if err != nil {
		if ctx.Err() == nil { // else it was cancelled, which says nothing about the next one
			p.starts.failed(turn, golden.Digest, err)
			p.rebuildIfGone(golden)
		}
		return nil, err
	}
	p.starts.succeeded(turn)
	p.move(w, Creating, Running, machine, record)
	p.history.ready(record)
	about := []any{"worker", w.id, "address", record.Address, "how", record.How}
	p.log.Info("worker runs", append(about, clock.fields()...)...)
	return machine, nil
}

// awaitBeginning waits for the golden image, and for all else that a worker waits for
// before anything is made of it. When another image has taken the place of that one by
// then, it begins anew, unless the worker is from stock.
func (p *Pool) awaitBeginning(
	ctx context.Context, w *worker, clock *stopwatch,
) (golden image.Golden, record store.Record, turn turn, err error) {
	for {
		clock.enter(PhaseWaitImage)
		record = store.Record{ID: w.id, State: string(Creating), CreatedAt: w.createdAt}
		if golden, err = p.choose(ctx, w, record); err != nil {
			return golden, record, turn, fmt.Errorf("waiting for the golden image: %w", brief{err})
		}
		record.ImageDigest, record.User = golden.Digest, p.config.Recipe.User
		turn, err = p.awaitTurn(ctx, w, golden, record, clock)
		if err != nil || w.spare != nil || p.golden.serves(golden.Digest) {
			return golden, record, turn, err
		}
		p.starts.release(turn)
		if err := p.giveBack(ctx, w); err != nil {
			return golden, record, turn, err
		}
	}
}

// choose waits for the golden image that a worker is made from, and keeps it for the
// worker. One from stock is made from it already.
func (p *Pool) choose(ctx context.Context, w *worker, record store.Record) (golden image.Golden, err error) {
	w.done()
	if w.spare != nil {
		w.done = w.spare.done
		return w.spare.golden, nil
	}
	w.done = func() {}
	waits, over := p.telling("worker waits", record)
	defer over()
	golden, done, err := p.golden.take(ctx, waits)
	if err == nil {
		w.done = done
	}
	return golden, err
}

// reserve makes a worker's directory, which is the intent, before anything is made. On a
// full disk it waits, as long as for other room on the host.
func (p *Pool) reserve(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, p.config.StartTimeout)
	defer cancel()
	return p.whenRoom(ctx, id, func() error {
		_, err := p.store.Reserve(id)
		return err
	})
}

// awaitTurn waits for the template that is being made, until the image is not spared, or
// this worker is the one by which it is tried, for room on the host, and for a start slot,
// in this order: a worker of an image that may never start keeps nothing from other pools.
// Things may have changed by the time that it has a slot; then it begins anew. A worker from stock
// has all that it takes and waits for its slot only, unless the image has come to be
// spared: then it gives all of it up, and goes on like one that has nothing.
func (p *Pool) awaitTurn(
	ctx context.Context, w *worker, golden image.Golden, record store.Record, clock *stopwatch,
) (turn, error) {
	for {
		by, cost, err := p.awaitRoom(ctx, w, golden, record, clock)
		if err != nil {
			return turn{}, err
		}
		clock.enter(PhaseWaitStart)
		got, err := p.starts.acquire(ctx, by)
		switch {
		case err == nil && (w.spare != nil || p.mayStart(ctx, w, golden, cost)):
			return got, nil
		case err == nil:
			p.starts.release(got)
		case !errors.Is(err, errSpared):
			p.starts.leave(by)
			return turn{}, fmt.Errorf("waiting for a start slot: %w", err)
		}
		if err := p.giveBack(ctx, w); err != nil { // or those who hold would wait for each other
			return turn{}, err
		}
	}
}

// awaitRoom waits for the template, until the image is not spared, or for the turn to try
// it, and then for room on the host, of which it reserves the cost.
func (p *Pool) awaitRoom(
	ctx context.Context, w *worker, golden image.Golden, record store.Record, clock *stopwatch,
) (by entry, cost Cost, err error) {
	if w.spare != nil {
		return ordinary, Cost{}, nil
	}
	clock.enter(PhaseWaitTemplate)
	if err = p.awaitTemplate(ctx, w, golden, record); err != nil {
		return ordinary, Cost{}, err
	}
	clock.enter(PhaseWaitStart)
	if by, err = p.starts.enter(ctx); err != nil {
		return by, Cost{}, fmt.Errorf("waiting while the image is spared: %w", err)
	}
	clock.enter(PhaseWaitBudget)
	cost = p.costOfStart(ctx, golden)
	if err = p.awaitBudget(ctx, cost, record); err != nil {
		p.starts.leave(by)
	}
	return by, cost, err
}

// giveBack has a worker that is to wait again hold nothing of the host, but for its
// directory.
func (p *Pool) giveBack(ctx context.Context, w *worker) error {
	if w.spare == nil {
		return p.budget.Release(ctx, w.id)
	}
	w.spare = nil
	if err := p.teardown(w.id); err != nil {
		return err
	}
	return p.reserve(ctx, w.id)
}

// telling returns what writes into a worker's record, and logs, why it waits, and what
// takes that out of the record when the wait is over.
func (p *Pool) telling(message string, record store.Record) (waits func(reason string), over func()) {
	waits = func(reason string) {
		p.log.Info(message, "worker", record.ID, "reason", reason)
		p.history.waits(record.ID, reason)
		record.Reason = reason
		p.note(record)
	}
	over = func() {
		if record.Reason != "" {
			record.Reason = ""
			p.note(record)
		}
	}
	return waits, over
}

// note saves a record for people who look at the pool from outside. Nothing else
// depends on what has changed in it.
func (p *Pool) note(record store.Record) {
	if err := p.store.Save(record); err != nil {
		p.log.Warn("record is out of date", "worker", record.ID, "err", err)
	}
}

// start takes a worker from its golden image to ready, within the start
// timeout, and notes the state that it has then.
func (p *Pool) start(
	ctx context.Context, w *worker, golden image.Golden, record store.Record, clock *stopwatch, ready State,
) (backend.Machine, store.Record, error) {
	limit := p.config.StartTimeout
	if ready == Canary {
		limit *= canaryPatience
	}
	late := fmt.Errorf("worker was not ready within the start timeout of %s", limit)
	ctx, cancel := context.WithTimeoutCause(ctx, limit, late)
	defer cancel()
	machine, err := p.startMachine(ctx, w, golden, &record, clock)
	if err != nil {
		return nil, record, because(ctx, err)
	}
	record.State, record.ReadyAt, record.Phases = string(ready), time.Now(), clock.phases()
	if err := p.store.Save(record); err != nil {
		return nil, record, err
	}
	return machine, record, nil
}

// startMachine makes all that a worker consists of, and fills in its record. The
// order is the reverse of teardown's.
func (p *Pool) startMachine(
	ctx context.Context, w *worker, golden image.Golden, record *store.Record, clock *stopwatch,
) (backend.Machine, error) {
	clock.enter(PhaseLease)
	spec, key, err := p.prepare(ctx, w, record)
	if err != nil {
		return nil, err
	}
	clock.enter(PhaseStart)
	machine, err := p.backend.Start(clock.parts(ctx), golden, spec)
	if err != nil {
		err = fmt.Errorf("starting the machine of %s: %w", spec.ID, diskspace.Explain(spec.Dir, err))
		if ctx.Err() != nil { // nearly all of the time is the guest's
			err = guest.Fault(err)
		}
		return nil, err
	}
	record.Address, record.How = machine.Address(), machine.How()
	if record.How == backend.Clone { // a fork may have been expected
		if err := p.budget.Raise(ctx, map[string]int64{spec.ID: p.cost().Memory}); err != nil {
			return nil, err
		}
	}
	if b, ok := p.backend.(backend.Accelerated); ok {
		record.Acceleration, _ = b.Acceleration()
	}
	clock.enter(PhaseReady)
	if err := p.ready(clock.parts(ctx), machine, spec.Identity, key); err != nil {
		return nil, err
	}
	clock.stop()
	return machine, nil
}

// prepare makes what a machine needs before it can start: a lease, keys, and
// a record that holds them.
func (p *Pool) prepare(ctx context.Context, w *worker, record *store.Record) (backend.Spec, Key, error) {
	lease, err := p.lease(ctx, w)
	if err != nil {
		return backend.Spec{}, "", fmt.Errorf("acquiring the lease of %s: %w", record.ID, err)
	}
	identity, key, err := p.access.New(record.ID, record.User)
	if err != nil {
		return backend.Spec{}, "", fmt.Errorf("making the identity of %s: %w", record.ID, err)
	}
	identity.Link = guest.LinkOf(lease)
	record.PrivateKey, record.HostKeyPublic, record.Queues = string(key), identity.HostKeyPublic, lease.Queues
	if err := p.store.Save(*record); err != nil {
		return backend.Spec{}, "", err
	}
	return backend.Spec{
		ID: record.ID, Dir: p.store.Dir(record.ID),
		Size:  p.size(),
		Lease: lease, Identity: identity, GivesWay: State(record.State) == Canary,
	}, key, nil
}

// lease is the one that was made ahead of time, or a new one.
func (p *Pool) lease(ctx context.Context, w *worker) (network.Lease, error) {
	if w.spare != nil {
		return w.spare.lease, nil
	}
	return p.network.Acquire(ctx, w.id)
}

// ready waits for SSH to answer, which is the guest's part, and then for the rules
// around the worker to be in place, which is the host's; but not for a machine that
// has ended.
func (p *Pool) ready(ctx context.Context, machine backend.Machine, identity guest.Identity, key Key) error {
	ctx, cancel := backend.WhileRunning(ctx, machine)
	defer cancel()
	id := machine.ID()
	err := p.access.Ready(ctx, machine.Address(), identity, key)
	if gone := machine.Err(); gone != nil {
		return fmt.Errorf("waiting for %s to be ready: %w", id, gone)
	}
	if err != nil {
		return guest.Fault(fmt.Errorf("waiting for %s to be ready: %w%s", id, err, p.tail(id)))
	}
	guard, ok := p.network.(network.Guard)
	if !ok {
		return nil
	}
	err = guard.Await(ctx, id)
	if gone := machine.Err(); gone != nil {
		return fmt.Errorf("waiting for %s to be ready: %w", id, gone)
	}
	if err != nil {
		return fmt.Errorf("waiting for the rules around %s: %w", id, err)
	}
	return nil
}

// tail is the end of a worker's console as the end of an error's text.
func (p *Pool) tail(id string) string {
	if c, ok := p.backend.(backend.Console); ok {
		return lines.Tail(c.ConsolePath(p.store.Dir(id)))
	}
	return ""
}

// because puts the reason why a context ended before an error that, most
// likely, says only that it did.
func because(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil && !errors.Is(err, cause) {
		return fmt.Errorf("%w: %w", cause, err)
	}
	return err
}

// brief is an error that keeps to the first line of its text: the rest is in
// the log already.
type brief struct{ error }

func (b brief) Error() string {
	line, _, more := strings.Cut(b.error.Error(), "\n")
	if more {
		line += " …"
	}
	return line
}

func (b brief) Unwrap() error { return b.error }
