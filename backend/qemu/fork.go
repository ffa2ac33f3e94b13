//go:build linux

package qemu

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/stage"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/vmm/template"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image/disk"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/phase"
)

// forkLimit bounds a fork up to its new identity. It takes well under a second
// where nothing else runs.
const forkLimit = time.Minute

// Files of a fork, in the worker's directory.
const (
	diskFile   = "disk"
	memoryFile = "memory"
	// baseFile is the worker's own name for the template's disk, and stateFile
	// the state of a machine that was put away.
	baseFile  = "base"
	stateFile = "state"
)

// fork starts a worker from the template, or goes on with the one in stock.
// After an error nothing of it runs, and nothing of it is left in its
// directory.
func (b *Backend) fork(ctx context.Context, t template.Template, golden image.Golden, spec backend.Spec) (*machine, error) {
	limited, cancel := context.WithTimeoutCause(ctx, b.forkLimit, fmt.Errorf("not done within %s", b.forkLimit))
	defer cancel()
	m, err := b.fromStock(limited, t, spec.ID)
	if m == nil && err == nil {
		m, err = b.restoreFork(limited, t, golden, spec)
	}
	if err == nil {
		err = m.explain(m.goOn(limited, m.rekey(spec.Identity)))
	}
	if err == nil {
		phase.Ended(ctx, phase.Identity)
		return m, nil
	}
	err = fmt.Errorf("forking %s from its template: %w", spec.ID, err)
	undo, cancelUndo := context.WithTimeout(context.WithoutCancel(ctx), stage.RemoveLimit)
	defer cancelUndo()
	return nil, errors.Join(err, b.Destroy(undo, spec.ID), removeMachineFiles(spec.Dir))
}

// restoreFork makes a fork that waits to go on.
func (b *Backend) restoreFork(ctx context.Context, t template.Template, golden image.Golden, spec backend.Spec) (*machine, error) {
	m, err := b.launchFork(ctx, t, golden, spec)
	if err != nil {
		return nil, err
	}
	m.address = spec.Lease.SSH()
	b.keep(m)
	if err := m.restore(ctx, t.State()); err != nil {
		return m, m.explain(err)
	}
	if err := m.cutOff(ctx); err != nil {
		return m, errors.Join(m.explain(err), m.agent.Close())
	}
	return m, nil
}

// launchFork starts QEMU with the template's memory, mapped so that what the
// fork writes stays its own, and a disk of its own on top of the template's.
func (b *Backend) launchFork(ctx context.Context, t template.Template, golden image.Golden, spec backend.Spec) (*machine, error) {
	fork := templateSpec(t, golden)
	fork.MemoryUse, fork.Incoming = forked, true
	fork.Console = filepath.Join(spec.Dir, consoleFile)
	var err error
	if fork.Disk, fork.Format, err = cloneDisk(ctx, t, spec.Dir); err != nil {
		return nil, err
	}
	phase.Ended(ctx, phase.Disk)
	if !b.options.ShareMemory {
		fork.MemoryFile = filepath.Join(spec.Dir, memoryFile)
		if err := disk.SparseCopy(ctx, t.Memory(), fork.MemoryFile); err != nil {
			return nil, fmt.Errorf("copying the template's memory: %w", err)
		}
	}
	m, err := b.launch(spec.ID, spec.Dir, spec.Lease.Namespace, fork)
	if err != nil {
		return nil, err
	}
	phase.Ended(ctx, phase.Process)
	m.how = backend.Fork
	return m, nil
}

func cloneDisk(ctx context.Context, t template.Template, dir string) (path, format string, err error) {
	path = filepath.Join(dir, diskFile)
	if t.Format == disk.Reflink.Format() {
		method, err := disk.Clone(ctx, t.Disk(), path)
		return path, method.Format(), err
	}
	if err := keepBase(t.Disk(), dir); err != nil {
		return path, "", err
	}
	return path, disk.Overlay.Format(), disk.SparseCopy(ctx, t.Overlay(), path)
}

// prepareClones makes the overlay that cloneDisk copies, unless it needs none.
func prepareClones(ctx context.Context, t template.Template) error {
	if t.Format == disk.Reflink.Format() {
		return nil
	}
	if err := keepBase(t.Disk(), t.Dir); err != nil {
		return err
	}
	return disk.StackBeside(ctx, baseFile, t.Format, t.Overlay())
}

// keepBase gives the disk that an overlay stands on a second name in the
// overlay's directory: a suspended worker outlives its template.
func keepBase(path, dir string) error {
	if err := os.Link(path, filepath.Join(dir, baseFile)); err != nil {
		return fmt.Errorf("keeping the template's disk: %w", err)
	}
	return nil
}

// restore restores the machine's state, and opens the line to its agent. It
// runs on with goOn.
func (m *machine) restore(ctx context.Context, statePath string) error {
	ctx, cancel := backend.WhileRunning(ctx, m)
	defer cancel()
	state, err := os.Open(statePath)
	if err != nil {
		return err
	}
	defer state.Close()
	if m.agent, err = m.reach(ctx); err != nil {
		return err
	}
	if err := m.migrate(ctx, restore, state); err != nil {
		return errors.Join(err, m.agent.Close())
	}
	phase.Ended(ctx, phase.Restore)
	return nil
}

// goOn lets a restored machine run, and tells its agent what to do first.
func (m *machine) goOn(ctx context.Context, first func(*guest.Client, context.Context) error) error {
	ctx, cancel := backend.WhileRunning(ctx, m)
	defer cancel()
	defer m.agent.Close()
	if err := m.qmp.Execute(ctx, "cont", nil, nil); err != nil {
		return err
	}
	phase.Ended(ctx, phase.Continue)
	return first(guest.NewClient(m.agent), ctx)
}

// rekey gives a fork its identity, and then lets it on the network.
func (m *machine) rekey(identity guest.Identity) func(*guest.Client, context.Context) error {
	return func(agent *guest.Client, ctx context.Context) error {
		if err := agent.Rekey(ctx, identity); err != nil {
			return err
		}
		return m.connect(ctx)
	}
}

// removeMachineFiles leaves what the pool keeps in a worker's directory.
func removeMachineFiles(dir string) error {
	var failed []error
	for _, name := range []string{agentSocket, qmpSocket, consoleFile, outputFile, diskFile, baseFile, memoryFile} {
		failed = append(failed, os.RemoveAll(filepath.Join(dir, name)))
	}
	return errors.Join(failed...)
}
