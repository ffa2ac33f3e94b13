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
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/booting"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/template"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image/disk"
)

// forkLimit bounds a fork up to its new identity. It takes well under a second
// where nothing else runs.
const forkLimit = time.Minute

// Files of a fork, in the worker's directory.
const (
	diskFile   = "disk"
	memoryFile = "memory"
)

// fork starts a worker from the template. After an error nothing of it runs,
// and nothing of it is left in its directory.
func (b *Backend) fork(ctx context.Context, t template.Template, golden image.Golden, spec backend.Spec) (*machine, error) {
	limited, cancel := context.WithTimeoutCause(ctx, forkLimit, fmt.Errorf("not done within %s", forkLimit))
	defer cancel()
	m, err := b.launchFork(limited, t, golden, spec)
	if err == nil {
		m.address = sshAddress(spec.Lease)
		b.keep(m)
		err = m.explain(m.wake(limited, t, spec))
	}
	if err == nil {
		return m, nil
	}
	err = fmt.Errorf("forking %s from its template: %w", spec.ID, err)
	undo, cancelUndo := context.WithTimeout(context.WithoutCancel(ctx), booting.RemoveLimit)
	defer cancelUndo()
	return nil, errors.Join(err, b.Destroy(undo, spec.ID), removeMachineFiles(spec.Dir))
}

// launchFork starts QEMU with the template's memory, mapped so that what the
// fork writes stays its own, and a disk of its own on top of the template's.
func (b *Backend) launchFork(ctx context.Context, t template.Template, golden image.Golden, spec backend.Spec) (*machine, error) {
	fork := templateSpec(t, golden)
	fork.MemoryUse = forked
	fork.Console = filepath.Join(spec.Dir, consoleFile)
	var err error
	if fork.Disk, fork.Format, err = cloneDisk(ctx, t, spec.Dir); err != nil {
		return nil, err
	}
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
	m.how = backend.Fork
	return m, nil
}

func cloneDisk(ctx context.Context, t template.Template, dir string) (path, format string, err error) {
	path = filepath.Join(dir, diskFile)
	if t.Format == disk.Reflink.Format() {
		method, err := disk.Clone(ctx, t.Disk(), path)
		return path, method.Format(), err
	}
	return path, t.Format, disk.Stack(ctx, t.Disk(), t.Format, path)
}

// wake restores the machine's state, lets it run and gives it its identity.
func (m *machine) wake(ctx context.Context, t template.Template, spec backend.Spec) error {
	ctx, cancel := m.whileRunning(ctx)
	defer cancel()
	state, err := os.Open(t.State())
	if err != nil {
		return err
	}
	defer state.Close()
	agent, err := m.reach(ctx)
	if err != nil {
		return err
	}
	defer agent.Close()
	if err := m.migrate(ctx, restore, state); err != nil {
		return err
	}
	if err := m.qmp.Execute(ctx, "cont", nil, nil); err != nil {
		return err
	}
	return m.rekey(ctx, agent, spec.Identity)
}

// removeMachineFiles leaves what the pool keeps in a worker's directory.
func removeMachineFiles(dir string) error {
	var failed []error
	for _, name := range []string{agentSocket, qmpSocket, consoleFile, outputFile, diskFile, memoryFile} {
		failed = append(failed, os.RemoveAll(filepath.Join(dir, name)))
	}
	return errors.Join(failed...)
}
