package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/host"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"
)

type rmCommand struct {
	onWorker
}

// Run ends a worker, whoever uses it, and returns when nothing of it is left.
func (c rmCommand) Run(ctx context.Context, s *streams, h *host.Host) error {
	settings, records, err := c.find(h)
	if err != nil {
		return err
	}
	if !exists(records.Dir(c.ID)) {
		return fmt.Errorf("worker %s: %w", c.ID, errNoWorker)
	}
	if err := h.EndWorker(ctx, settings, c.ID, s.log); err != nil {
		return err
	}
	_, err = fmt.Fprintln(s.out, c.ID)
	return err
}

type holdCommand struct {
	onWorker
	For time.Duration `placeholder:"2h" help:"How long; without it, as long as hold.for says."`
}

// Run has a worker be held when the runner gives it back, or one that is held be held for
// another time.
func (c holdCommand) Run(ctx context.Context, h *host.Host) error {
	settings, _, _, err := c.present(h)
	if err != nil {
		return err
	}
	if c.For != 0 {
		if err := config.CheckHold(c.For); err != nil {
			return usageError{fmt.Errorf("--for: %w", err)}
		}
	}
	return h.HoldWorker(ctx, settings, c.ID, c.For)
}

type debugCommand struct {
	onWorker
	Command []string `arg:"" optional:"" passthrough:"" name:"CMD" help:"What to run; without it, a shell."`
}

// Run runs a command, or a shell, in a fork of a held worker, which is gone afterwards.
func (c debugCommand) Run(ctx context.Context, s *streams, h *host.Host) (err error) {
	settings, records, _, err := c.present(h)
	if err != nil {
		return err
	}
	fork, end, err := h.DebugWorker(ctx, settings, c.ID)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, end.Close()) }()
	record, err := records.Load(fork)
	if err != nil {
		return err
	}
	return enter(ctx, s, h, settings, record, c.Command)
}
