//go:build linux

package vmm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/stage"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/vmm/template"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image/disk"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
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
	if err != nil {
		return template.Basis{}, err
	}
	layout, err := json.Marshal(b.layout(size, accel, b.options.Queues))
	if err != nil {
		return template.Basis{}, fmt.Errorf("writing a machine's layout: %w", err)
	}
	basis.Warm = template.WarmDigest(b.options.Warm)
	basis.More = b.traits.TemplateExtra + string(layout)
	return basis, nil
}

// Prepare makes the template, unless it is there. Where there are to be no
// forks, or the program cannot be forked, it only removes what was made before.
func (b *Backend) Prepare(
	ctx context.Context, golden image.Golden, size backend.Size, beside []string, wanted <-chan struct{},
	progress image.Progress,
) error {
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
	basis, err := b.basis(golden, size, accel)
	if err != nil {
		return err
	}
	return b.templates.Prepare(ctx, basis, beside, func(ctx context.Context, t *template.Template) error {
		progress("template", "")
		if t.Format, err = b.copyDisk(ctx, golden.Disk(), t.Disk()); err != nil {
			return err
		}
		if err := b.bootAndSave(ctx, *t, golden, wanted, progress); err != nil {
			return err
		}
		return prepareForks(ctx, *t, golden)
	})
}

// templateSpec is what a template and its forks must have in common. Their leases
// have the same number of queues.
func (b *Backend) templateSpec(t template.Template, golden image.Golden, lease network.Lease) Spec {
	return Spec{
		Accel: t.Basis.Accel, CPUs: t.Basis.Size.CPUs, Memory: t.Basis.Size.Memory,
		Layout: b.layout(t.Basis.Size, t.Basis.Accel, lease.Queues),
		Kernel: golden.Kernel(), Initrd: golden.Initrd(), Root: golden.Root,
		Format: t.Format, MemoryFile: t.Memory(), Network: true,
	}
}

// bootAndSave boots the golden image, has it become warm and come to rest, and saves
// it. It gives way to other machines until the template is wanted.
func (b *Backend) bootAndSave(
	ctx context.Context, t template.Template, golden image.Golden, wanted <-chan struct{}, progress image.Progress,
) error {
	return b.stage().Run(ctx, "template "+t.Basis.Key(), func(at stage.Place) error {
		spec := b.templateSpec(t, golden, at.Lease).in(at.Dir)
		spec.MemoryUse, spec.Disk, spec.State, spec.Backing = Written, t.Disk(), t.State(), golden.Dir
		if err := disk.Create(spec.MemoryFile, spec.Memory); err != nil {
			return fmt.Errorf("a file for the memory: %w", err)
		}
		m, err := b.launch(ctx, at, spec)
		if err != nil {
			return err
		}
		defer b.giveWay(m, wanted)()
		common := guest.Await{User: golden.Recipe.User, Link: guest.LinkOf(at.Lease)}
		err = m.boot(ctx, func(ctx context.Context, agent *guest.Client) error {
			if err := b.warmTemplate(ctx, agent, progress); err != nil {
				return err
			}
			return b.rest(ctx, m, agent, common)
		})
		if err != nil {
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
func (b *Backend) rest(ctx context.Context, m *machine, agent *guest.Client, common guest.Await) error {
	err := errors.Join(openNested(ctx, m.spec, agent), agent.Run(ctx, template.Settle, io.Discard))
	if cutter, ok := b.options.Network.(network.Cutter); ok && err == nil {
		if err = cutter.CutOff(ctx, m.id); err == nil {
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
