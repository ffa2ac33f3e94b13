//go:build linux

package qemu

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/process"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/stage"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/vmm"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
)

// powerOffLimit bounds the guest's orderly end after it was sealed.
const powerOffLimit = 3 * time.Minute

// Build makes the golden image unless it is there.
func (b *Backend) Build(ctx context.Context, recipe image.Recipe, progress image.Progress) (image.Golden, error) {
	maker := vmm.Maker{ImagesDir: b.options.ImagesDir, StateDir: b.options.StateDir, Stage: b.stage(), Boot: b.bootDraft}
	return maker.Build(ctx, recipe, progress)
}

// stage is where machines run that are no workers.
func (b *Backend) stage() stage.Stage {
	return stage.Stage{Pool: b.options.Pool, WorkersDir: b.options.WorkersDir, Network: b.options.Network, Destroy: b.Destroy}
}

// bootDraft boots the draft of an image, and waits until it is off.
func (b *Backend) bootDraft(ctx context.Context, d vmm.Draft, talk func(context.Context, net.Conn) error) error {
	acceleration, err := b.acceleration(ctx, vmm.ProbeKernel(d.Golden))
	if err != nil {
		return err
	}
	m, err := b.launch(d.ID, d.Dir, d.Lease.Namespace, draftSpec(d, acceleration.Name))
	if err != nil {
		return err
	}
	if err := m.explain(m.talk(ctx, talk)); err != nil {
		return err
	}
	return m.awaitPowerOff(ctx)
}

func draftSpec(d vmm.Draft, accel string) machineSpec {
	spec := machineSpec{
		Accel: accel, CPUs: d.CPUs, Memory: d.Memory,
		Disk: d.Golden.Disk(), Format: "raw", Seed: d.Seed, Console: d.Console, Network: true,
		KernelArguments: vmm.KernelArguments,
	}
	if d.Root != "" {
		spec.Kernel, spec.Initrd, spec.Root = d.Golden.Kernel(), d.Golden.Initrd(), d.Root
	}
	return spec
}

func (m *machine) talk(ctx context.Context, talk func(context.Context, net.Conn) error) error {
	ctx, cancel := backend.WhileRunning(ctx, m)
	defer cancel()
	conn, err := m.reach(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	return talk(ctx, conn)
}

func (m *machine) awaitPowerOff(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, powerOffLimit, fmt.Errorf("the guest did not power off within %s", powerOffLimit))
	defer cancel()
	select {
	case <-m.Done():
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	select {
	case <-m.qmp.Closed(): // its last event has been read then
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if !m.poweredOff() {
		return fmt.Errorf("the guest was sealed, but did not end as it should: %w", m.Err())
	}
	return nil
}

// poweredOff tells an orderly end from a panic, or a QEMU that was killed: only
// the disk of the first is whole.
func (m *machine) poweredOff() bool {
	words := m.lastWords.Load()
	return errors.Is(m.process.Err(), process.ErrSucceeded) && words != nil && *words == "SHUTDOWN (guest-shutdown)"
}
