//go:build linux

package cloudhypervisor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/stage"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/vmm/kvm"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/vmm/template"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image/disk"
)

// template returns the valid template for such a worker.
func (b *Backend) template(golden image.Golden, size backend.Size) (template.Template, bool) {
	if !b.options.Fork {
		return template.Template{}, false
	}
	wanted, err := b.basis(golden, size)
	if err != nil {
		return template.Template{}, false // and Start says why, when the binary is not there
	}
	return b.templates.Load(wanted)
}

// basis counts the limits in: a fork has those of its template.
func (b *Backend) basis(golden image.Golden, size backend.Size) (template.Basis, error) {
	basis, err := template.NewBasis(golden, size, kvm.KVM, b.options.Binary)
	if b.options.Limits != (Limits{}) {
		basis.More = fmt.Sprintf("%+v", b.options.Limits)
	}
	return basis, err
}

// Prepare makes the template, unless it is there. Where there are to be no
// forks, or Cloud Hypervisor is too old for them, it only removes what was made
// before.
func (b *Backend) Prepare(ctx context.Context, golden image.Golden, size backend.Size, progress image.Progress) error {
	version, err := b.version(ctx)
	if err != nil {
		return err
	}
	if !b.options.Fork || !version.AtLeast(forkVersion) {
		return b.templates.Clear()
	}
	if err := b.needKVM(ctx, golden.Kernel()); err != nil {
		return err
	}
	wanted, err := b.basis(golden, size)
	if err != nil {
		return err
	}
	return b.templates.Prepare(ctx, wanted, func(ctx context.Context, t *template.Template) error {
		progress("template", "")
		t.Format = "raw"
		if err := copyDisk(ctx, golden.Disk(), t.Disk()); err != nil {
			return err
		}
		return b.bootAndSave(ctx, *t, golden)
	})
}

// copyDisk makes a raw copy that shares blocks where the file system can. A
// qcow2 overlay is no choice here: Cloud Hypervisor keeps parts of it in its
// memory, and a template's must be whole in the file when it is killed.
func copyDisk(ctx context.Context, from, to string) error {
	method, err := disk.Clone(ctx, from, to)
	if err == nil && method != disk.Reflink {
		if err = os.Remove(to); err == nil {
			err = disk.SparseCopy(ctx, from, to)
		}
	}
	if err != nil {
		return fmt.Errorf("copying a disk: %w", err)
	}
	return nil
}

// bootAndSave boots the golden image, lets it come to rest, and saves it.
func (b *Backend) bootAndSave(ctx context.Context, t template.Template, golden image.Golden) error {
	if err := os.Mkdir(t.State(), 0o700); err != nil {
		return err
	}
	if err := disk.Create(t.Memory(), t.Basis.Size.Memory); err != nil {
		return fmt.Errorf("a file for the memory: %w", err)
	}
	return b.stage().Run(ctx, "template "+t.Basis.Key(), func(at stage.Place) error {
		console := filepath.Join(at.Dir, consoleFile)
		m, err := b.launch(at.ID, at.Dir, at.Lease.Namespace, console)
		if err != nil {
			return err
		}
		b.keep(m)
		return m.explain(m.save(ctx, machineSpec{
			CPUs: t.Basis.Size.CPUs, Memory: t.Basis.Size.Memory, MemoryFile: t.Memory(),
			Kernel: golden.Kernel(), Initrd: golden.Initrd(), Root: golden.Root,
			Disk: t.Disk(), Format: t.Format, Console: console,
			Vsock: vsockPath(at.Dir), Saved: t.State(), Readable: readable(), Limits: b.options.Limits,
		}))
	})
}

// save lets the guest come to rest and saves it. The agent goes on waiting for
// a host: its line is broken off before, so that each fork finds it unused. The
// machine is then killed while it is paused: an orderly end would let its
// devices write to the memory that was saved.
func (m *machine) save(ctx context.Context, config machineSpec) error {
	ctx, cancel := backend.WhileRunning(ctx, m)
	defer cancel()
	if err := m.start(ctx, config); err != nil {
		return err
	}
	agent, err := guest.DialVsock(ctx, vsockPath(m.dir))
	if err != nil {
		return err
	}
	client := guest.NewClient(agent)
	err = client.Run(ctx, template.Settle, io.Discard)
	if err == nil {
		err = template.CheckClock(ctx, client)
	}
	if err := errors.Join(err, agent.Close()); err != nil {
		return fmt.Errorf("waiting until the guest is at rest: %w", err)
	}
	if err := m.api.Pause(ctx); err != nil {
		return err
	}
	if err := m.api.Snapshot(ctx, config.Saved); err != nil {
		return err
	}
	return m.process.Kill(context.WithoutCancel(ctx))
}
