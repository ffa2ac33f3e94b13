package pool

import (
	"context"
	"fmt"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/store"
)

// Budget is what a host may give to the workers of all its pools. What a worker
// holds of it, it holds until Release, also beyond the end of this process.
type Budget interface {
	// Reserve waits until the cost fits on the host, first come, first served
	// between all pools, and holds it for the worker in place of what the worker held
	// before. It tells waits why it waits, when that begins and when the reason
	// becomes another one. When ctx ends first, the error says what it waited for, and
	// the worker holds what it held before.
	Reserve(ctx context.Context, id string, cost Cost, waits func(reason string)) error
	// ReserveSpare is Reserve for a worker that nobody has asked for: it does not
	// wait, and holds nothing when the cost does not fit or when any worker waits.
	ReserveSpare(ctx context.Context, id string, cost Cost) (fits bool, err error)
	// Hold changes what a worker holds, whether it fits or not: it takes that much
	// already, or less than it did.
	Hold(ctx context.Context, id string, cost Cost) error
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
	Memory int64 `json:"memory"`
	// CPUs is the number of virtual processors.
	CPUs int `json:"cpus"`
	// Disk is how many bytes the worker may write, its saved memory included.
	Disk int64 `json:"disk"`
}

// unlimited is the budget of a pool that was given none.
type unlimited struct{}

func (unlimited) Reserve(context.Context, string, Cost, func(string)) error { return nil }
func (unlimited) ReserveSpare(context.Context, string, Cost) (bool, error)  { return true, nil }
func (unlimited) Hold(context.Context, string, Cost) error                  { return nil }
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
	return p.budget.Reserve(ctx, record.ID, cost, func(reason string) {
		p.log.Info("worker waits for the host", "worker", record.ID, "reason", reason)
		record.Reason = reason
		if err := p.store.Save(record); err != nil {
			p.log.Warn("record is out of date", "worker", record.ID, "err", err)
		}
	})
}

// cost is what a worker takes of the host that uses all that it may.
func (p *Pool) cost() Cost {
	size := p.size()
	if costed, ok := p.backend.(backend.Costed); ok {
		size = costed.Cost(size)
	}
	return Cost{Memory: size.Memory, CPUs: size.CPUs, Disk: p.config.Recipe.Disk}
}

// costSuspended is what a suspended worker takes: its disk, and its memory on the
// disk.
func (p *Pool) costSuspended() Cost {
	cost := p.cost()
	return Cost{Disk: cost.Disk + p.config.Memory}
}
