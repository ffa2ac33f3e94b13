//go:build linux

package qemu

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/process"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/qemu/qmp"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/stage"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/vmm/kvm"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/vmm/template"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image/disk"
)

// template returns the valid template for such a worker.
func (b *Backend) template(golden image.Golden, size backend.Size, acceleration kvm.Acceleration) (template.Template, bool) {
	if !b.options.Fork {
		return template.Template{}, false
	}
	wanted, err := template.NewBasis(golden, size, acceleration.Name, b.options.Binary)
	if err != nil {
		return template.Template{}, false // and Start says why, when QEMU is not there
	}
	return b.templates.Load(wanted)
}

// Prepare makes the template, unless it is there. Where there are to be no
// forks, it only removes what was made before.
func (b *Backend) Prepare(ctx context.Context, golden image.Golden, size backend.Size, progress image.Progress) error {
	if !b.options.Fork {
		return b.templates.Clear()
	}
	acceleration, err := b.acceleration(ctx, golden.Kernel())
	if err != nil {
		return err
	}
	wanted, err := template.NewBasis(golden, size, acceleration.Name, b.options.Binary)
	if err != nil {
		return err
	}
	return b.templates.Prepare(ctx, wanted, func(ctx context.Context, t *template.Template) error {
		progress("template", "")
		method, err := disk.Clone(ctx, golden.Disk(), t.Disk())
		if err != nil {
			return fmt.Errorf("cloning the golden disk: %w", err)
		}
		t.Format = method.Format()
		if err := b.bootAndSave(ctx, *t, golden); err != nil {
			return err
		}
		return prepareClones(ctx, *t)
	})
}

// bootAndSave boots the golden image, lets it come to rest, and saves it.
func (b *Backend) bootAndSave(ctx context.Context, t template.Template, golden image.Golden) (err error) {
	state, err := os.OpenFile(t.State(), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer state.Close()
	spec := templateSpec(t, golden)
	spec.MemoryUse = written
	return b.stage().Run(ctx, "template "+t.Basis.Key(), func(at stage.Place) error {
		spec.Console = filepath.Join(at.Dir, consoleFile)
		m, err := b.launch(at.ID, at.Dir, at.Lease.Namespace, spec)
		if err != nil {
			return err
		}
		return m.explain(m.save(ctx, b.settle, guest.Await{
			User: golden.Recipe.User,
			Link: guest.Link{MTU: at.Lease.MTU, IPv6: at.Lease.IPv6},
		}, state))
	})
}

// templateSpec is the part of the command line that a template and its forks
// must have in common.
func templateSpec(t template.Template, golden image.Golden) machineSpec {
	return machineSpec{
		Accel: t.Basis.Accel, CPUs: t.Basis.Size.CPUs, Memory: t.Basis.Size.Memory,
		Kernel: golden.Kernel(), Initrd: golden.Initrd(), Root: golden.Root,
		Disk: t.Disk(), Format: t.Format, MemoryFile: t.Memory(), Network: true,
	}
}

// save lets the guest come to rest and saves it, with all done that needs no
// identity. The agent goes on waiting for a host: its line is broken off before,
// so that each fork finds it unused.
func (m *machine) save(ctx context.Context, settle string, common guest.Await, state *os.File) error {
	ctx, cancel := backend.WhileRunning(ctx, m)
	defer cancel()
	agent, err := m.reach(ctx)
	if err != nil {
		return err
	}
	client := guest.NewClient(agent)
	err = client.Run(ctx, settle, io.Discard)
	if err == nil {
		err = m.cutOff(ctx)
	}
	if err == nil {
		err = client.Await(ctx, common)
	}
	if err == nil {
		err = template.CheckClock(ctx, client)
	}
	if err := errors.Join(err, agent.Close()); err != nil {
		return fmt.Errorf("waiting until the guest is at rest: %w", err)
	}
	if err := m.migrate(ctx, save, state); err != nil {
		return err
	}
	return m.quit(ctx)
}

// quit ends QEMU in order, so that its disk is whole. Its end may be known
// before its answer.
func (m *machine) quit(ctx context.Context) error {
	err := m.qmp.Execute(ctx, "quit", nil, nil)
	if err != nil && !errors.Is(err, qmp.ErrClosed) && !errors.Is(err, process.ErrSucceeded) {
		return err
	}
	<-ctx.Done() // ends with the machine
	if err := m.process.Err(); !errors.Is(err, process.ErrSucceeded) {
		return fmt.Errorf("saving the machine: QEMU %w", errors.Join(err, context.Cause(ctx)))
	}
	return nil
}
