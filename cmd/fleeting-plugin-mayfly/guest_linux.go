package main

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest/agent"
)

// beGuest is the agent, until the guest ends it.
func beGuest() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	if err := agent.Run(ctx, log); err != nil && ctx.Err() == nil {
		log.Error("the guest agent ends", "err", err)
		return exitFailure
	}
	return 0
}
