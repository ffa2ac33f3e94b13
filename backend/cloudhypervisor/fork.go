//go:build linux

package cloudhypervisor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/cloudhypervisor/api"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/stage"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/vmm/template"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image/disk"
)

// forkLimit bounds a fork up to its new identity. It takes well under a second
// where nothing else runs.
const forkLimit = time.Minute

// fork starts a worker from the template. After an error nothing of it runs,
// and nothing of it is left in its directory.
func (b *Backend) fork(ctx context.Context, t template.Template, golden image.Golden, spec backend.Spec) (*machine, error) {
	limited, cancel := context.WithTimeoutCause(ctx, forkLimit, fmt.Errorf("not done within %s", forkLimit))
	defer cancel()
	m, err := b.launchFork(limited, t, golden, spec)
	if err == nil {
		return m, nil
	}
	err = fmt.Errorf("forking %s from its template: %w", spec.ID, err)
	undo, cancelUndo := context.WithTimeout(context.WithoutCancel(ctx), stage.RemoveLimit)
	defer cancelUndo()
	return nil, errors.Join(err, b.Destroy(undo, spec.ID), removeMachineFiles(spec.Dir))
}

func (b *Backend) launchFork(ctx context.Context, t template.Template, golden image.Golden, spec backend.Spec) (*machine, error) {
	m, err := b.launch(spec.ID, spec.Dir, spec.Lease.Namespace, b.ConsolePath(spec.Dir))
	if err != nil {
		return nil, err
	}
	m.how, m.address = backend.Fork, spec.Lease.SSH()
	b.keep(m)
	if err := b.layOut(ctx, t, golden, spec); err != nil {
		return nil, err
	}
	// The template's memory is in a file of its own and not in the snapshot:
	// there is nothing to copy, and no other mode would share more.
	return m, m.explain(m.wake(ctx, api.Copy, rekey(spec.Identity)))
}

// layOut gives the fork a disk of its own, and a snapshot that names its files
// in place of the template's.
func (b *Backend) layOut(ctx context.Context, t template.Template, golden image.Golden, spec backend.Spec) error {
	own := placement{
		Disk: filepath.Join(spec.Dir, diskFile), Console: b.ConsolePath(spec.Dir), Vsock: vsockPath(spec.Dir), Memory: t.Memory(),
		Rules: machineSpec{Vsock: vsockPath(spec.Dir), Saved: savedPath(spec.Dir), Readable: readable(golden.Dir)}.rules(),
	}
	if err := copyDisk(ctx, t.Disk(), own.Disk); err != nil {
		return err
	}
	if !b.options.ShareMemory {
		own.Memory = filepath.Join(spec.Dir, memoryFile)
		if err := disk.SparseCopy(ctx, t.Memory(), own.Memory); err != nil {
			return fmt.Errorf("copying the template's memory: %w", err)
		}
	}
	config, err := os.ReadFile(filepath.Join(t.State(), snapshotConfig))
	if err != nil {
		return err
	}
	if config, err = place(config, own); err != nil {
		return err
	}
	saved := savedPath(spec.Dir)
	if err := os.WriteFile(filepath.Join(saved, snapshotConfig), config, 0o600); err != nil {
		return err
	}
	return disk.SparseCopy(ctx, filepath.Join(t.State(), snapshotState), filepath.Join(saved, snapshotState))
}

// wake restores the machine from the snapshot in its directory, which is of the
// past from then on, and tells its agent what to do first.
func (m *machine) wake(ctx context.Context, mode string, first func(*guest.Client, context.Context) error) error {
	ctx, cancel := backend.WhileRunning(ctx, m)
	defer cancel()
	saved := savedPath(m.dir)
	if err := m.api.Restore(ctx, api.RestoreConfig{SourceURL: "file://" + saved, MemoryRestoreMode: mode, Resume: true}); err != nil {
		return err
	}
	if err := m.tell(ctx, first); err != nil {
		return err
	}
	files, err := filepath.Glob(filepath.Join(saved, "*"))
	for _, file := range files {
		err = errors.Join(err, os.Remove(file))
	}
	return err
}

// removeMachineFiles leaves what the pool keeps in a worker's directory.
func removeMachineFiles(dir string) error {
	var failed []error
	for _, name := range machineFiles {
		failed = append(failed, os.RemoveAll(filepath.Join(dir, name)))
	}
	return errors.Join(failed...)
}
