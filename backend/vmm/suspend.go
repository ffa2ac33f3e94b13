//go:build linux

package vmm

import (
	"bytes"
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
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/vmm/kvm"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/vmm/template"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/diskspace"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image/disk"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/statefile"
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
	// Files are the sizes in bytes of the disk and the state, by name: others are
	// what a crash of the host has left of them. Earlier versions noted none.
	Files map[string]int64 `json:"files"`
}

// maxSuspended is how many bytes the file of a suspended machine may have.
const maxSuspended = 64 << 10

// Suspend saves the machine with its memory, and ends it.
func (b *Backend) Suspend(ctx context.Context, id string) error {
	m := b.forget(id)
	if m == nil || !m.inUse.Load() {
		return fmt.Errorf("suspending %s: no machine of this process", id)
	}
	err := b.suspend(ctx, m)
	if err == nil {
		return nil
	}
	b.keep(m)
	if !errors.Is(err, backend.ErrRunsOn) {
		err = m.explain(err)
	}
	return fmt.Errorf("suspending %s: %w", id, diskspace.Explain(m.dir, err))
}

// suspend gives the machine's user back as well: without a process it needs none,
// and its files are handed to another when it is resumed.
func (b *Backend) suspend(ctx context.Context, m *machine) error {
	platform, err := template.NewPlatform(m.spec.Accel, m.traits.Binary)
	if err != nil {
		return err
	}
	saved := suspended{How: m.how, Spec: m.spec.resumed(), Platform: platform, Files: largest}
	// What needs room is written while the machine can still run on without. The sizes
	// are written over it when they are known.
	text, err := saved.encode(0)
	if err != nil {
		return err
	}
	note, err := writeNote(m.dir, text)
	if err != nil {
		return fmt.Errorf("%w: %w", backend.ErrRunsOn, err)
	}
	defer note.Cleanup() // after success nothing has its temporary name any more
	if err := m.save(ctx); err != nil {
		return err
	}
	if err := b.reclaim(ctx, m.id, m.spec.State, m.spec.Disk); err != nil {
		return err
	}
	if err := b.vacate(ctx, m.id); err != nil {
		return err
	}
	// A fork's memory was saved whole, and is its own from then on.
	if err := os.RemoveAll(filepath.Join(m.dir, memoryFile)); err != nil {
		return err
	}
	if err := errors.Join(syncAll(m.spec.State), syncAll(m.spec.Disk)); err != nil {
		return err
	}
	if saved.Files, err = m.savedSizes(); err != nil {
		return err
	}
	if text, err = saved.encode(len(text)); err != nil {
		return err
	}
	if _, err := note.WriteAt(text, 0); err != nil {
		return err
	}
	return note.CloseAtomicallyReplace()
}

// largest take as much room in the note as any sizes.
var largest = map[string]int64{diskFile: math.MaxInt64, stateFile: math.MaxInt64}

// encode is the note, filled up with line breaks to a length.
func (s suspended) encode(length int) ([]byte, error) {
	text, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return nil, err
	}
	return append(text, bytes.Repeat([]byte("\n"), max(1, length-len(text)))...), nil
}

// savedSizes are the sizes of what was saved.
func (m *machine) savedSizes() (sizes map[string]int64, err error) {
	sizes = make(map[string]int64)
	for name, path := range map[string]string{diskFile: m.spec.Disk, stateFile: m.spec.State} {
		if sizes[name], err = sizeOf(path); err != nil {
			return nil, err
		}
	}
	return sizes, nil
}

// writeNote writes suspendedFile under a temporary name.
func writeNote(dir string, text []byte) (*renameio.PendingFile, error) {
	note, err := renameio.NewPendingFile(filepath.Join(dir, suspendedFile),
		renameio.WithTempDir(dir), renameio.WithStaticPermissions(0o600))
	if err != nil {
		return nil, err
	}
	if _, err = note.Write(text); err == nil {
		err = note.Sync()
	}
	if err != nil {
		return nil, errors.Join(err, note.Cleanup())
	}
	return note, nil
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
	again := saved.Spec.in(spec.Dir)
	again.Layout = again.Layout.here()
	m, err := b.launch(ctx, placeOf(spec), again)
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

// ForkSaved restores what Suspend saved of another worker as a machine of its own. The disk
// is copied, since a guest that goes on writes to it.
func (b *Backend) ForkSaved(ctx context.Context, dir string, spec backend.Spec) (backend.Machine, error) {
	m, err := b.forkSaved(ctx, dir, spec)
	if err != nil {
		return nil, fmt.Errorf("forking what was saved in %s: %w", dir, diskspace.Explain(spec.Dir, err))
	}
	return m, nil
}

func (b *Backend) forkSaved(ctx context.Context, dir string, spec backend.Spec) (*machine, error) {
	if !b.traits.ForksSaved {
		return nil, fmt.Errorf("%s cannot restore a saved machine twice", b.traits.Name)
	}
	saved, err := b.loadSuspended(dir)
	if err != nil {
		return nil, err
	}
	fork := saved.Spec.in(spec.Dir)
	fork.Layout = fork.Layout.here()
	if err := disk.Copy(ctx, filepath.Join(dir, diskFile), fork.Disk); err != nil {
		return nil, err
	}
	if base := filepath.Join(dir, baseFile); exists(base) {
		if err := keepBase(base, spec.Dir); err != nil {
			return nil, err
		}
	}
	m, err := b.launch(ctx, placeOf(spec), fork)
	if err != nil {
		return nil, err
	}
	m.how = backend.Fork
	err = m.restore(ctx, filepath.Join(dir, stateFile))
	if err == nil {
		err = m.run(ctx, func(ctx context.Context, agent *guest.Client) error { return agent.Wake(ctx) })
	}
	return m, m.explain(err)
}

// Resumable looks at what Suspend left, and whether it is of this host.
func (b *Backend) Resumable(dir string) error {
	_, err := b.loadSuspended(dir)
	return err
}

func (b *Backend) loadSuspended(dir string) (saved suspended, err error) {
	text, err := statefile.Read(filepath.Join(dir, suspendedFile), maxSuspended)
	if errors.Is(err, fs.ErrNotExist) {
		return saved, errors.New("nothing was saved of its machine")
	}
	if err != nil {
		return saved, err
	}
	if saved, err = decodeSuspended(text); err != nil {
		return saved, fmt.Errorf("%s: %w", suspendedFile, err)
	}
	if err := saved.Platform.FitsHere(b.traits.Binary); err != nil {
		return saved, err
	}
	if saved.Spec.Layout.Nesting == NestingOn {
		if err := kvm.Nests("/"); err != nil {
			return saved, fmt.Errorf("its guest could run machines of its own: %w", err)
		}
	}
	for _, name := range []string{diskFile, stateFile} {
		size, err := sizeOf(filepath.Join(dir, name))
		if err != nil {
			return saved, fmt.Errorf("what was saved of its machine: %w", err)
		}
		if want, known := saved.Files[name]; known && size != want {
			return saved, fmt.Errorf("what was saved of its machine: its %s has %d bytes, and was saved with %d",
				name, size, want)
		}
	}
	return saved, nil
}

// decodeSuspended refuses what Suspend does not write. The paths in it do not count:
// a machine is resumed from the files of its own directory.
func decodeSuspended(text []byte) (saved suspended, err error) {
	if err := json.Unmarshal(text, &saved); err != nil {
		return saved, err
	}
	s := saved.Spec
	switch {
	case s.Disk == "":
		return saved, errors.New("it is of an earlier version of the plugin: it does not say what the machine is")
	case s.Accel != kvm.KVM && s.Accel != kvm.TCG, s.Format != "raw" && s.Format != "qcow2",
		s.MemoryUse != NoFile && s.MemoryUse != Unforked, s.MemoryFile != "", s.Seed != "", !s.Incoming,
		s.CPUs < 1, s.Memory < 1, len(s.PCI) > 0, !s.Layout.valid(s.CPUs):
		return saved, errors.New("it does not say what a suspended machine is")
	}
	return saved, nil
}

// sizeOf is how many bytes the files at or below a path have. None may be a link.
func sizeOf(path string) (size int64, err error) {
	err = filepath.WalkDir(path, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		if err == nil && !info.Mode().IsRegular() {
			err = fmt.Errorf("%s is not a regular file", path)
		}
		if err == nil {
			size += info.Size()
		}
		return err
	})
	return size, err
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
