// Package teardown is the order in which a worker is removed: its machine, its
// lease, what it holds of the host, its directory. What these are, how long one try
// may take, and when there is another, is for whoever removes a worker to say.
package teardown

import (
	"context"
	"errors"
	"fmt"
)

// Step removes one thing of the worker with an id. It is idempotent: there may
// be nothing to remove, or half of it.
type Step func(ctx context.Context, id string) error

// Steps are how a worker is removed.
type Steps struct {
	// Machine ends the worker's machine, and Lease removes its place on the
	// network: one step each for every backend and every network that may have
	// made one.
	Machine, Lease []Step
	// Budget gives back what the worker holds of the host's memory and processors.
	Budget []Step
	// Directory removes the worker's directory.
	Directory func(id string) error
}

// Run takes the machine and the lease away, also the lease of a machine that
// cannot be destroyed, which is better off the network. What the worker holds of
// the host is given back only when both are gone: a machine that is left still
// takes it. The directory goes last, and only when nothing else is left, because
// its name is what the rest is found by.
func (s Steps) Run(ctx context.Context, id string) error {
	err := errors.Join(
		each(ctx, id, "destroying the machine", s.Machine),
		each(ctx, id, "releasing the lease", s.Lease),
	)
	if err != nil {
		return err
	}
	if err := each(ctx, id, "giving back the budget", s.Budget); err != nil {
		return err
	}
	return s.Directory(id)
}

func each(ctx context.Context, id, doing string, steps []Step) error {
	var failed []error
	for _, step := range steps {
		if err := step(ctx, id); err != nil {
			failed = append(failed, fmt.Errorf("%s of %s: %w", doing, id, err))
		}
	}
	return errors.Join(failed...)
}
