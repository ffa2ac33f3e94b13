//go:build linux

package cloudhypervisor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/cloudhypervisor/api"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/process"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/vmm/kvm"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/vmm/template"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
)

const (
	// suspendedFile, in the worker's directory, says that all else that
	// Suspend saved is there.
	suspendedFile = "suspended.json"
	// copyOnWriteVersion is the first that maps a snapshot's memory in place of
	// copying it.
	copyOnWriteVersion = 54
)

// suspended is a machine that was put away: its snapshot, memory included, is
// in savedDir, its disk where it was.
type suspended struct {
	How      string            `json:"how"`
	Platform template.Platform `json:"platform"`
}

// Suspend saves the machine with its memory, and ends it.
func (b *Backend) Suspend(ctx context.Context, id string) error {
	m := b.forget(id)
	if m == nil {
		return fmt.Errorf("suspending %s: no machine of this process", id)
	}
	if err := b.suspend(ctx, m); err != nil {
		b.keep(m)
		return fmt.Errorf("suspending %s: %w", id, m.explain(err))
	}
	return nil
}

func (b *Backend) suspend(ctx context.Context, m *machine) error {
	platform, err := template.NewPlatform(kvm.KVM, b.options.Binary)
	if err != nil {
		return err
	}
	if err := m.putAway(ctx); err != nil {
		return err
	}
	if err := m.ownMemory(); err != nil {
		return err
	}
	if err := m.sync(); err != nil {
		return err
	}
	text, err := json.MarshalIndent(suspended{m.how, platform}, "", "  ")
	if err != nil {
		return err
	}
	return renameio.WriteFile(filepath.Join(m.dir, suspendedFile), append(text, '\n'), 0o600, renameio.WithTempDir(m.dir))
}

// putAway saves the machine and ends it in order, so that all of its disk is in
// the file: unlike a template's, its memory is not what was saved.
func (m *machine) putAway(ctx context.Context) error {
	ctx, cancel := backend.WhileRunning(ctx, m)
	defer cancel()
	if err := m.api.Pause(ctx); err != nil {
		return err
	}
	if err := m.api.Snapshot(ctx, savedPath(m.dir)); err != nil {
		return err
	}
	return m.shutDown(ctx)
}

// shutDown ends the machine in order. Its end may be known before its answer,
// and then there is none.
func (m *machine) shutDown(ctx context.Context) error {
	asked := m.api.ShutDown(ctx)
	if asked != nil {
		limited, cancel := context.WithTimeout(ctx, endDelay)
		defer cancel()
		ctx = limited
	}
	select {
	case <-m.Done():
	case <-ctx.Done():
	}
	if err := m.process.Err(); !errors.Is(err, process.ErrSucceeded) {
		return fmt.Errorf("ending Cloud Hypervisor: %w", errors.Join(asked, err, context.Cause(ctx)))
	}
	return nil
}

// ownMemory has the snapshot go without the file that a fork's memory began
// with: it was saved whole, and is its own from then on.
func (m *machine) ownMemory() error {
	path := filepath.Join(savedPath(m.dir), snapshotConfig)
	config, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	own := placement{Disk: filepath.Join(m.dir, diskFile), Console: filepath.Join(m.dir, consoleFile), Vsock: vsockPath(m.dir)}
	if config, err = place(config, own); err != nil {
		return err
	}
	return errors.Join(os.WriteFile(path, config, 0o600), os.RemoveAll(filepath.Join(m.dir, memoryFile)))
}

// sync has what was saved survive a crash of the host.
func (m *machine) sync() error {
	saved, err := filepath.Glob(filepath.Join(savedPath(m.dir), "*"))
	if err != nil {
		return err
	}
	for _, path := range append(saved, savedPath(m.dir), filepath.Join(m.dir, diskFile)) {
		file, err := os.Open(path)
		if err != nil {
			return err
		}
		if err := errors.Join(file.Sync(), file.Close()); err != nil {
			return err
		}
	}
	return nil
}

// Resume restores what Suspend saved. The snapshot goes as soon as the machine
// runs on: it would be of the past.
func (b *Backend) Resume(ctx context.Context, spec backend.Spec) (backend.Machine, error) {
	m, err := b.resume(ctx, spec)
	if err != nil {
		return nil, fmt.Errorf("resuming %s: %w", spec.ID, err)
	}
	return m, nil
}

func (b *Backend) resume(ctx context.Context, spec backend.Spec) (*machine, error) {
	saved, err := b.loadSuspended(spec.Dir)
	if err != nil {
		return nil, err
	}
	mode, err := b.restoreMode(ctx)
	if err != nil {
		return nil, err
	}
	for _, name := range []string{suspendedFile, apiSocket, vsockDir} { // sockets of the process before
		if err := os.RemoveAll(filepath.Join(spec.Dir, name)); err != nil {
			return nil, err
		}
	}
	m, err := b.launch(spec.ID, spec.Dir, spec.Lease.Namespace, b.ConsolePath(spec.Dir))
	if err != nil {
		return nil, err
	}
	m.how, m.address = saved.How, spec.Lease.SSH()
	b.keep(m)
	return m, m.explain(m.wake(ctx, mode, (*guest.Client).Wake))
}

// restoreMode is the cheapest way that this version has. Pages that are mapped
// stay readable when their file is removed.
func (b *Backend) restoreMode(ctx context.Context) (string, error) {
	version, err := b.version(ctx)
	if err != nil {
		return "", err
	}
	if version.AtLeast(copyOnWriteVersion) {
		return api.CopyOnWrite, nil
	}
	return api.Copy, nil
}

// Resumable looks at what Suspend left, and whether it is of this host.
func (b *Backend) Resumable(dir string) error {
	_, err := b.loadSuspended(dir)
	return err
}

func (b *Backend) loadSuspended(dir string) (saved suspended, err error) {
	text, err := os.ReadFile(filepath.Join(dir, suspendedFile))
	if errors.Is(err, fs.ErrNotExist) {
		return saved, errors.New("nothing was saved of its machine")
	}
	if err != nil {
		return saved, err
	}
	if err := json.Unmarshal(text, &saved); err != nil {
		return saved, fmt.Errorf("%s: %w", suspendedFile, err)
	}
	return saved, saved.Platform.FitsHere(b.options.Binary)
}
