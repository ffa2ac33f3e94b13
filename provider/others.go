package provider

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"
)

// destroyOthers ends what another backend has left of the pool, which was
// served by that one before. The pool that opens now asks its own backend only,
// and would take away leases and directories under machines that run.
//
// One that cannot say what it has left, such as one whose tool is another
// program on this system, keeps nobody from the rest.
func destroyOthers(ctx context.Context, c config.Config, served string, log *slog.Logger) error {
	all, err := everyone(c, log)
	if err != nil {
		return err
	}
	var errs []error
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
			errs = append(errs, a.backend.Destroy(ctx, m.ID()))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("removing what another backend has left of pool %q: %w", c.Pool, err)
	}
	return nil
}
