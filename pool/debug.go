package pool

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/store"
)

// errCannotFork says that there is nothing to debug in.
var errCannotFork = errors.New("its backend cannot fork a machine with its memory: `ssh` opens a shell in the " +
	"held worker itself")

// Debug makes a fork of a worker that is held, with its very memory, calls ready with the
// fork's id as soon as one can log in with the keys of the held one, and returns when the
// fork is gone: it ends with ctx, with the hold, by End, or by itself. The held worker's
// machine is saved before, unless it is, and stays as it is from then on.
func (p *Pool) Debug(ctx context.Context, id string, ready func(id string)) error {
	p.mu.Lock()
	h := p.held[id]
	if h == nil || p.closing {
		defer p.mu.Unlock()
		if p.closing {
			return ErrClosing
		}
		return fmt.Errorf("worker %s: %w", id, errNotHeld)
	}
	p.running.Add(1)
	defer p.running.Done()
	fork := p.newID()
	ctx, end := context.WithCancelCause(ctx)
	p.forksOfHeld[fork] = end
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.forksOfHeld, fork)
	}()
	defer end(nil)
	defer context.AfterFunc(p.growing, func() { end(context.Cause(p.growing)) })()

	forker, ok := p.backend.(backend.SavedForker)
	parker, parks := p.network.(network.Parker)
	if !ok || !parks {
		return fmt.Errorf("worker %s: %w", id, errCannotFork)
	}
	if err := h.saved(ctx); err != nil {
		return err
	}
	watching := make(chan struct{})
	defer close(watching)
	go func() {
		select {
		case <-h.over:
			end(errors.New("the worker is not held any more"))
		case <-watching:
		}
	}()
	err := p.debug(ctx, forkOf{fork, id, forker, parker}, ready)
	p.teardownAgain(fork, p.teardown(fork))
	return err
}

// saved has the held worker be saved.
func (h *hold) saved(ctx context.Context) error {
	answer := make(chan error, 1)
	select {
	case h.save <- answer:
	case <-h.over:
		return fmt.Errorf("worker %s: %w", h.id, errNotHeld)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return <-answer // it comes with the end of the hold at the latest
}

// forkOf is what a fork of a held worker is made with.
type forkOf struct {
	id, held string
	forker   backend.SavedForker
	parker   network.Parker
}

// debug is the life of a fork up to its teardown.
func (p *Pool) debug(ctx context.Context, f forkOf, ready func(id string)) error {
	record, err := p.store.Load(f.held)
	if err != nil {
		return err
	}
	record.ID, record.State, record.CreatedAt = f.id, string(Debug), time.Now()
	record.Reason, record.Held, record.Address = "a fork of held worker "+f.held, nil, netip.AddrPort{}
	record.ReadyAt, record.Phases = time.Time{}, nil
	machine, err := p.startDebug(ctx, f, &record)
	if err != nil {
		return fmt.Errorf("forking held worker %s: %w", f.held, because(ctx, err))
	}
	p.log.Info("held worker is forked", "worker", f.held, "fork", f.id)
	ready(f.id)
	select {
	case <-machine.Done():
		return machine.Err()
	case <-ctx.Done():
		return nil
	}
}

// startDebug goes the way of every worker that is started: the directory, room on the host,
// the lease, the machine. The guest is let out nowhere, from before it runs.
func (p *Pool) startDebug(ctx context.Context, f forkOf, record *store.Record) (backend.Machine, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, p.config.StartTimeout,
		fmt.Errorf("it was not ready within the start timeout of %s", p.config.StartTimeout))
	defer cancel()
	isolator, ok := p.network.(network.Isolator)
	if !ok {
		return nil, errors.New("this network cannot keep a fork to itself")
	}
	if _, err := p.store.Reserve(f.id); err != nil {
		return nil, err
	}
	if err := p.store.Save(*record); err != nil {
		return nil, err
	}
	if err := p.awaitBudget(ctx, p.cost(), *record); err != nil {
		return nil, err
	}
	lease, err := f.parker.Unpark(ctx, f.id, record.Queues)
	if err != nil {
		return nil, err
	}
	if err := isolator.Isolate(ctx, f.id); err != nil {
		return nil, err
	}
	spec := backend.Spec{ID: f.id, Dir: p.store.Dir(f.id), Size: p.size(), Lease: lease}
	machine, err := f.forker.ForkSaved(ctx, p.store.Dir(f.held), spec)
	if err != nil {
		return nil, err
	}
	if err := p.ready(ctx, machine, record.Identity(), Key(record.PrivateKey)); err != nil {
		return nil, err
	}
	record.Address, record.How, record.ReadyAt = machine.Address(), machine.How(), time.Now()
	return machine, p.store.Save(*record)
}
