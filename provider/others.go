package provider

import (
	"context"
	"fmt"
	"log/slog"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/teardown"
)

// foreignOrphans finds the pool's machines that other backends have made, one of
// which served the pool before. The pool that opens now asks its own backend
// only, and would take away leases and directories under machines that run.
//
// A backend that cannot say what it has made, such as one whose tool is another
// program on this system, keeps nobody from the rest.
func foreignOrphans(ctx context.Context, all []assembly, served string, log *slog.Logger) map[string]teardown.Steps {
	orphans := make(map[string]teardown.Steps)
	for _, a := range all {
		if a.name == served {
			continue
		}
		machines, err := a.backend.Find(ctx)
		if err != nil {
			log.Warn("looking for orphans of another backend", "backend", a.name, "err", err)
		}
		for _, m := range machines {
			log.Warn("removing an orphan of another backend", "backend", a.name, "worker", m.ID())
			steps := orphans[m.ID()]
			orphans[m.ID()] = teardown.Steps{
				Machine: append(steps.Machine, a.asFormer(a.backend.Destroy)),
				Lease:   append(steps.Lease, a.asFormer(a.network.Release)),
			}
		}
	}
	return orphans
}

// asFormer has the error of a step say that it is not of the backend that serves
// the pool now.
func (a assembly) asFormer(step teardown.Step) teardown.Step {
	return func(ctx context.Context, id string) error {
		if err := step(ctx, id); err != nil {
			return fmt.Errorf("by backend %q, which served the pool before (`doctor --backend %s` says what it lacks): %w", a.name, a.name, err)
		}
		return nil
	}
}
