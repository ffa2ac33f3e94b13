package provider

import (
	"context"
	"fmt"
	"log/slog"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool"
)

// inherited finds what other backends have left of the pool, which was served
// by one of them before. The pool that opens now asks its own backend only,
// and would take away leases and directories under machines that run.
//
// One that cannot say what it has left, such as one whose tool is another
// program on this system, keeps nobody from the rest.
func inherited(ctx context.Context, all []assembly, served string, log *slog.Logger) pool.Inheritance {
	left := make(pool.Inheritance)
	for _, a := range all {
		if a.name == served {
			continue
		}
		machines, err := a.backend.Find(ctx)
		if err != nil {
			log.Warn("looking for what another backend has left", "backend", a.name, "err", err)
		}
		for _, m := range machines {
			log.Warn("removing what another backend has left", "backend", a.name, "worker", m.ID())
			left[m.ID()] = append(left[m.ID()], a.destroyAsOther)
		}
	}
	return left
}

// destroyAsOther ends a machine in a pool that another backend serves now, and
// gives back its lease, which that one's network may know nothing of.
func (a assembly) destroyAsOther(ctx context.Context, id string) error {
	if err := destroy(ctx, id, []assembly{a}); err != nil {
		return fmt.Errorf("by backend %q, which served the pool before (`doctor --backend %s` says what it lacks): %w", a.name, a.name, err)
	}
	return nil
}
