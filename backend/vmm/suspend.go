//go:build linux

package vmm

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
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/vmm/template"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
)

// suspendedFile, in the worker's directory, says that all else that Suspend
// saved is there.
const suspendedFile = "suspended.json"

// suspended is a machine that was saved: its state, memory included, is at
// Spec.State, its disk where it was.
type suspended struct {
	How      string            `json:"how"`
	Spec     Spec              `json:"spec"`
	Platform template.Platform `json:"platform"`
}

// Suspend saves the machine with its memory, and ends it.
func (b *Backend) Suspend(ctx context.Context, id string) error {
	m := b.forget(id)
	if m == nil || !m.inUse.Load() {
		return fmt.Errorf("suspending %s: no machine of this process", id)
	}
	if err := m.suspend(ctx); err != nil {
		b.keep(m)
		return fmt.Errorf("suspending %s: %w", id, m.explain(err))
	}
	return nil
}

func (m *machine) suspend(ctx context.Context) error {
	platform, err := template.NewPlatform(m.spec.Accel, m.traits.Binary)
	if err != nil {
		return err
	}
	if err := m.save(ctx); err != nil {
		return err
	}
	// A fork's memory was saved whole, and is its own from then on.
	if err := os.RemoveAll(filepath.Join(m.dir, memoryFile)); err != nil {
		return err
	}
	if err := errors.Join(syncAll(m.spec.State), syncAll(m.spec.Disk)); err != nil {
		return err
	}
	text, err := json.MarshalIndent(suspended{How: m.how, Spec: m.spec.resumed(), Platform: platform}, "", "  ")
	if err != nil {
		return err
	}
	path := filepath.Join(m.dir, suspendedFile)
	return renameio.WriteFile(path, append(text, '\n'), 0o600, renameio.WithTempDir(m.dir))
}

// resumed is the machine as it goes on after it was saved.
func (s Spec) resumed() Spec {
	s.Incoming = true
	if s.MemoryUse == Forked {
		s.MemoryUse, s.MemoryFile = Unforked, ""
	}
	return s
}

// Resume restores what Suspend saved. The saved state is removed before the
// machine runs: it would be of the past.
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
	for _, name := range b.traits.Sockets { // of the process before
		if err := os.RemoveAll(filepath.Join(spec.Dir, name)); err != nil {
			return nil, err
		}
	}
	m, err := b.launch(placeOf(spec), saved.Spec.in(spec.Dir))
	if err != nil {
		return nil, err
	}
	m.how = saved.How
	if err := os.Remove(filepath.Join(m.dir, suspendedFile)); err != nil {
		return nil, err
	}
	if err := m.restore(ctx, m.spec.State); err != nil {
		return nil, m.explain(err)
	}
	if err := m.run(ctx, func(ctx context.Context, agent *guest.Client) error { return agent.Wake(ctx) }); err != nil {
		return nil, m.explain(err)
	}
	return m, nil
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
	if err := saved.Platform.FitsHere(b.traits.Binary); err != nil {
		return saved, err
	}
	if saved.Spec.Disk == "" {
		return saved, fmt.Errorf("%s is of an earlier version of the plugin: it does not say what the machine is",
			suspendedFile)
	}
	return saved, nil
}

// syncAll has a file, or all of a directory, survive a crash of the host.
func syncAll(path string) error {
	return filepath.WalkDir(path, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		file, err := os.Open(path)
		if err != nil {
			return err
		}
		return errors.Join(file.Sync(), file.Close())
	})
}
