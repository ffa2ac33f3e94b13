//go:build linux

package cloudhypervisor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/cloudhypervisor/api"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/process"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/vmm"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image/disk"
)

// endDelay is how long a process that was told to end, and did not answer, may
// take for it.
const endDelay = 2 * time.Second

// Save takes a snapshot, and ends the machine. A template is killed while it is
// paused: in an orderly end its devices would write to the memory that was
// saved, which is the file's. A worker ends in order, so that all of its disk is
// in the file.
func (m *machine) Save(ctx context.Context) error {
	if err := m.api.Pause(ctx); err != nil {
		return err
	}
	if err := m.api.Snapshot(ctx, m.spec.State); err != nil {
		return err
	}
	if m.spec.MemoryUse == vmm.Written {
		return m.process.Kill(context.WithoutCancel(ctx))
	}
	return m.shutDown(ctx)
}

// shutDown ends the machine in order. It may end before it has answered, and then
// there is no answer.
func (m *machine) shutDown(ctx context.Context) error {
	asked := m.api.ShutDown(ctx)
	if asked != nil {
		limited, cancel := context.WithTimeout(ctx, endDelay)
		defer cancel()
		ctx = limited
	}
	select {
	case <-m.process.Done():
	case <-ctx.Done():
	}
	if err := m.process.Err(); !errors.Is(err, process.ErrSucceeded) {
		return fmt.Errorf("ending Cloud Hypervisor: %w", errors.Join(asked, err, context.Cause(ctx)))
	}
	return nil
}

// Restore restores a snapshot. For a fork the template's is laid out in the
// machine's directory first, with the machine's own files in place of the
// template's. The template's memory is in a file of its own and not in the
// snapshot: there is nothing to copy, and no other mode would share more.
func (m *machine) Restore(ctx context.Context, state string) error {
	mode := api.Copy
	if state == m.spec.State {
		// The file that a fork's memory began with is not there any more: the
		// snapshot has all of it.
		if err := m.changeSnapshot(state, "", m.own().rules()); err != nil {
			return err
		}
		version, err := m.driver.version(ctx)
		if err != nil {
			return err
		}
		if version.AtLeast(copyOnWriteVersion) { // pages stay readable when their file is removed
			mode = api.CopyOnWrite
		}
	} else if err := m.layOut(ctx, state); err != nil {
		return err
	}
	restore := api.RestoreConfig{SourceURL: "file://" + m.spec.State, MemoryRestoreMode: mode}
	if err := m.api.Restore(ctx, restore); err != nil {
		return err
	}
	// The directory stays: the process is confined to this very one.
	files, err := filepath.Glob(filepath.Join(m.spec.State, "*"))
	for _, file := range files {
		err = errors.Join(err, os.Remove(file))
	}
	return err
}

func (m *machine) layOut(ctx context.Context, template string) error {
	state := filepath.Join(m.spec.State, snapshotState)
	if err := disk.SparseCopy(ctx, filepath.Join(template, snapshotState), state); err != nil {
		return err
	}
	if err := os.Lchown(state, m.user, m.user); err != nil {
		return fmt.Errorf("giving the machine its template's state: %w", err)
	}
	return m.changeSnapshot(template, m.spec.MemoryFile, m.own().rules())
}

// changeSnapshot makes the configuration of a snapshot that of this machine, which
// has not run yet: nothing else writes to its directory.
func (m *machine) changeSnapshot(from, memory string, rules []api.LandlockRule) error {
	to := placement{
		Disk: m.spec.Disk, Console: m.spec.Console, Vsock: vsockPath(m.dir), Memory: memory, Rules: rules,
	}
	config, err := readConfig(filepath.Join(from, snapshotConfig))
	if err != nil {
		return err
	}
	if config, err = place(config, to); err != nil {
		return err
	}
	placed := filepath.Join(m.spec.State, snapshotConfig)
	if err := os.WriteFile(placed, config, 0o600); err != nil {
		return err
	}
	return os.Lchown(placed, m.user, m.user)
}

// maxConfig is how many bytes the configuration of a snapshot may have: a machine that
// was taken over before it was saved may have written any number.
const maxConfig = 1 << 20

func readConfig(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	config, err := io.ReadAll(io.LimitReader(file, maxConfig+1))
	if err == nil && len(config) > maxConfig {
		err = fmt.Errorf("%s has more than %d bytes", path, maxConfig)
	}
	return config, err
}

// Continue lets the machine's processors run.
func (m *machine) Continue(ctx context.Context) error { return m.api.Resume(ctx) }
