//go:build linux

package vmm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/vmm/template"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image/prebuild"
)

// warmTemplate has a template's guest run the user's commands, on the network, which
// it leaves again: forks are reached when they have an identity, not before. A guest
// that then holds what forks must not have in common is refused.
func (b *Backend) warmTemplate(ctx context.Context, agent *guest.Client, progress image.Progress) error {
	if warmLimit(b.options.Warm) == 0 {
		return nil
	}
	if err := agent.Network(ctx); err != nil {
		return fmt.Errorf("setting up the network of the warm steps: %w", err)
	}
	if err := b.warmUp(ctx, agent, progress); err != nil {
		return err
	}
	if err := agent.Inspect(ctx); err != nil {
		return fmt.Errorf("after the warm steps: %w", err)
	}
	return agent.Offline(ctx)
}

// warmUp runs the user's commands. What is started at boot may be what they need. That
// one fails is the guest's fault.
func (b *Backend) warmUp(ctx context.Context, agent *guest.Client, progress image.Progress) error {
	if warmLimit(b.options.Warm) == 0 {
		return nil
	}
	if err := agent.Run(ctx, template.AwaitBoot, io.Discard); err != nil {
		return fmt.Errorf("waiting until the guest has booted: %w", err)
	}
	err := prebuild.Steps(ctx, agent, "warm", b.options.Warm, progress)
	var exit *guest.ExitError
	if errors.As(err, &exit) {
		return guest.Fault(err)
	}
	return err
}

// warmLimit bounds all commands together; it is zero without any.
func warmLimit(warm []image.Commands) (limit time.Duration) {
	for _, some := range warm {
		limit += time.Duration(len(some.Shell)) * image.StepLimit
	}
	return limit
}
