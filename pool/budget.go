package pool

import (
	"context"
	"fmt"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/store"
)

// Budget is what a host may give to the workers of all its pools. What a worker
// holds of it, it holds until Release, also beyond the end of this process.
type Budget interface {
	// Reserve waits until the cost fits on the host, first come, first served
	// between all pools, and holds it for the worker in place of what the worker held
	// before; a worker that held as much never waits. It tells waits why it waits, when
	// that begins and when the reason becomes another one. When ctx ends first, the
	// error says what it waited for, and the worker holds what it held before.
	Reserve(ctx context.Context, id string, cost Cost, waits func(reason string)) error
	// ReserveSpare is Reserve for a worker that nobody has asked for: it does not
	// wait, and holds nothing when the cost does not fit or when any worker waits.
	ReserveSpare(ctx context.Context, id string, cost Cost) (fits bool, err error)
	// Raise has workers hold at least so many bytes of memory, whether that fits or
	// not: they take them already. A worker that holds none is left alone: it is
	// suspended, or gone.
	Raise(ctx context.Context, memory map[string]int64) error
	// Lower has a worker hold the cost, which is of no more memory and processors, in
	// place of what it holds, without waiting. One that holds nothing is left alone.
	Lower(ctx context.Context, id string, cost Cost) error
	// Closed says why nothing may start now, whatever fits; nothing says that it may.
	// It is cheap.
	Closed() (reason string)
	// Waiting tells whether a worker of any pool waits. It is cheap.
	Waiting() bool
	// Release gives back what a worker holds. It is idempotent.
	Release(ctx context.Context, id string) error
	// Find lists the workers of this pool that hold anything.
	Find() ([]string, error)
}

// Cost is what a worker takes of its host.
type Cost struct {
	// Memory is in bytes, that of the program that runs a virtual machine included.
	Memory int64
	// CPUs is the number of virtual processors.
	CPUs int
	// Disk is how many bytes the worker may write, its saved memory included.
	Disk int64
}

// unlimited is the budget of a pool that was given none.
type unlimited struct{}

func (unlimited) Reserve(context.Context, string, Cost, func(string)) error { return nil }
func (unlimited) ReserveSpare(context.Context, string, Cost) (bool, error)  { return true, nil }
func (unlimited) Raise(context.Context, map[string]int64) error             { return nil }
func (unlimited) Lower(context.Context, string, Cost) error                 { return nil }
func (unlimited) Closed() string                                            { return "" }
func (unlimited) Waiting() bool                                             { return false }
func (unlimited) Release(context.Context, string) error                     { return nil }
func (unlimited) Find() ([]string, error)                                   { return nil, nil }

// awaitBudget waits until the worker fits on the host, no longer than the start
// timeout, and says so in the worker's record while it waits. Record is what the
// record says otherwise.
func (p *Pool) awaitBudget(ctx context.Context, cost Cost, record store.Record) error {
	late := fmt.Errorf("worker did not fit on the host within the start timeout of %s", p.config.StartTimeout)
	ctx, cancel := context.WithTimeoutCause(ctx, p.config.StartTimeout, late)
	defer cancel()
	waits, over := p.telling("worker waits for the host", record)
	defer over()
	return p.whenRoom(ctx, record.ID, func() error { return p.budget.Reserve(ctx, record.ID, cost, waits) })
}

// cost is what a worker takes of the host that uses all that it may.
func (p *Pool) cost() Cost {
	size := backend.CostOf(p.backend, p.size())
	return Cost{Memory: size.Memory, CPUs: size.CPUs, Disk: p.config.Recipe.Disk}
}

// costOfStart is what a worker takes that is started now: a fork takes what forks
// before it took, as far as that is known.
func (p *Pool) costOfStart(ctx context.Context, golden image.Golden) Cost {
	cost := p.cost()
	if !p.hasTemplate(ctx, golden) {
		return cost
	}
	if memory, known := p.forks.expected(p.config.Recipe.Series(), p.size()); known {
		cost.Memory = min(cost.Memory, memory)
	}
	return cost
}

// mayStart says whether what a worker has reserved is still enough, nothing holds back
// all starts, and no template is being made that it is to wait for: all may have changed
// while it waited for its slot.
func (p *Pool) mayStart(ctx context.Context, w *worker, golden image.Golden, reserved Cost) bool {
	return p.budget.Closed() == "" && (w.ahead || !p.expectsTemplate(ctx, golden)) &&
		p.costOfStart(ctx, golden).Memory <= reserved.Memory
}

// costSuspended is what a suspended worker takes: its disk, and its memory on the
// disk.
func (p *Pool) costSuspended() Cost {
	cost := p.cost()
	return Cost{Disk: cost.Disk + p.config.Memory}
}

// holdSuspended has a worker of which nothing runs hold what a suspended one takes.
func (p *Pool) holdSuspended(ctx context.Context, id string) {
	if err := p.budget.Lower(ctx, id, p.costSuspended()); err != nil { // such as on a full disk
		p.log.Warn("suspended worker still holds what it took of the host", "worker", id, "err", err)
	}
}
