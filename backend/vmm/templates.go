//go:build linux

package vmm

import (
	"context"
	"fmt"
	"io"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/stage"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/vmm/template"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image/disk"
)

// template returns the valid template for such a worker.
func (b *Backend) template(golden image.Golden, size backend.Size, accel string) (template.Template, bool) {
	if !b.options.Fork {
		return template.Template{}, false
	}
	wanted, err := b.basis(golden, size, accel)
	if err != nil {
		return template.Template{}, false // and Start says why, when the program is not there
	}
	return b.templates.Load(wanted)
}

func (b *Backend) basis(golden image.Golden, size backend.Size, accel string) (template.Basis, error) {
	basis, err := template.NewBasis(golden, size, accel, b.traits.Binary)
	basis.More = b.traits.TemplateExtra
	return basis, err
}

// Prepare makes the template, unless it is there. Where there are to be no
// forks, or the program cannot be forked, it only removes what was made before.
func (b *Backend) Prepare(ctx context.Context, golden image.Golden, size backend.Size, progress image.Progress) error {
	wantsForks := b.options.Fork
	if forkable, ok := b.driver.(Forkable); ok && wantsForks {
		var err error
		if wantsForks, err = forkable.CanFork(ctx); err != nil {
			return err
		}
	}
	if !wantsForks {
		return b.templates.Clear()
	}
	accel, err := b.acceleration(ctx, golden.Kernel())
	if err != nil {
		return err
	}
	wanted, err := b.basis(golden, size, accel)
	if err != nil {
		return err
	}
	return b.templates.Prepare(ctx, wanted, func(ctx context.Context, t *template.Template) error {
		progress("template", "")
		if t.Format, err = b.copyDisk(ctx, golden.Disk(), t.Disk()); err != nil {
			return err
		}
		if err := b.bootAndSave(ctx, *t, golden); err != nil {
			return err
		}
		return prepareForks(ctx, *t, golden)
	})
}

// templateSpec is what a template and its forks must have in common.
func templateSpec(t template.Template, golden image.Golden) Spec {
	return Spec{
		Accel: t.Basis.Accel, CPUs: t.Basis.Size.CPUs, Memory: t.Basis.Size.Memory,
		Kernel: golden.Kernel(), Initrd: golden.Initrd(), Root: golden.Root,
		Format: t.Format, MemoryFile: t.Memory(), Network: true,
	}
}

// bootAndSave boots the golden image, lets it come to rest, and saves it.
func (b *Backend) bootAndSave(ctx context.Context, t template.Template, golden image.Golden) error {
	return b.stage().Run(ctx, "template "+t.Basis.Key(), func(at stage.Place) error {
		spec := templateSpec(t, golden).in(at.Dir)
		spec.MemoryUse, spec.Disk, spec.State, spec.Backing = Written, t.Disk(), t.State(), golden.Dir
		if err := disk.Create(spec.MemoryFile, spec.Memory); err != nil {
			return fmt.Errorf("a file for the memory: %w", err)
		}
		m, err := b.launch(ctx, at, spec)
		if err != nil {
			return err
		}
		common := guest.Await{User: golden.Recipe.User, Link: guest.Link{MTU: at.Lease.MTU, IPv6: at.Lease.IPv6}}
		if err := m.boot(ctx, m.rest(common)); err != nil {
			return err
		}
		if err := m.explain(m.save(ctx)); err != nil {
			return err
		}
		return b.reclaim(ctx, at.ID, spec.Disk, spec.MemoryFile, spec.State)
	})
}

// rest lets the guest come to rest, with all done that needs no identity. The
// network is only set up where nobody can be reached on it yet. The agent waits
// for a host afterwards: the line to it is closed before the machine is saved, so
// that each fork finds it unused.
func (m *machine) rest(common guest.Await) func(context.Context, *guest.Client) error {
	return func(ctx context.Context, agent *guest.Client) error {
		err := agent.Run(ctx, template.Settle, io.Discard)
		if cable, ok := m.monitor.(Cable); ok && err == nil {
			if err = cable.CutOff(ctx); err == nil {
				err = agent.Await(ctx, common)
			}
		}
		if err == nil {
			err = template.CheckClock(ctx, agent)
		}
		if err != nil {
			return fmt.Errorf("waiting until the guest is at rest: %w", err)
		}
		return nil
	}
}
