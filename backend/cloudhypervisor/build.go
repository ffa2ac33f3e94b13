//go:build linux

package cloudhypervisor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/stage"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/vmm"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
)

// powerOffLimit bounds the guest's orderly end after it was sealed.
const powerOffLimit = 3 * time.Minute

// errFirmware says why an image that comes as a whole disk is not built here.
var errFirmware = errors.New(`an image that comes as a whole disk is booted by firmware once, and this backend has none: ` +
	`build it once with plugin_config.backend = "qemu" (fleeting-plugin-mayfly image build), which both backends then use`)

// Build makes the golden image unless it is there, from whichever backend.
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
	if d.Root == "" {
		return errFirmware
	}
	if err := b.needKVM(ctx, vmm.ProbeKernel(d.Golden)); err != nil {
		return err
	}
	m, err := b.launch(d.ID, d.Dir, d.Lease.Namespace, d.Console)
	if err != nil {
		return err
	}
	b.keep(m)
	if err := m.explain(m.talk(ctx, draftSpec(d), talk)); err != nil {
		return err
	}
	return m.awaitPowerOff(ctx)
}

func draftSpec(d vmm.Draft) machineSpec {
	return machineSpec{
		CPUs: d.CPUs, Memory: d.Memory,
		Kernel: d.Golden.Kernel(), Initrd: d.Golden.Initrd(), Root: d.Root, KernelArguments: vmm.KernelArguments,
		Disk: d.Golden.Disk(), Format: "raw", Seed: d.Seed, Console: d.Console,
		Vsock: vsockPath(d.Dir), Saved: savedPath(d.Dir), Readable: readable(),
	}
}

func (m *machine) talk(ctx context.Context, config machineSpec, talk func(context.Context, net.Conn) error) error {
	ctx, cancel := backend.WhileRunning(ctx, m)
	defer cancel()
	if err := m.start(ctx, config); err != nil {
		return err
	}
	conn, err := guest.DialVsock(ctx, vsockPath(m.dir))
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
	m.awaitEvents(ctx)
	if !m.poweredOff() {
		return fmt.Errorf("the guest was sealed, but did not end as it should: %w", m.Err())
	}
	return nil
}
