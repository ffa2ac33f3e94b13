package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/host"
)

type gcCommand struct {
	configuration
	DryRun    bool `help:"Only say what there is."`
	Suspended bool `help:"Remove suspended and held workers too, which wait for their plugin."`
	JSON      bool `help:"Print one JSON document."`
}

// Run sweeps the pools that no plugin process serves. A pool that could not be
// swept fails the command, after the others were.
func (c gcCommand) Run(ctx context.Context, s *streams, h *host.Host) error {
	settings, _, err := c.load()
	if err != nil {
		return err
	}
	if !c.DryRun {
		sweepSocketDirs(os.TempDir()) // which are of no pool
	}
	swept, err := h.Sweep(ctx, settings, host.Sweeping{Remove: !c.DryRun, Suspended: c.Suspended}, s.log)
	if swept == nil {
		return err
	}
	if c.JSON {
		return errors.Join(s.document(swept), err)
	}
	for _, pool := range swept {
		printSwept(s, pool)
	}
	if len(swept) == 0 {
		fmt.Fprintf(s.out, "no pools in %s\n", settings.StateDir)
	}
	return err
}

func printSwept(s *streams, pool host.Swept) {
	if pool.Held {
		fmt.Fprintf(s.out, "pool %s: in use, left alone\n", pool.Pool)
		return
	}
	did := "orphan"
	if pool.Removed {
		did = "removed"
	}
	for _, what := range pool.LeftOver {
		fmt.Fprintf(s.out, "pool %s: %s: %s\n", pool.Pool, did, what)
	}
	for _, id := range pool.Suspended {
		fmt.Fprintf(s.out, "pool %s: kept: suspended or held worker %s\n", pool.Pool, id)
	}
	if len(pool.LeftOver) == 0 {
		fmt.Fprintf(s.out, "pool %s: no orphans\n", pool.Pool)
	}
}
