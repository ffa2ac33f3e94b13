//go:build linux

package vmm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/stage"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/vmm/template"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image/disk"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/phase"
)

// fork starts a worker from the template, or continues the one in stock. After
// an error nothing of it runs, and nothing of it is left in its directory.
func (b *Backend) fork(
	ctx context.Context, t template.Template, golden image.Golden, spec backend.Spec,
) (*machine, error) {
	limited, cancel := b.withForkLimit(ctx)
	defer cancel()
	m, err := b.fromStock(limited, t, spec.ID)
	if m == nil && err == nil {
		m, err = b.restoreFork(limited, t, golden, spec)
	}
	if err == nil {
		err = b.rekey(limited, m, spec.Identity)
	}
	if err == nil {
		phase.Ended(ctx, phase.Identity)
		return m, nil
	}
	err = fmt.Errorf("forking %s from its template: %w", spec.ID, err)
	undo, cancelUndo := context.WithTimeout(context.WithoutCancel(ctx), stage.RemoveLimit)
	defer cancelUndo()
	if undone := b.undoFork(undo, spec.ID, spec.Dir); undone != nil {
		return nil, fmt.Errorf("%w; %w: %w", err, errNotUndone, undone)
	}
	return nil, err
}

// errNotUndone says that no other machine can take a fork's place.
var errNotUndone = errors.New("what was made of it is not removed")

// undoFork leaves a worker's place as it was before a fork was made in it. A machine of
// which the end was not seen stays cut off.
func (b *Backend) undoFork(ctx context.Context, id, dir string) error {
	if err := b.Destroy(ctx, id); err != nil {
		return err
	}
	return errors.Join(b.traits.removeFiles(dir), b.connect(ctx, id))
}

func (b *Backend) withForkLimit(ctx context.Context) (context.Context, context.CancelFunc) {
	limit := b.options.ForkLimit
	return context.WithTimeoutCause(ctx, limit, fmt.Errorf("not done within %s", limit))
}

// restoreFork makes a fork that does not run yet, and is cut off the network
// where it can be. It has the template's memory, mapped so that what it writes
// stays its own, and a disk of its own on top of the template's.
func (b *Backend) restoreFork(
	ctx context.Context, t template.Template, golden image.Golden, spec backend.Spec,
) (*machine, error) {
	fork := b.templateSpec(t, golden, spec.Lease).in(spec.Dir)
	fork.MemoryUse, fork.Incoming, fork.Backing = Forked, true, golden.Dir
	var err error
	if fork.Format, err = b.forkDisk(ctx, t, spec.Dir); err != nil {
		return nil, err
	}
	phase.Ended(ctx, phase.Disk)
	if !b.options.ShareMemory {
		fork.MemoryFile = filepath.Join(spec.Dir, memoryFile)
		if err := disk.SparseCopy(ctx, t.Memory(), fork.MemoryFile); err != nil {
			return nil, fmt.Errorf("copying the template's memory: %w", err)
		}
	}
	m, err := b.launch(ctx, placeOf(spec), fork)
	if err != nil {
		return nil, err
	}
	phase.Ended(ctx, phase.Process)
	m.how = backend.Fork
	err = m.restore(ctx, t.State())
	if cutter, ok := b.options.Network.(network.Cutter); ok && err == nil {
		err = cutter.CutOff(ctx, m.id)
	}
	return m, m.explain(err)
}

func (m *machine) restore(ctx context.Context, state string) error {
	ctx, cancel := backend.WhileRunning(ctx, m)
	defer cancel()
	if err := m.monitor.Restore(ctx, state); err != nil {
		return err
	}
	phase.Ended(ctx, phase.Restore)
	return nil
}

// rekey lets a fork run, gives it its identity, and then connects it.
func (b *Backend) rekey(ctx context.Context, m *machine, identity guest.Identity) error {
	return m.explain(m.run(ctx, func(ctx context.Context, agent *guest.Client) error {
		if err := agent.Rekey(ctx, identity); err != nil {
			return err
		}
		return b.connect(ctx, m.id)
	}))
}

// connect lets a worker onto the network that was cut off, where the network can do
// that.
func (b *Backend) connect(ctx context.Context, id string) error {
	if cutter, ok := b.options.Network.(network.Cutter); ok {
		return cutter.Connect(ctx, id)
	}
	return nil
}

// run lets a restored machine run, and talks to its agent before anyone else.
func (m *machine) run(ctx context.Context, talk func(context.Context, *guest.Client) error) error {
	ctx, cancel := backend.WhileRunning(ctx, m)
	defer cancel()
	if err := m.process.Joined(ctx); err != nil {
		return err
	}
	if err := m.monitor.Continue(ctx); err != nil {
		return err
	}
	phase.Ended(ctx, phase.Continue)
	if err := m.talk(ctx, talk); err != nil {
		return err
	}
	m.inUse.Store(true)
	return nil
}

// copyDisk makes a clone of a raw disk for a machine that is saved, or restored.
func (b *Backend) copyDisk(ctx context.Context, from, to string) (format string, err error) {
	method, err := disk.Clone(ctx, from, to)
	if err == nil && method != disk.Reflink && b.traits.WholeDisks {
		method = disk.Reflink // has the same format
		if err = os.Remove(to); err == nil {
			err = disk.SparseCopy(ctx, from, to)
		}
	}
	if err != nil {
		return "", fmt.Errorf("copying a disk: %w", err)
	}
	return method.Format(), nil
}

// forkDisk makes a fork's disk: a clone of the template's, or a copy of the empty
// overlay that lies with it, which takes less time than to make one.
func (b *Backend) forkDisk(ctx context.Context, t template.Template, dir string) (format string, err error) {
	path := filepath.Join(dir, diskFile)
	if t.Format == disk.Reflink.Format() {
		return b.copyDisk(ctx, t.Disk(), path)
	}
	if err := keepBase(t.Disk(), dir); err != nil {
		return "", err
	}
	return disk.Overlay.Format(), disk.SparseCopy(ctx, t.Overlay(), path)
}

// prepareForks makes the overlay that forkDisk copies, unless it needs none. The
// template's disk is as large as the golden one.
func prepareForks(ctx context.Context, t template.Template, golden image.Golden) error {
	if t.Format == disk.Reflink.Format() {
		return nil
	}
	if err := keepBase(t.Disk(), t.Dir); err != nil {
		return err
	}
	info, err := os.Stat(golden.Disk())
	if err != nil {
		return fmt.Errorf("asking for the size of a disk: %w", err)
	}
	return disk.StackBeside(ctx, baseFile, t.Format, info.Size(), t.Overlay())
}

// keepBase gives the disk that an overlay stands on a second name in the
// overlay's directory: a suspended worker outlives its template.
func keepBase(path, dir string) error {
	if err := os.Link(path, filepath.Join(dir, baseFile)); err != nil {
		return fmt.Errorf("keeping the template's disk: %w", err)
	}
	return nil
}
