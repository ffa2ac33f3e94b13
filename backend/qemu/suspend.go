//go:build linux

package qemu

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/vmm/template"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
)

const (
	// suspendedFile, in the worker's directory, says that all else that
	// Suspend saved is there.
	suspendedFile = "suspended.json"
	suspendedMode = 0o600
)

// suspended is a machine that was put away: its state, memory included, is in
// stateFile, its disk where it was.
type suspended struct {
	How      string            `json:"how"`
	Spec     machineSpec       `json:"spec"`
	Platform template.Platform `json:"platform"`
}

// Suspend saves the machine with its memory, and ends it.
func (b *Backend) Suspend(ctx context.Context, id string) error {
	m := b.forget(id)
	if m == nil || m.qmp == nil {
		return fmt.Errorf("suspending %s: no machine of this process", id)
	}
	if err := b.suspend(ctx, m); err != nil {
		b.keep(m)
		return fmt.Errorf("suspending %s: %w", id, m.explain(err))
	}
	return nil
}

func (b *Backend) suspend(ctx context.Context, m *machine) error {
	platform, err := template.NewPlatform(m.spec.Accel, b.options.Binary)
	if err != nil {
		return err
	}
	state, err := os.OpenFile(filepath.Join(m.dir, stateFile), os.O_CREATE|os.O_EXCL|os.O_WRONLY, suspendedMode)
	if err != nil {
		return err
	}
	defer state.Close()
	if err := m.putAway(ctx, state); err != nil {
		return err
	}
	if err := errors.Join(state.Sync(), syncFile(m.spec.Disk)); err != nil {
		return err
	}
	text, err := json.MarshalIndent(suspended{How: m.how, Spec: m.spec.resumed(), Platform: platform}, "", "  ")
	if err != nil {
		return err
	}
	return renameio.WriteFile(filepath.Join(m.dir, suspendedFile), append(text, '\n'), suspendedMode, renameio.WithTempDir(m.dir))
}

// putAway saves the machine's state. The limit on how fast that goes is for
// migrations over a network.
func (m *machine) putAway(ctx context.Context, state *os.File) error {
	ctx, cancel := backend.WhileRunning(ctx, m)
	defer cancel()
	unlimited := map[string]any{"max-bandwidth": int64(math.MaxInt64)}
	if err := m.qmp.Execute(ctx, "migrate-set-parameters", unlimited, nil); err != nil {
		return err
	}
	if err := m.migrate(ctx, save, state); err != nil {
		return err
	}
	return m.quit(ctx)
}

// resumed is the machine as it goes on after it was put away. The memory of a
// fork is its own from then on.
func (s machineSpec) resumed() machineSpec {
	s.Incoming = true
	if s.MemoryUse == forked {
		s.MemoryUse, s.MemoryFile = unforked, ""
	}
	return s
}

// Resume restores what Suspend saved. The saved state goes as soon as the
// machine runs on: it would be of the past.
func (b *Backend) Resume(ctx context.Context, spec backend.Spec) (backend.Machine, error) {
	saved, err := b.loadSuspended(spec.Dir)
	if err != nil {
		return nil, fmt.Errorf("resuming %s: %w", spec.ID, err)
	}
	for _, name := range []string{agentSocket, qmpSocket} { // of the QEMU before
		if err := os.RemoveAll(filepath.Join(spec.Dir, name)); err != nil {
			return nil, fmt.Errorf("resuming %s: %w", spec.ID, err)
		}
	}
	m, err := b.launch(spec.ID, spec.Dir, spec.Lease.Namespace, saved.Spec)
	if err != nil {
		return nil, fmt.Errorf("resuming %s: %w", spec.ID, err)
	}
	m.how, m.address = saved.How, spec.Lease.SSH()
	b.keep(m)
	if err := m.explain(m.resume(ctx)); err != nil {
		return nil, fmt.Errorf("resuming %s: %w", spec.ID, err)
	}
	return m, nil
}

func (m *machine) resume(ctx context.Context) error {
	if err := os.Remove(filepath.Join(m.dir, suspendedFile)); err != nil {
		return err
	}
	if err := m.restore(ctx, filepath.Join(m.dir, stateFile)); err != nil {
		return err
	}
	if err := m.goOn(ctx, (*guest.Client).Wake); err != nil {
		return err
	}
	return os.Remove(filepath.Join(m.dir, stateFile))
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

func syncFile(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	return file.Sync()
}
